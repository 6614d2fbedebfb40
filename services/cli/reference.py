"""Writes docs/commands.md: `python -m services.cli.reference > docs/commands.md`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import typer.main

from services.cli.main import make_app

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 100

HEAD = """\
# Commands

What `--help` of each command says, written by `python -m services.cli.reference > docs/commands.md`.

- The answer goes to standard output. With `--json` that is one JSON document and nothing else. News, progress and
  what went wrong go to standard error, each in one line.
- On a terminal text fits its width: cells of a table move below their row where there is no room, ids stay whole.
  Verdicts, scores and gaps have colours there, unless `NO_COLOR` is set. Into a file or a pipe goes neither: a row is
  a line, however long.
- Answers end alike: more about the events (`--enrich`), what was understood of a text, what analysts said of the
  events, what was searched, and as of when. What takes long says so on a terminal while it runs.
- `appia completion bash`, `zsh` or `fish` prints what lets that shell complete commands, options and values.
- Exit status: 0 done; 1 something failed, or was found wrong; 2 the command was wrong; 130 interrupted by Ctrl-C.
- `APPIA_STATE` stands for `--state`, and `APPIA_MODELS` for `--models`.
"""


def reference() -> str:
    """The whole document."""
    sections = (
        f"## {path}\n\n```text\n{help_text}\n```\n"
        for path, help_text in _commands(typer.main.get_command(make_app()), "appia", None)
    )
    return "\n".join([HEAD, *sections])


def _commands(command: Any, path: str, parent: Any) -> Iterator[tuple[str, str]]:
    """Each command below `command`, with its help text; typer's own classes are of no public type."""
    name = path.rpartition(" ")[2]
    # The width of the terminal must not decide what the document says.
    context = command.make_context(
        name, ["--help"], parent, resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    )
    yield path, command.get_help(context).rstrip()
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, f"{path} {child_name}", context)


if __name__ == "__main__":
    sys.stdout.write(reference())
