"""What the wire tests share: rings, openers, and a way to seal bytes that no honest sender would send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.common.wire.body import MAX_BODY_BYTES
from services.common.wire.keys import KeyRing, v1_aead, v2_aead, v2_info
from services.common.wire.v2 import Direction, DirectionKeys, Header

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
CHANNEL = "ml-defender:rag-artifacts:v1"
SEED = bytes(range(32))
KEY_ID = 0xA0B1C2D3


@pytest.fixture(scope="session")
def formats() -> Path:
    """The folder of frames that every later version must still open."""
    return ROOT / "tests" / "data" / "formats"


@pytest.fixture(scope="session")
def field_vectors() -> Path:
    """Frames of the sensors in the field, where this checkout has them."""
    path = ROOT.parent / "shared" / "design" / "wire-vectors.json"
    if not path.exists():
        pytest.skip("no field vectors beside this checkout (../shared/design/wire-vectors.json)")
    return path


@pytest.fixture(scope="session")
def ring() -> KeyRing:
    """A ring of one key."""
    return KeyRing(KEY_ID, {KEY_ID: SEED})


@pytest.fixture(scope="session")
def data_keys(ring: KeyRing) -> DirectionKeys:
    """The data keys of the channel `events`."""
    return DirectionKeys(ring, "events", Direction.DATA)


@pytest.fixture(scope="session")
def seal_v1_raw() -> Callable[[bytes], bytes]:
    """Seals any bytes as the inside of an authentic version 1 frame."""
    nonce = bytes(4) + (7).to_bytes(8, "little")

    def raw(plain: bytes) -> bytes:
        return nonce + v1_aead(SEED, CHANNEL).encrypt(nonce, plain, None)

    return raw


@pytest.fixture(scope="session")
def seal_v2_raw() -> Callable[[Header, bytes], bytes]:
    """Seals any bytes as the inside of an authentic version 2 frame with this header."""

    def raw(header: Header, plain: bytes, direction: str = "data") -> bytes:
        info = v2_info("events", direction, header.sender, header.boot)
        nonce = bytes(4) + header.seq.to_bytes(8, "little")
        packed = header.pack()
        return packed + v2_aead(SEED, header.salt, info).encrypt(nonce, plain, packed)

    return raw


@pytest.fixture(scope="session")
def wrong_insides() -> dict[str, list[bytes]]:
    """What may lie inside an authentic seal and is refused, by reason."""
    return {
        "size_zero": [bytes(4) + b"\x10a"],
        "size_too_large": [
            (MAX_BODY_BYTES + 1).to_bytes(4, "little") + b"\x10a" * 9000,
            b"\xff\xff\xff\xff\x10a",
        ],
        "size_exceeds_ratio": [(255 * 2 + 17).to_bytes(4, "little") + b"\x10a"],
        "bad_block": [
            (2).to_bytes(4, "little") + b"\x10a",
            (1).to_bytes(4, "little") + b"\x20ab",
            (9).to_bytes(4, "little") + b"plain text",
            (255 * 2 + 16).to_bytes(4, "little") + b"\x10a",
        ],
    }
