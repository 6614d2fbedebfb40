"""Hostile bytes into every reader of bytes that come from outside."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest
from torture.fuzz_targets import TARGETS
from torture.fuzzing import Check, Target, blind, guided, judge, mutate
from torture.in_ci import SEED, hold
from torture.suite import Budget

if TYPE_CHECKING:
    from pathlib import Path

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@each_target
def test_valid_inputs_are_taken(target: Target, tmp_path: Path) -> None:
    """The check has nothing against what is sound: else it would say nothing about what is not."""
    check = target.check(tmp_path)
    assert [judge(check, data) for data in target.inputs()] == [None] * len(target.inputs())


@each_target
def test_hostile_inputs_are_refused_with_a_sentence(target: Target, tmp_path: Path) -> None:
    """Random mutations of valid inputs."""
    hold(blind(target), tmp_path)


@each_target
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris cannot be installed here")
def test_coverage_finds_nothing_either(target: Target, tmp_path: Path) -> None:
    """Mutations that coverage guides."""
    suite = guided(target)
    outcome = suite.run(Budget(SEED, tmp_path, suite.ci_rounds))
    assert outcome.faults == []
    assert outcome.rounds >= suite.ci_rounds


def test_a_reader_that_breaks_is_caught(tmp_path: Path) -> None:
    """One that fails on a single byte value, blind; the round says how to see it again."""

    def check(_folder: Path) -> Check:
        def fails(data: bytes) -> str | None:
            return "found" if b"\x7f" in data else None

        return fails

    target = Target("broken", "never 7f", lambda: [b"abcdefgh"], check)
    outcome = blind(target).run(Budget(SEED, tmp_path, 500))
    assert outcome.broken > 5
    number = outcome.faults[0].round
    assert b"\x7f" in mutate([b"abcdefgh"], Budget(SEED, tmp_path, 1).random(number))
