"""What would make an event benign: the change is possible, as small as can be, and its new neighbours are real."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.days.fusion import FusionWeights
from services.common.errors import AppiaError
from services.common.events.feature_list import FEATURES
from services.common.events.features import column_of, extract
from services.common.rpc import Deadline
from services.feed.readers.cicflowmeter import CicFlowMeterReader
from services.feed.readers.port import ReadOptions
from services.rag.benign import BenignRows, are_benign
from services.rag.counterfactual import CROWD, MAJORITY, NEIGHBOURS, Crowd, smallest_change
from services.rag.deltas import Measured
from services.rag.explain import Explainer
from services.rag.flow_rules import CAPS, FORMULAS, KNOBS, WHOLE, settle
from services.rag.nearest import Hits
from services.rag.queries import Queries
from services.rag.scope import Bounds, Scope
from services.rag.searcher import Searcher
from services.rag.spread import spread_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from services.common.events.network_security_pb2 import NetworkSecurityEvent

DAY = "2026-01-21"
FLOW = "network_features."
SENT, RECEIVED = column_of(f"{FLOW}total_forward_packets"), column_of(f"{FLOW}total_backward_packets")
PORT, SYN = column_of(f"{FLOW}destination_port"), column_of(f"{FLOW}syn_flag_count")
PROTOCOL, SCORE = column_of(f"{FLOW}protocol_number"), column_of("ml_detector_score")
SETTLED = np.array([column for knob in KNOBS for column in knob.columns])


@pytest.fixture(scope="module")
def flows() -> np.ndarray:
    """Features of flows that were recorded: one in eight of the sample, (n, 144)."""
    sample = "samples/office-day.csv.gz"
    path = _project() / sample
    events = [
        item for item in CicFlowMeterReader().read(str(path), ReadOptions()) if hasattr(item, "event_id")
    ]
    return extract([event.SerializeToString(deterministic=True) for event in events[::8]]).values  # type: ignore[union-attr]


def _project() -> Path:
    from pathlib import Path  # noqa: PLC0415 - only for this

    return Path(__file__).parents[2]


def _named(values: np.ndarray) -> dict[str, np.ndarray]:
    return {
        feature.path.removeprefix(FLOW): values[:, c].astype(np.float64) for c, feature in enumerate(FEATURES)
    }


def test_a_recorded_flow_is_settled_as_it_is(flows: np.ndarray) -> None:
    """The definitions hold on real flows: nothing follows where nothing was changed."""
    for flow in flows:
        assert np.allclose(settle(flow, flow[None])[0], flow, rtol=1e-5)


@given(st.data())
def test_whatever_is_turned_stays_possible(flows: np.ndarray, data: st.DataObject) -> None:
    """With any knobs turned to another flow, every number is what its definition and the physical limits allow."""
    numbers = st.integers(0, len(flows) - 1)
    here, there = flows[data.draw(numbers)], flows[data.draw(numbers)]
    changed = here.copy()
    for number in data.draw(st.sets(st.integers(0, len(KNOBS) - 1))):
        columns = list(KNOBS[number].columns)
        changed[columns] = there[columns]
    settled = settle(here, changed[None])
    some = _named(settled)
    for path, most in CAPS:
        assert some[path] <= most(some) * 1.001 + 0.51, path  # whole microseconds
    for side in ("forward", "backward"):
        low, mean, high = (some[f"{side}_packet_length_{what}"][0] for what in ("min", "mean", "max"))
        assert low <= mean * 1.001 + 0.51
        assert mean <= high * 1.001 + 0.51
        assert some[f"total_{side}_packets"] > 0 or some[f"total_{side}_bytes"] == 0
        bytes_sent = some[f"total_{side}_packets"] * some[f"{side}_packet_length_mean"]
        assert some[f"total_{side}_bytes"] == pytest.approx(bytes_sent, rel=1e-3, abs=0.6)
    rate = FORMULAS["flow_bytes_per_second"](some)
    assert some["flow_bytes_per_second"] == pytest.approx(rate, rel=1e-3, abs=1e-3)
    assert settled.min() >= 0
    moved = settled[0] != here
    assert np.array_equal(settled[0][moved & WHOLE], np.rint(settled[0][moved & WHOLE]))
    assert settled[0][PROTOCOL] == here[PROTOCOL]


def test_all_knobs_turned_give_the_other_flow(flows: np.ndarray) -> None:
    """A flow turned wholly to another of its protocol is that flow: knobs and definitions leave nothing behind."""
    tcp = flows[flows[:, PROTOCOL] == 6]
    for here, there in zip(tcp[:100], tcp[100:200], strict=True):
        changed = here.copy()
        changed[SETTLED] = there[SETTLED]
        assert np.allclose(settle(here, changed[None])[0], there, rtol=2e-3, atol=0.51)


@dataclass(frozen=True)
class Plane:
    """Events on a grid over some features, otherwise like the one asked about; benign from a border of each on."""

    grid: np.ndarray  # features of the events, (n, 144)
    benign: np.ndarray
    targets: tuple[np.ndarray, ...]

    def embed(self, rows: np.ndarray) -> np.ndarray:
        return np.log1p(rows).astype(np.float32)

    def crowd(self, vector: np.ndarray) -> Crowd:
        vectors = self.embed(self.grid)
        order = np.argsort(np.linalg.norm(vectors - vector, axis=1), kind="stable")[:CROWD]
        empty = np.empty(0, np.int64)
        return Crowd(vectors[order], self.benign[order], Hits(empty, order, empty, np.empty(0, np.float32)))

    def benign_targets(self) -> Iterator[np.ndarray]:
        yield from self.targets


def _grid(event: np.ndarray, borders: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Events over all combinations of forty values of each bordered feature, and which are benign."""
    values = np.expm1(np.linspace(0, np.log1p(1500), 40))
    combined = np.stack(np.meshgrid(*[values] * len(borders)), axis=-1).reshape(-1, len(borders))
    grid = np.repeat(event[None], len(combined), axis=0)
    grid[:, list(borders)] = combined
    return grid, (combined >= list(borders.values())).all(axis=1)


