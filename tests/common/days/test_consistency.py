"""A day that is whole is found whole; whatever is missing, of other events, or changed is named with what helps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from services.common.days import chunk, consistency
from services.common.days.consistency import (
    BACKUP,
    CORRUPT,
    MISSING,
    REINDEX,
    REPAIR,
    STALE,
    check_day,
    check_days,
    day_state_from,
    look_at_day,
    percent_of,
)
from services.common.days.manifest import MANIFEST, read_manifest
from services.common.days.names import INDICES, DayNames
from services.common.days.scrub import Pace, Scrubber

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.consistency import DayState
    from services.common.days.names import GenerationNames, StateNames
    from services.common.days.sealing import Sealer

DAY = "2026-01-22"
MODELS = {name: f"{name}@{'0' * 12}" for name in INDICES}


@pytest.fixture
def sealed(
    day: DayNames,
    sealer: Sealer,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> DayNames:
    """A sealed day of 60 events, with 20 late ones in an open segment."""
    assert sealer.seal(day, 1).failed == {}
    write_segment(day.segment(2), make_payloads(20, seed=2))
    return day


def quick(names: DayNames) -> DayState:
    return check_day(names, MODELS, sleep=lambda _s: None)


def full(names: DayNames) -> DayState:
    return Scrubber(MODELS, Pace()).check_day(names)


def flip(path: Path, at: int = -1) -> None:
    """Change one bit, and nothing else of a file."""
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def wrong(state: DayState) -> dict[str, tuple[str, str]]:
    """The state and remedy of each part that is not well."""
    return {part.name: (part.state, part.remedy) for part in state.wrong}


@pytest.mark.parametrize("check", [quick, full])
def test_a_whole_day_is_consistent(sealed: DayNames, check: Callable[[DayNames], DayState]) -> None:
    """Sealed and open events count; the plain values spell the same state."""
    found = check(sealed)
    assert (found.wrong, found.is_consistent, found.percent) == ((), True, 100.0)
    assert (found.total, found.consistent, found.generation) == (80, 80, 1)
    assert [(one.segment, one.rows, set(one.committed.values())) for one in found.open] == [(2, 20, {20})]
    assert {part.name: part.model for part in found.indices} == MODELS
    assert {part.version for part in found.indices} == {1}
    plain = json.loads(json.dumps(found.as_plain()))
    assert day_state_from(plain) == replace(found, full=check is full)
    assert (plain["total"], plain["is_consistent"]) == (80, True)


def test_a_day_that_is_only_open_has_nothing_sealed(day: DayNames) -> None:
    """Rows that an index has not taken yet are not consistent, and no fault."""
    day.segment(1).counts("semantic").unlink()
    found = full(day)
    assert (found.chunk, found.generation, found.is_consistent) == (None, 0, True)
    assert (found.total, found.consistent, found.percent) == (60, 0, 0.0)
    assert full(replace(day, folder=day.folder.with_name("2026-01-23"))).percent == 100.0


def _gone_version(one: GenerationNames) -> None:
    shutil.rmtree(one.index_version("semantic", 1))


def _gone_index(one: GenerationNames) -> None:
    shutil.rmtree(one.index("temporal"))


def _other_pointer(one: GenerationNames) -> None:
    one.index_current("attack").write_text("not a number\n")


def _torn_manifest(one: GenerationNames) -> None:
    path = one.index_version("entity", 1) / MANIFEST
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:50])


def _file_of(one: GenerationNames, index: str) -> Path:
    folder = one.index_version(index, 1)
    return folder / next(iter(read_manifest(folder).artifacts))


def _short(one: GenerationNames) -> None:
    path = _file_of(one, "attack")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def _no_columns(one: GenerationNames) -> None:
    (one.chunk / chunk.COLUMNS).unlink()


def _no_events(one: GenerationNames) -> None:
    (one.chunk / chunk.EVENTS).unlink()


def _no_manifest(one: GenerationNames) -> None:
    (one.chunk / MANIFEST).unlink()


def _fewer_rows(one: GenerationNames) -> None:
    folder = one.index_version("attack", 1)
    path = folder / MANIFEST
    path.chmod(0o644)
    path.write_bytes(replace(read_manifest(folder), rows=59).to_json())


@pytest.mark.parametrize(
    ("damage", "part", "is_found", "remedy"),
    [
        (_gone_version, "semantic", MISSING, REPAIR),
        (_gone_index, "temporal", MISSING, REPAIR),
        (_other_pointer, "attack", CORRUPT, REPAIR),
        (_torn_manifest, "entity", CORRUPT, REPAIR),
        (_short, "attack", CORRUPT, REPAIR),
        (_fewer_rows, "attack", STALE, REPAIR),
        (_no_columns, "chunk", MISSING, REPAIR),
        (_no_events, "chunk", MISSING, BACKUP),
    ],
)
def test_damage_that_sizes_show(
    sealed: DayNames,
    damage: Callable[[GenerationNames], None],
    part: str,
    is_found: str,
    remedy: str,
) -> None:
    """A quick look finds it, names the one part and what helps; the sealed events are no longer consistent."""
    damage(sealed.generation(1))
    found = quick(sealed)
    assert wrong(found) == {part: (is_found, remedy)}
    assert found.part(part) == found.wrong[0]
    assert found.wrong[0].why
    assert (found.total, found.consistent, found.percent) == (80, 20, 25.0)
    assert wrong(full(sealed)) == wrong(found)


def test_a_chunk_without_a_manifest_is_nothing_to_build_from(sealed: DayNames) -> None:
    """What its files were can no longer be shown: only a backup helps."""
    _no_manifest(sealed.generation(1))
    assert wrong(quick(sealed)) == {"chunk": (MISSING, BACKUP)}


@pytest.mark.parametrize("name", ["attack", "semantic", "temporal", "entity"])
def test_one_bit_of_an_index_shows_in_a_full_check_only(sealed: DayNames, name: str) -> None:
    """Sizes are as they were."""
    flip(_file_of(sealed.generation(1), name))
    assert wrong(quick(sealed)) == {}
    assert wrong(full(sealed)) == {name: (CORRUPT, REPAIR)}


@pytest.mark.parametrize(
    ("name", "remedy"),
    [(chunk.COLUMNS, REPAIR), (chunk.METADATA, REPAIR), (chunk.IDENTITIES, REPAIR), (chunk.EVENTS, BACKUP)],
)
def test_one_bit_of_a_chunk(sealed: DayNames, name: str, remedy: str) -> None:
    """All that is made from the events can be made again, the events cannot."""
    flip(sealed.generation(1).chunk / name, 100)
    assert wrong(quick(sealed)) == {}
    assert wrong(full(sealed)) == {"chunk": (CORRUPT, remedy)}


def test_a_pointer_of_a_day_that_is_gone_or_torn(sealed: DayNames) -> None:
    """Nothing of the sealed day is served then, whatever there is."""
    sealed.current.write_text("?\n")
    found = quick(sealed)
    assert wrong(found)["chunk"] == (CORRUPT, REPAIR)
    sealed.current.unlink()
    found = quick(sealed)
    assert wrong(found)["chunk"] == (MISSING, REPAIR)
    assert (found.generation, found.total, found.consistent) == (0, 80, 20)


def test_an_index_of_an_older_model_wants_a_look(sealed: DayNames) -> None:
    """It serves on, so it is no damage that is repaired; a model of another name is not compared."""
    models = {**MODELS, "attack": "attack@111111111111"}
    pauses: list[float] = []
    found = check_day(sealed, models, pauses.append)
    assert (wrong(found), pauses) == ({"attack": (STALE, REINDEX)}, []), "a model is not newer a moment later"
    assert "attack@000000000000" in found.wrong[0].why
    del models["attack"]
    assert look_at_day(sealed, models).wrong == ()


def test_a_bit_of_an_open_log_is_named(day: DayNames) -> None:
    """Records have checksums; what follows the damage is read on."""
    flip(day.segment(1).log(1), 300)
    found = full(day)
    assert not found.is_consistent
    (fault,) = found.open[0].faults
    assert "hold no valid record" in fault


def test_what_is_wrong_for_a_moment_is_looked_at_again(sealed: DayNames) -> None:
    """A pointer that comes half a second later was never missing."""
    sealed.current.rename(sealed.current.with_name("aside"))
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            sealed.current.with_name("aside").rename(sealed.current)

    assert check_day(sealed, MODELS, sleep).is_consistent
    assert len(pauses) == 2


def test_days_with_faults_wait_together(sealed: DayNames) -> None:
    """However many there are, the pauses are those of one; what is well is told before."""
    whole = sealed.folder.with_name("2030-01-01")
    shutil.copytree(sealed.folder, whole)
    sealed.current.unlink()
    pauses: list[float] = []
    found = list(check_days([sealed, DayNames(whole), sealed], MODELS, pauses.append))
    assert [one.day for one in found] == [whole.name, DAY, DAY]
    assert [one.is_consistent for one in found] == [True, False, False]
    assert len(pauses) == 2


def test_reading_keeps_to_a_rate(tmp_path: Path) -> None:
    """Three mebibytes at one a second take three seconds of the clock, and each piece is told."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * (3 << 20))
    now, told = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(1 << 20, told.append, sleep, lambda: now[0])
    digest = pace.digest(path)
    assert digest == Pace().digest(path)
    assert (now[0], told) == (3.0, [1 << 20, 2 << 20, 3 << 20])


