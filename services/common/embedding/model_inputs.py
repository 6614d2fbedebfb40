"""Which models the project makes, and the files that each is made from.

The digest of these files stands in a model's manifest, so that a model whose script or data has changed since is
noticed. Files are named one by one: what does not change a vector shall not make a model look old.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TRAFFIC = (
    "models/pca_graph.py",
    "models/sample.py",
    "samples/*.csv.gz",
    "services/common/events/table.py",
    "services/feed/readers/cicflowmeter*.py",
)
_FEATURES = tuple(
    f"services/common/events/{name}.py" for name in ("feature_list", "features", "layout", "scan")
)
_WINDOWS = ("models/sample_hours.py", "services/common/events/sketch.py", "services/common/events/windows.py")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        inputs: patterns below the project's folder of the files it is made from.
        shipped: its files are part of the project, in `models/shipped`; else they are made where they are used.
    """

    inputs: tuple[str, ...]
    shipped: bool = True


SOURCES = {
    "attack": ModelSource(
        (
            "models/build_attack.py",
            "services/training/attack*.py",
            "services/training/graph_builder.py",
            *_FEATURES,
            *_TRAFFIC,
        )
    ),
    "attack-pca": ModelSource(("models/build_attack_pca.py", *_FEATURES, *_TRAFFIC)),
    "entity": ModelSource(
        (
            "models/build_entity.py",
            "models/synthetic_hosts.py",
            "services/common/days/columns.py",
            "services/common/days/day_hosts.py",
            "services/common/events/profiles.py",
            *_TRAFFIC,
        )
    ),
    "semantic": ModelSource(
        (
            "models/build_semantic.py",
            "models/bert_numpy.py",
            "models/sentences.txt",
            "services/training/bert_graph.py",
            "services/training/graph_builder.py",
            "services/training/sentence_model.py",
        ),
        shipped=False,
    ),
    "temporal": ModelSource(
        (
            "models/build_temporal.py",
            "models/synthetic_hours.py",
            "services/common/days/traffic.py",
            "services/training/graph_builder.py",
            "services/training/temporal*.py",
            *_WINDOWS,
            *_TRAFFIC,
        )
    ),
    "temporal-pca": ModelSource(("models/build_temporal_pca.py", *_WINDOWS, *_TRAFFIC)),
}
"""By name of the model. Its script is `script_of(name)`."""


def script_of(name: str) -> str:
    """The script that makes a model, below the project's folder."""
    return f"models/build_{name.replace('-', '_')}.py"


def inputs_digest(project: Path, name: str) -> str:
    """The sha256 over names and contents of the files a model is made from: its scripts and its data."""
    digest = hashlib.sha256()
    for path in _files(project, name):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(project)} {content}\n".encode())
    return digest.hexdigest()


def _files(project: Path, name: str) -> Iterator[Path]:
    for pattern in SOURCES[name].inputs:
        yield from sorted(project.glob(pattern))
