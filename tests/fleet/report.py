"""What `make fleet` found, as Markdown: each figure that was measured, on which machine, when and how."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.figures import Holding, Span, span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fleet.analyst import Asked
    from fleet.playbooks import Played
    from fleet.story import Check, Done, Raised

GIB = 1 << 30


@dataclass(frozen=True)
class Found:
    """All that a run found."""

    command: str
    done: Sequence[Done]
    record: Sequence[Asked]
    holdings: Sequence[Holding]
    played: Sequence[Played]
    raised: Sequence[Raised]
    alert_checks: Sequence[tuple[str, Check]]
    limits: Sequence[str]

    @property
    def failed(self) -> list[str]:
        """Every sentence about what did not hold."""
        broken = [(part.step.name, check) for part in self.done for check in part.checks if not check.held]
        broken += [(step, check) for step, check in self.alert_checks if not check.held]
        sentences = [f"{step}: {check.what}: {check.seen}" for step, check in broken]
        sentences += [f"a question failed: {one}" for one in self.asked.failed]
        return sentences + [
            f"{one.replica} of site {one.site}: {one.lost} lost, {one.doubled} twice, {one.foreign} foreign {one.fault}"
            for one in self.holdings
            if not one.is_right
        ]

    @property
    def asked(self) -> Span:
        """What became of all questions."""
        return span(self.record, 0.0, float("inf"))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return [*lines, *(f"| {' | '.join(str(cell).replace('|', '/') for cell in row)} |" for row in rows), ""]


def write(found: Found) -> str:
    """The report."""
    verdict = "Everything held." if not found.failed else f"{len(found.failed)} things did not hold:"
    return "\n".join(
        [
            "# A fleet on one machine",
            "",
            "Written by `make fleet` ([what it does](../../docs/fleet.md)).",
            "",
            *_circumstances(found),
            f"**{verdict}**",
            *[f"- {sentence}" for sentence in found.failed],
            "",
            *_counted(found),
            *_steps(found),
            *_holdings(found),
            *_alerts(found),
            *_playbooks(found),
            "## What this machine cannot show",
            "",
            *[f"- {limit}" for limit in found.limits],
            "",
        ]
    )


def _circumstances(found: Found) -> list[str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
    model = next(
        (line.partition(":")[2].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")),
        "unknown",
    )
    took = found.done[-1].end - found.done[0].begin if found.done else 0.0
    rows = (
        ("when", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("command", f"`{found.command}`"),
        ("machine", f"{os.cpu_count()} processors ({model}), {memory:.0f} GiB, Linux {platform.release()}"),
        ("took", f"{took:.0f} s"),
    )
    return _table(("", ""), rows)


def _read(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _counted(found: Found) -> list[str]:
    asked = found.asked
    acknowledged = {one.site: one.acknowledged for one in found.holdings}
    lost = sum(one.lost for one in found.holdings) if found.holdings else "not counted"
    rows = [
        ("questions asked", f"{asked.asked:,}"),
        ("questions that failed", len(asked.failed)),
        ("answers that named something as missing", f"{asked.incomplete:,}"),
        ("time of an answer, middle / longest", f"{asked.middle_s * 1e3:.0f} ms / {asked.slowest_s:.2f} s"),
        *((f"events acknowledged at site {site}", f"{count:,}") for site, count in acknowledged.items()),
        ("acknowledged events that a replica lacks at the end", lost),
    ]
    return ["## Counted", "", *_table(("", ""), rows)]


def _steps(found: Found) -> list[str]:
    rows = []
    for part in found.done:
        seen = span(found.record, part.begin, part.end)
        asked = f"{seen.asked:,}" if seen.asked else ""
        times = f"{seen.middle_s * 1e3:.0f} ms / {seen.slowest_s:.2f} s" if seen.asked else ""
        behind = f"{seen.behind_s:.1f} / {seen.furthest_behind_s:.1f} s" if seen.asked else ""
        failed = len(seen.failed) if seen.asked else ""
        rows.append((part.step.name, f"{part.end - part.begin:.0f} s", asked, failed, times, behind))
    head = ("step", "took", "asked", "failed", "answer, middle / longest", "newest event, middle / oldest")
    lines = ["## Steps", "", "The last column is how old the newest event was that an answer knew.", ""]
    lines += _table(head, rows)
    for part in found.done:
        lines += [f"### {part.step.name}", ""]
        lines += [
            f"- {'' if check.held else '**did not hold** '}{check.what}{check.seen and f': {check.seen}'}"
            for check in part.checks
        ]
        lines += [""]
    return lines


def _holdings(found: Found) -> list[str]:
    head = ("site", "replica", "acknowledged", "has", "lost", "twice", "foreign")
    rows = (
        (one.site, one.replica, f"{one.acknowledged:,}", f"{one.held:,}", one.lost, one.doubled, one.foreign)
        for one in found.holdings
    )
    return ["## Events", "", "Each replica was asked for all its events at the end.", "", *_table(head, rows)]


def _alerts(found: Found) -> list[str]:
    lines = [
        "## Alerts",
        "",
        "Expected, and whether raised; then all that were raised, by the step in which they began.",
        "",
    ]
    lines += _table(
        ("step", "expected", ""),
        (
            (step, check.what, check.seen if check.held else f"**{check.seen}**")
            for step, check in found.alert_checks
        ),
    )
    rows = ((one.step, one.alert.site, one.alert.rule, one.alert.subject) for one in found.raised)
    return [*lines, *_table(("step", "site", "rule", "subject"), rows)]


def _playbooks(found: Found) -> list[str]:
    rows = (
        (one.playbook, len(one.recap), f"{one.seconds:.0f} s", one.changed, ", ".join(one.failed) or "none")
        for one in found.played
    )
    return ["## Playbooks", "", *_table(("playbook", "hosts", "took", "changed", "failed on"), rows)]
