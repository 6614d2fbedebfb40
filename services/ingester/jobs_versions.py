"""Kinds of work on sealed days as they are: other versions of indices, switching between them, and signatures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from services.common.chain.store import NoLinks
from services.common.days.adopting import adopt, sign_removal
from services.common.days.names import INDICES
from services.common.days.switching import activate, roll_back
from services.common.days.versions import served_generation
from services.common.errors import AppiaError, UsageError
from services.ingester.jobs import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.days.adopting import Signed
    from services.common.days.names import StateNames
    from services.ingester.jobs import Job
    from services.ingester.jobs_process import Worker
    from services.ingester.sealing_jobs import JobTools

REINDEX, ACTIVATE, ROLL_BACK = "reindex", "activate", "rollback"
ADOPT, SIGN_REMOVAL = "adopt", "sign_removal"
_SWITCHES = {ACTIVATE: activate, ROLL_BACK: roll_back}
_SIGNATURES = {ADOPT: adopt, SIGN_REMOVAL: sign_removal}


class VersionJobs:
    """Makes versions of indices, has them served, and signs days."""

    def __init__(self, state: StateNames, tools: JobTools, worker: Worker) -> None:
        """Do nothing yet."""
        self._state, self._tools, self._worker = state, tools, worker

    def kinds(self) -> tuple[Kind, ...]:
        """All of them."""
        ended = tell_end(self._tools.report)
        return (
            Kind(REINDEX, self._check_index, self._reindex, ended),
            *(Kind(name, self._check_index, self._switch, ended) for name in _SWITCHES),
            *(Kind(name, lambda _day, _args: {}, self._sign, ended) for name in _SIGNATURES),
        )

    def _check_index(self, day: str, args: Mapping[str, Any]) -> dict[str, Any]:
        index = checked_index(args)
        served_generation(self._state.day(day))
        return {"index": index}

    def _reindex(self, job: Job) -> None:
        self._worker.run(job, "--reindex", job.index)

    def _switch(self, job: Job) -> None:
        links = self._tools.signing.links()
        switch = _SWITCHES[job.kind](self._state.day(job.day), job.index, self._tools.disk, links)
        job.report = asdict(switch)

    def _sign(self, job: Job) -> None:
        links = self._tools.signing.links()
        if isinstance(links, NoLinks):
            raise AppiaError(
                "There is no signing key: `appia keys signing DIR` makes one, DIR being the keys folder."
            )
        signed: Signed = _SIGNATURES[job.kind](self._state.day(job.day), links)
        job.report = asdict(signed)


def checked_index(args: Mapping[str, Any]) -> str:
    """The index that a request names. Raises `UsageError` where there is no such index."""
    index = str(args.get("index", ""))
    if index not in INDICES:
        raise UsageError(f"There is no index {index[:80]!r}; there are: {', '.join(INDICES)}.")
    return index


def tell_end(report: Callable[[str, dict[str, Any]], None]) -> Callable[[Job], None]:
    """What logs the end of a job under `KIND_done` or `KIND_failed`."""

    def tell(job: Job) -> None:
        facts = {"day": job.day, **job.args, **(job.report or {})}
        if job.error:
            report(f"{job.kind}_failed", {**facts, "error": job.error})
        else:
            report(f"{job.kind}_done", facts)

    return tell
