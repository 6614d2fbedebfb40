"""The events of an answer are found wherever they stand, and the answer itself is left as it is."""

from __future__ import annotations

import copy
from typing import Any

from services.rag.shown import change_events


def _event(event_id: str, **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "narrative": "n", "src_ip": "10.0.0.1", **more}


def test_every_event_is_changed_and_nothing_else() -> None:
    """In lists, groups and alone; what has only the id of an event is none; parts kept for other answers stay."""
    answer = {
        "event": _event("a"),
        "groups": [{"narrative": "n", "examples": [_event("b"), _event("c", more=[_event("d")])]}],
        "remarks": [{"event_id": "e", "note": "x"}],
        "receipt": {"rows": 5},
    }
    before = copy.deepcopy(answer)
    seen: list[str] = []

    def change(event: dict[str, Any]) -> dict[str, Any]:
        seen.append(event["event_id"])
        return {**event, "said": True}

    changed = change_events(answer, change)
    assert answer == before
    assert sorted(seen) == ["a", "b", "c", "d"]
    assert changed["groups"][0]["examples"][1]["more"] == [_event("d", said=True)]
    assert (changed["remarks"], changed["receipt"]) == (answer["remarks"], answer["receipt"])
