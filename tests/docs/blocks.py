"""Reads the command blocks of the guides, and where each of them is run.

A guide is Markdown. Every fenced block of it names its language. `console` and `bash` are commands, and the line above
the fence says where they are run, in a comment that readers of the page do not see:

    <!-- run: stack -->                     in the stack that the tests of the guides start and feed
    <!-- run: fleet CHAPTER on PLACE -->    on a machine of `make fleet`: the `controller` or a host of the inventory
    <!-- not run: REASON -->                nowhere, with the reason

    <!-- happens in CHAPTER: PLACE is lost -->    what no command does: a machine loses its disk and comes back bare;
                                            `is switched off`, `is switched on`

`, exit N` behind the first two says that the last command of the block ends with that status. In a `console` block a
line that begins with `$ ` is a command (lines that end with a backslash go on), and what follows is what it prints,
where it is shown; see `said.py` for what has to be the same. A `bash` block is a script of its own, and stops where a
command fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = frozenset({"console", "bash"})
OTHERS = frozenset({"text", "toml", "json", "yaml", "ini"})
"""Languages of what is read and not run."""
PROMPT = "$ "
CONTROLLER = "controller"

_FENCE = re.compile(r"^( *)(```+|~~~+)(.*)$")
_RUN = re.compile(
    r"<!-- run: (?:(?P<stack>stack)|fleet (?P<chapter>[a-z0-9-]+) on (?P<place>[a-z0-9-]+))"
    r"(?:, exit (?P<exit>\d+))? -->"
)
_HIDDEN = re.compile(r"^(?: {4,}|\t)(?:\$ |sudo |appia |make |python |pip |ansible)")
"""A command in a block that is made by indenting, whose language nobody says."""
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>\S.{10,}?) -->")


_HAPPENS = re.compile(
    r"<!-- happens in (?P<chapter>[a-z0-9-]+): (?P<place>[a-z0-9-]+) "
    r"(?P<what>is lost|is switched off|is switched on) -->"
)


class MarkError(Exception):
    """A block does not say where it is run, or cannot be read; the message has the guide and the line."""


@dataclass(frozen=True)
class Command:
    """One command, the line of the guide where it stands, and what it prints; empty where that is not shown."""

    line: int
    text: str
    said: tuple[str, ...]
    exit: int = 0


@dataclass(frozen=True)
class Mark:
    """Where a block is run: in the `stack`, on a `place` as a part of a `chapter`, or nowhere with the `reason`."""

    stack: bool = False
    chapter: str = ""
    place: str = ""
    reason: str = ""
    exit: int = 0


@dataclass(frozen=True)
class Block:
    """A fenced block: the line of its fence, its language and lines; a mark where it has commands."""

    guide: str
    line: int
    language: str
    lines: tuple[str, ...]
    mark: Mark | None

    def commands(self) -> list[Command]:
        """What is typed, in order; empty for a block of another language.

        Raises:
            MarkError: a `console` block does not begin with a prompt.
        """
        if self.mark is None:
            return []
        if self.language == "bash":
            script = "set -eu -o pipefail\n" + "\n".join(self.lines)
            return [Command(self.line + 1, f"(\n{script}\n)", (), self.mark.exit)]
        typed = list(self._typed())
        last = typed[-1]
        return [*typed[:-1], Command(last.line, last.text, last.said, self.mark.exit)]

    def _typed(self) -> list[Command]:
        found: list[tuple[int, list[str], list[str]]] = []
        for number, line in enumerate(self.lines, start=self.line + 1):
            if line.startswith(PROMPT):
                found.append((number, [line.removeprefix(PROMPT)], []))
            elif not found:
                raise MarkError(f"{self.guide}:{number}: a console block begins with `$ `")
            elif found[-1][1][-1].endswith("\\") and not found[-1][2]:
                found[-1][1].append(line)
            else:
                found[-1][2].append(line)
        if not found:
            raise MarkError(f"{self.guide}:{self.line}: the block is empty")
        return [Command(number, "\n".join(text), tuple(said)) for number, text, said in found]


@dataclass(frozen=True)
class Happening:
    """What happens to a machine between two blocks of a chapter."""

    guide: str
    line: int
    chapter: str
    place: str
    what: str


def happenings_of(guide: Path) -> list[Happening]:
    """Everything that happens in a guide, in order.

    Raises:
        MarkError: something happens that nobody can let happen.
    """
    found: list[Happening] = []
    for number, line in enumerate(guide.read_text("utf-8").splitlines(), start=1):
        if not line.strip().startswith("<!-- happens"):
            continue
        happens = _HAPPENS.fullmatch(line.strip())
        if happens is None:
            raise MarkError(f"{guide.name}:{number}: this cannot happen: {line.strip()}")
        found.append(Happening(guide.name, number, **happens.groupdict()))
    return found


def blocks_of(guide: Path) -> list[Block]:
    """Every fenced block of a guide, in order.

    Raises:
        MarkError: a block has no language or an unknown one, a command block no mark or an unknown one, another block a
            mark, or a fence is not closed.
    """
    lines = guide.read_text("utf-8").splitlines()
    found: list[Block] = []
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence is None:
            if _HIDDEN.match(lines[number]):
                raise MarkError(f"{guide.name}:{number + 1}: commands stand in a block with a language")
            number += 1
            continue
        end = _end_of(lines, number, fence[2], guide.name)
        indent = len(fence[1])
        inside = tuple(line[indent:] for line in lines[number + 1 : end])
        above = lines[number - 1].strip() if number else ""
        found.append(_block(guide.name, number + 1, fence[3].strip(), inside, above))
        number = end + 1
    return found


def _end_of(lines: list[str], start: int, fence: str, guide: str) -> int:
    for number in range(start + 1, len(lines)):
        if lines[number].strip() == fence:
            return number
    raise MarkError(f"{guide}:{start + 1}: the block is not closed")


def _block(guide: str, line: int, language: str, inside: tuple[str, ...], above: str) -> Block:
    marked = above.startswith("<!--")
    if language in COMMANDS:
        if not marked:
            raise MarkError(
                f"{guide}:{line}: the line above says where the block is run: see tests/docs/blocks.py"
            )
        return Block(guide, line, language, inside, _mark(above, f"{guide}:{line - 1}"))
    if language not in OTHERS:
        known = ", ".join(sorted(COMMANDS | OTHERS))
        raise MarkError(f"{guide}:{line}: the language of a block is one of {known}, not {language!r}")
    if marked and "run:" in above:
        raise MarkError(f"{guide}:{line}: only blocks of commands are run")
    return Block(guide, line, language, inside, None)


def _mark(above: str, where: str) -> Mark:
    if found := _RUN.fullmatch(above):
        return Mark(
            stack=found["stack"] is not None,
            chapter=found["chapter"] or "",
            place=found["place"] or "",
            exit=int(found["exit"] or 0),
        )
    if found := _NOT_RUN.fullmatch(above):
        return Mark(reason=found["reason"])
    raise MarkError(f"{where}: this says neither where the block is run nor why it is not: {above}")
