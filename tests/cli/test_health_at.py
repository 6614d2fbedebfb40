"""Where commands find the health service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.cli.health_at import HEALTH, health_entry
from services.cli.running import IngesterAt, Running
from services.common.errors import AppiaError
from services.common.registry.files import FileRegistry
from services.common.registry.port import Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

OWN = "tcp://127.0.0.1:9"


class Registry(FileRegistry):
    """Says what a test wants; None is away."""

    def __init__(self, entries: Sequence[Entry] | None) -> None:
        self._entries = entries

    def entries(self, kind: str) -> Sequence[Entry]:
        assert kind == HEALTH
        if self._entries is None:
            raise AppiaError("etcd is away")
        return self._entries


def running(health: str) -> Running:
    return Running(
        state="/srv/appia",
        registry="file",
        pid=1,
        ingester=IngesterAt(2, "", "", ""),
        replicas=[],
        keys="",
        health=health,
    )


@pytest.mark.parametrize(
    ("entries", "own", "found"),
    [
        ([Entry(HEALTH, HEALTH, "tcp://127.0.0.1:8")], OWN, "tcp://127.0.0.1:8"),
        ([], OWN, OWN),  # a full disk: it cannot renew its entry
        (None, OWN, OWN),
        ([], "", None),
    ],
)
def test_the_stack_says_where_health_is_while_the_registry_does_not(
    entries: list[Entry] | None, own: str, found: str | None
) -> None:
    """Health has to be found when something is wrong."""
    entry = health_entry(Registry(entries), running(own))
    assert (entry and entry.address) == found


def test_without_health_a_registry_that_is_away_is_said() -> None:
    """Nobody knows then whether there is one."""
    with pytest.raises(AppiaError, match="etcd is away"):
        health_entry(Registry(None), running(""))
