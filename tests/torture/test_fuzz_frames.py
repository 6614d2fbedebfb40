"""The oracle of the frames sees what it is there for: each check that is taken out is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lz4.block
from torture.fuzz_frames import FRAME_TARGETS
from torture.fuzzing import blind
from torture.in_ci import SEED
from torture.suite import Budget

from services.common.wire import acks, body, sessions, v1, v2

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    from services.common.wire.v2 import DirectionKeys, Header

TARGETS = {target.name: target for target in FRAME_TARGETS}


def found(name: str, folder: Path, rounds: int = 3000) -> int:
    return blind(TARGETS[name]).run(Budget(SEED, folder, rounds)).broken


def test_a_tag_that_is_not_checked_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 1 and version 2 that take every frame as authentic."""

    def any_v1(_aead: ChaCha20Poly1305, _nonce: bytes, _sealed: bytes) -> bytes:
        return body.compress(b"event", 12)

    def any_v2(frame: bytes, _keys: DirectionKeys) -> tuple[Header, bytes]:
        return v2.read_header(frame), body.compress(b"event", 52)

    monkeypatch.setattr(v1, "_decrypt", any_v1)
    monkeypatch.setattr(sessions, "authenticate", any_v2)
    assert found("frame-v1", tmp_path) > 100
    assert found("frame-v2", tmp_path) > 100


def test_a_size_that_is_not_held_against_the_content_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that is decompressed as it claims: errors of LZ4 come out, and what it says is not what there is."""

    def trusting(plain: bytes) -> bytes:
        given: bytes = lz4.block.decompress(plain[4:], uncompressed_size=1 << 20)
        return given

    monkeypatch.setattr(v1, "decompress", trusting)
    monkeypatch.setattr(v2, "decompress", trusting)
    monkeypatch.setattr(acks, "decompress", trusting)
    assert found("frame-inside", tmp_path) > 100
    assert found("frame-ack", tmp_path) > 100
