"""Every command of the guides that needs one machine does what the guide shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs.guides import GUIDES, stack_blocks
from docs.shell import Shell
from docs.typing_in import type_in


@pytest.mark.parametrize("path", [path for path in GUIDES if stack_blocks(path)], ids=lambda path: path.name)
def test_the_commands_of_a_guide(stack: dict[str, str], path: Path) -> None:
    """They are typed in order into one shell, in a stack that was fed with the sample, and print what is shown."""
    with Shell(["bash"], stack, Path(stack["HOME"])) as shell:
        assert type_in(stack_blocks(path), shell) >= 1
