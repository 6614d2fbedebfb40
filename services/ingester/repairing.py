"""Repairing a part of a sealed day, as a kind of work: it yields to the intake, and is done at the lowest priority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.chain.state import CHUNK
from services.common.days.consistency import PARTS
from services.common.days.holds import Going
from services.common.errors import AppiaError, UsageError
from services.ingester.jobs import Kind
from services.ingester.jobs_versions import tell_end

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.days.names import StateNames
    from services.ingester.jobs import Job
    from services.ingester.jobs_process import Worker
    from services.ingester.sealing_jobs import JobTools

REPAIR = "repair"


class Repairing:
    """Has parts of days looked at and made good (`services/common/days/rebuild.py`)."""

    def __init__(self, state: StateNames, tools: JobTools, worker: Worker) -> None:
        """Repair nothing yet."""
        self._state, self._tools, self._worker = state, tools, worker
        self._tell = tell_end(tools.report)

    def kind(self) -> Kind:
        """Repairing, as a kind of work."""
        return Kind(REPAIR, self._check, self._work, self._ended, yields=True)

    def _check(self, day: str, args: Mapping[str, Any]) -> dict[str, Any]:
        part = str(args.get("index", ""))
        if part not in PARTS:
            raise UsageError(f"There is no part {part[:80]!r} of a day; there are: {', '.join(PARTS)}.")
        self._refuse_going(day)
        if not self._state.day(day).generations():
            raise AppiaError(f"Day {day} is not sealed: `appia days` shows which are.")
        return {"index": part}

    def _refuse_going(self, day: str) -> None:
        """A day on its way out has no pointer while a replica still reads it; to mend that would serve it again."""
        if Going(day) in self._tools.keeper.book().going:
            raise AppiaError(f"Day {day} is being dropped: nothing of it is repaired.")

    def _work(self, job: Job) -> None:
        self._refuse_going(job.day)
        self._worker.run(job, "--repair", job.index)

    def _ended(self, job: Job) -> None:
        if job.index == CHUNK and not job.error:
            # The identities that the intake drops duplicates by are mapped from the generation before.
            self._tools.receiver.call(lambda: self._tools.intake.forget(job.day))
        self._tell(job)
