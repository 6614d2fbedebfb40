"""The ingester's control socket with keys: rights of its own, feedback in the key's name."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import pytest
import zmq

from services.common.access.curve import KeyPair, Secured, make_server_key
from services.common.access.names import CHANGES, LOOKS, PING, REMARK
from services.common.durable import Disk
from services.common.feedback.follower import read_feedback
from services.common.registry.files import FileRegistry
from services.common.rpc_client import RpcClient, RpcRefused
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.days.names import StateNames


@pytest.mark.usefixtures("models")
def test_the_control_socket_with_keys(launch: Callable[..., Any], state: StateNames, tmp_path: Path) -> None:
    """An analyst may give feedback, in its own name only, and nothing else; refusals are counted in the status."""
    server_key, public = make_server_key(Disk(), tmp_path / "keys")
    analyst, operator = KeyPair.new(), KeyPair.new()
    access = tmp_path / "access.toml"
    write_access(
        access,
        table("ana", analyst.public, operations=["remarks"]),
        table("operator", operator.public, operations=["control"]),
    )
    ingester = launch(
        control="tcp://0.0.0.0:*",
        advertise_control="tcp://127.0.0.1:*",
        server_key=str(server_key),
        access=str(access),
    )
    endpoint = re.sub("0.0.0.0", "127.0.0.1", ingester.ready["endpoints"]["control"])  # noqa: S104 - of this test
    said = {"feedback_id": "f-1", "event_id": "e-1", "analyst": "somebody else", "verdict": "false_positive"}
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        mine, other = (
            stack.enter_context(contextlib.closing(RpcClient(context, endpoint, Secured(pair, public))))
            for pair in (analyst, operator)
        )
        assert mine.call("feedback", said, 20)["new"]
        for client, op, name in (
            (mine, "status", "ana"),
            (mine, "seal", "ana"),
            (other, "feedback", "operator"),
        ):
            with pytest.raises(RpcRefused, match=f"{name} has no right to 'ingester.{op}'") as refused:
                client.call(op, {}, 20)
            assert refused.value.code == "forbidden"
        assert other.call("status", {}, 20)["refused_requests"] == {"operation": 3}
    (entry,) = FileRegistry(state.registry).entries("ingester")
    assert entry.info["control"] == endpoint
    (remark,) = (remark for _, remark in read_feedback(state).newest_first())
    assert remark.analyst == "ana"
    assert ingester.end() == 0


@pytest.mark.usefixtures("models")
def test_every_operation_is_a_right(launch: Callable[..., Any], ask: Callable[..., dict[str, Any]]) -> None:
    """What the ingester answers can be allowed, and is in a group; on plain text all of it is answered."""
    ingester = launch()
    with pytest.raises(RpcRefused, match="There is no operation 'nothing'") as refused:
        ask(ingester, "nothing")
    there = set(str(refused.value).rpartition("there are: ")[2].rstrip(".").split(", "))
    assert {f"ingester.{name}" for name in there - {PING}} == {REMARK, *LOOKS, *CHANGES}
    assert ingester.end() == 0
