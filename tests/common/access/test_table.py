"""The access file: what is in it counts, what is not said is not allowed, what is wrong is a sentence."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.access.curve import KeyPair
from services.common.access.names import (
    CHANGES,
    FACTS,
    HEALTH_CHANGES,
    HEALTH_LOOKS,
    INDICES,
    LOOKS,
    MIRRORING,
    OPERATIONS,
    QUALITY,
    QUESTIONS,
    REMARK,
)
from services.common.access.rights import EVERYTHING, Days, Rate, Rights, utc_day
from services.common.access.table import parse_access, token_digest
from services.common.errors import AppiaError
from services.rag.protocol import OPERATIONS as ASKED
from services.rag.protocol import PING
from services.rag.quality import QUALITY as AUDIT
from tests.common.access.conftest import table

KEY, OTHER = KeyPair.new().public, KeyPair.new().public
TODAY = "2026-11-20"


def _parse(*tables: str) -> Any:
    return parse_access("\n".join(["format = 1", *tables]).encode(), "access.toml")


def test_a_key_has_what_the_file_says() -> None:
    """Groups stand for their operations, dates for days, and the rest is as it is written."""
    found = _parse(
        table(
            "alice",
            KEY,
            operations=["get", "remarks"],
            indices=["attack"],
            days=["2026-11-01..2026-11-03", "2026-11-20"],
            rate=2.5,
            burst=3,
        ),
        table("gateway", OTHER, delegate=True),
    )
    alice = found.of_key(KEY)
    assert alice is found.of_name("alice")
    assert alice.rights == Rights(
        frozenset({"get", REMARK}),
        frozenset({"attack"}),
        (Days((("2026-11-01", "2026-11-03"), ("2026-11-20", "2026-11-20"))),),
        Rate(2.5, 3),
    )
    assert found.of_name("gateway").rights == Rights(frozenset(OPERATIONS), frozenset(INDICES), delegate=True)
    assert found.of_key(KeyPair.new().public) is None


def test_the_operations_are_those_of_the_replicas() -> None:
    """What a replica answers is a right, each one of its own; `ping` is everybody's."""
    assert set(QUESTIONS) == set(ASKED) - {PING}
    others = {REMARK, FACTS, QUALITY, *LOOKS, *CHANGES, *HEALTH_LOOKS, *HEALTH_CHANGES, *MIRRORING}
    assert set(OPERATIONS) == {*QUESTIONS, *others}
    assert AUDIT.name == QUALITY
    assert _parse(table("a", KEY, operations=[])).of_name("a").rights.allow_operation(PING)


@pytest.mark.parametrize(
    ("days", "allowed", "not_allowed"),
    [
        (Days(), ["1999-01-01", "2030-01-01"], []),
        (Days(last=1), ["2026-11-20", "2026-11-21"], ["2026-11-19"]),
        (Days(last=30), ["2026-10-22", "2026-11-20"], ["2026-10-21"]),
        (Days((("2026-01-01", "2026-01-31"),)), ["2026-01-01", "2026-01-31"], ["2025-12-31", "2026-02-01"]),
        (Days(()), [], ["2026-11-20"]),
    ],
)
def test_days_are_counted_to_the_end(days: Days, allowed: list[str], not_allowed: list[str]) -> None:
    """The last N days end today, and spans have both their ends."""
    rights = Rights(frozenset(), frozenset(), (days,))
    assert [rights.allow_day(day, TODAY) for day in (*allowed, *not_allowed)] == [
        *([True] * len(allowed)),
        *([False] * len(not_allowed)),
    ]
    assert utc_day(1_795_132_799_999_999_999) == "2026-11-19"
    assert utc_day(1_795_132_800_000_000_000) == TODAY


def test_a_gateway_adds_nothing() -> None:
    """Through a gateway a key has what both have: the days of both must allow a day."""
    own = Rights(frozenset({"get", "list"}), frozenset({"attack", "entity"}), (Days(last=30),), Rate(1, 1))
    gateway = Rights(
        frozenset({"get", "days"}), frozenset({"attack"}), (Days((("2026-11-20", TODAY),)),), delegate=True
    )
    both = own.within(gateway)
    assert both.operations == {"get"}
    assert both.indices == {"attack"}
    assert [both.allow_day(day, TODAY) for day in (TODAY, "2026-11-19")] == [True, False]
    assert (both.rate, both.delegate) == (own.rate, False), "it asks no further"
    assert EVERYTHING.see_everything
    assert not both.see_everything


def test_tokens_are_found_by_their_digest() -> None:
    """The file has the SHA-256 of a token; a revoked key's is worth nothing."""
    token = "s3cret-tökén"  # noqa: S105 - of this test
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert token_digest(token) == digest
    found = _parse(
        table("alice", token_sha256=digest), table("old", token_sha256=token_digest("x"), revoked=True)
    )
    assert found.of_token(token).name == "alice"
    for wrong in ("", "x", digest, token + " ", "\ud800"):
        assert found.of_token(wrong) is None


