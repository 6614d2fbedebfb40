"""A replica is ready while it serves what is published within its bound, by the files and not by its own belief."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from services.common.access.rights import EVERYTHING, Days, Principal
from services.common.observing.condition import FACTS, Readiness
from services.common.rpc import Deadline
from services.rag import readiness
from services.rag.operations import Operations, Replica
from services.rag.readiness import Lag, ReplicaReadiness, served_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from services.rag.catalog import Snapshot

SEALED, OPEN, LATE = "2026-01-20", "2026-01-21", "2026-01-22"


@dataclass
class Frozen:
    """A catalog that shows what it showed when it was frozen: as one whose thread hangs."""

    snapshot: Snapshot | None = None
    opened: bool = True
    catalog: Any = None

    def wait_opened(self, _timeout_s: float) -> bool:
        return self.opened

    def lease(self) -> AbstractContextManager[Snapshot]:
        lease: AbstractContextManager[Snapshot] = (
            _Held(self.snapshot) if self.snapshot else self.catalog.lease()
        )
        return lease

    def rows(self) -> int:
        with self.lease() as snapshot:
            return snapshot.rows

    def freeze(self) -> None:
        with self.catalog.lease() as snapshot:
            self.snapshot = snapshot


@dataclass
class _Held:
    snapshot: Any

    def __enter__(self) -> Any:
        return self.snapshot

    def __exit__(self, *_: object) -> None:
        pass


@dataclass
class Judged:
    """A replica's readiness over a world, with a clock and a catalog that the test holds."""

    readiness: ReplicaReadiness
    shown: Frozen
    now: list[float] = field(default_factory=list)

    def after(self, seconds: float) -> Readiness:
        self.now[0] += seconds
        return self.readiness()


@pytest.fixture
def judged(follow: Callable[[Any], Any], world: Any) -> Callable[..., Judged]:
    """Readiness of a replica that follows `world`, with a bound of 30 s."""

    def make(bound: float = 30.0) -> Judged:
        shown, now = Frozen(catalog=follow(world)), [1000.0]
        return Judged(ReplicaReadiness(world.state, shown, lambda: bound, lambda: now[0]), shown, now)  # type: ignore[arg-type]

    return make


def test_it_is_ready_when_it_serves_everything(world: Any, judged: Any) -> None:
    """Also with nothing at all, and not before the days were opened."""
    one = judged()
    one.shown.opened = False
    assert one.after(0) == Readiness(ready=False, why="Days are still being opened.")
    one.shown.opened = True
    assert one.after(2) == Readiness(ready=True)
    world.fill(SEALED, 20, sealed=True)
    world.fill(OPEN, 10, sealed=False)
    two = judged()
    assert two.after(0) == Readiness(ready=True)
    assert two.readiness.lag() == Lag()


def test_a_generation_has_to_be_served_in_time(world: Any, judged: Any, until: Any) -> None:
    """A replica that hangs is behind from when the pointer changed, and not ready when the bound is over."""
    world.fill(SEALED, 20, sealed=True)
    one = judged()
    assert one.after(0).ready
    one.shown.freeze()
    world.write(SEALED, world.make(SEALED, 5), segment=2)
    world.seal(SEALED, 2)
    assert one.after(2).ready
    assert one.readiness.lag() == Lag(1, 0, 0.0)
    assert one.after(29).ready
    assert one.readiness.lag().seconds == pytest.approx(29)
    late = one.after(2)
    assert (late.ready, late.why) == (
        False,
        f"It does not serve what is there: generation 2 of {SEALED} (it has 1).",
    )
    one.shown.snapshot = None
    until(lambda: one.after(2).ready)
    assert one.readiness.lag() == Lag()


def test_a_day_that_is_not_served_at_all(world: Any, judged: Any) -> None:
    """A day that came while it hung is named too, and of many only three."""
    one = judged()
    one.shown.freeze()
    for day in range(20, 25):
        world.fill(f"2026-01-{day}", 3, sealed=True)
    assert one.after(2).ready
    assert one.after(31).why == (
        "It does not serve what is there: generation 1 of 2026-01-20; generation 1 of 2026-01-21; generation 1 of "
        "2026-01-22; and 2 more."
    )


