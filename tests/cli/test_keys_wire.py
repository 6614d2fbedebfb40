"""`appia keys list`, `rotate`, `retire`, `revoke` and `sensor`: what they print, refuse and never show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from services.cli.main import run
from services.common.wire.keys import new_key_ring, read_key_ring

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    new_key_ring(tmp_path / "keys")
    return tmp_path / "keys"


def test_a_key_is_rotated_and_the_old_one_ended(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way of an operator, in words and as JSON; no seed is shown anywhere."""
    first = read_key_ring(keys)
    assert run(["keys", "rotate", str(keys)]) == 0
    second = read_key_ring(keys)
    assert (
        f"Made key {second.primary}, which seals from now on; {first.primary} still open"
        in capsys.readouterr().out
    )
    assert run(["keys", "rotate", str(keys), "--json"]) == 0
    third = json.loads(capsys.readouterr().out)["primary"]
    assert run(["keys", "retire", str(keys), str(first.primary)]) == 0
    assert run(["keys", "revoke", str(keys), str(second.primary)]) == 0
    assert run(["keys", "sensor", str(keys), "sniffer-1"]) == 0
    said = capsys.readouterr().out
    assert str(keys / "wire" / "v1" / "sniffer-1.seed") in said
    assert run(["keys", "list", str(keys)]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["key", str(third), str(second.primary), "v1/sniffer-1"]
    assert "revoked" in listed[2]
    assert run(["keys", "list", str(keys), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["may"] for row in rows] == [
        "seal and open",
        "nothing, it is revoked",
        "open frames of node sniffer-1",
    ]
    ring = read_key_ring(keys)
    for seed in (*ring.seeds.values(), *ring.nodes.values(), first.sealing_seed(), second.sealing_seed()):
        assert seed.hex() not in said + "".join(listed) + json.dumps(rows)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["rotate", "none"], 1, "appia keys new none"),
        (["list", "none"], 1, "appia keys new none"),
        (["retire", "KEYS", "12"], 2, "There is no key 12"),
        (["revoke", "KEYS", "PRIMARY"], 2, "appia keys rotate"),
        (["revoke", "KEYS", "-1"], 2, ""),
        (["revoke", "KEYS", "4294967296"], 2, "4294967295"),
        (["sensor", "KEYS", ""], 2, "is no node id"),
        (["sensor", "KEYS", "\x1b[31mred"], 2, "\\x1b"),
    ],
)
def test_wrong_use_is_one_sentence_and_changes_nothing(
    keys: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    """What is missing, unknown, the primary, no number, or would steer a terminal."""
    ring = read_key_ring(keys)
    named = {"KEYS": str(keys), "PRIMARY": str(ring.primary)}
    assert run(["keys", *(named.get(argument, argument) for argument in arguments)]) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert words in told.err
    assert "\x1b" not in told.err
    assert read_key_ring(keys) == ring
