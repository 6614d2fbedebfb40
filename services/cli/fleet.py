"""The whole fleet at one moment: what health saw, or what was asked without it, and the alerts that fire."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from services.common.errors import AppiaError
from services.health.observation import (
    Certificate,
    Chain,
    Day,
    Disk,
    Index,
    Intake,
    Observation,
    Retention,
    Sensor,
    Service,
)
from services.health.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Part = TypeVar("Part")
_TYPES = {"str": str, "int": int, "bool": bool}


@dataclass(frozen=True)
class Alert:
    """One alert that fires: its rule, how bad, for how long (seconds, None where unknown), and the sentence.

    `well_s` is for how long it has been well again, seconds: it is over when that lasts. None while it is not.
    """

    name: str
    severity: str
    for_s: float | None
    text: str
    well_s: float | None = None


@dataclass(frozen=True)
class Fleet:
    """What the screen shows.

    Attributes:
        state: the state directory.
        seen: everything that was seen.
        health: why health was not asked; empty where it told all this.
        alerts: those that fire, the worst first; None where nobody knows.
        undelivered: names of channels of alerts that deliver nothing at present.
    """

    state: str
    seen: Observation
    health: str = ""
    alerts: tuple[Alert, ...] | None = None
    undelivered: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain data: what `appia status --json` prints."""
        return {
            "state": self.state,
            "health": {"answers": not self.health, "why": self.health},
            "alerts": None if self.alerts is None else [dataclasses.asdict(one) for one in self.alerts],
            "undelivered": list(self.undelivered),
            **plain(self.seen),
        }


def observation_of(document: Mapping[str, Any]) -> Observation:
    """The observation that health told as plain data; keys of a later version are left out.

    Raises:
        AppiaError: it is no observation.
    """
    try:
        return _observation(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise AppiaError("what health says is not understood: is it of another version?") from None


def _observation(document: Mapping[str, Any]) -> Observation:
    whole = _known(Observation, document)
    made: dict[str, Any] = {
        "disks": _all(Disk, document.get("disks")),
        "services": _all(Service, document.get("services")),
        "sensors": _all(Sensor, document["sensors"]) if document.get("sensors") is not None else None,
        "days": tuple(map(_day, document["days"])) if document.get("days") is not None else None,
        "attempts": (),
        "intake": _one(Intake, document.get("intake")),
        "chain": _one(Chain, document.get("chain")),
        "certificates": _all(Certificate, document["certificates"])
        if document.get("certificates") is not None
        else None,
        "retention": _one(Retention, document.get("retention")),
    }
    return Observation(**{**whole, **made})


def _day(document: Mapping[str, Any]) -> Day:
    return Day(**{**_known(Day, document), "indices": _all(Index, document.get("indices"))})


def _all(part: type[Part], documents: Sequence[Mapping[str, Any]] | None) -> tuple[Part, ...]:
    return tuple(part(**_known(part, document)) for document in documents or ())


def _one(part: type[Part], document: Mapping[str, Any] | None) -> Part | None:
    return None if document is None else part(**_known(part, document))


def _known(part: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a document that a part has; lists as tuples. Raises `TypeError` for values of another type."""
    known = {
        field.name: tuple(value) if isinstance(value, list) else value
        for field in dataclasses.fields(part)
        for value in (document.get(field.name, dataclasses.MISSING),)
        if value is not dataclasses.MISSING
    }
    types = {field.name: str(field.type) for field in dataclasses.fields(part)}
    for name, value in known.items():
        if not _is_of(types[name], value):
            raise TypeError(f"{name} is {value!r:.80}")
    return known


def _is_of(kind: str, value: Any) -> bool:
    """Whether a value is of a type as an annotation spells it; parts are looked at by themselves."""
    plain_kind, _, other = kind.partition(" | ")
    if other == "None" and value is None:
        return True
    if plain_kind == "float":
        return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if plain_kind in _TYPES:
        return type(value) is _TYPES[plain_kind]
    if plain_kind == "tuple[str, ...]":
        return isinstance(value, tuple) and all(isinstance(one, str) for one in value)
    if plain_kind == "Mapping[str, float]":
        return isinstance(value, dict) and all(_is_of("float", one) for one in value.values())
    return True
