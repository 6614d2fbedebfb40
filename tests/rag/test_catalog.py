"""A catalog follows what another process writes: new rows, new days, sealing, damage, and files that vanish."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.chain.follower import ChainFollower
from services.common.chain.keys import new_signing_key, read_signing_ring
from services.common.chain.store import ChainWriter
from services.common.days.adopting import adopt
from services.common.days.manifest import MANIFEST, digest_folder, read_manifest
from services.common.days.metadata import MetadataReader
from services.common.days.names import StateNames
from services.common.days.open_writer import VectorSpec, VectorWriter
from services.common.days.opening import Opening
from services.common.days.trial import ProcessTrials
from services.common.errors import AppiaError
from services.common.logs import make_logger
from services.rag.catalog import Catalog
from services.rag.day_files import DayFiles, look_at_day
from services.rag.events import find_event
from services.rag.main import _wait_opened

if TYPE_CHECKING:
    from pathlib import Path


def _rows(catalog: Catalog) -> int:
    with catalog.lease() as snapshot:
        return snapshot.rows


def _names(catalog: Catalog) -> list[str]:
    with catalog.lease() as snapshot:
        return [f"{segment.view.day}/{segment.view.name}" for segment in snapshot.segments]


def _faults(catalog: Catalog) -> dict[str, str]:
    with catalog.lease() as snapshot:
        return dict(snapshot.faults)


def test_new_rows_and_days_appear(world: Any, follow: Any, until: Any) -> None:
    """Rows of an open day, and days that begin later, are seen without a restart."""
    world.fill("2026-01-22", 10, sealed=False)
    catalog = follow(world)
    assert _rows(catalog) == 10
    world.fill("2026-01-22", 5, sealed=False)
    until(lambda: _rows(catalog) == 15)
    world.fill("2026-01-23", 7, sealed=False)
    until(lambda: _rows(catalog) == 22)
    assert _names(catalog) == ["2026-01-22/open-000001", "2026-01-23/open-000001"]


def test_an_empty_state_is_served(world: Any, follow: Any, until: Any) -> None:
    """A state directory without any day is no error, and its first day appears."""
    catalog = follow(world)
    assert _rows(catalog) == 0
    world.fill("2026-01-22", 3, sealed=True)
    until(lambda: _rows(catalog) == 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "is not a state directory"), ("99\n", "install a newer appia"), ("x", "it is damaged")],
)
def test_a_wrong_state_directory_is_one_sentence(tmp_path: Path, content: str | None, said: str) -> None:
    """A directory that is absent, damaged or of a newer release is refused before anything is opened."""
    if content is not None:
        (tmp_path / "VERSION").write_text(content)
    with pytest.raises(AppiaError, match=said):
        Catalog(StateNames(tmp_path), make_logger("test"))


def test_sealing_loses_and_doubles_nothing(world: Any, follow: Any, until: Any) -> None:
    """While a day is sealed, every snapshot has each of its events exactly once."""
    world.fill("2026-01-22", 200, sealed=False)
    catalog = follow(world)
    seen: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            with catalog.lease() as snapshot:
                seen.add(snapshot.rows)
                for segment in snapshot.segments:
                    found = segment.view.events.fetch([0, segment.view.rows - 1])
                    assert len(found) == 2

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        world.seal("2026-01-22")
        until(lambda: _names(catalog) == ["2026-01-22/sealed-000001"])
    finally:
        done.set()
        watcher.join()
    assert seen == {200}


def test_a_day_that_took_long_to_open_hides_no_later_one(
    world: Any, follow: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening takes as long as it takes; what comes next is noticed as quickly as ever."""

    def look_slowly(known: DayFiles, now: float) -> DayFiles:
        found = look_at_day(known, now)
        if found.sealed is not known.sealed:
            time.sleep(0.5)
        return found

    monkeypatch.setattr("services.rag.catalog.look_at_day", look_slowly)
    world.fill("2026-01-22", 10, sealed=False)
    catalog = follow(world)
    world.seal("2026-01-22")
    until(lambda: _names(catalog) == ["2026-01-22/sealed-000001"])
    world.fill("2026-01-23", 7, sealed=False)
    began = time.monotonic()
    until(lambda: _rows(catalog) == 17)
    assert time.monotonic() - began < 3.0


