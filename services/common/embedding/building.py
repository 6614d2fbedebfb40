"""Builds the models with the scripts in the project's `models/` folder, each in a process of its own.

The scripts need packages that running appia does not (the extra `models`), and they are not part of the
wheel; so this room only starts them. A model that is stored, whole and made from the same inputs is not
built again.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_EXTRA_PACKAGES = ("onnx", "safetensors")
_SHARED_INPUTS = ("models/making.py", "services/common/embedding/manifest.py")
_TRAFFIC = (
    "models/pca_graph.py",
    "models/sample.py",
    "samples/*.csv.gz",
    "services/common/events/*.py",
    "services/feed/readers/*.py",
)


@dataclass(frozen=True)
class _Script:
    module: str
    inputs: tuple[str, ...]


_SCRIPTS = {
    "attack": _Script("models.build_attack", ("models/build_attack.py", *_TRAFFIC)),
    "entity": _Script(
        "models.build_entity",
        (
            "models/build_entity.py",
            "models/synthetic_hosts.py",
            "services/common/days/columns.py",
            "services/common/days/day_hosts.py",
            *_TRAFFIC,
        ),
    ),
    "semantic": _Script(
        "models.build_semantic",
        (
            "models/build_semantic.py",
            "models/bert_numpy.py",
            "models/sentences.txt",
            "services/training/bert_graph.py",
            "services/training/graph_builder.py",
            "services/training/sentence_model.py",
        ),
    ),
    "temporal": _Script(
        "models.build_temporal",
        (
            "models/build_temporal.py",
            "models/sample_hours.py",
            "models/synthetic_hours.py",
            "services/common/days/traffic.py",
            "services/training/graph_builder.py",
            "services/training/temporal*.py",
            *_TRAFFIC,
        ),
    ),
}
MODEL_NAMES = tuple(_SCRIPTS)


@dataclass(frozen=True)
class Builder:
    """Builds models into `store_root` from the project checked out at `project`.

    `report` is given each line of progress; `weights` is a folder with the sentence model's files, for
    machines that cannot fetch the package.
    """

    project: Path
    store_root: Path
    report: Callable[[str], None]
    weights: Path | None = None

    def build(self, names: Sequence[str] = MODEL_NAMES) -> list[str]:
        """Build what is missing or out of date; return the model ids, now active. Blocks for up to a minute.

        Raises:
            UsageError: there is no model of such a name.
            AppiaError: scripts or packages are missing, or a script failed.
        """
        unknown = sorted(set(names) - set(MODEL_NAMES))
        if unknown:
            raise UsageError(
                f"There is no model named {unknown[0]!r}; the models are {', '.join(MODEL_NAMES)}."
            )
        return [self._current(name) or self._make(name) for name in names]

    def _current(self, name: str) -> str:
        try:
            manifest = ModelStore(self.store_root).load(name).manifest
        except AppiaError:
            return ""
        if manifest.inputs_digest != inputs_digest(self.project, name):
            return ""
        self.report(f"{name}: already built ({manifest.model_id})")
        return manifest.model_id

    def _make(self, name: str) -> str:
        self._check_tools()
        command = [sys.executable, "-m", _SCRIPTS[name].module, "--store", str(self.store_root.resolve())]
        if name == "semantic" and self.weights is not None:
            command += ["--weights", str(self.weights.resolve())]
        last = ""
        with subprocess.Popen(
            command, cwd=self.project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                last = line.strip() or last
                self.report(line.rstrip("\n"))
        if process.returncode:
            raise AppiaError(f"The {name} model was not built: {last}")
        return ModelStore(self.store_root).load(name).manifest.model_id

    def _check_tools(self) -> None:
        if not (self.project / "models" / "making.py").is_file():
            raise AppiaError(
                f"The scripts that make the models are not in {self.project / 'models'}: run this from a "
                "checkout of the project, or copy a models folder that was built elsewhere."
            )
        missing = [package for package in _EXTRA_PACKAGES if importlib.util.find_spec(package) is None]
        if missing:
            raise AppiaError(
                f"Building models needs {' and '.join(missing)}, which are not installed: run "
                f"`{sys.executable} -m pip install -e '{self.project}[models]'`."
            )


def checkout() -> Path:
    """The folder that holds the `services` package: in a checkout, the one with the scripts in `models/`."""
    return Path(__file__).resolve().parents[3]


def inputs_digest(project: Path, name: str) -> str:
    """The sha256 over names and contents of the files a model is made from: its scripts and its data."""
    digest = hashlib.sha256()
    for path in _input_files(project, name):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(project)} {content}\n".encode())
    return digest.hexdigest()


def _input_files(project: Path, name: str) -> Iterator[Path]:
    for pattern in (*_SHARED_INPUTS, *_SCRIPTS[name].inputs):
        yield from sorted(project.glob(pattern))
