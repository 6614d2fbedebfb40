"""Derived keys are those of RFC 5869."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag

from services.common.hkdf import derive, derived_aead

SECRET = b"\x0b" * 22


@pytest.mark.parametrize(
    ("salt", "info", "expected"),
    [
        (
            bytes(range(13)),
            bytes(range(0xF0, 0xFA)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (None, b"", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ],
    ids=["test case 1", "test case 3"],
)
def test_the_vectors_of_the_rfc_come_out(salt: bytes | None, info: bytes, expected: str) -> None:
    """Appendix A; so a library in the place of this one changes no key."""
    assert derive(SECRET, info, salt, length=42).hex() == expected


def test_what_is_sealed_for_one_use_does_not_open_for_another() -> None:
    """Each `info` and each salt has a key of its own."""
    sealed = derived_aead(SECRET, b"one", bytes(16)).encrypt(bytes(12), b"text", None)
    assert derived_aead(SECRET, b"one", bytes(16)).decrypt(bytes(12), sealed, None) == b"text"
    for info, salt in ((b"two", bytes(16)), (b"one", bytes(15) + b"\1")):
        with pytest.raises(InvalidTag):
            derived_aead(SECRET, info, salt).decrypt(bytes(12), sealed, None)
