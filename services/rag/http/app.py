"""The application: a route for every operation, and forms for a browser or curl where they are natural."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request  # noqa: TC002 - read when a route is made

from services.common.errors import AppiaError
from services.common.rpc import RequestError
from services.rag.asking import Patience
from services.rag.http.description import HEALTH, describe
from services.rag.http.health import Health
from services.rag.http.problems import problem, problem_of
from services.rag.http.reading import read_body, read_query, read_timeout
from services.rag.http.tokens import TokenDoor, bearer_of
from services.rag.places import Places
from services.rag.protocol import MAX_K, OPERATIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from services.rag.async_client import AsyncClient
    from services.rag.http.tokens import Tokens

    Endpoint = Callable[[Request], Awaitable[Response]]

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
AT_ONCE = 64
"""Requests under way at the same time; a further one is answered `busy`."""


@dataclass(frozen=True)
class HttpSettings:
    """What the application has to know.

    `hosts` are the names by which it may be called (header Host); where it listens on loopback they keep pages that a
    browser has open from reaching it by a name of their own. Without `tokens` everybody who reaches it may ask all
    that the server itself may.
    """

    hosts: tuple[str, ...] = LOOPBACK_HOSTS
    at_once: int = AT_ONCE
    tokens: Tokens | None = None


class Api:
    """Answers requests by asking the replicas. For one event loop."""

    def __init__(self, client: AsyncClient, settings: HttpSettings) -> None:
        """Ask by `client`, which has to stay open."""
        self._client = client
        self._places = Places(settings.at_once)
        self._has_door = settings.tokens is not None

    async def ask(self, request: Request, op: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to an operation.

        Raises:
            AppiaError: it was refused, or nobody answered in time.
        """
        on_behalf = bearer_of(request.scope) if self._has_door else None
        with self._places.taken(on_behalf):
            seconds = read_timeout(request, OPERATIONS[op])
            return await self._client.ask(op, args, replace(Patience(), overall_s=seconds), on_behalf)

    async def operation(self, request: Request, op: str) -> Response:
        """An operation with its arguments in the body."""
        return JSONResponse(await self.ask(request, op, await read_body(request)))

    async def form(self, request: Request, op: str, **path: str) -> Response:
        """An operation with its arguments in the query string and the path."""
        args = read_query(request.query_params, OPERATIONS[op])
        return JSONResponse(await self.ask(request, op, {**args, **path}))

    async def stream(self, request: Request) -> Response:
        """Events by time as NDJSON, as many as there are or as `limit` says; the last line is the receipt."""
        args = read_query(request.query_params, OPERATIONS["list"])
        limit = args.pop("limit", None)
        if limit is not None and (type(limit) is not int or limit < 1):
            raise RequestError("usage", "The parameter 'limit' must be a whole number from 1 on.")
        first = await self.ask(request, "list", {**args, "limit": min(limit or MAX_K, MAX_K)})
        lines = self._lines(request, args, first, limit)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    async def _lines(
        self, request: Request, args: Mapping[str, Any], page: dict[str, Any], limit: int | None
    ) -> AsyncIterator[str]:
        """Page after page, all as of the first."""
        as_of, sent, lacks = page["receipt"]["as_of"], 0, dict[str, Any]()
        while True:
            yield "".join(_line(event) for event in page["events"])
            sent += len(page["events"])
            lacks = _lacks(lacks, page["receipt"])
            left = MAX_K if limit is None else limit - sent
            if page["next"] is None or left < 1:
                break
            more = {"after": page["next"], "as_of": as_of, "limit": min(left, MAX_K)}
            try:
                page = await self.ask(request, "list", {**args, **more})
            except AppiaError as error:
                # The status line has gone long ago: the last line says that the list is not whole.
                yield _line({"problem": json.loads(bytes(problem_of(error).body))})
                return
        yield _line({"receipt": {**page["receipt"], **lacks}, "next": page["next"], "events": sent})


