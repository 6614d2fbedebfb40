"""Filters choose the same rows as a plain loop over the events, on open and on sealed segments."""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.days.names import day_start_ns
from services.common.errors import UsageError
from services.common.logs import make_logger
from services.rag.arguments import FILTER_KEYS, parse_filters
from services.rag.catalog import Catalog
from services.rag.networks import INTERNAL, parse_networks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.rag.segments import Segment

DAY, OTHER = "2026-01-22", "2026-01-23"
START = day_start_ns(DAY)
SECOND = 10**9
SOURCES = ("UNKNOWN", "FAST_ONLY", "ML_ONLY", "FAST_PRIORITY", "ML_PRIORITY", "CONSENSUS", "DIVERGENCE")
SCORES = {
    "overall": "overall_threat_score",
    "fast": "fast_detector_score",
    "ml": "ml_detector_score",
}


class Filled:
    """A world and its segments, with a short name for reports."""

    def __init__(self, world: Any, segments: list[Segment]) -> None:
        self.world, self.segments = world, segments

    def __repr__(self) -> str:
        return "filled"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, world_class: Any) -> Iterator[Filled]:
    """One sealed and one open segment of random events."""
    world = world_class(tmp_path_factory.mktemp("filters") / "state")
    world.fill(DAY, 300, sealed=True)
    world.fill(OTHER, 200, sealed=False)
    catalog = Catalog(world.state, make_logger("test"))
    catalog.start()
    assert catalog.wait_opened(30)
    with catalog.lease() as snapshot:
        yield Filled(world, list(snapshot.segments))
    catalog.stop()
    world.close()


def _like(pattern: str, text: str) -> bool:
    parts = [re.escape(part) for part in pattern.casefold().split("*")]
    return re.fullmatch(".*".join(parts), text.casefold(), re.DOTALL) is not None


def _inside(address: str, networks: list[str]) -> bool:
    found = ipaddress.ip_address(address)
    nets = [ipaddress.ip_network(network, strict=False) for network in networks]
    return any(found.version == net.version and found in net for net in nets)


def _port_in(port: int, wanted: list[Any]) -> bool:
    for one in wanted:
        low, _, high = str(one).partition("-")
        if int(low) <= port <= int(high or low):
            return True
    return False


def _at(moment: int, hours: str) -> bool:
    start, _, stop = hours.partition("-")
    clock = datetime.fromtimestamp(moment // SECOND, UTC).strftime("%H:%M")
    return start <= clock < stop if start < stop else not stop <= clock < start


def _passes(event: Any, day: str, raw: dict[str, Any]) -> bool:
    flow, moment = event.network_features, event.event_timestamp.ToNanoseconds()
    checks = {
        "since": lambda v: moment >= v,
        "until": lambda v: moment < v,
        "days": lambda v: day in v,
        "hours": lambda v: any(_at(moment, hours) for hours in v),
        "src": lambda v: _inside(flow.source_ip, v),
        "dst": lambda v: _inside(flow.destination_ip, v),
        "host": lambda v: _inside(flow.source_ip, v) or _inside(flow.destination_ip, v),
        "src_internal": lambda v: _inside(flow.source_ip, list(INTERNAL)) is v,
        "dst_internal": lambda v: _inside(flow.destination_ip, list(INTERNAL)) is v,
        "src_port": lambda v: _port_in(flow.source_port, v),
        "dst_port": lambda v: _port_in(flow.destination_port, v),
        "port": lambda v: _port_in(flow.source_port, v) or _port_in(flow.destination_port, v),
        "protocol": lambda v: flow.protocol_number in [{"tcp": 6, "UDP": 17}.get(p, p) for p in v],
        "class": lambda v: any(_like(p, event.final_classification) for p in v),
        "category": lambda v: any(_like(p, event.threat_category) for p in v),
        "label": lambda v: any(_like(p, event.custom_metadata["label"]) for p in v),
        "node": lambda v: any(_like(p, event.originating_node_id) for p in v),
        "tags": lambda v: (
            any(_like(p, tag) for p in v for tag in event.event_tags) if event.event_tags else "" in v
        ),
        "source": lambda v: SOURCES[event.authoritative_source] in v,
        "fast_triggered": lambda v: event.fast_detector_triggered is v,
        **{
            f"min_{k}": lambda v, a=a: np.float32(getattr(event, a)) >= np.float32(v)
            for k, a in SCORES.items()
        },
        **{
            f"max_{k}": lambda v, a=a: np.float32(getattr(event, a)) <= np.float32(v)
            for k, a in SCORES.items()
        },
    }
    return all(checks[key](value) for key, value in raw.items())


def _some(*values: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3)


NETWORKS = _some(
    "192.168.10.0/26", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/48", "::/0", "8.8.8.8", "fe80::/10"
)
PORTS = _some(53, "80", "443-8080", "1024-30000", 65_535, "0-65535")
TEXTS = {
    "class": _some("benign", "DDOS", "*scan", "bot ÜNDER*", "", "*", "[a]?", "nothing"),
    "category": _some("normal", "Attack", "att*k"),
    "label": _some("attack", "ATTACK*", "", "none"),
    "node": _some("node-1", "NODE-*", "node-?"),
    "tags": _some("lateral", "WEB-*", "exfil ÜNDER", "*", "", "web", "lateral,web-01"),
}
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "since": st.integers(START - 5 * SECOND, START + 2 * 86_400 * SECOND),
        "days": _some(DAY, OTHER, "2020-01-01"),
        "hours": _some("00:00-00:03", "00:01-00:02", "23:59-00:01", "00:04-24:00", "12:00-11:59"),
        "src": NETWORKS,
        "dst": NETWORKS,
        "host": NETWORKS,
        "src_port": PORTS,
        "dst_port": PORTS,
        "port": PORTS,
        "protocol": _some("tcp", "UDP", 1, 99),
        **TEXTS,
        "source": _some(*SOURCES),
        "fast_triggered": st.booleans(),
        "src_internal": st.booleans(),
        "dst_internal": st.booleans(),
        **{f"min_{name}": st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]) for name in SCORES},
        **{f"max_{name}": st.sampled_from([0.0, 0.2, 0.6, 0.9, 1.0]) for name in SCORES},
    },
)


