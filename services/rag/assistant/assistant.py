"""Answers a question in words from what the replicas find. See docs/assistant.md for the answer's fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from services.common.errors import AppiaError
from services.rag.assistant.addresses import addresses_in
from services.rag.assistant.checking import Checked, check
from services.rag.assistant.planning import Step, further_steps
from services.rag.assistant.prompt import Limits, make_prompt
from services.rag.assistant.records import Record, records_of
from services.rag.assistant.summary import summarize
from services.rag.protocol import OPERATIONS

Ask = Callable[[str, Mapping[str, Any]], dict[str, Any]]
"""Asks the replicas an operation with arguments, and blocks for the answer: `client.Client.ask` is one."""

NO_ENDPOINT = "no chat endpoint is set"
NOTHING_FOUND = "nothing was found, so no model was asked"
ONLY_REMOVED = "the model's answer was nothing but what is not passed on"


class Chat(Protocol):
    """A language model; `endpoint.Endpoint` is one."""

    model: str

    def reply(self, messages: Sequence[Mapping[str, str]]) -> str:
        """What it says to some messages; blocks. Raises `AppiaError` where it says nothing that can be used."""
        ...


@dataclass(frozen=True)
class _Told:
    """An answer, who gave it, and why no model did."""

    checked: Checked
    by: str  # model or summary
    reason: str | None = None
    unseen: tuple[str, ...] = ()  # addresses that the model named and was not shown


@dataclass(frozen=True)
class Assistant:
    """Answers questions. As many threads may use it at once as may use `ask`.

    `chat` is None where no endpoint is set; `draw_mark` gives 128 random bits as text, new at each call.
    """

    ask: Ask
    chat: Chat | None
    draw_mark: Callable[[], str]
    limits: Limits = field(default_factory=Limits)

    def answer(self, question: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a question, told by the model, or as a summary with the reason; see docs/assistant.md.

        Args:
            question: in English or Spanish, at most 1000 characters.
            arguments: further ones of `search`, such as `k`, `filters`, `now` and `as_of`.

        Raises:
            UsageError: the question is empty or too long, or an argument is wrong.
            AppiaError: the replicas cannot be asked.
        """
        args = {**(arguments or {}), "text": question, "flat": False}
        OPERATIONS["search"].read(args)
        found = self.ask("search", args)
        also = [self._further(step, args) for step in further_steps(question, found, args.get("filters", {}))]
        records = _records(found, also)
        summary = summarize(records)
        told = self._told(question, records, summary)
        supported = told.checked.supported
        return {
            "question": question,
            "answer": told.checked.text,
            "by": told.by,
            "reason": told.reason,
            "supported": supported,
            "summary": summary.text if told.by == "model" and not supported else None,
            **told.checked.describe(),
            "removed": dict(told.checked.removed),
            "unseen": list(told.unseen),
            "model": self.chat.model if self.chat is not None else None,
            "groups": found["groups"],
            "also": also,
            "understood": found["understood"],
            "receipt": found["receipt"],
        }

    def _further(self, step: Step, args: Mapping[str, Any]) -> dict[str, Any]:
        """A further question and its answer, or why there is none: what `search` found stands without it."""
        further = {key: args[key] for key in ("as_of",) if args.get(key) is not None}
        try:
            return {"op": step.op, "answer": self.ask(step.op, {**step.args, **further}), "problem": None}
        except AppiaError as failed:
            return {"op": step.op, "answer": None, "problem": str(failed)}

    def _told(self, question: str, records: Sequence[Record], summary: Checked) -> _Told:
        if self.chat is None:
            return _Told(summary, "summary", NO_ENDPOINT)
        if not records:
            return _Told(summary, "summary", NOTHING_FOUND)
        prompt = make_prompt(question, records, self.draw_mark, self.limits)
        try:
            checked = check(self.chat.reply(prompt.messages), prompt.labels)
        except AppiaError as failed:
            return _Told(summary, "summary", str(failed))
        if not checked.text:
            return _Told(summary, "summary", ONLY_REMOVED)
        shown = addresses_in(prompt.messages[1]["content"])
        unseen = tuple(address for address in checked.addresses if address not in shown)
        return _Told(checked, "model", unseen=unseen)


def _records(found: Mapping[str, Any], also: Sequence[Mapping[str, Any]]) -> list[Record]:
    """What was asked for in particular comes first: where room is short, the last ones are left out."""
    particular = [record for one in also if one["answer"] for record in records_of(one["op"], one["answer"])]
    return [*particular, *records_of("search", found)]
