"""The temporal encoder in torch: what it sees of an hour, the network, and the arrays that make the graph of it.

An hour is described at seven spans, the last 1, 2, 4, ... 64 steps. Of each span it is told, on a log scale, the mean
over its active steps and the largest step of every channel, how many steps were active, and bytes, packets, peers
and ports for each event. A span tells what happened and not at which step of it, so that a behaviour stays near
itself while the hour moves on; the short spans tell what the host does now.

    described = clip((description - centre) / scale, -8, 8)
    vector    = [described x axes, LEARNED x unit(network(described))]

The first half keeps the description as it is (its linear components), the second says what belongs together.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Generator, Tensor

    Matrix = NDArray[np.float32]

SPANS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of the latest steps, each span the one before and as many steps again."""
LARGEST = 1e15
"""No step counts more than this, so that sums over an hour stay far from the end of 32 bits."""
EVENTS, PER_EVENT = 0, slice(1, 5)  # channels: what makes a step active, and what is also told for each event
LIMIT = 8.0
LEAST_DEVIATION = 0.25
LINEAR_DIM = LEARNED_DIM = 64
DIM = LINEAR_DIM + LEARNED_DIM
LEARNED = 0.5
"""The length of the learned half; the linear one has a mean squared length of 1 over what it was fitted on."""
HIDDEN = 256


@dataclass(frozen=True)
class Encoder:
    """All numbers of a trained encoder, float32: c = number of things described."""

    centre: Matrix  # (c,)
    scale: Matrix  # (c,)
    axes: Matrix  # (c, LINEAR_DIM)
    layers: tuple[tuple[Matrix, Matrix], ...]  # weight (in, out) and bias (out,) of each; ReLU between them


def describe(windows: Tensor) -> Tensor:
    """What is told of windows (n, 64, channels) of raw sums: (n, c), on a log scale."""
    import torch  # noqa: PLC0415 - of the extra `train`

    windows = windows.clamp(0, LARGEST)
    active = (windows[:, :, EVENTS] > 0).to(windows.dtype)
    told = []
    for span in SPANS:
        latest = windows[:, -span:]
        count = active[:, -span:].sum(1, keepdim=True)
        total = latest.sum(1)
        logs = total.log1p()
        told += [
            (total / count.clamp(min=1)).log1p(),
            latest.amax(1).log1p(),
            count.log1p(),
            logs[:, PER_EVENT] - logs[:, EVENTS, None],
        ]
    return torch.cat(told, 1)


def begin(described: Matrix, generator: Generator) -> Encoder:
    """An encoder for descriptions (n, c), n >= 1, whose network has not learned yet."""
    import torch  # noqa: PLC0415 - of the extra `train`

    centre = described.mean(axis=0, dtype=np.float64)
    scale = np.maximum(described.std(axis=0, dtype=np.float64), LEAST_DEVIATION)
    scaled = np.clip((described - centre) / scale, -LIMIT, LIMIT)
    widths = (described.shape[1], HIDDEN, HIDDEN, LEARNED_DIM)
    layers = []
    for width, out in itertools.pairwise(widths):
        # He et al. 2015: keeps the variance through a ReLU.
        weight = torch.randn(width, out, generator=generator) * math.sqrt(2 / width)
        layers.append((weight.numpy(), np.zeros(out, np.float32)))
    return Encoder(centre.astype(np.float32), scale.astype(np.float32), _linear_axes(scaled), tuple(layers))


def _linear_axes(scaled: NDArray[np.float64]) -> Matrix:
    """Directions of largest variance (c, LINEAR_DIM), so long that the mean squared length over `scaled` is 1."""
    spread = scaled - scaled.mean(axis=0)
    covariance = spread.T @ spread / len(scaled)
    variances, axes = np.linalg.eigh(covariance)
    axes = axes[:, ::-1][:, :LINEAR_DIM]
    strongest = axes[np.abs(axes).argmax(axis=0), np.arange(LINEAR_DIM)]
    total = float(np.maximum(variances, 0).sum())
    length = math.sqrt(total) if total > 0 else 1.0
    return np.asarray(axes * np.where(strongest < 0, -1.0, 1.0) / length, np.float32)


def scaled(described: Tensor, encoder: Encoder) -> Tensor:
    """Descriptions (n, c) on the scale of the encoder, bounded."""
    import torch  # noqa: PLC0415 - of the extra `train`

    centre, scale = torch.from_numpy(encoder.centre), torch.from_numpy(encoder.scale)
    return ((described - centre) / scale).clamp(-LIMIT, LIMIT)


def learned(described: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The unit vectors (n, LEARNED_DIM) that the network makes of scaled descriptions (n, c)."""
    *inner, last = layers
    for weight, bias in inner:
        described = (described @ weight + bias).relu()
    made = described @ last[0] + last[1]
    return made / made.norm(dim=1, keepdim=True).clamp(min=1e-6)


def embed(windows: NDArray[np.float32], encoder: Encoder) -> NDArray[np.float32]:
    """Vectors (n, DIM) of windows (n, 64, channels), by torch."""
    import torch  # noqa: PLC0415 - of the extra `train`

    layers = [(torch.from_numpy(weight), torch.from_numpy(bias)) for weight, bias in encoder.layers]
    described = scaled(describe(torch.from_numpy(windows)), encoder)
    halves = [described @ torch.from_numpy(encoder.axes), LEARNED * learned(described, layers)]
    return np.asarray(torch.cat(halves, 1).numpy(), np.float32)
