"""A manifest is believed only where it can be one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from services.common.days.manifest import MANIFEST, Artifact, Manifest, read_manifest
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/b", "", ".", "..", "a\0b", "a" * 300, "a\ud800"]
)
def test_a_manifest_names_files_of_its_own_folder_only(tmp_path: Path, name: str) -> None:
    """A path that leads elsewhere is refused before anything there is read."""
    made = Manifest("chunk", "2026-01-22", 1, 0, "", {"events.log": Artifact(0, "0" * 64)})
    raw = json.loads(made.to_json())
    raw["artifacts"][name] = {"bytes": 0, "sha256": "0" * 64}
    (tmp_path / MANIFEST).write_text(json.dumps(raw), "utf-8")
    with pytest.raises(AppiaError, match="no valid manifest"):
        read_manifest(tmp_path)
