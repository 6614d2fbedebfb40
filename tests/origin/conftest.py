"""A state directory with real days, and origins that serve it in this process."""

from __future__ import annotations

import io
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.access.curve import KeyPair
from services.common.durable import Disk
from services.common.logs import make_logger
from services.common.observing.systemd import ALONE
from services.mirror.appia_filesystem import AppiaFileSystem
from services.origin.building import Serving, build
from services.origin.settings import OriginSettings
from tests.common.access.conftest import write_access
from tests.mirror.conftest import QUICK
from tests.rag.conftest import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SEALED, OPEN = "2026-01-21", "2026-01-22"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One sealed day and one open one."""
    made = World(tmp_path / "state")
    made.disk = QUICK
    made.fill(SEALED, 30, sealed=True)
    made.fill(OPEN, 20, sealed=False)
    yield made
    made.close()


@dataclass
class Running:
    """An origin that answers, what it logged, and its public key; empty on plain text."""

    serving: Serving
    log: io.StringIO
    public_key: str = ""

    @property
    def port(self) -> int:
        return int(self.serving.server.endpoint.rpartition(":")[2])


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start an origin over a state directory, with the settings that are given."""
    with ExitStack() as stack:

        def go(state: Path, **settings: Any) -> Running:
            log = io.StringIO()
            context = stack.enter_context(zmq.Context())
            said = OriginSettings(state=state, **settings)
            serving = build(context, said, make_logger("origin", log), ALONE)
            stack.callback(serving.end)
            serving.begin()
            return Running(serving, log, serving.server.entrance.public_key)

        yield go


@pytest.fixture
def connect() -> Iterator[Callable[..., AppiaFileSystem]]:
    """A file system over an origin's port; closed at the end."""
    with ExitStack() as stack:

        def make(port: int, **options: Any) -> AppiaFileSystem:
            return stack.enter_context(closing(AppiaFileSystem("127.0.0.1", port, **options)))

        yield make


@pytest.fixture
def guarded(tmp_path: Path, start: Callable[..., Running]) -> Callable[..., tuple[Running, dict[str, Path]]]:
    """An origin that wants keys: a table of the access file for each name, and the key file of each."""

    def go(state: Path, *tables: Callable[[str], str], **settings: Any) -> tuple[Running, dict[str, Path]]:
        KeyPair.new().write(Disk(), tmp_path / "server.secret")
        files, texts = {}, []
        for one in tables:
            pair = KeyPair.new()
            text = one(pair.public)
            name = text.partition("[keys.")[2].partition("]")[0]
            files[name] = tmp_path / f"{name}.secret"
            pair.write(Disk(), files[name])
            texts.append(text)
        access = tmp_path / "access.toml"
        write_access(access, *texts)
        return start(state, server_key=tmp_path / "server.secret", access=access, **settings), files

    return go
