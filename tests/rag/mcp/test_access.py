"""Tokens over HTTP: an assistant may what its key may."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from services.common.access.edit import new_token
from services.common.access.table import token_digest
from tests.common.access.conftest import table, write_access
from tests.rag.mcp.conftest import DAY, OPEN
from tests.rag.mcp.test_mcp import MODES, call, posted, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def _client(url: str, token: str, mode: str) -> AsyncIterator[Client]:
    async with (
        create_mcp_http_client({"Authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", MODES)
def test_an_assistant_may_what_its_key_may(
    world: Any, start_replica: Any, serve_mcp: Any, tmp_path: Path, mode: str
) -> None:
    """By both forms of the protocol; without a token, or with a revoked one, no request reaches it."""
    for day in (DAY, OPEN):
        world.fill(day, 10, sealed=True)
    token, access = new_token(), tmp_path / "access.toml"
    alice = {"token_sha256": token_digest(token), "days": [OPEN], "operations": ["days", "get"]}
    write_access(access, table("alice", **alice))
    endpoint = start_replica(world.state.root, access=str(access)).ready()["endpoint"]
    server = serve_mcp(endpoint, words=["--access", str(access)])

    async def ask() -> Any:
        async with _client(server.url, token, mode) as client:
            return await client.call_tool("days"), await client.call_tool("stats")

    days, stats = asyncio.run(ask())
    assert [day["day"] for day in days.structured_content["days"]] == [OPEN]
    refused(stats, "alice has no right to 'stats'")
    for header in ({}, {"Authorization": f"Basic {token}"}, {"Authorization": "Bearer other"}):
        answer = posted(server.url, call(1, "days", {}), **header)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith('Bearer realm="appia"')
    write_access(access, table("alice", **alice, revoked=True))
    time.sleep(1.1)
    assert posted(server.url, call(1, "days", {}), Authorization=f"Bearer {token}").status_code == 401
    server.process.terminate()
    log = server.process.communicate(timeout=20)[1]
    assert token not in log
    assert {json.loads(line).get("reason") for line in log.splitlines()} >= {"unknown_token", "revoked_token"}
