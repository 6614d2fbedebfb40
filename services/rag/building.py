"""Builds a replica out of its parts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import faiss

from services.common.access.entrance import AccessFiles, open_entrance
from services.common.chain.follower import ChainFollower
from services.common.chain.keys import read_public_key
from services.common.config.watcher import Hooks
from services.common.days.names import StateNames
from services.common.days.opening import Opening
from services.common.days.trial import ProcessTrials
from services.common.events.vocabulary import load_vocabulary
from services.common.observing.observed import Observing
from services.common.registry.advertising import advertised
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.common.rest.storage_keys import open_log_keys
from services.common.rpc_server import RpcServer, RpcSettings
from services.rag.answers import Tools, answers_with
from services.rag.asking import KIND
from services.rag.campaigns.finder import Campaigns
from services.rag.catalog import Catalog
from services.rag.enrichment import Enricher
from services.rag.entities import Entities
from services.rag.explain import Explainer
from services.rag.geoip import GeoFile
from services.rag.hosts_on_demand import HostsOnDemand
from services.rag.live import LiveParts, fusion_of, glossary_of, text_weights_of, watch_config, with_live
from services.rag.models import StoredModels
from services.rag.networks import parse_networks
from services.rag.novelty.finder import Novelty
from services.rag.observing import source_of, why_stuck
from services.rag.operations import Operations, Replica, Surroundings
from services.rag.patterns import Patterns
from services.rag.protocol import OPERATIONS
from services.rag.quality import QUALITY
from services.rag.queries import Queries
from services.rag.readiness import ReplicaReadiness, newest_generation
from services.rag.searcher import Searcher
from services.rag.sentences import SentenceBook
from services.rag.text_search import TextSearch
from services.rag.timeline.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path

    import zmq
    from structlog.typing import FilteringBoundLogger

    from services.common.config.tree import RagLive
    from services.common.config.watcher import Watcher
    from services.common.observing.systemd import Supervised
    from services.common.registry.port import Info, Registry
    from services.rag.settings import RagSettings


@dataclass(frozen=True)
class Ground:
    """What every part stands on."""

    settings: RagSettings
    state: StateNames
    log: FilteringBoundLogger
    supervised: Supervised


@dataclass(frozen=True)
class Serving:
    """The built replica: every part that has to be started, stopped or closed."""

    endpoint: str
    catalog: Catalog
    server: RpcServer
    beat: Heartbeat
    config: Watcher[RagLive]
    taking: Hooks[RagLive]
    observing: Observing
    registry: Registry

    def begin(self) -> None:
        """Answer questions, and say so to everybody; does not block."""
        self.server.start()
        self.beat.start()
        self.config.start(self.taking)
        self.observing.ready()

    def end(self) -> None:
        """Finish what was taken, withdraw, and let go of the files; for what was not begun too."""
        self.observing.stop()
        self.config.stop()
        self.beat.stop()
        self.server.stop()
        self.catalog.stop()
        self.registry.close()


def build(context: zmq.Context[zmq.Socket[bytes]], ground: Ground) -> Serving:
    """Build all parts and bind all sockets; start nothing. Blocks on the disk, and for the live configuration.

    Raises:
        AppiaError: a setting, a key or the state directory cannot be used, or an endpoint not be bound.
    """
    log, state = ground.log, ground.state
    config = watch_config(ground.settings, lambda event, facts: log.warning(event, **facts))
    settings = with_live(ground.settings, config.begin())
    catalog = Catalog(state, log, _opening(settings, state, log))
    readiness = ReplicaReadiness(state, catalog, lambda: config.live.ready_within_s)
    replica = Replica.of_this_process(settings.name, version("appia"), readiness, config.configured)
    tools = _tools(settings, replica)
    operations = _operations(settings, catalog, tools)
    entrance = open_entrance(context, AccessFiles(settings.server_key, settings.access), log)
    server = RpcServer(context, _rpc_settings(settings), operations.handlers, log, entrance)
    condition = replica.condition(lambda: why_stuck(server, catalog))
    sources = (source_of(catalog, readiness), server.source())
    registry = open_registry(settings.registry, settings.state, settings.registry_keys)
    entry = Entry(KIND, settings.name, advertised(server.endpoint, settings.advertise))

    def facts() -> Info:
        return {**_facts(catalog), **entrance.facts, **config.facts()}

    return Serving(
        endpoint=entry.address,
        catalog=catalog,
        server=server,
        beat=Heartbeat(registry, entry, facts, settings.lease_s),
        config=config,
        taking=Hooks(
            LiveParts(tools, operations, server).apply,
            lambda: readiness().why,
            lambda: catalog.wait_opened(0),
        ),
        observing=Observing(settings.observe, condition, sources, ground.supervised, log),
        registry=registry,
    )


def _opening(settings: RagSettings, state: StateNames, log: FilteringBoundLogger) -> Opening:
    """What has to agree before files of days are mapped."""
    keys = open_log_keys(
        settings.storage_key,
        lambda sentence: log.warning("storage_keys", what=sentence),
        require_encryption=settings.require_encryption,
    )
    if settings.signing_key is None:
        return Opening(keys, ProcessTrials())
    public = read_public_key(settings.signing_key)
    chain = ChainFollower(state.links, public, lambda sentence: log.warning("chain", what=sentence))
    return Opening(keys, ProcessTrials(), chain)


def _search_with_one_thread() -> None:
    """Requests are answered side by side; more threads within one of them would only take from the others.

    OpenMP keeps this number for each thread that calls it, so every thread that answers has to say it.
    """
    faiss.omp_set_num_threads(1)


def _rpc_settings(settings: RagSettings) -> RpcSettings:
    return RpcSettings(
        settings.bind,
        settings.workers,
        settings.waiting,
        slow=frozenset(one.name for one in (*OPERATIONS.values(), QUALITY) if one.slow),
        slow_workers=settings.slow_workers,
        prepare=_search_with_one_thread,
    )


def _operations(settings: RagSettings, catalog: Catalog, tools: Tools) -> Operations:
    surroundings = tools.texts.surroundings
    services = load_vocabulary().services
    enricher = Enricher(
        surroundings.internal, services, _geo_file(settings.geoip_city), _geo_file(settings.geoip_asn)
    )
    return Operations(catalog, answers_with(tools), tools.replica, surroundings, enricher)


def _geo_file(path: Path | None) -> GeoFile | None:
    return None if path is None else GeoFile(path)


def _tools(settings: RagSettings, replica: Replica) -> Tools:
    surroundings = Surroundings(parse_networks(settings.internal_networks))
    models = StoredModels(settings.models or StateNames(settings.state).models)
    queries, patterns, book = Queries(models), Patterns(), SentenceBook()
    searcher = Searcher(queries, fusion_of(settings), patterns, book)
    return Tools(
        searcher=searcher,
        texts=TextSearch(
            queries,
            glossary_of(settings),
            text_weights_of(settings),
            surroundings,
            patterns,
            book,
        ),
        entities=Entities(models, HostsOnDemand(models)),
        explainer=Explainer(searcher),
        replica=replica,
        novelty=Novelty(patterns=patterns),
        timeline=Timeline(load_vocabulary().services),
        campaigns=Campaigns(surroundings.internal),
        novel_percentile=settings.novel_percentile,
    )


def _facts(catalog: Catalog) -> Info:
    """What the registry tells clients; it changes with the days, not with each event."""
    with catalog.lease() as snapshot:
        rows = sum(segment.view.rows for segment in snapshot.segments if segment.view.sealed)
        return {"rows": rows, "newest_generation": newest_generation(snapshot), "pid": os.getpid()}
