"""What `appia feed` does: it opens the sender, reads path after path, shows progress and sums up."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import zmq

from services.cli.feed import Transport
from services.cli.options import required_state
from services.cli.output import plain, print_json, print_lines, say
from services.cli.running import read_running
from services.common.errors import UsageError
from services.common.wire.boots import next_boot
from services.common.wire.keys import (
    DEFAULT_V1_CHANNEL,
    DEFAULT_V2_CHANNEL,
    FIREWALL_DECISIONS,
    read_key_ring,
)
from services.common.wire.ring_watch import RingWatch
from services.common.wire.v1 import V1Sealer
from services.feed.main import FeedOptions, FeedSummary, FeedWatch, run_feed, stop_on_signals
from services.feed.readers import DECISIONS, reader_of
from services.feed.readers.port import LabelMode, ReadOptions
from services.feed.reliable import ReliableSender, ReliableSettings, new_origin
from services.feed.sender import V1Pub, V1Push

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.cli.feed import Amount, Reading, Target
    from services.common.wire.acks import Ack
    from services.common.wire.keys import KeyRing
    from services.feed.sender import Context, Sender

INTERRUPTED = 130
SUBSCRIBER_SECONDS = 30.0
REFUSALS_SHOWN = 20
OLD_WIRE = (
    "wire version 1 has no acknowledgement, and a receiver sets aside events that are over 7 days old unless its "
    "setting v1_backfill is true"
)

Groups = tuple["Target", "Reading", "Amount"]


@dataclass(frozen=True)
class Way:
    """Where events go, how, and with which keys."""

    endpoint: str
    keys: Path
    transport: Transport
    channel: str
    decisions: bool = False  # of firewalls, and no events


@dataclass
class Total:
    """What became of all paths so far; `receiver` counts what the receiver refused, by reason."""

    receiver: Counter[str] = field(default_factory=Counter)
    done: FeedSummary = field(default_factory=FeedSummary)

    def on_ack(self, ack: Ack) -> None:
        """Count what one acknowledgement says was refused."""
        self.receiver.update(ack.refused)

    def with_run(self, run: FeedSummary) -> FeedSummary:
        """The summary over the paths that are done and the run of the next one.

        A run counts the receiver's refusals since the start of all; its own are what is left without them.
        """
        before = self.done
        own = Counter(run.refused) - self.receiver
        return FeedSummary(
            read=before.read + run.read,
            sent=before.sent + run.sent,
            acknowledged=run.acknowledged,
            duplicates=run.duplicates,
            refused=dict(Counter(before.refused) + own),
            skipped=dict(Counter(before.skipped) + Counter(run.skipped)),
            refusals=(before.refusals + run.refusals)[:REFUSALS_SHOWN],
            seconds=before.seconds + run.seconds,
        )

    def all_refused(self) -> dict[str, int]:
        """What reader and receiver refused, by reason."""
        return dict(Counter(self.done.refused) + self.receiver)


def run(paths: tuple[str, ...], form: str, groups: Groups) -> int:
    """Feed and print the summary; returns the exit status.

    Raises:
        UsageError: an option, a format or a path is wrong.
        AppiaError: keys cannot be read, or nobody takes the events.
    """
    target, reading, amount = groups
    decisions = reader_of(form).name in DECISIONS
    _check_paths(paths)
    way = replace(_way(target, decisions=decisions), decisions=decisions)
    ring = read_key_ring(way.keys)
    if way.transport is not Transport.V2:
        say(OLD_WIRE)
    stop = threading.Event()
    options = FeedOptions(
        source=paths[0],
        format=form,
        read=_read_options(reading, ring, stop),
        rate=amount.rate,
        limit=amount.limit,
        repeat=amount.repeat,
        shift_days=amount.shift_days,
        strict=reading.strict,
    )
    total = Total()
    with (
        _sender(way, ring, total.on_ack) as sender,
        _progress(show=not amount.as_json) as show,
        stop_on_signals(stop),
    ):
        _feed_paths(paths, options, sender, (total, show))
    _print_summary(total, way.transport, as_json=amount.as_json)
    if stop.is_set() and not reading.follow:
        return INTERRUPTED
    return 1 if total.all_refused() else 0


def _feed_paths(
    paths: tuple[str, ...],
    options: FeedOptions,
    sender: Sender,
    told: tuple[Total, Callable[[FeedSummary], None]],
) -> None:
    total, show = told
    watch = FeedWatch(progress=lambda run: show(total.with_run(run)), refused=total.receiver)
    for path in paths:
        left = None if options.limit is None else options.limit - total.done.sent
        over = left == 0 or options.read.stop.is_set() or (options.strict and total.all_refused())
        if over:
            return
        run = run_feed(replace(options, source=path, limit=left), sender, watch)
        total.done = total.with_run(run)


def _check_paths(paths: tuple[str, ...]) -> None:
    for path in paths:
        if path != "-" and not Path(path).exists():
            raise UsageError(f"there is no file or folder {path}")


def _way(target: Target, *, decisions: bool) -> Way:
    version_1 = target.transport is not Transport.V2
    old_channel = FIREWALL_DECISIONS if decisions else DEFAULT_V1_CHANNEL
    channel = target.channel or (old_channel if version_1 else DEFAULT_V2_CHANNEL)
    if target.to is not None:
        keys = target.keys or (target.state / "keys" if target.state else None)
        if keys is None:
            raise UsageError("--to needs the keys that the receiver has: give their folder with --keys DIR")
        return Way(target.to, keys, target.transport, channel)
    if target.transport is Transport.V1_PUB:
        raise UsageError("v1-pub publishes at an endpoint of its own: give it with --to tcp://HOST:PORT")
    if version_1 and decisions:
        raise UsageError(
            "decisions travel in version 1 to the ingester's firewall_v1_pull: give it with --to"
        )
    running = read_running(required_state(target.state))
    endpoint = running.ingester.v1_pull if version_1 else running.ingester.v2
    if not endpoint:
        raise UsageError("this stack takes no events of wire version 1: feed it with --transport v2")
    return Way(endpoint, target.keys or Path(running.keys), target.transport, channel)


def _read_options(reading: Reading, ring: KeyRing, stop: threading.Event) -> ReadOptions:
    try:
        zone = ZoneInfo(reading.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"{reading.timezone!r} is no time zone that this system knows: give one such as America/Halifax"
        ) from None
    return ReadOptions(
        labels=LabelMode(reading.labels.value),
        node=reading.node,
        timezone=zone,
        follow=reading.follow,
        stop=stop,
        seeds=(*ring.opening_seeds(), *ring.nodes.values()),
    )


@contextlib.contextmanager
def _sender(way: Way, ring: KeyRing, on_ack: Callable[[Ack], None]) -> Iterator[Sender]:
    with zmq.Context() as context, contextlib.closing(_open_sender(context, way, ring, on_ack)) as sender:
        yield sender


def _open_sender(context: Context, way: Way, ring: KeyRing, on_ack: Callable[[Ack], None]) -> Sender:
    watch = RingWatch(way.keys, ring, _tell_keys)
    if way.transport is Transport.V2:
        origin = new_origin(way.channel)
        settings = ReliableSettings(way.endpoint, origin, backfill=True, decisions=way.decisions)
        sender = ReliableSender(context, settings, ring, on_ack, watch)
        sender.on_silence = say
        return sender
    sealer = V1Sealer(ring.sealing_seed(), way.channel, next_boot(way.keys / "v1-sender.boot"))
    if way.transport is Transport.V1_PUSH:
        pusher = V1Push(context, way.endpoint, sealer)
        pusher.watch = watch
        return pusher
    publisher = V1Pub(context, way.endpoint, sealer)
    publisher.watch = watch
    publisher.wait_for_subscriber(SUBSCRIBER_SECONDS)
    return publisher


def _tell_keys(_event: str, facts: dict[str, Any]) -> None:
    """Tell the operator that the key ring changed, or that it cannot be used and the one before goes on."""
    if "why" in facts:
        say(f"the key ring as it is now cannot be used, the one before goes on: {facts['why']}")
    else:
        say(f"the key ring was read again: key {facts['primary']} seals")


@contextlib.contextmanager
def _progress(*, show: bool) -> Iterator[Callable[[FeedSummary], None]]:
    """A function that shows how far it is: on standard error, and only on a terminal."""
    if not show or not sys.stderr.isatty():
        yield lambda _summary: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - as above

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading")

        def update(summary: FeedSummary) -> None:
            rate = summary.sent / summary.seconds if summary.seconds else 0.0
            text = f"{summary.read:,} read, {summary.acknowledged:,} on disk, {rate:,.0f} events/s"
            bar.update(task, description=text)

        yield update


def _print_summary(total: Total, transport: Transport, *, as_json: bool) -> None:
    summary = replace(total.done, refused=total.all_refused())
    _print_refusals(summary, sum(total.done.refused.values()), total.receiver)
    if as_json:
        print_json(summary.as_dict())
        return
    rate = summary.sent / summary.seconds if summary.seconds else 0.0
    fate = f"{summary.acknowledged:,} acknowledged"
    if summary.duplicates:
        fate += f" ({summary.duplicates:,} of them known before)"
    if transport is not Transport.V2:
        fate = "not acknowledged (wire version 1 cannot)"
    refused = f"{sum(summary.refused.values()):,} refused"
    print_lines(
        f"{summary.read:,} read, {summary.sent:,} sent, {fate}, {refused}; "
        f"{summary.seconds:.1f} s, {rate:,.0f} events/s"
    )
    _print_counts("refused", summary.refused)
    _print_counts("skipped", summary.skipped)


def _print_counts(what: str, counts: dict[str, Any]) -> None:
    if counts:
        print_lines(f"{what}: " + ", ".join(f"{reason} {n:,}" for reason, n in sorted(counts.items())))


def _print_refusals(summary: FeedSummary, by_reader: int, receiver: Counter[str]) -> None:
    lines = list(summary.refusals)
    if by_reader > len(lines):
        lines.append(f"... and {by_reader - len(lines):,} more")
    lines += [f"the receiver refused {n:,}: {reason}" for reason, n in sorted(receiver.items())]
    for line in lines:
        sys.stderr.write(plain(line) + "\n")
