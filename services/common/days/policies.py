"""How the sealed indices are made smaller, as the settings say it. Needs no faiss, so that settings can name it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Compression = Literal["fast", "balanced", "maximum"]


@dataclass(frozen=True)
class IndexPolicy:
    """How a sealed index is made smaller.

    `benign_sample_rate`, above 0 and up to 1, is the share of the clearly benign events that get a vector.
    """

    compression: Compression = "fast"
    benign_sample_rate: float = 1.0


def tell_policies(policies: Mapping[str, IndexPolicy]) -> str:
    """The policies of several indices as one word for a command line, JSON."""
    return json.dumps({index: asdict(policy) for index, policy in policies.items()})


def parse_policies(text: str) -> dict[str, IndexPolicy]:
    """The reverse of `tell_policies`. Raises `ValueError` or `TypeError` where `text` is none."""
    return {index: IndexPolicy(**values) for index, values in json.loads(text).items()}
