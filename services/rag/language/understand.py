"""Reads a question: which of its phrases are filters, and what is left to be looked for by meaning."""

from __future__ import annotations

from services.rag.language.understanding import ENGLISH, Facts, Understood


def understand(text: str, now_ns: int, facts: Facts) -> Understood:  # noqa: ARG001 - the readers of phrases follow
    """What a question means, in English or Spanish.

    Args:
        text: the question, of any content and up to a thousand characters.
        now_ns: what "yesterday" is relative to, nanoseconds since 1970 UTC.
        facts: the names that the data holds.

    Pure: neither clock nor locale are read, and the same arguments give the same answer. Never raises.
    """
    return Understood(language=ENGLISH, rest=text.strip())
