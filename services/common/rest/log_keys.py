"""How the records of an encrypted log are sealed, and the port through which a log finds keys. See docs/at-rest.md.

Each file has a random key of its own. It stands behind the file's header, wrapped by a storage key:

    block        := u64 key_id | salt[16] | wrapped[48] | u32 crc32c of the header and the 72 bytes before | u32 zero
    wrapped      := ChaCha20-Poly1305(wrapping key, nonce = 0, file key[32], aad = header[32] | key_id | salt)
    wrapping key := HKDF-SHA256(storage key, salt, info = "appia:rest:v1|wrap")
    key_id       := the first 8 bytes of HKDF-SHA256(storage key, no salt, info = "appia:rest:v1|id")
    payload      := u64 counter | ChaCha20-Poly1305(file key, nonce = u32 zero | u64 counter, data, aad)
    aad          := u64 file_id | u64 lsn | u8 type | u64 offset of the record in the file

All little endian. ChaCha20-Poly1305 is that of RFC 8439, HKDF that of RFC 5869.
"""

from __future__ import annotations

import secrets
import struct
from typing import TYPE_CHECKING, Protocol

import google_crc32c
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from services.common.hkdf import derive, derived_aead

if TYPE_CHECKING:
    from pathlib import Path

_SALT_BYTES = 16
_BLOCK = struct.Struct("<Q16s48sII")
_COUNTER = struct.Struct("<Q")
_NONCE = struct.Struct("<IQ")
_AAD = struct.Struct("<QQBQ")
_NO_NONCE = bytes(12)  # every wrapping key has a salt of its own and seals one thing, once
_ID, _WRAP = b"appia:rest:v1|id", b"appia:rest:v1|wrap"
BLOCK_BYTES = _BLOCK.size
OVERHEAD = _COUNTER.size + 16
"""Bytes that a sealed record is longer than its data."""


class KeyBlockDamaged(ValueError):  # noqa: N818 - it names a state of the file
    """The wrapped key behind a header does not have the checksum that was written with it."""


class WrappingKey:
    """One storage key. Its bytes never appear in messages or in `repr`."""

    def __init__(self, key: bytes) -> None:
        """Take 32 secret bytes."""
        self._key = key
        self.key_id = int.from_bytes(derive(key, _ID)[:8], "little")

    def wrap(self, header: bytes, file_key: bytes) -> bytes:
        """The block that keeps `file_key` behind `header`, with a new salt each time."""
        salt = secrets.token_bytes(_SALT_BYTES)
        cipher = derived_aead(self._key, _WRAP, salt)
        wrapped = cipher.encrypt(_NO_NONCE, file_key, header + _COUNTER.pack(self.key_id) + salt)
        block = _BLOCK.pack(self.key_id, salt, wrapped, 0, 0)[:-8]
        return block + struct.pack("<II", google_crc32c.value(header + block), 0)

    def unwrap(self, header: bytes, block: bytes) -> bytes | None:
        """The file key in a block; None where this key or this header did not make it."""
        _, salt, wrapped, _, _ = _BLOCK.unpack(block)
        cipher = derived_aead(self._key, _WRAP, salt)
        try:
            return cipher.decrypt(_NO_NONCE, wrapped, header + _COUNTER.pack(self.key_id) + salt)
        except InvalidTag:
            return None


def key_id_of(header: bytes, block: bytes) -> int:
    """Which storage key a block needs.

    Raises:
        KeyBlockDamaged: its checksum does not fit.
    """
    if len(block) != BLOCK_BYTES:
        raise KeyBlockDamaged
    key_id, _, _, crc, _ = _BLOCK.unpack(block)
    if crc != google_crc32c.value(header + block[:-8]):
        raise KeyBlockDamaged
    return int(key_id)


class RecordCipher:
    """Seals and opens the records of one file. Opening is for any thread, sealing for one.

    The counter goes up with each record that is sealed and never back, whatever becomes of the record: cut off,
    written in part, or written again. A file is written by one `RecordCipher` with a key of its own, and never
    appended to after; so no nonce comes twice under one key.
    """

    def __init__(self, file_key: bytes, file_id: int) -> None:
        """Take the key and the number of one file."""
        self._cipher = ChaCha20Poly1305(file_key)
        self._file_id = file_id
        self._counter = 0

    def seal(self, kind: int, lsn: int, offset: int, data: bytes) -> bytes:
        """The payload that keeps `data`, in the record that begins at `offset`."""
        counter, self._counter = self._counter, self._counter + 1
        sealed = self._cipher.encrypt(
            _NONCE.pack(0, counter), data, _AAD.pack(self._file_id, lsn, kind, offset)
        )
        return _COUNTER.pack(counter) + sealed

    def open(self, kind: int, lsn: int, offset: int, payload: bytes) -> bytes | None:
        """The data in the payload of the record at `offset`; None where it was changed, or moved there."""
        if len(payload) < OVERHEAD:
            return None
        (counter,) = _COUNTER.unpack_from(payload)
        aad = _AAD.pack(self._file_id, lsn, kind, offset)
        try:
            return self._cipher.decrypt(_NONCE.pack(0, counter), payload[_COUNTER.size :], aad)
        except InvalidTag:
            return None


class LogKeys(Protocol):
    """Where logs find storage keys. Safe for several threads."""

    @property
    def allows_plain(self) -> bool:
        """Whether a log that is not encrypted may be read."""

    def for_new_files(self) -> WrappingKey | None:
        """The key for a file that is begun now; None to write it as it is."""

    def find(self, key_id: int, path: Path) -> WrappingKey:
        """The key that the file at `path` needs.

        Raises:
            AppiaError: it is not at hand.
        """
