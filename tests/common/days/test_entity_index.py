"""The hosts of a day: found in its segments, kept within bounds, built at sealing, mapped, verified and repaired."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.columns import ADDRESS_BYTES, pack_address
from services.common.days.day_hosts import find_hosts
from services.common.days.entity_index import HOSTS, PROFILES, embed_hosts
from services.common.days.expansion import Nearness
from services.common.days.index_builder import IndexTools
from services.common.days.manifest import MANIFEST, read_manifest
from services.common.days.names import ENTITY
from services.common.days.reindex import Reindexer
from services.common.days.switching import activate
from services.common.days.verify import verify_day
from services.common.events.profiles import COLUMN, PROFILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.names import DayNames, StateNames
    from services.common.days.open_reader import OpenSegmentReader
    from services.common.days.sealed_reader import SealedReader
    from services.common.days.sealing import Sealer

DAY = "2026-01-22"
DAY_NS = 1_769_040_000_000_000_000
SECOND_NS = 1_000_000_000


@dataclass
class Rows:
    """Events of a day given as (source, destination, second, class); an address may stand in the table twice."""

    events: Sequence[tuple[str, str, int, str]]
    texts: Sequence[str] = ("", "BENIGN", "Malicious", "odd")
    twice: bool = False
    addresses: NDArray[np.uint8] = field(init=False)
    columns: dict[str, NDArray[Any]] = field(init=False)

    def __post_init__(self) -> None:
        table: list[str] = []
        codes = []
        for event in self.events:
            for address in event[:2]:
                if self.twice or address not in table:
                    table.append(address)
                codes.append(len(table) - 1 - table[::-1].index(address))
        packed = b"".join(map(pack_address, table))
        self.addresses = np.frombuffer(packed, np.uint8).reshape(-1, ADDRESS_BYTES)
        ends = np.array(codes, np.uint32).reshape(-1, 2)
        zeros = np.zeros(len(self.events), np.float32)
        self.columns = {
            "src_ip": ends[:, 0],
            "dst_ip": ends[:, 1],
            "time_ns": DAY_NS + SECOND_NS * np.array([event[2] for event in self.events], np.int64),
            "class": np.array([self.texts.index(event[3]) for event in self.events], np.uint32),
            "dst_port": np.full(len(self.events), 443, np.uint16),
            "protocol": np.full(len(self.events), 6, np.uint8),
            "fast_triggered": np.zeros(len(self.events), np.uint8),
            **dict.fromkeys(("bytes", "packets", "overall", "divergence"), zeros),
        }

    @property
    def rows(self) -> int:
        return len(self.events)


EVENTS = [
    ("10.0.0.1", "198.51.100.7", 5, "BENIGN"),
    ("10.0.0.1", "2001:db8::1", 60, "Malicious"),
    ("10.0.0.2", "10.0.0.1", 90, "odd"),
    ("10.0.0.2", "10.0.0.1", 91, "BENIGN"),
]


def test_hosts_come_by_address_with_their_first_and_last_event() -> None:
    """IPv4 and IPv6 addresses of either side, ascending; the span of their times; internal ones are known as such."""
    found = find_hosts([Rows(EVENTS)])
    texts = ("10.0.0.1", "10.0.0.2", "198.51.100.7", "2001:db8::1")
    assert found.facts["address"].tobytes() == b"".join(map(pack_address, texts))
    spans = [
        ((first - DAY_NS) // SECOND_NS, (last - DAY_NS) // SECOND_NS)
        for _, first, last in found.facts.tolist()
    ]
    assert spans == [(5, 91), (90, 91), (5, 5), (60, 60)]
    assert found.find(pack_address("10.0.0.2")) == 1
    assert found.find(pack_address("10.0.0.3")) is None
    profile = found.profiles[0]
    assert (profile[COLUMN["out.events"]], profile[COLUMN["in.events"]]) == (2, 2)
    assert (profile[COLUMN["out.internal_peers"]], profile[COLUMN["in.internal_peers"]]) == (0, 1)


def test_verdicts_are_read_without_regard_to_case_and_others_count_as_none() -> None:
    """A class that is no verdict is neither benign nor malicious."""
    profile = find_hosts([Rows(EVENTS)]).profiles
    assert profile[0, COLUMN["out.malicious"]] == 0.5
    assert (profile[0, COLUMN["in.benign"]], profile[0, COLUMN["in.malicious"]]) == (0.5, 0)


@pytest.mark.parametrize("cut", [0, 1, 3])
def test_segments_with_tables_of_their_own_are_one_day(cut: int) -> None:
    """The same hosts whether their events lie in one segment or two, and where an address has two numbers."""
    whole = find_hosts([Rows(EVENTS)])
    parts = find_hosts([Rows(EVENTS[cut:], twice=True), Rows(EVENTS[:cut], ("Malicious", "BENIGN", "odd"))])
    assert np.array_equal(whole.facts, parts.facts)
    assert parts.profiles == pytest.approx(whole.profiles, rel=1e-6)


def test_of_too_many_hosts_the_busiest_are_kept_and_the_rest_is_one_peer() -> None:
    """A flood of forged senders leaves its victim a profile: they count as a single peer, and their number is told."""
    flood = [(f"203.0.113.{i}", "10.0.0.9", i, "BENIGN") for i in range(1, 200)]
    found = find_hosts([Rows([*EVENTS, *flood])], most=3)
    texts = ("10.0.0.1", "10.0.0.2", "10.0.0.9")
    assert found.facts["address"].tobytes() == b"".join(map(pack_address, texts))
    assert found.left_out == 201
    victim = found.profiles[2]
    assert (victim[COLUMN["in.events"]], victim[COLUMN["in.peers"]]) == (199, 1)
    assert victim[COLUMN["peer.out.events"]] == pytest.approx(199, rel=1e-4)


def test_a_day_without_events_has_no_hosts() -> None:
    """No segment, or an empty one."""
    for segments in ([], [Rows([])]):
        assert find_hosts(segments).profiles.shape == (0, len(PROFILE))


@pytest.fixture
def sealed_day(
    state: StateNames,
    sealer: Sealer,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
) -> DayNames:
    """A sealed day of 300 events."""
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(300))
    assert sealer.seal(day, 1).failed == {}
    return day


def test_the_sealed_index_is_what_the_open_day_gives(  # noqa: PLR0917 - fixtures
    state: StateNames,
    sealer: Sealer,
    write_segment: Callable[..., None],
    make_payloads: Callable[..., list[bytes]],
    read_open: Callable[..., OpenSegmentReader],
    read_sealed: Callable[..., SealedReader],
) -> None:
    """Built from the chunk and mapped, the hosts, profiles and vectors are those of the open segment."""
    day = state.day(DAY)
    write_segment(day.segment(1), make_payloads(300))
    before = embed_hosts([read_open(day.segment(1)).view()], sealer.embedders.entity)
    sealer.seal(day, 1)
    after = read_sealed(day.generation(1)).view().hosts
    assert after is not None
    assert np.array_equal(before.hosts.facts, after.hosts.facts)
    assert after.hosts.profiles == pytest.approx(before.hosts.profiles, rel=1e-5)
    assert after.vectors.spec.index == ENTITY
    for row in range(len(before.hosts)):
        assert after.vectors.vector(row) == pytest.approx(before.vectors.vector(row), rel=1e-3, abs=1e-3)
    near = Nearness(np.ascontiguousarray(after.hosts.facts["last_ns"]), 0)
    assert after.vectors.search(after.vectors.vector(4), 1, near).rows.tolist() == [4]


@pytest.mark.parametrize("name", [HOSTS, PROFILES])
def test_a_changed_file_takes_the_hosts_away_and_nothing_else(
    sealed_day: DayNames, read_sealed: Callable[..., SealedReader], name: str
) -> None:
    """The day serves without them and says why; `verify` finds it too."""
    path = sealed_day.generation(1).index_version(ENTITY, 1) / name
    _spoil(path)
    view = read_sealed(sealed_day.generation(1)).view()
    assert view.hosts is None
    assert "was changed" in view.missing[ENTITY]
    assert set(view.indices) == {"attack", "semantic", "temporal"}
    assert any(name in fault and "was changed" in fault for fault in verify_day(sealed_day).faults)


def _spoil(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[20] ^= 1
    path.chmod(0o644)
    path.write_bytes(raw)


def test_a_day_sealed_before_there_was_this_index_gets_it(
    sealed_day: DayNames, sealer: Sealer, read_sealed: Callable[..., SealedReader]
) -> None:
    """`verify` names it as missing, `build_missing` builds it over the chunk, and an open reader sees it come."""
    generation = sealed_day.generation(1)
    sealer.disk.remove(generation.index(ENTITY))
    reader = read_sealed(generation)
    assert (reader.view().hosts, reader.view().missing[ENTITY]) == (None, "not built yet")
    assert any("no index entity" in fault for fault in verify_day(sealed_day).faults)
    report = sealer.build_missing(sealed_day)
    assert report is not None
    assert report.failed == {}
    hosts = reader.view().hosts
    assert hosts is not None
    assert read_manifest(generation.index_version(ENTITY, 1)).rows == len(hosts.hosts)
    assert verify_day(sealed_day).faults == ()


def test_profiles_of_another_release_are_not_compared(
    sealed_day: DayNames, sealer: Sealer, read_sealed: Callable[..., SealedReader]
) -> None:
    """Where a profile's numbers have another meaning, the day serves without hosts, and says what helps."""
    path = sealed_day.generation(1).index_version(ENTITY, 1) / MANIFEST
    manifest = json.loads(path.read_bytes())
    manifest["facts"]["profiles"] = "0" * 64
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))
    view = read_sealed(sealed_day.generation(1)).view()
    assert view.hosts is None
    assert f"appia reindex {DAY} --index entity" in view.missing[ENTITY]
    newer: Any = type(sealer.embedders.entity)
    embedders = replace(sealer.embedders, entity=newer("entity", 6, "l2", "1" * 12))
    Reindexer(sealer.disk, IndexTools(embedders, sealer.progress)).build(sealed_day, ENTITY)
    activate(sealed_day, ENTITY, sealer.disk)
    hosts = read_sealed(sealed_day.generation(1)).view().hosts
    assert hosts is not None
    assert hosts.vectors.spec.model_id == f"entity@{'1' * 12}"
