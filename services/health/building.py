"""Builds the health service out of its parts, starts them, and ends them in order."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import zmq

from services.common.access.credentials import Credentials
from services.common.config.joining import Joining, join_with_disk
from services.common.config.sections import base_of
from services.common.config.store import Place
from services.common.config.tree import HEALTH, HealthLive
from services.common.config.watcher import Hooks
from services.common.days.layout import check_layout
from services.common.days.names import StateNames
from services.common.observing.beats import Beats
from services.common.observing.condition import Condition, Process, Readiness
from services.common.observing.observed import Observing
from services.common.private_folders import check_private
from services.common.registry.advertising import advertised
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.health.alerts.alerts import Alerts, Files
from services.health.alerts.child import ChildSender
from services.health.alerts.courier import Outside
from services.health.children import Children
from services.health.executor import Executor
from services.health.memory import Memory
from services.health.observer import Eyes, Observer, Watched
from services.health.observing import source_of
from services.health.probes.asking import Asker
from services.health.probes.audits import Audits
from services.health.probes.certificates import CertificateLook, Registered
from services.health.probes.chain import ChainFiles, ChainLook
from services.health.probes.days import Days
from services.health.probes.lag import Files as PublishedFiles
from services.health.probes.retention import RetentionLook
from services.health.rpc import Answering, open_server
from services.health.service import Parts, Rounds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from structlog.typing import FilteringBoundLogger

    from services.common.config.watcher import Watcher
    from services.common.durable import Disk
    from services.common.observing.systemd import Supervised
    from services.common.registry.port import Info, Registry
    from services.common.rpc_server import RpcServer
    from services.health.settings import HealthSettings

KIND = "health"
FOLDER = "health"
"""Below the state directory: what health remembers."""


@dataclass(frozen=True)
class Ground:
    """What every part stands on."""

    settings: HealthSettings
    state: StateNames
    disk: Disk
    log: FilteringBoundLogger
    context: zmq.Context[zmq.Socket[bytes]]
    registry: Registry


@dataclass(frozen=True)
class Health:
    """The built service."""

    rounds: Rounds
    alerts: Alerts
    server: RpcServer
    beat: Heartbeat
    config: Watcher[HealthLive]
    observing: Observing
    courier: threading.Thread

    @property
    def places(self) -> dict[str, str]:
        """Where it answers and where it is observed."""
        return {"endpoint": self.server.endpoint, "observe": self.observing.place}

    def start(self) -> None:
        """Start everything but the rounds. Does not block."""
        self.observing.start()
        self.server.start()
        self.beat.start()
        self.config.start(Hooks(lambda _live: None, lambda: ""))
        self.courier.start()
        self.observing.ready()

    def run(self, stop: threading.Event) -> None:
        """Go round until `stop` is set."""
        self.rounds.run(stop)

    def stop(self) -> None:
        """End everything that was started; what waits to be told is told after the next start."""
        self.observing.stop()
        self.config.stop()
        self.beat.stop()
        self.server.stop()
        self.alerts.stop()
        if self.courier.ident is not None:
            self.courier.join()


@contextmanager
def build(
    settings: HealthSettings, disk: Disk, log: FilteringBoundLogger, supervised: Supervised
) -> Iterator[Health]:
    """The service, which is not started; it is ended with the block. Blocks on the disk.

    Raises:
        AppiaError: a setting, a key, or what is on disk cannot be used.
    """
    state = StateNames(settings.state)
    check_layout(state)
    check_private(state.root)
    disk.make_folder(state.root / FOLDER)
    disk.make_folder(state.run)
    with ExitStack() as held:
        context = held.enter_context(zmq.Context())
        registry = open_registry(settings.registry, settings.state, settings.registry_keys)
        held.callback(registry.close)
        ground = Ground(settings, state, disk, log, context, registry)
        config = _config(ground)
        alerts = _alerts(ground)
        parts = _parts(ground, alerts, config, held)
        beats = Beats()
        rounds = Rounds(parts, lambda: config.live, beats, log)
        condition = _condition(ground, rounds, beats, config)
        server = open_server(context, settings, Answering(rounds, alerts, condition), log)
        held.callback(server.stop)
        observing = Observing(
            settings.observe,
            condition,
            (source_of(lambda: rounds.readings, lambda: firing_by_severity(alerts)), server.source()),
            supervised,
            log,
        )
        courier = threading.Thread(target=alerts.run, name="courier")
        beat = _beat(ground, server, config)
        health = Health(rounds, alerts, server, beat, config, observing, courier)
        held.callback(health.stop)
        yield health


def _config(ground: Ground) -> Watcher[HealthLive]:
    settings = ground.settings
    place = Place(settings.registry, settings.state, settings.registry_keys)
    joining = Joining(place, lambda event, facts: ground.log.warning(event, **facts))
    watcher = join_with_disk(base_of(HEALTH, HealthLive, settings), joining, ground.disk)
    watcher.begin()
    return watcher


def _alerts(ground: Ground) -> Alerts:
    outside = Outside(
        host=socket.gethostname(),
        clock=time.time_ns,
        report=lambda event, facts: ground.log.warning(event, **facts),
        sender=ChildSender(),
    )
    return Alerts(ground.disk, Files(ground.state.root / FOLDER, ground.settings.alerts), outside)


def _parts(ground: Ground, alerts: Alerts, config: Watcher[HealthLive], held: ExitStack) -> Parts:
    settings, state, clock = ground.settings, ground.state, time.time_ns
    credentials = Credentials.read(settings.key, None)
    askers = [Asker(ground.context, credentials) for _ in range(2)]
    for asker in askers:
        held.callback(asker.close)
    memory = Memory(state.root / FOLDER, ground.disk)
    if memory.fault:
        ground.log.warning("memory", what=memory.fault)
    children = Children(ground.log)
    days = Days(state.root, children, memory, clock)
    files = ChainFiles(state, settings.signing_key)
    eyes = Eyes(
        registry=ground.registry,
        asker=askers[0],
        days=days,
        chain=ChainLook(files, children, memory, clock),
        audits=Audits(askers[1], days, memory, clock),
        files=PublishedFiles(state),
        retention=RetentionLook(state),
        certificates=CertificateLook(Registered(settings.registry, settings.registry_keys), children, clock),
        config=config.facts,
    )
    watched = Watched(
        state=state,
        folders=(state.root, state.root / "days"),
        expected=tuple(settings.expect),
        registry_is_etcd=settings.registry != "file",
    )
    observer = Observer(watched, eyes, memory, clock, time.monotonic)
    executor = Executor(askers[0], days, memory, ground.log, clock)
    return Parts(observer, executor, alerts, children, days, memory)


def _condition(ground: Ground, rounds: Rounds, beats: Beats, config: Watcher[HealthLive]) -> Condition:
    process = Process(KIND, ground.settings.name, version("appia"))

    return Condition(process, lambda: Readiness.of(rounds.late()), beats.stuck, config.configured)


def _beat(ground: Ground, server: RpcServer, config: Watcher[HealthLive]) -> Heartbeat:
    settings = ground.settings
    entry = Entry(KIND, settings.name, advertised(server.endpoint, settings.advertise))

    def facts() -> Info:
        return {"pid": os.getpid(), **server.entrance.facts, **config.facts()}

    return Heartbeat(ground.registry, entry, facts, settings.lease_s)


def firing_by_severity(alerts: Alerts) -> Mapping[str, int]:
    """How many alerts fire now, by severity. For any thread."""
    return Counter(str(one["severity"]) for one in alerts.describe()["firing"])