@given(raw=FILTERS, length=st.none() | st.integers(1, 2 * 86_400 * SECOND))
@settings(max_examples=250, deadline=None)
def test_filters_choose_what_a_loop_chooses(filled: Filled, raw: dict[str, Any], length: int | None) -> None:
    """Any combination of filters selects exactly the rows that a loop over the events finds."""
    world, segments = filled.world, filled.segments
    if length is not None:
        raw["until"] = raw.get("since", START) + length
    for name in SCORES:
        low, high = f"min_{name}", f"max_{name}"
        if low in raw and high in raw:
            raw[low], raw[high] = sorted((raw[low], raw[high]))
    filters = parse_filters(raw)
    for segment in segments:
        view = segment.view
        passing = filters.select(segment)
        chosen = list(range(view.rows)) if passing is None else passing.rows.tolist()
        if passing is not None:
            assert (passing.count, np.flatnonzero(passing.mask).tolist()) == (len(chosen), chosen)
        assert chosen == sorted(chosen)
        ids = [fields["event_id"] for fields in view.events.fetch(range(view.rows))]
        assert chosen == [row for row, name in enumerate(ids) if _passes(world.events[name], view.day, raw)]


def test_no_filter_selects_without_looking(filled: Filled) -> None:
    """Without filters all rows are meant, and no list of them is made."""
    assert [parse_filters({}).select(segment) for segment in filled.segments] == [None, None]
    assert parse_filters({"class": "*"}).select(filled.segments[0]) is None
    assert (
        parse_filters({"since": START, "until": START + 86_400 * SECOND}).select(filled.segments[0]) is None
    )


