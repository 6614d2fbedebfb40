"""The manifest beside a model: what it takes, what it gives, how it was made, and the sha256 of every file.

A model's own sha256 is taken over the part of the manifest that decides its vectors (`Manifest.sha256`); the
figures and the date of making are outside it, so that the same model built twice has the same name.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.common.embedding.port import Metric
from services.common.errors import AppiaError

MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ModelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")]
FileName = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,40}\.(onnx|json)$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class InputSchema(_Part):
    """What a model takes.

    `shape` is (width,) for "features" and "profiles", (steps, channels) for "windows" and (longest input in
    tokens,) for "texts"; `hash` names the exact meaning of the input and must equal that of the running program.
    """

    kind: Literal["features", "windows", "texts", "profiles"]
    hash: Annotated[str, Field(min_length=8)]
    shape: Annotated[tuple[int, ...], Field(strict=False)]


class MadeBy(_Part):
    """How a model was made: the script, its arguments and the versions of the libraries that mattered."""

    script: str
    arguments: Annotated[tuple[str, ...], Field(strict=False)]
    libraries: dict[str, str]


class Manifest(_Part):
    """The whole manifest; field by field in docs/models.md."""

    format: Literal[1]
    name: ModelName
    version: str
    files: dict[FileName, Sha256]
    input: InputSchema
    dim: Annotated[int, Field(gt=0)]
    metric: Metric
    licence: str
    training_data: str
    measured: dict[str, float]
    rows_at_once: Annotated[int, Field(gt=0)] = 1024  # at most in one run, which bounds its memory
    made_by: MadeBy
    inputs_digest: str
    created: str

    @model_validator(mode="after")
    def _names_its_files(self) -> Manifest:
        needed = {MODEL_FILE, TOKENIZER_FILE} if self.input.kind == "texts" else {MODEL_FILE}
        missing = needed - set(self.files)
        if missing or MANIFEST_FILE in self.files:
            raise ValueError(f"files must name {sorted(needed)} and not {MANIFEST_FILE}")
        return self

    @property
    def sha256(self) -> str:
        """The model's sha256: over the canonical JSON of what decides its vectors."""
        deciding = self.model_dump(mode="json", include={"name", "files", "input", "dim", "metric"})
        return hashlib.sha256(
            json.dumps(deciding, sort_keys=True, separators=(",", ":")).encode()
        ).hexdigest()

    @property
    def model_id(self) -> str:
        """`name@` and the first 12 hex digits of the sha256."""
        return f"{self.name}@{self.sha256[:12]}"

    def to_json(self) -> bytes:
        """The manifest as it lies on disk: indented UTF-8 JSON with a final newline."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest; `where` names it in the message.

    Raises:
        AppiaError: it is not JSON, has an unknown format, or lacks a field.
    """
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise AppiaError(
            f"The model manifest {where} cannot be used: {first['msg']} (at {place}); "
            "build the models again or copy the folder from where it was made."
        ) from error


def texts_schema_hash(tokenizer_sha256: str, max_tokens: int) -> str:
    """The hash of a text model's input: its tokenizer file and the longest input in tokens."""
    return hashlib.sha256(f"texts/1\n{tokenizer_sha256}\n{max_tokens}\n".encode()).hexdigest()


def windows_schema_hash(channels: tuple[str, ...], steps: int, step_ns: int) -> str:
    """The hash of a window model's input: the time grid and the channels in their order."""
    return hashlib.sha256(f"windows/1\n{','.join(channels)}\n{steps}\n{step_ns}\n".encode()).hexdigest()
