"""Alarms: the first at once, then at most one a minute with how many there were; where version 1 may be received."""

from __future__ import annotations

from typing import Any

import pytest

from services.common.errors import UsageError
from services.ingester.alarms import LINES_OF_AN_EVENT, SUBJECTS_KEPT, Alarms
from services.ingester.key_use import KeyUse
from services.ingester.private_links import check_private, is_private


class Clock:
    """Seconds that a test turns by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_flood_is_one_line_a_minute_that_counts_it() -> None:
    """Each subject for itself; what came in between is in the next line."""
    clock, told = Clock(), list[tuple[str, dict[str, Any]]]()
    alarms = Alarms(lambda event, facts: told.append((event, facts)), clock)
    for _ in range(600):
        alarms.tell("nonce_reused", "a", {"node": "a"})
        clock.now += 0.2
    alarms.tell("nonce_reused", "b", {"node": "b"})
    alarms.tell("frame_refused", "a", {})
    times = [facts["times"] for event, facts in told if facts.get("node") == "a"]
    assert times[0] == 1
    assert len(times) == 2
    assert times[1] in range(299, 303)
    assert told[-2:] == [("nonce_reused", {"node": "b", "times": 1}), ("frame_refused", {"times": 1})]


def test_the_number_of_subjects_is_bounded() -> None:
    """Node names are written by senders."""
    clock = Clock()
    alarms = Alarms(lambda *_: None, clock)
    for number in range(SUBJECTS_KEPT + 100):
        alarms.tell("nonce_reused", str(number), {})
        clock.now += 60
    assert len(alarms._raised) == SUBJECTS_KEPT


def test_a_flood_of_subjects_does_not_fill_the_log() -> None:
    """Whoever invents a node for each frame makes no more lines than one who does not; the next line counts them."""
    clock, told = Clock(), list[dict[str, Any]]()
    alarms = Alarms(lambda _, facts: told.append(facts), clock)
    for number in range(5000):
        alarms.tell("nonce_reused", f"node-{number}", {})
    assert len(told) == LINES_OF_AN_EVENT
    alarms.tell("frame_refused", "bad_tag", {})
    assert len(told) == LINES_OF_AN_EVENT + 1
    clock.now += 61
    alarms.tell("nonce_reused", "another", {})
    assert told[-1] == {"times": 1, "others": 5000 - LINES_OF_AN_EVENT}


def test_the_use_of_keys_is_counted_by_id() -> None:
    """Frames since the start, and how long a key has been quiet: then it can be retired."""
    clock = Clock()
    used = KeyUse(clock)
    used.note(5)
    used.note(5)
    clock.now += 61.5
    used.note(6)
    assert used.as_dict() == {"5": {"frames": 2, "quiet_s": 61}, "6": {"frames": 1, "quiet_s": 0}}


@pytest.mark.parametrize(
    ("endpoint", "private"),
    [
        ("tcp://127.0.0.1:5570", True),
        ("tcp://localhost:5570", True),
        ("tcp://[::1]:5570", True),
        ("tcp://10.1.2.3:5570", True),
        ("tcp://192.168.0.9:*", True),
        ("tcp://172.31.0.1:1", True),
        ("tcp://[fd00::1]:1", True),
        ("tcp://[fe80::1]:1", True),
        ("tcp://[::ffff:10.0.0.1]:1", True),
        ("tcp://0.0.0.0:5570", False),
        ("tcp://[::]:5570", False),
        ("tcp://*:5570", False),
        ("tcp://[::ffff:0.0.0.0]:1", False),
        ("tcp://[::ffff:8.8.8.8]:1", False),
        ("tcp://8.8.8.8:5570", False),
        ("tcp://[2001:4860:4860::8888]:1", False),
        ("tcp://172.32.0.1:1", False),
        ("tcp://sensor.example:5570", False),
        ("tcp://eth0:5570", False),
        ("tcp://[broken:5570", False),
        ("nonsense", False),
    ],
)
def test_which_endpoints_are_private(endpoint: str, private: bool) -> None:  # noqa: FBT001 - a table
    """Addresses of loopback and of private networks; a name may lead anywhere."""
    assert is_private(endpoint) is private


def test_version_1_beyond_private_links_needs_a_setting_and_warns() -> None:
    """Both the endpoint that listens and those that are subscribed to."""
    told: list[tuple[str, dict[str, Any]]] = []

    def report(event: str, facts: dict[str, Any]) -> None:
        told.append((event, facts))

    places = ("", "tcp://127.0.0.1:1", "tcp://8.8.8.8:2")
    with pytest.raises(UsageError, match=r"8\.8\.8\.8:2 .*allow_public_v1"):
        check_private(places, report, allow_public=False)
    assert told == []
    check_private(places, report, allow_public=True)
    assert told == [("v1_beyond_private_links", {"endpoint": "tcp://8.8.8.8:2"})]
