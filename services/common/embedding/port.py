"""The port of the embedding room: what turns rows, windows or texts into vectors.

Every embedder names its model, so that a vector is never compared with one of another model. Vectors are
float32; those of an embedder whose metric is "cosine" have length 1: an inner product is their cosine.
`embed` blocks on the processor only: it neither waits for a network nor downloads anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

Metric = Literal["l2", "cosine"]


class Embedder(Protocol):
    """What every embedder tells about itself."""

    @property
    def model_id(self) -> str:
        """The model's name and the first 12 hex digits of its sha256: `attack@0123456789ab`."""

    @property
    def name(self) -> str:
        """The model's name: the part of `model_id` before the `@`."""

    @property
    def dim(self) -> int:
        """The number of components of a vector."""

    @property
    def metric(self) -> Metric:
        """How two vectors are compared: "l2" (squared Euclidean distance) or "cosine" (unit vectors)."""


class RowEmbedder(Embedder, Protocol):
    """Embeds the feature rows of events."""

    def embed(self, rows: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Vectors (n, dim) of feature rows (n, d) in the registry's order, missing values being 0.

        Raises ValueError if `rows` has another shape.
        """


class WindowEmbedder(Embedder, Protocol):
    """Embeds the last hour of hosts."""

    def embed(self, windows: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Vectors (m, dim) of windows (m, steps, channels) in raw units (counts, bytes, scores).

        Raises ValueError if `windows` has another shape.
        """


class TextEmbedder(Embedder, Protocol):
    """Embeds sentences."""

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        """Vectors (n, dim) of n texts; what exceeds the model's longest input is left out."""
