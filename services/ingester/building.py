"""Builds the ingester out of its parts, in an order in which what is wrong is found before anything is changed."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from services.common.config.watcher import Hooks
from services.common.errors import AppiaError
from services.common.events.narrative import Narrator
from services.common.events.vocabulary import load_vocabulary
from services.common.observing.beats import Beats
from services.common.observing.observed import Observing
from services.common.observing.systemd import Supervised
from services.common.registry.advertising import advertised
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.common.rest.storage_keys import open_log_keys
from services.ingester.control import open_control
from services.ingester.dead_letter import DeadLetter
from services.ingester.decisions import DecisionDesk, DeskTools, Keeping
from services.ingester.feedback import FeedbackDesk
from services.ingester.firewalls import FirewallPlaces, Firewalls, open_sockets
from services.ingester.holding import BookKeeper, HoldDesk
from services.ingester.indexer import Indexer, IndexerTools
from services.ingester.intake import Intake, IntakeTools
from services.ingester.jobs_kinds import make_jobs
from services.ingester.live import LiveParts, SettingsInUse, pace_of, room_of
from services.ingester.models import ingester_embedders
from services.ingester.observing import INDEXER, INTAKE, condition_of, jobs_source, source_of
from services.ingester.operations import KIND, Answering, Counted, Protection
from services.ingester.pressure import Pressure
from services.ingester.queue import ByteQueue
from services.ingester.receiver import Endpoints, Receiver, ReceiverTools
from services.ingester.recovery import Recovery
from services.ingester.replay import Replay, ReplayTools
from services.ingester.sealing_jobs import JobTools
from services.ingester.service import Ingester
from services.ingester.signing import Signing
from services.ingester.watch import FolderWatch, WatchTools
from services.ingester.wire_keys import open_wire_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import zmq
    from structlog.typing import FilteringBoundLogger

    from services.common.config.tree import IngesterLive
    from services.common.config.watcher import Watcher
    from services.common.days.embedders import Embedders
    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.common.registry.port import Info
    from services.common.rest.log_keys import LogKeys
    from services.common.rpc_server import RpcServer
    from services.ingester.fence import Fencing
    from services.ingester.jobs import Jobs
    from services.ingester.recovery import OpenSegment
    from services.ingester.settings import IngesterSettings
    from services.ingester.wire_keys import WireKeys


@dataclass(frozen=True)
class Ground:
    """What every part stands on; `settings` are those of the start, with what the watcher `config` found."""

    settings: IngesterSettings
    state: StateNames
    disk: Disk
    log: FilteringBoundLogger
    config: Watcher[IngesterLive]
    supervised: Supervised = field(default_factory=Supervised)
    beats: Beats = field(default_factory=Beats)

    def report(self, event: str, facts: dict[str, Any]) -> None:
        """Take an event and its facts for the log."""
        self.log.warning(event, **facts)

    def sentences(self, event: str) -> Callable[[str], None]:
        """What takes single sentences for the log, each under the name `event`."""
        return lambda sentence: self.log.warning(event, what=sentence)


@dataclass(frozen=True)
class Kept:
    """What is on disk, mended: what the parts that write go on from."""

    keys: LogKeys
    dead_letter: DeadLetter
    signing: Signing
    recovered: Sequence[OpenSegment]
    keeper: BookKeeper
    dropped: frozenset[str]


@dataclass(frozen=True)
class Ways:
    """The ways in, up to the queue that leads to the indices."""

    intake: Intake
    indexing: ByteQueue
    receiver: Receiver


def build(context: zmq.Context[zmq.Socket[bytes]], ground: Ground, fencing: Fencing) -> Ingester:
    """Build all parts, bind all sockets, start nothing. Blocks on the disk: every open log is read.

    Raises:
        AppiaError: a setting, a key, a model, or what is on disk cannot be used.
    """
    settings, state, disk = ground.settings, ground.state, ground.disk
    wire = open_wire_keys(settings, state, disk, ground.report)
    keys = _log_keys(ground)
    embedders, cache = ingester_embedders(state, settings.models, settings.model_threads, disk)
    kept = _mend(ground, keys)
    ways = _open_ways(context, ground, kept, wire)
    indexer = _indexer(ground, kept, ways, embedders)
    live = LiveParts(SettingsInUse(settings), ways.receiver, kept.dead_letter, ways.indexing, indexer)
    jobs = _jobs(ground, kept, ways, live)
    replay, feedback = _replay(ground, kept, ways), _feedback(ground, keys)
    protection = Protection(settings.storage_key is not None, kept.signing)
    counted = Counted(ways.receiver, indexer, ways.indexing, fencing, protection, _now())
    holds = HoldDesk(state, kept.keeper, time.time_ns)
    condition = replace(
        condition_of(settings, ways.receiver, ground.beats), configured=ground.config.configured
    )
    answering = Answering(condition, counted, jobs, feedback, replay, state, settings.models, holds)
    control = open_control(context, settings, answering.handlers(), ground.log)
    sources = source_of(counted.counters), jobs_source(jobs), control.source()
    return Ingester(
        receiver=ways.receiver,
        indexer=indexer,
        indexing=ways.indexing,
        jobs=jobs,
        watch=_watch(ground, ways, wire),
        control=control,
        heartbeat=_heartbeat(ground, ways.receiver, control),
        config=ground.config,
        taking=Hooks(live.apply, lambda: condition.readiness().why),
        cache=cache,
        feedback=feedback,
        replay=replay,
        fencing=fencing,
        observing=Observing(settings.observe, condition, sources, ground.supervised, ground.log),
        log=ground.log,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _log_keys(ground: Ground) -> LogKeys:
    settings = ground.settings
    report = ground.sentences("storage_keys")
    return open_log_keys(settings.storage_key, report, require_encryption=settings.require_encryption)


def _mend(ground: Ground, keys: LogKeys) -> Kept:
    """The chain comes first: recovery retires what it may have to sign."""
    settings, state, disk = ground.settings, ground.state, ground.disk
    dead_letter = DeadLetter(disk, state.dead_letter, settings.dead_letter_bytes, time.time_ns, keys)
    signing = Signing(state, settings.keys, disk, time.time_ns)
    signing.prepare(ground.sentences("chain"))
    recovery = Recovery(disk, dead_letter, ground.sentences("recovery"), keys)
    keeper = BookKeeper(state, disk)
    dropped = _dropped(keeper, ground.sentences("retention"))
    return Kept(keys, dead_letter, signing, recovery.recover(state), keeper, dropped)


def _dropped(keeper: BookKeeper, report: Callable[[str], None]) -> frozenset[str]:
    """The days that take no events any more; none where the book is damaged, which must not stop the intake."""
    try:
        return keeper.book().refused
    except AppiaError as error:
        report(str(error))
        return frozenset()


def _open_ways(context: zmq.Context[zmq.Socket[bytes]], ground: Ground, kept: Kept, wire: WireKeys) -> Ways:
    settings, state = ground.settings, ground.state
    tools = IntakeTools(ground.disk, kept.dead_letter, time.time_ns, time.monotonic, kept.keys, kept.dropped)
    intake = Intake(state, kept.recovered, tools)
    indexing = ByteQueue(settings.queue_bytes)
    receiving = ReceiverTools(
        frames=wire.frames,
        intake=intake,
        dead_letter=kept.dead_letter,
        indexing=indexing,
        room=room_of(settings),
        report=ground.report,
        firewalls=_firewalls(context, ground, kept, wire),
        v1_backfill=settings.v1_backfill,
        follow_keys=wire.follow,
        beat=partial(ground.beats.beat, INTAKE),
    )
    endpoints = Endpoints(settings.v2, settings.v1_pull, settings.v1_sub, settings.allow_public_v1)
    return Ways(intake, indexing, Receiver(context, endpoints, receiving))


def _firewalls(
    context: zmq.Context[zmq.Socket[bytes]], ground: Ground, kept: Kept, wire: WireKeys
) -> Firewalls:
    settings = ground.settings
    tools = DeskTools(ground.disk, kept.dead_letter, time.time_ns, kept.keys)
    keeping = Keeping(settings.decisions_bytes, settings.firewall_block_s)
    desk = DecisionDesk(ground.state, tools, keeping)
    report = ground.sentences("decisions")
    for fault in desk.faults:
        report(fault)
    places = FirewallPlaces(settings.firewall_v1_pull, settings.firewall_v1_sub, settings.allow_public_v1)
    return Firewalls(desk, open_sockets(context, places, ground.report), wire.firewalls)


def _indexer(ground: Ground, kept: Kept, ways: Ways, embedders: Embedders) -> Indexer:
    narrator = Narrator(load_vocabulary())
    tools = IndexerTools(
        ground.disk,
        narrator,
        embedders,
        time.monotonic,
        ground.report,
        kept.keys,
        partial(ground.beats.beat, INDEXER),
        pace_of(ground.settings),
    )
    return Indexer(ground.state, kept.recovered, ways.indexing, tools)


def _jobs(ground: Ground, kept: Kept, ways: Ways, live: LiveParts) -> Jobs:
    pressure = Pressure(ways.receiver, live.indexer, ways.indexing)
    tools = JobTools(
        intake=ways.intake,
        receiver=ways.receiver,
        indexing=ways.indexing,
        disk=ground.disk,
        signing=kept.signing,
        clock=time.time_ns,
        monotonic=time.monotonic,
        report=ground.report,
        is_behind=pressure.is_behind,
        keeper=kept.keeper,
    )
    return make_jobs(ground.state, live.settings, tools)


def _watch(ground: Ground, ways: Ways, wire: WireKeys) -> FolderWatch:
    tools = WatchTools(ground.disk, wire.artifacts, ways.receiver.submit, ground.report)
    return FolderWatch(ground.settings.watch, ground.state.run / "watch.json", tools)


def _replay(ground: Ground, kept: Kept, ways: Ways) -> Replay:
    tools = ReplayTools(ground.disk, kept.dead_letter, ways.intake, ways.receiver, ways.indexing, kept.keys)
    return Replay(ground.state.dead_letter, tools)


def _feedback(ground: Ground, keys: LogKeys) -> FeedbackDesk:
    feedback = FeedbackDesk(ground.state, ground.disk, time.time_ns, keys)
    report = ground.sentences("feedback")
    for fault in feedback.faults:
        report(fault)
    return feedback


def _heartbeat(ground: Ground, receiver: Receiver, control: RpcServer) -> Heartbeat:
    settings = ground.settings
    asked_at = advertised(control.endpoint, settings.advertise_control, "advertise_control")
    facts: Info = {"pid": os.getpid(), "control": asked_at, **control.entrance.facts}
    entry = Entry(KIND, settings.name, advertised(receiver.v2_endpoint, settings.advertise), facts)
    registry = open_registry(settings.registry, ground.state.root, settings.registry_keys)
    return Heartbeat(registry, entry, lambda: {**entry.info, **ground.config.facts()})
