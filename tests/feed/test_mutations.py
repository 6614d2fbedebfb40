"""Damaged files of every kind end in refusals and never in an exception."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING

import pytest

from services.common.events.network_security_pb2 import Detection, NetworkSecurityEvent
from services.feed.readers import READERS
from services.feed.readers.port import Idle, LabelMode, ReadOptions, Refusal, Skipped

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 150
ODDITIES = (
    b"-1",
    b'"',
    b",",
    b"\t",
    b"\x00",
    b"{",
    b"null",
    b"1e999",
    b"\\ud800",
    b"#separator #\n",
    b"\xff\x81",
    b"",
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed) + 1)
        changed[at : at + chance.choice((0, 1, 3, 10))] = chance.choice(ODDITIES)
    return bytes(changed)


@pytest.mark.parametrize("name", READERS)
def test_no_damage_ends_the_reading_with_an_exception(name: str, feeds: Path, tmp_path: Path) -> None:
    chance = random.Random(name)
    files = [path.read_bytes() for path in sorted(feeds.iterdir())]
    files += [gzip.compress(content, mtime=0) for content in files]
    path = tmp_path / "damaged"
    for _ in range(ROUNDS):
        path.write_bytes(damaged(chance.choice(files), chance))
        options = ReadOptions(labels=chance.choice(list(LabelMode)))
        for item in READERS[name].read(str(path), options):
            assert isinstance(item, NetworkSecurityEvent | Detection | Refusal | Skipped | Idle)
