"""`appia hold` and `appia retention` where nothing runs: what lies on disk is shown, and what needs more says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from services.cli.main import run
from services.common.days.holds import Book, Dropped, Going, make_hold, to_bytes
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Say = Callable[..., tuple[int, str, str]]

DAY = "2026-01-22"


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateNames:
    """A state directory without days."""
    found, disk = StateNames(tmp_path / "state"), Disk()
    claim_layout(found, disk)
    monkeypatch.setenv("APPIA_STATE", str(found.root))
    return found


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Run a command in this process: status, output and errors."""

    def go(*words: str) -> tuple[int, str, str]:
        status = run(list(words))
        return status, *capsys.readouterr()

    return go


def write(names: StateNames, book: Book) -> None:
    Disk().write_file(names.retention, to_bytes(book))


def test_what_is_held_is_listed(names: StateNames, say: Say) -> None:
    """As text and as JSON; who reads a terminal is not steered by a note."""
    assert say("hold") == (0, "No day is held.\n", "")
    holds = tuple(make_hold(DAY, case, "ana", "ordered", "2026-11-20T10:00:00Z") for case in ("a", "b"))
    write(names, Book(holds=holds))
    status, out, _ = say("hold")
    assert status == 0
    assert [line.split()[:3] for line in out.splitlines()[1:]] == [[DAY, "a", "ana"], [DAY, "b", "ana"]]
    assert [one["case"] for one in json.loads(say("hold", "--json")[1])["holds"]] == ["a", "b"]


def test_what_went_and_what_waits_is_listed(names: StateNames, say: Say) -> None:
    """A day whose files a replica still reads is told apart from one that is gone."""
    assert say("retention", "list") == (0, "No day was dropped.\n", "")
    dropped = tuple(Dropped(f"2026-01-0{n}", "2026-11-20T10:00:00Z", 1000 * n, 2_000_000) for n in (1, 2))
    going = (Going("2026-01-02"), Going(DAY, "000001/attack/000001"))
    write(names, Book(going=going, dropped=dropped))
    _, out, _ = say("retention", "list")
    assert [line.split()[-1] for line in out.splitlines()[1:3]] == ["gone", "read"]
    assert f"{DAY}: 000001/attack/000001 goes when no replica reads it any more" in out
    assert json.loads(say("retention", "list", "--json")[1])["going"][1]["part"] == "000001/attack/000001"


@pytest.mark.usefixtures("names")
def test_a_plan_needs_nothing_that_runs(say: Say) -> None:
    """It says which limits it is by, those of the command line among them."""
    status, out, _ = say("retention", "plan", "--keep-days", "90", "--keep-bytes", "5000000")
    assert status == 0
    assert "90 days, 80 % of the disk, 5.0 MB; at least 7 days; retention is off" in out
    assert "forecast: none" in out
    found = json.loads(say("retention", "plan", "--keep-percent", "0", "--json")[1])
    assert (found["limits"]["keep_percent"], found["drops"], found["budget_bytes"]) == (0, [], None)


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["hold", DAY], 1, "appia up"),
        (["hold", DAY, "--release"], 1, "appia up"),
        (["hold", "yesterday"], 2, "not a day"),
        (["hold", "--release"], 2, "which day"),
        (["hold", "--note", "x"], 2, "which day"),
        (["retention", "drop", DAY], 2, "give --yes"),
        (["retention", "drop", DAY, "--yes"], 1, "appia up"),
        (["retention", "drop", "2026-02-30", "--yes"], 2, "not a day"),
        (["retention", "plan", "--keep-days", "-1"], 2, "keep-days"),
        (["retention", "plan", "--keep-percent", "101"], 2, "keep-percent"),
    ],
)
@pytest.mark.usefixtures("names")
def test_what_cannot_be_done_is_said_in_a_sentence(
    say: Say, words: list[str], status: int, sentence: str
) -> None:
    """One line on standard error, and the status tells a wrong command from one that failed."""
    found, out, err = say(*words)
    assert (found, out, err.count("\n")) == (status, "", 1)
    assert sentence in err


def test_a_damaged_book_is_no_empty_one(names: StateNames, say: Say) -> None:
    """Neither list says that nothing is held or gone, and no plan is made."""
    names.retention.write_bytes(b"{}")
    for words in (["hold"], ["retention", "list"], ["retention", "plan"]):
        status, out, err = say(*words)
        assert (status, out) == (1, "")
        assert "cannot be used" in err
