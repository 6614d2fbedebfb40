"""The server: its tools ask the replicas. It speaks over standard input and output, or as an application over HTTP."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage
from mcp.types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    CallToolResult,
    ErrorData,
    JSONRPCError,
    ListToolsResult,
)
from starlette.responses import Response

from services.common.errors import AppiaError
from services.common.rpc import MAX_REQUEST
from services.rag.asking import Patience
from services.rag.http.tokens import TokenDoor, bearer_of
from services.rag.mcp.answers import refusal_of, result_of
from services.rag.mcp.tools import INSTRUCTIONS, make_tools
from services.rag.places import Places
from services.rag.protocol import OPERATIONS
from services.rag.untrusted import harmless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from mcp.server import ServerRequestContext
    from mcp.shared._stream_protocols import ReadStream, WriteStream
    from mcp.types import CallToolRequestParams, PaginatedRequestParams
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

    from services.rag.async_client import AsyncClient
    from services.rag.http.server import Front

PATH = "/mcp"
AT_ONCE = 64
"""Tools at work at the same time; a further call is told that it is busy."""
PATIENCE, SLOW_PATIENCE = Patience(overall_s=10.0), Patience(overall_s=50.0)
"""Many assistants give a tool a minute: a slow question ends before, with what was found and its receipt."""
_MAX_BODY = MAX_REQUEST + (16 << 10)  # what the protocol wraps around the arguments is small
_MAX_NAME = 80
_UNREADABLE = JSONRPCError(
    jsonrpc="2.0",
    id=None,  # as JSON-RPC 2.0 has it, section 5.1
    error=ErrorData(code=PARSE_ERROR, message="The line is no JSON-RPC message of valid Unicode."),
)


class Tools:
    """Answers the requests of assistants by asking the replicas. For one event loop."""

    def __init__(self, client: AsyncClient, *, has_door: bool = False) -> None:
        """Ask by `client`, which has to stay open; `has_door` where requests come through a `TokenDoor`."""
        self._client = client
        self._has_door = has_door
        self._tools = make_tools()
        self._places = Places(AT_ONCE)

    async def list(
        self, _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """All tools, on one page."""
        return ListToolsResult(tools=[*self._tools.values()])

    def schema(self, name: str) -> Mapping[str, Any] | None:
        """What a tool takes; without it the server would list all tools for every call over HTTP."""
        tool = self._tools.get(name)
        return None if tool is None else tool.input_schema

    async def call(self, context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        """The answer of a tool, or the sentence why there is none.

        Raises:
            MCPError: there is no such tool.
        """
        if params.name not in self._tools:
            name, known = harmless(params.name)[:_MAX_NAME], ", ".join(self._tools)
            raise MCPError(INVALID_PARAMS, f"There is no tool {name!r}; there are: {known}.")
        patience = SLOW_PATIENCE if OPERATIONS[params.name].slow else PATIENCE
        on_behalf = self._bearer(context)
        try:
            with self._places.taken(on_behalf):
                answer = await self._client.ask(params.name, params.arguments or {}, patience, on_behalf)
        except AppiaError as error:
            return refusal_of(str(error))
        return result_of(answer, secrets.token_hex(8))

    def _bearer(self, context: ServerRequestContext[Any]) -> str | None:
        """On whose behalf is asked. A request that came around the door has none, and fails here."""
        if not self._has_door:
            return None
        if context.request is None:
            raise MCPError(INVALID_REQUEST, "This request came without a token.")
        return bearer_of(context.request.scope)


def make_server(client: AsyncClient, *, has_door: bool = False) -> Server[None]:
    """The server over a client, which it closes at its end; `has_door` where `http_app` is given tokens."""

    @asynccontextmanager
    async def closing(_server: Server[None]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            client.close()

    tools = Tools(client, has_door=has_door)
    return Server(
        "appia",
        title="appia",
        version=version("appia"),
        instructions=INSTRUCTIONS,
        lifespan=closing,
        get_tool_input_schema=tools.schema,
        on_list_tools=tools.list,
        on_call_tool=tools.call,
    )


async def serve_stdio(server: Server[None]) -> None:
    """Answer one assistant over standard input and output until it closes them.

    Nothing else can get into the output meanwhile: `stdio_server` puts standard error in its place.
    """
    async with stdio_server() as (lines, replies), anyio.create_task_group() as tasks:
        sound, messages = anyio.create_memory_object_stream[SessionMessage | Exception]()
        tasks.start_soon(_pass_on, lines, sound, replies)
        await server.run(messages, replies, server.create_initialization_options())


async def _pass_on(
    lines: ReadStream[SessionMessage | Exception],
    sound: WriteStream[SessionMessage | Exception],
    replies: WriteStream[SessionMessage],
) -> None:
    """Pass on what could be read; answer the rest, which `server.run` would drop so that its sender waits in vain."""
    async with sound:
        async for line in lines:
            if isinstance(line, Exception):
                await replies.send(SessionMessage(_UNREADABLE))
            else:
                await sound.send(line)


def http_app(client: AsyncClient, front: Front) -> Starlette:
    """The server over a client as an application at `PATH` (streamable HTTP), called by the names of `front`.

    Every request is answered by itself, with one JSON document: there are no sessions that could pile up, and no
    streams that would stay open when a token is revoked. Where there are tokens each has to show one.
    """
    app = make_server(client, has_door=front.tokens is not None).streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=_MAX_BODY,
        transport_security=_only(front.hosts, front.scheme),
    )
    app.add_middleware(_OnlyPosts)
    if front.tokens is not None:
        app.add_middleware(TokenDoor, tokens=front.tokens)
    return app


class _OnlyPosts:
    """Refuses GET, which would open a stream for what a server has to tell: there is nothing to tell.

    https://modelcontextprotocol.io/specification/2025-11-25/basic/transports has 405 for that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as ASGI has it."""
        is_refused = scope["type"] == "http" and scope["method"] != "POST"
        answering = Response(status_code=405, headers={"Allow": "POST"}) if is_refused else self._app
        await answering(scope, receive, send)


def _only(hosts: Sequence[str], scheme: str) -> TransportSecuritySettings:
    """Which names (header Host) and pages (header Origin) are let in, at any port."""
    if "*" in hosts:
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    names = [name for host in hosts for name in (host, f"{host}:*")]
    return TransportSecuritySettings(
        allowed_hosts=names, allowed_origins=[f"{scheme}://{name}" for name in names]
    )
