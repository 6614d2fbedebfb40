"""Builds an origin out of its parts."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from services.common.access.entrance import AccessFiles, open_entrance
from services.common.access.names import ORIGIN
from services.common.days.layout import check_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.observing.condition import Condition, Process, Readiness
from services.common.observing.observed import Observing
from services.common.registry.advertising import advertised
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.common.rpc_server import RpcServer, RpcSettings
from services.origin.fair_rate import FairRate
from services.origin.observing import Sent
from services.origin.operations import Answering, Sending
from services.origin.publishing import Publisher
from services.origin.publishing_loop import PublishingLoop
from services.origin.source import Source
from services.origin.stores import open_store
from services.origin.tree import Tree

if TYPE_CHECKING:
    import zmq
    from structlog.typing import FilteringBoundLogger

    from services.common.observing.systemd import Supervised
    from services.common.registry.port import Info, Registry
    from services.origin.settings import OriginSettings

KIND = "origin"


@dataclass(frozen=True)
class Serving:
    """The built origin: every part that has to be started, stopped or closed."""

    endpoint: str
    server: RpcServer
    beat: Heartbeat
    observing: Observing
    registry: Registry
    sent: Sent
    publishing: PublishingLoop | None

    def begin(self) -> None:
        """Answer, and say so to everybody; does not block."""
        self.observing.start()
        self.server.start()
        self.beat.start()
        if self.publishing is not None:
            self.publishing.start()
        self.observing.ready()

    def end(self) -> None:
        """Finish what was taken, withdraw, and let go; for what was not begun too."""
        self.observing.stop()
        if self.publishing is not None:
            self.publishing.stop()
        self.beat.stop()
        self.server.stop()
        self.registry.close()


def build(
    context: zmq.Context[zmq.Socket[bytes]],
    settings: OriginSettings,
    log: FilteringBoundLogger,
    supervised: Supervised,
) -> Serving:
    """Build all parts and bind all sockets; start nothing. Blocks on the disk.

    Raises:
        AppiaError: a setting or a key cannot be used, or an endpoint cannot be bound.
    """
    state, sent = StateNames(settings.state), Sent()
    entrance = open_entrance(context, AccessFiles(settings.server_key, settings.access), log, ORIGIN)
    process = Process(KIND, settings.name, version("appia"))
    condition = Condition(process, lambda: readiness(state), str)
    publishing = _publishing(settings, log)
    answering = Answering(
        state.root,
        Sending(FairRate(settings.bytes_per_s), sent),
        condition,
        publishing.ping if publishing else dict,
    )
    limits = RpcSettings(settings.bind, settings.workers, settings.waiting)
    server = RpcServer(context, limits, answering.handlers, log, entrance)
    registry = open_registry(settings.registry, settings.state, settings.registry_keys)
    entry = Entry(KIND, settings.name, advertised(server.endpoint, settings.advertise))

    def facts() -> Info:
        return {"pid": os.getpid(), **entrance.facts}

    return Serving(
        endpoint=entry.address,
        server=server,
        beat=Heartbeat(registry, entry, facts, settings.lease_s),
        observing=Observing(
            settings.observe,
            replace(condition, stuck=server.stuck),
            (sent.source(), server.source(), *([publishing.source()] if publishing else [])),
            supervised,
            log,
        ),
        registry=registry,
        sent=sent,
        publishing=publishing,
    )


def _publishing(settings: OriginSettings, log: FilteringBoundLogger) -> PublishingLoop | None:
    if not settings.publish:
        return None
    stop = threading.Event()
    source = Source(Tree(settings.state), stop, settings.publish_bytes_per_s)
    store = open_store(settings.publish, settings.state, Disk())
    publisher = Publisher(settings.state, source, store, settings.publish_open_every_s)
    return PublishingLoop(publisher, settings.publish_every_s, lambda: source.bytes, stop, log)


def readiness(state: StateNames) -> Readiness:
    """Ready while the state directory is one that this release knows. Blocks on the disk for a moment."""
    try:
        check_layout(state)
        os.scandir(state.root).close()
    except AppiaError as error:
        return Readiness.of(str(error))
    except OSError as error:
        return Readiness.of(f"The state directory cannot be read ({error.strerror}).")
    return Readiness(ready=True)