def test_late_events_make_a_new_generation(world: Any, follow: Any, until: Any) -> None:
    """Events after sealing are served from a new segment, then from the next generation."""
    world.fill("2026-01-22", 50, sealed=True)
    catalog = follow(world)
    world.write("2026-01-22", world.make("2026-01-22", 5), segment=2)
    until(lambda: _rows(catalog) == 55)
    assert _names(catalog) == ["2026-01-22/sealed-000001", "2026-01-22/open-000002"]
    world.seal("2026-01-22", 2)
    until(lambda: _names(catalog) == ["2026-01-22/sealed-000002"])
    assert _rows(catalog) == 55


def test_a_lease_keeps_what_sealing_removes(world: Any, follow: Any, until: Any) -> None:
    """A query that began before the sealing reads its open segment to the end, although its files are gone."""
    events = world.fill("2026-01-22", 20, sealed=False)
    catalog = follow(world)
    with catalog.lease() as snapshot:
        world.seal("2026-01-22")
        until(lambda: _names(catalog) == ["2026-01-22/sealed-000001"])
        assert not world.state.day("2026-01-22").segments()
        place = find_event(snapshot, events[0].event_id)
        assert place.view.name == "open-000001"
        assert place.view.events.fetch([place.row])[0]["event_id"] == events[0].event_id
    until(lambda: not catalog._retired)


