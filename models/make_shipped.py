"""Makes the models that are part of the project, `models/shipped/<name>/`, from its sample and from made-up data.

Run from the project's root, with the extra `train`:

    python -m models.make_shipped [NAME]...            # makes them anew; a file that stays the same is not touched
    python -m models.make_shipped --check [NAME]...    # makes them, compares, writes nothing

On the machine and with the libraries that a manifest names, the same checkout gives the same bytes. Elsewhere a
network's weights come out a little different: --check then says so, and whoever ships the new ones measures them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import TYPE_CHECKING

from models.making import PROJECT, manifest_of, progress
from services.common.embedding.building import SHIPPED_FOLDER, SHIPPED_NAMES
from services.common.embedding.manifest import MANIFEST_FILE, parse_manifest
from services.common.embedding.model_inputs import script_of
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from models.making import Made
    from services.common.embedding.manifest import Manifest

_THREADS = "OPENBLAS_NUM_THREADS"


def make(name: str) -> Made:
    """Run the script of a model in this process. Raises AppiaError where it cannot."""
    module = script_of(name).removesuffix(".py").replace("/", ".")
    made: Made = importlib.import_module(module).make(argparse.Namespace())
    return made


def shipped(folder: Path) -> Manifest | None:
    """The manifest of a shipped model; None where there is none yet."""
    path = folder / MANIFEST_FILE
    return parse_manifest(path.read_bytes(), str(path)) if path.exists() else None


def is_same(old: Manifest | None, new: Manifest) -> bool:
    """Whether two makings gave the same model from the same inputs; dates and measured times are no difference."""
    return old is not None and (old.sha256, old.inputs_digest) == (new.sha256, new.inputs_digest)


def refresh(name: str, root: Path) -> bool:
    """Make a model and write it below `root` where it is another than the one there; say whether it was."""
    made = make(name)
    manifest = manifest_of(made)
    folder = root / name
    if is_same(shipped(folder), manifest):
        progress(name, f"{manifest.model_id} is as it was")
        return False
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in (made.files | {MANIFEST_FILE: manifest.to_json()}).items():
        (folder / file).write_bytes(data)
    progress(name, f"{manifest.model_id} is in {folder}")
    return True


def difference(name: str, root: Path) -> str:
    """Make a model and say in one sentence how it is not the one below `root`; "" where it is."""
    manifest, old = manifest_of(make(name)), shipped(root / name)
    if is_same(old, manifest):
        progress(name, f"{manifest.model_id} comes out again")
        return ""
    there = "nothing" if old is None else old.model_id
    return f"{name}: made is {manifest.model_id}, shipped is {there}, made with {_libraries(old)}."


def _libraries(manifest: Manifest | None) -> str:
    if manifest is None:
        return "nothing"
    return ", ".join(f"{name} {version}" for name, version in manifest.made_by.libraries.items())


def main() -> None:
    """Make or check; an error the operator can act on becomes one sentence and exit status 1."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "names", metavar="NAME", nargs="*", choices=[*SHIPPED_NAMES, []], help="default: all"
    )
    options.add_argument("--check", action="store_true", help="compare, and write nothing")
    chosen = options.parse_args()
    names, root = chosen.names or SHIPPED_NAMES, PROJECT / SHIPPED_FOLDER
    try:
        if chosen.check:
            differences = [found for name in names if (found := difference(name, root))]
            sys.exit("\n".join(differences) or None)
        for name in names:
            refresh(name, root)
    except AppiaError as error:
        sys.exit(str(error))


def with_one_thread() -> None:
    """Start this program again where numpy may use several threads: how many add up decides the last bits of a sum."""
    if os.environ.get(_THREADS) != "1":
        command = [sys.executable, "-m", "models.make_shipped", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {_THREADS: "1"})  # noqa: S606 - itself, with its own arguments


if __name__ == "__main__":
    with_one_thread()
    main()
