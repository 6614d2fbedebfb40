"""Which services should run, and whether they answer: by the registry, by what was expected, and by asking each.

The registry says where services are; whether one is down is for its own answer to say. So a registry that is away makes
nothing look dead: the addresses known from before are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.access.entrance import PUBLIC_KEY
from services.common.errors import AppiaError
from services.common.rpc import is_loopback
from services.health.memory import KnownService
from services.health.observation import Service
from services.health.probes.asking import Target
from services.health.probes.processes import resident_bytes
from services.health.probes.said import number, text, whole, yes_or_no

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from services.common.registry.port import Entry, Registry
    from services.health.probes.asking import Answer, Asker

INGESTER, REPLICA, ORIGIN, MIRROR = "ingester", "rag", "origin", "mirror"
KINDS = (INGESTER, REPLICA, ORIGIN, MIRROR)
_COPYING = {ORIGIN: "publish", MIRROR: "mirror"}
"""By the kind of what copies days, the key of its answer to `ping` that tells how that goes."""
PING_TIMEOUT_S = 2.0
STARTING_S = 60.0
"""So long after its own start health takes a service that it never saw for one that is starting."""
FORGET_NS = 86_400_000_000_000
"""Where nothing says which services are expected, one is looked for during so long after it was there last."""
MOST_SERVICES = 128
"""So many are asked at most: whoever fills the registry with names takes no connections from those that there are."""
_DAY_NS = 86_400_000_000_000
_MAX_STARTS = 100
_TEXT, _NAME = 300, 64


@dataclass(frozen=True)
class Listed:
    """What the registry said: why it did not answer, None where it did."""

    entries: tuple[Entry, ...] = ()
    fault: str | None = None


def list_services(registry: Registry) -> Listed:
    """The entries of all kinds. Blocks as the registry does, once where it does not answer."""
    found: list[Entry] = []
    for kind in KINDS:
        try:
            found += registry.entries(kind)
        except AppiaError as error:
            return Listed(fault=str(error))
    return Listed(tuple(found))


def known_services(
    known: dict[str, KnownService], expected: Sequence[str], listed: Listed, now_ns: int
) -> None:
    """Bring what is known up to date: addresses from the registry, and nobody who is not expected any more.

    Without `expected` (texts KIND/NAME) everybody is who was there within the last day.
    """
    for entry in listed.entries:
        subject = f"{entry.kind}/{entry.name}"
        service = known.setdefault(subject, KnownService())
        service.address = str(entry.info.get("control", entry.address))
        service.public_key = str(entry.info.get(PUBLIC_KEY, ""))
        service.seen_ns = now_ns
    for subject in expected:
        known.setdefault(subject, KnownService())
    if listed.fault is not None:
        return
    registered = {f"{entry.kind}/{entry.name}" for entry in listed.entries}
    _forget_old(known, expected, registered, now_ns)
    _leave_out(known, expected, registered)


def _forget_old(
    known: dict[str, KnownService], expected: Sequence[str], registered: AbstractSet[str], now_ns: int
) -> None:
    for subject, service in list(known.items()):
        recent = not expected and now_ns - service.seen_ns < FORGET_NS
        if subject not in registered and subject not in expected and not recent:
            del known[subject]


def _leave_out(known: dict[str, KnownService], expected: Sequence[str], registered: AbstractSet[str]) -> None:
    """Keep no more than can be asked: those that left go first, then those that came last."""
    newest_first = [subject for subject in reversed(known) if subject not in expected]
    for subject in sorted(newest_first, key=lambda one: one in registered)[
        : max(len(known) - MOST_SERVICES, 0)
    ]:
        del known[subject]


def ask_services(asker: Asker, known: Mapping[str, KnownService]) -> dict[str, Answer]:
    """Ping everybody whose address is known, at once. Blocks for two seconds at most."""
    targets = {
        subject: Target(service.address, service.public_key)
        for subject, service in known.items()
        if service.address
    }
    return asker.ask_all(targets, "ping", {}, PING_TIMEOUT_S)


def service_seen(
    subject: str, known: KnownService, answer: Answer | None, now_ns: int, looked_s: float
) -> Service:
    """What is to be said of one service; `known` takes in who answered, and since when nobody does.

    `looked_s` is for how long it could have been found, seconds. A process that took the place of another one which
    did not answer within that time counts as no restart: nobody watched, and all may have been stopped on purpose.
    """
    kind, _, name = subject.partition("/")
    alive = _alive(answer, looked_s)
    if alive is False:
        known.down_ns = known.down_ns or now_ns
    elif alive:
        known.down_ns = 0
        known.seen_ns = now_ns
    said = answer.value if answer is not None else None
    if said is not None:
        _note_process(known, whole(said.get("pid")) or 0, now_ns, looked_s)
    why = "it was never seen" if answer is None else answer.why
    return Service(
        kind=kind,
        name=name,
        address=known.address,
        answers=alive,
        why=text((said or {}).get("why"), _TEXT) or why[:_TEXT],
        down_s=max(now_ns - known.down_ns, 0) / 1e9 if known.down_ns else 0.0,
        pid=known.pid or None,
        rss_bytes=resident_bytes(known.pid or None) if alive and is_loopback(known.address) else None,
        restarts=sum(now_ns - start < _DAY_NS for start in known.starts),
        **_told(kind, said, answer),
    )


def _alive(answer: Answer | None, looked_s: float) -> bool | None:
    """Whether it answers. One that was never seen may be starting, as health itself is."""
    if answer is None:
        return None if looked_s < STARTING_S else False
    return answer.alive


def _told(kind: str, said: Mapping[str, Any] | None, answer: Answer | None) -> dict[str, Any]:
    """What it says of itself, as far as it says it."""
    if said is None or answer is None:
        return {}
    their_ns = whole(said.get("time_ns"))
    generation = said.get("newest_generation")
    middle_ns = (answer.asked_ns + answer.heard_ns) / 2
    return {
        "version": text(said.get("version"), _NAME),
        "uptime_s": number(said.get("uptime_s")),
        "ready": yes_or_no(said.get("ready")),
        "clock_offset_s": None if their_ns is None else (their_ns - middle_ns) / 1e9,
        "rows": whole(said.get("rows")),
        "newest_generation": None if generation is None else text(generation, _NAME),
        "config_revision": whole(said.get("config_revision")),
        "config_fault": text(said.get("config_fault"), _TEXT),
        "days_not_held": whole(said.get("days_not_held")),
        **_copying(kind, said),
    }


def _copying(kind: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """How it goes with what copies days; nothing of others, and where it is not told."""
    told = said.get(_COPYING.get(kind, ""))
    if not isinstance(told, dict):
        return {}
    faults = told.get("faults")
    first = faults[0] if isinstance(faults, list) and faults else ""
    found = {"behind_s": number(told.get("behind_s")), "fault": text(first, _TEXT)}
    return {**found, "days_not_held": whole(told.get("days_left_out"))} if kind == MIRROR else found


def _note_process(known: KnownService, pid: int, now_ns: int, looked_s: float) -> None:
    watched = known.heard_ns >= now_ns - looked_s * 1e9
    if known.pid and pid and pid != known.pid and watched:
        known.starts = [*known.starts, now_ns][-_MAX_STARTS:]
    known.pid = pid or known.pid
    known.heard_ns = now_ns
