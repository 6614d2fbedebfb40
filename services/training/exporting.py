"""What the exports of other people's models have in common: reading the folder, torch, the check, the store.

A folder is data that somebody downloaded: nothing of it is run. Its code is ignored, and pickles are refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.embedding.building import MODEL_NAMES
from services.common.embedding.store import sha256_of
from services.common.errors import AppiaError, UsageError
from services.training.installing import install, made_by, manifest_of

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.embedding.manifest import Manifest
    from services.common.embedding.store import ModelStore
    from services.training.port import TrainedModel

SCRIPT = "appia models export"
WEIGHTS_FILE = "model.safetensors"
LARGEST_DIFFERENCE = 1e-4
# One ONNX file is one protobuf message, and those end at 2 GiB.
LARGEST_WEIGHTS = 1_900_000_000
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class ExportOptions:
    """What to export: the folder, the name it gets, and whether its weights are held in 8 bits.

    `report` is given lines of progress.
    """

    folder: Path
    name: str
    report: Callable[[str], None]
    int8: bool = False


def name_for(folder: Path, wanted: str | None) -> str:
    """The name that a model is stored under: the one wanted, else made of the folder's.

    Raises:
        UsageError: the store does not allow it, or it is that of a model that appia builds.
    """
    name = wanted or re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"a model cannot be named {name!r}: give --as a name of small letters, digits and dashes that begins "
            "with a letter, at most 41 characters"
        )
    if name in MODEL_NAMES:
        raise UsageError(f"{name} is the name of a model that appia builds: give another one with --as")
    return name


class Facts:
    """What a JSON file of a folder says; asked for by name, and missed with a sentence."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        self._values = values
        self._where = where

    def __getitem__(self, name: str) -> Any:
        """Raises UsageError where the file lacks it."""
        if name not in self._values:
            raise UsageError(f"{self._where} lacks {name!r}")
        return self._values[name]

    def get(self, name: str, default: Any = None) -> Any:
        """What the file says, or the default."""
        return self._values.get(name, default)

    def part(self, name: str) -> Facts:
        """A map within the file. Raises UsageError where there is none."""
        if not isinstance(self[name], dict):
            raise UsageError(f"{self._where} has {name!r}, which is no map")
        return Facts(self[name], f"{self._where}, {name},")

    def names(self) -> list[str]:
        """The names in it."""
        return list(self._values)


def read_facts(folder: Path, name: str, what: str) -> Facts:
    """The map in the JSON file `name` of a folder that should hold `what`. Raises UsageError as `read_json`."""
    values = read_json(folder, name, what)
    if not isinstance(values, dict):
        raise UsageError(f"{folder} is not {what}: {name} holds no map")
    return Facts(values, str(folder / name))


def read_json(folder: Path, name: str, what: str) -> Any:
    """The JSON file `name` of a folder that should hold `what`.

    Raises:
        UsageError: it is not there, or is no JSON.
    """
    try:
        return json.loads((folder / name).read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{folder} is not {what}: {name} cannot be read ({error.strerror})") from None
    except ValueError:
        raise UsageError(f"{folder} is not {what}: {name} is not JSON") from None


def load_torch(folder: Path, kind: str, unused: tuple[str, ...] = ()) -> Any:
    """The model of a folder as the class `kind` of the transformers library, in 32 bits, ready to run.

    `unused` are beginnings of weights that may be missing. Blocks for reading all of the weights.

    Raises:
        UsageError: there are no safetensors weights, too many, or not those of such a model.
    """
    import torch  # noqa: PLC0415 - only the extra `train` has it
    import transformers  # noqa: PLC0415 - as above
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415 - as above
    from safetensors import SafetensorError  # noqa: PLC0415 - as above

    size = _weights_size(folder)
    if size > LARGEST_WEIGHTS:
        raise UsageError(
            f"{folder} has {size / 1e9:.1f} GB of weights, more than one ONNX file can hold (1.9 GB)"
        )
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        model, loading = getattr(transformers, kind).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="eager",
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError, StrictDataclassError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise UsageError(f"the model in {folder} cannot be loaded: {reason}") from None
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(unused or ("\0",)))
    if missing:
        raise UsageError(
            f"{folder / WEIGHTS_FILE} lacks {len(missing)} weights of the model, such as {missing[0]}"
        )
    return model.eval()


def _weights_size(folder: Path) -> int:
    try:
        return (folder / WEIGHTS_FILE).stat().st_size
    except OSError:
        raise UsageError(
            f"{folder} has no {WEIGHTS_FILE}: export reads the weights from one file of that kind; "
            "convert older ones (pytorch_model.bin) with the safetensors package"
        ) from None


def arrays_of(model: Any) -> dict[str, NDArray[np.float32]]:
    """The weights of a torch model by name, float32."""
    return {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items()}


def checked_difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference of the graph's vectors (n, dim) from torch's.

    Raises:
        AppiaError: it is more than 1e-4, or a vector is not finite.
    """
    difference = float(np.abs(found - expected).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise AppiaError(
            f"The exported graph differs from torch by {difference:.1e}, more than {LARGEST_DIFFERENCE:.0e}; "
            "it is not stored."
        )
    return difference


def origin(folder: Path) -> str:
    """Where a model comes from, for its manifest: it was not trained here."""
    digest = sha256_of((folder / WEIGHTS_FILE).read_bytes())
    return f"Not trained here: exported from {folder.resolve().name}, {WEIGHTS_FILE} sha256 {digest}."


def licence_of(folder: Path) -> str:
    """The licence that the folder's model card (README.md) states at its top, as far as there is one."""
    try:
        card = (folder / "README.md").read_text("utf-8", errors="replace")
    except OSError:
        card = ""
    head = card.split("---")[1] if card.startswith("---") else ""
    stated = _LICENCE.search(head)
    return f"{stated[1]} (as its folder states)" if stated else "not stated by its folder: ask its authors"


def store_export(store: ModelStore, made: TrainedModel, options: ExportOptions, now: dt.datetime) -> Manifest:
    """Put an exported model into the store under its name and make it the one of that name in use.

    Raises:
        UsageError: the store has a model of that name that was not exported.
    """
    others = [model for model in store.models() if model.name == made.name]
    if any(not model.manifest.made_by.script.startswith(SCRIPT) for model in others):
        raise UsageError(
            f"{store.root} has a model {made.name} that was not exported: give another name with --as"
        )
    maker = made_by(SCRIPT, ("--int8",) if options.int8 else ())
    manifest = manifest_of(made, maker, now, licence=licence_of(options.folder))
    install(store, manifest, made.files)
    return manifest
