"""Neither a node nor the vault of its site loses a key to the other."""

from __future__ import annotations

import base64
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

PLUGIN = Path(__file__).parents[2] / "deploy/ansible/filter_plugins/appia_keys.py"


def load() -> ModuleType:
    """The filters, which lie in no package."""
    spec = importlib.util.spec_from_file_location(PLUGIN.stem, PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


filters = load()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decoded(content: str) -> str:
    return base64.b64decode(content).decode()


def ring(primary: int, *revoked: int) -> str:
    return encoded(json.dumps({"format": 1, "primary": primary, "revoked": revoked}))


NODE = {
    "wire/ring.json": ring(7),
    "signing/ACTIVE": encoded("abc\n"),
    "rest/storage.keys": encoded("one\ntwo\n"),
}


def test_a_new_node_loses_nothing() -> None:
    assert filters.lost_keys({}, {}, []) == []


def test_keys_in_use_that_the_vault_lacks_are_named() -> None:
    """Each kind of them; those that the vault has are not."""
    seeds = ["wire/7.seed", "wire/6.seed", "wire/v1/a.seed", "wire/v1/b.seed"]
    assert filters.lost_keys(NODE, {}, seeds) == [
        "the key of frames 7",
        "the signing key abc",
        "storage keys (2)",
        "the seed wire/v1/a.seed",
        "the seed wire/v1/b.seed",
    ]
    vault = {
        "ingester/wire/7.seed": "",
        "ingester/wire/v1/a.seed": "",
        "ingester/signing/abc.key": "",
        "ingester/rest/storage.keys": encoded("three\ntwo\n"),
    }
    assert filters.lost_keys(NODE, vault, seeds) == ["storage keys (1)", "the seed wire/v1/b.seed"]


def test_what_was_revoked_in_the_vault_goes_and_what_was_revoked_on_the_node_stays() -> None:
    """Else the next run would let the finder of a seed in again."""
    vault = {"ingester/wire/ring.json": ring(8, 7), "ingester/wire/8.seed": ""}
    assert filters.lost_keys({"wire/ring.json": ring(7)}, vault, ["wire/7.seed"]) == []
    vault = {"ingester/wire/ring.json": ring(8), "ingester/wire/8.seed": "", "ingester/wire/7.seed": ""}
    assert filters.lost_keys({"wire/ring.json": ring(8, 7)}, vault, []) == ["the revocation of 7"]


def test_the_vault_takes_the_keys_of_a_node_and_keeps_the_rest() -> None:
    """What it alone has revoked or encrypted with stays; the node's last storage key is that of new files."""
    vault = {
        "ingester/wire/ring.json": ring(5, 4),
        "ingester/wire/5.seed": "",
        "ingester/rest/storage.keys": encoded("zero\none\n"),
        "ingester/other": "o",
        "server/n1.secret": "s",
    }
    found = {
        **NODE,
        "wire/ring.json": ring(7, 3),
        "wire/7.seed": "x",
        "signing/abc.key": "k",
        "lost+found": "",
    }
    taken = filters.with_keys_of(vault, found)
    assert json.loads(decoded(taken.pop("ingester/wire/ring.json"))) == {
        "format": 1,
        "primary": 7,
        "revoked": [3, 4],
    }
    assert decoded(taken.pop("ingester/rest/storage.keys")) == "zero\none\ntwo\n"
    assert taken == {
        "ingester/wire/7.seed": "x",
        "ingester/signing/ACTIVE": NODE["signing/ACTIVE"],
        "ingester/signing/abc.key": "k",
        "ingester/other": "o",
        "server/n1.secret": "s",
    }


@pytest.mark.parametrize("lacking", sorted(NODE))
def test_a_part_of_the_keys_does_not_replace_all_of_them(lacking: str) -> None:
    """As the folder that a sensor gets; a site that does not encrypt has no storage keys."""
    vault = {f"ingester/{path}": content for path, content in NODE.items()}
    part = {path: content for path, content in NODE.items() if path != lacking}
    with pytest.raises(ValueError, match=f"lacks {lacking}: copy the whole"):
        filters.with_keys_of(vault, part)
    if lacking == "rest/storage.keys":
        assert filters.with_keys_of({}, part) == {
            f"ingester/{path}": content for path, content in part.items()
        }
