"""The end of every story, whatever became of its steps: heal, count, hear the alerts; one run tells everything."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleet.figures import holdings
from fleet.fleet import NO_ANSWER
from fleet.story import Check, Step

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleet.figures import Holding
    from fleet.fleet import Fleet
    from fleet.story import Story


@dataclass
class End:
    """What is known at the end, as far as it could be asked: what replicas have, and the alerts of each site."""

    holdings: list[Holding] = field(default_factory=list)
    alerts: dict[str, Mapping[str, Any]] = field(default_factory=dict)


def end(fleet: Fleet, story: Story) -> End:
    """Let the sensors end, compare what was acknowledged with what every replica has, and hear the alerts.

    Each is tried, also after a step that broke off; what cannot be done is a check that does not hold.
    """
    found, is_whole = End(), all(done.held for done in story.done)
    if not is_whole:  # a step that broke off may have left a cable pulled or a machine without power
        story.tell_all([Step("Heal", partial(_heal, fleet))])
    story.tell_all(
        [
            Step("Count", partial(_count, fleet, found.holdings)),
            Step("Hear the alerts", partial(_hear, fleet, found.alerts)),
        ]
    )
    if not all(done.held for done in story.done):
        story.tell_all([Step("Keep the journals", partial(_keep, fleet))])
    return found


def _heal(fleet: Fleet) -> Iterator[Check]:
    fleet.machines.restore()
    yield Check("all machines are on, and reach each other", held=True)


def _count(fleet: Fleet, found: list[Holding]) -> Iterator[Check]:
    if not fleet.sensors:
        raise AppiaError("No event was sent: the story ended before that.")
    for name, plan in fleet.plans.items():
        acknowledged: set[str] = set(fleet.fed[name])
        for sensor in (fleet.sensors[one] for one in plan.sensors):
            summary = sensor.finish()
            right = summary["acknowledged"] == summary["sent"] == sensor.seen and not summary["refused"]
            yield Check(
                f"{sensor.name} has every event acknowledged",
                right,
                f"{summary['acknowledged']} of {sensor.seen}",
            )
            acknowledged |= sensor.events()
        found += holdings(name, acknowledged, fleet.wait_for_all(name, len(acknowledged)))
    fleet.stop_analyst()
    yield Check(
        "every replica has every acknowledged event once", bool(found) and all(one.is_right for one in found)
    )


def _hear(fleet: Fleet, found: dict[str, Mapping[str, Any]]) -> Iterator[Check]:
    for site in fleet.plans:
        try:
            found[site] = fleet.alerts(site)
        except NO_ANSWER as error:
            yield Check(f"health of site {site} tells its alerts", held=False, seen=str(error))


def _keep(fleet: Fleet) -> Iterator[Check]:
    folder = Path(tempfile.mkdtemp(prefix="appia-journals-"))  # that of the run goes with it
    fleet.keep_journals(folder)
    yield Check("what the machines logged is kept", held=True, seen=str(folder))
