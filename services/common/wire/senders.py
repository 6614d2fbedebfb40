"""Who has sent version 2 frames: the latest boot of each sender and the frames of it that were handled."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.common.durable import REAL
from services.common.errors import AppiaError
from services.common.replacing import replace_file
from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.durable import Disk

WINDOW = 8192
MAX_SENDERS = 4096
TABLE_FORMAT = 1
WITHOUT_TABLE = (
    "Without the file the receiver starts too: old boots of known senders are then taken once more, and "
    "their events are recognised as duplicates."
)


@dataclass(slots=True)
class ReplayWindow:
    """Which of the last 8192 seqs were handled: 1 KiB, however far the numbers jump."""

    highest: int = -1
    _bits: int = 0
    """Bit n stands for seq `highest - n`."""

    def __contains__(self, seq: int) -> bool:
        """Say whether this seq was marked; False for one below the window."""
        return 0 <= self.highest - seq < WINDOW and bool(self._bits >> (self.highest - seq) & 1)

    def is_below(self, seq: int) -> bool:
        """Say whether this seq is too old to know anything about."""
        return seq <= self.highest - WINDOW

    def mark(self, seq: int) -> None:
        """Mark a seq; one below the window is left alone."""
        step = seq - self.highest
        if step >= WINDOW:
            self._bits = 1
        elif step > 0:
            self._bits = (self._bits << step | 1) & (1 << WINDOW) - 1
        elif not self.is_below(seq):
            self._bits |= 1 << -step
        self.highest = max(self.highest, seq)


@dataclass(slots=True)
class _Sender:
    boot: int
    salt: bytes | None = None
    window: ReplayWindow = field(default_factory=ReplayWindow)


class SenderTable:
    """The senders that were heard, at most `max_senders` (the longest silent are forgotten first).

    The boot numbers lie in one JSON file, `{"format": 1, "boots": {"<sender, 16 hex digits>": boot}}`, so
    that an older boot stays refused after a restart of the receiver. The windows do not: a frame that is
    replayed across a restart is opened again, and its events are recognised as duplicates by identity.
    """

    def __init__(self, path: Path, max_senders: int = MAX_SENDERS, disk: Disk = REAL) -> None:
        """Read the file, where there is one; raise AppiaError if it is damaged."""
        self._path, self._disk = path, disk
        self._max_senders = max_senders
        self._senders = OrderedDict((sender, _Sender(boot)) for sender, boot in _read_boots(path).items())
        self._unsaved = False

    def admit(self, sender: int, boot: int, salt: bytes) -> ReplayWindow:
        """Give the window of an authentic frame's sender and boot; a newer boot begins a new one.

        Raises:
            FrameRefused: old_boot, or salt_changed where one boot comes with two salts (two processes that
                believe to be the same sender: the frames of one would pass for the other's).
        """
        known = self._senders.get(sender)
        if known is None or boot > known.boot:
            known = self._senders[sender] = _Sender(boot)
            self._unsaved = True
        if boot < known.boot:
            raise FrameRefused(
                Reason.OLD_BOOT,
                f"boot {boot} of sender {sender:#018x}, which has booted as {known.boot} since",
            )
        known.salt = known.salt or salt
        if salt != known.salt:
            raise FrameRefused(Reason.SALT_CHANGED, f"boot {boot} of sender {sender:#018x} has two salts")
        self._senders.move_to_end(sender)
        if len(self._senders) > self._max_senders:
            self._senders.popitem(last=False)
        return known.window

    def mark(self, sender: int, boot: int, seq: int) -> None:
        """Mark a frame as handled; nothing happens where the sender has booted again or is forgotten."""
        known = self._senders.get(sender)
        if known is not None and known.boot == boot:
            known.window.mark(seq)

    def keep(self) -> None:
        """Write the boot numbers if there are new ones; blocks on the disk then.

        Raises:
            AppiaError: the file could not be written; the next call tries again.
        """
        if not self._unsaved:
            return
        boots = {f"{sender:016x}": known.boot for sender, known in self._senders.items()}
        replace_file(
            self._disk, self._path, f"{json.dumps({'format': TABLE_FORMAT, 'boots': boots})}\n".encode()
        )
        self._unsaved = False


def _read_boots(path: Path) -> dict[int, int]:
    try:
        table = json.loads(path.read_bytes())
        known = table["format"] == TABLE_FORMAT
        boots = {int(sender, 16): int(boot) for sender, boot in table["boots"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AppiaError(f"{path} could not be read ({error.strerror}): check its owner and mode.") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AppiaError(f"{path} is damaged. {WITHOUT_TABLE}") from error
    if not known:
        raise AppiaError(
            f"{path} has a format other than {TABLE_FORMAT}: use the version that wrote it. {WITHOUT_TABLE}"
        )
    return boots
