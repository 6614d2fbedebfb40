"""How bad an alert is."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Iterable

Severity: TypeAlias = Literal["info", "warning", "critical"]

INFO: Severity = "info"
CRITICAL: Severity = "critical"
LEVELS: tuple[Severity, ...] = get_args(Severity)

_RANK = MappingProxyType({name: rank for rank, name in enumerate(LEVELS)})


def reaches(severity: Severity, least: Severity) -> bool:
    """Whether a severity is at least another."""
    return _RANK[severity] >= _RANK[least]


def worst(severities: Iterable[Severity]) -> Severity:
    """The highest of them; `info` of none."""
    return max(severities, key=lambda severity: _RANK[severity], default=INFO)
