"""Builds a mirror out of its parts, and ends them in order."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from services.common.access.entrance import AccessFiles, open_entrance
from services.common.access.names import PING
from services.common.chain.follower import NO_VOUCHING, ChainFollower
from services.common.chain.keys import read_public_key
from services.common.days.held import read_held
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.days.one_writer import MIRROR, lock_state
from services.common.errors import AppiaError
from services.common.observing.beats import Beats
from services.common.observing.condition import Condition, Process, Served, without_facts
from services.common.observing.observed import Observing
from services.common.registry.advertising import advertised
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.common.rest.storage_keys import open_log_keys
from services.common.rpc_server import RpcServer, RpcSettings
from services.mirror.faults import Faults
from services.mirror.open_days import OpenDays
from services.mirror.open_events import Ground
from services.mirror.opening import open_filesystem, shown
from services.mirror.pace import Pace
from services.mirror.room import Room
from services.mirror.rounds import Clocks, Parts, Rounds
from services.mirror.sealed import Tools
from services.mirror.sealed_days import SealedDays
from services.mirror.shared import SharedFiles
from services.mirror.source import FilesystemSource
from services.mirror.survey import Survey
from services.mirror.told import source_of

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from structlog.typing import FilteringBoundLogger

    from services.common.access.rights import Principal
    from services.common.chain.follower import Vouching
    from services.common.durable import Disk
    from services.common.observing.systemd import Supervised
    from services.common.registry.port import Info
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler
    from services.mirror.settings import MirrorSettings

KIND = MIRROR
WORKERS, WAITING = 1, 32


@dataclass(frozen=True)
class Mirror:
    """The built mirror."""

    endpoint: str
    rounds: Rounds
    beats: Beats
    server: RpcServer
    beat: Heartbeat
    observing: Observing

    def begin(self) -> None:
        """Answer, and say so to everybody; does not block. The rounds are for the caller to run."""
        self.observing.start()
        self.server.start()
        self.beat.start()
        self.observing.ready()

    def end(self) -> None:
        """Withdraw; for what was not begun too."""
        self.observing.stop()
        self.beat.stop()
        self.server.stop()


@contextmanager
def build(
    settings: MirrorSettings, disk: Disk, log: FilteringBoundLogger, life: tuple[Supervised, threading.Event]
) -> Iterator[Mirror]:
    """The mirror, which is not started; it is ended with the block. Blocks on the disk.

    Args:
        settings: what it was told.
        disk: writes everything.
        log: what goes wrong is told to it.
        life: who watches over the process, and the event that ends it.

    Raises:
        AppiaError: a setting, a key or the state directory cannot be used.
    """
    state = StateNames(settings.state)
    supervised, stop = life
    with ExitStack() as held:
        claim_layout(state, disk)
        held.callback(os.close, lock_state(state, disk, KIND))
        _refuse_foreign(state)
        rounds = _rounds(settings, disk, log, stop)
        beats = Beats()
        process = Process(KIND, settings.name, version("appia"))
        condition = Condition(process, lambda: rounds.status.readiness(settings.ready_within_s), beats.stuck)
        context = held.enter_context(zmq.Context())
        entrance = open_entrance(context, AccessFiles(settings.server_key, settings.access), log)
        handlers = partial(_handlers, condition, rounds)
        server = RpcServer(context, RpcSettings(settings.bind, WORKERS, WAITING), handlers, log, entrance)
        held.callback(server.stop)
        sources = (source_of(lambda: rounds.status), server.source())
        observing = Observing(settings.observe, condition, sources, supervised, log)
        registry = open_registry(settings.registry, settings.state, settings.registry_keys)
        held.callback(registry.close)
        entry = Entry(KIND, settings.name, advertised(server.endpoint, settings.advertise))

        def facts() -> Info:
            return {"pid": os.getpid(), **rounds.status.facts(), **entrance.facts}

        beat = Heartbeat(registry, entry, facts, settings.lease_s)
        mirror = Mirror(entry.address, rounds, beats, server, beat, observing)
        held.callback(mirror.end)
        yield mirror


def _refuse_foreign(state: StateNames) -> None:
    """Raise where days are there that no mirror brought: they would be taken for a copy, and go."""
    if read_held(state.mirror) is None and (state.writer.exists() or state.days()):
        raise AppiaError(
            f"{state.root} has days of an ingester of its own: name an empty folder, or one that a mirror keeps."
        )


def _rounds(settings: MirrorSettings, disk: Disk, log: FilteringBoundLogger, stop: threading.Event) -> Rounds:
    places = local, remote = StateNames(settings.state), StateNames(Path())
    faults = Faults(time.monotonic, lambda part, why: log.warning("not_pulled", part=part, why=why))
    pace = Pace(settings.bytes_per_s, time.monotonic, stop.wait)
    filesystem, root = open_filesystem(
        settings.source, settings.source_key, settings.source_server_key, settings.source_options
    )
    source = FilesystemSource(filesystem, root, pace, time.monotonic)
    keys = open_log_keys(
        settings.storage_key,
        lambda sentence: log.warning("storage_keys", what=sentence),
        require_encryption=False,
    )
    tools = Tools(disk, source, _vouching(settings, local, log), faults)
    parts = Parts(
        local=local,
        remote=remote,
        disk=disk,
        source=source,
        pace=pace,
        survey=Survey(source, remote, faults),
        open_days=OpenDays(Ground(disk, source, keys), places, faults),
        sealed_days=SealedDays(tools, places, Room(local, disk, settings.budget_bytes)),
        shared=SharedFiles(disk, source, places),
        faults=faults,
    )
    rounds = Rounds(parts, shown(settings.source), settings.poll_s, Clocks(time.monotonic, time.time_ns))
    rounds.begin(read_held(local.mirror))
    return rounds


def _vouching(settings: MirrorSettings, local: StateNames, log: FilteringBoundLogger) -> Vouching:
    if settings.signing_key is None:
        return NO_VOUCHING
    public = read_public_key(settings.signing_key)
    return ChainFollower(local.links, public, lambda sentence: log.warning("chain", what=sentence))


def _handlers(condition: Condition, rounds: Rounds, principal: Principal) -> Mapping[str, Handler]:
    """What one that asks may ask: `ping`, which tells those who may look how it is doing (`Status`) too."""

    def ping(_args: Mapping[str, Any], _deadline: Deadline) -> dict[str, Any]:
        answer = condition.ping(Served())
        if not principal.rights.see_facts:
            return without_facts(answer)
        return {**answer, KIND: rounds.status.plain()}

    return {PING: ping}