def _lacks(before: Mapping[str, Any], receipt: Mapping[str, Any]) -> dict[str, Any]:
    """What the pages so far say that they lack: each thing once."""
    several = {
        name: [*before.get(name, ()), *(one for one in receipt[name] if one not in before.get(name, ()))]
        for name in ("missing", "unrepeatable")
    }
    return {
        **several,
        "partial": before.get("partial", False) or receipt["partial"],
        "repeatable": before.get("repeatable", True) and receipt["repeatable"],
    }


def _line(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n"


def make_app(client: AsyncClient, settings: HttpSettings | None = None) -> FastAPI:
    """The application over a client, which it closes at its end. Nothing of it is loaded from elsewhere."""
    settings = settings or HttpSettings()
    api, health = Api(client, settings), Health(client)

    @asynccontextmanager
    async def closing(_app: FastAPI) -> AsyncIterator[None]:
        yield
        client.close()

    # Its pages of documentation would load scripts from the internet.
    app = FastAPI(
        title="appia",
        version=version("appia"),
        lifespan=closing,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(_host_check(settings.hosts))],
    )
    _add_errors(app)
    for name in OPERATIONS:
        app.add_api_route(f"/v1/{name}", _posted(api, name), methods=["POST"])
    for path, endpoint in _forms(api).items():
        app.add_api_route(path, endpoint, methods=["GET"])
    app.add_api_route(HEALTH, _health(health), methods=["GET"])
    description = describe(version("appia"), needs_token=settings.tokens is not None)
    app.add_api_route("/openapi.json", _constant(description), methods=["GET"])
    if settings.tokens is not None:
        app.add_middleware(TokenDoor, tokens=settings.tokens, public=frozenset((HEALTH,)))
    return app


def _host_check(hosts: Sequence[str]) -> Callable[[Request], None]:
    names = {host.strip("[]").lower() for host in hosts}

    def check(request: Request) -> None:
        # The address of a request whose header is no host is made of the server's own.
        is_host = request.headers.get("host") in {None, request.url.netloc}
        if "*" not in names and not (is_host and request.url.hostname in names):
            raise RequestError("usage", f"The header Host must name this server: {', '.join(hosts)}.")

    return check


def _posted(api: Api, op: str) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await api.operation(request, op)

    return endpoint


def _forms(api: Api) -> dict[str, Endpoint]:
    async def event(request: Request) -> Response:
        return await api.form(request, "get", event_id=request.path_params["event_id"])

    async def timeline(request: Request) -> Response:
        return await api.form(request, "timeline", host=request.path_params["host"])

    async def days(request: Request) -> Response:
        return await api.form(request, "days")

    async def stats(request: Request) -> Response:
        return await api.form(request, "stats")

    async def search(request: Request) -> Response:
        return await api.form(request, "search")

    return {
        "/v1/events": api.stream,
        "/v1/events/{event_id:path}": event,
        "/v1/timeline/{host}": timeline,
        "/v1/days": days,
        "/v1/stats": stats,
        "/v1/search": search,
    }


def _health(health: Health) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        if await health.is_good():
            return JSONResponse({"ok": True})
        return problem("unavailable", "No replica answers.", request.url.path)

    return endpoint


def _constant(document: Mapping[str, Any]) -> Endpoint:
    async def endpoint(_request: Request) -> Response:
        return JSONResponse(document)

    return endpoint


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(AppiaError)
    async def refused(request: Request, error: AppiaError) -> Response:
        return problem_of(error, request.url.path)

    @app.exception_handler(Exception)
    async def failed(request: Request, _error: Exception) -> Response:
        # What it was is for the log only, which the server writes.
        return problem(
            "internal", "The service failed to answer; what it printed has the reason.", request.url.path
        )

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            return problem(
                "method", f"{request.method} is not allowed on {request.url.path}.", request.url.path
            )
        detail = f"There is no {request.url.path} here; /openapi.json says what there is."
        return problem("not_found", detail, request.url.path)
