"""Groups of options reach a command as the dataclasses it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from services.cli.filters import FilterOptions
from services.cli.options import grouped, required_state
from services.common.errors import UsageError
from services.rag.arguments import FILTER_KEYS, parse_filters


@dataclass(frozen=True)
class Pair:
    """Two options."""

    left: Annotated[int, typer.Option(help="Left.")] = 1
    right: Annotated[list[str] | None, typer.Option(help="Right.")] = None


def test_a_group_becomes_options_and_an_object() -> None:
    """Each field is an option with its default, and the command gets one object and its own parameters."""
    seen = []

    def command(*, word: Annotated[str, typer.Argument()], pair: Pair) -> None:
        seen.append((word, pair))

    app = typer.Typer()
    app.command()(grouped(command))
    assert CliRunner().invoke(app, ["a"]).exit_code == 0
    assert CliRunner().invoke(app, ["b", "--left", "2", "--right", "x", "--right", "y"]).exit_code == 0
    assert seen == [("a", Pair()), ("b", Pair(2, ["x", "y"]))]
    assert CliRunner().invoke(app, ["c", "--left", "x"]).exit_code == 2


def test_filters_are_those_of_the_replica() -> None:
    """Every filter a replica knows is an option here, and the other way round."""
    everything = {name: ["x"] for name in FilterOptions.__dataclass_fields__}
    everything["until"] = "x"  # type: ignore[assignment] # a single text
    assert set(FilterOptions(**everything).request()) == FILTER_KEYS  # type: ignore[arg-type]
    assert FilterOptions().request() == {}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2026-01-22", "2026-01-23"),
        ("2025-12-31", "2026-01-01"),
        ("2026-01-22T14:00:00Z", "2026-01-22T14:00:00Z"),
    ],
)
def test_a_day_as_end_is_its_last_moment(given: str, sent: str) -> None:
    """A replica leaves out its `until`, so a day is sent as the one after it."""
    request = FilterOptions(until=given).request()
    assert request == {"until": sent}
    assert parse_filters(request).until_ns is not None


@pytest.mark.parametrize("day", ["2026-13-01", "2026-02-30", "9999-12-31"])
def test_a_day_that_is_none_is_refused(day: str) -> None:
    """It is refused before anybody is asked."""
    with pytest.raises(UsageError, match="is not a day"):
        FilterOptions(until=day).request()


def test_a_state_directory_is_needed() -> None:
    """The sentence names the option and the variable."""
    assert required_state(Path("x")) == Path("x")
    with pytest.raises(UsageError, match="Give --state DIR, or set APPIA_STATE"):
        required_state(None)