def test_a_revoked_key_is_nobody() -> None:
    """By its name and by its key it is not found any more; its name stays taken."""
    found = _parse(table("old", KEY, revoked=True))
    assert (found.of_name("old"), found.of_key(KEY)) == (None, None)
    assert "old" in found.principals


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "format = 1"),
        ("format = 2", "format = 1"),
        ("format = true", "format = 1"),
        ("format = 1\nkeys = 3", r"tables \[keys.NAME\]"),
        ("format = 1\nusers = 3", r"tables \[keys.NAME\]"),
        ("format = 1\n[keys]\na = 3", "must be a table"),
        ("format = [", "not TOML"),
        ("\xff", "format = 1|not TOML"),
        ('format = 1\n[keys."a b"]', "no name of a key"),
        ('format = 1\n[keys."a\\u001b[2J"]', "no name of a key"),
        ("format = 1\n[keys.a.b]\nx = 1", "there is no 'b'"),
        ("format = 1\n[keys.a]", "needs a 'public_key' or a 'token_sha256'"),
        (f"format = 1\n{table('a', 'x' * 39)}", "40 characters of Z85"),
        (f"format = 1\n{table('a', token_sha256='x' * 64)}", "64 lower-case"),
        (f"format = 1\n{table('a', token_sha256='A' * 64)}", "64 lower-case"),
        (f"format = 1\n{table('a', KEY, operations='get')}", "'operations', a list"),
        (f"format = 1\n{table('a', KEY, operations=['gett'])}", "'gett'; there are: similar"),
        (f"format = 1\n{table('a', KEY, indices=['fused'])}", "'fused'; there are: attack"),
        (f"format = 1\n{table('a', KEY, days=['last 0'])}", "'last 0'"),
        (f"format = 1\n{table('a', KEY, days=['last 99999'])}", "one 'last N'"),
        (f"format = 1\n{table('a', KEY, days=['last 2', '2026-01-01'])}", "one 'last N'"),
        (f"format = 1\n{table('a', KEY, days=['2026-02-30'])}", "'2026-02-30'"),
        (f"format = 1\n{table('a', KEY, days=['2026-02-02..2026-02-01'])}", "holds '2026-02-02"),
        (f"format = 1\n{table('a', KEY, rate=0)}", "'rate' must be a number above 0"),
        (f"format = 1\n{table('a', KEY, rate=float('inf'))}", "'rate' must be"),
        (f"format = 1\n{table('a', KEY, rate=float('nan'))}", "'rate' must be"),
        (f"format = 1\n{table('a', KEY, rate=True)}", "'rate' must be"),
        (f"format = 1\n{table('a', KEY, burst=0)}", "'burst' must be"),
        (f"format = 1\n{table('a', KEY, burst=1.5)}", "'burst' must be"),
        (f"format = 1\n{table('a', KEY, delegate=1)}", "'delegate' must be true or false"),
        (f"format = 1\n{table('a', KEY, admin=True)}", "no 'admin'"),
        (f"format = 1\n{table('a', KEY)}{table('b', KEY)}", "a and b the same"),
        (
            f"format = 1\n{table('a', token_sha256='0' * 64)}{table('b', token_sha256='0' * 64)}",
            "a and b the same",
        ),
    ],
)
def test_what_is_wrong_is_a_sentence(text: str, said: str) -> None:
    """It names the file, the key and what is allowed; nothing is taken from such a file."""
    with pytest.raises(AppiaError, match=said) as refused:
        parse_access(text.encode("latin-1" if text == "\xff" else "utf-8"), "access.toml")
    assert "access.toml" in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_a_file_that_is_cut_short_never_allows_more() -> None:
    """At whatever byte it ends: it is damaged, or each key has no right that it has not in the whole file."""
    whole = f"format = 1\n{table('a', KEY, operations=['get'], indices=['attack'], days=['last 2'], rate=20)}"
    full = _parse_text(whole).of_name("a").rights
    taken = 0
    for size in range(len(whole)):
        try:
            found = _parse_text(whole[:size]).of_name("a")
        except AppiaError:
            continue
        taken += found is not None
        if found is not None:
            rights = found.rights
            assert rights.operations <= full.operations
            assert rights.indices <= full.indices
            assert rights.days == full.days
            assert not rights.delegate
    assert 0 < taken < 20


def _parse_text(text: str) -> Any:
    return parse_access(text.encode(), "access.toml")


def _in_a_table(text: str) -> bytes:
    return f"format = 1\n[keys.a]\n{text}".encode("utf-8", "replace")


@given(st.binary(max_size=300) | st.text(max_size=300).map(_in_a_table))
@settings(max_examples=300, deadline=None)
def test_hostile_bytes_are_a_sentence(content: bytes) -> None:
    """Whatever the file holds, nothing but the one error comes out."""
    told = ""
    try:
        parse_access(content, "access.toml")
    except AppiaError as error:
        told = str(error)
    assert not told or told.isprintable()