def test_a_divergence_range_is_a_filter(filled: Filled) -> None:
    """The divergence column is compared like the other scores."""
    segment = filled.segments[0]
    chosen = parse_filters({"min_divergence": 0.5, "max_divergence": 0.8}).select(segment)
    values = np.asarray(segment.view.columns["divergence"], np.float32)
    wanted = np.flatnonzero((values >= np.float32(0.5)) & (values <= np.float32(0.8)))
    assert chosen is not None
    assert len(wanted)
    assert chosen.rows.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("2026-01-22T00:00:00Z", START),
        ("2026-01-22", START),
        ("2026-01-22T01:00:00", START + 3600 * SECOND),
        ("2026-01-22T01:00:00.000001+01:00", START + 1000),
        ("9999-01-01", 2**63 - 1),
        (START, START),
    ],
)
def test_times_are_read(text: object, nanoseconds: int) -> None:
    """ISO 8601 and nanoseconds give the same moments; no offset means UTC."""
    assert parse_filters({"since": text}).since_ns == nanoseconds


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"colour": 1}, "no filter 'colour'; there are: blocked, category, class"),
        ({"since": "yesterday"}, "'since' must be a time such as"),
        ({"since": True}, "'since' must be a time"),
        ({"since": 2**63}, "'since' must be a time"),
        ({"until": 1.5}, "'until' must be a time"),
        ({"since": 5, "until": 5}, "'since' must lie before 'until'"),
        ({"days": "22.1.2026"}, "is not a day"),
        ({"days": [20260122]}, "'days' must be a day"),
        ({"hours": "8:00-18:00"}, "'hours' must be times of the day (UTC) such as 08:00-18:00"),
        ({"hours": "24:00-01:00"}, "'hours' must be times of the day"),
        ({"hours": "08:00-24:01"}, "'hours' must be times of the day"),
        ({"hours": "08:00-08:00"}, "'hours' must be times of the day"),
        ({"hours": 8}, "'hours' must be times of the day"),
        ({"src": "10.0.0.0/33"}, "'src' must be an address or a network"),
        ({"dst": 5}, "'dst' must be an address"),
        ({"host": []}, "'host' must have 1 to 256 values, not 0"),
        ({"host": ["1.1.1.1"] * 257}, "'host' must have 1 to 256 values, not 257"),
        ({"src": "10.0.0.5/8"}, "has host bits set: write 10.0.0.0/8, or 10.0.0.5 for the one host"),
        ({"host": "2001:db8::1/32"}, "has host bits set: write 2001:db8::/32, or 2001:db8::1 for"),
        ({"host": "10.0.0.5/255.0.0.0"}, "has host bits set: write 10.0.0.0/8"),
        ({"technique": "port scan"}, "'technique' must be the number of an ATT&CK technique such as T1046"),
        ({"tags": [5]}, "'tags' must be a text"),
        ({"src_internal": "yes"}, "'src_internal' must be true or false"),
        ({"port": "80-70"}, "'port' is an impossible range: 80 is above 70"),
        ({"port": "70000-80"}, "'port' must be a port"),
        ({"port": "1-70000"}, "'port' must be a port"),
        ({"min_ml": 0.8, "max_ml": 0.2}, "'min_ml' (0.8) must not be above 'max_ml' (0.2)"),
        ({"port": 65_536}, "'port' must be a port"),
        ({"src_port": -1}, "'src_port' must be a port"),
        ({"dst_port": True}, "'dst_port' must be a port"),
        ({"dst_port": {"a": 1}}, "'dst_port' must be a port"),
        ({"protocol": "xyz"}, "'protocol' must be a number from 0 to 255 or one of icmp, tcp"),
        ({"protocol": 256}, "'protocol' must be"),
        ({"source": "EVERYBODY"}, "'source' must be one of UNKNOWN"),
        ({"class": 7}, "'class' must be a text"),
        ({"node": "x" * 257}, "'node' must be a text of at most 256"),
        ({"fast_triggered": 1}, "'fast_triggered' must be true or false"),
        ({"min_overall": "0.5"}, "'min_overall' must be a finite number"),
        ({"max_ml": float("nan")}, "'max_ml' must be a finite number"),
        ({"max_ml": float("inf")}, "'max_ml' must be a finite number"),
    ],
)
def test_a_wrong_filter_is_named(raw: dict[str, Any], said: str) -> None:
    """Every filter that is wrong is refused by its name, with what it should be."""
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_filters(raw)


@pytest.mark.parametrize(
    ("technique", "named"),
    [("T1046", "T1046"), ("t1021.002", "T1021.002"), ("T1021", "T1021(.002)?"), ("T1999", "never")],
)
def test_techniques_are_those_that_narratives_name(
    make_world: Any, tmp_path: Path, technique: str, named: str
) -> None:
    """A technique passes where the narrative names it or a part of it, and a longer number is another one."""
    world = make_world(tmp_path)
    events = world.make(DAY, 6)
    kinds = (
        ("PortScan", 80),
        ("lateral", 445),
        ("lateral", 22),
        ("benign", 80),
        ("Bot", 80),
        ("PortScan", 443),
    )
    for event, (klass, port) in zip(events, kinds, strict=True):
        event.final_classification, event.threat_category = klass, ""
        event.network_features.destination_port, event.network_features.protocol_number = port, 6
    world.write(DAY, events)
    catalog = Catalog(world.state, make_logger("test"))
    catalog.start()
    assert catalog.wait_opened(30)
    with catalog.lease() as snapshot:
        (segment,) = snapshot.segments
        narratives = [fields["narrative"] for fields in segment.view.events.fetch(range(6))]
        chosen = parse_filters({"technique": technique}).select(segment)
    catalog.stop()
    wanted = [row for row, text in enumerate(narratives) if re.search(rf"ATT&CK {named}\b", text)]
    assert chosen is not None
    assert chosen.rows.tolist() == wanted
    assert wanted or technique == "T1999"


def test_what_is_inside_is_a_setting(filled: Filled) -> None:
    """The networks that are given are those inside, and no others."""
    segment = filled.segments[0]
    chosen = parse_filters({"src_internal": True}, parse_networks(["8.8.8.0/24"])).select(segment)
    by_address = parse_filters({"src": "8.8.8.8"}).select(segment)
    assert chosen is not None
    assert by_address is not None
    assert chosen.count
    assert chosen.rows.tolist() == by_address.rows.tolist()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(FILTER_KEYS)), JSON, max_size=4))
@settings(max_examples=500)
def test_any_values_are_filters_or_refused(raw: dict[str, Any]) -> None:
    """Whatever a request holds, reading it gives filters or a UsageError of one line."""
    try:
        parse_filters(raw)
    except UsageError as error:
        refusal = str(error)
    else:
        return
    assert refusal.endswith((".", "2026-01-22"))
