"""What settings fit a machine: a pure function from what it has and what is in use to proposals with reasons.

The rules are few and stand in docs/tuning.md with where they come from. What has no rule is not touched.
A plan that was applied proposes nothing more on the same machine: where something could swing to and fro, going back
needs much more room than going there did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.cli.durations import sized
from services.cli.hardware import DiskKind
from services.cli.proposals import Proposal
from services.common.config.tree import INGESTER, MIB, RAG, SECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.cli.hardware import Hardware
    from services.common.config.tree import Value

GIB = 1024 * MIB
INGESTER_BYTES, REPLICA_BYTES, HEALTH_BYTES = 300 * MIB, 280 * MIB, 60 * MIB
"""What the services take at their usual settings; README.md, figures."""
MODELS_AT_ONCE = 3
MOST_THREADS, MOST_WORKERS = 8, 8
ROOMY_BYTES = GIB
SHARE_OF_MEMORY = 0.75
TIGHT_DISK, FULL_DISK, EASY_DISK = 75.0, 85.0, 60.0
"""Percent of the disk in use: smaller forms from the first on, the smallest from the second, larger below the third."""
BACK = 8
"""Indices fit that many times before vectors are kept in a larger form again."""
FORMS: Final = ("fast", "balanced", "maximum")


@dataclass(frozen=True)
class Limits:
    """What the operator lets us use: percent of the processor, bytes in all (None: most of what is free), degrees C."""

    cpu_percent: float = 75.0
    ram_bytes: int | None = None
    most_c: float = 80.0


@dataclass(frozen=True)
class Use:
    """What is in use now: how many replicas, resident bytes of all services, bytes of the sealed days' indices."""

    replicas: int
    resident_bytes: int
    index_bytes: int


@dataclass(frozen=True)
class Budget:
    """What may be spent.

    Attributes:
        cores: processor time in cores, halved while it is too hot.
        hot: whether it is.
        spare_bytes: memory left when every service has what it usually takes; below 0 it is not enough for that.
        disk_percent: of the file system, in use.
    """

    cores: float
    hot: bool
    spare_bytes: int
    disk_percent: float
    machine: Hardware
    use: Use

    @property
    def tight(self) -> bool:
        """Whether memory is short."""
        return self.spare_bytes < 0

    @property
    def roomy(self) -> bool:
        """Whether there is memory for larger buffers."""
        return self.spare_bytes >= ROOMY_BYTES

    @property
    def slow_disk(self) -> bool:
        """Whether each sync costs much."""
        return self.machine.disk in {DiskKind.ROTATING, DiskKind.CARD}


def budget(machine: Hardware, limits: Limits, use: Use) -> Budget:
    """What the limits leave of a machine."""
    hot = machine.temperature_c is not None and machine.temperature_c > limits.most_c
    cores = machine.cores * limits.cpu_percent / 100
    free = int(SHARE_OF_MEMORY * min(machine.available_bytes + use.resident_bytes, machine.memory_bytes))
    ram = free if limits.ram_bytes is None else min(limits.ram_bytes, machine.memory_bytes)
    used = machine.disk_bytes - machine.disk_free_bytes
    return Budget(
        cores=max(cores / 2 if hot else cores, 1.0),
        hot=hot,
        spare_bytes=ram - INGESTER_BYTES - HEALTH_BYTES - use.replicas * REPLICA_BYTES,
        disk_percent=100 * used / machine.disk_bytes if machine.disk_bytes else 0.0,
        machine=machine,
        use=use,
    )


def plan(spend: Budget, now: Mapping[str, Mapping[str, Value]]) -> tuple[Proposal, ...]:
    """What every key that has a rule should be, in the order of the configuration; most of them may stay as they are.

    Args:
        spend: what may be used.
        now: the values in force, by section and key; what is missing there is left out.
    """
    return tuple(
        Proposal(section, key, now[section][key], *RULES[section, key](spend, now[section][key]))
        for section, live in SECTIONS.items()
        for key in live.model_fields
        if (section, key) in RULES and key in now.get(section, {})
    )


def _model_threads(spend: Budget, _now: Value) -> tuple[Value, str]:
    threads = _between(1, spend.cores / 2 / MODELS_AT_ONCE, MOST_THREADS)
    return threads, f"half of {_cores(spend)} for {MODELS_AT_ONCE} models that run side by side"


def _workers(spend: Budget, _now: Value) -> tuple[Value, str]:
    if spend.hot:
        return 1, f"one, for the processor is at {spend.machine.temperature_c:.0f} °C"
    workers = _between(2, spend.cores / max(spend.use.replicas, 1), MOST_WORKERS)
    return workers, f"{_cores(spend)} for {_replicas(spend)}; two at least, so that no question waits for one"


