"""Canonical JSON: one document has one sequence of bytes, so that it can be hashed and signed.

Names in ascending order of their characters, no spaces, nothing but ASCII; only objects, lists, texts, whole numbers,
true, false and null. It is RFC 8785 without fractions, whose spelling nobody here needs.
"""

from __future__ import annotations

import json
from typing import Any

from services.common.errors import AppiaError


def canonical(document: object) -> bytes:
    """The bytes of a document of plain values.

    Raises:
        ValueError: it holds something else, such as a fraction or a name that is no text.
    """
    _check(document)
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def read_canonical(data: bytes) -> Any:
    """The document that these bytes are, where they are exactly as `canonical` writes it.

    Raises:
        AppiaError: they are not: no JSON, a name twice, another order, spaces, a fraction.
    """
    try:
        document = json.loads(data)
        if canonical(document) == data:
            return document
    except (ValueError, RecursionError):  # ValueError also for what is no UTF-8 and for numbers without end
        pass
    raise AppiaError("it is not canonical JSON")


def _check(value: object) -> None:
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise ValueError("names in canonical JSON are texts")
        for inner in value.values():
            _check(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check(inner)
    elif not (value is None or isinstance(value, str | int)):
        raise ValueError(f"canonical JSON has no {type(value).__name__}")
