"""A run of the feed, from the source to the summary."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from services.common.errors import UsageError
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.wire.refusals import FrameRefused, Reason
from services.feed.main import FeedOptions, FeedSummary, FeedWatch, run_feed, stop_on_signals
from services.feed.readers.port import ReadOptions
from services.feed.sender import SenderCounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEADER = "Src IP,Dst IP,Timestamp,Label\n"
BAD = "nowhere,10.1.0.9,2026-03-02 10:00:00,x\n"


class KeepingSender:
    """A sender that keeps what it is given and acknowledges it at the next flush."""

    def __init__(self, on_send: Callable[[int], None] = lambda _: None) -> None:
        self.counts = SenderCounts()
        self.events: list[NetworkSecurityEvent] = []
        self.flushes = 0
        self._on_send = on_send

    def send(self, payload: bytes) -> None:
        event = NetworkSecurityEvent.FromString(payload)
        if event.threat_category == "too large":
            raise FrameRefused(Reason.SIZE_TOO_LARGE, "made up")
        self.events.append(event)
        self.counts.events += 1
        self._on_send(self.counts.events)

    def flush(self) -> None:
        self.flushes += 1
        self.counts.acknowledged = self.counts.accepted = self.counts.events

    def close(self) -> None:
        """Nothing is open."""


def row(number: int) -> str:
    return f"10.1.0.4,10.1.0.9,2026-03-02 10:00:{number:02},flow-{number}\n"


@pytest.fixture
def ten_rows(tmp_path: Path) -> Path:
    path = tmp_path / "flows.csv"
    path.write_text(HEADER + "".join(row(n) for n in range(10)))
    return path


def options(path: Path, **changes: object) -> FeedOptions:
    return FeedOptions(str(path), "cicflowmeter", **changes)  # type: ignore[arg-type]


def test_everything_read_is_sent_acknowledged_and_summed_up(ten_rows: Path) -> None:
    sender = KeepingSender()
    summary = run_feed(options(ten_rows), sender)
    assert [event.threat_category for event in sender.events] == [f"flow-{n}" for n in range(10)]
    assert (summary.read, summary.sent, summary.acknowledged) == (10, 10, 10)
    assert (summary.refused, summary.exit_code) == ({}, 0)
    assert {"read", "sent", "acknowledged", "refused", "seconds"} <= set(summary.as_dict())


def test_refused_and_skipped_rows_are_counted_named_and_set_the_exit_status(ten_rows: Path) -> None:
    with ten_rows.open("a") as file:
        file.write(BAD + ",,,\n" + row(11).replace("flow-11", "too large"))
    summary = run_feed(options(ten_rows), KeepingSender())
    assert (summary.read, summary.sent) == (12, 10)
    assert summary.refused == {"bad_source_ip": 1, "size_too_large": 1}
    assert summary.skipped == {"empty_row": 1}
    assert summary.refusals[0].startswith("flows.csv:12: bad_source_ip: ")
    assert summary.exit_code == 1


def test_what_the_receiver_refused_counts_as_well(ten_rows: Path) -> None:
    summary = run_feed(options(ten_rows), KeepingSender(), FeedWatch(refused={"too_late": 2}))
    assert (summary.refused, summary.exit_code) == ({"too_late": 2}, 1)


def test_strict_stops_at_the_first_refusal(tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_text(HEADER + row(1) + BAD + row(2) + BAD)
    summary = run_feed(options(path, strict=True), KeepingSender())
    assert (summary.read, summary.sent, summary.refused) == (2, 1, {"bad_source_ip": 1})


def test_the_limit_counts_over_all_rounds(ten_rows: Path) -> None:
    sender = KeepingSender()
    assert run_feed(options(ten_rows, limit=13, repeat=3), sender).sent == 13
    assert sender.events[12].event_id == f"{sender.events[2].event_id}-r1"
    assert run_feed(options(ten_rows, limit=0), KeepingSender()).sent == 0


def test_rounds_have_their_own_ids_and_times(ten_rows: Path) -> None:
    sender = KeepingSender()
    run_feed(options(ten_rows, repeat=3, shift_days=0.5), sender)
    first, second, third = (sender.events[n] for n in (0, 10, 20))
    assert len({event.event_id for event in sender.events}) == 30
    assert second.event_timestamp.seconds - first.event_timestamp.seconds == 43200
    assert third.network_features.flow_start_time.seconds - first.event_timestamp.seconds == 86400


def test_a_time_moved_out_of_the_calendar_is_refused(ten_rows: Path) -> None:
    summary = run_feed(options(ten_rows, repeat=2, shift_days=4e6), KeepingSender())
    assert (summary.sent, summary.refused) == (10, {"time_out_of_range": 10})


def test_the_rate_is_kept_and_nothing_lies_in_a_batch_meanwhile(ten_rows: Path) -> None:
    now = [0.0]

    class Waiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0.0
            return False

    sender = KeepingSender()
    read = ReadOptions(stop=Waiting())
    summary = run_feed(options(ten_rows, rate=2.0, read=read), sender, FeedWatch(clock=lambda: now[0]))
    assert summary.seconds == 4.5
    assert sender.flushes == 10


def test_a_stop_ends_the_reading_and_flushes(ten_rows: Path) -> None:
    stop = threading.Event()
    sender = KeepingSender(on_send=lambda count: stop.set() if count == 4 else None)
    summary = run_feed(options(ten_rows, read=ReadOptions(stop=stop)), sender)
    assert (summary.sent, summary.acknowledged) == (4, 4)


def test_while_following_everything_is_flushed_before_waiting(ten_rows: Path) -> None:
    stop = threading.Event()
    sender = KeepingSender()
    read = ReadOptions(follow=True, stop=stop)
    runner = threading.Thread(target=run_feed, args=(options(ten_rows, read=read), sender))
    runner.start()
    deadline = time.monotonic() + 20
    while sender.counts.acknowledged < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sender.counts.acknowledged == 10
    stop.set()
    runner.join(20)
    assert not runner.is_alive()


def test_progress_is_reported_at_least_at_the_end(ten_rows: Path) -> None:
    seen: list[int] = []

    def progress(summary: FeedSummary) -> None:
        seen.append(summary.acknowledged)

    run_feed(options(ten_rows), KeepingSender(), FeedWatch(progress=progress))
    assert seen[-1] == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_gently_and_the_handlers_come_back(number: int) -> None:
    before = signal.getsignal(number)
    stop = threading.Event()
    with stop_on_signals(stop):
        os.kill(os.getpid(), number)
        assert stop.wait(5)
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("changes", [{"rate": 0.0}, {"rate": float("nan")}, {"limit": -1}, {"repeat": 0}])
def test_options_that_make_no_sense_are_usage_errors(ten_rows: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        options(ten_rows, **changes)


def test_a_pipe_or_a_growing_file_cannot_be_repeated(ten_rows: Path) -> None:
    with pytest.raises(UsageError):
        FeedOptions("-", "cicflowmeter", repeat=2)
    with pytest.raises(UsageError):
        options(ten_rows, repeat=2, read=ReadOptions(follow=True))


def test_an_unknown_format_is_a_usage_error_that_names_the_known_ones(ten_rows: Path) -> None:
    with pytest.raises(UsageError, match="zeek-conn"):
        run_feed(FeedOptions(str(ten_rows), "pcap"), KeepingSender())
