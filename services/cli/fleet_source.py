"""Where `appia status` gets the fleet from: health, or the services themselves while health does not answer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from services.cli.fleet import Alert, Fleet, observation_of
from services.cli.fleet_merge import merged
from services.cli.health_at import health_entry
from services.cli.running import read_running
from services.common.access.credentials import Credentials
from services.common.access.entrance import PUBLIC_KEY
from services.common.days.names import StateNames
from services.common.errors import AppiaError
from services.common.registry.connect import open_registry, registry_keys_in
from services.health.memory import Counted, KnownService
from services.health.observation import Day, Observation, Sensor
from services.health.probes.asking import Asker, Target
from services.health.probes.disks import look_at_disk
from services.health.probes.intake import look_at_intake
from services.health.probes.services import ask_services, known_services, list_services, service_seen
from services.health.readings import MAX_SUBJECT, bounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.cli.running import Running
    from services.common.registry.port import Entry, Registry
    from services.health.observation import Intake
    from services.health.probes.services import Listed

ANSWER_S = 5.0
HEALTH = "health"
INGESTER = "ingester/ingester"
SEVERITIES = ("critical", "warning", "info")
NOT_RUNNING = "not running: nothing is watched, and nobody is alerted; services are asked directly"
NS = 1e9


class FleetSource:
    """Asks for the fleet as often as it is wanted, over connections that are kept. For one thread."""

    def __init__(self, state: Path) -> None:
        """Ask nobody yet.

        Raises:
            AppiaError: nothing runs there, or a key cannot be used.
        """
        self._state = state
        self._running = read_running(state)
        self._registry = _registry_of(self._running, state)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._asker = Asker(self._context, Credentials.of_environment())
        self._asking = _Asking(state, self._asker)

    def look(self) -> Fleet:
        """The fleet now; blocks for some seconds at most.

        Raises:
            AppiaError: nothing runs there any more.
        """
        running = read_running(self._state)
        health, why = self._health()
        asked = self._asking.look(running, self._registry, health)
        if health is not None:
            told, why = self._told(health, asked)
            if told is not None:
                alerts, undelivered = self._alerts(_target(health))
                return Fleet(running.state, merged(told, asked), alerts=alerts, undelivered=undelivered)
        return Fleet(running.state, asked, health=why)

    def close(self) -> None:
        """Close the connections."""
        self._asker.close()
        self._registry.close()
        self._context.term()

    def _health(self) -> tuple[Entry | None, str]:
        """Where health answers; None, and why, where nobody knows."""
        try:
            entry = health_entry(self._registry, read_running(self._state))
        except AppiaError as error:
            return None, f"not found: {error}"
        return (None, NOT_RUNNING) if entry is None else (entry, "")

    def _told(self, health: Entry, asked: Observation) -> tuple[Observation | None, str]:
        """What health saw last; None, and why, where it does not say. One that did not answer is not asked more."""
        subject = f"{health.kind}/{health.name}"
        silent = [one.why for one in asked.services if one.subject == subject and one.answers is False]
        if silent:
            return None, f"tells nothing: {silent[0]}"
        told = self._asker.ask(_target(health), "fleet", {}, ANSWER_S)
        return (
            (None, f"tells nothing: {told.why}") if told.value is None else (observation_of(told.value), "")
        )

    def _alerts(self, health: Target) -> tuple[tuple[Alert, ...] | None, tuple[str, ...]]:
        """Those that fire, None where nobody knows; and the channels that deliver nothing."""
        told = self._asker.ask(health, "alerts", {}, ANSWER_S).value
        try:
            return (None, ()) if told is None else (alerts_of(told, time.time_ns()), undelivered_of(told))
        except (AttributeError, TypeError):
            return None, ()  # of another release


def _target(entry: Entry) -> Target:
    return Target(entry.address, str(entry.info.get(PUBLIC_KEY, "")))


def alerts_of(told: Mapping[str, Any], now_ns: int) -> tuple[Alert, ...]:
    """The alerts that fire, the worst first, from what health says of them."""
    alerts = [_alert(one, now_ns) for one in told.get("firing", ())]
    return tuple(sorted(alerts, key=lambda one: (_rank(one.severity), one.name, one.text)))


def undelivered_of(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The channels that deliver nothing at present, from what health says of its alerts."""
    channels = told.get("channels", {})
    return tuple(sorted(str(name) for name, line in channels.items() if line.get("failing_since_ns")))


