"""What a right can be about: operations, groups of them, and indices.

The services name their operations themselves; tests hold these lists against theirs. An operation that is not listed
here is nobody's right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

QUESTIONS = (
    "similar",
    "search",
    "hybrid",
    "explain",
    "novel",
    "timeline",
    "campaigns",
    "get",
    "list",
    "feedback",
    "days",
    "stats",
)
"""What a replica is asked. `feedback` lists remarks; giving one is `ingester.feedback`."""

INGESTER = "ingester."
"""Before the name of every operation of the ingester's control socket."""

REMARK = f"{INGESTER}feedback"
LOOKS = tuple(f"{INGESTER}{name}" for name in ("status", "seal_status", "indices", "holds"))
HEALTH = "health."
"""Before the name of every operation of the health service."""
HEALTH_LOOKS = tuple(f"{HEALTH}{name}" for name in ("fleet", "alerts"))
HEALTH_CHANGES = tuple(f"{HEALTH}{name}" for name in ("check_now", "forget", "test_alert"))
CHANGES = tuple(
    f"{INGESTER}{name}"
    for name in (
        "seal",
        "reindex",
        "activate",
        "rollback",
        "replay",
        "adopt",
        "sign_removal",
        "drop",
        "repack",
        "repair",
        "hold",
        "unhold",
    )
)

ORIGIN = "origin."
"""Before the name of every operation of an origin, which serves the files of days."""
MIRRORING = tuple(f"{ORIGIN}{name}" for name in ("list", "stat", "read"))

PING = "ping"
"""Every key that is known may ask this, of every service."""
FACTS = "facts"
"""The right to what `ping` tells beyond which process answers: how much there is, and the configuration in use."""

QUALITY = "quality"
"""How well a replica's indices find what is near: about its files, not about events."""

OPERATIONS = (
    *QUESTIONS,
    REMARK,
    FACTS,
    QUALITY,
    *LOOKS,
    *CHANGES,
    *HEALTH_LOOKS,
    *HEALTH_CHANGES,
    *MIRRORING,
)

ALL = "all"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "questions": QUESTIONS,
    "remarks": (REMARK,),
    "look": (FACTS, QUALITY, *LOOKS, *HEALTH_LOOKS),
    "control": (FACTS, QUALITY, *LOOKS, *CHANGES, *HEALTH_LOOKS, *HEALTH_CHANGES),
    "mirror": MIRRORING,
    ALL: OPERATIONS,
}
"""Names that stand for several operations."""

INDICES = ("attack", "semantic", "temporal", "entity")
