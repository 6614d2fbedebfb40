"""What a machine needs for so many events a day: the formula of docs/sizing.md, from what bench_sizing.py measured.

Everything grows with the events, along a line: what a service needs with none, and what each event adds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

GB, MIB = 1e9, 1 << 20
DISK_SHARE = 0.80
"""What days may take of a disk, by the defaults of retention (docs/retention.md)."""
OPEN_DAYS = 2
"""Days that lie open at once at most: one that is being sealed, with its generation beside it, and the next one."""
BUSIEST_HOUR = 0.25
"""The share of a day's events in its busiest hour that the table reckons with; an office's day has less."""
SHOWN_EVENTS = (10_000, 100_000, 1_000_000, 5_000_000, 10_000_000, 50_000_000)
SHOWN_DAYS = (30, 90, 365)
FAR = 10
"""Beyond so many times the events that were measured, memory is marked as reckoned."""
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


@dataclass(frozen=True)
class Line:
    """`base + each * n`."""

    base: float
    each: float

    def at(self, n: float) -> float:
        """The value for n."""
        return self.base + self.each * n


def line_through(points: Sequence[tuple[float, float]]) -> Line:
    """The line through some points (n, value) by least squares; level where it would fall."""
    n, values = np.array(points, np.float64).T
    if len(points) < 2 or np.ptp(n) == 0:
        return Line(float(values.max()), 0.0)
    each, base = np.polyfit(n, values, 1)
    return Line(float(base), float(each)) if each > 0 else Line(float(values.max()), 0.0)


@dataclass(frozen=True)
class Sizes:
    """Bytes for each event: open, sealed, in a backup, and fetched by a mirror (while the day is open, and sealed)."""

    open: float
    sealed: float
    pulled: float
    backup: float


@dataclass(frozen=True)
class Costs:
    """Microseconds of a processor for each event: who sends it, takes it in, seals it, and a replica that follows."""

    feed: float
    ingester: float
    sealer: float
    replica: float


@dataclass(frozen=True)
class Needs:
    """What was measured; memory in MiB, without what is a file's.

    The lines are by the events of the open day (ingester), of the day that is sealed (sealer), and by all events that
    are served, after every kind of question (replica, health). `events` is how many there were.
    """

    events: int
    sizes: Sizes
    costs: Costs
    ingester: Line
    sealer: Line
    replica: Line
    health: Line

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> Needs:
        """From the figures of the result (`needs`)."""
        needs = figures["needs"]
        lines = {name: Line(**needs[name]) for name in ("ingester", "sealer", "replica", "health")}
        return cls(needs["events"], Sizes(**needs["sizes"]), Costs(**needs["costs"]), **lines)

    def disk_gb(self, events: int, days: int) -> float:
        """The disk of the ingester's node, or of a replica's that holds as many days."""
        return events * (OPEN_DAYS * self.sizes.open + days * self.sizes.sealed) / DISK_SHARE / GB

    def cores(self, events: int) -> float:
        """Cores that are busy in the busiest hour: intake, indices, and one replica that follows."""
        return events * BUSIEST_HOUR / 3600 * (self.costs.ingester + self.costs.replica) / 1e6

    def sealing_minutes(self, events: int) -> float:
        """How long one core seals a day."""
        return events * self.costs.sealer / 1e6 / 60

    def writer_mib(self, events: int) -> float:
        """Memory of the ingester's node while it seals: ingester, sealer and health."""
        return self.ingester.at(events) + self.sealer.at(events) + self.health.at(events)

    def replica_mib(self, events: int, days: int) -> float:
        """Memory of one replica that serves so many days."""
        return self.replica.at(events * days)

    def mark(self, events: int) -> str:
        """What stands before a figure that is far from what was measured."""
        return "~ " if events > FAR * self.events else ""

    def pulled_mbit(self, events: int) -> float:
        """What the mirror of one node fetches, as a mean over the day."""
        return events * self.sizes.pulled * 8 / 86_400 / 1e6


def table(needs: Needs) -> Iterator[str]:
    """The table of docs/sizing.md, line by line."""
    days = " | ".join(f"disk, {number} days" for number in SHOWN_DAYS)
    others = (
        "cores in the busiest hour",
        "one core seals a day in",
        "memory for ingester, sealer, health",
        f"memory for a replica, {SHOWN_DAYS[0]} days",
        "a mirror fetches",
    )
    yield f"| events a day | {days} | {' | '.join(others)} |"
    yield "| --- |" + " --- |" * (len(SHOWN_DAYS) + len(others))
    for events in SHOWN_EVENTS:
        cells = [
            f"{events:,}",
            *(amount(needs.disk_gb(events, number), "GB") for number in SHOWN_DAYS),
            f"{max(needs.cores(events), 0.01):.2f}",
            _minutes(needs.sealing_minutes(events)),
            needs.mark(events) + amount(needs.writer_mib(events) * MIB / GB, "GB"),
            needs.mark(events * SHOWN_DAYS[0])
            + amount(needs.replica_mib(events, SHOWN_DAYS[0]) * MIB / GB, "GB"),
            f"{amount(needs.pulled_mbit(events), 'Mbit/s')}",
        ]
        yield f"| {' | '.join(cells)} |"


def formula(needs: Needs) -> Iterator[str]:
    """What the table is made of, line by line: `E` events a day, `D` days kept."""
    sizes = needs.sizes
    yield f"disk       = E x ({OPEN_DAYS} x {sizes.open:,.0f} + D x {sizes.sealed:,.0f}) bytes / {DISK_SHARE:.2f}"
    yield f"backup     = E x D x {sizes.backup:,.0f} bytes"
    yield f"mirror     = E x {sizes.pulled:,.0f} bytes a day over the network"
    costs = needs.costs
    yield (
        f"processor  = E x ({costs.ingester:.0f} + {costs.replica:.0f} a replica + {costs.sealer:.0f} to seal)"
        " microseconds a day"
    )
    yield f"ingester   = {_memory(needs.ingester)} x E"
    yield f"sealer     = {_memory(needs.sealer)} x E, while it seals"
    yield f"replica    = {_memory(needs.replica)} x E x D"
    yield f"health     = {needs.health.at(0):.0f} MiB"


def _memory(line: Line) -> str:
    return f"{line.base:.0f} MiB + {line.each * MIB:,.0f} bytes"


def amount(value: float, unit: str) -> str:
    """Two digits, and no more than are known."""
    if value < 0.1:
        return f"under 0.1 {unit}"
    return f"{value:.1f} {unit}" if value < 10 else f"{float(f'{value:.2g}'):,.0f} {unit}"


def _minutes(minutes: float) -> str:
    return amount(minutes * 60, "s") if minutes < 1 else amount(minutes, "min")


def filled(text: str, needs: Needs, said: str) -> str:
    """The guide with what was measured between its two marks; `said` is when and on what.

    Raises:
        ValueError: the marks are not there.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the text has no {BEGIN} and {END}")
    lines = [said, "", "```text", *formula(needs), "```", "", *table(needs)]
    return f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"
