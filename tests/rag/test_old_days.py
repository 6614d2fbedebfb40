"""Days that a release without a column of tags wrote are filtered alike, written on, and sealed."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.days.columns import TAGS
from services.common.days.open_writer import ColumnWriter
from services.common.days.verify import verify_day
from services.rag.arguments import parse_filters

if TYPE_CHECKING:
    from services.rag.catalog import Snapshot
    from services.rag.segments import Segment

OLD = Path(__file__).parents[1] / "data" / "formats" / "days-without-tags"
SEALED, OPEN = "2026-01-20", "2026-01-22"
WANTED = (["web"], ["lat*"], [""], ["*"], ["exfil", "lateral"], ["nothing"])


@pytest.fixture
def old(make_world: Any, tmp_path: Path) -> Any:
    """A world that goes on where the old release stopped."""
    shutil.copytree(OLD, tmp_path / "old")
    (tmp_path / "old").chmod(0o750)  # a checkout may be open to others, a state directory must not be
    return make_world(tmp_path / "old")


def _tags(segment: Segment) -> list[list[str]]:
    events = segment.view.events.fetch(range(segment.view.rows))
    return [fields["tags"].split(",") if fields["tags"] else [] for fields in events]


def _check(segment: Segment) -> None:
    tags = _tags(segment)
    for wanted in WANTED:
        passing = parse_filters({"tags": wanted}).select(segment)
        chosen = list(range(len(tags))) if passing is None else passing.rows.tolist()
        assert chosen == [row for row, has in enumerate(tags) if _passes(has, wanted)]


def _passes(has: list[str], wanted: list[str]) -> bool:
    starts = tuple(text.removesuffix("*") for text in wanted if text.endswith("*"))
    return any(tag in wanted or tag.startswith(starts) for tag in has) if has else "" in wanted


def _has_column(snapshot: Snapshot) -> list[bool]:
    return [TAGS in segment.view.columns for segment in snapshot.segments]


def test_tags_of_old_days_are_found_in_their_database(old: Any, follow: Any) -> None:
    """Without a column of tags the same rows pass, within a span of time as well."""
    with follow(old).lease() as snapshot:
        assert _has_column(snapshot) == [False, False]
        for segment in snapshot.segments:
            _check(segment)
            middle = int(np.median(np.asarray(segment.view.columns["time_ns"], np.int64)))
            late = parse_filters({"tags": "*", "since": middle}).select(segment)
            times, tags = segment.view.columns["time_ns"], _tags(segment)
            assert late is not None
            assert late.rows.tolist() == [row for row in range(12) if times[row] >= middle and tags[row]]


def test_an_old_segment_gets_its_tags_when_it_is_written_on(old: Any, follow: Any) -> None:
    """The next writer fills in the column, and a replica that followed the segment counts all of it."""
    catalog = follow(old)
    with catalog.lease() as snapshot:
        _check(snapshot.segments[1])
    names = old.state.day(OPEN).segment(1)
    with closing(ColumnWriter(old.disk, names)) as writer:
        assert (writer.rows, names.tags.stat().st_size) == (12, 48)
    old.write(OPEN, old.make(OPEN, 9), index=False)
    with follow(old).lease() as snapshot:
        assert _has_column(snapshot) == [False, True]
        assert snapshot.segments[1].view.rows == 21
        _check(snapshot.segments[1])


def test_an_old_day_gets_its_tags_when_it_is_sealed(old: Any, follow: Any) -> None:
    """A generation made of an old one and of old segments has the column, and is whole."""
    for day in (SEALED, OPEN):
        old.seal(day, through=2)
        assert not verify_day(old.state.day(day)).faults
    with follow(old).lease() as snapshot:
        assert _has_column(snapshot) == [True, True]
        for segment in snapshot.segments:
            _check(segment)


def test_a_column_that_was_cut_short_is_completed(world: Any) -> None:
    """Where a crash left less of the column than there are rows, it is written anew from the database."""
    world.write(OPEN, world.make(OPEN, 30), index=False)
    world.close()
    world._open.clear()
    names = world.state.day(OPEN).segment(1)
    whole = names.tags.read_bytes()
    names.tags.write_bytes(whole[:41])
    with closing(ColumnWriter(world.disk, names)):
        assert names.tags.read_bytes() == whole
