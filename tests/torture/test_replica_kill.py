"""Real replicas, killed and frozen under load; and what the suite takes for a wrong answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from torture import replica_kill
from torture.in_ci import hold

from services.cli.store_folder import model_store_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_no_question_fails_while_replicas_are_killed(tmp_path: Path) -> None:
    """Twenty kills, some freezes, days sealed in between: every question is answered, and rightly."""
    if not (model_store_folder(None, os.environ) / "semantic" / "ACTIVE").exists():
        pytest.skip("no models are built: run `appia models build`")
    facts = hold(replica_kill.SUITE, tmp_path).facts
    assert facts["kills"] == 20
    assert min(facts["freezes"], facts["seals"]) >= 3
    assert facts["failed"] == 0
    assert facts["questions"] > 1000
    assert facts["events"] > 100


class Client:
    """Answers `list` with these events, whatever is asked."""

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids

    def list(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"events": [{"event_id": one} for one in self._ids]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ids: ids, ""),
        (lambda ids: ids[:-1], "1 are missing and 0 are there twice"),
        (lambda ids: [*ids, ids[0]], "0 are missing and 1 are there twice"),
        (lambda ids: ids[1:] + ids[:1], "of 100 events"),
    ],
)
def test_an_event_that_is_lost_or_doubled_is_a_wrong_answer(change: Any, said: str) -> None:
    """The last hundred events that were shown have to be there, each once, in their order."""
    growth = replica_kill.Growth(None)  # type: ignore[arg-type]
    ids = [replica_kill.grown_event(number)[0] for number in range(200, 300)]
    found = growth.wrong_in(Client(change(ids)), 300)
    assert said in found
    assert bool(found) == bool(said)
