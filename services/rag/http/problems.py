"""Errors of the HTTP API as problem details (RFC 9457): one sentence each, the one that the replica gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse

from services.common.errors import AppiaError, UsageError
from services.common.rpc import RequestError
from services.common.rpc_client import RpcRefused, RpcTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE = "application/problem+json"
PROBLEMS: Mapping[str, tuple[int, str]] = {
    "usage": (400, "The request is wrong"),
    "unauthorized": (401, "A token is needed"),
    "forbidden": (403, "The key has no right to it"),
    "not_found": (404, "There is no such thing"),
    "method": (405, "The method is not allowed here"),
    "too_large": (413, "The request or the answer is too large"),
    "media_type": (415, "The body is not JSON"),
    "too_many": (429, "The key asks more often than it may"),
    "internal": (500, "The service failed"),
    "unavailable": (503, "No replica can answer now"),
    "busy": (503, "Too many requests wait"),
    "deadline": (504, "The time was over"),
}
"""Status and title of each code; the codes of docs/queries.md keep their names."""
_RETRY_AFTER_S = {"busy": "1", "too_many": "1", "unavailable": "5"}


def problem(
    code: str, detail: str, instance: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response for a code of `PROBLEMS`, with some headers more; another code is `internal`."""
    status, title = PROBLEMS.get(code, PROBLEMS["internal"])
    body: dict[str, Any] = {
        "type": f"tag:appia,2026:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    again = {"Retry-After": _RETRY_AFTER_S[code]} if code in _RETRY_AFTER_S else {}
    if instance is not None:
        body["instance"] = instance
    return JSONResponse(body, status, {**again, **(headers or {})}, MEDIA_TYPE)


def code_of(error: AppiaError) -> str:
    """The code of `PROBLEMS` that an error stands for."""
    if isinstance(error, (RpcRefused, RequestError)):
        return error.code
    if isinstance(error, RpcTimeout):
        return "unavailable"
    return "usage" if isinstance(error, UsageError) else "unavailable"


def problem_of(error: AppiaError, instance: str | None = None) -> JSONResponse:
    """The response for an error."""
    return problem(code_of(error), str(error), instance)


PROBLEM_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong and what is allowed, in one sentence"},
        "code": {"type": "string", "enum": sorted(PROBLEMS)},
        "instance": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail", "code"],
}
"""The body of every error, for the description of the API."""
