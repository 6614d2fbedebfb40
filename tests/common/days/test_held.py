"""What a copy says of itself is read back as it was written, and what is none is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from services.common.days.held import Held, read_held, write_held
from services.common.durable import Disk
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Also where nothing was reached; where there is no file it is no copy."""
    path = tmp_path / "mirror.json"
    assert read_held(path) is None
    for held in (
        Held("file:///x", reached=False),
        Held("u", reached=True, not_held={"2026-01-22": "no room"}),
    ):
        write_held(Disk(), path, held)
        assert read_held(path) == held


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "damaged"),
        ("[]", "damaged"),
        ('{"format": 1, "source": "x", "reached": true, "not_held": {"../x": "y"}}', "damaged"),
        ('{"format": 2, "source": "x", "reached": true, "not_held": {}}', "newer"),
        ('{"format": 1, "source": "x", "reached": true, "not_held": [1]}', "damaged"),
    ],
)
def test_what_is_none_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    """A mirror of this release writes none of these."""
    path = tmp_path / "mirror.json"
    path.write_text(text)
    with pytest.raises(AppiaError, match=said):
        read_held(path)
