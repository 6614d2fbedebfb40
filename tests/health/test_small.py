"""What health must not import: it promises to be small, and each of these is some MB."""

from __future__ import annotations

import json
import subprocess
import sys

NOT_NEEDED = {
    "rich",
    "pygments",
    "cryptography",
    "numpy",
    "faiss",
    "onnxruntime",
    "tokenizers",
    "apprise",
    "fsspec",
}
IMPORTS = """
import json, sys
import services.health.main as health
first = sorted(sys.modules)
assert health.main(["--settings", "/nowhere/health.toml"]) != 0
import services.health.building
print(json.dumps({"first": first, "all": [name for name, module in sys.modules.items() if module is not None]}))
"""
"""As a process of health does it: its main module, then the settings, then all that it is built of."""


def test_health_imports_nothing_heavy() -> None:
    """With a registry of files; nothing that could load rich comes before it was ruled out."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, timeout=60, check=True
    )
    names = json.loads(ended.stdout)
    assert "structlog" not in names["first"]
    assert {name.partition(".")[0] for name in names["all"]} & NOT_NEEDED == set()
