"""Key pairs, an access file that can be written anew, and a server behind a door."""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.access.curve import KeyPair, Secured
from services.common.access.entrance import AccessFiles, open_entrance
from services.common.durable import Disk
from services.common.logs import make_logger
from services.common.rpc_client import RpcClient
from services.common.rpc_server import RpcServer, RpcSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.access.rights import Principal
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler

Context = zmq.Context[zmq.Socket[bytes]]


def table(name: str, key: str = "", **fields: Any) -> str:
    """One table of an access file; all is allowed that `fields` does not say."""
    said: dict[str, Any] = {"operations": ["all"], "indices": ["all"], "days": ["all"], **fields}
    if key:
        said["public_key"] = key
    lines = [f"{field} = {_toml(value)}" for field, value in said.items()]
    return "\n".join([f"[keys.{name}]", *lines, ""])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return (
        repr(value).replace("'", '"')
        if isinstance(value, list)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )


def write_access(path: Path, *tables: str) -> None:
    """Put an access file of these tables at a path."""
    Disk().write_file(path, "\n".join(["format = 1", "", *tables]).encode(), 0o640)


@dataclass
class Guarded:
    """A server behind a door: where it is, its public key, what it logged, and how to change who may ask."""

    server: RpcServer
    public_key: str
    access: Path
    log: io.StringIO
    context: Context
    asked: list[tuple[str, str]] = field(default_factory=list)  # names of who asked what

    def client(self, pair: KeyPair, server_key: str | None = None) -> RpcClient:
        """A connection with a key pair."""
        return RpcClient(self.context, self.server.endpoint, Secured(pair, server_key or self.public_key))


@pytest.fixture
def pair() -> KeyPair:
    return KeyPair.new()


@pytest.fixture
def access_file(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    write_access(path)
    return path


@pytest.fixture
def serve(tmp_path: Path, access_file: Path) -> Iterator[Callable[[], Guarded]]:
    """Start a server that tells who asks; the context of the clients is another one."""
    with ExitStack() as stack:

        def start(bind: str = "tcp://127.0.0.1:*", prefix: str = "") -> Guarded:
            log = io.StringIO()
            key = tmp_path / "server.secret"
            if not key.exists():
                KeyPair.new().write(Disk(), key)
            inside: Context = stack.enter_context(zmq.Context())
            outside: Context = stack.enter_context(zmq.Context())
            logger = make_logger("test", log)
            entrance = open_entrance(inside, AccessFiles(key, access_file), logger, prefix)
            asked: list[tuple[str, str]] = []

            def handlers(principal: Principal) -> dict[str, Handler]:
                def tell(_args: dict[str, Any], _deadline: Deadline) -> object:
                    asked.append((principal.name, principal.gateway))
                    return principal.name

                return dict.fromkeys(("get", "list", "feedback", "ping"), tell)

            server = RpcServer(inside, RpcSettings(bind, workers=1), handlers, logger, entrance)
            server.start()
            stack.callback(server.stop)
            return Guarded(server, entrance.public_key, access_file, log, outside, asked)

        yield start
