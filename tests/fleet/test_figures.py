"""What the fleet counts is what happened: nothing that failed, was lost or came twice is passed over."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from fleet.analyst import Asked
from fleet.figures import holdings, quantile, read_record, span

if TYPE_CHECKING:
    from pathlib import Path

RECORD = [
    Asked("a", "list", 10.0, 0.1, "client", behind_s=0.5),
    Asked("b", "search", 11.0, 0.3, "client", missing=1),
    Asked("a", "stats", 12.0, 10.0, "new client", "RpcTimeout: no answer"),
    Asked("a", "list", 13.0, 4.0, "command line", behind_s=2.5),
    Asked("a", "list", 20.0, 9.0, "client", "AppiaError: nobody"),
]


def test_a_record_is_read_up_to_the_line_that_is_being_written(tmp_path: Path) -> None:
    lines = [json.dumps(asdict(one)) for one in RECORD]
    (tmp_path / "record").write_text("\n".join([*lines, '{"site": "a", "que']))
    assert read_record(tmp_path / "record") == RECORD
    assert read_record(tmp_path / "none") == []


def test_a_span_counts_what_was_asked_in_it_and_every_failure() -> None:
    seen = span(RECORD, 10.0, 20.0)
    assert (seen.asked, seen.incomplete, seen.middle_s, seen.slowest_s) == (4, 1, 0.3, 10.0)
    assert (seen.behind_s, seen.furthest_behind_s) == (2.5, 2.5)
    assert seen.failed == ("a: stats by new client: RpcTimeout: no answer",)
    assert span(RECORD, 10.0, 20.0, "b").asked == 1
    assert span(RECORD, 30.0, 40.0) == span([], 0.0, 1.0)


def test_a_quantile_is_a_value_that_was_measured() -> None:
    assert quantile([], 0.5) == 0.0
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]


def test_what_a_replica_lacks_has_twice_or_has_from_elsewhere_is_counted() -> None:
    held: dict[str, list[str] | str] = {"1": ["x", "y"], "2": ["x", "x", "z"], "3": "It did not answer."}
    first, second, third = holdings("a", {"x", "y"}, held)
    assert first.is_right
    assert (second.lost, second.doubled, second.foreign, second.is_right) == (1, 1, 1, False)
    assert (third.lost, third.fault, third.is_right) == (2, "It did not answer.", False)
