"""`appia verify` proves days against the signed chain, here and on a copy with the public key alone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def copy(sealed_sample: Path, tmp_path: Path) -> Path:
    """What is taken to another machine: days, chain and VERSION, and no secret."""
    to = tmp_path / "copy"
    to.mkdir()
    for name in ("days", "chain"):
        shutil.copytree(sealed_sample / name, to / name)
    shutil.copy(sealed_sample / "VERSION", to)
    return to


@pytest.fixture
def public_key(sealed_sample: Path) -> Path:
    """The public half of the key that signed."""
    return next((sealed_sample / "keys" / "signing").glob("*.public"))


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Run `appia verify` with `--json`, in this process."""

    def go(*words: object) -> tuple[int, dict[str, Any]]:
        status = run(["verify", *map(str, words), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return go


def test_a_copy_is_proved_with_the_public_key_alone(copy: Path, public_key: Path, verify: Verify) -> None:
    """Nothing of the keys is there; each day is signed by a link, and the head can be noted and compared."""
    status, report = verify("--state", copy, "--public-key", public_key)
    assert status == 0
    assert all(day["link"] and not day["faults"] for day in report["days"])
    assert report["chain"]["keys"] == [public_key.read_text().strip()]
    head = report["chain"]["head"]
    assert verify("--state", copy, "--public-key", public_key, "--head", head)[0] == 0
    lines = (copy / "chain" / "links.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "chain" / "links.jsonl").write_bytes(b"".join(lines[:-1]))
    status, report = verify("--state", copy, "--public-key", public_key, "--head", head)
    assert status == 1
    assert "the end of the chain was cut off" in report["chain"]["faults"][0]


def test_a_chain_whose_key_nobody_vouches_for_says_so(
    copy: Path, public_key: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a copy the chain names its key itself, so whoever wrote it can have made all of it anew."""
    assert verify("--state", copy)[1]["chain"]["trusted"] is False
    assert verify("--state", copy, "--public-key", public_key)[1]["chain"]["trusted"] is True
    assert run(["verify", "--state", str(copy)]) == 0
    assert "not shown: whose key that is; give --public-key" in capsys.readouterr().out
    assert run(["verify", "--state", str(copy), "--public-key", str(public_key)]) == 0
    assert "not shown" not in capsys.readouterr().out


def test_days_that_lie_apart_are_proved_together(
    copy: Path, public_key: Path, verify: Verify, tmp_path: Path
) -> None:
    """One folder has the chain, the other a day: alone the day is missing, together all is there; twice is well too."""
    other = tmp_path / "other"
    (other / "days").mkdir(parents=True)
    shutil.copy(copy / "VERSION", other)
    day = next((copy / "days").iterdir())
    shutil.copytree(day, other / "days" / day.name)
    both = "--state", copy, "--state", other, "--public-key", public_key
    assert verify(*both)[0] == 0
    shutil.rmtree(day)
    status, report = verify("--state", copy, "--public-key", public_key)
    assert status == 1
    assert f"day {day.name} was removed" in report["days"][0]["faults"][0]
    assert verify(*both)[0] == 0
    path = other / "days" / day.name / "sealed" / "000001" / "chunk" / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b" ")
    status, report = verify(*both)
    assert status == 1
    assert f"{path} was altered: link " in report["days"][0]["faults"][0]


def test_chains_that_part_are_not_mixed(
    copy: Path, verify: Verify, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two folders of two chains are two proofs."""
    other = tmp_path / "other"
    shutil.copytree(copy / "chain", other / "chain")
    shutil.copy(copy / "VERSION", other)
    assert verify("--state", copy, "--state", other)[0] == 0
    links = other / "chain" / "links.jsonl"
    links.write_bytes(links.read_bytes().replace(b"begin", b"Begin"))
    assert run(["verify", "--state", str(copy), "--state", str(other)]) == 1
    assert "are not of one chain" in capsys.readouterr().err


def test_a_terminal_is_shown_how_far_it_is(
    copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Terabytes take hours: the days are counted on standard error, and nothing of it is left there."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(["verify", "--state", str(copy)]) == 0
    assert "checking days" in capsys.readouterr().err


def test_a_range_of_days_is_what_is_proved(copy: Path, public_key: Path, verify: Verify) -> None:
    """A day that was put in counts when it is asked about; the chain is always checked whole."""
    day = next((copy / "days").iterdir())
    shutil.copytree(day, copy / "days" / "2001-01-01")
    key = "--state", copy, "--public-key", public_key
    status, report = verify("--from", "2001-01-01", "--to", "2001-12-31", *key)
    assert status == 1
    assert any("is sealed and not signed" in fault for fault in report["days"][0]["faults"])
    assert [found["day"] for found in report["days"]] == ["2001-01-01"]
    assert verify("--from", "2002-01-01", *key)[0] == 0
    assert verify(day.name, *key)[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("2001-01-01", "--from", "2001-01-01"), 2, "give one DAY, or --from and --to"),
        (("--from", "2002-01-01", "--to", "2001-01-01"), 2, "is after --to"),
        (("--from", "x"), 2, "is not a day"),
        (("--head", "abc"), 2, "64 hex digits"),
        (("--public-key", "/nowhere"), 2, "cannot be read"),
        (("--public-key", "{copy}/VERSION"), 2, "no public key"),
        (("2001-01-01",), 1, "has no day 2001-01-01"),
    ],
)
def test_wrong_words_are_told(
    words: tuple[str, ...], status: int, says: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence each, and the status of a wrong command where it is one."""
    given = [word.format(copy=copy) for word in words]
    assert run(["verify", *given, "--state", str(copy)]) == status
    assert says in capsys.readouterr().err


def test_without_a_chain_that_is_said(
    copy: Path, public_key: Path, verify: Verify, capsys: pytest.CaptureFixture[str]
) -> None:
    """Days of an older release are checked by their manifests; who gives a key is told that nothing was signed."""
    shutil.rmtree(copy / "chain")
    assert run(["verify", "--state", str(copy)]) == 0
    assert capsys.readouterr().out.startswith("chain: none; nothing is signed\n")
    status, report = verify("--state", copy, "--public-key", public_key)
    assert status == 1
    assert "there is no chain" in report["chain"]["faults"][0]


def test_the_links_are_listed(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Number, time, what and which day, and the head; of an altered chain what can be relied on."""
    assert run(["chain", "list", "--state", str(copy)]) == 0
    shown = capsys.readouterr().out
    assert "sealed" in shown
    assert "\nhead: " in shown
    links = copy / "chain" / "links.jsonl"
    links.write_bytes(links.read_bytes().replace(b'"sealed"', b'"served"', 1))
    assert run(["chain", "list", "--state", str(copy), "--json"]) == 1
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["faults"]) == 1
    assert "link 2 was altered" in captured.err
