"""Where the storage key is found when nobody names it."""

from __future__ import annotations

import random
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.ports import PortBook
from services.cli.stack import StackOptions, make_services
from services.cli.storage_key import log_keys
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS, new_storage_keys, storage_keys_file

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.rest.log_keys import LogKeys


@pytest.fixture
def names(tmp_path: Path) -> StateNames:
    names = StateNames(tmp_path / "state")
    Disk().make_folder(names.run)
    return names


def _key_id(keys: LogKeys) -> int:
    key = keys.for_new_files()
    assert key is not None
    return key.key_id


def _written(options: StackOptions) -> dict[str, Any]:
    """The storage key in the settings of each service, as `appia up` writes them."""
    ports = PortBook(options.names.run / "ports.json", random.Random(1), print)
    services = make_services(options, ports, Disk())
    settings = {one.name: tomllib.loads(one.settings.read_text()) for one in services}
    assert "storage_key" not in settings.pop("health"), "it reads no events"
    return {name: its.get("storage_key") for name, its in settings.items()}


def test_a_stack_takes_the_key_of_its_state_directory(names: StateNames) -> None:
    """All its services do, from the next start on; what --settings says wins."""
    options = StackOptions(
        names, 2, "file", "127.0.0.1", None, None, {"ingester": {}, "rag": {}, "health": {}}
    )
    assert _written(options) == {"ingester": None, "rag-1": None, "rag-2": None}
    own = storage_keys_file(names.keys)
    new_storage_keys(Disk(), own)
    assert _written(options) == {"ingester": str(own), "rag-1": str(own), "rag-2": str(own)}
    other = {"storage_key": "/media/key"}
    ruled = _written(replace(options, overrides={"ingester": other, "rag": other, "health": {}}))
    assert set(ruled.values()) == {"/media/key"}


def test_commands_find_the_key_of_the_state_directory(names: StateNames, tmp_path: Path) -> None:
    """The one that was named, else that of the first folder with one."""
    empty = StateNames(tmp_path / "empty")
    assert log_keys(None, names, empty) is NO_KEYS
    own = new_storage_keys(Disk(), storage_keys_file(names.keys))
    other = new_storage_keys(Disk(), tmp_path / "other.keys")
    assert _key_id(log_keys(None, empty, names)) == own.key_id
    assert _key_id(log_keys(tmp_path / "other.keys", names)) == other.key_id


def test_a_key_that_cannot_be_used_stops_only_who_named_it(
    names: StateNames, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checksums can be checked without it, as somebody who may not read it does."""
    path = storage_keys_file(names.keys)
    new_storage_keys(Disk(), path)
    path.chmod(0o644)
    assert log_keys(None, names) is NO_KEYS
    assert "goes on without the storage key: " in capsys.readouterr().err
    with pytest.raises(AppiaError, match="chmod 0400"):
        log_keys(path, names)
