"""What `appia up` says before it starts, where nothing fails but something will not go as before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.cli.concerns import concerns
from services.common.days.log import LogWriter
from services.common.days.log_format import EVENT
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS, StorageKeys, new_storage_keys
from services.ingester.settings import IngesterSettings

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.rest.log_keys import LogKeys


@pytest.fixture
def names(tmp_path: Path) -> StateNames:
    return StateNames(tmp_path / "state")


@pytest.fixture
def storage_key(tmp_path: Path) -> Path:
    path = tmp_path / "storage.keys"
    new_storage_keys(Disk(), path)
    return path


def _settings(names: StateNames, **others: object) -> IngesterSettings:
    return IngesterSettings(state=names.root, keys=names.keys, **others)  # type: ignore[arg-type]


def _write(path: Path, keys: LogKeys) -> None:
    path.parent.mkdir(parents=True)
    log = LogWriter(Disk(), path, keys)
    log.append(EVENT, 0, [b"event"])
    log.close()


@pytest.mark.parametrize("where", ["open", "sealed", "feedback"])
def test_a_start_that_forgot_the_storage_key_says_so(
    names: StateNames, storage_key: Path, where: str
) -> None:
    """Else what comes in is not encrypted from then on, and nobody is told. With the key there is nothing to say."""
    day = names.day("2026-11-20")
    path = {
        "open": day.segment(1).log(1),
        "sealed": day.generation(1).chunk / "events.log",
        "feedback": names.feedback_log(1),
    }[where]
    _write(path, StorageKeys(storage_key, print))
    (said,) = concerns(names, _settings(names))
    assert "no storage_key is set" in said
    assert list(concerns(names, _settings(names, storage_key=storage_key))) == []


def test_plain_logs_and_an_empty_state_are_no_concern(names: StateNames) -> None:
    assert list(concerns(names, _settings(names))) == []
    _write(names.day("2026-11-20").segment(1).log(1), NO_KEYS)
    assert list(concerns(names, _settings(names))) == []


def test_a_registry_that_cannot_be_used_is_said_and_stops_nothing(names: StateNames) -> None:
    """A secret that cannot be used stops the start, before three tries of each service."""
    away = "etcd://127.0.0.1:1/test"
    (said,) = concerns(names, _settings(names, registry=away))
    assert "127.0.0.1:1 could not be connected to" in said
    assert said.endswith("The services run without it, and register when it can be used")
    folder = names.keys / "registry"
    folder.mkdir(parents=True)
    (folder / "login").write_text("appia:password")
    (folder / "login").chmod(0o644)
    with pytest.raises(AppiaError, match="chmod 0400") as refused:
        list(concerns(names, _settings(names, registry=away, registry_keys=folder)))
    assert "password" not in str(refused.value)