def _plane(borders: Mapping[int, float], **target: float) -> tuple[Measured, Plane, Any]:
    event = np.zeros(len(FEATURES), np.float32)
    event[[SENT, RECEIVED]] = 2
    event[SYN] = 1
    other = event.copy()
    for name, value in target.items():
        other[{"sent": SENT, "received": RECEIVED, "syn": SYN, "port": PORT, "score": SCORE}[name]] = value
    sample = np.random.default_rng(1).integers(0, 50, (40, len(FEATURES))).astype(np.float32)
    spread = spread_of(DAY, 40, sample, np.ones_like(sample, bool))
    plane = Plane(*_grid(event, borders), (other,))
    return Measured(event, np.ones(len(FEATURES), bool)), plane, spread


def test_only_what_is_needed_is_changed() -> None:
    """Of many differences from the benign event, those that decide are left, turned no farther than needed."""
    event, plane, spread = _plane({SENT: 30}, sent=400, received=90, syn=4, port=443)
    change = smallest_change(event, plane, spread)
    assert change is not None
    assert [knob.name for knob in change.knobs] == ["packets sent"]
    assert 30 <= change.values[SENT] < 90
    assert change.values[RECEIVED] == 2
    assert change.crowd.mostly_benign


def test_changes_that_need_each_other_are_found() -> None:
    """Where no single change is enough, several are made."""
    event, plane, spread = _plane({SENT: 30, RECEIVED: 30}, sent=64, received=64, syn=4)
    change = smallest_change(event, plane, spread)
    assert change is not None
    assert [knob.name for knob in change.knobs] == ["packets sent", "packets received"]


def test_a_port_changes_as_a_whole() -> None:
    """There is nothing between port 0 and port 443."""
    event, plane, spread = _plane({PORT: 100}, port=443)
    change = smallest_change(event, plane, spread)
    assert change is not None
    assert change.values[PORT] == 443


def test_verdicts_are_changed_last() -> None:
    """What detectors say is changed only where no change of the traffic is enough."""
    event, plane, spread = _plane({SENT: 30}, sent=64, score=1)
    change = smallest_change(event, plane, spread)
    assert change is not None
    assert not any(knob.verdict for knob in change.knobs)
    event, plane, spread = _plane({SCORE: 100}, sent=64, score=1000)
    change = smallest_change(event, plane, spread)
    assert change is not None
    assert [knob.verdict for knob in change.knobs] == [True]


