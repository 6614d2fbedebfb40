"""`python -m torture.guided TARGET [libFuzzer options]`: one target of `fuzzing`, guided by coverage."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
from torture.fuzz_targets import TARGETS
from torture.fuzzing import judge


def main() -> None:
    """Fuzz until the options say so; a broken promise ends the process with its input kept."""
    target = {target.name: target for target in TARGETS}[sys.argv[1]]
    with atheris.instrument_imports(include=list(target.guided), enable_loader_override=False):
        check = target.check(Path(sys.argv[2]).parent)

    def one(data: bytes) -> None:
        told = judge(check, data)
        if told is not None:
            raise AssertionError(told)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
