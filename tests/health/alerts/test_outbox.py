"""Messages keep their order, are sent again until they arrive, and are never lost in silence."""

from __future__ import annotations

import pytest
from health.alerts.making import HOOK, NOON_NS, NS, Clock, Log, Post, rules_of

from services.common.durable import Disk
from services.health.alerts import outbox
from services.health.alerts.courier import Courier, Outside
from services.health.alerts.ledger import Ledger
from services.health.alerts.state import Kept, Letter

DAY_S = 86_400
TWO = HOOK + '[channel.mail]\nurl = "json://localhost:8/"\n'


def letter(number: int, channel: str = "hook", **changed: object) -> Letter:
    plain = Letter(
        id=f"x-{number}",
        channel=channel,
        group="disk",
        severity="warning",
        title=f"title {number}",
        body="body",
        made_ns=NOON_NS,
    )
    return plain.model_copy(update=changed)


class Office:
    """A courier with a clock and a post of the test's."""

    def __init__(self, folder: object, text: str = HOOK) -> None:
        self.clock, self.post, self.log = Clock(), Post(), Log()
        self.ledger = Ledger(Disk(), folder / "alerts.json", lambda: "x", self.log)  # type: ignore[operator,arg-type]
        rules = rules_of(text)
        self.courier = Courier(self.ledger, lambda: rules, Outside("box", self.clock, self.log, self.post))

    def take(self, *letters: Letter) -> None:
        self.ledger.change(lambda kept: outbox.post(kept, letters))

    def go_on(self, seconds: float, every_s: float = 1) -> None:
        """Let time pass, looking as often as the thread would at most."""
        end = self.clock.ns + int(seconds * NS)
        while self.clock.ns < end:
            self.clock.pass_s(every_s)
            self.courier.round()

    @property
    def ids(self) -> list[str]:
        return [letter_id for _, letter_id, _ in self.post.arrived]


@pytest.fixture
def office(tmp_path: object) -> Office:
    return Office(tmp_path)


def test_mail_that_is_down_for_ten_minutes_loses_nothing(office: Office) -> None:
    """All arrive once, in order, within five minutes of its return; it is not asked more than eleven times before."""
    office.post.down["hook"] = "connection refused"
    office.take(letter(1), letter(2))
    office.go_on(300)
    office.take(letter(3))
    office.go_on(300)
    assert office.ids == []
    assert office.post.tries <= 11
    assert office.ledger.kept.lines["hook"].why == "connection refused"
    office.post.down.clear()
    office.go_on(300)
    assert office.ids == ["x-1", "x-2", "x-3"]
    assert office.ledger.kept.letters == ()
    assert office.ledger.kept.lines["hook"].failing_since_ns == 0


def test_a_channel_that_is_down_holds_up_no_other(tmp_path: object) -> None:
    """The other delivers at once."""
    office = Office(tmp_path, TWO)
    office.post.down["hook"] = "refused"
    office.take(letter(1), letter(2, "mail"), letter(3), letter(4, "mail"))
    office.courier.round()
    assert office.ids == ["x-2", "x-4"]


def test_who_is_killed_before_he_could_tell_sends_again(office: Office) -> None:
    """A message may come twice, under one number; none is left out."""
    office.take(letter(1), letter(2))
    office.post.dies_after = 2
    office.courier.round()
    office.post.dies_after = None
    office.go_on(10)
    assert office.ids == ["x-1", "x-2", "x-2"]


def test_a_sender_that_says_nothing_is_not_asked_again_at_once(office: Office) -> None:
    """The channel is left alone as after any failure."""
    office.take(letter(1))
    office.post.dies_after = 1
    office.go_on(4)
    assert office.post.tries == 1
    assert office.ledger.kept.lines["hook"].why == "killed"


def test_pauses_double_up_to_five_minutes_and_end_with_a_success() -> None:
    """5, 10, 20 ... 300 seconds."""
    kept, now_ns, pauses = outbox.post(Kept(origin="x"), [letter(1)]), NOON_NS, []
    for _ in range(9):
        kept = outbox.failed(kept, letter(1), "why", now_ns)
        pauses.append((kept.lines["hook"].next_ns - now_ns) / NS)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert kept.letters[0].tries == 9
    assert outbox.delivered(kept, letter(1), now_ns).lines["hook"].next_ns == 0


