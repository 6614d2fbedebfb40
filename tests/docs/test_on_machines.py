"""What the command that types guides on machines takes."""

from __future__ import annotations

import pytest
from docs.guides import CHAPTERS
from docs.on_machines import parsed


def test_make_guides_names_nothing_and_gets_all() -> None:
    """Every chapter, from the newest bundle."""
    asked = parsed([])
    assert asked.chapters == list(CHAPTERS)
    assert asked.bundle is None


def test_a_chapter_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(["install", "downgrade"])
    assert "there is no chapter downgrade; there are one-node, grow, install" in capsys.readouterr().err
