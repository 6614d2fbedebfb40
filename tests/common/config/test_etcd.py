"""The configuration in a real etcd: services start and go on without it, and take up what is new when it is back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from real_etcd.member import MISSING, Member, installed

from services.common.config.document import Author
from services.common.config.joining import Joining, join, join_with_disk
from services.common.config.sections import Base
from services.common.config.store import ConfigStore, Place, open_values
from services.common.config.tree import RAG, RagLive
from services.common.config.watcher import Hooks
from services.common.durable import Disk
from services.common.registry.new_keys import Given, make_registry_keys
from services.common.sealed import SeenRevisions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANA = Author("ana", "", "now")
BASE = Base(RAG, RagLive, RagLive(weight_words=7.0))


@pytest.fixture
def member(tmp_path: Path) -> Iterator[Member]:
    if not installed():
        pytest.skip(MISSING)
    member = Member(tmp_path / "etcd")
    member.start()
    yield member
    member.kill()


def test_a_service_does_without_etcd(member: Member, tmp_path: Path) -> None:
    """Killed etcd: one that may write starts with its last good values, one that may not with its file's."""
    keys = tmp_path / "keys"
    make_registry_keys(Disk(), keys, Given())
    (tmp_path / "run").mkdir()
    place = Place(f"etcd://{member.hostport}/test", tmp_path, keys)
    told: list[str] = []
    joining = Joining(place, lambda event, _: told.append(event))
    store = ConfigStore(open_values(place, SeenRevisions()))
    store.change(lambda _: {"rag.weight_words": 2.0}, ANA)
    first = join_with_disk(BASE, joining, Disk())
    assert first.begin().weight_words == 2.0
    first._tools = type(first._tools)(first._tools.memory, first._tools.report, time.monotonic, settle_s=0.0)
    first._hooks = Hooks(lambda _: None, lambda: "")
    first.step()
    member.kill()

    again, replica = join_with_disk(BASE, joining, Disk()), join(BASE, joining)
    assert (again.begin().weight_words, replica.begin().weight_words) == (2.0, 7.0)
    assert (again.configured().fault, replica.configured().fault) == ("", "")
    assert told.count("config_from_disk") == 2
    member.start()
    again._hooks = replica._hooks = Hooks(lambda _: None, lambda: "")
    store.change(lambda _: {"rag.weight_words": 3.0}, ANA)
    again.step()
    replica.step()
    assert (again.live.weight_words, replica.live.weight_words) == (3.0, 3.0)
