"""What is read of sealed days for training and evaluation is what lies in them, event by event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.traffic import column_traffic
from services.common.errors import AppiaError
from services.common.events.features import extract
from services.common.events.windows import day_windows
from services.training.days_data import (
    choose_rows,
    labels_of,
    read_features,
    read_labelled,
    sealed_days,
    served_space,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ONE, TWO = "2026-01-20", "2026-01-21"
ALL = 10_000


def test_a_label_wins_over_the_final_classification(days: Any, make_payload: Callable[..., bytes]) -> None:
    """The class is the event's own label, else its final classification; without both it is left out and counted."""
    days.seal(
        ONE,
        [
            make_payload(ONE, 0, "scan", "BENIGN"),
            make_payload(ONE, 1, "", "BENIGN"),
            make_payload(ONE, 2, "", ""),
        ],
    )
    with sealed_days(days.state) as readers:
        assert labels_of(readers[0].view()).tolist() == ["scan", "BENIGN", ""]
        chosen = choose_rows(readers, ALL)
    assert (chosen.rows.labels.tolist(), chosen.unlabelled) == (["scan", "BENIGN"], 1)
    assert chosen.totals == {"scan": 1, "BENIGN": 1}


def test_features_and_windows_are_those_of_the_events(
    days: Any, payloads: Callable[..., list[bytes]]
) -> None:
    """Of two days thinned to 40 events each has the features of its payload and the window of its own day."""
    made = {day: payloads(day, 70) for day in (ONE, TWO)}
    for day, events in made.items():
        days.seal(day, events)
    with sealed_days(days.state) as readers:
        chosen = choose_rows(readers, 40)
        rows = read_labelled(readers, chosen)
        expected = [
            extract([made[day][row] for row in chosen.by_day[n]]) for n, day in enumerate(chosen.days)
        ]
        whole = [day_windows(column_traffic(r.chunk.columns, r.chunk.addresses)) for r in readers]
        windows = [w.cells.windows(w.order)[w.codes[chosen.by_day[n]]] for n, w in enumerate(whole)]
        hosts = [w.hosts[w.codes[chosen.by_day[n]]] for n, w in enumerate(whole)]
    assert (len(rows), len(chosen), chosen.days) == (40, 40, (ONE, TWO))
    assert (rows.features == np.concatenate([matrix.values for matrix in expected])).all()
    assert (rows.present == np.concatenate([matrix.present for matrix in expected])).all()
    assert (rows.windows.values[rows.window_of] == np.concatenate(windows)).all()
    assert (rows.windows.hosts[rows.window_of] == np.concatenate(hosts).astype(np.int64)).all()
    assert (np.diff(rows.time_ns) > 0).all()
    assert len(set(rows.windows.hosts.tolist())) == 6, "a host is the same on both days"


def test_served_vectors_are_those_of_the_index(days: Any, payloads: Callable[..., list[bytes]]) -> None:
    """Each chosen event of two days has the vector that its index gives for its row."""
    for day in (ONE, TWO):
        days.seal(day, payloads(day, 30))
    with sealed_days(days.state) as readers:
        chosen = choose_rows(readers, 20)
        for index in ("attack", "semantic", "temporal"):
            served = served_space(readers, chosen, index)
            expected = [
                reader.view().indices[index].vector(row)
                for reader, rows in zip(readers, chosen.by_day, strict=True)
                for row in rows.tolist()
            ]
            assert (served.space.vectors[served.space.codes] == np.array(expected)).all()
            embedder = days.embedders.named(index)
            assert (served.model_id, served.space.metric) == (embedder.model_id, embedder.metric)


def test_features_of_no_chosen_event_in_a_block(days: Any, payloads: Callable[..., list[bytes]]) -> None:
    """Blocks of the log without a chosen event are passed over."""
    made = payloads(ONE, 200)
    days.seal(ONE, made)
    with sealed_days(days.state) as readers:
        chosen = choose_rows(readers, 2)
        values, _ = read_features(readers, chosen)
    assert (values == extract([made[row] for row in chosen.by_day[0]]).values).all()


def test_vectors_of_several_models_are_refused(days: Any, payloads: Callable[..., list[bytes]]) -> None:
    """Days of two models are not compared; the sentence names the models, and what to do."""
    days.seal(ONE, payloads(ONE, 10))
    days.use_model("attack", 2)
    days.seal(TWO, payloads(TWO, 10))
    with (
        sealed_days(days.state) as readers,
        pytest.raises(AppiaError, match="appia reindex --index attack") as told,
    ):
        served_space(readers, choose_rows(readers, ALL), "attack")
    assert "attack@000000000001 (as 2026-01-20), attack@000000000002 (as 2026-01-21)" in str(told.value)
    with sealed_days(days.state, [TWO]) as readers:
        assert served_space(readers, choose_rows(readers, ALL), "attack").model_id == "attack@000000000002"


def test_what_cannot_be_read_is_one_sentence(
    days: Any, payloads: Callable[..., list[bytes]], make_payload: Callable[..., bytes]
) -> None:
    """No sealed day, a day that is not sealed, no class at all, an index that is not there."""
    with (
        pytest.raises(AppiaError, match="has no sealed day: `appia seal DAY` seals one"),
        sealed_days(days.state),
    ):
        pass
    days.seal(ONE, payloads(ONE, 10))
    with (
        pytest.raises(AppiaError, match="no sealed day 2026-01-21: `appia seal 2026-01-21`"),
        sealed_days(days.state, [ONE, TWO]),
    ):
        pass
    days.seal(TWO, [make_payload(TWO, 0, "", "")])
    with (
        sealed_days(days.state, [TWO]) as readers,
        pytest.raises(AppiaError, match="No event of 2026-01-21 has a class"),
    ):
        choose_rows(readers, ALL)
    days.disk.remove(days.state.day(ONE).generation(1).index_current("attack"))
    with (
        sealed_days(days.state, [ONE]) as readers,
        pytest.raises(AppiaError, match="day 2026-01-20 has no index attack: not built yet"),
    ):
        served_space(readers, choose_rows(readers, ALL), "attack")
