"""A whole stack drops what is too old, by itself; never a day that a case holds or a replica still reads."""

from __future__ import annotations

import gzip
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.holds import read_book

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Stack = Any

FLOWS = 300


def day_before(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d")


@pytest.fixture(scope="module")
def old_days(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> dict[str, Path]:
    """A few flows of the sample, moved to days of weeks ago."""
    head, *flows = gzip.decompress(sample.read_bytes()).decode().splitlines()[: FLOWS + 1]
    recorded = flows[0].split(",")[5].partition(" ")[0]
    folder, found = tmp_path_factory.mktemp("days"), {}
    for age in (50, 40, 20):
        day = day_before(age)
        found[day] = folder / f"{day}.csv"
        found[day].write_text("\n".join([head, *(flow.replace(recorded, day) for flow in flows)]) + "\n")
    return found


@pytest.fixture(scope="module")
def stack(
    start_stack: Callable[..., Stack],
    old_days: dict[str, Path],
    end_of: Callable[..., Any],
    tmp_path_factory: Any,
) -> Stack:
    """Two replicas and health, which looks each second; three sealed days."""
    settings = tmp_path_factory.mktemp("settings") / "settings.toml"
    # Age alone decides, however full this machine's disk is.
    settings.write_text("[health]\ninterval_s = 1.0\nkeep_percent = 0\n")
    started = start_stack("--replicas", "2", "--settings", str(settings), "--watchdog", "0")
    for day, file in old_days.items():
        end_of(started.feed("--format", "cicflowmeter", str(file)))
        started.appia("seal", day)
    return started


def test_a_day_that_is_too_old_goes_when_nobody_holds_or_reads_it(
    stack: Stack, old_days: dict[str, Path], eventually: Callable[..., None]
) -> None:
    """A case holds one, a frozen replica reads the other: each goes when that has ended, and the third one stays."""
    held, read, kept = old_days
    stack.appia("hold", held, "--case", "smith")
    plan = stack.appia("retention", "plan", "--keep-days", "30", "--keep-percent", "0")
    assert [one["day"] for one in plan["drops"]] == [read]
    frozen = stack.now.replicas[1].pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        stack.appia("config", "set", "health.retention_enabled=true", "health.keep_days=30", "--wait", "0")
        eventually("it was decided", lambda: read in read_book(stack.names.retention).refused)
        eventually("nothing is served of it", lambda: not stack.names.day(read).current.exists())
        assert stack.names.day(read).generations() == [1], "its files are there"
        assert stack.names.day(held).current.exists()
    finally:
        os.kill(frozen, signal.SIGCONT)
    eventually("its files are gone", lambda: not stack.names.day(read).folder.exists())
    stack.appia("hold", held, "--case", "smith", "--release")
    eventually("the other is gone", lambda: not stack.names.day(held).folder.exists())
    eventually("nothing is going any more", lambda: read_book(stack.names.retention).going == ())
    assert stack.names.days() == [kept]
    assert stack.rows() == {kept: FLOWS}
    assert {one["day"] for one in stack.appia("retention", "list")["dropped"]} == {held, read}
    assert stack.appia("verify")["chain"]["faults"] == []
    again = stack.feed("--format", "cicflowmeter", str(old_days[held]))
    _, said = again.communicate(timeout=60)
    assert (again.returncode, "day_dropped" in said) == (1, True), "what comes for it later is refused"
