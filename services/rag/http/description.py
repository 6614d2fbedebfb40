"""Describes the HTTP API as OpenAPI 3.1, made from the table of operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.rag.http.problems import MEDIA_TYPE, PROBLEM_SCHEMA, PROBLEMS
from services.rag.http.reading import DEFAULT_TIMEOUT_S, SLOW_TIMEOUT_S, TIMEOUT
from services.rag.protocol import OPERATIONS, Kind
from services.rag.schemas import FILTERS, argument_schema, operation_schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.rag.protocol import Operation

_ANSWER = {
    "description": "the answer, see docs/queries.md; all about events have a receipt",
    "content": {"application/json": {"schema": {"type": "object"}}},
}
_EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    "similar": {"event_id": "EVENT_ID", "k": 5, "filters": {"class": "MALICIOUS"}},
    "search": {"text": "who scanned us from outside yesterday"},
    "hybrid": {"entity": "10.0.0.5", "text": "many connections to new destinations"},
    "explain": {"event_id": "EVENT_ID"},
    "timeline": {"host": "10.0.0.5", "filters": {"since": "2026-01-20"}},
    "novel": {"days": 1},
    "campaigns": {"filters": {"since": "2026-01-01"}},
    "get": {"event_id": "EVENT_ID", "enrich": True},
    "list": {"filters": {"src": "10.0.0.0/8", "min_overall": 0.8}, "limit": 50},
}


HEALTH = "/healthz"
"""The path that needs no token."""
_BEARER: Mapping[str, Any] = {
    "type": "http",
    "scheme": "bearer",
    "description": "a token of the access file, made by `appia access token`; see docs/access.md",
}


def describe(version: str, *, needs_token: bool) -> dict[str, Any]:
    """The description, a plain document."""
    paths: dict[str, Any] = {
        f"/v1/{name}": {"post": _posted(operation)} for name, operation in OPERATIONS.items()
    }
    for path, (op, summary, named) in _FORMS.items():
        paths.setdefault(path, {})["get"] = _form(OPERATIONS[op], summary, named)
    paths[HEALTH] = {"get": _health()}
    paths["/v1/events"]["get"]["responses"]["200"] = {
        "description": "one event a line; the last line has the receipt, or a problem where the list is not whole",
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "appia",
            "version": version,
            "description": "Questions to the memory of a network's defence. The answers are those of docs/queries.md.",
        },
        "paths": paths,
        "components": {"schemas": {"Problem": PROBLEM_SCHEMA}, "securitySchemes": {"bearer": _BEARER}},
        "security": [{"bearer": []}] if needs_token else [],
    }


_FORMS: Mapping[str, tuple[str, str, Sequence[str]]] = {
    "/v1/events": ("list", "Events by time, as many as there are, as NDJSON.", ()),
    "/v1/events/{event_id}": ("get", "One event whole.", ("event_id",)),
    "/v1/timeline/{host}": ("timeline", "What a host did hour by hour.", ("host",)),
    "/v1/days": ("days", "Which days there are.", ()),
    "/v1/stats": ("stats", "Totals.", ()),
    "/v1/search": ("search", "Events that a text describes.", ()),
}


def _posted(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": operation_schema(operation)}
    if operation.name in _EXAMPLES:
        content["example"] = _EXAMPLES[operation.name]
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_timeout(operation)],
        "requestBody": {"content": {"application/json": content}},
        "responses": {"200": _ANSWER, **_errors()},
    }


def _form(operation: Operation, summary: str, named: Sequence[str]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in named
    ]
    for argument in operation.arguments:
        if argument.kind is Kind.FILTERS:
            parameters += [
                {"name": name, "in": "query", "schema": schema, "description": what}
                for name, (schema, what) in FILTERS.items()
            ]
        elif argument.name not in named:
            schema = argument_schema(argument)
            what = schema.pop("description")
            parameters.append({"name": argument.name, "in": "query", "schema": schema, "description": what})
    return {
        "summary": summary,
        "parameters": [*parameters, _timeout(operation)],
        "responses": {"200": _ANSWER, **_errors()},
    }


def _health() -> dict[str, Any]:
    answer = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    errors = _errors()
    return {
        "summary": "Whether a replica answers, and nothing else; needs no token.",
        "security": [],
        "responses": {
            "200": {"description": "one does", "content": {"application/json": {"schema": answer}}},
            **{status: errors[status] for status in ("400", "503")},
        },
    }


def _timeout(operation: Operation) -> dict[str, Any]:
    default = SLOW_TIMEOUT_S if operation.slow else DEFAULT_TIMEOUT_S
    return {
        "name": TIMEOUT,
        "in": "query",
        "schema": {"type": "number", "default": default},
        "description": "seconds that the answer is waited for; what is not searched by then is in its receipt",
    }


def _errors() -> dict[str, Any]:
    body = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    by_status: dict[str, list[str]] = {}
    for code, (status, _) in PROBLEMS.items():
        by_status.setdefault(str(status), []).append(code)
    return {
        status: {"description": " or ".join(codes), "content": body} for status, codes in by_status.items()
    }
