"""Which entries may be registered."""

from __future__ import annotations

import math
from typing import Any

import pytest

from services.common.errors import UsageError
from services.common.registry.files import FileRegistry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.port import Entry

SOUND: dict[str, Any] = {
    "kind": "rag",
    "name": "one",
    "address": "tcp://x:1",
    "info": {"days": 1, "load": 0.5},
}


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"kind": ""}, "kind"),
        ({"kind": "../etc"}, "kind"),
        ({"name": "a b"}, "name"),
        ({"name": ".a"}, "name"),
        ({"name": "a\n"}, "name"),
        ({"name": "n" * 65}, "name"),
        ({"address": ""}, "address"),
        ({"address": "a" * 257}, "257"),
        ({"address": "tcp://x\x1b[2J"}, "printable"),
        ({"info": {"a": None}}, "text or a number"),
        ({"info": {"a": True}}, "text or a number"),
        ({"info": {"a": [1]}}, "text or a number"),
        ({"info": {1: "a"}}, "text or a number"),
        ({"info": {"a": math.nan}}, "finite"),
        ({"info": {"a": math.inf}}, "finite"),
    ],
)
def test_an_entry_that_breaks_the_rules_is_refused(change: dict[str, Any], fact: str) -> None:
    with pytest.raises(UsageError, match=fact):
        Entry(**(SOUND | change))


def test_an_entry_does_not_change_with_the_dictionary_it_was_made_from() -> None:
    info = {"days": 1}
    entry = Entry("rag", "one", "tcp://x:1", info)
    info["days"] = 2
    assert entry.info == {"days": 1}
    with pytest.raises(TypeError):
        entry.info["days"] = 3  # type: ignore[index]


def test_a_heartbeat_refuses_a_lease_that_cannot_be_kept(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="3 to 3600 s"):
        Heartbeat(FileRegistry(tmp_path), Entry(**SOUND), dict, 1.0)
