"""Hands messages over to who sends them, and notes what became of each at once."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from services.health.alerts import outbox
from services.health.alerts.wording import given_up_letter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from services.health.alerts.ledger import Ledger
    from services.health.alerts.outbox import Parcel
    from services.health.alerts.rules import Channel, Rules
    from services.health.alerts.state import Kept, Letter

_NS = 1_000_000_000
LOOK_EVERY_S = 60.0


@dataclass(frozen=True)
class Addressed:
    """A parcel and where it goes."""

    parcel: Parcel
    channel: Channel


class Sender(Protocol):
    """What brings messages out of the machine."""

    def send(self, parcels: Sequence[Addressed], told: Callable[[str, str], None]) -> str:
        """Send the messages of each parcel in order, up to the first that fails and may not be overtaken.

        Blocks until that is done, or for a minute; raises nothing. Gives why it ended before, "" where it did not.

        Args:
            parcels: at most one for each channel.
            told: takes the id of a message as soon as it is known, and why it did not arrive; "" says that it did.
        """

    def stop(self) -> None:
        """End `send` at once. For any thread."""


@dataclass(frozen=True)
class Outside:
    """What alerts need of the world.

    Attributes:
        host: the name of this machine, for messages.
        clock: nanoseconds since 1970.
        report: takes an event for the log, and facts about it.
        sender: brings messages out.
    """

    host: str
    clock: Callable[[], int]
    report: Callable[[str, Mapping[str, object]], None]
    sender: Sender


class Courier:
    """Sends what waits. `run` is the body of its thread; `wake` and `stop` are for any thread."""

    def __init__(self, ledger: Ledger, rules: Callable[[], Rules], outside: Outside) -> None:
        """Send nothing yet; `rules` gives those in use, which name the channels."""
        self._ledger, self._rules = ledger, rules
        self._host, self._sender = outside.host, outside.sender
        self._clock, self._report = outside.clock, outside.report
        self._wake = threading.Condition()
        self._woken = self._stopped = False

    def run(self) -> None:
        """Send what is due, until stopped."""
        while True:
            self.round()
            with self._wake:
                self._wake.wait_for(lambda: self._woken or self._stopped, self._pause_s())
                self._woken = False
                if self._stopped:
                    return

    def wake(self) -> None:
        """Look at once: there are new messages."""
        with self._wake:
            self._woken = True
            self._wake.notify_all()

    def stop(self) -> None:
        """End `run`, and what is being sent."""
        with self._wake:
            self._stopped = True
            self._wake.notify_all()
        self._sender.stop()

    def round(self) -> None:
        """Send what is due now. Blocks for as long as the sender does."""
        self._give_up()
        channels = self._rules().channel
        parcels = outbox.due(self._ledger.kept, channels, self._clock())
        if not parcels:
            return
        known = {letter.id: letter for parcel in parcels for letter in parcel.letters}
        heard: set[str] = set()

        def told(letter_id: str, why: str) -> None:
            if letter_id in known and letter_id not in heard:
                heard.add(letter_id)
                self._note(known[letter_id], why)

        ended = self._sender.send([Addressed(one, channels[one.channel]) for one in parcels], told)
        for parcel in parcels:
            # Nothing was heard of this channel, so it is left alone for a while as after any failure.
            if not self._is_stopped() and not heard & {letter.id for letter in parcel.letters}:
                told(parcel.letters[0].id, ended or "the sending process said nothing of it")

    def _note(self, letter: Letter, why: str) -> None:
        now_ns = self._clock()
        facts = {"message": letter.id, "channel": letter.channel, "title": letter.title}
        if why:
            self._ledger.change(lambda kept: outbox.failed(kept, letter, why, now_ns))
            self._report("alert_not_delivered", {**facts, "error": why})
        else:
            self._ledger.change(lambda kept: outbox.delivered(kept, letter, now_ns))
            self._report("alert_delivered", facts)

    def _give_up(self) -> None:
        """Take out what is too old, and tell the other channels."""
        now_ns, channels = self._clock(), self._rules().channel
        lost: dict[str, int] = {}

        def change(kept: Kept) -> Kept:
            left, given_up = outbox.give_up(kept, now_ns)
            lost.update(given_up)
            others = [name for name in channels if set(given_up) - {name}] if given_up else []
            letters = []
            for number, name in enumerate(others, kept.number + 1):
                about = sorted((channel, count) for channel, count in given_up.items() if channel != name)
                letters.append(given_up_letter(f"{kept.origin}-{number}", name, about, self._host, now_ns))
            left = left.model_copy(update={"number": kept.number + len(letters)})
            return outbox.post(left, letters)

        self._ledger.change(change)
        for channel, number in lost.items():
            self._report("alerts_given_up", {"channel": channel, "messages": number})

    def _pause_s(self) -> float:
        due_ns = outbox.next_due_ns(self._ledger.kept, self._rules().channel)
        if due_ns is None:
            return LOOK_EVERY_S
        return min(LOOK_EVERY_S, max(0.0, (due_ns - self._clock()) / _NS))

    def _is_stopped(self) -> bool:
        with self._wake:
            return self._stopped
