"""What the ingester counts, and how that changes: rates, and what came within the last minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.health.observation import Intake
from services.health.probes.said import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.health.memory import Counted

WINDOW_NS = 300_000_000_000
MINUTE_NS = 55_000_000_000
"""Rates a minute are over the last sample that is at least so old; rounds are not exactly as long as they should be."""
MOST_COUNTED = 500
"""So many sensors at most are followed, those that came first; the ingester counts 10,000, too many to remember."""
MOST_NODES = 100
"""So many sensors at most are told of, those with the highest counts: the senders name them."""

FORGED = frozenset({"bad_tag", "unknown_key", "wrong_node", "too_many_trials"})
"""Reasons for which a frame is refused that no sound sender brings about: its key does not fit."""
COPIED = frozenset({"nonce_reused", "salt_changed"})
"""Two processes that believe to be the same sender."""

_REFUSED, _NONCES, _MISSING = "refused/", "nonces/", "missing/"
_ACCEPTED = "accepted"


def look_at_intake(status: Mapping[str, Any], counted: Counted, now_ns: int) -> Intake:
    """What the ingester's `status` says, with what changed; `counted` takes the sample in.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is no status of this release.
    """
    before = counted.samples[-1] if counted.samples else None
    raw = _counters(status, counted.raw)
    now = _add_up(counted, str(status["started"]), raw)
    window = _since(counted, now, now_ns - WINDOW_NS)
    minute = _since(counted, now, now_ns - MINUTE_NS)
    minutes = _minutes(counted, now_ns)
    counted.samples = [*_kept(counted, now_ns), (now_ns, now)]
    _forget_old(counted, raw)
    refused = _below(_REFUSED, minute)
    return Intake(
        started=str(status["started"]),
        accepted=int(count(status["accepted"])),
        accepted_per_s=_per_s(before, now, now_ns),
        refused_per_minute={reason: many / minutes for reason, many in refused.items()},
        forged_frames=_sum(_below(_REFUSED, window), FORGED),
        copied_frames=_sum(_below(_REFUSED, window), COPIED),
        nonces_repeated=_largest(_below(_NONCES, window)),
        index_lag={str(name): count(rows) for name, rows in status["index_lag"].items()},
        queue_bytes=int(count(status["queue_bytes"])),
        paused=bool(status["paused"]),
        dead_letter_events=int(sum(map(count, status["refused"].values()))),
        v1_missing=_largest(_below(_MISSING, window)),
    )


def _counters(status: Mapping[str, Any], known: Mapping[str, float]) -> dict[str, float]:
    """What is counted since the ingester began, by name. Of sensors only those that something was counted of."""
    found = {_ACCEPTED: count(status["accepted"])}
    found |= {f"{_REFUSED}{reason}": count(many) for reason, many in status["refused"].items()}
    for prefix, key in ((_NONCES, "nonces_reused"), (_MISSING, "missing")):
        counts = {prefix + node: count(seen[key]) for node, seen in status["v1_nodes"].items()}
        counts = {name: many for name, many in counts.items() if many or name in known}
        ordered = sorted(counts, key=lambda name: name not in known)  # those that are followed go on being so
        found |= {name: counts[name] for name in ordered[:MOST_COUNTED]}
    return found


def _forget_old(counted: Counted, raw: Mapping[str, float]) -> None:
    """Keep no name that nobody counts any more and that has no news: whoever names sensors invents more without end."""
    first, last = counted.samples[0][1], counted.samples[-1][1]
    for name in [name for name, many in last.items() if name not in raw and first.get(name, 0.0) == many]:
        for _, counts in counted.samples:
            counts.pop(name, None)


def _add_up(counted: Counted, started: str, raw: Mapping[str, float]) -> dict[str, float]:
    """The counts over all processes so far: what the present one counted since it was asked last goes on top.

    The first ingester that is ever seen is not counted from its start: what it saw until then is no news.
    """
    last = counted.samples[-1][1] if counted.samples else dict(raw)
    base: Mapping[str, float] = {}
    if not counted.samples:
        base = raw
    elif started == counted.started:
        base = counted.raw
    total = {
        name: last.get(name, 0.0) + _news(name, many - base.get(name, 0.0)) for name, many in raw.items()
    }
    counted.started, counted.raw = started, dict(raw)
    return {**{name: many for name, many in last.items() if name not in total}, **total}


def _news(name: str, change: float) -> float:
    """What a change of a counter means: nothing where it is less, but that missing frames came late."""
    return change if name.startswith(_MISSING) else max(change, 0.0)


def _since(counted: Counted, now: Mapping[str, float], since_ns: int) -> dict[str, float]:
    """What was counted since a moment, or since the first sample after it where there is none before."""
    older = [sample for sample in counted.samples if sample[0] <= since_ns]
    first = older[-1:] or counted.samples[:1]
    base = first[0][1] if first else now
    return {name: max(many - base.get(name, 0.0), 0.0) for name, many in now.items()}


def _minutes(counted: Counted, now_ns: int) -> float:
    """How long the counts since a minute ago really took, in minutes; at least one."""
    older = [sample for sample in counted.samples if sample[0] <= now_ns - MINUTE_NS]
    return max((now_ns - older[-1][0]) / 60e9, 1.0) if older else 1.0


def _kept(counted: Counted, now_ns: int) -> list[tuple[int, dict[str, float]]]:
    """The samples of the window and the last one before it; none of a clock that was ahead."""
    past = [sample for sample in counted.samples if sample[0] < now_ns]
    before = [sample for sample in past if sample[0] <= now_ns - WINDOW_NS][-1:]
    return before + [sample for sample in past if sample[0] > now_ns - WINDOW_NS]


def _per_s(
    before: tuple[int, dict[str, float]] | None, now: Mapping[str, float], now_ns: int
) -> float | None:
    if before is None or now_ns <= before[0]:
        return None
    return (now[_ACCEPTED] - before[1].get(_ACCEPTED, 0.0)) / ((now_ns - before[0]) / 1e9)


def _below(prefix: str, counts: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): many for name, many in counts.items() if name.startswith(prefix)}


def _sum(counts: Mapping[str, float], reasons: frozenset[str]) -> int:
    return int(sum(many for reason, many in counts.items() if reason in reasons))


def _largest(counts: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:MOST_NODES])
