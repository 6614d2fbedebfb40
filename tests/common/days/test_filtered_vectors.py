"""A filter never costs results: what passes is found even where it lies far from the query."""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np
import pytest

from services.common.days.expansion import Nearness
from services.common.days.open_writer import VectorSpec
from services.common.days.vector_lists import FaissLists, make_lists
from services.common.days.vectors import VectorIndex

ITEMS, CLUSTERS, DIM = 20_000, 100, 16


@pytest.fixture(scope="module", params=["lists", "faiss"])
def clustered(request: pytest.FixtureRequest) -> tuple[VectorIndex, np.ndarray]:
    """Vectors in clusters far apart behind lists of which two are looked into, and the cluster of each."""
    rng = np.random.default_rng(5)
    cluster = rng.integers(0, CLUSTERS, ITEMS)
    vectors = (100 * rng.normal(size=(CLUSTERS, DIM))[cluster] + rng.normal(size=(ITEMS, DIM))).astype(
        np.float32
    )
    spec = VectorSpec("attack", "attack@0", DIM, "l2")
    if request.param == "lists":
        lists, order = make_lists(vectors)
        accelerator = replace(lists, nprobe=2)
        return VectorIndex(spec, ITEMS, vectors[order], accelerator=accelerator), cluster[order]
    ivf = faiss.IndexIVFFlat(faiss.IndexFlatL2(DIM), DIM, CLUSTERS)
    ivf.train(vectors)
    ivf.add(vectors)
    return VectorIndex(spec, ITEMS, vectors, accelerator=FaissLists(ivf, 2)), cluster


@pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.01])
def test_far_rows_that_pass_are_found(clustered: tuple[VectorIndex, np.ndarray], share: float) -> None:
    """With only the clusters farthest from the query passing, the nearest of them are found exactly."""
    index, cluster = clustered
    query = index.vector(0)
    distances = index.distances(query, np.arange(ITEMS))
    centers = [distances[cluster == number].min() for number in range(CLUSTERS)]
    far = np.argsort(centers)[int(CLUSTERS * (1 - share)) :]
    rows = np.flatnonzero(np.isin(cluster, far))
    found = index.search(query, 10, Nearness(np.zeros(ITEMS, np.int64), 0), rows)
    assert np.isin(found.rows, rows).all()
    assert found.distances.tolist() == np.sort(distances[rows])[:10].tolist()


def test_more_than_the_nearest_lists_hold_is_found(clustered: tuple[VectorIndex, np.ndarray]) -> None:
    """A large k without any filter gives k rows although the first lists hold fewer."""
    index, _ = clustered
    found = index.search(index.vector(3), 1000, Nearness(np.zeros(ITEMS, np.int64), 0))
    assert len(set(found.rows.tolist())) == 1000
