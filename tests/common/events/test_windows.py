"""The hour around an event is what a plain count over all events of its host says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.events.table import EventTable
from services.common.events.windows import (
    CHANNELS,
    MOST_DISTINCT,
    STEP_NS,
    STEPS,
    DayWindows,
    HostWindows,
    Traffic,
    WindowLimits,
    day_windows,
    threat_of,
)

DAY_START = 17_500 * 1536  # a step at midnight UTC
DAY_NS = 86_400 * 10**9


def flow(host: int, step: int, **fields: Any) -> dict[str, Any]:
    plain = {"peer": 1, "port": 443, "bytes": 100.0, "packets": 2.0, "threat": 0.5, "within": 0}
    return {"host": f"10.0.0.{host}", "step": DAY_START + step, **plain, **fields}


def table_of(flows: list[dict[str, Any]]) -> EventTable:
    count = len(flows)
    empty = [""] * count
    zeros = np.zeros(count, np.float32)
    return EventTable(
        payloads=[b""] * count,
        event_id=empty,
        node=empty,
        time_ns=np.array([f["step"] * STEP_NS + f["within"] for f in flows], np.int64),
        src_ip=[f["host"] for f in flows],
        dst_ip=[f"8.8.{f['peer'] >> 8}.{f['peer'] & 255}" for f in flows],
        src_port=np.zeros(count, np.uint16),
        dst_port=np.array([f["port"] for f in flows], np.uint16),
        protocol=np.zeros(count, np.uint8),
        category=empty,
        klass=empty,
        label=empty,
        overall=np.array([f["threat"] for f in flows], np.float32),
        fast=zeros,
        ml=zeros,
        divergence=zeros,
        source=np.zeros(count, np.uint8),
        fast_triggered=np.zeros(count, np.bool_),
        fast_reason=empty,
        tags=empty,
        packets=np.array([f["packets"] for f in flows], np.float64),
        bytes=np.array([f["bytes"] for f in flows], np.float64),
    )


def day_of(flows: list[dict[str, Any]]) -> tuple[list[str], DayWindows]:
    table = table_of(flows)
    hosts, src = np.unique(np.array(table.src_ip, np.str_), return_inverse=True)
    _, dst = np.unique(np.array(table.dst_ip, np.str_), return_inverse=True)
    threat = threat_of(table)
    traffic = Traffic(
        src.astype(np.uint32), table.time_ns, table.bytes, table.packets, dst, table.dst_port, threat
    )
    return hosts.tolist(), day_windows(traffic)


def counted(flows: list[dict[str, Any]], host: str, step: int) -> np.ndarray:
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
    assert 1536 * STEP_NS == DAY_NS
    assert (DAY_START * STEP_NS) % DAY_NS == 0


@settings(max_examples=60, deadline=None)
@given(FLOWS)
def test_a_day_counts_what_a_plain_count_counts(flows: list[dict[str, Any]]) -> None:
    """Every window of a day, and the window every event points to, equal the slow count."""
    hosts, day = day_of(flows)
    windows = np.concatenate([np.zeros((0, STEPS, 6), np.float32), *day.blocks(7)])
    assert len(windows) == len(day)
    for code, one in zip(day.codes, flows, strict=True):
        assert hosts[day.hosts[code]] == one["host"]
        assert day.steps[code] == one["step"]
    for window, host, step in zip(windows, day.hosts, day.steps, strict=True):
        np.testing.assert_array_equal(window, counted(flows, hosts[host], step))


@settings(max_examples=60, deadline=None)
@given(FLOWS)
def test_step_by_step_gives_the_windows_of_the_day(flows: list[dict[str, Any]]) -> None:
    """Fed in time order, one batch per step, the open day gives each window as the finished day does."""
    hosts, day = day_of(flows)
    finished = dict(
        zip(
            zip(day.hosts.tolist(), day.steps.tolist(), strict=True),
            (w for b in day.blocks() for w in b),
            strict=True,
        )
    )
    seen = 0
    live = HostWindows()
    for step in sorted({f["step"] for f in flows}):
        batch = [f for f in flows if f["step"] == step]
        windows, codes = live.update(table_of(batch))
        seen += len(windows)
        for code, one in zip(codes, batch, strict=True):
            np.testing.assert_array_equal(windows[code], finished[hosts.index(one["host"]), step])
    assert seen == len(finished)


@settings(max_examples=40, deadline=None)
@given(FLOWS, st.randoms(use_true_random=False))
def test_disorder_within_the_bound_changes_nothing_in_the_end(
    flows: list[dict[str, Any]], random: Any
) -> None:
    """However events of one hour are ordered and cut into batches, the last window is the right one."""
    flows = [f for f in flows if f["step"] <= DAY_START + STEPS]
    random.shuffle(flows)
    live = HostWindows()
    for first in range(0, len(flows), 5):
        live.update(table_of(flows[first : first + 5]))
    for host in {f["host"] for f in flows}:
        probe = flow(0, STEPS, bytes=1.0, packets=1.0, peer=4, port=22, threat=0.0) | {"host": host}
        flows.append(probe)
        windows, _ = live.update(table_of([probe]))
        np.testing.assert_array_equal(windows[0], counted(flows, host, probe["step"]))


@settings(max_examples=30, deadline=None)
@given(FLOWS)
def test_replaying_the_batches_rebuilds_the_state(flows: list[dict[str, Any]]) -> None:
    """After a restart the same batches lead to the same next window."""
    batches = [table_of(flows[first : first + 6]) for first in range(0, len(flows), 6)]
    one, other = HostWindows(), HostWindows()
    for batch in batches:
        one.update(batch)
    for batch in batches:
        other.update(batch)
    probe = table_of([flow(1, 151), flow(2, 151)])
    np.testing.assert_array_equal(one.update(probe)[0], other.update(probe)[0])
    assert one.items == other.items


def test_events_of_one_host_and_step_share_a_window() -> None:
    """Two events in one step have one window; the same step of another host has its own."""
    windows, codes = HostWindows().update(table_of([flow(1, 0), flow(2, 0), flow(1, 0, peer=2)]))
    assert windows.shape == (2, STEPS, len(CHANNELS))
    assert windows.dtype == np.float32
    assert codes.tolist() == [0, 1, 0]
    assert windows[0, -1].tolist() == [2, 200, 4, 2, 1, 0.5]


def test_the_threat_is_the_highest_of_the_scores() -> None:
    """A flow that only the fast detector scores has that score as its threat."""
    table = table_of([flow(1, 0, threat=0.25)])
    table.fast[0] = 0.75
    assert threat_of(table).tolist() == [0.75]


def test_an_empty_batch_has_no_windows() -> None:
    """No events, no windows, live or for a day."""
    windows, codes = HostWindows().update(table_of([]))
    assert windows.shape == (0, STEPS, len(CHANNELS))
    assert codes.shape == (0,)
    _, day = day_of([])
    assert (len(day), list(day.blocks())) == (0, [])


def test_the_day_before_is_not_seen() -> None:
    """A day is made from its own events, so its first window has only its own step."""
    _, day = day_of([flow(1, 0)])
    (block,) = day.blocks()
    assert np.flatnonzero(block[0].any(axis=1)).tolist() == [STEPS - 1]


def test_distinct_values_are_counted_up_to_a_bound() -> None:
    """A host that scans everything counts MOST_DISTINCT peers and ports in a step, live and for a day."""
    scan = [flow(1, 0, peer=number, port=number) for number in range(MOST_DISTINCT + 100)]
    live = HostWindows()
    live.update(table_of(scan[:3000]))
    windows, _ = live.update(table_of(scan[3000:]))
    _, day = day_of(scan)
    (block,) = day.blocks()
    np.testing.assert_array_equal(windows, block)
    assert windows[0, -1, 3:5].tolist() == [MOST_DISTINCT, MOST_DISTINCT]
    assert live.items == 1 + 2 * MOST_DISTINCT


def test_old_steps_are_forgotten() -> None:
    """A host keeps its last 64 + late_steps steps and no more, however long it talks."""
    live = HostWindows(WindowLimits(late_steps=10))
    for step in range(500):
        live.update(table_of([flow(1, step)]))
    assert live.items == 3 * (STEPS + 10)


def test_a_late_event_within_the_bound_finds_its_hour() -> None:
    """An event late_steps behind the newest still sees all 64 steps before it."""
    live = HostWindows(WindowLimits(late_steps=10))
    flows = [flow(1, step) for step in range(100)]
    for one in flows:
        live.update(table_of([one]))
    late = flow(1, 89, peer=9)
    windows, _ = live.update(table_of([late]))
    np.testing.assert_array_equal(windows[0], counted([*flows, late], late["host"], late["step"]))


def test_an_event_later_than_that_still_gets_a_window() -> None:
    """Beyond the bound the window holds what is still known, at least the event itself."""
    live = HostWindows(WindowLimits(late_steps=10))
    live.update(table_of([flow(1, 1000)]))
    windows, codes = live.update(table_of([flow(1, 5)]))
    assert codes.tolist() == [0]
    assert windows[0, -1, 0] == 1
    assert live.items == 3


@pytest.mark.parametrize("limits", [WindowLimits(hosts=3), WindowLimits(items=9)])
def test_the_host_not_seen_for_longest_is_forgotten_first(limits: WindowLimits) -> None:
    """Over a limit hosts go, the least recently seen first; those that stay keep their hour."""
    live = HostWindows(limits)
    for host in (1, 2, 3, 1, 4):
        live.update(table_of([flow(host, 0)]))
    assert live.hosts == 3
    windows, _ = live.update(table_of([flow(1, 0), flow(2, 0)]))
    assert windows[:, -1, 0].tolist() == [3, 1]


def test_places_of_forgotten_cells_are_used_again() -> None:
    """What an earlier host left behind never shows in another host's window."""
    live = HostWindows(WindowLimits(hosts=1))
    for host in range(1, 200):
        windows, _ = live.update(table_of([flow(host, 0, bytes=float(host))]))
        assert windows[0, -1].tolist() == [1, host, 2, 1, 1, 0.5]
    assert live.hosts == 1


def test_more_cells_than_were_reserved() -> None:
    """The store grows with the hosts."""
    flows = [flow(host, 0) | {"host": f"host-{host}"} for host in range(5000)]
    live = HostWindows()
    windows, codes = live.update(table_of(flows))
    assert len(windows) == 5000
    assert sorted(codes.tolist()) == list(range(5000))
    assert live.hosts == 5000
