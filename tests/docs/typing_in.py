"""Types the blocks of a guide into a shell and says what is not as the guide shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docs.said import differs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from docs.blocks import Block
    from docs.shell import Shell


class GuideError(AssertionError):
    """A command of a guide did not do what the guide says; the message has the guide, the line and the difference."""


def type_in(
    blocks: Iterable[Block], shell: Shell, seconds: float = 60.0, names: Mapping[str, str] | None = None
) -> int:
    """Run the commands of some blocks, in order; gives how many there were. Blocks; each may take `seconds`.

    `names` has what is typed for what the guide says, such as an address; what is printed is compared the other way.

    Raises:
        GuideError: an exit status or an output is another one.
        ShellError: a command did not end.
    """
    count = 0
    for block in blocks:
        for command in block.commands():
            status, printed = shell.run(_replaced(command.text, names or {}), seconds)
            printed = _replaced(printed, {there: said for said, there in (names or {}).items()})
            where = f"{block.guide}:{command.line}: `{command.text}`"
            if status != command.exit:
                raise GuideError(
                    f"{where} ended with status {status}, not {command.exit}, and printed\n{printed}"
                )
            if command.said and (difference := differs(command.said, printed)):
                raise GuideError(f"{where}: {difference}")
            count += 1
    return count


def _replaced(text: str, names: Mapping[str, str]) -> str:
    """The longest names first, so that none is taken for the beginning of another."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text
