"""From readings to what is told: table by table, and whatever the readings do."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from health.alerts.making import DISK, HOOK, MINE, NOON_NS, NS, disk, forged, rules_of
from hypothesis import given
from hypothesis import strategies as st

from services.health.alerts.engine import MOST_OF_A_RULE, OTHERS, Outcome, step
from services.health.readings import EVERY, SIGNALS, Reading, Readings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.health.alerts.rules import Rules
    from services.health.alerts.state import Alert
    from services.health.alerts.telling import Notice

NOTHING = Readings()
UNKNOWN = Readings((), frozenset({("disk_used_percent", EVERY)}))
SOON = '[group]\nwait = "0s"\n'
SILENT = '[[quiet]]\nfrom = "12:01"\nto = "13:00"\n'


class Told:
    """Runs the engine over readings, ten seconds apart unless a test says otherwise."""

    def __init__(self, text: str) -> None:
        self.rules: Rules = rules_of(text)
        self.now_ns = NOON_NS
        self.alerts: tuple[Alert, ...] = ()
        self.notices: list[tuple[float, Notice]] = []
        self.last = Outcome(())

    def see(self, readings: Readings, times: int = 1, every_s: float = 10) -> Told:
        for _ in range(times):
            self.last = step(self.rules, SIGNALS, self.alerts, readings, self.now_ns)
            self.alerts = self.last.alerts
            self.notices += [((self.now_ns - NOON_NS) / NS, notice) for notice in self.last.notices]
            self.now_ns += int(every_s * NS)
        return self

    @property
    def story(self) -> list[tuple[float, str, str]]:
        """When, which kind, about what."""
        return [
            (at_s, kind, alert.subject)
            for at_s, notice in self.notices
            for kind in ("new", "still", "over")
            for alert in getattr(notice, kind)
        ]


def test_an_alert_is_told_once_and_its_end_once() -> None:
    """However long it lasts."""
    told = Told(DISK + SOON).see(disk(86), 20).see(disk(80), 20)
    assert told.story == [(0, "new", "/data"), (200, "over", "/data")]
    assert told.alerts == ()


def test_who_was_told_is_in_the_history() -> None:
    """With when it began, and when it was over."""
    told = Told(DISK + SOON).see(disk(86), 2).see(disk(80))
    ended = told.last.ended[0]
    assert (ended.told_to, ended.since_ns, ended.over_ns) == (("hook",), NOON_NS, NOON_NS + 20 * NS)


def test_it_fires_after_its_time_and_not_when_it_was_well_in_between() -> None:
    """`for` wants readings over the limit without a break."""
    told = Told(DISK + 'for = "1m"\n' + SOON).see(disk(86), 6).see(disk(84)).see(disk(86), 7)
    assert told.story == [(130, "new", "/data")]


def test_it_is_over_within_the_resolve_and_not_at_the_limit() -> None:
    """A value that swings around its limit is one alert."""
    swinging = Told(DISK + "resolve = 80\n" + SOON)
    for _ in range(10):
        swinging.see(disk(86)).see(disk(84))
    assert swinging.story == [(0, "new", "/data")]
    assert swinging.see(disk(80)).story[-1] == (200, "over", "/data")


def test_it_is_over_after_a_time_within_the_limit() -> None:
    """`resolve_for` begins anew with each reading over it."""
    told = Told(DISK + 'resolve_for = "1m"\n' + SOON)
    told.see(disk(86)).see(disk(80), 5).see(disk(86)).see(disk(80), 7)
    assert told.story == [(0, "new", "/data"), (130, "over", "/data")]


def test_what_is_told_is_what_was_wrong() -> None:
    """Also where it is well again, for too short a time to be over, when the message is made."""
    told = Told(DISK + 'resolve_for = "1m"\n[group]\nwait = "20s"\n').see(disk(91)).see(disk(80), 2)
    assert [(alert.value, alert.text) for _, notice in told.notices for alert in notice.new] == [
        (91, "/data is 91 % full")
    ]
    told.see(disk(80), 8)
    assert [alert.text for _, notice in told.notices for alert in notice.over] == ["/data is 80 % full"]


def test_a_rule_can_look_below() -> None:
    """Days that are left."""
    rule = '[[rule]]\nname = "days"\nsignal = "disk_days_left"\nbelow = 14\nresolve = 16\n'

    def days(left: float) -> Readings:
        return Readings((Reading.of("disk_days_left", "/data", left, ""),))

    told = Told(MINE + rule + SOON).see(days(20)).see(days(13)).see(days(15)).see(days(float("inf")))
    assert told.story == [(10, "new", "/data"), (30, "over", "/data")]


def test_what_is_unknown_changes_nothing() -> None:
    """Neither begins an alert nor ends it; a number that is none is unknown too."""
    told = Told(DISK + 'for = "30s"\n' + SOON).see(disk(86)).see(UNKNOWN, 20).see(disk(86))
    assert told.story == [(210, "new", "/data")]
    assert told.see(UNKNOWN, 50).see(Readings(disk(float("nan")).items, UNKNOWN.unknown)).story[1:] == []


def test_what_is_gone_is_over_and_says_so() -> None:
    """A day that was dropped, a sensor that was forgotten."""
    told = Told(DISK + SOON).see(disk(86)).see(NOTHING)
    assert told.story[-1] == (10, "over", "/data")
    assert [ended.why_over for ended in told.last.ended] == ["gone"]


def test_an_alert_whose_rule_went_is_over() -> None:
    """Also where the rule only looks at other subjects now."""
    for text in (MINE, DISK + 'subject = "/else*"\n', DISK + "enabled = false\n"):
        told = Told(DISK + SOON).see(disk(86))
        told.rules = rules_of(text + SOON)
        assert told.see(disk(86)).story[-1] == (10, "over", "/data")
        assert [ended.why_over for ended in told.last.ended] == ["no rule"]


def test_alerts_of_a_group_that_begin_together_are_one_message() -> None:
    """The first waits for the others; what comes later is a message of its own."""
    first, second, third = disk(86, "/a"), disk(87, "/b"), disk(88, "/c")
    two = Readings(first.items + second.items)
    all_three = Readings(two.items + third.items)
    told = Told(DISK + '[group]\nwait = "30s"\n').see(first).see(two, 4).see(all_three, 10)
    assert told.story == [(30, "new", "/a"), (30, "new", "/b"), (80, "new", "/c")]
    assert len(told.notices) == 2


def test_groups_are_by_what_the_file_says() -> None:
    """By subject: a message each."""
    both = Readings(disk(86, "/a").items + disk(86, "/b").items)
    for by, messages in (('["subject"]', 2), ('["rule"]', 1), ("[]", 1), ('["severity", "signal"]', 1)):
        assert len(Told(DISK + f'[group]\nwait = "0s"\nby = {by}\n').see(both).notices) == messages


def test_a_short_alert_that_nobody_heard_of_is_not_told() -> None:
    """It is in the history."""
    told = Told(DISK + '[group]\nwait = "30s"\n').see(disk(86)).see(disk(80))
    assert told.story == []
    assert [ended.subject for ended in told.last.ended] == ["/data"]


def test_an_attack_is_told_at_once_however_short() -> None:
    """It waits for no other alert of its group."""
    told = Told(MINE + '[group]\nwait = "5m"\n').see(forged(1)).see(forged(0), 40)
    assert [line[:2] for line in told.story] == [(0, "new"), (310, "over")]


def test_it_is_said_again_while_it_lasts() -> None:
    """Together with what else of its group lasts."""
    text = DISK + 'repeat = "1h"\n[group]\nwait = "0s"\n'
    told = Told(text).see(disk(86, "/a"), every_s=1800)
    told.see(Readings(disk(86, "/a").items + disk(86, "/b").items), 4, every_s=1800)
    assert told.story == [
        (0, "new", "/a"),
        (1800, "new", "/b"),
        (3600, "still", "/a"),
        (3600, "still", "/b"),
        (7200, "still", "/a"),
        (7200, "still", "/b"),
    ]
    assert Told(DISK + 'repeat = "0s"\n' + SOON).see(disk(86), 10, every_s=86_400).story == [
        (0, "new", "/data")
    ]


def test_quiet_hours_hold_back_and_tell_what_is_left_at_their_end() -> None:
    """What came and went in them is not told; nor is a reminder."""
    text = DISK + 'repeat = "10m"\n' + SOON + SILENT
    told = Told(text).see(disk(80), every_s=120).see(disk(86), 3, every_s=600)
    assert told.see(disk(80)).story == []
    told.see(disk(86), 300)
    assert told.story[0] == (3600, "new", "/data")


def test_the_end_of_an_alert_waits_for_the_end_of_quiet_hours() -> None:
    """And is not told when it fires again before."""
    told = Told(DISK + 'repeat = "0s"\n' + SOON + SILENT).see(disk(86), every_s=120)
    told.see(disk(80), every_s=600).see(disk(86), every_s=600).see(disk(80), 300)
    assert told.story == [(0, "new", "/data"), (3600, "over", "/data")]


def test_quiet_hours_do_not_hold_back_what_is_about_attacks() -> None:
    """Whatever the file lets pass."""
    told = Told(MINE + SOON + '[[quiet]]\nfrom = "00:00"\nto = "00:00"\npasses = "none"\n').see(forged(3))
    assert told.story == [(0, "new", "ingester")]


def test_a_channel_that_comes_later_hears_of_what_fires() -> None:
    """Alerts wait for somebody who can be told, and their end is not told to who never heard of them."""
    nobody = DISK.replace(HOOK, "") + SOON
    told = Told(nobody).see(disk(86))
    told.rules = rules_of(DISK + SOON)
    assert told.see(disk(86)).story == [(10, "new", "/data")]
    told.rules = rules_of(nobody)
    assert len(told.see(disk(80)).story) == 1
    assert told.alerts == ()


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    """Nor does one that was in the future when an alert began."""
    told = Told(DISK + 'for = "1m"\nrepeat = "1h"\n' + SOON).see(disk(86))
    told.now_ns -= 86_400 * NS
    told.see(disk(86), 7)
    assert [line[1] for line in told.story] == ["new"]
    told.now_ns -= 86_400 * NS
    told.see(disk(86), 2, every_s=3600)
    assert [line[1] for line in told.story] == ["new", "still"]


def test_who_invents_subjects_drowns_no_other_rule() -> None:
    """Those beyond the bound are counted, and other rules fire as before."""
    many = Readings(tuple(item for n in range(150) for item in disk(90, f"/{n}").items) + forged(1).items)
    told = Told(DISK + SOON).see(many)
    assert len([a for a in told.alerts if a.rule == "disk" and a.subject != OTHERS]) == MOST_OF_A_RULE
    assert told.last.untracked == {"disk": 50}
    assert {alert.signal for _, notice in told.notices for alert in notice.new} == {
        "disk_used_percent",
        "forged_frames",
    }


def crowd(count: int) -> tuple[Reading, ...]:
    return tuple(item for n in range(count) for item in disk(90, f"/{n}").items)


def test_one_more_than_can_be_told_apart_is_told_all_the_same() -> None:
    """Who fills the hundred places first hides nothing after them: that there are others is an alert of its own."""
    told = Told(DISK + SOON).see(Readings(crowd(MOST_OF_A_RULE)))
    before = len(told.story)
    told.see(Readings((*crowd(MOST_OF_A_RULE), *disk(99, "/data").items)), 3)
    assert [line[1:] for line in told.story[before:]] == [("new", OTHERS)]
    (others,) = [alert for alert in told.alerts if alert.subject == OTHERS]
    assert "/data is 99 % full" in others.text
    told.see(UNKNOWN, 3)
    assert len(told.story) == before + 1
    told.see(Readings(crowd(MOST_OF_A_RULE)), 2)
    assert [line[1:] for line in told.story[before + 1 :]] == [("over", OTHERS)]


def test_who_calls_himself_like_the_others_is_no_alert_without_end() -> None:
    """A name that somebody chose changes nothing about them."""
    told = Told(DISK + SOON).see(Readings((*disk(99, OTHERS).items, *disk(90).items)), 5)
    assert [line[1:] for line in told.story] == [("new", "/data")]
    told.see(Readings((*disk(99, OTHERS).items, *crowd(MOST_OF_A_RULE + 1))), 5)
    assert [line[2] for line in told.story].count(OTHERS) == 1


READING = st.one_of(st.none(), st.just(float("nan")), st.sampled_from([50.0, 83.0, 86.0, 99.0]))
ROUND = st.tuples(READING, READING, st.sampled_from([1.0, 10.0, 60.0, 4000.0]), st.booleans())
TEXT = (
    DISK
    + 'resolve = 80\nfor = "10s"\nrepeat = "1h"\n[group]\nwait = "20s"\n[quiet]\nfrom="12:30"\nto="14:00"\n'
)


def _readings(values: Iterable[float | None], *, unknown: bool) -> Readings:
    items = tuple(
        item
        for name, value in zip(("/a", "/b"), values, strict=True)
        if value is not None
        for item in disk(value, name).items
    )
    return Readings(items, UNKNOWN.unknown if unknown else frozenset())


@given(st.lists(ROUND, max_size=60))
def test_whatever_happens_beginnings_and_ends_alternate(
    rounds: list[tuple[float | None, float | None, float, bool]],
) -> None:
    """Each channel hears of an alert's beginning, then reminders, then its end; never an end or two of them alone."""
    told = Told(TEXT)
    for first, second, every_s, unknown in rounds:
        told.see(_readings((first, second), unknown=unknown), every_s=every_s)
    told.see(disk(10, "/a")).see(NOTHING, 3, every_s=7200)
    assert told.alerts == ()
    heard: defaultdict[str, list[str]] = defaultdict(list)
    for _, kind, subject in told.story:
        heard[subject].append(kind)
    for kinds in heard.values():
        changes = [kind for kind in kinds if kind != "still"]
        assert changes == ["new", "over"] * (len(changes) // 2)
        assert not any(
            before in ("over", "") and kind == "still"
            for before, kind in zip(["", *kinds], kinds, strict=False)
        )


@given(st.lists(ROUND, max_size=30))
def test_an_engine_that_forgets_nothing_but_its_memory_goes_on_as_before(
    rounds: list[tuple[float | None, float | None, float, bool]],
) -> None:
    """All that counts is in the alerts: written down and read again between any two readings, nothing is other."""
    kept, written = Told(TEXT), Told(TEXT)
    for first, second, every_s, unknown in rounds:
        readings = _readings((first, second), unknown=unknown)
        written.alerts = tuple(type(a).model_validate_json(a.model_dump_json()) for a in written.alerts)
        assert written.see(readings, every_s=every_s).notices == kept.see(readings, every_s=every_s).notices