def test_the_process_prints_states_and_loads_little(sealed: DayNames, state: StateNames) -> None:
    """A quick check needs neither numpy nor faiss; a full one finds the bit."""
    flip(_file_of(sealed.generation(1), "attack"))
    watched = (
        "import runpy, sys\n"
        f"sys.argv = ['check', {str(state.root)!r}, {DAY!r}]\n"
        "try: runpy.run_module('services.common.days.check_process', run_name='__main__')\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert not {'numpy', 'faiss', 'onnxruntime'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True, check=True)
    assert day_state_from(json.loads(done.stdout)["state"]).is_consistent
    command = [sys.executable, "-m", "services.common.days.check_process", str(state.root), "--full"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = day_state_from(json.loads(lines[-1])["state"])
    assert (wrong(found), found.full) == ({"attack": (CORRUPT, REPAIR)}, True)
    command[-2:] = [str(state.root / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "not a state directory" in json.loads(done.stdout)["error"]) == (1, True)


@pytest.mark.usefixtures("sealed")
def test_a_day_that_cannot_be_read_hides_no_other(state: StateNames) -> None:
    """A disk that fails at one day is just when the others have to be looked at."""
    (state.day("2030-01-01").current).mkdir(parents=True)
    for options in ((), ("--full",)):
        command = [sys.executable, "-m", "services.common.days.check_process", str(state.root), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = [json.loads(line) for line in done.stdout.splitlines()]
        found = [day_state_from(line["state"]) for line in said if "state" in line]
        whole, unread = sorted(found, key=lambda one: one.day)
        assert (done.returncode, unread.day, whole.day, whole.is_consistent) == (0, "2030-01-01", DAY, True)
        assert wrong(unread) == {"chunk": (CORRUPT, BACKUP)}
        assert unread.chunk is not None
        assert "Is a directory" in unread.chunk.why


def test_shares() -> None:
    assert (percent_of(0, 0), percent_of(1, 4)) == (100.0, 25.0)


def test_the_file_of_events_has_one_name() -> None:
    assert consistency.EVENTS == chunk.EVENTS
