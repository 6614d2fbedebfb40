"""How well the indices of sealed days answer: a replica compares what an index finds with the true nearest.

One index is audited at a time, the one whose audit is the oldest, and nobody waits for it. What was measured holds as
long as the files of the index are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.health.memory import Audit
from services.health.observation import OK
from services.health.probes.asking import Target
from services.health.probes.days import mark_of
from services.health.probes.said import number
from services.health.probes.services import REPLICA

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.common.config.tree import HealthLive
    from services.health.memory import Memory
    from services.health.observation import Service
    from services.health.probes.asking import Answer, Asker, Pending
    from services.health.probes.days import Days

OPERATION = "quality"
TIMEOUT_S = 300.0
_NS = 1_000_000_000


@dataclass(frozen=True)
class _Running:
    pending: Pending
    day: str
    index: str
    mark: str


class Audits:
    """Has indices audited. For one thread; does not block. `asker` is for audits alone."""

    def __init__(self, asker: Asker, days: Days, memory: Memory, clock: Callable[[], int]) -> None:
        """Ask for nothing yet; `clock` gives nanoseconds since 1970."""
        self._asker = asker
        self._days = days
        self._memory = memory
        self._clock = clock
        self._running: _Running | None = None

    def look(self, services: Sequence[Service], live: HealthLive) -> None:
        """Take the answer that came, and have the next index audited where one is due."""
        if self._running is not None:
            answer = self._asker.heard(self._running.pending)
            if answer is None:
                return
            self._take(self._running, answer)
            self._running = None
        replica = next((one for one in services if one.kind == REPLICA and one.ready), None)
        due = self._due(live.audit_every_s) if live.audit_every_s else None
        if replica is not None and due is not None:
            self._begin(replica, *due, live.audit_sample)

    def _begin(self, replica: Service, day: str, index: str, sample: int) -> None:
        known = self._memory.now.services.get(replica.subject)
        target = Target(replica.address, "" if known is None else known.public_key)
        state = self._days.states()[day]
        args = {"day": day, "index": index, "sample": sample}
        try:
            pending = self._asker.begin(target, OPERATION, args, TIMEOUT_S)
        except AppiaError:
            return  # the replica went just now
        self._running = _Running(pending, day, index, mark_of(state, index))

    def _take(self, running: _Running, answer: Answer) -> None:
        """Keep what was measured. Where nothing could be, what was stands, and it is asked for when it is due again."""
        key = f"{running.day}/{running.index}"
        before = self._memory.now.audits.get(key)
        if answer.value is None and before is not None and before.mark == running.mark:
            before.at_ns = self._clock()
            return
        told = (answer.value or {}).get("indices")
        said = told[0] if isinstance(told, list) and told and isinstance(told[0], dict) else {}
        measured = {name: number(said.get(name)) for name in ("recall", "distance_cv")}
        self._memory.now.audits[key] = Audit(self._clock(), running.mark, **measured)

    def _due(self, every_s: float) -> tuple[str, str] | None:
        """The index whose audit is the oldest, or of other files, where that is long enough ago; newest day first."""
        now_ns, audits = self._clock(), self._memory.now.audits
        states = self._days.states()
        for key in [key for key in audits if key.partition("/")[0] not in states]:
            del audits[key]
        due: list[tuple[int, str, str]] = []
        for day, state in sorted(states.items(), reverse=True):
            for part in state.indices:
                if part.state != OK:
                    continue
                audit = audits.get(f"{day}/{part.name}")
                at_ns = audit.at_ns if audit is not None and audit.mark == mark_of(state, part.name) else 0
                if not 0 <= now_ns - at_ns < every_s * _NS:
                    due.append((at_ns, day, part.name))
        oldest = min(due, key=lambda one: one[0], default=None)
        return None if oldest is None else oldest[1:]
