"""Drives appia as a user would: `make demo`, or `python make/demo.py --input FILE --format NAME`.

Starts a stack in a fresh state directory, feeds it a file of traffic, asks questions, seals a day, asks again
and stops the stack. Every command is printed before its output, so that it can be typed again by hand. The
exit status is 0 when every step did what it should, and 1 with one sentence when one did not.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLE = Path("samples/office-day.csv.gz")
STATE = Path(".appia/demo")
QUESTION = "port scan from outside against many ports"
SHOWN_LINES = 25
START_SECONDS = 120
STOP_SECONDS = 60
SEAL_SECONDS = 60


class DemoError(Exception):
    """A step did not do what it should; the message says which and what to do."""


@dataclass(frozen=True)
class Demo:
    """What to drive (`appia`, a command), with which traffic, and where the state goes."""

    appia: str
    traffic: Path
    form: str
    state: Path
    own_traffic: bool

    @property
    def log(self) -> Path:
        """What the stack printed, beside its state directory."""
        return self.state.with_suffix(".log")

    def command(self, *words: str) -> list[str]:
        """The command line that asks this demo's stack."""
        return [self.appia, *words, "--state", str(self.state)]


def say(text: str) -> None:
    """One line of the demo's own, set apart from what the commands print."""
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"{bold}{text}{plain}", flush=True)


def show_command(words: list[str]) -> None:
    """Print a command as it would be typed."""
    typed = [Path(words[0]).name, *(f'"{word}"' if " " in word else word for word in words[1:])]
    say(f"\n$ {' '.join(typed)}")


def run(words: list[str]) -> None:
    """Print and run a command, its output going straight to the terminal; raises DemoError when it fails."""
    show_command(words)
    status = subprocess.run(words, check=False).returncode
    if status != 0:
        raise DemoError(
            f"`{Path(words[0]).name} {words[1]}` failed with exit status {status}: see its message above"
        )


def run_shortened(words: list[str]) -> None:
    """Print and run a command with a long output, of which the first lines are shown."""
    show_command(words)
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise DemoError(f"`{Path(words[0]).name} {words[1]}` failed with exit status {done.returncode}")
    lines = done.stdout.splitlines()
    print("\n".join(lines[:SHOWN_LINES]))
    if len(lines) > SHOWN_LINES:
        print(f"... ({len(lines) - SHOWN_LINES} more lines)")


