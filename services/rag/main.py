"""`appia-rag`: one read-only replica that answers questions from the files of a state directory."""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import zmq

from services.common.access.entrance import AccessFiles, open_entrance
from services.common.chain.follower import ChainFollower
from services.common.chain.keys import read_public_key
from services.common.config.watcher import Hooks
from services.common.days.names import StateNames
from services.common.days.opening import Opening
from services.common.days.trial import ProcessTrials
from services.common.days.vector_files import limit_faiss
from services.common.ending import end_if_it_fails
from services.common.errors import AppiaError
from services.common.events.vocabulary import load_vocabulary
from services.common.logs import make_logger
from services.common.observing.observed import Observing
from services.common.observing.systemd import ALONE, Supervised
from services.common.private_folders import check_private
from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry
from services.common.rest.storage_keys import open_log_keys
from services.common.rpc_server import RpcServer, RpcSettings
from services.common.settings import load_settings
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
from services.rag.readiness import ReplicaReadiness
from services.rag.searcher import Searcher
from services.rag.sentences import SentenceBook
from services.rag.settings import RagSettings
from services.rag.text_search import TextSearch
from services.rag.timeline.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import FilteringBoundLogger

    from services.common.registry.port import Info


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a replica until SIGTERM or SIGINT; ends the process with the exit code of what went wrong."""
    parser = argparse.ArgumentParser("appia-rag", description=__doc__)
    parser.add_argument(
        "--settings", type=Path, metavar="FILE", help="TOML file; the environment wins over it"
    )
    parser.add_argument("--version", action="version", version=version("appia"))
    chosen = parser.parse_args(arguments)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings(RagSettings, chosen.settings)
        supervised = Supervised.take(os.environ)
        end_if_it_fails(lambda: serve(settings, stop, make_logger("rag"), supervised))
    except AppiaError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


def serve(
    settings: RagSettings,
    stop: threading.Event,
    log: FilteringBoundLogger,
    supervised: Supervised = ALONE,
) -> None:
    """Open the days, answer until `stop` is set, then finish what was taken and withdraw.

    Raises:
        AppiaError: the state directory cannot be read, the endpoint not be bound, the registry not be named.
    """
    _allow_many_files()
    state = StateNames(settings.state)
    if state.root.exists():  # where it does not, opening it says so
        check_private(state.root)
    limit_faiss()
    config = watch_config(settings, lambda event, facts: log.warning(event, **facts))
    settings = with_live(settings, config.begin())
    catalog = Catalog(state, log, _opening(settings, state, log))
    registry = open_registry(settings.registry, settings.state, settings.registry_keys)
    with zmq.Context() as context:
        entrance = open_entrance(context, AccessFiles(settings.server_key, settings.access), log)
        readiness = ReplicaReadiness(state, catalog, lambda: config.live.ready_within_s)
        replica = Replica.of_this_process(settings.name, version("appia"), readiness, config.configured)
        tools = _tools(settings, replica)
        operations = _operations(settings, catalog, tools)
        server = RpcServer(context, _rpc_settings(settings), operations.handlers, log, entrance)
        endpoint = settings.advertise or server.endpoint
        observing = Observing(
            settings.observe,
            replica.condition(lambda: why_stuck(server, catalog)),
            (source_of(catalog, readiness), server.source()),
            supervised,
            log,
        )
        entry = Entry(KIND, settings.name, endpoint)
        beat = Heartbeat(
            registry,
            entry,
            lambda: {**_facts(catalog), **entrance.facts, **config.facts()},
            settings.lease_s,
        )
        taking = Hooks(LiveParts(tools, operations, server).apply, lambda: readiness().why)
        catalog.start()
        try:
            observing.start()
            _wait_opened(catalog, stop, settings.open_wait_s)
            server.start()
            beat.start()
            config.start(taking)
            observing.ready()
            _announce(settings.name, endpoint, observing.place)
            stop.wait()
        finally:
            observing.stop()
            config.stop()
            beat.stop()
            server.stop()
            catalog.stop()
            registry.close()


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


def _wait_opened(catalog: Catalog, stop: threading.Event, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not stop.is_set() and time.monotonic() < until:
        if catalog.wait_opened(0.05):
            return


def _facts(catalog: Catalog) -> Info:
    """What the registry tells clients; it changes with the days, not with each event."""
    with catalog.lease() as snapshot:
        sealed = [segment.view for segment in snapshot.segments if segment.view.sealed]
        newest = max((f"{view.day}/{view.generation}" for view in sealed), default="")
        return {"rows": sum(view.rows for view in sealed), "newest_generation": newest, "pid": os.getpid()}


def _announce(name: str, endpoint: str, observe: str) -> None:
    ready = {"ready": True, "service": KIND, "name": name, "endpoint": endpoint, "pid": os.getpid()}
    sys.stdout.write(json.dumps({**ready, "observe": observe}) + "\n")
    sys.stdout.flush()


def _allow_many_files() -> None:
    """Raise the limit of open files to the highest allowed: a sealed day takes about ten."""
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))


if __name__ == "__main__":
    main()
