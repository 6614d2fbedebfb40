"""Puts together what health sees: asks everybody, looks at disks, and takes what children found meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.days.holds import read_book
from services.common.errors import AppiaError
from services.health.observation import REPAIR, Disk, Observation
from services.health.probes.asking import Target
from services.health.probes.clock import is_believed
from services.health.probes.days import Standing
from services.health.probes.disks import file_systems, look_at_disk, with_sample
from services.health.probes.intake import look_at_intake
from services.health.probes.lag import Files, with_lag
from services.health.probes.sensors import deaf_s, sensors_seen, take_sensors, without_forgotten
from services.health.probes.services import (
    INGESTER,
    Listed,
    ask_services,
    known_services,
    list_services,
    service_seen,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.common.config.tree import HealthLive
    from services.common.days.names import StateNames
    from services.common.registry.port import Info, Registry
    from services.health.memory import Memory
    from services.health.observation import Intake, Retention, Service
    from services.health.probes.asking import Asker
    from services.health.probes.audits import Audits
    from services.health.probes.certificates import CertificateLook
    from services.health.probes.chain import ChainLook
    from services.health.probes.days import Days
    from services.health.probes.retention import RetentionLook

STATUS_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Eyes:
    """What the observer looks with; `config` gives what the registry is told of the configuration of health itself."""

    registry: Registry
    asker: Asker
    days: Days
    chain: ChainLook
    audits: Audits
    files: Files
    retention: RetentionLook
    certificates: CertificateLook
    config: Callable[[], Info] = dict


@dataclass(frozen=True)
class Watched:
    """What it looks at.

    Attributes:
        state: the state directory.
        folders: whose file systems are looked at.
        expected: services that should run, KIND/NAME; empty for all that were there.
        registry_is_etcd: whether the registry is an etcd.
    """

    state: StateNames
    folders: Sequence[Path]
    expected: Sequence[str] = ()
    registry_is_etcd: bool = False


class Observer:
    """Makes observations. For one thread; a round blocks for some seconds at most, however many services hang."""

    def __init__(
        self,
        watched: Watched,
        eyes: Eyes,
        memory: Memory,
        clock: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        """Look at nothing yet; `clock` gives nanoseconds since 1970, `monotonic` seconds that never go back."""
        self._watched = watched
        self._eyes = eyes
        self._memory = memory
        self._clock = clock
        self._monotonic = monotonic
        self._began_s = monotonic()

    def observe(self, live: HealthLive) -> Observation:
        """See everything once; `live` says how often the slow parts are due. What is learned is in the memory then."""
        running_s = self._monotonic() - self._began_s
        self._eyes.days.look(live.check_every_s, _read_every_s(live), live.read_bytes_per_s)
        self._eyes.chain.look()
        self._eyes.certificates.look()
        files = self._files()
        services, listed = self._services(running_s)
        services = tuple(with_lag(service, files) for service in services)
        self._eyes.audits.look(services, live)
        intake = self._intake(services)
        now_ns = self._clock()
        memory, config = self._memory.now, self._eyes.config()
        return Observation(
            time_ns=now_ns,
            disks=self._disks(now_ns),
            services=services,
            registry=listed.fault,
            registry_is_etcd=self._watched.registry_is_etcd,
            intake=intake,
            sensors=sensors_seen(memory.sensors) if memory.sensors or intake is not None else None,
            days=self._eyes.days.seen(self._standing(), memory.audits),
            days_overdue_s=self._eyes.days.overdue_s(live.check_every_s),
            attempts=tuple(memory.attempts[key] for key in sorted(memory.attempts)),
            chain=self._eyes.chain.seen(),
            certificates=self._eyes.certificates.seen(),
            config_revision=int(config.get("config_read", 0)) or None,
            config_fault=str(config.get("config_fault", "")),
            retention=self._retention(live, now_ns),
            running_s=running_s,
        )

    def ingester(self) -> Target | None:
        """Where the ingester answers, as far as is known."""
        found = [
            known
            for subject, known in self._memory.now.services.items()
            if subject.startswith(f"{INGESTER}/") and known.address
        ]
        # One that answers comes first: another may have taken the place of one that is not forgotten yet.
        best = min(found, key=lambda known: (known.down_ns > 0, known.pid == 0), default=None)
        return None if best is None else Target(best.address, best.public_key)

    def _retention(self, live: HealthLive, now_ns: int) -> Retention | None:
        """The plan, made anew when something of it was begun or ended; no day goes by a clock that just stepped."""
        memory = self._memory.now
        work = frozenset((key, one.runs) for key, one in memory.attempts.items() if one.op != REPAIR)
        stepped_ns = memory.clock.stepped_ns
        may_drop = is_believed(memory.clock, now_ns)
        if memory.clock.stepped_ns != stepped_ns:
            self._memory.urgent()
        return self._eyes.retention.look(live, now_ns, work, may_drop=may_drop)

    def _files(self) -> tuple[int, str] | None:
        try:
            return self._eyes.files.look(self._eyes.days.states())
        except OSError:
            return None

    def _services(self, running_s: float) -> tuple[tuple[Service, ...], Listed]:
        known, now_ns = self._memory.now.services, self._clock()
        before = {subject: (service.pid, service.down_ns > 0) for subject, service in known.items()}
        listed = list_services(self._eyes.registry)
        known_services(known, self._watched.expected, listed, now_ns)
        answers = ask_services(self._eyes.asker, known)
        # While the registry is away nobody knows whether one that was never seen is there.
        looked_s = running_s if listed.fault is None else 0.0
        seen = tuple(
            service_seen(subject, known[subject], answers.get(subject), now_ns, looked_s)
            for subject in sorted(known)
        )
        if before != {subject: (service.pid, service.down_ns > 0) for subject, service in known.items()}:
            self._memory.urgent()
        return seen, listed

    def _intake(self, services: Sequence[Service]) -> Intake | None:
        """What the ingester counts; None while it does not answer."""
        target = self.ingester()
        if target is None or not any(one.kind == INGESTER and one.answers for one in services):
            return None
        answer = self._eyes.asker.ask(target, "status", {}, STATUS_TIMEOUT_S)
        return None if answer.value is None else self._counted(answer.value)

    def _counted(self, status: Mapping[str, Any]) -> Intake | None:
        memory, now_ns = self._memory.now, self._clock()
        before_ns = memory.counted.samples[-1][0] if memory.counted.samples else now_ns
        is_other = memory.counted.started not in {"", str(status.get("started"))}
        try:
            intake = look_at_intake(status, memory.counted, now_ns)
            deaf = deaf_s(before_ns, intake.started) if is_other else 0.0
            told = without_forgotten(status["sensors"], memory.forgotten)
            take_sensors(memory.sensors, told, now_ns, deaf)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # of another release; its ping says which
        if intake.forged_frames or intake.copied_frames or intake.nonces_repeated:
            self._memory.urgent()
        return intake

    def _disks(self, now_ns: int) -> tuple[Disk, ...]:
        kept, found = self._memory.now.disks, []
        for folder in file_systems(self._watched.folders):
            samples = kept.get(str(folder), [])
            try:
                disk = look_at_disk(folder, samples, now_ns)
            except OSError:
                continue
            kept[str(folder)] = with_sample(samples, now_ns, disk.total_bytes - disk.free_bytes)
            found.append(disk)
        return tuple(found)

    def _standing(self) -> Standing:
        """Which days there are; all of them are held where the book of holds cannot be read."""
        there = frozenset(self._watched.state.days())
        try:
            book = read_book(self._watched.state.retention)
        except (AppiaError, OSError):
            return Standing(there, frozenset(), there)
        return Standing(there, frozenset(one.day for one in book.going if not one.part), book.held)


def _read_every_s(live: HealthLive) -> float:
    """How often every byte of a day is read: as often as the index wants that wants it most often."""
    every = (
        live.repair_every_attack_s,
        live.repair_every_semantic_s,
        live.repair_every_temporal_s,
        live.repair_every_entity_s,
    )
    return min((seconds for seconds in every if seconds), default=0.0)
