"""`appia alerts`: what is wrong, what was, whether messages arrive, whether a file of rules is sound."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from health.alerts.making import HOOK, Clock, Log, Post, disk, forged
from health.alerts.receivers import Hook

from services.cli import health_at, running
from services.cli.alerts import _outcomes
from services.cli.main import run
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.health.alerts.alerts import Alerts, Files
from services.health.alerts.courier import Outside
from services.health.readings import Reading, Readings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Said = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated"
)  # of apprise, in Python 3.11 and 3.12
"""`check` looks at addresses in this process."""


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Said:
    """Run a command line over a state directory: its status, and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("APPIA_STATE", str(tmp_path / "state"))

    def call(*words: str) -> tuple[int, str, str]:
        status = run(["alerts", *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


class Running:
    """Alerts over a state directory, asked as health is; messages go out when it is asked."""

    def __init__(self, state: Path, text: str = HOOK) -> None:
        (state / "health").mkdir(parents=True)
        claim_layout(StateNames(state), Disk())
        rules = state / "rules.toml"
        rules.write_text(text)
        self.clock, self.post = Clock(), Post()
        self.alerts = Alerts(
            Disk(), Files(state / "health", rules), Outside("box", self.clock, Log(), self.post)
        )

    def call(self, op: str, arguments: Mapping[str, Any], _timeout_s: float) -> Any:
        self.alerts._courier.round()
        return self.alerts.describe() if op == "alerts" else self.alerts.test(**arguments)

    def see(self, readings: Readings, seconds: float = 60) -> None:
        self.alerts.step(readings, self.clock.pass_s(seconds))
        self.alerts._courier.round()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A web hook on loopback."""
    receiver = Hook()
    yield receiver
    receiver.close()


@pytest.fixture
def health(tmp_path: Path) -> Running:
    """A health service that is not running, but has been."""
    return Running(tmp_path / "state")


@pytest.fixture
def found(health: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The same, running."""

    @contextlib.contextmanager
    def health_of(_state: Path) -> Iterator[Running]:
        yield health

    monkeypatch.setattr(running, "is_running", lambda _names: True)
    monkeypatch.setattr(health_at, "health_of", health_of)
    return health


def test_list_shows_what_fires_and_how_channels_do(said: Said, found: Running) -> None:
    """Its exit status is that of a check."""
    status, out, _ = said("list")
    assert (status, out.split("\n")[0], out.split("\n")[3].split()) == (0, "No alerts.", ["hook", "0", "0"])
    found.see(Readings(disk(93, "/a\x1b[31m").items + forged(3).items))
    found.post.down["hook"] = "connection refused"
    found.see(Readings(disk(93, "/b").items + forged(3).items))
    found.see(Readings(disk(93, "/b").items + forged(3).items))
    status, out, _ = said("list")
    assert status == 1
    assert "critical  forged-frames" in out
    assert "connection refused" in out
    assert "\x1b" not in out


def test_list_says_which_alerts_are_well_again(said: Said, found: Running) -> None:
    """One that waits whether that lasts fires still, and is not shown as if nothing had changed."""
    corrupt = [
        Readings((Reading.of("index_corrupt", "2026-11-20/attack", bad, "rows.bin was changed"),))
        for bad in (1, 0)
    ]
    found.see(corrupt[0])
    found.see(corrupt[1])
    found.see(corrupt[1])
    status, out, _ = said("list")
    assert (status, "well for 1 min" in out, "firing" in out) == (1, True, False)


def test_list_as_json_is_what_health_says(said: Said, found: Running) -> None:
    """A value without an end is null there."""
    found.see(disk(float("inf")))
    status, out, _ = said("list", "--json")
    told = json.loads(out)
    assert (status, told["firing"][0]["value"], told["firing"][0]["rule"]) == (1, None, "disk-full")
    assert set(told) == {
        "firing", "pending", "ending", "counts", "untracked", "recent", "messages", "channels", "quiet", "faults",
        "as_of_ns",
    }  # fmt: skip


def test_without_health_what_was_known_is_shown(said: Said, health: Running) -> None:
    """And said to be that."""
    health.see(forged(3))
    status, out, err = said("list")
    assert (status, "forged-frames" in out) == (1, True)
    assert "nothing runs on" in err
    assert "this is what was known when it ran last" in err


def test_services_that_the_system_keeps_are_asked_as_those_of_a_stack(
    said: Said, health: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody holds the lock of `appia up` on a node; a health service that hangs there is said to."""
    ingester = running.IngesterAt(0, "", "", "tcp://127.0.0.1:9")
    kept = running.Running(str(tmp_path / "state"), "file", running.INSTALLED, ingester, [], str(tmp_path))
    (tmp_path / "state/endpoints.json").write_text(kept.to_json())
    health.see(forged(3))
    status, out, err = said("list")
    assert (status, "forged-frames" in out) == (1, True)
    assert "no health service runs on" in err
    assert "nothing runs on" not in err
    monkeypatch.setattr(health_at, "health_of", lambda _state: contextlib.nullcontext(health))
    assert said("list")[2] == ""


@pytest.mark.usefixtures("health")
def test_list_of_what_was_never_watched_is_empty(said: Said, tmp_path: Path) -> None:
    """A state directory without a file of alerts; one whose file is damaged is said to be."""
    (tmp_path / "state/health/alerts.json").unlink(missing_ok=True)
    assert said("list")[1].startswith("No alerts.\n")
    assert said("history")[1] == "No alert has ended, and no message was sent.\n"
    (tmp_path / "state/health/alerts.json").write_text("{")
    assert "alerts.json is damaged" in said("list")[2]


def test_history_shows_ends_and_messages_newest_first(said: Said, found: Running) -> None:
    """As many as asked for."""
    for _ in range(3):
        found.see(forged(3))
        found.see(forged(0))
        found.see(forged(0))
    status, out, _ = said("history", "--limit", "2")
    assert status == 0
    assert out.count("appia RESOLVED: forged-frames") == 1
    assert out.count("appia CRITICAL: forged-frames") == 1
    assert len(json.loads(said("history", "--json")[1])["messages"]) == 6
    assert said("history", "--limit", "0")[0] == 2


def test_a_test_waits_for_what_becomes_of_the_message(said: Said, found: Running) -> None:
    """Taken, or not and why; a channel that is not there is named with those that are."""
    assert said("test")[:2] == (0, "hook: taken by the service\n")
    found.post.down["hook"] = "connection refused"
    status, out, err = said("test", "hook")
    assert (status, out) == (1, "hook: connection refused; health goes on trying\n")
    assert "1 channel of 1 did not take the message" in err


def test_a_channel_that_was_mended_is_tried_at_once(said: Said, found: Running) -> None:
    """Nobody waits for the pause after a failure, nor is told the failure of before."""
    found.post.down["hook"] = "the file has the wrong mode."
    assert said("test")[1] == "hook: the file has the wrong mode; health goes on trying\n"
    found.post.down.clear()
    found.clock.pass_s(1)
    assert said("test")[:2] == (0, "hook: taken by the service\n")


def test_a_health_service_of_before_is_understood(found: Running) -> None:
    """While an update is on its way: it does not say when it made a message."""
    told = {
        **found.alerts.describe(),
        "messages": [{"id": "a-1", "why": ""}],
        "channels": {"other": {"why": ""}},
    }
    made = [{"id": "a-1", "channel": "hook"}, {"id": "a-2", "channel": "other"}]
    assert _outcomes(told, made) == {"hook": "", "other": None}


def test_a_test_by_a_file_needs_nothing_that_runs(said: Said, hook: Hook, tmp_path: Path) -> None:
    """The message goes out from the command."""
    file = tmp_path / "rules.toml"
    file.write_text(
        f'[channel.web]\nurl = "json://127.0.0.1:{hook.port}/"\n[channel.off]\nurl = "json://127.0.0.1:9/"\n'
    )
    assert said("test", "web", "--file", "rules.toml")[:2] == (0, "web: taken by the service\n")
    assert "Nothing is wrong" in hook.got[0]["message"]
    status, out, _ = said("test", "--file", "rules.toml", "--json")
    channels = json.loads(out)["channels"]
    assert (status, channels["web"]["arrived"], channels["off"]["arrived"]) == (1, True, False)
    status, _, err = said("test", "nobody", "--file", "rules.toml")
    assert (status, err) == (2, "appia: There is no channel 'nobody'; there are: off, web.\n")


def test_check_says_whether_health_would_take_a_file(said: Said, tmp_path: Path) -> None:
    """With the rules in effect, and whether addresses can be used."""
    assert "chain-broken" in said("check")[1]
    file = tmp_path / "rules.toml"
    file.write_text('[channel.mail]\nurl_file = "mail.url"\n')
    (tmp_path / "mail.url").write_text("mailto://localhost/?from=appia@example.org&to=ops@example.org")
    status, _, err = said("check", "rules.toml")
    assert status == 1
    assert "channel 'mail' cannot be used" in err
    assert "has mode 0" in err
    (tmp_path / "mail.url").chmod(0o400)
    status, out, err = said("check", "rules.toml")
    assert (status, err) == (0, "")
    assert "rules.toml: sound; 1 channel." in out
    file.write_text('[[rule]]\nname = "chain-broken"\nenabled = false\n')
    status, out, err = said("check", "rules.toml")
    assert (status, out) == (2, "")
    assert "is about attacks and cannot be weakened" in err
