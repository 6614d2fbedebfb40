"""The table of the kinds of work on days: whoever adds one adds it here, and its name to `services/common/access`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ingester.dropping import Dropping
from services.ingester.jobs import Jobs, Surroundings
from services.ingester.jobs_process import SealerProcess
from services.ingester.jobs_versions import VersionJobs
from services.ingester.repacking import Repacking
from services.ingester.repairing import Repairing
from services.ingester.sealing_jobs import Sealing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.days.names import StateNames
    from services.ingester.jobs_process import Worker
    from services.ingester.sealing_jobs import JobTools
    from services.ingester.settings import IngesterSettings


def make_jobs(
    state: StateNames, settings: Callable[[], IngesterSettings], tools: JobTools, worker: Worker | None = None
) -> Jobs:
    """The queue with all kinds of work; the heavy part is done by `worker`, a process of its own by default.

    `settings` gives those in use, which may change between two jobs.
    """
    worker = worker or SealerProcess(state.root, settings)
    sealing = Sealing(state, settings, tools, worker)
    repacking = Repacking(state, tools, worker)
    dropping = Dropping(state, tools, repacking.finish)

    def due() -> Iterator[tuple[str, str]]:
        dropping.go_on()
        yield from sealing.due()

    kinds = (
        sealing.kind(),
        dropping.kind(),
        repacking.kind(),
        Repairing(state, tools, worker).kind(),
        *VersionJobs(state, tools, worker).kinds(),
    )
    around = Surroundings(due, tools.is_behind, worker.give_way, worker.stop, tools.signing, tools.report)
    return Jobs(kinds, around)
