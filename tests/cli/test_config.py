"""`appia config`: what it shows, what it refuses, and what it says about services that take a change or do not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.config_place import below, open_config, place_of
from services.cli.config_taken import Answer, Said, said_by, wait_for_all
from services.cli.config_watch import lines
from services.cli.main import run
from services.common.config.document import Author
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.registry.files import FileRegistry
from services.common.registry.new_keys import Given, make_registry_keys
from services.common.registry.port import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ANA = Author("ana", "", "now")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a sealing key and settings files, on which nothing runs."""
    names = StateNames(tmp_path / "state")
    claim_layout(names, Disk())
    make_registry_keys(Disk(), names.keys / "registry", Given())
    names.run.mkdir()
    (names.run / "rag-1.toml").write_text("waiting = 64\nname = 'rag-1'\n")
    return names.root


@pytest.fixture
def config(state: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run `appia config`: exit status, standard output and standard error."""

    def call(*words: str) -> tuple[int, str, str]:
        status = run(["config", *words, "--state", str(state)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def entry(kind: str = "rag", name: str = "rag-1", **info: Any) -> Entry:
    facts = {
        "config_revision": 0,
        "config_read": 0,
        "config_trying": 0,
        "config_fault": "",
        "config_pinned": "",
    }
    return Entry(kind, name, "tcp://127.0.0.1:1", {**facts, **info})


def test_keys_say_where_their_value_is_from(config: Callable[..., tuple[int, str, str]]) -> None:
    """Live before a settings file before the default; one key alone is told with its description."""
    config("set", "rag.weight_attack=2", "rag.workers=3")
    rows = {row["key"]: row for row in json.loads(config("get", "rag", "--json")[1])["keys"]}
    assert all(key.startswith("rag.") for key in rows)
    found = {key: (rows[f"rag.{key}"]["value"], rows[f"rag.{key}"]["from"]) for key in ("workers", "waiting")}
    assert found == {"workers": (3, "live"), "waiting": (64, "file")}
    assert rows["rag.weight_words"]["from"] == "default"
    status, out, _ = config("get", "rag.workers")
    assert (status, out.splitlines()[0]) == (0, "rag.workers = 3 (live)")
    assert out.splitlines()[-1] == "Without the live value: 2."


def test_a_change_is_shown_with_what_was_in_force(config: Callable[..., tuple[int, str, str]]) -> None:
    """Before is what a file or the default said; several keys are one revision; nobody runs who could take it."""
    status, out, _ = config("set", "rag.waiting=128", "rag.workers=4", "--note", "night", "--who", "ana")
    table = [line.split() for line in out.splitlines()[:3]]
    assert table[1:] == [
        ["rag.waiting", "64", "128", "at", "once"],
        ["rag.workers", "2", "4", "at", "the", "next", "start"],
    ]
    assert (status, out.splitlines()[3:]) == (
        0,
        ["This is revision 1.", "No service runs that this is for: it is read at the next start."],
    )
    status, out, _ = config("set", "rag.waiting=128")
    assert (status, out) == (0, "Nothing to change: these are the values already.\n")


def test_history_and_rollback(config: Callable[..., tuple[int, str, str]]) -> None:
    """Going back is a change of its own; without a revision it undoes the last one; 0 undoes all."""
    assert config("rollback")[0] == 2
    config("set", "rag.waiting=128", "--who", "ana", "--note", "night")
    config("set", "rag.workers=4", "rag.waiting=200", "--who", "bo")
    config("rollback", "--who", "ana")
    changes = json.loads(config("history", "--json")[1])["changes"]
    assert changes[0]["after"] == {"rag.waiting": 128, "rag.workers": None}
    assert [(change["who"], change["why"]) for change in changes] == [
        ("ana", "back to the revision before"),
        ("bo", ""),
        ("ana", "night"),
    ]
    out = config("history", "--limit", "1")[1]
    assert "rag.waiting 200 -> 128" in out
    assert config("set", "rag.waiting=129", "--note", "night\x1b[2J")[0] == 2, "a note can be printed"
    assert config("rollback", "0")[0] == 0
    assert config("diff")[1] == "Nothing differs from files and defaults.\n"


def test_unset_gives_the_file_its_say_again(config: Callable[..., tuple[int, str, str]]) -> None:
    config("set", "rag.waiting=128")
    assert "rag.waiting     128     64" in config("unset", "rag.waiting")[1]
    assert json.loads(config("diff", "--json")[1])["keys"] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("set", "rag.wating=1"), "did you mean rag.waiting"),
        (("set", "rag.waiting"), "is not KEY=VALUE"),
        (("set", "rag.waiting=0", "rag.workers=3"), "rag.waiting cannot be '0'"),
        (("unset", "nope"), "There is no key 'nope'"),
        (("get", "nope"), "There is no key 'nope'"),
        (("rollback", "9"), "There is no revision 9; the newest is 0"),
        (("watch", "nope"), "there is no section 'nope'"),
        (("set", "rag.waiting=1", "--who", ""), "named by 1 to 64 characters"),
    ],
)
def test_wrong_words_change_nothing(
    words: tuple[str, ...], sentence: str, config: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = config(*words)
    assert (status, out) == (2, "")
    assert sentence in err
    assert json.loads(config("history", "--json")[1])["changes"] == []


def test_without_a_sealing_key_it_says_how_to_make_one(
    config: Callable[..., tuple[int, str, str]], state: Path
) -> None:
    (state / "keys" / "registry" / "seal").unlink()
    status, _, err = config("get")
    assert (status, "make it with `appia keys registry`" in err) == (2, True)


@pytest.mark.parametrize(
    ("info", "answer"),
    [
        ({"config_revision": 4, "config_read": 5}, Answer.SILENT),
        ({"config_revision": 5, "config_read": 5}, Answer.TAKEN),
        ({"config_revision": 6, "config_read": 6}, Answer.TAKEN),
        ({"config_revision": 5, "config_read": 5, "config_trying": 1}, Answer.TRYING),
        ({"config_revision": 4, "config_read": 5, "config_fault": "Revision 5 is refused"}, Answer.REFUSED),
        ({"config_revision": 4, "config_read": 4, "config_fault": "Revision 4 is refused"}, Answer.SILENT),
    ],
)
def test_what_an_entry_says_about_revision_5(info: dict[str, Any], answer: Answer) -> None:
    assert said_by(entry(**info), 5).answer is answer


def test_a_service_of_before_says_nothing() -> None:
    said = said_by(Entry("rag", "rag-1", "tcp://127.0.0.1:1", {"pid": 1}), 5)
    assert (said.answer, said.why) == (Answer.SILENT, "it follows no configuration")


def test_it_waits_for_the_last_one_and_no_longer_than_told() -> None:
    """A registry that is away for a moment is asked again; whoever is silent in the end is told."""
    looks = iter([AppiaError("away"), [Said("a", Answer.TRYING)], [Said("a", Answer.TAKEN)]])

    def look() -> list[Said]:
        found = next(looks)
        if isinstance(found, AppiaError):
            raise found
        return found

    assert wait_for_all(look, 60) == [Said("a", Answer.TAKEN)]
    silent = [Said("a", Answer.SILENT)]
    assert wait_for_all(lambda: silent, 0.1) == silent


def test_who_refuses_or_is_silent_decides_the_exit_status(
    config: Callable[..., tuple[int, str, str]], state: Path
) -> None:
    """One takes it, one refuses, one says nothing: each is told, with the sentence of the one that refuses."""
    registry = FileRegistry(state / "registry")
    refused = {"config_read": 9, "config_fault": "Revision 1 is refused: it is too heavy"}
    for who in (
        entry(name="rag-1", config_revision=9, config_read=9, config_pinned="waiting"),
        entry(name="rag-2", **refused),
        entry(name="rag-3"),
    ):
        registry.register(who, 30)
    status, out, err = config("set", "rag.waiting=128", "--wait", "0.3")
    assert status == 1
    assert out.splitlines()[3:] == [
        "rag/rag-1 takes it",
        "  but its environment says rag.waiting, and wins",
        "rag/rag-2 refuses it: Revision 1 is refused: it is too heavy",
        "rag/rag-3 has not said anything yet",
    ]
    assert "rag/rag-2 refused revision 1 and goes on with the last good one" in err
    registry.close()
    row = json.loads(config("get", "rag.waiting", "--json")[1])["keys"][0]
    assert row["pinned"] == ["rag/rag-1"]


def test_watch_prints_each_change_of_its_section_once(state: Path) -> None:
    """Other sections and what cannot be read are no new lines; the latter is said once."""
    place = place_of(state, None, None)
    store, told = open_config(place), list[str]()
    file = state / "values" / "config.value"
    steps = iter(
        [
            lambda: store.change(lambda _: {"rag.waiting": 5}, ANA),
            lambda: file.rename(file.with_suffix(".away")),
            lambda: None,
            lambda: file.with_suffix(".away").rename(file),
            lambda: store.change(lambda _: {"sensors.threshold_level1_attack": 0.7}, ANA),
        ]
    )
    found = lines(open_config(place), below(place)["sensors"].base, told.append, lambda _: next(steps)())
    first, second = next(found), next(found)
    assert (first["revision"], first["values"]["threshold_level1_attack"]) == (0, 0.65)
    assert (second["revision"], second["values"]["threshold_level1_attack"]) == (2, 0.7)
    assert len(told) == 1
    assert "was removed" in told[0]


def test_watch_once_prints_one_line(config: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = config("watch", "sensors", "--once")
    assert (status, json.loads(out)["section"]) == (0, "sensors")
