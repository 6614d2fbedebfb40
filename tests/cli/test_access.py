"""`appia access` and `appia keys server`: keys are made, shown without secrets, changed and revoked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.main import run
from services.common.access.book import read_access
from services.common.access.curve import KeyPair
from services.common.access.rights import Days, Rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Said:
    """Run a command line in a folder of its own: its status, and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPIA_ACCESS", "access.toml")

    def call(*words: str) -> tuple[int, str, str]:
        status = run(words)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def _told(said: Said, *words: str) -> Any:
    status, out, err = said(*words, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_a_key_is_made_with_its_rights(said: Said, tmp_path: Path) -> None:
    """The file has the public part and the rights; the secret goes into a file that only its owner reads."""
    made = _told(
        said, "access", "new", "alice", "--operations", "get", "--operations", "remarks", "--days", "last 30",
        "--indices", "attack", "--rate", "2", "--burst", "3",
    )  # fmt: skip
    found = read_access(tmp_path / "access.toml").of_name("alice")
    assert found is not None
    assert (found.rights.days, found.rights.rate) == ((Days(last=30),), Rate(2, 3))
    assert found.rights.operations == {"get", "ingester.feedback"}
    pair = KeyPair.read(tmp_path / "alice.secret")
    assert (made["file"], made["public_key"], found.public_key) == ("alice.secret", pair.public, pair.public)
    assert pair.secret not in (tmp_path / "access.toml").read_text() + json.dumps(made)
    assert (tmp_path / "access.toml").stat().st_mode & 0o777 == 0o640


def test_a_key_that_another_made_is_added(said: Said, tmp_path: Path) -> None:
    """Without an access file the table is printed, and is TOML; with a public key no key is made."""
    status, out, _ = said("access", "new", "bob", "--access", "", "--out", "bob.secret")
    assert status != 0 or out  # an empty name of a file is none
    pair = KeyPair.new()
    assert said("access", "new", "carol", "--public-key", f"{pair.public}")[0] == 0
    found = read_access(tmp_path / "access.toml").of_key(pair.public)
    assert found is not None
    assert found.name == "carol"
    assert not list(tmp_path.glob("carol*"))


def test_the_table_is_printed_for_who_keeps_the_file(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is printed is what the file needs."""
    monkeypatch.delenv("APPIA_ACCESS")
    status, out, _ = said("access", "new", "dora")
    assert status == 0
    (tmp_path / "mine.toml").write_text(f"format = 1\n{out}")
    (tmp_path / "mine.toml").chmod(0o600)
    found = read_access(tmp_path / "mine.toml").of_name("dora")
    assert found is not None
    assert found.public_key == KeyPair.read(tmp_path / "dora.secret").public


def test_a_token_is_shown_once(said: Said, tmp_path: Path) -> None:
    """The file has its digest; another token takes its place."""
    first = _told(said, "access", "new", "web", "--token")["token"]
    assert len(first) >= 43
    assert first not in (tmp_path / "access.toml").read_text()
    second = _told(said, "access", "token", "web")["token"]
    table = read_access(tmp_path / "access.toml")
    found = table.of_token(second)
    assert found is not None
    assert found.name == "web"
    assert table.of_token(first) is None


def test_keys_are_listed_and_revoked(said: Said, tmp_path: Path) -> None:
    """Groups are named as such; a revoked key stays in the list and its name is not given again."""
    for words in (
        ("alice",),
        ("gw", "--delegate", "--operations", "all", "--days", "2026-01-01..2026-01-31"),
    ):
        assert said("access", "new", *words)[0] == 0
    alice, gateway = _told(said, "access", "list")["keys"]
    assert (alice["operations"], alice["days"], alice["state"]) == (["questions"], ["all"], "valid")
    assert (gateway["operations"], gateway["days"]) == (["all"], ["2026-01-01..2026-01-31"])
    assert gateway["by"] == ["key", "gateway"]
    assert "2026-01-01..2026-01-31" in said("access", "list")[1]
    assert _told(said, "access", "revoke", "alice") == {"name": "alice", "revoked": True}
    assert _told(said, "access", "check")["revoked"] == 1
    assert said("access", "check")[1].endswith(" is sound: 1 key may ask; 1 revoked.\n")
    assert read_access(tmp_path / "access.toml").of_name("alice") is None
    (tmp_path / "alice.secret").unlink()
    status, _, err = said("access", "new", "alice")
    assert (status, "has a key alice already" in err) == (2, True)
    assert not (tmp_path / "alice.secret").exists(), "the key that is in no file is not left"


@pytest.mark.parametrize(
    ("words", "status", "words_said"),
    [
        (("access", "new", "a b"), 2, "no name of a key"),
        (("access", "new", "alice", "--days", "yesterday"), 2, "'days' holds 'yesterday'"),
        (("access", "new", "alice", "--rate", "0"), 2, "'rate' must be"),
        (("access", "new", "alice", "--token", "--out", "x"), 2, "Give one of"),
        (("access", "new", "alice", "--public-key", "short"), 2, "neither a CURVE public key"),
        (("access", "new", "alice", "--out", "no/such/folder"), 1, "could not be written"),
        (("access", "revoke", "nobody"), 1, "cannot be read"),
        (("access", "list"), 1, "cannot be read"),
    ],
)
def test_what_is_wrong_is_one_line(said: Said, words: tuple[str, ...], status: int, words_said: str) -> None:
    """It says what is allowed; nothing is written."""
    found, out, err = said(*words)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert words_said in err


def test_a_server_key_is_made_once(said: Said, tmp_path: Path) -> None:
    """The public part is printed and lies beside the secret, which is not shown."""
    made = _told(said, "keys", "server", "keys")
    pair = KeyPair.read(tmp_path / "keys" / "access" / "server.secret")
    assert made == {"file": "keys/access/server.secret", "public_key": pair.public}
    assert (tmp_path / "keys" / "access" / "server.public").read_text() == f"{pair.public}\n"
    status, _, err = said("keys", "server", "keys")
    assert (status, "not overwritten" in err) == (2, True)
