"""The log gives back exactly what was written, and never what was not."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.days.log import LogReader, LogWriter
from services.common.days.log_blocks import unpack_block
from services.common.days.log_format import BLOCK, EVENT, Damage, Record
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk


def _write(disk: Disk, path: Path, payloads: list[bytes]) -> list[int]:
    log = LogWriter(disk, path)
    offsets = log.append(EVENT, 0, payloads)
    log.close()
    return offsets.tolist()


def _events(path: Path) -> tuple[list[tuple[int, bytes]], list[Damage]]:
    reader = LogReader(path)
    found = list(reader.scan())
    reader.close()
    events = [(record.lsn, record.payload) for record in found if isinstance(record, Record)]
    return events, [record for record in found if isinstance(record, Damage)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(payloads=st.lists(st.binary(max_size=3000), max_size=20))
def test_every_record_comes_back_in_order(tmp_path: Path, disk: Disk, payloads: list[bytes]) -> None:
    """A scan yields all payloads with their numbers, and reading by offset gives the same."""
    path = tmp_path / f"{np.random.default_rng().integers(1 << 60)}.log"
    offsets = _write(disk, path, payloads)
    assert _events(path) == (list(enumerate(payloads)), [])
    reader = LogReader(path)
    for offset, payload in zip(offsets, payloads, strict=True):
        record = reader.record(offset)
        assert record is not None
        assert record.payload == payload
    reader.close()


def test_a_cut_at_any_byte_leaves_the_whole_records_before_it(tmp_path: Path, disk: Disk) -> None:
    """However much of the end is lost, what was complete is read and the rest is named as a torn tail."""
    path = tmp_path / "a.log"
    payloads = [b"first", b"second record", b"x" * 40]
    offsets = _write(disk, path, payloads)
    whole = path.read_bytes()
    for size in range(offsets[0], len(whole)):
        path.write_bytes(whole[:size])
        events, damage = _events(path)
        complete = sum(end <= size for end in [*offsets[1:], len(whole)])
        assert events == list(enumerate(payloads[:complete]))
        assert bool(damage) == (size not in [*offsets, len(whole)])
        assert all(part.tail for part in damage)


def test_a_flipped_bit_anywhere_never_yields_a_wrong_record(tmp_path: Path, disk: Disk) -> None:
    """Every single-bit error of the records is noticed; the records around it are kept."""
    path = tmp_path / "a.log"
    payloads = [bytes([i]) * 12 for i in range(6)]
    start = _write(disk, path, payloads)[0]
    whole = path.read_bytes()
    for bit in range(start * 8, len(whole) * 8, 3):
        raw = bytearray(whole)
        raw[bit // 8] ^= 1 << bit % 8
        path.write_bytes(raw)
        events, damage = _events(path)
        assert set(events) < set(enumerate(payloads))
        assert len(events) == len(payloads) - 1
        assert len(damage) == 1


def test_a_record_of_another_file_does_not_pass(tmp_path: Path, disk: Disk) -> None:
    """The checksum covers the file's id: a record copied from another log is damage."""
    (offset,) = _write(disk, tmp_path / "a.log", [b"same"])
    _write(disk, tmp_path / "b.log", [b"same"])
    raw = (tmp_path / "b.log").read_bytes()[:offset] + (tmp_path / "a.log").read_bytes()[offset:]
    (tmp_path / "b.log").write_bytes(raw)
    events, damage = _events(tmp_path / "b.log")
    assert events == []
    assert len(damage) == 1


