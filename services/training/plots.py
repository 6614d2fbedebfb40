"""Draws the events of an index as points coloured by class, so that people can look at what its vectors keep apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.training.extra import require
from services.training.split import spread

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.training.scoring import Rows, Space

POINTS = 3000
SEED = 3
_COMPONENTS, _PERPLEXITY = 30, 30
_FEW = 4
_AREA, _LEGEND_AREA = 8.0, 30.0


def check_plotting() -> None:
    """Check that what draws is installed.

    Raises:
        AppiaError: it is not; the sentence says how to install it.
    """
    require("matplotlib", "sklearn")


def draw(path: Path, title: str, space: Space, rows: Rows) -> int:
    """Write a PNG of at most `POINTS` events of an index, rare classes whole; gives how many. Blocks for seconds.

    The plane is that of t-SNE (van der Maaten and Hinton, JMLR 2008) over the first principal components, seeded:
    who is near whom means something in it, how far apart two groups lie does not. Equal vectors are one point, the
    larger the more events have them: t-SNE would strew them.
    """
    there = np.flatnonzero(space.codes >= 0)
    chosen = there[spread(rows.labels[there], rows.time_ns[there], POINTS)]
    used, places = np.unique(space.codes[chosen], return_inverse=True)
    _write(path, title, _plane(space.vectors[used])[places], rows.labels[chosen])
    return len(chosen)


def _plane(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Points (n, 2) of distinct vectors (n, dim)."""
    from sklearn.manifold import TSNE  # noqa: PLC0415 - only in the extra

    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    values = centred @ directions[:_COMPONENTS].T
    flat = np.pad(values, ((0, 0), (0, 2)))[:, :2]
    if len(values) < _FEW:
        return np.asarray(flat, np.float64)
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    # The scale that scikit-learn gives its own start from principal components.
    start = (flat / flat[:, 0].std() * 1e-4).astype(np.float32)
    found: Any = TSNE(2, perplexity=perplexity, init=start, random_state=SEED).fit_transform(values)
    return np.asarray(found, np.float64)


def _write(path: Path, title: str, plane: NDArray[np.float64], labels: NDArray[np.str_]) -> None:
    from matplotlib import colormaps  # noqa: PLC0415 - only in the extra
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    names, counts = np.unique(labels, return_counts=True)
    figure = Figure(figsize=(9, 6), dpi=110, layout="constrained")
    axes = figure.subplots()
    colours = colormaps["tab20"]
    # The largest class first, so that rare ones lie on top of it.
    for number in np.argsort(-counts, kind="stable").tolist():
        points, sizes = np.unique(plane[labels == names[number]], axis=0, return_counts=True)
        label = f"{_shown(names[number])} ({counts[number]:,})"
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=_AREA * np.sqrt(sizes),
            color=colours(number % 20),
            linewidths=0,
            alpha=0.8,
            label=label,
        )
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    legend: Any = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
    for handle in legend.legend_handles:
        handle.set_sizes([_LEGEND_AREA])
    figure.savefig(path, metadata={"Software": None})


def _shown(label: str) -> str:
    """A class as a legend may show it: attackers write labels, and matplotlib reads `$` and a first `_` as commands."""
    plain = "".join(char if char.isprintable() else "?" for char in label[:40])
    return plain.replace("$", r"\$").lstrip("_") or "?"