def test_rows_that_come_on_and_on_are_no_reason(world: Any, judged: Any, until: Any) -> None:
    """With rows that are new at each look it is ready for as long as those of the look before have arrived."""
    world.fill(OPEN, 10, sealed=False)
    one = judged()
    for number in range(4):
        until(lambda: one.shown.rows() == 10 + 5 * number)  # noqa: B023 - called before the next round
        one.shown.freeze()
        world.write(OPEN, world.make(OPEN, 5))
        assert one.after(20).ready
        assert one.readiness.lag().rows == 5
        one.shown.snapshot = None
    until(lambda: one.shown.rows() == 30)
    one.shown.freeze()
    world.write(OPEN, world.make(OPEN, 7))
    assert one.after(2).ready
    assert one.after(31).why == f"It does not serve what is there: 7 rows of {OPEN}."


def test_it_looks_once_a_second(judged: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask."""
    one = judged()
    looks: list[float] = []
    monkeypatch.setattr(one.readiness, "_look", lambda now: looks.append(now) or Readiness(ready=True))
    for _ in range(30):
        one.after(0.1)
    assert 2 <= len(looks) <= 4


def test_what_is_damaged_or_gone_does_not_stop_it(
    world: Any, judged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pointer that cannot be read is no generation to compare with; a state directory that cannot be read is told."""
    world.fill(SEALED, 5, sealed=True)
    one = judged()
    world.state.day(SEALED).current.write_text("nonsense")
    assert one.after(2).ready

    def broken(_names: object) -> dict[int, int]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(readiness, "published", broken)
    found = one.after(2)
    assert not found.ready
    assert found.why.startswith("The state directory cannot be read")


@pytest.fixture
def ping(world: Any, follow: Callable[[Any], Any]) -> Iterator[Callable[..., dict[str, Any]]]:
    world.fill(SEALED, 20, sealed=True)
    world.fill(OPEN, 10, sealed=False)
    why = Readiness(ready=False, why=f"It does not serve what is there: generation 2 of {SEALED}.")
    operations = Operations(follow(world), {}, Replica("rag-7", 42, "0.0", 0.0, lambda: why))

    def ask(**limits: Any) -> dict[str, Any]:
        rights = EVERYTHING if not limits else EVERYTHING.__class__(**{**vars(EVERYTHING), **limits})
        return operations.handlers(Principal("ana", rights))["ping"]({}, Deadline())  # type: ignore[return-value]

    return ask  # type: ignore[return-value]


def test_ping_tells_no_more_than_a_key_may_see(ping: Callable[..., dict[str, Any]], monkeypatch: Any) -> None:
    """Without the right `facts` nothing about events; with it, of the days that the key may see, and no others."""
    monkeypatch.setattr("services.rag.operations.OPERATIONS", {"ping": _Reading()})
    everything = ping()
    assert (everything["rows"], everything["newest_generation"]) == (30, f"{SEALED}/1")
    assert SEALED in everything["why"]
    assert everything["ready"] is False
    assert set(FACTS).isdisjoint(ping(operations=frozenset({"get"})))
    limited = ping(days=(Days(((OPEN, OPEN),)),))
    assert (limited["rows"], limited["newest_generation"], limited["why"]) == (10, "", "")
    assert SEALED not in str(limited)


def test_days_that_a_mirror_does_not_hold_are_counted(world: Any, follow: Callable[..., Any]) -> None:
    """Health would take them for a lag otherwise."""
    world.fill(SEALED, 20, sealed=True)
    with follow(world).lease() as snapshot:
        assert served_by(snapshot).days_not_held == 0
        part = replace(snapshot, not_held=(("2026-01-01", "there is no room for it"),))
        assert served_by(part).days_not_held == 1


class _Reading:
    name = "ping"

    def read(self, raw: dict[str, Any]) -> dict[str, Any]:
        return raw
