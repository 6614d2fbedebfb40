"""Shells complete commands, options and their values; what they offer is what the command takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from services.cli.completion import VARIABLE, Shell
from services.cli.main import make_app, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Offered = Callable[..., str]

ASK_BASH = """
source <(appia completion bash)
COMP_WORDS=(%s)
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_appia_completion appia
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offered:
    """What a shell is told that stands behind a line typed so far."""

    def ask(line: str, shell: Shell) -> str:
        monkeypatch.setenv(VARIABLE, f"complete_{shell}")
        monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
        monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
        with pytest.raises(SystemExit) as ended:
            run([])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return ask


@pytest.mark.parametrize("shell", [Shell.ZSH, Shell.FISH])
def test_every_option_of_every_command_is_offered(offered: Offered, shell: Shell) -> None:
    """No help text breaks what a shell reads."""
    for path, options in _options(typer.main.get_command(make_app()), "appia"):
        told = offered(f"{path} --", shell)
        assert [name for name in options if name not in told] == [], path


def _options(command: Any, path: str) -> Iterator[tuple[str, list[str]]]:
    children = getattr(command, "commands", None) or {}
    for name, child in children.items():
        yield from _options(child, f"{path} {name}")
    if not children:
        names = [name for parameter in command.params for name in parameter.opts]
        yield path, [name for name in names if name.startswith("--")]


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("appia list --protocol s", ["sctp"]),
        ("appia list --source ML_", ["ML_ONLY", "ML_PRIORITY"]),
        ("appia list --feedback ", ["true_positive", "false_positive", "any", "none"]),
        ("appia feed --format zeek", ["zeek-conn"]),
        ("appia reindex --index ", ["attack", "semantic", "temporal", "entity"]),
        ("appia search scan --by ", ["fused", "meaning", "words"]),
        ("appia get ", []),
        ("appia seal ", []),
    ],
)
def test_values_are_offered(offered: Offered, line: str, values: list[str]) -> None:
    """Names that an option takes, and never an event's id."""
    assert [word for word in offered(line, Shell.FISH).split("\n") if word] == values


def test_days_of_the_state_directory_are_offered(offered: Offered, tmp_path: Path) -> None:
    """The newest first, wherever a day is taken; nothing has to run."""
    for day in ("2026-01-20", "2026-01-21", "2025-12-31"):
        (tmp_path / "days" / day).mkdir(parents=True)
    for command in ("seal", "verify", "reindex", "list --day"):
        line = f"appia {command} --state {tmp_path} 2026"
        if command == "list --day":
            line = f"appia list --state {tmp_path} --day 2026"
        assert offered(line, Shell.FISH).split() == ["2026-01-21", "2026-01-20"], command


def test_a_script_is_one_that_its_shell_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """Each shell that is there finds no fault in its script; programs get it as JSON."""
    for shell in Shell:
        assert run(["completion", shell]) == 0
        script = capsys.readouterr().out
        assert run(["completion", shell, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"shell": shell, "script": script.removesuffix("\n")}
        assert VARIABLE in script
        if shutil.which(shell):
            done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "found"),
    [("appia sim", ["similar"]), ("appia similar e-1 --index at", ["attack"]), ("appia get ''", [""])],
)
def test_bash_completes(words: str, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way through a real shell."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    done = subprocess.run(["/bin/bash", "-c", ASK_BASH % words], capture_output=True, text=True, check=True)
    assert (done.stdout.removesuffix("\n").split("\n"), done.stderr) == (found, "")
