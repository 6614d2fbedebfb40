"""The blocks of a guide are read as they are written, and none of them can be left out unseen."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest
from docs.blocks import Block, Command, Happening, Mark, MarkError, blocks_of, happenings_of
from docs.guides import CHAPTERS, GUIDES, PLACES, chapter_steps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONSOLE = """\
# A guide

<!-- run: stack, exit 2 -->
```console
$ appia days \\
    --json
{}
$ appia nothing
no such command
# is no prompt
$ systemctl restart x
```
"""


def test_commands_of_a_console_block(guide: Callable[[str], Path]) -> None:
    """Each has its line, the lines that go on, and what it prints; the last one the status of the mark."""
    (block,) = blocks_of(guide(CONSOLE))
    assert block.mark == Mark(stack=True, exit=2)
    assert block.commands() == [
        Command(5, "appia days \\\n    --json", ("{}",)),
        Command(8, "appia nothing", ("no such command", "# is no prompt")),
        Command(11, "systemctl restart x", (), 2),
    ]


def test_a_bash_block_is_one_script_that_stops_at_a_failure(guide: Callable[[str], Path]) -> None:
    """Of two lines the second is not run when the first fails."""
    (block,) = blocks_of(guide("<!-- run: fleet upgrade on rag-1 -->\n```bash\nfalse\necho on\n```\n"))
    assert block.mark == Mark(chapter="upgrade", place="rag-1")
    (command,) = block.commands()
    assert command.text.splitlines()[1] == "set -eu -o pipefail"
    assert command.line == 3


def test_a_block_in_a_list_loses_its_indent(guide: Callable[[str], Path]) -> None:
    """A block that belongs to a point of a list is read as if it stood alone."""
    (block,) = blocks_of(guide("1. First\n\n   <!-- run: stack -->\n   ```console\n   $ true\n   ```\n"))
    assert [command.text for command in block.commands()] == ["true"]


def test_what_is_not_run_says_why(guide: Callable[[str], Path]) -> None:
    """The reason is kept."""
    (block,) = blocks_of(guide("<!-- not run: it would end the machine -->\n```bash\nhalt\n```\n"))
    assert block.mark == Mark(reason="it would end the machine")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```console\n$ true\n```\n", "the line above says"),
        ("text\n```bash\ntrue\n```\n", "the line above says"),
        ("<!-- run: moon -->\n```bash\ntrue\n```\n", "neither where"),
        ("<!-- run: fleet upgrade -->\n```bash\ntrue\n```\n", "neither where"),
        ("<!-- not run: -->\n```bash\ntrue\n```\n", "neither where"),
        ("<!-- not run: no -->\n```bash\ntrue\n```\n", "neither where"),
        ("```\nappia up\n```\n", "the language of a block"),
        ("```sh\nappia up\n```\n", "the language of a block"),
        ("Type:\n\n    appia up\n", "a block with a language"),
        ("<!-- run: stack -->\n```toml\na = 1\n```\n", "only blocks of commands"),
        ("<!-- run: stack -->\n```console\n$ true\n", "not closed"),
    ],
)
def test_a_block_that_nobody_would_run_is_refused(guide: Callable[[str], Path], text: str, said: str) -> None:
    """Without a mark, with an unknown one, in a language that nobody knows, or open: a sentence with the line."""
    with pytest.raises(MarkError, match=said):
        blocks_of(guide(text))


def test_what_happens_to_machines(guide: Callable[[str], Path]) -> None:
    """It is read with its line; what cannot happen is refused."""
    path = guide("# X\n\n<!-- happens in disaster-rag: node-2 is lost -->\n")
    assert happenings_of(path) == [Happening("guide.md", 3, "disaster-rag", "node-2", "is lost")]
    with pytest.raises(MarkError, match=r"guide\.md:1: this cannot happen"):
        happenings_of(guide("<!-- happens in disaster-rag: node-2 melts -->\n"))


@pytest.mark.parametrize("inside", ["", "true\n"])
def test_a_console_block_begins_with_a_prompt(guide: Callable[[str], Path], inside: str) -> None:
    """A block from which nothing would be typed is refused."""
    (block,) = blocks_of(guide(f"<!-- run: stack -->\n```console\n{inside}```\n"))
    with pytest.raises(MarkError):
        block.commands()


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.name)
def test_every_block_of_the_guides_says_where_it_is_run(path: Path) -> None:
    """All are read, those of the fleet belong to a chapter that it runs, and data can be read by what reads it."""
    for block in blocks_of(path):
        block.commands()
        if block.mark is not None and block.mark.chapter:
            assert block.mark.chapter in CHAPTERS, f"{block.guide}:{block.line}"
        _is_readable(block)


def _is_readable(block: Block) -> None:
    text = "\n".join(block.lines)
    if block.language == "toml":
        tomllib.loads(text)
    elif block.language == "json":
        json.loads(text)


def test_a_page_with_marks_is_a_guide() -> None:
    """None is written and forgotten: what says that it is run is in the list of what is run."""
    pages = {path for path in GUIDES[0].parent.glob("*.md") if "<!-- run: " in path.read_text("utf-8")}
    assert pages == set(GUIDES)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_types_something_on_machines_that_there_are(chapter: str) -> None:
    steps = chapter_steps(chapter)
    assert any(isinstance(step, Block) for step in steps)
    assert {_place_of(step) for step in steps} <= set(PLACES)


def _place_of(step: Block | Happening) -> str:
    if isinstance(step, Happening):
        return step.place
    assert step.mark is not None
    return step.mark.place


def test_few_blocks_are_not_run() -> None:
    """At most one of eight."""
    marks = [block.mark for path in GUIDES for block in blocks_of(path) if block.mark is not None]
    assert sum(bool(mark.reason) for mark in marks) * 8 <= len(marks)