def test_overtaking_does_not_end_the_pause() -> None:
    """The message that is refused is not tried again with each that arrives."""
    failing = outbox.failed(outbox.post(Kept(origin="x"), [letter(1), letter(2)]), letter(1), "why", NOON_NS)
    line = outbox.delivered(failing, letter(2), NOON_NS).lines["hook"]
    assert (line.next_ns, line.why, line.delivered_ns) == (NOON_NS + 5 * NS, "why", NOON_NS)


def test_a_pause_does_not_outlast_a_clock_that_is_set_back() -> None:
    """No message waits for the time at which the clock was wrong."""
    kept = outbox.failed(outbox.post(Kept(origin="x"), [letter(1)]), letter(1), "why", NOON_NS + DAY_S * NS)
    assert outbox.due(kept, ["hook"], NOON_NS)


def test_after_seven_days_a_message_is_given_up_and_that_is_told(tmp_path: object) -> None:
    """On the other channels at once, on this one with the next that arrives, and in the log."""
    office = Office(tmp_path, TWO)
    office.post.down["hook"] = "no such host"
    office.take(letter(1))
    office.go_on(7 * DAY_S + 3600, every_s=3600)
    assert [(channel, "not delivered" in title) for channel, _, title in office.post.arrived] == [
        ("mail", True)
    ]
    assert "Given up after seven days: 1 message for the channel hook." in office.post.bodies[0]
    lost = office.ledger.kept.sent[0]
    assert (lost.id, lost.delivered, lost.why) == ("x-1", False, "no such host")
    assert office.log.named("alerts_given_up") == [{"channel": "hook", "messages": 1}]
    office.post.down.clear()
    office.take(letter(2, made_ns=office.clock.ns))
    office.go_on(300)
    assert "1 before this were given up" in office.post.bodies[1]
    assert office.ledger.kept.lines["hook"].lost == 0


def test_a_message_that_is_refused_for_itself_is_overtaken_after_an_hour(office: Office) -> None:
    """Until then order counts more; it is tried on, and not without a pause."""
    office.post.refuses.add("x-1")
    office.take(letter(1), letter(2), letter(3))
    office.go_on(3600, every_s=10)
    assert office.ids == []
    office.go_on(900, every_s=10)
    assert office.ids == ["x-2", "x-3"]
    tries = office.post.tries
    office.go_on(3600, every_s=10)
    assert office.post.tries <= tries + 13
    office.post.refuses.clear()
    office.go_on(300, every_s=10)
    assert office.ids == ["x-2", "x-3", "x-1"]


def test_a_channel_that_is_down_for_long_keeps_its_order(office: Office) -> None:
    """That messages may be overtaken does not stir them."""
    office.post.down["hook"] = "refused"
    office.take(*(letter(number) for number in range(1, 60)))
    office.go_on(DAY_S / 4, every_s=60)
    office.post.down.clear()
    office.go_on(400)
    assert office.ids == [f"x-{number}" for number in range(1, 60)]


def test_reminders_do_not_pile_up() -> None:
    """None is made while a message of its group waits for the channel."""
    kept = outbox.post(Kept(origin="x"), [letter(1)])
    kept = outbox.post(kept, [letter(2, reminds=True), letter(3, reminds=True, group="other")])
    assert [waiting.id for waiting in kept.letters] == ["x-1", "x-3"]


def test_where_there_is_no_room_the_oldest_of_the_least_severity_goes() -> None:
    """It is counted, and the next message that arrives says so."""
    kept = outbox.post(Kept(origin="x"), [letter(0, severity="critical")])
    kept = outbox.post(kept, [letter(number) for number in range(1, outbox.MOST_WAITING + 2)])
    assert len(kept.letters) == outbox.MOST_WAITING
    assert [waiting.id for waiting in kept.letters[:2]] == ["x-0", "x-3"]
    assert kept.lines["hook"].lost == 2


def test_messages_for_a_channel_that_is_taken_out_wait_for_it(office: Office) -> None:
    """Somebody may put it back within seven days."""
    office.take(letter(1, "gone"))
    office.go_on(60)
    assert [waiting.id for waiting in office.ledger.kept.letters] == ["x-1"]
    assert office.post.tries == 0
