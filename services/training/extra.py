"""Says in one sentence which packages of the extra `train` are missing, before anything that needs them begins."""

from __future__ import annotations

import importlib.util

from services.common.errors import AppiaError


def require(*packages: str) -> None:
    """Check that packages can be imported, without importing them.

    Args:
        packages: names as in an import: "torch", "sklearn".

    Raises:
        AppiaError: one is missing; the sentence names it and says how to install the extra.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise AppiaError(
            f"This needs {' and '.join(missing)}, which a plain installation leaves out: run `make train-tools` in a "
            "checkout of appia, or install the extra `train` of the package."
        )
