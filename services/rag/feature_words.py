"""Features of events in words and units a person reads: names, values, and which of two is more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.events.feature_list import FEATURES

if TYPE_CHECKING:
    from collections.abc import Mapping

_FLOW = "network_features."
_NAMES: Mapping[str, str] = {
    f"{_FLOW}destination_port": "destination port",
    f"{_FLOW}protocol_number": "protocol",
    f"{_FLOW}interface_mode": "mode of the capturing interface",
    f"{_FLOW}flow_duration_microseconds": "duration",
    f"{_FLOW}download_upload_ratio": "what was received over what was sent",
    "authoritative_source": "the detector that decided",
}
"""Where the meaning in the registry explains more than it names."""

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_SPANS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))
_COMPARATIVES = {
    **dict.fromkeys(_SECONDS, ("longer", "shorter")),
    **dict.fromkeys(("packets", "count", "addresses"), ("more", "fewer")),
}
NOMINAL_UNITS = frozenset({"port", "IANA number", "number"})
"""Units of numbers that name something: 443 is not more than 80."""


def name_of(column: int) -> str:
    """What a feature is called, a few words."""
    feature = FEATURES[column]
    return _NAMES.get(feature.path, feature.meaning)


def is_nominal(column: int) -> bool:
    """Whether the number names something (a port, a protocol), so that it can only be the same or another."""
    return FEATURES[column].unit in NOMINAL_UNITS


def value_text(column: int, value: float) -> str:
    """A value with its unit: "40 ms", "1.46 kB", "12 packets"."""
    unit = FEATURES[column].unit
    if unit in _SECONDS:
        return _scaled(value * _SECONDS[unit], _SPANS)
    if unit in {"bytes", "bytes/s"}:
        return _scaled(value, _SIZES) + unit.removeprefix("bytes")
    if unit in NOMINAL_UNITS:
        return f"{value:.0f}"
    if unit == "0 or 1":
        return "yes" if value else "no"
    return _short(value) if unit == "1" else f"{_short(value)} {unit}"


def comparative(column: int, difference: float) -> str:
    """The word for more (a positive difference) or less of a feature."""
    more, less = _COMPARATIVES.get(FEATURES[column].unit, ("higher", "lower"))
    return more if difference > 0 else less


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """A number in the largest of the units that it fills once; `steps` descend."""
    for size, unit in steps:
        if abs(value) >= size * 0.9995:
            return f"{_short(value / size)} {unit}"
    return f"{_short(value / steps[-1][0])} {steps[-1][1]}"


def _short(value: float) -> str:
    """Three digits that count, without an exponent where a person would write none."""
    if abs(value) >= 1e12:
        return f"{value:.3g}"
    if abs(value) >= 999.5 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
