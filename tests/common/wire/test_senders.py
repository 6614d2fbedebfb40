"""The table of senders: windows, boots that survive a restart, and bounds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import AppiaError
from services.common.wire.refusals import FrameRefused, Reason
from services.common.wire.senders import WINDOW, ReplayWindow, SenderTable

if TYPE_CHECKING:
    from pathlib import Path

SALT = b"s" * 16


@given(st.lists(st.one_of(st.integers(0, 40), st.integers(8180, 8210), st.integers(0, 40_000)), max_size=60))
def test_the_window_agrees_with_a_set(seqs: list[int]) -> None:
    """The bits say the same as a set of all marked numbers, inside the window."""
    window, marked = ReplayWindow(), set()
    for seq in seqs:
        window.mark(seq)
        marked.add(seq)
    for seq in [*seqs, *range(45)]:
        below = bool(seqs) and seq <= max(seqs) - WINDOW
        assert window.is_below(seq) == below
        assert (seq in window) == (seq in marked and not below)


def test_the_window_stays_small_however_far_it_jumps() -> None:
    """A jump to the last number there is costs no memory and forgets what is far behind."""
    window = ReplayWindow()
    window.mark(3)
    window.mark((1 << 64) - 1)
    assert window._bits == 1
    assert window.is_below(3)
    assert (1 << 64) - 1 in window
    assert (1 << 64) - 2 not in window


def refusal(table: SenderTable, sender: int, boot: int, salt: bytes = SALT) -> Reason:
    with pytest.raises(FrameRefused) as refused:
        table.admit(sender, boot, salt)
    return refused.value.reason


def test_an_older_boot_is_refused_and_a_newer_one_begins_afresh(tmp_path: Path) -> None:
    """A newer boot has an empty window; the older one is over."""
    table = SenderTable(tmp_path / "senders.json")
    table.admit(1, 10, SALT)
    table.mark(1, 10, 5)
    assert 5 in table.admit(1, 10, SALT)
    assert 5 not in table.admit(1, 11, b"t" * 16)
    assert refusal(table, 1, 10) is Reason.OLD_BOOT
    table.mark(1, 10, 6)
    assert 6 not in table.admit(1, 11, b"t" * 16)
    assert 5 not in table.admit(2, 10, SALT)


def test_one_boot_with_two_salts_is_two_processes(tmp_path: Path) -> None:
    """The frames of a copied sender must not pass for those of the first."""
    table = SenderTable(tmp_path / "senders.json")
    table.admit(1, 10, SALT)
    assert refusal(table, 1, 10, b"t" * 16) is Reason.SALT_CHANGED
    assert table.admit(1, 10, SALT) is not None


def test_boots_survive_a_restart_once_they_are_kept(tmp_path: Path) -> None:
    """After a restart an older boot is still refused; one that was never kept is not known."""
    path = tmp_path / "senders.json"
    first = SenderTable(path)
    first.admit((1 << 64) - 1, (1 << 64) - 1, SALT)
    first.keep()
    first.admit(2, 20, SALT)
    second = SenderTable(path)
    assert refusal(second, (1 << 64) - 1, 1) is Reason.OLD_BOOT
    assert second.admit(2, 19, SALT).highest == -1
    assert second.admit((1 << 64) - 1, (1 << 64) - 1, b"t" * 16).highest == -1


def test_the_file_is_written_only_for_new_boots(tmp_path: Path) -> None:
    """Frames of known boots cost no write."""
    path = tmp_path / "senders.json"
    table = SenderTable(path)
    table.keep()
    assert not path.exists()
    table.admit(1, 10, SALT)
    table.keep()
    path.unlink()
    table.admit(1, 10, SALT)
    table.keep()
    assert not path.exists()


def test_the_table_is_bounded_and_forgets_the_longest_silent(tmp_path: Path) -> None:
    """Three senders are kept; the one that was heard last stays."""
    path = tmp_path / "senders.json"
    table = SenderTable(path, max_senders=3)
    for sender in (1, 2, 3, 1, 4):
        table.admit(sender, 10, SALT)
    table.keep()
    assert set(json.loads(path.read_text())["boots"]) == {f"{sender:016x}" for sender in (1, 3, 4)}
    assert refusal(table, 1, 9) is Reason.OLD_BOOT
    table.mark(2, 10, 0)
    assert 0 not in table.admit(2, 10, SALT)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "boots": {}}',
        '{"format": 1, "boots": []}',
        '{"format": 1, "boots": {"x": 1}}',
        '{"format": 1, "boots": {"1": null}}',
    ],
)
def test_a_damaged_table_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    """The sentence names the file and says what starting without it means."""
    path = tmp_path / "senders.json"
    path.write_text(content)
    with pytest.raises(AppiaError, match=r"senders\.json.*Without the file"):
        SenderTable(path)


def test_a_table_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    """Failures of the disk name the path, and a later try can succeed."""
    with pytest.raises(AppiaError, match="could not be read"):
        SenderTable(tmp_path)
    table = SenderTable(tmp_path / "gone" / "senders.json")
    table.admit(1, 10, SALT)
    with pytest.raises(AppiaError, match="could not be written"):
        table.keep()
    (tmp_path / "gone").mkdir()
    table.keep()
    assert SenderTable(tmp_path / "gone" / "senders.json").admit(1, 10, SALT) is not None


def test_a_half_written_table_is_never_seen(tmp_path: Path) -> None:
    """What a crash left beside the file does not get in the way."""
    path = tmp_path / "senders.json"
    (tmp_path / ".senders.json.staged").write_text("{half")
    table = SenderTable(path)
    table.admit(1, 10, SALT)
    table.keep()
    assert [entry.name for entry in tmp_path.iterdir()] == ["senders.json"]
