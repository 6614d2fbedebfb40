"""Services are asked where they were while nobody can say where they are, and whom nobody could see is not dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.access.credentials import Credentials
from services.common.config.tree import HealthLive
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.registry.port import Entry, RegistryUnavailable
from services.health.memory import Memory
from services.health.observer import Eyes, Observer, Watched
from services.health.probes.asking import Asker
from services.health.probes.lag import Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.health.observation import Observation

NOW = 1_800_000_000_000_000_000


class Nothing:
    """Looks at nothing and has seen nothing."""

    def look(self, *_: Any, **__: Any) -> None:
        pass

    def seen(self, *_: Any) -> None:
        return None

    def states(self) -> dict[str, Any]:
        return {}

    def overdue_s(self, _every_s: float) -> float:
        return 0.0


class Registry:
    """Lists what it is told to, or is away."""

    def __init__(self) -> None:
        self.listed: list[Entry] | None = []

    def entries(self, kind: str) -> list[Entry]:
        if self.listed is None:
            raise RegistryUnavailable("etcd is away")
        return [entry for entry in self.listed if entry.kind == kind]


class World:
    def __init__(self, folder: Path, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.names, self.registry, self.seconds = StateNames(folder / "state"), Registry(), 0.0
        claim_layout(self.names, Disk())
        self.memory = Memory(self.names.root, Disk())
        nothing: Any = Nothing()
        self.asker = Asker(context, Credentials())
        self.config: dict[str, Any] = {}
        looks = (nothing, nothing, nothing, Files(self.names), nothing, nothing)
        eyes = Eyes(self.registry, self.asker, *looks, config=lambda: self.config)  # type: ignore[arg-type]
        watched = Watched(self.names, (self.names.root,), ("rag/rag-1",))
        self.observer = Observer(watched, eyes, self.memory, lambda: NOW, lambda: self.seconds)

    def see(self, seconds: float) -> Observation:
        self.seconds = seconds
        return self.observer.observe(HealthLive())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with zmq.Context() as context:
        made = World(tmp_path, context)
        yield made
        made.asker.close()


def test_who_was_never_seen_is_unknown_while_the_registry_is_away(world: World) -> None:
    """However long that takes; with the registry back it is down after a minute."""
    world.registry.listed = None
    seen = world.see(3600)
    assert [one.answers for one in seen.services] == [None]
    assert seen.registry == "etcd is away"
    world.registry.listed = []
    assert [one.answers for one in world.see(3601).services] == [False]


def test_who_is_gone_from_a_registry_that_is_away_is_asked_where_it_was(world: World) -> None:
    """Nobody listens there any more: that is said by the address, and not by the registry."""
    world.registry.listed = [Entry("rag", "rag-1", "tcp://127.0.0.1:9")]
    world.see(1)
    world.registry.listed = None
    (service,) = world.see(2).services
    assert (service.address, service.answers) == ("tcp://127.0.0.1:9", False)


def test_disks_are_seen_and_what_is_not_is_none(world: World) -> None:
    """Of an ingester that was never there nothing is said."""
    seen = world.see(1)
    assert [disk.path for disk in seen.disks] == [str(world.names.root)]
    assert (seen.intake, seen.sensors, seen.days, seen.chain) == (None, None, None, None)


def test_the_newest_configuration_is_known_and_what_health_refuses_of_it(world: World) -> None:
    """Of no configuration nothing is said; one that no service took is told by health itself."""
    assert world.see(1).config_revision is None
    world.config = {"config_read": 7, "config_revision": 6, "config_fault": "interval_s is too small"}
    seen = world.see(2)
    assert (seen.config_revision, seen.config_fault) == (7, "interval_s is too small")
