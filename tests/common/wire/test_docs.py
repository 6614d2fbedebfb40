"""docs/wire-format.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.common.wire import body, boots, keys, senders, sessions, v1, v1_counters, v1_seen, v2
from services.common.wire.refusals import Reason
from services.feed.reliable import ReliableSettings, new_origin

DOC = (Path(__file__).parents[3] / "docs" / "wire-format.md").read_text("utf-8")


def test_every_refusal_reason_is_documented_and_no_other() -> None:
    """The table of reasons has one row for each code."""
    table = DOC[DOC.index("## Why a frame is refused") :]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [reason.value for reason in Reason]


@pytest.mark.parametrize("channel", [*keys.V1_CHANNELS, keys.DEFAULT_V2_CHANNEL])
def test_every_channel_is_documented(channel: str) -> None:
    """Channel names are part of the keys, so an operator must be able to look them up."""
    assert f"`{channel}`" in DOC


def test_the_header_is_documented_at_its_offsets() -> None:
    """The table of the version 2 header has the fields and widths of the code."""
    table = DOC[DOC.index('magic: "APP2"') - 20 :]
    rows = re.findall(r"^(\d+) +(\d+) +(\w+)", table, re.MULTILINE)[:9]
    offset = 0
    for row in rows:
        assert int(row[0]) == offset
        offset += int(row[1])
    assert offset == v2.HEADER.size == 52
    assert [row[2] for row in rows][3:] == ["flags", "key_id", "sender", "boot", "salt", "seq"]
    assert v1.NONCE.size == 12


def test_the_limits_in_the_text_are_those_of_the_code() -> None:
    """Numbers an operator may rely on are not out of date."""
    limits = ReliableSettings("", new_origin("events"))
    facts = {
        f"{body.MAX_FRAME_BYTES:,} bytes": body.MAX_FRAME_BYTES == body.MAX_BODY_BYTES,
        f"the last {senders.WINDOW} `seq`": True,
        f"the last {sessions.ANSWERS_KEPT})": True,
        f"At most {senders.MAX_SENDERS} senders": True,
        f"{v1_seen.SEEN_FRAMES:,} frames, 16 MiB": v1_seen.SEEN_FRAMES * v1_seen.ENTRY.size == 16 << 20,
        f"up to {v1_counters.LATE_WINDOW} behind": True,
        f"At most {limits.window_frames} frames or 16 MiB": limits.window_bytes == 16 << 20,
        f"again after {limits.resend_after_s:g} s": True,
        f"most {limits.resend_at_most_s:g} s": True,
        f"After {limits.give_up_after_s:g} s without": True,
        "time in seconds": boots.BOOT_LIMIT == 1 << 32,
    }
    text = " ".join(DOC.split())
    assert [fact for fact, holds in facts.items() if fact not in text or not holds] == []
