"""Keys made of a secret: HKDF with SHA-256 (RFC 5869), for ChaCha20-Poly1305 (RFC 8439)."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


def derive(secret: bytes, info: bytes, salt: bytes | None = None, length: int = KEY_BYTES) -> bytes:
    """`length` bytes that tell nothing of `secret`; others for each `info`, which says what they are for, and salt."""
    return HKDF(SHA256(), length=length, salt=salt, info=info).derive(secret)


def derived_aead(secret: bytes, info: bytes, salt: bytes) -> ChaCha20Poly1305:
    """What seals and opens with the derived key."""
    return ChaCha20Poly1305(derive(secret, info, salt))
