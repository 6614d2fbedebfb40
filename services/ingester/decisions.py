"""Takes decisions of firewalls in: each is checked, known ones are left out, and all are on disk before an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.days.identity import identities, sort_identities
from services.common.days.log import LogWriter
from services.common.days.log_format import DECISIONS
from services.common.decisions.decision import read_batch
from services.common.decisions.follower import DecisionTail
from services.common.decisions.record import Taken
from services.common.events.network_security_pb2 import Detection, DetectionBatch
from services.common.events.parse import Refused
from services.common.rest.storage_keys import NO_KEYS
from services.ingester.intake import Verdict
from services.ingester.recent import RecentIdentities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.common.rest.log_keys import LogKeys
    from services.ingester.dead_letter import DeadLetter

FILES = 8
"""A log file is closed at this share of what is kept, so that the oldest file that goes is a small part of it."""
_AT_ONCE = 4096
_LEAST_BYTES = 32  # that a decision takes in the log: so many more are known than it holds
_OVERHEAD = 64  # bytes that a record takes beside its payload, and more


@dataclass(frozen=True)
class Keeping:
    """How decisions are kept."""

    most_bytes: int = 32 << 20
    """Of all log files together; the oldest are removed when it is more."""
    default_s: int = 3600
    """How long a block holds that names no duration."""


@dataclass(frozen=True)
class DeskTools:
    """What the desk needs from outside."""

    disk: Disk
    dead_letter: DeadLetter
    clock: Callable[[], int]  # nanoseconds since 1970
    keys: LogKeys = NO_KEYS


class DecisionDesk:
    """The one writer of the log of decisions. For the receiver's thread; `counts` for any."""

    def __init__(self, state: StateNames, tools: DeskTools, keeping: Keeping | None = None) -> None:
        """Read what there is, about 5 microseconds a decision; nothing is written before the first new one.

        `faults` says what could not be read; it stays as it is.

        Raises:
            OSError: the folder cannot be read.
        """
        self._files = state.decisions
        self._tools = tools
        self._keeping = keeping or Keeping()
        self._log: LogWriter | None = None
        self._sync()
        tail = DecisionTail(state, tools.keys)
        most = self._keeping.most_bytes // _LEAST_BYTES
        self._known = RecentIdentities(list(_known(tail)), most, state.run)
        self._next = tail.next
        self.faults = tail.faults
        self.accepted = 0
        self.duplicates = 0
        self._newest_ns = 0

    def _sync(self) -> None:
        """What a killed process left unsynced is known when it comes again, and is acknowledged then."""
        for number in self._files.numbers()[-1:]:  # a file is synced before the next is begun
            self._tools.disk.sync_file(self._files.path(number))
            self._tools.disk.sync_folder(self._files.folder)

    def add(self, payloads: Sequence[bytes], origin: str) -> Verdict:
        """Check and append the decisions of some serialized `DetectionBatch`; nothing is durable before `commit`.

        Raises:
            OSError: they could not be written. Where the disk is full (`is_full`), the call may come again later;
                after anything else the process has to end.
        """
        verdict = Verdict()
        now_ns = self._tools.clock()
        checked = [one for payload in payloads for one in self._checked(payload, now_ns, origin, verdict)]
        raw = [one.SerializeToString(deterministic=True) for one in checked]
        new = self._known.add_new(raw) if raw else ()
        kept = [one for one, is_new in zip(checked, new, strict=True) if is_new]
        if kept:
            try:
                self._append(Taken(now_ns, origin, self._keeping.default_s, kept))
            except OSError:
                self._known.take_back([one for one, is_new in zip(raw, new, strict=True) if is_new])
                raise
        verdict.accepted = len(kept)
        verdict.duplicates = len(checked) - len(kept)
        self.accepted += verdict.accepted
        self.duplicates += verdict.duplicates
        return verdict

    def _checked(self, payload: bytes, now_ns: int, origin: str, verdict: Verdict) -> Iterator[Detection]:
        try:
            for one in read_batch(payload, now_ns):
                if isinstance(one, Detection):
                    yield one
                    continue
                raw, refused = one
                self._refuse(refused, origin, DetectionBatch(detections=[raw]).SerializeToString(), verdict)
        except Refused as refused:
            self._refuse(refused, origin, payload, verdict)

    def _refuse(self, refused: Refused, origin: str, data: bytes, verdict: Verdict) -> None:
        verdict.refused[refused.reason] += 1
        self._tools.dead_letter.keep(refused.reason, refused.detail, origin, data)

    def _append(self, taken: Taken) -> None:
        payload = taken.to_bytes()
        share = self._keeping.most_bytes // FILES
        if self._log is not None and self._log.size + len(payload) + _OVERHEAD > share:
            log, self._log = self._log, None
            log.close()  # which syncs it
        if self._log is None:
            self._log = self._open()
        self._log.append(DECISIONS, self._next, [payload])
        self._next += len(taken.decisions)
        self._newest_ns = max(self._newest_ns, *(one.timestamp for one in taken.decisions))

    def _open(self) -> LogWriter:
        self._tools.disk.make_folder(self._files.folder)
        numbers = self._files.numbers()
        self._make_room(numbers)
        return LogWriter(self._tools.disk, self._files.path(max(numbers, default=0) + 1), self._tools.keys)

    def _make_room(self, numbers: Sequence[int]) -> None:
        """Remove the oldest files, so that what is kept stays within its bound with one more file."""
        sizes = {number: self._files.path(number).stat().st_size for number in numbers}
        most = self._keeping.most_bytes * (FILES - 1) // FILES
        for number in numbers:
            if sum(sizes.values()) <= most:
                return
            self._tools.disk.remove(self._files.path(number))
            del sizes[number]

    def commit(self) -> None:
        """Block until everything added is on disk.

        Raises:
            OSError: the disk failed. Nothing may be acknowledged after that: the process has to end.
        """
        if self._log is not None:
            self._log.sync()

    def counts(self) -> dict[str, Any]:
        """What came in since the start, as plain values; `newest_ns` is 0 before the first."""
        return {
            "accepted": self.accepted,
            "duplicates": self.duplicates,
            "newest_ns": self._newest_ns,
            "faults": list(self.faults),
        }

    def close(self) -> None:
        """Sync and close."""
        if self._log is not None:
            self._log.close()
            self._log = None
        self._known.close()


def _known(tail: DecisionTail) -> Iterator[NDArray[np.void]]:
    """The identities of all decisions in the log, in sorted runs."""
    pending: list[bytes] = []
    for _, taken in tail.read():
        pending += [one.SerializeToString(deterministic=True) for one in taken.decisions]
        if len(pending) >= _AT_ONCE:
            yield sort_identities(identities(pending))
            pending = []
    if pending:
        yield sort_identities(identities(pending))
