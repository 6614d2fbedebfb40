"""Canonical JSON: one document, one sequence of bytes."""

from __future__ import annotations

import json

import pytest

from services.common.canonical import canonical, read_canonical
from services.common.errors import AppiaError

DOCUMENT = {"b": [1, None, True, "ä\u2028"], "a": {"z": -5, "": "x"}}


def test_the_bytes_do_not_depend_on_the_order_of_names() -> None:
    """The same content gives the same bytes, in ASCII, and they are read back."""
    shuffled = {"a": {"": "x", "z": -5}, "b": [1, None, True, "ä\u2028"]}
    assert canonical(DOCUMENT) == canonical(shuffled)
    assert canonical(DOCUMENT) == b'{"a":{"":"x","z":-5},"b":[1,null,true,"\\u00e4\\u2028"]}'
    assert read_canonical(canonical(DOCUMENT)) == DOCUMENT


@pytest.mark.parametrize("value", [1.0, float("nan"), {1: 2}, {"a": b"x"}, [{3}]])
def test_what_has_no_one_spelling_is_refused(value: object) -> None:
    """Fractions, names that are no texts and bytes are no canonical JSON."""
    with pytest.raises(ValueError, match="canonical"):
        canonical(value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1.5}',
        b'{"a":1e2}',
        b'{"a":"\xc3\xa4"}',
        b'{"a":"\\u00E4"}',
        b'{"a":"\\/"}',
        b"{} ",
        b"",
        b"NaN",
        b"\xff",
        b"[" * 100_000,
        b"1" * 10_000,
        json.dumps(DOCUMENT).encode(),
    ],
)
def test_other_bytes_of_the_same_content_are_refused(data: bytes) -> None:
    """What could be spelled in two ways would have two digests."""
    with pytest.raises(AppiaError, match="not canonical"):
        read_canonical(data)
