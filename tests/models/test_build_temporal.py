"""The shipped temporal model is made from what may be given out, small, and whole."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from models.build_temporal import make, together
from services.common.embedding.inspection import refuse_unsafe_model
from services.common.embedding.manifest import MODEL_FILE
from services.training import temporal
from services.training.port import HostWindowRows


def hours(hosts: list[int]) -> HostWindowRows:
    return HostWindowRows(np.ones((len(hosts), 64, 6), np.float32), np.array(hosts), np.arange(len(hosts)))


def test_making_it_gives_a_small_graph_that_the_store_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With few lessons; the figures say what it was taught by and that the graph does what torch does."""
    pytest.importorskip("torch", reason="needs the extra `train`")
    monkeypatch.setattr(temporal, "TEACHING_STEPS", 2)
    made = make(argparse.Namespace())
    graph = made.files[MODEL_FILE]
    refuse_unsafe_model(graph, "temporal")
    assert len(graph) < 5_000_000
    assert (made.recipe.name, made.recipe.dim, made.recipe.input.kind) == ("temporal", 128, "windows")
    assert made.measured["windows"] > 10_000
    assert made.measured["graph_to_torch_relative_difference"] <= 1e-5
    assert made.arguments == ("office-day.csv.gz",)


def test_hosts_of_two_sources_stay_different() -> None:
    joined = together(hours([0, 0, 3]), hours([0, 1]))
    assert joined.hosts.tolist() == [0, 0, 3, 4, 5]
    assert len(joined) == 5