def ask(words: list[str]) -> dict[str, Any]:
    """Run a command with --json, unprinted, and return its answer."""
    done = subprocess.run([*words, "--json"], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise DemoError(f"`{Path(words[0]).name} {words[1]}` failed with exit status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def run_question(words: list[str], *, may_be_empty: bool) -> None:
    """Print and run a question, then ask it again as JSON to see that something was found."""
    run(words)
    found = ask(words)
    if not (found.get("groups") or found.get("hits")) and not may_be_empty:
        raise DemoError(f"`{Path(words[0]).name} {words[1]}` found nothing")


def last_lines(path: Path, count: int = 20) -> str:
    """The end of a log, for an error message."""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


def wait_until_up(demo: Demo, stack: subprocess.Popen[bytes]) -> None:
    """Wait for the file that says where the stack listens; DemoError when it dies or takes too long."""
    started = time.monotonic()
    endpoints = demo.state / "endpoints.json"
    shown = 0
    while not endpoints.exists():
        waited = int(time.monotonic() - started)
        if stack.poll() is not None:
            message = f"the stack ended with exit status {stack.returncode} while starting; it said:"
            raise DemoError(f"{message}\n{last_lines(demo.log)}")
        if waited > START_SECONDS:
            message = f"the stack did not start within {START_SECONDS} s; it said:"
            raise DemoError(f"{message}\n{last_lines(demo.log)}")
        if waited >= shown + 5:
            shown = waited
            print(f"  waiting for the stack ... {waited} s", flush=True)
        time.sleep(0.1)
    print(f"up after {time.monotonic() - started:.1f} s (its log: {demo.log})")


def stop(demo: Demo, stack: subprocess.Popen[bytes]) -> None:
    """Stop the stack as Ctrl-C would; raises DemoError when it does not end by itself with exit status 0."""
    say(f"\nStopping the stack (SIGINT to process {stack.pid})")
    stack.send_signal(signal.SIGINT)
    try:
        status = stack.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DemoError(f"the stack did not stop within {STOP_SECONDS} s; see {demo.log}") from None
    if status != 0:
        raise DemoError(
            f"the stack stopped with exit status {status} instead of 0; it said:\n{last_lines(demo.log)}"
        )
    print("stopped with exit status 0")


@contextmanager
def stack_running(demo: Demo) -> Iterator[None]:
    """Two replicas and an ingester on a fresh state directory, for as long as the block runs."""
    demo.state.parent.mkdir(parents=True, exist_ok=True)
    words = [*demo.command("up"), "--replicas", "2"]
    show_command(words)
    with demo.log.open("wb") as log:
        # A session of its own: Ctrl-C then reaches only the demo, which stops the stack in good order.
        stack = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait_until_up(demo, stack)
        yield
        stop(demo, stack)
    finally:
        if stack.poll() is None:
            stack.send_signal(signal.SIGTERM)
            try:
                stack.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(stack.pid, signal.SIGKILL)


def pick_event(demo: Demo) -> tuple[str, str]:
    """The id and the source of an event judged malicious; of any event where there is none."""
    words = [*demo.command("list", "--class", "MALICIOUS"), "--limit", "1"]
    events = ask(words)["events"]
    if not events and demo.own_traffic:
        events = ask([*demo.command("list"), "--limit", "1"])["events"]
    if not events:
        raise DemoError("`appia list` found no event to ask about")
    return str(events[0]["event_id"]), str(events[0]["src_ip"])


def seal_first_day(demo: Demo) -> str:
    """Seal the first day that has events, wait until it is served as sealed, and return it."""
    served = ask(demo.command("days"))["days"]
    if not served:
        raise DemoError("`appia days` names no day after the feed")
    day = str(served[0]["day"])
    run(demo.command("seal", day))
    deadline = time.monotonic() + SEAL_SECONDS
    while True:
        days = {row["day"]: row["state"] for row in ask(demo.command("days"))["days"]}
        if days.get(day) == "sealed":
            return day
        if time.monotonic() > deadline:
            raise DemoError(
                f"day {day} is {days.get(day)} and not sealed after {SEAL_SECONDS} s; see {demo.log}"
            )
        time.sleep(0.2)


def wait_until_visible(demo: Demo) -> None:
    """Wait until every index has every event; the feed ends before, when all are on disk."""
    started = time.monotonic()
    before: list[dict[str, Any]] = []
    while True:
        served = ask(demo.command("days"))["days"]
        indices = [index["rows"] == row["rows"] for row in served for index in row["indices"].values()]
        if served and served == before and all(indices):
            break
        if time.monotonic() - started > SEAL_SECONDS:
            raise DemoError(f"not every index has every event after {SEAL_SECONDS} s; see {demo.log}")
        before = served
        time.sleep(0.3)
    say(f"every index had every event {time.monotonic() - started:.1f} s after the last was acknowledged")


def prepare(demo: Demo) -> None:
    """See that everything needed is there, and empty the demo's own state directory, never another one."""
    if not demo.traffic.is_file():
        raise DemoError(f"there is no file {demo.traffic}")
    if shutil.which(demo.appia) is None:
        raise DemoError(f"there is no command {demo.appia}: run `make demo`, which installs it")
    if demo.state == STATE:
        shutil.rmtree(demo.state, ignore_errors=True)
    elif demo.state.exists():
        raise DemoError(
            f"{demo.state} exists already: name a folder that does not, the demo starts from nothing"
        )
    run([demo.appia, "models", "build"])


def tour(demo: Demo) -> None:
    """Feed, look, ask, seal, ask again."""
    run([*demo.command("feed"), "--format", demo.form, str(demo.traffic)])
    wait_until_visible(demo)
    run(demo.command("days"))
    run(demo.command("stats"))
    run_question(demo.command("search", QUESTION), may_be_empty=demo.own_traffic)
    run([*demo.command("list", "--class", "MALICIOUS"), "--limit", "5"])
    event, host = pick_event(demo)
    run_question(demo.command("similar", event), may_be_empty=demo.own_traffic)
    run_shortened(demo.command("get", event))
    run_shortened(demo.command("explain", event))
    run_shortened(demo.command("timeline", host))
    run([*demo.command("novel"), "-k", "3"])
    run([*demo.command("campaigns"), "-k", "2"])
    run_shortened(demo.command("ask", f"what did {host} do?"))
    run_question([*demo.command("similar", host), "--index", "entity"], may_be_empty=demo.own_traffic)
    day = seal_first_day(demo)
    run(demo.command("verify", day))
    run(demo.command("days"))
    run_question(demo.command("similar", event), may_be_empty=demo.own_traffic)
    run_question(demo.command("search", QUESTION), may_be_empty=demo.own_traffic)


def settings(arguments: list[str] | None = None) -> Demo:
    """The demo's settings from the command line."""
    parser = argparse.ArgumentParser(description="Start appia, feed it traffic, ask it questions, stop it.")
    parser.add_argument(
        "--input", type=Path, help=f"file of traffic (default: {SAMPLE}, recorded by the project)"
    )
    parser.add_argument("--format", default="cicflowmeter", help="what the file holds (default: %(default)s)")
    parser.add_argument(
        "--state", type=Path, default=STATE, help="a folder that does not exist (default: %(default)s)"
    )
    parser.add_argument(
        "--appia", default=str(Path(sys.executable).parent / "appia"), help="the command to drive"
    )
    given = parser.parse_args(arguments)
    return Demo(
        given.appia, given.input or SAMPLE, given.format, given.state, own_traffic=given.input is not None
    )


def end_by_signal(number: int, _frame: object) -> None:
    """Turn SIGTERM into an ordinary exit, so that the stack is stopped on the way out."""
    sys.exit(128 + number)


def main() -> int:
    """Run the demo; the exit status says whether every step did what it should."""
    demo = settings()
    signal.signal(signal.SIGTERM, end_by_signal)
    if not sys.stdout.isatty():
        os.environ["NO_COLOR"] = "1"
    started = time.monotonic()
    try:
        prepare(demo)
        with stack_running(demo):
            tour(demo)
    except DemoError as failed:
        print(f"\ndemo failed: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo interrupted", file=sys.stderr)
        return 130
    say(f"\nThe demo took {time.monotonic() - started:.0f} s. What it stored is in {demo.state}.")
    print(f"To ask more: appia up --state {demo.state}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
