"""The whole: readings go in, messages come out once, whoever is killed in between."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from health.alerts.making import DISK, HOOK, MINE, Clock, Log, Post, disk, forged
from health.alerts.receivers import Hook, Mailbox, wait_until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.durable import Disk
from services.common.errors import UsageError
from services.health.alerts.alerts import MOST_TRIALS, Alerts, Files
from services.health.alerts.child import ChildSender
from services.health.alerts.courier import Outside
from services.health.readings import Reading, Readings

if TYPE_CHECKING:
    from collections.abc import Iterator

SOON = '[group]\nwait = "0s"\n'
LIVE = Path(__file__).with_name("live.py")


class World:
    """Alerts over a folder and a file of rules, which can be started anew at any time."""

    def __init__(self, folder: Path, text: str = DISK + SOON) -> None:
        self.folder, self.rules = folder, folder / "rules.toml"
        self.rules.write_text(text)
        self.clock, self.post, self.log = Clock(), Post(), Log()
        self.alerts = self.start()

    def start(self) -> Alerts:
        self.alerts = Alerts(
            Disk(), Files(self.folder, self.rules), Outside("box", self.clock, self.log, self.post)
        )
        return self.alerts

    def see(self, readings: Readings, *, deliver: bool = True) -> None:
        self.alerts.step(readings, self.clock.pass_s(10))
        if deliver:
            self.alerts._courier.round()

    @property
    def titles(self) -> list[str]:
        return [title for _, _, title in self.post.arrived]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_alert_is_told_and_its_end(world: World) -> None:
    """And both are in the log, and in the history."""
    world.see(disk(86))
    assert [one["subject"] for one in world.alerts.describe()["firing"]] == ["/data"]
    world.see(disk(50))
    assert world.titles == ["appia WARNING: disk: /data on box", "appia RESOLVED: disk: /data on box"]
    told = world.alerts.describe()
    assert told["firing"] == told["pending"] == []
    assert [one["why_over"] for one in told["recent"]] == ["well"]
    assert [one["delivered"] for one in told["messages"]] == [True, True]
    assert [event for event, _ in world.log.lines] == [
        "alert_began",
        "alert_delivered",
        "alert_ended",
        "alert_delivered",
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    rounds=st.lists(
        st.tuples(st.sampled_from([50.0, 86.0]), st.booleans(), st.booleans(), st.booleans()), max_size=15
    )
)
def test_a_kill_anywhere_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[tuple[float, bool, bool, bool]]
) -> None:
    """Before and after each step and each delivery: the same messages arrive as where nobody was killed."""
    calm, rough = World(tmp_path_factory.mktemp("calm")), World(tmp_path_factory.mktemp("rough"))
    for value, deliver, kill_before, kill_after in rounds:
        calm.see(disk(value), deliver=deliver)
        if kill_before:
            rough.start()
        rough.see(disk(value), deliver=deliver)
        if kill_after:
            rough.start()
    for world in (calm, rough):
        world.see(disk(50))
    assert rough.titles == calm.titles
    assert len({letter_id for _, letter_id, _ in rough.post.arrived}) == len(rough.post.arrived)


def test_a_rule_that_changes_is_taken_up_while_it_runs(world: World) -> None:
    """With the next readings."""
    world.see(disk(80))
    world.rules.write_text((DISK + SOON).replace("85", "75"))
    world.see(disk(80))
    assert world.titles == ["appia WARNING: disk: /data on box"]


def test_a_file_that_breaks_is_an_alert_and_the_rules_stay(world: World) -> None:
    """Those of before hold, also after a restart; a file that is put right is taken up."""
    world.rules.write_text(MINE + HOOK + "[[rule]]\n" + SOON)
    world.see(disk(86))
    assert world.titles == ["appia WARNING: disk: /data on box"]
    world.start()
    world.see(disk(50))
    assert world.titles[1:] == ["appia RESOLVED: disk: /data on box"]
    assert "is not TOML" in world.alerts.describe()["faults"]["rules"]
    assert len(world.log.named("rules_refused")) == 2
    world.rules.write_text((DISK + SOON).replace("85", "40"))
    world.see(disk(50))
    assert world.titles[2:] == ["appia WARNING: disk: /data on box"]
    assert world.alerts.describe()["faults"] == {}


def test_the_default_rules_tell_of_a_broken_file(tmp_path: Path) -> None:
    """The rule `config-refused` sees it under its own subject."""
    world = World(tmp_path, HOOK + SOON)
    world.rules.write_text("broken")
    world.see(Readings())
    assert world.titles == ["appia WARNING: config-refused: health/alerts on box"]
    world.rules.write_text(HOOK + SOON)
    world.see(Readings())
    assert world.titles[1:] == ["appia RESOLVED: config-refused: health/alerts on box"]


def test_a_file_that_was_never_sound_is_no_start(tmp_path: Path) -> None:
    """There is nothing to fall back to, and whoever starts health sees the sentence."""
    with pytest.raises(UsageError, match="is not TOML"):
        World(tmp_path, "broken")


def test_without_a_file_alerts_are_known_and_nobody_is_told(tmp_path: Path) -> None:
    """`appia alerts list` and the log have them."""
    alerts = Alerts(Disk(), Files(tmp_path), Outside("box", Clock(), log := Log(), Post()))
    alerts.step(forged(2), Clock().ns)
    assert [one["rule"] for one in alerts.describe()["firing"]] == ["forged-frames"]
    assert alerts.describe()["channels"] == {}
    assert len(log.named("alert_began")) == 1
    with pytest.raises(UsageError, match="There are no channels"):
        alerts.test()


def test_a_channel_can_be_tried(world: World) -> None:
    """What became of the message is in the description."""
    made = world.alerts.test("hook")["messages"]
    world.alerts._courier.round()
    assert [(one["id"], one["delivered"]) for one in world.alerts.describe()["messages"]] == [
        (made[0]["id"], True)
    ]
    assert world.titles == ["appia TEST: this channel works: hook on box"]
    with pytest.raises(UsageError, match="There is no channel 'mail'; there are: hook"):
        world.alerts.test("mail")


@contextmanager
def running(alerts: Alerts) -> Iterator[None]:
    """Deliver in a thread, as health does."""
    thread = threading.Thread(target=alerts.run)
    thread.start()
    try:
        yield
    finally:
        alerts.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_real_mail_server_that_is_down_gets_everything_when_it_is_back(
    tmp_path: Path, mailbox: Mailbox, hook: Hook
) -> None:
    """Its channel says why it waits; another channel is told at once, and once."""
    channels = (
        f'[channel.mail]\nurl = "{mailbox.url}"\n[channel.web]\nurl = "json://127.0.0.1:{hook.port}/"\n'
    )
    world = World(tmp_path, DISK.replace(HOOK, channels) + SOON)
    clock = world.clock
    alerts = Alerts(Disk(), Files(tmp_path, world.rules), Outside("box", clock, world.log, ChildSender()))
    with running(alerts):
        alerts.step(disk(86), clock.pass_s(10))
        wait_until(lambda: bool(alerts.describe()["channels"]["mail"]["why"] and hook.got))
        alerts.step(disk(50), clock.pass_s(1))
        mailbox.start()
        clock.pass_s(600)
        alerts._courier.wake()
        wait_until(lambda: alerts.describe()["channels"]["mail"]["waiting"] == 0 and len(hook.got) == 2)
    subjects = ["appia WARNING: disk: /data on box", "appia RESOLVED: disk: /data on box"]
    assert [mail["Subject"] for mail in mailbox.mails] == subjects
    assert [got["title"] for got in hook.got] == subjects
    assert [got["type"] for got in hook.got] == ["warning", "success"]


def _live(folder: Path, rules: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(LIVE), str(folder), str(rules)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _tell(process: subprocess.Popen[str], line: Any) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    assert process.stdout.readline() == "seen\n"


def test_kill_9_in_between_tells_nothing_twice_and_loses_nothing(tmp_path: Path, hook: Hook) -> None:
    """Real processes, killed right after a step, while a message waits, and while one is being sent."""
    rules = tmp_path / "rules.toml"
    rules.write_text(DISK.replace("json://localhost:9/", f"json://127.0.0.1:{hook.port}/") + SOON)
    hook.status = 503
    with _live(tmp_path, rules) as process:
        _tell(process, 86)
        process.kill()
    with _live(tmp_path, rules) as process:
        _tell(process, 86)
        _tell(process, 50)
        process.kill()
    hook.status = 200
    with _live(tmp_path, rules) as process:
        _tell(process, 50)
        wait_until(lambda: len(hook.got) >= 2)
        process.kill()
    with _live(tmp_path, rules) as process:
        _tell(process, 50)
        process.kill()
    numbers = {got["message"].split("Message ")[1].split()[0] for got in hook.got}
    assert len(numbers) == 2
    in_order = list(dict.fromkeys(got["title"].split(":")[0] for got in hook.got))
    assert in_order == ["appia WARNING", "appia RESOLVED"]


def test_a_channel_that_delivers_nothing_is_an_alert_for_the_others(tmp_path: Path) -> None:
    """Whoever reads two channels learns from the one that the other is broken, and when it is well again."""
    world = World(tmp_path, HOOK + SOON + '[channel.other]\nurl = "json://other/"\n')
    world.post.down = {"hook": "it does not answer"}
    world.see(Readings())
    world.alerts.test()
    for _ in range(100):
        world.see(Readings())
    told = [title for channel, _, title in world.post.arrived if channel == "other"]
    assert [title for title in told if "channel-failing: hook" in title]
    assert [one["rule"] for one in world.alerts.describe()["firing"]] == ["channel-failing"]
    world.post.down = {}
    for _ in range(40):
        world.see(Readings())
    assert not world.alerts.describe()["firing"]
    assert world.titles[-1].startswith("appia RESOLVED: channel-failing: hook")


@pytest.mark.parametrize("signal", ["index_corrupt", "day_inconsistent", "intake_paused"])
def test_what_mends_itself_at_once_is_told_all_the_same(tmp_path: Path, signal: str) -> None:
    """A bit that flipped is repaired within a round, before its group is told; the disk behind it is still bad."""
    world = World(tmp_path, HOOK)
    world.see(Readings((Reading.of(signal, "2026-11-20/attack", value=True, text="it is bad"),)))
    for _ in range(70):
        world.see(Readings((Reading.of(signal, "2026-11-20/attack", value=False, text="it is well"),)))
    assert [title.split(":")[0] for title in world.titles] == ["appia CRITICAL", "appia RESOLVED"]


def test_who_asks_for_messages_without_end_holds_up_no_alert(world: World) -> None:
    """Few of them wait at a time; once they are through there may be others."""
    world.post.down["hook"] = "it is away"
    for _ in range(MOST_TRIALS):
        world.alerts.test()
    with pytest.raises(UsageError, match="wait already"):
        world.alerts.test("hook")
    world.post.down.clear()
    world.see(forged(1))
    assert any("forged-frames" in title for title in world.titles)
    world.alerts.test()