def test_where_no_change_is_enough_there_is_none() -> None:
    """A target whose own place is not benign leads nowhere; neither does none."""
    event, plane, spread = _plane({SENT: 1000}, sent=64, syn=3)
    assert smallest_change(event, plane, spread) is None
    assert smallest_change(event, Plane(plane.grid, plane.benign, ()), spread) is None


# --- over real files ---


def _benign(event: NetworkSecurityEvent) -> None:
    event.final_classification, event.threat_category = "BENIGN", "NORMAL"
    event.overall_threat_score = event.fast_detector_score = event.ml_detector_score = 0.0
    event.fast_detector_triggered = False
    event.ClearField("custom_metadata")
    event.network_features.protocol_number, event.network_features.destination_port = 6, 443


def _attack(event: NetworkSecurityEvent) -> None:
    _benign(event)
    event.final_classification, event.threat_category = "MALICIOUS", "DoS"
    event.network_features.total_forward_packets += 500_000
    event.network_features.destination_port = 80


@pytest.fixture
def mixed(world: Any) -> list[NetworkSecurityEvent]:
    """A sealed day with fifty benign events and, far from them, thirty attacks; the attacks."""
    events = world.make(DAY, 80)
    for number, event in enumerate(events):
        (_attack if number < 30 else _benign)(event)
    world.write(DAY, events)
    world.seal(DAY)
    return events[:30]


def test_the_neighbours_after_the_change_are_the_true_ones(
    world: Any, mixed: list[NetworkSecurityEvent], follow: Any, small_queries: Any
) -> None:
    """The event with exactly the told changes lies, by a search over everything, among the told neighbours."""
    event = mixed[5]
    with follow(world).lease() as snapshot:
        explainer = Explainer(Searcher(small_queries(world), FusionWeights()))
        found = explainer.explain(snapshot, event.event_id, None, Bounds(2))["what_if"]
        assert (found["outcome"], found["benign_before"]) == ("found", 0)
        assert found["benign_after"] >= MAJORITY
        values = extract([event.SerializeToString(deterministic=True)]).values.copy()
        told = [value for knob in found["changes"] for value in knob["features"]] + found["follows"]
        for value in told:
            column = column_of(value["feature"])
            assert values[0, column] == value["from"]
            values[0, column] = value["to"]
        view = snapshot.segments[0].view
        vectors = np.array([view.indices["attack"].vector(row) for row in range(view.rows)])
        distances = np.linalg.norm(vectors - world.embedders.attack.embed(values), axis=1)
        ids = [fields["event_id"] for fields in view.events.fetch(range(view.rows))]
        distances[ids.index(event.event_id)] = np.inf
        nearest = np.sort(distances)[:NEIGHBOURS]
        assert np.allclose([hit["distance"] for hit in found["neighbours"]], nearest, atol=1e-3)
        benign = [
            world.events[hit["event_id"]].final_classification == "BENIGN" for hit in found["neighbours"]
        ]
        assert benign == [hit["benign"] for hit in found["neighbours"]]
        assert sum(benign) == found["benign_after"]


def test_what_is_benign_already_is_said_to_be(
    world: Any, mixed: list[NetworkSecurityEvent], replica: Any
) -> None:
    """A benign event needs no change, and neither does one whose neighbours are benign."""
    alone = world.make("2026-01-22", 1)
    for event in alone:
        _benign(event)
        event.final_classification = "MALICIOUS"
    world.write("2026-01-22", alone)
    ask = replica(world)["explain"]
    benign = next(i for i, e in world.events.items() if e.final_classification == "BENIGN")
    first = ask({"event_id": benign}, Deadline.after(600))["what_if"]
    assert first["outcome"] == "benign"
    assert "benign itself" in first["says"]
    second = ask({"event_id": alone[0].event_id}, Deadline.after(600))["what_if"]
    assert (second["outcome"], second["changes"]) == ("benign", [])
    assert "10 of the 10 nearest" in second["says"]
    assert mixed


def test_without_benign_events_there_is_a_sentence(
    world: Any, mixed: list[NetworkSecurityEvent], replica: Any
) -> None:
    """Filters that leave no benign event leave nothing to go by, and the answer says so."""
    arguments = {"event_id": mixed[0].event_id, "filters": {"class": "MALICIOUS"}}
    found = replica(world)["explain"](arguments, Deadline.after(600))["what_if"]
    assert found["outcome"] == "none"
    assert "clearly benign" in found["says"]
    assert found["neighbours"] == []