def _slow_workers(spend: Budget, _now: Value) -> tuple[Value, str]:
    per_replica = spend.cores / max(spend.use.replicas, 1)
    if per_replica >= MOST_WORKERS and spend.spare_bytes >= 2 * spend.use.replicas * REPLICA_BYTES:
        return 2, "cores and memory for two at once"
    return 1, "one takes a core and some hundred MiB for seconds"


def _waiting(spend: Budget, _now: Value) -> tuple[Value, str]:
    workers = int(_workers(spend, 0)[0])
    return 128 * workers, f"as many as {workers} at once answer within their callers' patience"


def _queue_bytes(spend: Budget, _now: Value) -> tuple[Value, str]:
    if spend.tight:
        return MIB, f"the least: memory is short of {sized(-spend.spare_bytes)}"
    if not spend.roomy:
        return 2 * MIB, f"{sized(spend.spare_bytes)} of memory to spare"
    if spend.slow_disk:
        return 8 * MIB, f"the disk is {_disk(spend)} and stalls; memory to spare"
    return 4 * MIB, f"{sized(spend.spare_bytes)} of memory to spare, for bursts"


def _batch_rows(spend: Budget, _now: Value) -> tuple[Value, str]:
    if spend.tight:
        return 256, "small batches: memory is short"
    if not spend.roomy:
        return 1024, f"{sized(spend.spare_bytes)} of memory to spare"
    return 4096, "memory to spare; large batches take a tenth less of the processor"


def _commit_interval(spend: Budget, _now: Value) -> tuple[Value, str]:
    if spend.hot:
        return (
            1.0,
            f"a fifth less work at a trickle, for the processor is at {spend.machine.temperature_c:.0f} °C",
        )
    if spend.slow_disk:
        return 0.5, f"fewer syncs, for the disk is {_disk(spend)}"
    return 0.0, "events are found at once; syncs are cheap here"


def _vectors(spend: Budget, now: Value) -> tuple[Value, str]:
    """The form of vectors of days that are sealed from now on."""
    cache, indices = max(spend.spare_bytes, 0), spend.use.index_bytes
    full = f"the disk is {spend.disk_percent:.0f} % full"
    if spend.disk_percent >= FULL_DISK:
        return "maximum", full
    form = FORMS.index(str(now))
    if spend.disk_percent >= TIGHT_DISK and form < 1:
        return "balanced", full
    if indices > cache and form < 1:
        return "balanced", f"indices take {sized(indices)}, and {sized(cache)} of memory would hold them"
    if spend.disk_percent < EASY_DISK and indices * BACK <= cache and form > 0:
        return "fast", f"indices take {sized(indices)}: they fit many times"
    return now, f"indices take {sized(indices)}, {full}"


def _compression(spend: Budget, now: Value) -> tuple[Value, str]:
    full = f"the disk is {spend.disk_percent:.0f} % full"
    if spend.disk_percent >= TIGHT_DISK:
        return "maximum", full
    if spend.disk_percent < EASY_DISK and now == "maximum":
        return "balanced", full
    return now, full


RULES: Final[Mapping[tuple[str, str], Callable[[Budget, Value], tuple[Value, str]]]] = {
    (INGESTER, "model_threads"): _model_threads,
    (INGESTER, "queue_bytes"): _queue_bytes,
    (INGESTER, "batch_rows"): _batch_rows,
    (INGESTER, "commit_interval_s"): _commit_interval,
    (INGESTER, "compression"): _compression,
    **{(INGESTER, f"vectors_{index}"): _vectors for index in ("attack", "semantic", "temporal", "entity")},
    (RAG, "workers"): _workers,
    (RAG, "slow_workers"): _slow_workers,
    (RAG, "waiting"): _waiting,
}


def _between(least: int, wanted: float, most: int) -> int:
    return min(max(int(wanted), least), most)


def _cores(spend: Budget) -> str:
    kept = f", halved at {spend.machine.temperature_c:.0f} °C" if spend.hot else ""
    return f"{spend.cores:g} core{'' if spend.cores == 1 else 's'}{kept}"


def _replicas(spend: Budget) -> str:
    return f"{spend.use.replicas} replica{'' if spend.use.replicas == 1 else 's'}"


def _disk(spend: Budget) -> str:
    return "a flash card" if spend.machine.disk is DiskKind.CARD else str(spend.machine.disk)