def test_a_malformed_index_is_missing_and_the_rest_serves(
    world: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files fit its manifest, so only a trial finds that the vector of a row is not there."""
    world.fill("2026-01-22", 20, sealed=True)
    folder = world.state.day("2026-01-22").generation(1).index_version("attack", 1)
    codes = np.fromfile(folder / "rows.bin", "<u4")
    codes[3] = 1_000_000
    for name in ("rows.bin", MANIFEST):
        (folder / name).chmod(0o644)
    codes.tofile(folder / "rows.bin")
    changed = replace(read_manifest(folder), artifacts=digest_folder(folder))
    (folder / MANIFEST).write_bytes(changed.to_json())
    catalog = Catalog(world.state, make_logger("test"), Opening(trials=ProcessTrials()))
    catalog.start()
    try:
        assert catalog.wait_opened(30)
        with catalog.lease() as snapshot:
            (segment,) = snapshot.segments
            assert set(segment.view.indices) == {"semantic", "temporal"}
            assert "a row has a vector beyond" in segment.view.missing["attack"]
            assert segment.view.hosts is not None
    finally:
        catalog.stop()
    told = [line for line in "".join(capsys.readouterr()).splitlines() if "an index cannot be used" in line]
    assert len(told) == 1
    assert '"index": "attack"' in told[0]


def test_an_index_that_could_not_be_opened_is_tried_again(world: Any) -> None:
    """Its file was unreadable for a while, and a minute later it is not: nothing needs to be started again."""
    world.fill("2026-01-22", 20, sealed=True)
    names = world.state.day("2026-01-22")
    rows = names.generation(1).index_version("attack", 1) / "rows.bin"
    rows.rename(rows.with_suffix(".away"))
    known = look_at_day(look_at_day(DayFiles(names), 0.0), 0.1)
    try:
        assert known.sealed is not None
        assert "rows.bin is missing" in known.sealed.view.missing["attack"]
        assert look_at_day(known, 59.0) is known
        rows.with_suffix(".away").rename(rows)
        again = look_at_day(known, 61.0)
        assert again.sealed is not None
        assert "attack" in again.sealed.view.indices
        assert not again.sealed.view.missing
        assert look_at_day(again, 600.0) is again
    finally:
        for reader in known.readers():
            reader.close()


def test_an_index_that_is_built_later_appears(world: Any, follow: Any, until: Any) -> None:
    """A sealed day serves without an index and takes it up once it is published."""
    world.fill("2026-01-22", 20, sealed=True)
    pointer = world.state.day("2026-01-22").generation(1).index_current("attack")
    content = pointer.read_bytes()
    pointer.unlink()
    catalog = follow(world)
    with catalog.lease() as snapshot:
        assert set(snapshot.segments[0].view.indices) == {"semantic", "temporal"}
        assert snapshot.segments[0].view.missing == {"attack": "not built yet"}
    world.disk.write_file(pointer, content)

    def served() -> bool:
        with catalog.lease() as snapshot:
            return "attack" in snapshot.segments[0].view.indices

    until(served)


@pytest.mark.parametrize("name", ["columns.bin", "addresses.bin", "symbols.bin", "manifest.json"])
def test_a_damaged_day_is_named_and_the_rest_serves(world: Any, follow: Any, name: str) -> None:
    """A flipped bit in a mapped file keeps that day out, with a sentence, and the other days in."""
    world.fill("2026-01-22", 20, sealed=True)
    world.fill("2026-01-23", 30, sealed=True)
    path = world.state.day("2026-01-22").generation(1).chunk / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x80
    path.chmod(0o644)
    path.write_bytes(raw)
    catalog = follow(world)
    assert _rows(catalog) == 30
    assert name in _faults(catalog)["2026-01-22"]


def test_a_damaged_day_that_is_sealed_anew_comes_back(world: Any, follow: Any, until: Any) -> None:
    """A day is tried again as soon as its pointer names another generation."""
    world.fill("2026-01-22", 20, sealed=True)
    names = world.state.day("2026-01-22")
    copy = names.generation(2).folder
    shutil.copytree(names.generation(1).folder, copy)
    columns = names.generation(1).chunk / "columns.bin"
    columns.chmod(0o644)
    columns.write_bytes(b"")
    catalog = follow(world)
    assert "2026-01-22" in _faults(catalog)
    world.disk.write_file(names.current, b"000002\n")
    until(lambda: _rows(catalog) == 20)
    assert _faults(catalog) == {}


def test_a_bad_new_generation_leaves_the_old_one_serving(world: Any, follow: Any, until: Any) -> None:
    """Where the generation that CURRENT names cannot be read, the one opened before goes on, and the fault is named."""
    world.fill("2026-01-22", 20, sealed=True)
    catalog = follow(world)
    world.disk.write_file(world.state.day("2026-01-22").current, b"000007\n")
    until(lambda: "2026-01-22" in _faults(catalog))
    assert _rows(catalog) == 20


def test_a_damaged_counter_keeps_the_last_rows(world: Any, follow: Any, until: Any) -> None:
    """A counter that fails its checksum is named; the rows seen before stay, and it recovers with the next write."""
    world.fill("2026-01-22", 20, sealed=False)
    catalog = follow(world)
    counts = world.state.day("2026-01-22").segment(1).counts("metadata")
    good = counts.read_bytes()
    counts.write_bytes(b"\xff" * 20)
    until(lambda: "2026-01-22" in _faults(catalog))
    assert _rows(catalog) == 20
    counts.write_bytes(good)
    until(lambda: not _faults(catalog))


def test_an_open_day_whose_database_cannot_be_opened_is_named_and_comes_back(
    world: Any, follow: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also at the start: the replica says so and serves the rest, and does not wait for ever."""
    world.fill("2026-01-22", 10, sealed=False)
    world.fill("2026-01-21", 5, sealed=True)
    opens = MetadataReader.__init__

    def fails(reader: MetadataReader, path: Path, *, immutable: bool) -> None:
        if not immutable:
            raise sqlite3.OperationalError("unable to open database file")
        opens(reader, path, immutable=immutable)

    monkeypatch.setattr(MetadataReader, "__init__", fails)
    catalog = follow(world)
    assert (_rows(catalog), _faults(catalog)) == (5, {"2026-01-22": "unable to open database file"})
    monkeypatch.setattr(MetadataReader, "__init__", opens)
    until(lambda: (_rows(catalog), _faults(catalog)) == (15, {}))


def test_a_replica_whose_days_nobody_opens_ends_and_is_started_again(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would wait until its time to start is over, and answer nothing."""
    monkeypatch.setattr(threading, "excepthook", lambda _failed: None)
    monkeypatch.setattr(Catalog, "_open_first", lambda _catalog: 1 // 0)
    catalog = Catalog(world.state, make_logger("rag"))
    catalog.start()
    with pytest.raises(AppiaError, match="could not be opened"):
        _wait_opened(catalog, threading.Event(), 60)
    catalog.stop()


def test_a_day_that_is_removed_goes(world: Any, follow: Any, until: Any) -> None:
    """A day whose folder is deleted is no longer served."""
    world.fill("2026-01-22", 20, sealed=True)
    world.fill("2026-01-23", 30, sealed=True)
    catalog = follow(world)
    shutil.rmtree(world.state.day("2026-01-22").folder)
    until(lambda: _rows(catalog) == 30)


def test_a_segment_that_was_cut_back_is_followed_anew(world: Any, follow: Any, until: Any) -> None:
    """Fewer rows than before (a restart after a power cut) are mapped anew instead of reading beyond the end."""
    world.fill("2026-01-22", 20, sealed=False)
    catalog = follow(world)
    counts = world.disk.counts(world.state.day("2026-01-22").segment(1).counts("metadata"))
    counts.write(12, 0)
    until(lambda: _rows(catalog) == 12)
    counts.close()


def test_tallies_grow_with_the_rows(world: Any, follow: Any, until: Any) -> None:
    """What is counted while rows come in equals what is counted over all of them."""
    world.fill("2026-01-22", 30, sealed=False)
    catalog = follow(world)
    world.fill("2026-01-22", 30, sealed=False)
    until(lambda: _rows(catalog) == 60)
    with catalog.lease() as snapshot:
        (segment,) = snapshot.segments
        names = [segment.view.texts[code] for code in segment.view.columns["class"].tolist()]
        counts = {
            segment.view.texts[code]: int(count)
            for code, count in enumerate(segment.tally.counts["class"])
            if count
        }
        assert counts == {name: names.count(name) for name in set(names)}
        assert segment.tally.first_ns == min(segment.view.columns["time_ns"].tolist())
        assert segment.tally.last_ns == max(segment.view.columns["time_ns"].tolist())


def test_another_model_does_not_pull_the_file_away(world: Any, follow: Any, until: Any) -> None:
    """A restart of the ingester with another model leaves mapped vectors readable, and the new ones appear."""
    world.fill("2026-01-22", 2000, sealed=False)
    catalog = follow(world)
    names = world.state.day("2026-01-22").segment(1)
    with catalog.lease() as snapshot:
        index = snapshot.segments[0].view.indices["attack"]
        writer = VectorWriter(world.disk, names, VectorSpec("attack", "attack@other", index.spec.dim, "l2"))
        assert np.isfinite(index.vectors).all()
    writer.append(np.ones((2000, index.spec.dim), np.float32))
    writer.close()

    def renewed() -> bool:
        with catalog.lease() as snapshot:
            found = snapshot.segments[0].view.indices.get("attack")
            return found is not None and found.spec.model_id == "attack@other" and found.rows == 2000

    until(renewed)


def test_with_a_public_key_only_signed_days_are_served(world: Any, follow: Any, tmp_path: Path) -> None:
    """A day that no link names is a fault, one that was forged too; open days are served, and the signed one."""
    new_signing_key(tmp_path / "keys", world.disk)
    ring = read_signing_ring(tmp_path / "keys")
    assert ring is not None
    links = ChainWriter(world.state.links, ring, world.disk, lambda: 0)
    for day in ("2026-01-22", "2026-01-23", "2026-01-24"):
        world.fill(day, 5, sealed=True)
    world.fill("2026-01-25", 3, sealed=False)
    adopt(world.state.day("2026-01-22"), links)
    adopt(world.state.day("2026-01-23"), links)
    forged = world.state.day("2026-01-23").generation(1).chunk / "manifest.json"
    forged.chmod(0o644)
    forged.write_bytes(forged.read_bytes() + b" ")
    vouching = ChainFollower(world.state.links, ring.active.public, lambda _: None)
    with follow(world, Opening(vouching=vouching)).lease() as snapshot:
        days = [segment.view.day for segment in snapshot.segments]
        faults = dict(snapshot.faults)
    assert days == ["2026-01-22", "2026-01-25"]
    assert "was altered" in faults["2026-01-23"]
    assert "is in no link" in faults["2026-01-24"]
