"""Each sync, check, rename and bound that is taken out is missed by the test that is named for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torture import in_ci
from torture.mutants import MUTANTS, ROOT, SEED, Mutant, build, holds, judge
from torture.suites import every_suite

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    """By the test that it names."""
    assert judge(mutant) is None


def test_what_catches_mutants_is_run_without_them_too() -> None:
    """With the same seed and at least as many rounds, or as a test of this project: there it has to pass."""
    suites = every_suite()
    for mutant in MUTANTS:
        name, _, rounds = mutant.test.partition(" ")
        if name.startswith("tests/"):
            assert (ROOT / name.partition("::")[0]).exists(), mutant.test
        else:
            assert int(rounds) <= suites[name].ci_rounds, mutant.test
    assert SEED == in_ci.DEFAULT_SEED


def test_a_mutant_that_changes_nothing_lives() -> None:
    """The runner tells: one whose change is none is not caught, one whose place is gone is an error."""
    idle = Mutant(
        "idle", "services/rag/protocol.py", "MAX_K = 1000\n", "MAX_K = 1_000\n", "tests/rag/test_schemas.py"
    )
    assert "did not catch" in (judge(idle) or "")
    gone = Mutant("gone", "services/rag/protocol.py", "no such line", "", "tests/rag/test_schemas.py")
    assert "0 times" in (judge(gone) or "")


def test_a_mutant_whose_test_is_gone_is_not_caught(tmp_path: Path) -> None:
    """A test that cannot be run fails whatever the code does."""
    build(None, tmp_path)
    with pytest.raises(RuntimeError, match="cannot be run"):
        holds("tests/rag/test_schemas.py::test_that_nobody_wrote", tmp_path)


def test_a_mutant_is_the_product_with_one_change(tmp_path: Path) -> None:
    """The copy differs from the project in the one file."""
    build(MUTANTS[0], tmp_path)
    changed = tmp_path / MUTANTS[0].file
    assert MUTANTS[0].new in changed.read_text("utf-8")
    assert not (tmp_path / "services").is_symlink()
    assert (tmp_path / "tests").is_symlink()
