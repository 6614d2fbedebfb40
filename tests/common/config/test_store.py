"""Who changes the configuration loses no change of others, and gets no old or foreign one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from services.common.config.document import Author, values_at
from services.common.config.store import TRIES, ConfigStore, NoSealingKey, Place, open_values
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.registry.new_keys import Given, make_registry_keys
from services.common.sealed import NotOpened, SeenRevisions
from services.common.values.checked import NotSound

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Config


def test_changes_count_from_one(config: Config) -> None:
    """Each change is a revision, and one that changes nothing is none."""
    assert config.store.read().revision == 0
    assert [config.set(waiting=n).after.revision for n in (5, 6, 6)] == [1, 2, 2]
    assert not config.set(waiting=6).is_new


def test_nobodys_change_is_lost(config: Config) -> None:
    """Several that change different keys at the same time all succeed, each knowing what was there before its own."""
    keys = ["waiting", "workers", "slow_workers"]

    def work(key: str) -> None:
        mine = ConfigStore(config.values())
        for value in (3, 4):
            mine.change(lambda _: {f"rag.{key}": value}, config.author)  # noqa: B023 - called at once

    with ThreadPoolExecutor(len(keys)) as pool:
        list(pool.map(work, keys))
    held = config.store.read()
    assert (held.revision, held.content.of("rag")) == (6, dict.fromkeys(keys, 4))
    for change in held.content.changes:
        before = values_at(held.content, change.revision - 1)
        assert {key: before.get(key) for key in change.before} == change.before


def test_who_is_too_slow_each_time_is_told(config: Config) -> None:
    """After five others were quicker, nothing was changed by the slow one."""

    def edit(_: object) -> dict[str, int]:
        other = ConfigStore(config.values())
        waiting = int(other.read().content.of("rag").get("waiting", 1))
        other.change(lambda _: {"rag.waiting": waiting + 1}, config.author)
        return {"rag.workers": 9}

    with pytest.raises(AppiaError, match="Others changed the configuration 5 times"):
        config.store.change(edit, config.author)
    assert config.store.read().content.of("rag") == {"waiting": 1 + TRIES}


def test_a_wish_that_is_not_allowed_changes_nothing(config: Config) -> None:
    with pytest.raises(UsageError, match=r"rag\.workers cannot be 65"):
        config.set(waiting=5, workers=65)
    assert config.store.read().revision == 0


def test_an_old_configuration_is_not_changed_unnoticed(config: Config) -> None:
    """Put back on disk, an older one is refused; removed, it says how to begin anew, and revisions go on."""
    config.set(waiting=5)
    old = config.file.read_bytes()
    config.set(waiting=6)
    config.file.write_bytes(old)
    with pytest.raises(NotOpened, match=r"set back from revision 2 to 1.*config set --anew"):
        config.set(waiting=7)
    config.file.unlink()
    with pytest.raises(NotSound, match="was removed"):
        config.set(waiting=7)
    changed = config.store.change(lambda _: {"rag.waiting": 7}, config.author, anew=True)
    assert (changed.after.revision, changed.after.content.changes[0].revision) == (3, 3)


def test_without_a_sealing_key_there_is_no_configuration(tmp_path: Path) -> None:
    """It says how to make the key; with it the configuration of a folder is there."""
    place = Place("file", tmp_path, None)
    with pytest.raises(NoSealingKey, match="appia keys registry"):
        open_values(place, SeenRevisions())
    make_registry_keys(Disk(), tmp_path / "keys", Given())
    place = Place("file", tmp_path, tmp_path / "keys")
    store = ConfigStore(open_values(place, SeenRevisions()))
    store.change(lambda _: {"rag.waiting": 5}, Author("ana", "", "now"))
    assert ConfigStore(open_values(place, SeenRevisions())).read().content.of("rag") == {"waiting": 5}
    assert b"waiting" not in (tmp_path / "values" / "config.value").read_bytes()
