"""A stack keeps its ports from one start to the next, unless somebody else took them."""

from __future__ import annotations

import json
import random
import socket
from typing import TYPE_CHECKING

import pytest

from services.cli.ports import HIGHEST, LOWEST, PortBook, choose_port, is_free
from services.common.durable import Disk
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE = "127.0.0.1"


@pytest.fixture
def book(tmp_path: Path) -> PortBook:
    return PortBook(tmp_path / "ports.json", random.Random(), print)


@pytest.fixture
def busy() -> Iterator[int]:
    """A port at which somebody listens."""
    with socket.create_server((HERE, 0)) as server:
        yield server.getsockname()[1]


def test_ports_are_free_distinct_and_below_the_outgoing_range(book: PortBook) -> None:
    """Each name gets a port of its own, where Linux takes none for outgoing connections."""
    ports = [book.port(name, HERE) for name in ("intake", "v1", "control", "rag-1")]
    assert len(set(ports)) == 4
    assert all(LOWEST <= port <= HIGHEST and is_free(HERE, port) for port in ports)


def test_a_later_start_has_the_same_ports(book: PortBook, tmp_path: Path) -> None:
    """The ports are remembered, also those of a replica that is not started the next time."""
    first = {name: book.port(name, HERE) for name in ("intake", "rag-1", "rag-2")}
    book.save(Disk())
    second = PortBook(tmp_path / "ports.json", random.Random(), print)
    assert second.port("intake", HERE) == first["intake"]
    second.save(Disk())
    assert json.loads((tmp_path / "ports.json").read_text()) == first


def test_a_port_that_was_taken_is_replaced_and_said(
    book: PortBook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who fed the old address reads in the supervisor's news where it listens now."""
    old = book.port("intake", HERE)
    book.save(Disk())
    with socket.create_server((HERE, old)):
        new = PortBook(tmp_path / "ports.json", random.Random(), print).port("intake", HERE)
    assert new != old
    assert f"port {old} of intake is in use by another program; it listens on port {new} now" in (
        capsys.readouterr().out
    )


def test_a_wanted_port_is_taken_or_refused(book: PortBook, busy: int) -> None:
    """A port the operator names is never replaced in silence."""
    free = choose_port(HERE, [], random.Random())
    assert book.port("intake", HERE, free) == free
    for wanted in (free, busy):
        with pytest.raises(UsageError, match=f"port {wanted} on {HERE} is in use: choose another one for v1"):
            book.port("v1", HERE, wanted)


def test_an_address_of_another_machine_is_refused() -> None:
    """The operator is told that the address is not here."""
    with pytest.raises(UsageError, match=r"no free port was found on 192\.0\.2\.1"):
        choose_port("192.0.2.1", [], random.Random())


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"intake": "x", "v1": 0, "control": true, "rag-1": 70000}']
)
def test_a_damaged_book_is_an_empty_one(tmp_path: Path, content: str) -> None:
    """The book is a convenience: what is wrong in it is chosen anew."""
    (tmp_path / "ports.json").write_text(content)
    book = PortBook(tmp_path / "ports.json", random.Random(), print)
    assert LOWEST <= book.port("intake", HERE) <= HIGHEST
