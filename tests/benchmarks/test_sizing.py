"""What a machine needs is reckoned as the guide says, from figures that were measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sizing import (
    BEGIN,
    END,
    GB,
    MIB,
    Costs,
    Line,
    Needs,
    Sizes,
    filled,
    formula,
    line_through,
    table,
)
from services.cli.store_folder import model_store_folder

PROJECT = Path(__file__).parents[2]
GUIDE = PROJECT / "docs" / "sizing.md"
RESULT = PROJECT / "benchmarks" / "results" / "sizing.json"

NEEDS = Needs(
    events=1_000_000,
    sizes=Sizes(open=1500, sealed=800, pulled=2000, backup=700),
    costs=Costs(feed=35, ingester=50, sealer=60, replica=10),
    ingester=Line(200, 100 / MIB),
    sealer=Line(150, 500 / MIB),
    replica=Line(250, 10 / MIB),
    health=Line(35, 0),
)


@pytest.mark.parametrize(
    ("points", "base", "each"),
    [
        ([(0, 10), (10, 30)], 10, 2),
        ([(1, 12), (2, 14), (3, 16)], 10, 2),
        ([(5, 7)], 7, 0),
        ([(5, 7), (5, 9)], 9, 0),
        ([(0, 30), (10, 20)], 30, 0),
    ],
)
def test_a_line_through_points(points: list[tuple[float, float]], base: float, each: float) -> None:
    """Memory that would fall with more events is taken as level, at its most."""
    line = line_through(points)
    assert (line.base, line.each) == pytest.approx((base, each))


def test_needs_follow_the_formula() -> None:
    assert NEEDS.disk_gb(1_000_000, 30) == pytest.approx(1e6 * (2 * 1500 + 30 * 800) / 0.8 / GB)
    assert NEEDS.cores(1_000_000) == pytest.approx(250_000 / 3600 * 60e-6)
    assert NEEDS.sealing_minutes(1_000_000) == pytest.approx(1.0)
    assert NEEDS.writer_mib(MIB) == pytest.approx(200 + 100 + 150 + 500 + 35)
    assert NEEDS.replica_mib(MIB, 30) == pytest.approx(250 + 300)
    assert NEEDS.pulled_mbit(86_400) == pytest.approx(2000 * 8 / 1e6)


def test_the_table_has_a_cell_for_each_figure_and_marks_what_is_far_away() -> None:
    head, rule, *rows = table(NEEDS)
    assert head.count("|") == rule.count("|") == 10
    assert {row.count("|") for row in rows} == {10}
    cells = {row.split("|")[1].strip(): row for row in rows}
    assert "34 GB | " in cells["1,000,000"]
    assert "~" not in cells["100,000"]
    assert cells["1,000,000"].count("~") == 1
    assert cells["50,000,000"].count("~") == 2


def test_a_guide_is_filled_between_its_marks() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = filled(text, NEEDS, "Measured today.")
    assert new.startswith(f"before\n{BEGIN}\nMeasured today.\n")
    assert new.endswith(f"{END}\nafter\n")
    assert "old" not in new
    assert filled(new, NEEDS, "Measured today.") == new
    with pytest.raises(ValueError, match="has no"):
        filled("nothing", NEEDS, "")


def test_the_guide_has_the_figures_of_the_result() -> None:
    """Whoever measures again writes both (`--docs docs/sizing.md`)."""
    needs = Needs.of(json.loads(RESULT.read_text())["figures"])
    text = GUIDE.read_text()
    for line in (*formula(needs), *table(needs)):
        assert line in text, "run: python benchmarks/bench_sizing.py --docs docs/sizing.md"


def test_it_measures_and_writes_the_guide(tmp_path: Path) -> None:
    """On a few events: every need is there, of events that were all stored, and the guide has it."""
    given = os.environ.get("APPIA_MODELS")
    store = model_store_folder(None if given is None else Path(given), os.environ)
    if not (store / "temporal" / "ACTIVE").exists():
        pytest.skip(f"no models are in {store}: run `appia models build`")
    out, guide = tmp_path / "sizing.json", tmp_path / "guide.md"
    guide.write_text(f"{BEGIN}\n{END}\n")
    sample = PROJECT / "samples" / "office-day.csv.gz"
    words = ["--events", "400", "--input", str(sample), "--work", str(tmp_path / "work"), "--out", str(out)]
    script = str(PROJECT / "benchmarks" / "bench_sizing.py")
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, script, *words, "--docs", str(guide)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    needs = Needs.of(json.loads(out.read_text())["figures"])
    assert needs.events == 400
    assert 0 < needs.sizes.sealed < needs.sizes.open < needs.sizes.pulled
    assert needs.sizes.backup >= needs.sizes.sealed * 0.9
    assert min(needs.ingester.base, needs.sealer.base, needs.replica.base, needs.health.base) > 10
    assert min(needs.costs.ingester, needs.costs.feed, needs.costs.sealer) > 0
    text = guide.read_text()
    assert next(formula(needs)) in text
    assert str(tmp_path) not in text + out.read_text()
