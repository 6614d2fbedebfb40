"""Sealed values open whole under their own name for who has the key, and in no other way."""

from __future__ import annotations

import itertools
import random

import lz4.block
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.common.errors import AppiaError
from services.common.sealed import (
    MAX_PLAIN_BYTES,
    MAX_REVISION,
    MAX_SEALED_BYTES,
    NotOpened,
    Opened,
    Seals,
    SeenRevisions,
    parse_seals,
    spell_seals,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SEALS = Seals(2, {1: OLD, 2: NEW})
HEAD_BYTES = 48


def forged(plain: bytes, name: str = "x") -> bytes:
    """What somebody with the key, and a grudge, could seal: any bytes inside."""
    head = b"APS1" + (2).to_bytes(4, "little") + (7).to_bytes(8, "little") + bytes(32)
    key = HKDF(SHA256(), length=32, salt=bytes(32), info=b"appia:sealed-value:v1").derive(NEW)
    return head + ChaCha20Poly1305(key).encrypt(bytes(12), plain, head + name.encode())


@pytest.mark.parametrize("plain", [b"x", b"{}" * 1000, random.Random(1).randbytes(MAX_PLAIN_BYTES)])
@pytest.mark.parametrize("revision", [0, 1, MAX_REVISION])
def test_what_was_sealed_opens(plain: bytes, revision: int) -> None:
    assert SEALS.open("a/b", SEALS.seal("a/b", revision, plain)) == Opened(revision, plain)


def test_the_format_is_the_documented_one() -> None:
    block = lz4.block.compress(b"hello", store_size=False)
    assert SEALS.open("x", forged((5).to_bytes(4, "little") + block)) == Opened(7, b"hello")


def test_every_other_name_is_refused() -> None:
    sealed = SEALS.seal("writer/one", 1, b"x")
    for name in ("writer/two", "writer/on", "writer/one ", ""):
        with pytest.raises(NotOpened, match="copied from another name"):
            SEALS.open(name, sealed)


def test_no_bit_can_be_changed_and_no_byte_left_out_or_added() -> None:
    sealed = SEALS.seal("x", 7, b"hello hello hello")
    for index, bit in itertools.product(range(len(sealed)), range(8)):
        changed = bytearray(sealed)
        changed[index] ^= 1 << bit
        with pytest.raises(NotOpened):
            SEALS.open("x", bytes(changed))
    for length in range(len(sealed)):
        with pytest.raises(NotOpened):
            SEALS.open("x", sealed[:length])
    with pytest.raises(NotOpened):
        SEALS.open("x", sealed + b"\0")


def test_equal_values_look_different_each_time() -> None:
    assert len({SEALS.seal("x", 1, b"same") for _ in range(100)}) == 100


def test_an_older_key_opens_and_an_unknown_one_is_named() -> None:
    assert SEALS.open("x", Seals(1, {1: OLD}).seal("x", 1, b"p")).plain == b"p"
    with pytest.raises(NotOpened, match="key 2, which is not among"):
        Seals(1, {1: OLD}).open("x", SEALS.seal("x", 1, b"p"))
    with pytest.raises(NotOpened, match="was changed"):
        Seals(2, {2: OLD}).open("x", SEALS.seal("x", 1, b"p"))


@pytest.mark.parametrize(
    "inside",
    [
        bytes(5),
        (2**32 - 1).to_bytes(4, "little") + bytes(10),
        (MAX_PLAIN_BYTES + 1).to_bytes(4, "little") + bytes(2000),
        (2000).to_bytes(4, "little") + b"\0",
        (5).to_bytes(4, "little") + b"\xff" * 8,
        (9).to_bytes(4, "little") + lz4.block.compress(b"hello", store_size=False),
    ],
)
def test_what_is_inside_is_not_believed_either(inside: bytes) -> None:
    with pytest.raises(NotOpened):
        SEALS.open("x", forged(inside))


def test_what_cannot_be_sealed_is_refused_with_the_limits() -> None:
    for plain in (b"", bytes(MAX_PLAIN_BYTES + 1)):
        with pytest.raises(AppiaError, match=f"1 to {MAX_PLAIN_BYTES}"):
            SEALS.seal("x", 1, plain)
    for revision in (-1, MAX_REVISION + 1):
        with pytest.raises(AppiaError, match="revision"):
            SEALS.seal("x", revision, b"p")
    with pytest.raises(NotOpened, match="bytes"):
        SEALS.open("x", b"APS1" + bytes(MAX_SEALED_BYTES))


def test_an_older_revision_is_refused_after_a_newer_and_names_do_not_mix() -> None:
    seen = SeenRevisions()
    for revision in (3, 3, 9):
        seen.check("a", revision)
    seen.check("b", 1)
    with pytest.raises(NotOpened, match="from revision 9 to 8"):
        seen.check("a", 8)
    assert (seen.highest("a"), seen.highest("b"), seen.highest("c")) == (9, 1, 0)


def test_a_key_file_reads_back_in_its_order_and_no_secret_is_shown() -> None:
    parsed = parse_seals(spell_seals(SEALS))
    assert parsed is not None
    assert (parsed.primary, list(parsed.seeds.items())) == (2, [(1, OLD), (2, NEW)])
    assert OLD.hex() not in repr(parsed)
    assert repr(OLD) not in repr(parsed)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1",
        b"\xff",
        f"1 {OLD.hex()}".encode(),
        f"1 {OLD.hex()} opens".encode(),
        f"1 {OLD.hex()} seals seals".encode(),
        f"1 {OLD.hex()} seals\n1 {NEW.hex()}".encode(),
        f"1 {OLD.hex()} seals\n2 {NEW.hex()} seals".encode(),
        f"1 {OLD.hex()[2:]} seals".encode(),
        f"-1 {OLD.hex()} seals".encode(),
        f"{2**32} {OLD.hex()} seals".encode(),
        b"".join(f"{n} {OLD.hex()}{' seals' * (n == 0)}\n".encode() for n in range(17)),
    ],
)
def test_a_key_file_that_is_not_sound_is_none(text: bytes) -> None:
    assert parse_seals(text) is None
