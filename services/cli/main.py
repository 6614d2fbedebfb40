"""The command `appia`: what every subcommand shares, and the one place where errors become exit statuses.

0: done. 1: it failed, or something was found wrong. 2: the command was wrong. 130: interrupted.
"""

from __future__ import annotations

import io
import os
import re
import sys
from typing import TYPE_CHECKING

import typer

from services.cli import (
    access,
    alerts,
    ask,
    ask_assistant,
    ask_campaigns,
    ask_explain,
    ask_hybrid,
    ask_novel,
    ask_search,
    ask_timeline,
    backup,
    chain,
    check,
    completion,
    config,
    days,
    dead_letter,
    export_case,
    feed,
    feedback,
    hold,
    http,
    keys,
    mcp,
    models,
    reindex,
    repair,
    restore,
    retention,
    sensors,
    status,
    tune,
    up,
    verify,
    verify_case,
    version,
)
from services.cli.completion import answer_shells
from services.cli.help import show_sections
from services.cli.output import say
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130


def make_app() -> typer.Typer:
    """The command with all its subcommands, in the order in which a newcomer needs them."""
    app = typer.Typer(
        name="appia",
        help="The memory of a network's defence: keeps what the sensors saw and answers questions about it.",
        epilog="First `appia models build`, then `appia up --state DIR`, then `appia feed` and `appia search`.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    for room in (
        up,
        feed,
        status,
        alerts,
        sensors,
        ask_search,
        ask_assistant,
        ask,
        ask_explain,
        ask_hybrid,
        ask_novel,
        ask_timeline,
        ask_campaigns,
        feedback,
        http,
        mcp,
        days,
        check,
        repair,
        verify,
        chain,
        export_case,
        verify_case,
        hold,
        retention,
        dead_letter,
        reindex,
        backup,
        restore,
        tune,
        keys,
        access,
        models,
        config,
        completion,
        version,
    ):
        room.add_to(app)
    show_sections(app)
    return app


_EXTRA = re.compile(r"Got unexpected extra arguments? ?(?:\(s\) )?\((.*)\)")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status; says what was wrong in one line on standard error."""
    try:
        answer_shells(os.environ)
        ended = make_app()(arguments, prog_name="appia", standalone_mode=False)
        sys.stdout.flush()
    except AppiaError as failed:
        say(str(failed))
        return failed.exit_code
    except typer.TyperException as wrong:
        return _wrong_use(wrong)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on: `appia list | head`. What is still buffered goes nowhere, without a message.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as failed:
        where = "" if failed.filename is None else f"{failed.filename}: "
        say(f"{where}{failed.strerror or failed}")
        return 1
    return ended if isinstance(ended, int) else 0


def _wrong_use(wrong: typer.TyperException) -> int:
    context = getattr(wrong, "ctx", None)
    if type(wrong).__name__ == "NoArgsIsHelpError":
        print(wrong.format_message())  # noqa: T201 - the help text is the answer
        return 2
    command = context.command_path if context is not None else "appia"
    sentence = " ".join(wrong.format_message().split()).replace("Value error, ", "")
    extra = _EXTRA.fullmatch(sentence)
    if extra and context is not None and "text" in context.params:
        sentence = f"Put the text in quotes: '{extra[1]}' came as words of their own"
    say(f"{sentence.rstrip('.')}: see `{command} --help`.")
    return wrong.exit_code


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another character set gets an escape in place of what it cannot show.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
