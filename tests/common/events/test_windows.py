"""The hour around an event is what a plain count over all events of its host says."""

from __future__ import annotations

from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.events.sketch import FULL
from services.common.events.windows import (
    CHANNELS,
    STEP_NS,
    STEPS,
    STEPS_A_DAY,
    Cells,
    MemorySpace,
    Traffic,
    day_windows,
    host_keys,
    threat_of,
)

DAY_START = 17_500 * STEPS_A_DAY  # a step at midnight UTC
DAY_NS = 86_400 * 10**9


def flow(host: int, step: int, **fields: Any) -> dict[str, Any]:
    plain = {"peer": 1, "port": 443, "bytes": 100.0, "packets": 2.0, "threat": 0.5, "within": 0}
    return {"host": host, "step": DAY_START + step, **plain, **fields}


def traffic_of(flows: list[dict[str, Any]]) -> Traffic:
    def column(make: Any, dtype: Any) -> np.ndarray:
        return np.array([make(f) for f in flows], dtype)

    return Traffic(
        src=column(lambda f: f["host"], np.uint64),
        time_ns=column(lambda f: f["step"] * STEP_NS + f["within"], np.int64),
        bytes=column(lambda f: f["bytes"], np.float64),
        packets=column(lambda f: f["packets"], np.float64),
        dst=column(lambda f: f["peer"], np.uint64),
        dst_port=column(lambda f: f["port"], np.uint16),
        threat=column(lambda f: f["threat"], np.float32),
    )


def state_of(cells: Cells) -> np.ndarray:
    """Everything that is known of the cells, in order of their keys."""
    return cells._cells[cells.in_order()]


def counted(flows: list[dict[str, Any]], host: int, step: int) -> np.ndarray:
    """Make one window the slow and obvious way."""
    window = np.zeros((STEPS, len(CHANNELS)), np.float32)
    for place in range(STEPS):
        here = [f for f in flows if f["host"] == host and f["step"] == step - (STEPS - 1) + place]
        if here:
            window[place] = (
                len(here),
                sum(f["bytes"] for f in here),
                sum(f["packets"] for f in here),
                len({f["peer"] for f in here}),
                len({f["port"] for f in here}),
                max(f["threat"] for f in here),
            )
    return window


FLOWS = st.lists(
    st.builds(
        flow,
        st.integers(1, 3),
        st.integers(0, 150),
        peer=st.integers(0, 4),
        port=st.sampled_from([22, 80, 443]),
        bytes=st.integers(0, 10**6).map(float),
        packets=st.integers(0, 1000).map(float),
        threat=st.sampled_from([0.0, 0.25, 0.75]),
        within=st.sampled_from([0, 1, STEP_NS - 1]),
    ),
    max_size=40,
)


def test_the_grid_divides_the_day() -> None:
    """1536 steps make exactly one UTC day, so a day always begins on a step."""
    assert STEPS_A_DAY * STEP_NS == DAY_NS
    assert (DAY_START * STEP_NS) % DAY_NS == 0


@settings(max_examples=60, deadline=None)
@given(FLOWS)
def test_a_day_counts_what_a_plain_count_counts(flows: list[dict[str, Any]]) -> None:
    """Every window of a day, and the window every event points to, equal the slow count."""
    day = day_windows(traffic_of(flows))
    windows = np.concatenate([np.zeros((0, STEPS, 6), np.float32), *day.blocks(7)])
    assert len(windows) == len(day) == len({(f["host"], f["step"]) for f in flows})
    for code, one in zip(day.codes, flows, strict=True):
        assert (day.hosts[code], day.steps[code]) == (one["host"], one["step"])
    for window, host, step in zip(windows, day.hosts, day.steps, strict=True):
        np.testing.assert_array_equal(window, counted(flows, host, step))


@settings(max_examples=80, deadline=None)
@given(FLOWS, st.randoms(use_true_random=False), st.lists(st.integers(1, 9), min_size=1))
def test_any_order_and_any_batches_give_the_same_bits(
    flows: list[dict[str, Any]], random: Any, sizes: list[int]
) -> None:
    """Shuffled and cut up, events make cells and windows that equal those of one update, to the last bit."""
    at_once = Cells(MemorySpace())
    at_once.update(traffic_of(flows))
    shuffled = random.sample(flows, len(flows))
    bit_by_bit, codes, size = Cells(MemorySpace()), [], cycle(sizes)
    rest = shuffled
    while rest:
        count = next(size)
        codes += bit_by_bit.update(traffic_of(rest[:count])).tolist()
        rest = rest[count:]
    assert state_of(bit_by_bit).tobytes() == state_of(at_once).tobytes()
    windows = bit_by_bit.windows(np.array(codes, np.int64))
    day = day_windows(traffic_of(shuffled))
    everything = np.concatenate([np.zeros((0, STEPS, 6), np.float32), *day.blocks()])
    assert windows.tobytes() == everything[day.codes].tobytes()


@settings(max_examples=40, deadline=None)
@given(FLOWS, st.integers(0, 40))
def test_an_event_changes_the_windows_that_show_it_and_no_others(
    flows: list[dict[str, Any]], split: int
) -> None:
    """`showing` names every cell whose window is another after more events, so that none stays wrong."""
    cells = Cells(MemorySpace())
    cells.update(traffic_of(flows[:split]))
    before = cells.windows(np.arange(len(cells)))
    touched = np.unique(cells.update(traffic_of(flows[split:])))
    after = cells.windows(np.arange(len(before)))
    changed = np.flatnonzero((before != after).any(axis=(1, 2)))
    shown = np.unique(cells.showing(touched))
    assert set(changed.tolist()) <= set(shown.tolist())
    for cell in shown:
        window = cells.windows(np.array([cell]))[0]
        assert any(
            np.array_equal(window[-1 - age], cells.windows(touched)[n, -1])
            for n in range(len(touched))
            for age in range(STEPS)
        )


