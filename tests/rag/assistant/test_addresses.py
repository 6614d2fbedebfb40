"""Which hosts a sentence names."""

from __future__ import annotations

import pytest

from services.rag.assistant.addresses import addresses_in

CASES = [
    ("from 10.0.0.5 to 10.0.0.6, then 10.0.0.5.", ("10.0.0.5", "10.0.0.6")),
    ("10.0.0.5:443 and [2001:DB8::1]:443", ("10.0.0.5", "2001:db8::1")),
    ("(fe80::1), ::1; and 10.0.0.7: this", ("fe80::1", "::1", "10.0.0.7")),
    ("no 10.0.0.0/8, 10.0.0.500, 1.2.3, 09:45:23, 2026-11-20 10:00 or E1:E2", ()),
    ("10.0.0.5/10.0.0.6", ()),
    ("", ()),
]


@pytest.mark.parametrize(("text", "found"), CASES)
def test_addresses_in_a_text(text: str, found: tuple[str, ...]) -> None:
    """With ports and punctuation around them; networks, times and broken ones are none."""
    assert addresses_in(text) == found
