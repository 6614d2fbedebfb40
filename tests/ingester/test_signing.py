"""The ingester signs days on request and mends at its start; without a key it says that nothing is signed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from services.common.chain.keys import new_signing_key, signing_folder
from services.common.chain.store import read_chain
from services.common.days.adopting import adopt
from services.common.days.proof import prove_day
from services.common.days.sealing import Sealer
from services.common.errors import UsageError
from services.common.events.vocabulary import load_vocabulary
from services.ingester.holding import BookKeeper
from services.ingester.jobs_kinds import make_jobs
from services.ingester.jobs_versions import ADOPT, SIGN_REMOVAL
from services.ingester.queue import ByteQueue
from services.ingester.sealing_jobs import JobTools
from services.ingester.settings import IngesterSettings
from services.ingester.signing import Signing

from .conftest import DAY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.embedders import Embedders
    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.ingester.jobs import Jobs


@pytest.fixture
def signing(state: StateNames, disk: Disk, clock: Any) -> Signing:
    return Signing(state, state.keys, disk, clock.ns)


@pytest.fixture
def sealed(
    state: StateNames,
    start: Callable[[], Any],
    make_events: Callable[..., list[bytes]],
    disk: Disk,
    embedders: Embedders,
) -> None:
    """A day that was sealed without a key."""
    opened = start()
    opened.add(make_events(20))
    opened.intake.rotate(DAY)
    Sealer(disk, load_vocabulary(), embedders, lambda *_: None).seal(state.day(DAY), 1)


@pytest.fixture
def jobs(state: StateNames, signing: Signing, disk: Disk, clock: Any, reports: Any) -> Iterator[Jobs]:
    """The thread that works on days; it gets nothing to seal."""
    nobody: Any = None
    tools = JobTools(
        nobody,
        nobody,
        ByteQueue(1),
        disk,
        signing,
        clock.ns,
        clock.monotonic,
        reports,
        lambda: False,
        BookKeeper(state, disk),
    )
    made = make_jobs(state, lambda: IngesterSettings(state=state.root, keys=state.keys), tools)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join()


def ended(jobs: Jobs, job: str, eventually: Callable[..., None]) -> dict[str, Any]:
    eventually("the job ends", lambda: jobs.status(job)["state"] in {"done", "failed"})
    return jobs.status(job)


@pytest.mark.usefixtures("sealed")
def test_a_day_is_signed_on_request(
    jobs: Jobs, state: StateNames, disk: Disk, reports: Any, eventually: Callable[..., None]
) -> None:
    """Without a key that is refused; with one the day is proved, and the head is logged to be noted elsewhere."""
    refused = ended(jobs, jobs.request(ADOPT, {"day": DAY}), eventually)
    assert "There is no signing key" in refused["error"]
    new_signing_key(state.keys, disk)
    signed = ended(jobs, jobs.request(ADOPT, {"day": DAY}), eventually)
    assert signed["report"]["generation"] == 1
    chain = read_chain(state.links, None)
    assert prove_day(DAY, [state.day(DAY)], chain).faults == ()
    eventually("the head is logged", lambda: reports.named("chain_head") == [{"link": 2, "head": chain.head}])
    kept = ended(jobs, jobs.request(SIGN_REMOVAL, {"day": DAY}), eventually)
    assert "move or delete it first" in kept["error"]
    with pytest.raises(UsageError, match="not a day"):
        jobs.request(ADOPT, {"day": "../etc"})


@pytest.mark.usefixtures("sealed")
def test_a_start_mends_and_says_what_it_did(state: StateNames, signing: Signing, disk: Disk) -> None:
    """No key: one sentence. A pointer behind its link: it follows. An altered chain: named once, and it goes on."""
    told: list[str] = []
    signing.prepare(told.append)
    assert len(told) == 1
    assert "days are sealed without a signature" in told[0]
    new_signing_key(state.keys, disk)
    adopt(state.day(DAY), signing.links())
    state.day(DAY).current.unlink()
    told.clear()
    signing.prepare(told.append)
    assert told == [f"{state.day(DAY).current} names generation 1 now, as the last link says"]
    lines = state.links.read_bytes().split(b"\n")
    state.links.write_bytes(b"\n".join([lines[0].replace(b"begin", b"Begin"), *lines[1:]]))
    told.clear()
    disk.make_folder(state.day("2026-01-23").open_folder)
    signing.prepare(told.append)
    assert len(told) == 1
    assert "is damaged (link 1 was altered" in told[0]


def test_who_signs_is_told(signing: Signing, state: StateNames, disk: Disk) -> None:
    """`appia status` shows it; a key that cannot be read is none."""
    assert signing.key_id() == ""
    key = new_signing_key(state.keys, disk).public
    assert signing.key_id() == key.id
    active = signing_folder(state.keys) / "ACTIVE"
    active.chmod(0o600)
    active.write_text("../../etc/passwd")
    assert signing.key_id() == ""
