"""How the numbers of a flow hang together: what may be changed as one, and what follows from it.

A counterfactual that has more bytes a second than bytes and seconds allow is no event. So features are changed in
*knobs* (all pauses and the duration together, all lengths of packets sent together), whose values come from one real
event; and what the knobs leave behind is made to follow by the definitions of CICFlowMeter
(https://github.com/ahlashkari/CICFlowMeter). Sensors differ in details, so a number follows in proportion: it is
multiplied by what its definition is multiplied by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.common.events.feature_list import FEATURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_FLOW = "network_features."
_COLUMN = {feature.path.removeprefix(_FLOW): column for column, feature in enumerate(FEATURES)}
_VERDICTS = tuple(column for column, feature in enumerate(FEATURES) if not feature.path.startswith(_FLOW))
_NEARLY = 1 + 1e-3
_COUNTED = frozenset(
    {"packets", "port", "count", "addresses", "0 or 1", "number", "IANA number", "bytes", "us"}
)
_AVERAGED = ("average", "mean", "std")
WHOLE = np.array(
    [feature.unit in _COUNTED and not any(word in feature.path for word in _AVERAGED) for feature in FEATURES]
)
"""Which features are whole numbers."""


@dataclass(frozen=True)
class Knob:
    """Features that change together; the first of them that changes names the change."""

    name: str
    columns: tuple[int, ...]
    verdict: bool = False  # what the detectors say, not what the traffic does


def _knob(name: str, *paths: str) -> Knob:
    return Knob(name, tuple(_COLUMN[path] for path in paths))


def _lengths(direction: str) -> tuple[str, ...]:
    return tuple(f"{direction}_packet_length_{what}" for what in ("mean", "max", "min", "std"))


def _bulk(direction: str) -> tuple[str, ...]:
    return tuple(f"{direction}_average_{what}" for what in ("bytes_bulk", "packets_bulk", "bulk_rate"))


_PAUSES = tuple(
    f"{which}_inter_arrival_time_{what}"
    for which, parts in (
        ("flow", ("mean", "std", "max", "min")),
        ("forward", ("total", "mean", "std", "max", "min")),
        ("backward", ("total", "mean", "std", "max", "min")),
    )
    for what in parts
)
_FLAGS = ("fin", "syn", "rst", "ack", "cwe", "ece")

KNOBS: tuple[Knob, ...] = (
    _knob("destination port", "destination_port"),
    _knob("duration and pauses", "flow_duration_microseconds", *_PAUSES, "active_mean", "idle_mean"),
    _knob("packets sent", "total_forward_packets", "total_forward_bytes", "forward_header_length"),
    _knob("packets received", "total_backward_packets", "total_backward_bytes", "backward_header_length"),
    _knob("lengths of packets sent", *_lengths("forward")),
    _knob("lengths of packets received", *_lengths("backward")),
    *(_knob(f"packets with {flag.upper()}", f"{flag}_flag_count") for flag in _FLAGS),
    _knob("packets with PSH", "psh_flag_count", "forward_psh_flags", "backward_psh_flags"),
    _knob("packets with URG", "urg_flag_count", "forward_urg_flags", "backward_urg_flags"),
    _knob("bulks sent", *_bulk("forward")),
    _knob("bulks received", *_bulk("backward")),
    *(
        Knob(feature.meaning, (column,))
        for column, feature in enumerate(FEATURES)
        if feature.path.startswith(_FLOW) and "." in feature.path.removeprefix(_FLOW)
    ),
    Knob("verdicts of the detectors", _VERDICTS, verdict=True),
)
"""What may be changed. Protocol, capturing interface and its side are not: another protocol is another event."""

Numbers = Mapping[str, "NDArray[np.float64]"]
"""Features of n events by their path, each (n,)."""
Formula = Callable[[Numbers], "NDArray[np.float64]"]


def _both(some: Numbers, what: str) -> NDArray[np.float64]:
    return some[f"total_forward_{what}"] + some[f"total_backward_{what}"]


def _over(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)


def _seconds(some: Numbers) -> NDArray[np.float64]:
    return some["flow_duration_microseconds"] / 1e6


def _of_both(what: str, choose: Callable[..., NDArray[np.float64]]) -> Formula:
    """The shortest or longest packet over the directions that have any."""

    def formula(some: Numbers) -> NDArray[np.float64]:
        sent, received = some[f"forward_packet_length_{what}"], some[f"backward_packet_length_{what}"]
        sends, receives = some["total_forward_packets"] > 0, some["total_backward_packets"] > 0
        return np.where(sends & receives, choose(sent, received), np.where(sends, sent, received))

    return formula


def _deviation(some: Numbers) -> NDArray[np.float64]:
    """The standard deviation of the lengths of both directions together."""
    packets = _both(some, "packets")
    squares = mean = np.zeros(())
    for side in ("forward", "backward"):
        share = _over(some[f"total_{side}_packets"], packets)
        middle, spread = some[f"{side}_packet_length_mean"], some[f"{side}_packet_length_std"]
        squares = squares + share * (spread**2 + middle**2)
        mean = mean + share * middle
    return np.sqrt(np.maximum(squares - mean**2, 0.0))


def _side(side: str) -> dict[str, Formula]:
    """What follows within one direction."""
    packets, mean = f"total_{side}_packets", f"{side}_packet_length_mean"
    gaps = f"{side}_inter_arrival_time"
    return {
        f"total_{side}_bytes": lambda some: some[packets] * some[mean],
        f"average_{side}_segment_size": lambda some: some[mean],
        f"{side}_packets_per_second": lambda some: _over(some[packets], _seconds(some)),
        f"{gaps}_mean": lambda some: _over(some[f"{gaps}_total"], some[packets] - 1),
    }


FORMULAS: Mapping[str, Formula] = {
    **_side("forward"),
    **_side("backward"),
    "download_upload_ratio": lambda some: _over(
        some["total_backward_packets"], some["total_forward_packets"]
    ),
    "minimum_packet_length": _of_both("min", np.minimum),
    "maximum_packet_length": _of_both("max", np.maximum),
    "packet_length_mean": lambda some: _over(_both(some, "bytes"), _both(some, "packets")),
    "average_packet_size": lambda some: _over(_both(some, "bytes"), _both(some, "packets")),
    "packet_length_std": _deviation,
    "packet_length_variance": lambda some: some["packet_length_std"] ** 2,
    "flow_bytes_per_second": lambda some: _over(_both(some, "bytes"), _seconds(some)),
    "flow_packets_per_second": lambda some: _over(_both(some, "packets"), _seconds(some)),
    "flow_inter_arrival_time_mean": lambda some: _over(
        some["flow_duration_microseconds"], _both(some, "packets") - 1
    ),
}
"""What each number is by its definition, in an order in which none is needed before it is made."""


def _value(path: str) -> Formula:
    return lambda some: some[path]


def _caps() -> Iterator[tuple[str, Formula]]:
    """What a number cannot exceed: flags the packets, a pause the duration, the least the mean, that the most."""
    for flag in (*_FLAGS, "psh", "urg"):
        yield f"{flag}_flag_count", lambda some: _both(some, "packets")
    for side in ("forward", "backward"):
        for flag in ("psh", "urg"):
            yield f"{side}_{flag}_flags", _value(f"total_{side}_packets")
    for which in ("flow", "forward", "backward"):
        gaps = f"{which}_inter_arrival_time"
        yield f"{gaps}_max", _value("flow_duration_microseconds")
        yield f"{gaps}_mean", _value(f"{gaps}_max")
        yield f"{gaps}_min", _value(f"{gaps}_mean")


CAPS: tuple[tuple[str, Formula], ...] = tuple(_caps())


def settle(before: NDArray[np.float32], changed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Changed events in which everything follows that has to: float32 (n, 144).

    Args:
        before: a real event (144,).
        changed: the same with some knobs set anew, in n ways (n, 144).
    """
    was, now = (
        _numbers(before[None]),
        _numbers(np.where(WHOLE & (changed != before), np.rint(changed), changed)),
    )
    _limit_directions(now)
    for path, formula in FORMULAS.items():
        old, new = formula(was), formula(now)
        # Of what a sensor never computed, or counts otherwise, nothing is known: it stays as it was set.
        known = (was[path] != 0) == (old != 0)
        following = np.where(old != 0, was[path] * (new / np.where(old != 0, old, 1.0)), new)
        now[path] = np.where(known, following, now[path])
    for path, most in CAPS:
        if was[path] <= most(was) * _NEARLY:  # a sensor that counts otherwise goes on doing so
            now[path] = np.minimum(now[path], most(now))
    result = np.stack([now[path] for path in _COLUMN], axis=1).astype(np.float32)
    return _whole(before, np.where(before >= 0, np.maximum(result, 0.0), result))


def _whole(before: NDArray[np.float32], changed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whole numbers where something is counted and was changed."""
    return np.where(WHOLE & (changed != before), np.rint(changed), changed)


def _numbers(values: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    columns = values.T.astype(np.float64)
    return dict(zip(_COLUMN, columns, strict=True))


def _limit_directions(some: dict[str, NDArray[np.float64]]) -> None:
    """No packets: no lengths and no pauses. One packet: one length, and no pause."""
    for side in ("forward", "backward"):
        packets, lengths = some[f"total_{side}_packets"], f"{side}_packet_length"
        for path in (*_lengths(side), f"total_{side}_bytes"):
            some[path] = np.where(packets < 1, 0.0, some[path])
        length = np.rint(some[f"{lengths}_mean"])
        for what in ("mean", "min", "max"):
            some[f"{lengths}_{what}"] = np.where(packets < 2, length, some[f"{lengths}_{what}"])
        for path in (f"{lengths}_std", *(path for path in _PAUSES if path.startswith(side))):
            some[path] = np.where(packets < 2, 0.0, some[path])
    alone = _both(some, "packets") < 2
    for path in ("flow_duration_microseconds", *_PAUSES):
        some[path] = np.where(alone, 0.0, some[path])
