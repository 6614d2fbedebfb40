"""A key mirrors what its rights allow: days, and nothing that speaks of other days."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from services.common.access.curve import KeyPair
from services.common.durable import Disk
from services.common.errors import UsageError
from tests.common.access.conftest import table
from tests.origin.conftest import OPEN, SEALED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def key(name: str, **fields: Any) -> Callable[[str], str]:
    return partial(table, name, operations=["mirror"], rate=1000, **fields)


@pytest.fixture
def world(world: Any) -> Any:
    for folder, name in (("feedback", "feedback-000001.log"), ("decisions", "decisions-000001.log")):
        (world.state.root / folder).mkdir()
        (world.state.root / folder / name).write_bytes(b"of any day")
    return world


def test_a_key_of_all_days_reads_all_of_them(
    world: Any, guarded: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Over an encrypted connection."""
    running, keys = guarded(world.state.root, key("mirror"))
    files = connect(running.port, key=keys["mirror"], server_key=running.public_key)
    assert files.ls("", detail=False) == ["VERSION", "days", "decisions", "feedback"]
    assert files.ls("days", detail=False) == [f"days/{SEALED}", f"days/{OPEN}"]


def test_a_key_of_some_days_sees_these_only(
    world: Any, guarded: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """Others are not there, in a list or by name; remarks and decisions speak of events of any day."""
    running, keys = guarded(world.state.root, key("some", days=[SEALED]))
    files = connect(running.port, key=keys["some"], server_key=running.public_key)
    assert files.ls("days", detail=False) == [f"days/{SEALED}"]
    assert files.cat_file(f"days/{SEALED}/sealed/CURRENT") == b"000001\n"
    assert files.ls("", detail=False) == ["VERSION", "days"]
    for path in (
        f"days/{OPEN}/open/000001/columns.bin",
        "feedback/feedback-000001.log",
        "decisions/decisions-000001.log",
    ):
        with pytest.raises(FileNotFoundError):
            files.cat_file(path)


def test_a_key_without_an_index_reads_nothing(
    world: Any, guarded: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """The events hold what every index is made of."""
    running, keys = guarded(world.state.root, key("part", indices=["attack"]))
    with pytest.raises(PermissionError, match=r'needs indices = \["all"\]'):
        connect(running.port, key=keys["part"], server_key=running.public_key).ls("")


def test_an_analyst_reads_no_files(
    world: Any, guarded: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """To ask questions is another right."""
    running, keys = guarded(world.state.root, partial(table, "ana", operations=["questions"]))
    with pytest.raises(PermissionError, match=r"ana has no right to 'origin.stat'"):
        connect(running.port, key=keys["ana"], server_key=running.public_key).ls("")


def test_a_key_that_nobody_knows_gets_no_connection(
    world: Any, guarded: Callable[..., Any], connect: Callable[..., Any], tmp_path: Path
) -> None:
    """It is told that it is not known; who has none at all is told that keys are wanted."""
    running, _ = guarded(world.state.root, key("mirror"))
    KeyPair.new().write(Disk(), tmp_path / "stranger.secret")
    stranger = connect(running.port, key=tmp_path / "stranger.secret", server_key=running.public_key)
    with pytest.raises(PermissionError, match="does not know the key"):
        stranger.ls("")
    with pytest.raises(ConnectionError, match="wants keys"):
        connect(running.port, timeout_s=5.0).ls("")


def test_the_wrong_server_is_not_believed(
    world: Any, guarded: Callable[..., Any], connect: Callable[..., Any]
) -> None:
    """A server that has another key than the one that was given gets nothing, and gives nothing."""
    running, keys = guarded(world.state.root, key("mirror"))
    with pytest.raises(ConnectionError, match="does not take these keys"):
        connect(running.port, key=keys["mirror"], server_key=KeyPair.new().public, timeout_s=5.0).ls("")
    with pytest.raises(UsageError, match="has to prove itself"):
        connect(running.port, key=keys["mirror"])