def test_real_sums_do_not_depend_on_their_order() -> None:
    """Bytes that a 64-bit float cannot add exactly add up the same from the front and from the back."""
    flows = [flow(1, 0, bytes=float(size)) for size in (2**54, 1, 1, 2**39, 3, 2**24 + 1)]
    one, other = Cells(MemorySpace()), Cells(MemorySpace())
    one.update(traffic_of(flows))
    for late in reversed(flows):
        other.update(traffic_of([late]))
    assert state_of(one).tobytes() == state_of(other).tobytes()
    assert int(state_of(one)["sums"][0, 1]) == 2**40 + 1 + 1 + 2**39 + 3 + 2**24


def test_events_of_one_host_and_step_share_a_window() -> None:
    """Two events in one step have one window; the same step of another host has its own."""
    cells = Cells(MemorySpace())
    numbers = cells.update(traffic_of([flow(1, 0), flow(2, 0), flow(1, 0, peer=2)]))
    assert numbers[0] == numbers[2] != numbers[1]
    assert len(cells) == 2
    windows = cells.windows(numbers[:1])
    assert (windows.shape, windows.dtype) == ((1, STEPS, len(CHANNELS)), np.float32)
    assert windows[0, -1].tolist() == [2, 200, 4, 2, 1, 0.5]


def test_no_events_have_no_windows() -> None:
    """No events, no windows, live or for a day."""
    cells = Cells(MemorySpace())
    assert cells.update(traffic_of([])).shape == (0,)
    assert cells.windows(np.empty(0, np.int64)).shape == (0, STEPS, len(CHANNELS))
    day = day_windows(traffic_of([]))
    assert (len(day), list(day.blocks())) == (0, [])


@pytest.mark.parametrize("gap", [1, STEPS - 1])
def test_the_day_before_is_not_seen(gap: int) -> None:
    """Also where events of several days are counted together, a window ends at its midnight."""
    day = day_windows(traffic_of([flow(1, -gap), flow(1, 0), flow(1, 1)]))
    places = {
        step - DAY_START: np.flatnonzero(window.any(axis=1)).tolist()
        for step, window in zip(day.steps.tolist(), next(day.blocks()), strict=True)
    }
    assert places == {-gap: [63], 0: [63], 1: [62, 63]}


def test_the_last_step_of_a_day_is_shown_by_itself_alone() -> None:
    """Nothing after midnight becomes wrong by a late event before it."""
    cells = Cells(MemorySpace())
    last, first = cells.update(traffic_of([flow(1, -1), flow(1, 0)])).tolist()
    assert cells.showing(np.array([last])).tolist() == [last]
    assert cells.showing(np.array([first])).tolist() == [first]


@pytest.mark.parametrize(("count", "error"), [(1, 0.0), (8, 0.15), (100, 0.1), (1000, 0.15), (3000, 0.4)])
def test_peers_and_ports_are_counted_about(count: int, error: float) -> None:
    """Of a host that talks to many, the number of peers and ports is an estimate, and never more than a full sketch."""
    scan = [flow(1, 0, peer=7 * number, port=number) for number in range(count)]
    (window,) = next(day_windows(traffic_of(scan + scan)).blocks())
    for counted_as in window[-1, 3:5]:
        assert abs(counted_as / count - 1) <= error
        assert counted_as <= FULL


def test_equal_addresses_are_one_host_in_any_table() -> None:
    """The number of an address does not depend on where it stands; addresses that differ in a bit have others."""
    random = np.random.default_rng(1)
    addresses = random.integers(0, 256, (500, 16), np.uint8)
    addresses[1] = addresses[0]
    addresses[1, 3] ^= 1
    keys = host_keys(addresses)
    assert len(set(keys.tolist())) == 500
    assert host_keys(addresses[7:8])[0] == keys[7]
    assert host_keys(np.empty((0, 16), np.uint8)).shape == (0,)


def test_the_threat_is_the_highest_of_the_scores() -> None:
    """A flow that only the fast detector scores has that score as its threat."""
    scores = {name: np.zeros(2, np.float32) for name in ("overall", "fast", "ml")}
    scores["overall"][:], scores["fast"][0], scores["ml"][1] = 0.25, 0.75, 0.5
    table: Any = SimpleNamespace(**scores)
    assert threat_of(table).tolist() == [0.75, 0.5]


def test_more_cells_than_were_reserved() -> None:
    """The space grows with the hosts, and what was counted before stays."""
    flows = [flow(host, 0, bytes=float(host)) for host in range(20_000)]
    cells = Cells(MemorySpace())
    numbers = np.concatenate(
        [cells.update(traffic_of(flows[first : first + 500])) for first in range(0, 20_000, 500)]
    )
    assert len(cells) == len(set(numbers.tolist())) == 20_000
    assert cells.windows(numbers)[:, -1, 1].tolist() == list(range(20_000))
    assert cells.update(traffic_of(flows)).tolist() == numbers.tolist()
