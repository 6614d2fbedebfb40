"""Takes what analysts say about events: checks it, and acknowledges it when it is on disk."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from services.common.days.log import LogWriter
from services.common.days.log_format import FEEDBACK
from services.common.errors import AppiaError, UsageError
from services.common.feedback.follower import FeedbackFollower
from services.common.feedback.remark import read_remark
from services.common.rest.storage_keys import NO_KEYS
from services.common.rpc import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.common.feedback.remark import Remark
    from services.common.rest.log_keys import LogKeys

MOST_OF_AN_EVENT = 1000


class FeedbackDesk:
    """The one writer of the feedback log. Safe for several threads, which take turns.

    Whether the event exists is not asked here: replicas know that, and who sends feedback asks one before.
    """

    def __init__(
        self, state: StateNames, disk: Disk, clock: Callable[[], int], keys: LogKeys = NO_KEYS
    ) -> None:
        """Read what there is; `clock` gives nanoseconds since 1970. Nothing is written before the first remark.

        `faults` says what could not be read; it stays as it is.
        """
        self._state = state
        self._disk = disk
        self._clock = clock
        self._keys = keys
        self._lock = threading.Lock()
        self._sync()
        follower = FeedbackFollower(state, keys)
        follower.poll()
        self.faults = follower.faults
        self._book = follower.book
        self._next_lsn = follower.next_lsn
        self._log: LogWriter | None = None

    def _sync(self) -> None:
        """What a killed process left unsynced is known when it comes again, and is acknowledged then."""
        numbers = self._state.feedback_logs()
        for number in numbers[-1:]:  # a file is synced before the next is begun
            self._disk.sync_file(self._state.feedback_log(number))
            self._disk.sync_folder(self._state.feedback)

    def take(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Keep one remark: {"feedback_id", "event_id", "new"}. Blocks until it is on disk.

        The same remark under the same feedback id again is not written again (`new` is then false), so that who got
        no answer can send it once more.

        Raises:
            UsageError: an argument is wrong, or the feedback id belongs to another remark.
            NotFound: there is nothing to withdraw.
            AppiaError: the event has too many remarks, or the disk does not take it; nothing is acknowledged then.
        """
        remark = read_remark(args, self._clock())
        with self._lock:
            known = self._book.find(remark.feedback_id)
            if known is None:
                self._check(remark)
                self._write(remark)
                self._book.add(remark)
            elif not known.says_the_same(remark):
                raise UsageError(
                    f"The feedback id {remark.feedback_id!r} belongs to another remark: give each one its own."
                )
        return {"feedback_id": remark.feedback_id, "event_id": remark.event_id, "new": known is None}

    def _check(self, remark: Remark) -> None:
        page = self._book.page()
        if remark.is_withdrawal:
            standing = page.standing(remark.event_id)
            if not any(entry.analyst == remark.analyst for _, entry in standing):
                raise NotFound(
                    f"Nothing that {remark.analyst} said about the event {remark.event_id!r} stands."
                )
        elif len(page.of(remark.event_id)) >= MOST_OF_AN_EVENT:
            raise AppiaError(
                f"The event {remark.event_id!r} has {MOST_OF_AN_EVENT} remarks, and takes no more."
            )

    def _write(self, remark: Remark) -> None:
        # A number is never used again, also not after a failure: the record may be on disk in part or whole.
        lsn, self._next_lsn = self._next_lsn, self._next_lsn + 1
        before = 0
        try:
            if self._log is None:
                self._log = self._open()
            before = self._log.size
            self._log.append(FEEDBACK, lsn, [remark.to_bytes()])
            self._log.sync()
        except OSError as error:
            # What a failed write or sync left is unknown: it is cut off, and the next remark goes into a new file.
            if self._log is not None:
                self._log.abandon(before)
                self._log = None
            raise AppiaError(
                f"The feedback could not be written ({error.strerror}), and is not kept: see to the disk of "
                f"{self._state.root}, then send it again."
            ) from None

    def _open(self) -> LogWriter:
        self._disk.make_folder(self._state.feedback)
        number = max(self._state.feedback_logs(), default=0) + 1
        return LogWriter(self._disk, self._state.feedback_log(number), self._keys)

    def close(self) -> None:
        """Close the file; no `take` may be running."""
        if self._log is not None:
            self._log.close()
            self._log = None