def test_a_damaged_middle_is_named_exactly(tmp_path: Path, disk: Disk) -> None:
    """The bytes set aside are those of the damaged record, no more."""
    path = tmp_path / "a.log"
    offsets = _write(disk, path, [b"one", b"two", b"three"])
    raw = bytearray(path.read_bytes())
    raw[offsets[1]] ^= 0xFF
    path.write_bytes(raw)
    events, damage = _events(path)
    assert [payload for _, payload in events] == [b"one", b"three"]
    assert damage == [Damage(offsets[1], offsets[2], tail=False)]


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"", "too short"), (b"x" * 64, "does not begin"), (b"APPIALOG" + b"\0" * 40, "does not begin")],
)
def test_what_is_no_log_is_refused(tmp_path: Path, raw: bytes, words: str) -> None:
    """A foreign or empty file gives a sentence instead of records."""
    (tmp_path / "a.log").write_bytes(raw)
    with pytest.raises(AppiaError, match=words):
        LogReader(tmp_path / "a.log")


def test_a_log_file_is_never_written_twice(tmp_path: Path, disk: Disk) -> None:
    """A restart opens a new file: appending to an old one is refused."""
    _write(disk, tmp_path / "a.log", [b"x"])
    with pytest.raises(AppiaError, match="never written twice"):
        LogWriter(disk, tmp_path / "a.log")


@pytest.mark.parametrize("level", [0, 6, 12])
def test_compressed_blocks_give_single_events_back(tmp_path: Path, disk: Disk, level: int) -> None:
    """Each event of a block is read by its position, whatever the compression."""
    payloads = [b"event %d " % i * 20 for i in range(32)]
    log = LogWriter(disk, tmp_path / "a.log")
    positions = log.append_block(0, payloads, level)
    log.close()
    reader = LogReader(tmp_path / "a.log")
    assert [reader.event(position) for position in positions.tolist()] == payloads
    with pytest.raises(AppiaError, match="no number 200"):
        reader.event(int(positions[0]) | 200)
    with pytest.raises(AppiaError, match="no valid block"):
        reader.event(int(positions[0]) + (1 << 8))
    reader.close()


@given(payload=st.binary(max_size=200))
def test_a_malformed_block_is_an_error_and_nothing_worse(payload: bytes) -> None:
    """Arbitrary bytes as a block raise ValueError or give events; memory is not reserved on a claim alone."""
    try:
        events = unpack_block(payload[:4] + b"\x40\x00\x00\x00" + payload[4:])
    except ValueError:
        return
    assert sum(map(len, events)) <= 64


def test_numbers_of_blocks_are_their_first_events(tmp_path: Path, disk: Disk) -> None:
    """A block's lsn is the row of its first event, so that rows can be counted in a scan."""
    log = LogWriter(disk, tmp_path / "a.log")
    log.append_block(0, [b"a", b"b"], 0)
    log.append_block(2, [b"c"], 0)
    log.close()
    reader = LogReader(tmp_path / "a.log")
    records = [record for record in reader.scan() if isinstance(record, Record)]
    assert [(record.type, record.lsn) for record in records] == [(BLOCK, 0), (BLOCK, 2)]
    reader.close()


def test_the_largest_events_fit_into_a_block_even_if_they_do_not_compress(tmp_path: Path, disk: Disk) -> None:
    """A day of 1 MiB events of noise is read back after sealing."""
    noise = np.random.default_rng(5)
    payloads = [noise.bytes(1 << 20) for _ in range(32)]
    log = LogWriter(disk, tmp_path / "a.log")
    positions = log.append_block(0, payloads, 0)
    log.close()
    reader = LogReader(tmp_path / "a.log")
    assert reader.event(int(positions[31])) == payloads[31]
    reader.close()


def test_a_block_that_is_none_although_its_checksum_fits_is_an_error_with_its_place(
    tmp_path: Path, disk: Disk
) -> None:
    """Whoever can write files can make a checksum fit; a question about the event still gets one sentence."""
    writer = LogWriter(disk, tmp_path / "a.log")
    (offset,) = writer.append(BLOCK, 0, [b"\xff" * 40])
    writer.close()
    with (
        closing(LogReader(tmp_path / "a.log")) as log,
        pytest.raises(AppiaError, match=f"no valid block at {offset}"),
    ):
        log.event(int(offset) << 8)
