"""How commands reach the ingester that runs on a state directory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
import zmq

from services.cli.jobs import call, ingester_of
from services.cli.running import INSTALLED, IngesterAt, Running
from services.common.access.curve import KeyPair, make_server_key
from services.common.access.entrance import AccessFiles, open_entrance
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.logs import make_logger
from services.common.registry.files import FileRegistry
from services.common.registry.port import Entry
from services.common.rpc_server import RpcServer, RpcSettings
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KeyPair:
    """The operator's key, which the environment names as `operator.env` of a node does."""
    secret, _ = make_server_key(Disk(), tmp_path / "operator")
    monkeypatch.setenv("APPIA_KEY", str(secret))
    monkeypatch.delenv("APPIA_SERVER_KEY", raising=False)
    return KeyPair.read(secret)


@pytest.fixture
def guarded(tmp_path: Path, pair: KeyPair) -> Iterator[RpcServer]:
    """A control socket that answers the operator's key only."""
    secret, _ = make_server_key(Disk(), tmp_path / "server")
    write_access(tmp_path / "access.toml", table("operator", pair.public))
    with zmq.Context() as context:
        log = make_logger("test", io.StringIO())
        entrance = open_entrance(context, AccessFiles(secret, tmp_path / "access.toml"), log)
        limits = RpcSettings("tcp://127.0.0.1:*", 1)
        server = RpcServer(context, limits, {"ping": lambda _args, _deadline: {"up": True}}, log, entrance)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def state(tmp_path: Path, guarded: RpcServer) -> StateNames:
    """A state directory whose services the system keeps."""
    names = StateNames(tmp_path / "state")
    claim_layout(names, Disk())
    ingester = IngesterAt(0, "", "", guarded.endpoint)
    running = Running(str(names.root), "file", INSTALLED, ingester, [], str(tmp_path / "operator"))
    names.endpoints.write_text(running.to_json())
    return names


def test_the_registry_says_by_which_key_the_ingester_is_known(state: StateNames, guarded: RpcServer) -> None:
    """Who has a key of his own needs to name no other; other ingesters' keys are left out."""
    registry = FileRegistry(state.registry)
    for name, control, key in (
        ("another", "tcp://127.0.0.1:9", KeyPair.new().public),
        ("ingester", guarded.endpoint, guarded.entrance.facts["public_key"]),
    ):
        facts = {"control": control, "public_key": key}
        registry.register(Entry("ingester", name, "tcp://127.0.0.1:8", facts), 60)
    with ingester_of(state.root) as ingester:
        assert call(ingester, "ping", {}) == {"up": True}


def test_a_server_key_that_is_named_needs_no_registry(
    state: StateNames, guarded: RpcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPIA_SERVER_KEY", str(guarded.entrance.facts["public_key"]))
    monkeypatch.setattr(FileRegistry, "entries", lambda *_: pytest.fail("the registry was asked"))
    with ingester_of(state.root) as ingester:
        assert call(ingester, "ping", {}) == {"up": True}
