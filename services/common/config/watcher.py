"""Follows the section of one service: takes a change whole or not at all, and goes back where it does not serve.

    new values --> checked --> applied --> on trial --> good
                      |           |           |
                      +-----------+-----------+--> refused: the last good ones are applied again

A configuration is on trial until the service is ready `settle_s` after it was applied. Where it is not ready for
`within_s` in a row, the configuration is taken back, unless the service was not ready before it either. What was
refused is not tried again before the live values of the section are others.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from services.common.config.document import NAME, same
from services.common.config.memory import Refused, Remembered, Taken, Trying
from services.common.config.tree import Live
from services.common.errors import AppiaError
from services.common.observing.condition import Configured
from services.common.registry.repeat import Repeater
from services.common.values.follower import Follower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from services.common.config.document import Document
    from services.common.config.memory import Memory
    from services.common.config.sections import Base
    from services.common.config.tree import Value
    from services.common.registry.port import Info
    from services.common.values.checked import CheckedValues, Held

POLL_S, TRIAL_POLL_S = 1.0, 0.25
WITHIN_S, SETTLE_S = 30.0, 2.0
MOST_TRIES = 3
"""A configuration with which the service ended so often before it was known to be good is refused."""
_FAULT_CHARS = 300

L = TypeVar("L", bound=Live)


@dataclass(frozen=True)
class WatchTools:
    """What a watcher needs from outside."""

    memory: Memory
    report: Callable[[str, dict[str, Any]], None]  # takes an event name and facts for the service's log
    monotonic: Callable[[], float]
    within_s: float = WITHIN_S
    settle_s: float = SETTLE_S


@dataclass(frozen=True)
class Hooks(Generic[L]):
    """How a service takes a configuration.

    Attributes:
        apply: makes these values those in use; called in the watcher's thread. What it raises refuses them, and then
            nothing of them may be in use.
        ready: why the service is not ready, in one sentence; empty while it is.
        begun: whether its start is over. Before that nothing is judged: opening many days takes longer than a trial.
    """

    apply: Callable[[L], None]
    ready: Callable[[], str]
    begun: Callable[[], bool] = lambda: True


@dataclass
class _Trial:
    """Values that are in use and not known to be good: since when, and since when the service is not ready."""

    began_s: float
    blamed: bool
    """Whether the service was ready before: otherwise the values are not to blame."""
    at_start: bool
    """Whether the service began with them, so that nobody knows yet how it is without them."""
    unready_since_s: float | None = None


class Watcher(Generic[L]):
    """Watches from `start` to `stop`; `begin` comes first and gives the values to start with.

    `facts`, `configured` and `live` are for any thread, the other methods for the one that builds the service.
    """

    def __init__(
        self, base: Base[L], values: CheckedValues[Document] | None, tools: WatchTools, poll_s: float = POLL_S
    ) -> None:
        """Read nothing yet; without `values` there is no live configuration, and `base` is in use for good."""
        self._base = base
        self._tools = tools
        self._poll_s = poll_s
        self._follower = (
            None if values is None else Follower(values, NAME, self._take, self._not_read, poll_s)
        )
        self._hooks: Hooks[L] | None = None
        self._lock = threading.Lock()
        self._live = base.values
        self._used = Taken()
        self._read = 0
        self._refused = ""
        self._remembered = Remembered()
        self._trial: _Trial | None = None
        self._doubted_since_s: float | None = None  # whether what was refused at the start was to blame
        self._repeater = Repeater(f"config-{base.section}", self.step)

    @property
    def live(self) -> L:
        """The values in use."""
        with self._lock:
            return self._live

    def begin(self) -> L:
        """The values to start with: the newest that may be tried, the last good ones where the store is away.

        Blocks for one reading. Raises nothing: a service starts with what it has.
        """
        if self._follower is None:
            return self.live
        self._remembered = self._recalled()
        self._begin_with_good()
        self._follower.look()
        if self._follower.current() is None:
            if (why := self._follower.fault()) is None:  # there never was one
                self._set(self._base.values, Taken(), None)
            else:
                self._tools.report("config_from_disk", {"revision": self._used.revision, "why": why})
        return self.live

    def _begin_with_good(self) -> None:
        good = self._remembered.good
        try:
            self._set(self._base.under(good.values), good, None)
        except AppiaError as error:  # good once, and no more by this release
            self._tools.report("config_not_remembered", {"why": str(error)})

    def start(self, hooks: Hooks[L]) -> None:
        """Follow from now on; does not block. A trial counts from here, or from when the service has begun."""
        self._hooks = hooks
        if self._trial is not None:
            self._trial.began_s = self._tools.monotonic()
        if self._follower is not None:
            self._repeater.start()

    def stop(self) -> None:
        """End; blocks for the step that may be under way."""
        self._repeater.stop()

    def configured(self) -> Configured:
        """The revision in use, and why a newer one is not."""
        with self._lock:
            return Configured(self._used.revision, self._fault())

    def facts(self) -> Info:
        """What the registry tells about the configuration of the service."""
        with self._lock:
            return {
                "config_revision": self._used.revision,
                "config_read": self._read,
                "config_trying": int(self._trial is not None),
                "config_fault": self._fault(),
                "config_pinned": ",".join(sorted(self._base.pinned)),
            }

    def _fault(self) -> str:
        """A store that is away is none: nothing is wrong with what is in use."""
        follower = self._follower
        unread = follower.fault() if follower is not None and not follower.is_away() else None
        return (self._refused or unread or "")[:_FAULT_CHARS]

    def step(self) -> float:
        """Look for a change, and at the trial; gives the seconds until the next look."""
        if self._follower is not None:
            self._follower.look()
        if self._trial is not None and self._hooks is not None:
            self._judge(self._trial, self._hooks)
        elif self._doubted_since_s is not None and self._hooks is not None:
            self._reconsider(self._doubted_since_s, self._hooks)
        return self._poll_s if self._trial is None else min(self._poll_s, TRIAL_POLL_S)

    def _take(self, held: Held[Document]) -> None:
        """A new revision of the document: is there anything new for this section, and may it be tried?"""
        wanted = Taken(revision=held.revision, values=held.content.of(self._base.section))
        refused = self._remembered.refused
        if _equal(self._used.values, wanted.values):
            self._note_same(wanted)
        elif refused is not None and _equal(refused.values, wanted.values):
            self._refuse(wanted, refused.why)
        else:
            self._try(wanted)
        with self._lock:  # last: who waits for this revision must not find the fault of the one before
            self._read = held.revision

    def _note_same(self, wanted: Taken) -> None:
        """Another revision, with nothing new for this service: what was refused is not wanted any more."""
        with self._lock:
            self._used = wanted
            self._refused = ""
        self._doubted_since_s = None
        known = self._remembered
        if self._trial is None and (
            known.refused or known.trying or not _equal(known.good.values, wanted.values)
        ):
            self._remember(Remembered(good=wanted))

    def _try(self, wanted: Taken) -> None:
        self._doubted_since_s = None
        tries = self._tries(wanted)
        if tries > MOST_TRIES:
            self._refuse(wanted, f"the service ended {tries - 1} times before it was ready with it")
            return
        try:
            live = self._base.under(wanted.values)
        except AppiaError as error:
            self._refuse(wanted, str(error))
            return
        trial = self._new_trial()
        trying = Trying(revision=wanted.revision, values=wanted.values, tries=tries)
        self._remember(Remembered(good=self._remembered.good, trying=trying))
        if (why := self._apply(live)) is not None:
            self._go_back(wanted, why)
            return
        self._set(live, wanted, trial)
        if self._hooks is not None:
            self._tell("config_taken", wanted)

    def _tries(self, wanted: Taken) -> int:
        """Which start with these values this is; one while the service runs counts once."""
        trying = self._remembered.trying
        if trying is None or not _equal(trying.values, wanted.values):
            return 1
        return trying.tries + (self._hooks is None)

    def _new_trial(self) -> _Trial:
        blamed = (
            self._trial.blamed if self._trial is not None else self._hooks is None or not self._hooks.ready()
        )
        return _Trial(self._tools.monotonic(), blamed, at_start=self._hooks is None)

    def _apply(self, live: L) -> str | None:
        """Make values those in use; None, or why that failed."""
        if self._hooks is None:
            return None
        try:
            self._hooks.apply(live)
        except Exception as error:  # noqa: BLE001 - whatever a part says against it, the last good values go on
            return str(error) if isinstance(error, AppiaError) else f"{type(error).__name__}: {error}"
        return None

    def _judge(self, trial: _Trial, hooks: Hooks[L]) -> None:
        """See whether what is on trial is good, or has to be taken back, or neither yet."""
        now = self._tools.monotonic()
        if not hooks.begun():
            trial.began_s = now
            return
        why = hooks.ready()
        if not why or not trial.blamed:
            trial.unready_since_s = None
            if now - trial.began_s >= self._tools.settle_s:
                self._accept()
            return
        if trial.unready_since_s is None:
            trial.unready_since_s = now
        if now - trial.unready_since_s >= self._tools.within_s:
            self._go_back(
                self._used, f"the service was not ready for {self._tools.within_s:g} s with it: {why}"
            )
            self._doubted_since_s = now if trial.at_start else None

    def _reconsider(self, since_s: float, hooks: Hooks[L]) -> None:
        """Whether the service is not ready without what was refused at its start either: then that was not to blame."""
        refused = self._remembered.refused
        if refused is None or not hooks.ready():
            self._doubted_since_s = None
        elif self._tools.monotonic() - since_s >= self._tools.within_s:
            wanted = Taken(revision=refused.revision, values=refused.values)
            self._tell("config_not_to_blame", wanted)
            self._try(wanted)

    def _accept(self) -> None:
        self._remember(Remembered(good=self._used))
        with self._lock:
            self._trial = None
        self._tell("config_good", self._used)

    def _go_back(self, bad: Taken, why: str) -> None:
        """Apply the last good values again, and refuse the others."""
        good = self._remembered.good
        self._refuse(bad, why)
        try:
            live = self._base.under(good.values)
        except AppiaError:  # good once, and no more by this release
            good, live = Taken(), self._base.values
        if (failed := self._apply(live)) is not None:
            self._tools.report("config_not_taken_back", {"revision": good.revision, "why": failed})
        self._set(live, good, None)

    def _set(self, live: L, used: Taken, trial: _Trial | None) -> None:
        with self._lock:
            self._live, self._used, self._trial = live, used, trial
            if trial is not None:
                self._refused = ""

    def _refuse(self, bad: Taken, why: str) -> None:
        good = self._remembered.good
        refused = Refused(revision=bad.revision, values=bad.values, why=why)
        self._remember(Remembered(good=good, refused=refused))
        with self._lock:
            self._refused = f"Revision {bad.revision} of the configuration is refused: {why}"
        self._tell("config_refused", bad, why=why)

    def _tell(self, event: str, what: Taken, **facts: Any) -> None:
        self._tools.report(event, {"revision": what.revision, "values": what.values, **facts})

    def _not_read(self, sentence: str) -> None:
        self._tools.report("config_not_read", {"why": sentence})

    def _recalled(self) -> Remembered:
        try:
            return self._tools.memory.read()
        except AppiaError as error:
            self._tools.report("config_not_remembered", {"why": str(error)})
            return Remembered()

    def _remember(self, remembered: Remembered) -> None:
        """What cannot be kept on disk is still known to this process."""
        self._remembered = remembered
        try:
            self._tools.memory.write(remembered)
        except AppiaError as error:
            self._tools.report("config_not_remembered", {"why": str(error)})


def _equal(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
