"""Answers `hybrid`: what one host did in a window of time that a text describes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from services.common.errors import UsageError
from services.rag.networks import parse_network

if TYPE_CHECKING:
    from services.rag.catalog import Snapshot
    from services.rag.networks import Network
    from services.rag.operations import Question
    from services.rag.text_search import TextSearch


def search_host(texts: TextSearch, snapshot: Snapshot, question: Question) -> dict[str, Any]:
    """The events of a host that pass the filters, those first that the text describes best.

    The host and the filters decide which events there are, meaning and words their order: nothing of the text becomes
    a filter. The answer is that of `search`, with the `entity`: as it was given, and how many of its events pass.

    Raises:
        UsageError: the host is no address or network, or there is a filter by host as well.
        AppiaError: as of `TextSearch.search`.
        RequestError: the time is over and nothing was searched.
    """
    values = question.values
    host = values["entity"].strip()
    if "host" in values["filters"]:
        raise UsageError("'entity' says which host: leave the filter 'host' out.")
    only = replace(question.bounds.filters, host=(_network(host),))
    read = {"text": values["text"], "parse": False, "now": None, "by": "fused", "flat": values["flat"]}
    asked = replace(
        question,
        values={**read, "filters": values["filters"]},
        bounds=replace(question.bounds, filters=only),
    )
    answer = texts.search(snapshot, asked)
    return {"entity": {"host": host, "events": answer["receipt"]["rows"]}, **answer}


def _network(host: str) -> Network:
    try:
        return parse_network(host)
    except ValueError as error:
        raise UsageError(f"The argument 'entity' cannot be {host!r}: it {error}.") from None
