"""`make/demo.py` ends with 0 only when every step did what it should, and leaves no process behind.

A shell script stands in for the `appia` command here: what is shown is how the driver judges answers that the
real command gives only when it is broken.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Drive = Callable[..., subprocess.CompletedProcess[str]]

APPIA = """#!/bin/sh
[ "$1" = "$BROKEN" ] && { echo "appia: $1 is broken" >&2; exit 3; }
json=; state=
for word; do
    [ "$word" = --json ] && json=yes
    [ "$previous" = --state ] && state=$word
    previous=$word
done
case $1 in
up)
    mkdir -p "$state"
    trap 'exit ${UP_STATUS:-0}' INT
    trap 'exit 0' TERM
    echo $$ >"$state/pid"
    echo '{}' >"$state/endpoints.json"
    while :; do sleep 0.05; done ;;
seal) touch "$state/sealed"; echo "sealed $2" ;;
days) [ -n "$json" ] && { [ -e "$state/sealed" ] && day=sealed || day=open; printf '{"days": [{"day": "2026-01-22", "state": "%s", "rows": 7, "indices": {"attack": {"rows": 7}}}]}' $day; } ;;
list) [ -n "$json" ] && echo '{"events": [{"event_id": "e-17", "src_ip": "10.0.0.5"}]}' ;;
similar | search) [ -n "$json" ] && echo "{\\"hits\\": ${HITS:-[1]}}" ;;
get) seq 1 100 ;;
*) echo "$1 done" ;;
esac
exit 0
"""  # noqa: E501 (a shell line)


@pytest.fixture
def drive(tmp_path: Path, scripts: Path) -> Drive:
    """Run the demo with the stand-in; keyword arguments go into its environment."""
    appia = tmp_path / "appia"
    appia.write_text(APPIA)
    appia.chmod(0o755)
    (tmp_path / "traffic.csv").write_text("a,b\n")

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        state = str(tmp_path / "state")
        command = [
            sys.executable,
            str(scripts / "demo.py"),
            "--appia",
            str(appia),
            "--state",
            state,
            *arguments,
        ]
        return subprocess.run(
            command, env=os.environ | environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    return tmp_path / "traffic.csv"


def assert_no_stack(tmp_path: Path) -> None:
    pid = int((tmp_path / "state" / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_whole_tour_ends_with_0(drive: Drive, traffic: Path, tmp_path: Path) -> None:
    """Every command is printed, the day is sealed, and the stack is stopped in good order."""
    done = drive("--input", str(traffic), "--format", "zeek")
    assert (done.returncode, done.stderr) == (0, "")
    state = tmp_path / "state"
    assert f"$ appia feed --state {state} --format zeek {traffic}" in done.stdout
    assert f"$ appia similar e-17 --state {state}" in done.stdout
    assert f"$ appia similar 10.0.0.5 --state {state} --index entity" in done.stdout
    assert f"$ appia seal 2026-01-22 --state {state}" in done.stdout
    assert "stopped with exit status 0" in done.stdout
    assert "\033" not in done.stdout
    assert_no_stack(tmp_path)


def test_the_sample_is_what_is_fed_by_default(drive: Drive, traffic: Path, tmp_path: Path) -> None:
    """Without --input the project's own sample is fed, and its absence is said."""
    done = drive()
    assert done.returncode == 1
    assert "there is no file samples/office-day.csv.gz" in done.stderr
    (tmp_path / "samples").mkdir()
    traffic.rename(tmp_path / "samples" / "office-day.csv.gz")
    assert drive().returncode == 0


def test_a_stack_that_dies_is_quoted(drive: Drive, traffic: Path) -> None:
    """The reader sees what the stack said, not only that it is gone."""
    done = drive("--input", str(traffic), BROKEN="up")
    assert done.returncode == 1
    assert "exit status 3 while starting" in done.stderr
    assert "appia: up is broken" in done.stderr


@pytest.mark.parametrize(
    "step", ["feed", "days", "stats", "search", "list", "similar", "get", "seal", "verify"]
)
def test_a_step_that_fails_ends_the_demo(drive: Drive, traffic: Path, tmp_path: Path, step: str) -> None:
    """Any command with another exit status than 0 is named, and the stack is stopped all the same."""
    done = drive("--input", str(traffic), BROKEN=step)
    assert done.returncode == 1
    assert f"`appia {step}` failed with exit status 3" in done.stderr
    assert_no_stack(tmp_path)


def test_an_empty_answer_fails_the_sample_only(drive: Drive, traffic: Path, tmp_path: Path) -> None:
    """The sample always has hits; a user's own traffic may have none."""
    own = drive("--input", str(traffic), HITS="[]")
    assert own.returncode == 0
    (tmp_path / "samples").mkdir()
    traffic.rename(tmp_path / "samples" / "office-day.csv.gz")
    (tmp_path / "state").rename(tmp_path / "old")
    done = drive(HITS="[]")
    assert done.returncode == 1
    assert "`appia search` found nothing" in done.stderr
    assert_no_stack(tmp_path)


def test_a_stack_that_stops_badly_fails_the_demo(drive: Drive, traffic: Path) -> None:
    """The exit status after SIGINT has to be 0."""
    done = drive("--input", str(traffic), UP_STATUS="4")
    assert done.returncode == 1
    assert "exit status 4 instead of 0" in done.stderr


def test_a_folder_that_exists_is_never_emptied(drive: Drive, traffic: Path, tmp_path: Path) -> None:
    """--state may name any folder by mistake; what is in it stays."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "thesis").write_text("years of work")
    done = drive("--input", str(traffic))
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert (tmp_path / "state" / "thesis").read_text() == "years of work"