def _alert(told: Mapping[str, Any], now_ns: int) -> Alert:
    since, well = told.get("since_ns"), told.get("well_since_ns")
    return Alert(
        name=str(told.get("rule", "")),
        severity=str(told.get("severity", "")),
        for_s=(now_ns - since) / NS if isinstance(since, int) else None,
        text=str(told.get("text", "")),
        well_s=(now_ns - well) / NS if isinstance(well, int) and well else None,
    )


def _rank(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


class _Asking:
    """Makes an observation of what one look can tell, with what is kept from the looks before."""

    def __init__(self, state: Path, asker: Asker) -> None:
        self._state = state
        self._asker = asker
        self._known: dict[str, KnownService] = {}
        self._counted = Counted()
        self._sensors: tuple[Sensor, ...] = ()
        self._began_ns = time.time_ns()

    def look(self, running: Running, registry: Registry, health: Entry | None) -> Observation:
        """What services say; blocks for a few seconds at most."""
        listed = list_services(registry)
        places = _places(running, listed)
        if health is not None:
            places[f"{health.kind}/{health.name}"] = health.address
        known_services(self._known, tuple(places), listed, time.time_ns())
        for subject, address in places.items():  # for the time while the registry is away
            self._known[subject].address = self._known[subject].address or address
        if health is not None:
            self._known[f"{health.kind}/{health.name}"].public_key = _target(health).public_key
        answers = ask_services(self._asker, self._known)
        now_ns = time.time_ns()
        asked_s = (now_ns - self._began_ns) / NS
        services = tuple(
            service_seen(subject, self._known[subject], answers.get(subject), now_ns, asked_s)
            for subject in sorted(self._known)
        )
        return Observation(
            now_ns,
            disks=(look_at_disk(self._state, (), now_ns),),
            services=services,
            registry=listed.fault,
            registry_is_etcd=running.registry != "file",
            intake=self._intake(running, now_ns),
            sensors=self._sensors or None,
            days=_days(StateNames(self._state)),
            config_revision=max((one.config_revision or 0 for one in services if one.answers), default=None),
            running_s=asked_s,
        )

    def _intake(self, running: Running, now_ns: int) -> Intake | None:
        keys = [
            known.public_key for known in self._known.values() if known.address == running.ingester.control
        ]
        target = Target(running.ingester.control, next(iter(keys), ""))
        status = self._asker.ask(target, "status", {}, ANSWER_S).value
        if status is None:
            return None
        try:
            intake = look_at_intake(status, self._counted, now_ns)
            self._sensors = _sensors(status["sensors"])
        except (AttributeError, KeyError, TypeError, ValueError):
            return None  # of another release
        return intake


def _sensors(told: Mapping[str, Mapping[str, Any]]) -> tuple[Sensor, ...]:
    """The sensors that the ingester heard since it started; what gaps are usual, only health knows."""
    return tuple(
        Sensor(
            bounded(name, MAX_SUBJECT),
            events=int(seen["events"]),
            newest_ns=int(seen["newest_ns"]),
            clock_s=float(seen["clock_s"]),
        )
        for name, seen in sorted(told.items())
    )


def _days(names: StateNames) -> tuple[Day, ...]:
    """The days that there are, by their folders alone: nobody looked into them."""
    return tuple(Day(day, names.day(day).current.exists(), rows=0) for day in names.days())


def _places(running: Running, listed: Listed) -> dict[str, str]:
    """Who should run, and where, as the stack itself says; the ingester under the name that it registered."""
    control = running.ingester.control
    named = [f"{one.kind}/{one.name}" for one in listed.entries if one.info.get("control") == control]
    replicas = {f"rag/{replica.name}": replica.endpoint for replica in running.replicas}
    return {next(iter(named), INGESTER): control, **replicas}


def _registry_of(running: Running, state: Path) -> Registry:
    return open_registry(running.registry, state, registry_keys_in(Path(running.keys)))
