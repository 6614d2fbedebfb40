"""Who supervises a service is told that it works, for as long as that is true, over a real datagram socket."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest

from services.common.logs import make_logger
from services.common.observing.beats import Beats
from services.common.observing.condition import Configured, Readiness, Served, without_facts
from services.common.observing.observed import Observing
from services.common.observing.pulse import Pulse
from services.common.observing.systemd import ALONE, Notifier, Supervised
from services.common.observing.watchdog import Watchdog


def test_what_systemd_says_is_read_and_taken_out() -> None:
    """The variables are not passed on to children; those of another process, or that make no sense, do not count."""
    environ = {
        "NOTIFY_SOCKET": "/run/notify",
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    assert Supervised.take(environ) == Supervised("/run/notify", 30.0)
    assert environ == {"HOME": "/"}
    for told in (
        {"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "-5"},
        {"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "\u0661"},
    ):
        assert Supervised.take(dict(told)) == Supervised("@abstract", 0.0)
    assert Supervised.take({"NOTIFY_SOCKET": "vsock:2:1", "WATCHDOG_USEC": "x"}) == ALONE


def test_a_service_says_that_it_is_ready_works_and_stops(supervisor: Any, service: Any) -> None:
    """In this order, and a word that it works again and again; none while it is stuck, but why."""
    observing = Observing(
        "", service.condition, (), Supervised(supervisor.address, 0.15), make_logger("t", io.StringIO())
    )
    observing.start()
    assert supervisor.is_told_nothing()
    observing.ready()
    assert [supervisor.hear() for _ in range(3)] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]
    service.stuck = "No step was made by: the intake for 130 s.\nmore"
    while (word := supervisor.hear()) == "WATCHDOG=1":
        pass
    assert word == "STATUS=No step was made by: the intake for 130 s."
    assert supervisor.is_told_nothing()
    service.stuck = ""
    assert supervisor.hear() == "WATCHDOG=1"
    assert supervisor.hear() == "STATUS="
    observing.stop()
    while (word := supervisor.hear()) == "WATCHDOG=1":
        pass
    assert word == "STOPPING=1"


def test_why_it_is_stuck_is_logged_once(supervisor: Any) -> None:
    """Not at each look."""
    log = io.StringIO()
    notifier = Notifier(Supervised(supervisor.address, 30.0))
    watchdog = Watchdog(notifier, lambda: "It hangs.", make_logger("t", log))
    for _ in range(3):
        watchdog._look()
    assert supervisor.hear() == "STATUS=It hangs."
    assert supervisor.is_told_nothing()
    assert log.getvalue().count("It hangs.") == 1
    notifier.close()


def test_a_supervisor_that_is_gone_or_does_not_read_stops_nobody(supervisor: Any) -> None:
    """What cannot be said is not said: no error, no wait, whatever the reason."""
    notifier = Notifier(Supervised(supervisor.address, 30.0))
    for _ in range(5000):  # more than the socket holds
        notifier.works()
    supervisor.close()
    notifier.ready()
    notifier.close()
    notifier.stopping()
    alone = Notifier(ALONE)
    alone.ready()
    alone.close()


def test_a_pulse_is_said_three_times_within_the_time(supervisor: Any) -> None:
    """However often the loop goes round."""
    now = [0.0]
    notifier = Notifier(Supervised(supervisor.address, 30.0))
    pulse = Pulse(notifier, lambda: now[0])
    for tenth in range(300):
        now[0] = tenth / 10
        pulse.turn()
    heard = 0
    while not supervisor.is_told_nothing():
        heard += 1
    assert heard == 3
    notifier.close()


def test_a_loop_is_stuck_when_it_is_silent_for_too_long() -> None:
    """Each loop is named with its time; one that beats again, or has ended, is none."""
    now = [100.0]
    beats = Beats(lambda: now[0], silent_s=60.0)
    assert beats.stuck() == ""
    beats.beat("intake")
    beats.beat("indexer")
    assert beats.has_begun("intake")
    now[0] = 160.0
    assert beats.stuck() == ""
    beats.beat("indexer")
    now[0] = 171.0
    assert beats.stuck() == "No step was made by: intake for 71 s."
    now[0] = 230.0
    assert beats.stuck() == "No step was made by: indexer for 70 s, intake for 130 s."
    beats.ended("indexer")
    beats.beat("intake")
    assert beats.stuck() == ""
    assert not beats.has_begun("indexer")


@pytest.mark.parametrize("ready", [True, False])
def test_ping_has_the_same_keys_in_every_service(service: Any, ready: bool) -> None:  # noqa: FBT001 - a parameter
    """All facts for one that may look; for others which process it is, its clock, and whether it is ready."""
    service.readiness = Readiness.of("" if ready else "It lags.")
    service.configured = Configured(3, "no")
    answer = service.condition.ping(Served(10, "2026-01-01/2"))
    assert set(answer) == {
        "service", "name", "pid", "version", "uptime_s", "time_ns", "ready", "why", "rows", "newest_generation",
        "days_not_held", "config_revision", "config_fault",
    }  # fmt: skip
    assert (answer["ready"], answer["why"]) == (ready, "" if ready else "It lags.")
    assert (answer["rows"], answer["config_revision"], answer["config_fault"]) == (10, 3, "no")
    assert set(without_facts(answer)) == {"service", "name", "pid", "version", "uptime_s", "time_ns", "ready"}