def test_a_model_that_is_not_there_is_named(
    world: Any, mixed: list[NetworkSecurityEvent], follow: Any
) -> None:
    """Without the attack model there is no counterfactual, and everything else is answered."""

    class NoModels:
        def rows(self, model_id: str) -> Any:
            raise AppiaError(f"The model {model_id} is not here.")

        texts = windows = rows

    with follow(world).lease() as snapshot:
        explainer = Explainer(Searcher(Queries(NoModels()), FusionWeights()))
        answer = explainer.explain(snapshot, mixed[0].event_id, None, Bounds(2))
    assert answer["what_if"]["outcome"] == "unknown"
    assert "attack@000000000001 is not here" in answer["what_if"]["says"]
    assert len(answer["others"]) == 2


@dataclass(frozen=True)
class _Ending(Deadline):
    """A deadline that is near from the moment on at which `over` is no longer empty."""

    over: tuple[list[str], ...] = ()

    @property
    def is_near(self) -> bool:
        return any(self.over)


def test_when_time_runs_out_the_rest_is_answered(
    world: Any, mixed: list[NetworkSecurityEvent], follow: Any, small_queries: Any
) -> None:
    """The comparison is whole; of the change it is said that nobody looked to the end, and the receipt says it too."""
    over: list[str] = []
    queries = small_queries(world)

    class Slow:
        def rows(self, model_id: str) -> Any:
            over.append(model_id)
            return queries.models.rows(model_id)

        texts = windows = rows

    with follow(world).lease() as snapshot:
        explainer = Explainer(Searcher(Queries(Slow()), FusionWeights()))
        bounds = Bounds(2, deadline=_Ending(over=(over,)))
        answer = explainer.explain(snapshot, mixed[0].event_id, None, bounds)
    assert answer["what_if"]["outcome"] == "unknown"
    assert "no time" in answer["what_if"]["says"]
    assert len(answer["others"]) == 2
    assert answer["receipt"]["partial"] is True
    assert over


def test_benign_rows_are_those_of_the_events(world: Any, follow: Any) -> None:
    """Marks of whole segments, kept or not, agree with the rule applied to single rows, in sealed and open days."""
    world.fill(DAY, 60, sealed=True)
    world.fill("2026-01-22", 60, sealed=False)
    marks = BenignRows()
    with follow(world).lease() as snapshot:
        for _ in range(2):
            for part in Scope(snapshot, Bounds(1)).parts:
                rows = np.arange(part.view.rows)
                tcp = np.asarray(part.view.columns["protocol"]) == 6
                expected = np.flatnonzero(are_benign(part.view, rows) & tcp)
                assert marks.of(part, 6).rows.tolist() == expected.tolist()
                for row in expected.tolist():
                    (fields,) = part.view.events.fetch([row])
                    assert fields["class"] == "BENIGN"
                    assert not fields["fast_triggered"]
                    assert max(fields["overall"], fields["fast"], fields["ml"]) < 0.5


def test_a_day_written_anew_is_judged_anew(world: Any, make_world: Any, follow: Any, tmp_path: Path) -> None:
    """The names of a day's files say nothing about its events: marks of other ones are not taken for theirs."""
    again = make_world(tmp_path / "again")
    world.fill(DAY, 60, sealed=True)
    harmless = again.make(DAY, 90)
    for event in harmless:
        event.final_classification, event.fast_detector_triggered = "BENIGN", False
        event.overall_threat_score = event.fast_detector_score = event.ml_detector_score = 0.1
        event.threat_category = "NORMAL"
        event.custom_metadata.clear()
    again.write(DAY, harmless)
    again.seal(DAY)
    marks = BenignRows()
    for one in (world, again):
        with follow(one).lease() as snapshot:
            (part,) = Scope(snapshot, Bounds(1)).parts
            tcp = np.asarray(part.view.columns["protocol"]) == 6
            expected = np.flatnonzero(are_benign(part.view, np.arange(part.view.rows)) & tcp)
            assert marks.of(part, 6).rows.tolist() == expected.tolist()
    assert len(expected) > 10
