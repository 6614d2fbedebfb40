"""Errors become one line and an exit status, the start is light, and the documentation follows the help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from services.cli.filters import PANEL
from services.cli.main import make_app, run
from services.cli.reference import reference
from services.feed.readers import READERS

if TYPE_CHECKING:
    from collections.abc import Callable

    Appia = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = (
    "faiss",
    "numpy",
    "onnxruntime",
    "zmq",
    "google.protobuf",
    "pydantic",
    "cryptography",
    "rich",
    "requests",
)

WRONG_USE = [
    ("nonsense", "No such command 'nonsense'"),
    ("--nonsense", "No such option: --nonsense"),
    ("up", "which state directory? Give --state DIR, or set APPIA_STATE"),
    ("up --state x --replicas many", "Invalid value for '--replicas'"),
    ("up --state x --replicas 0", "Invalid value for '--replicas'"),
    ("up --state x --intake-port 65536", "Invalid value for '--intake-port'"),
    ("up --state x --registry redis://here", "The registry 'redis://here' is not known"),
    ("up --state x --registry etcd://here", "HOST:PORT is needed"),
    ("up --state x --listen here", "'here' is not an address"),
    ("up --state x --settings missing.toml", "missing.toml cannot be read"),
    ("feed", "Missing argument 'PATH...'"),
    ("feed .", "Missing option '--format'"),
    ("feed --format pcap .", "There is no format 'pcap'"),
    ("feed --format zeek-conn missing.log", "there is no file or folder missing.log"),
    ("feed --format zeek-conn .", "which state directory?"),
    ("feed --format zeek-conn --to tcp://127.0.0.1:1 .", "--to needs the keys"),
    ("feed --format zeek-conn --transport v1-pub .", "give it with --to"),
    ("feed --format zeek-conn --transport v3 .", "Invalid value for '--transport'"),
    ("feed --format zeek-conn --labels all .", "Invalid value for '--labels'"),
    ("search", "Missing argument 'TEXT'"),
    ("search scan", "which state directory?"),
    ("search scan -k 0", "Invalid value for '-k'"),
    ("search scan --min-score high", "Invalid value for '--min-score'"),
    ("search scan --to 2026-13-01 --endpoint tcp://127.0.0.1:1", "'2026-13-01' is not a day"),
    ("search scan --registry redis://here --state x", "The registry 'redis://here' is not known"),
    (
        "search port scan from outside",
        "Put the text in quotes: 'scan from outside' came as words of their own",
    ),
    ("ask who scanned us?", "Put the text in quotes: 'scanned us?' came as words of their own"),
    ("ask", "Missing argument 'TEXT'"),
    ("ask scan", "which state directory?"),
    ("similar", "Missing argument 'EVENT_ID|IP[@DAY]'"),
    ("similar e-1 --index hosts", "Invalid value for '--index'"),
    ("get", "Missing argument 'EVENT_ID'"),
    ("get e-1 --timeout 0", "Invalid value for '--timeout'"),
    ("list --limit 1001", "Invalid value for '--limit'"),
    ("list extra", "Got unexpected extra argument"),
    ("days extra", "Got unexpected extra argument"),
    ("stats --state", "requires an argument"),
    ("seal", "Missing argument 'DAY'"),
    ("seal yesterday --state x", "'yesterday' is not a day"),
    ("verify 2026-02-30 --state x", "is not a day"),
    ("verify", "which state directory?"),
    ("keys", ""),
    ("keys new", "Missing argument 'DIR'"),
    ("models build physics --models x", "There is no model named 'physics'"),
    ("models verify extra", "Got unexpected extra argument"),
    ("version extra", "Got unexpected extra argument"),
]

FAILED = [
    ("up --state {file}", "is not a directory"),
    ("up --state {file}/state", "/file is not a directory: name another with --state"),
    ("keys new {file}", "could not be written"),
    ("days --state {empty}", "is not a state directory: start one with `appia up --state"),
    ("days --state {idle}", "nothing runs on"),
    ("search scan --state {idle}", "nothing runs on"),
    ("ask scan --state {idle}", "nothing runs on"),
    ("similar e-1 --state {idle}", "nothing runs on"),
    ("get e-1 --state {idle}", "nothing runs on"),
    ("list --state {idle}", "nothing runs on"),
    ("stats --state {idle}", "nothing runs on"),
    ("stats --endpoint tcp://127.0.0.1:1 --timeout 0.5", "No replica answered"),
    ("seal 2026-01-22 --state {idle}", "nothing runs on"),
    ("feed --format zeek-conn --state {idle} {file}", "nothing runs on"),
    ("feed --format zeek-conn --to tcp://127.0.0.1:1 --keys {empty} {file}", "There is no key ring"),
    ("verify 2026-01-22 --state {empty}", "is not a state directory"),
    ("verify 2026-01-22 --state {idle}", "has no day 2026-01-22"),
    ("models verify --models {empty}", "no model is in"),
    ("up --state {empty}/new --models {empty}", "run `appia models build`"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG_USE, ids=[words for words, _ in WRONG_USE])
def test_wrong_use_is_said_in_one_line(
    words: str,
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The exit status is 2, the reason is one line, nothing is on standard output and nothing was made."""
    monkeypatch.chdir(tmp_path)
    assert run(words.split()) == 2
    out, err = capfd.readouterr()
    assert sentence in err
    if sentence:
        assert (out, len(err.splitlines())) == ("", 1)
        assert err.startswith("appia: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "sentence"), FAILED, ids=[words for words, _ in FAILED])
def test_a_failure_is_said_in_one_line(
    words: str, sentence: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1 and the reason one line that names what to do."""
    for folder in ("empty", "idle"):
        (tmp_path / folder).mkdir()
    (tmp_path / "idle" / "VERSION").write_text("1\n")
    (tmp_path / "file").write_text("")
    places = {name: str(tmp_path / name) for name in ("empty", "idle", "file")}
    assert run([word.format(**places) for word in words.split()]) == 1
    out, err = capfd.readouterr()
    assert sentence in err
    assert (out, len(err.splitlines())) == ("", 1)


def test_no_command_shows_the_help(appia: Appia) -> None:
    """Who types only `appia` sees what there is; the status says that nothing was done."""
    done = appia()
    assert (done.returncode, done.stderr) == (2, "")
    assert "Commands:" in done.stdout


def test_what_a_command_does_is_told_whole(appia: Appia) -> None:
    """No list of commands, of appia or of a group, cuts a sentence off on a terminal of 80 columns."""
    commands: dict[str, Any] = vars(typer.main.get_command(make_app()))["commands"]
    groups = [[name] for name, command in commands.items() if "commands" in vars(command)]
    assert ["alerts"] in groups
    for words in ([], *groups):
        lines = appia(*words, "--help", env={"COLUMNS": "80"}).stdout.split("Commands:")[1].splitlines()
        assert [line for line in lines if line.endswith("...")] == [], words


def test_filters_have_a_section_of_their_own(appia: Appia) -> None:
    """Who looks for `--limit` need not read thirty filters first."""
    own, filters = appia("list", "--help").stdout.split(f"\n{PANEL}:\n")
    assert "--limit N" in own
    assert "--help" in own
    assert "--min-divergence X" in filters
    assert [name for name in ("--src ", "--class ") if name in own] == []


def test_help_is_light() -> None:
    """`appia --help` loads nothing that makes the start slow; timing it is for benchmarks."""
    code = "import sys, services.cli.main as m; m.run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "services.cli.main" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_questions_are_light() -> None:
    """A question loads none of the engines that answer it."""
    code = "import sys, services.cli.asking, services.cli.answers; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    engines = ("faiss", "numpy", "onnxruntime", "google.protobuf", "pydantic", "cryptography")
    assert [name for name in engines if name in done.stdout.split()] == []


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`appia --help | head` says nothing about pipes."""
    for words in (["--help"], ["models", "list", "--models", str(tmp_path)]):
        read, write = os.pipe()
        os.close(read)
        command = [sys.executable, "-m", "services.cli.main", *words]
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        assert (done.returncode, done.stderr) == (1, "")


def test_any_terminal_will_do(appia: Appia, tmp_path: Path) -> None:
    """What a terminal's character set lacks is escaped, and a name that is no text is refused."""
    done = appia("models", "list", "--models", str(tmp_path / "años"), env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert r"a\xf1os" in done.stdout
    done = appia("up", "--state", os.fsdecode(b"/tmp/\xff"))
    assert done.returncode == 2
    assert "is not UTF-8" in done.stderr


def test_version(appia: Appia) -> None:
    """Both forms name the same version."""
    version = json.loads(appia("version", "--json").stdout)["appia"]
    assert appia("version").stdout.startswith(f"appia {version} (Python 3.")


def test_every_command_has_an_example_and_json() -> None:
    """The help of every command shows how it is used, every option its default, and all print JSON."""
    for path, command in _commands(typer.main.get_command(make_app()), "appia"):
        assert f"Example: {path} " in (command.epilog or "") + " ", path
        assert "--json" in [name for parameter in command.params for name in parameter.opts], path
        for parameter in command.params:
            told = f"{parameter.help} {getattr(parameter, 'rich_help_panel', None)}"
            documented = parameter.required or parameter.show_default or "default:" in told.casefold()
            assert parameter.help, (path, parameter.name)
            assert documented, (path, parameter.name)


def _commands(command: Any, path: str) -> list[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        return [(path, command)]
    return [found for name, child in children.items() for found in _commands(child, f"{path} {name}")]


def test_the_formats_in_the_help_are_those_there_are() -> None:
    """`appia feed --help` names every reader."""
    feed = dict(_commands(typer.main.get_command(make_app()), "appia"))["appia feed"]
    text = next(parameter.help for parameter in feed.params if "--format" in parameter.opts)
    assert [name for name in READERS if name not in text] == []


def test_the_documentation_is_what_the_help_says() -> None:
    """docs/commands.md never lags; `python -m services.cli.reference > docs/commands.md` writes it anew."""
    document = Path(__file__).parents[2] / "docs" / "commands.md"
    assert document.read_text("utf-8") == reference()
