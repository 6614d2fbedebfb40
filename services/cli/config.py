"""`appia config`: shows and changes what services take up while they run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import offers
from services.cli.options import JsonOption, StateOption, grouped
from services.cli.output import print_json, say

if TYPE_CHECKING:
    from services.cli.config_run import Wish
    from services.common.config.store import Place

WAIT_S = 60.0
WhoOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who; kept in the history.", show_default="your login name"),
]
WaitOption = Annotated[
    float,
    typer.Option(metavar="S", min=0, max=3600, help="Wait so long for running services; 0 for not at all."),
]


@dataclass(frozen=True)
class Where:
    """Options about where the configuration is."""

    state: StateOption = None
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where services register: file (in DIR), or etcds://HOST:PORT/PREFIX.",
            show_default="that of the stack of --state",
        ),
    ] = None
    registry_keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            envvar="APPIA_REGISTRY_KEYS",
            help="Folder of what etcd asks for, and of the sealing key.",
            show_default="keys/registry of --state",
        ),
    ] = None

    def place(self) -> Place:
        """The place that they name."""
        from services.cli.config_place import place_of  # noqa: PLC0415 - `appia --help` starts quicker without it

        return place_of(self.state, self.registry, self.registry_keys)


@dataclass(frozen=True)
class Changing:
    """Options about a change."""

    note: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; kept in the history.", show_default="none")
    ] = None
    who: WhoOption = None
    wait: WaitOption = WAIT_S
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin anew where the configuration was removed. Default: off.")
    ] = False
    as_json: JsonOption = False

    def wish(self, why: str = "") -> Wish:
        """What is wanted beside the values; `why` is for who gives no note."""
        from services.cli.config_place import author  # noqa: PLC0415 - as above
        from services.cli.config_run import Wish  # noqa: PLC0415 - as above

        return Wish(author(self.who, self.note or why), self.wait, anew=self.anew, as_json=self.as_json)


KeysArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY|SECTION]...",
        help="Keys such as rag.workers, or sections: ingester, rag, health, sensors. Default: all.",
        autocompletion=offers.config_keys,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    config = typer.Typer(
        help="Show and change what services take up while they run.",
        no_args_is_help=True,
    )
    config.command("get", epilog="Example: appia config get rag --state ~/appia")(grouped(get))
    config.command(
        "set", epilog='Example: appia config set rag.weight_attack=2 rag.waiting=64 --note "busy night"'
    )(grouped(set_values))
    config.command("unset", epilog="Example: appia config unset rag.weight_attack")(grouped(unset))
    config.command("diff", epilog="Example: appia config diff --state ~/appia")(grouped(diff))
    config.command("history", epilog="Example: appia config history --limit 5")(grouped(history))
    config.command("rollback", epilog="Example: appia config rollback 12")(grouped(rollback))
    config.command("watch", epilog="Example: appia config watch sensors --state ~/appia")(grouped(watch))
    app.add_typer(config, name="config")


def get(keys: KeysArgument = None, *, where: Where, as_json: JsonOption = False) -> None:
    """Show keys, their values, and where those are from.

    They are live, from a settings file, or the default.
    """
    from services.cli.config_run import chosen, read_rows  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.cli.config_show import print_keys  # noqa: PLC0415 - as above

    held, rows = read_rows(where.place())
    found = chosen(rows, keys or [])
    if as_json:
        print_json({"revision": held.revision, "keys": found})
    else:
        print_keys(found, held.revision)


def diff(*, where: Where, as_json: JsonOption = False) -> None:
    """Show what differs from the settings files and the defaults."""
    from services.cli.config_run import differing, read_rows  # noqa: PLC0415 - as above
    from services.cli.config_show import print_difference  # noqa: PLC0415 - as above

    held, rows = read_rows(where.place())
    found = differing(rows)
    if as_json:
        print_json({"revision": held.revision, "keys": found})
    else:
        print_difference(found)


def set_values(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="Keys and their new values, taken together. No default.",
            autocompletion=offers.config_assignments,
        ),
    ],
    *,
    where: Where,
    changing: Changing,
) -> None:
    """Change keys, all or none, and wait for running services.

    Each says that it took the values, or why not. A service that is not ready with the new values goes back to the
    last good ones by itself, and says why. Exit status 1 where one refuses, or says nothing in time.
    """
    from services.cli.config_run import change  # noqa: PLC0415 - as above
    from services.common.config.sections import parse_words  # noqa: PLC0415 - as above

    wanted = parse_words(words)
    change(where.place(), changing.wish(), lambda _: wanted)


def unset(
    keys: Annotated[
        list[str],
        typer.Argument(metavar="KEY...", help="Keys. No default.", autocompletion=offers.config_keys),
    ],
    *,
    where: Where,
    changing: Changing,
) -> None:
    """Take live values away, so that files and defaults hold again.

    Waits as `set` does.
    """
    from services.cli.config_run import change  # noqa: PLC0415 - as above

    change(where.place(), changing.wish(), lambda _: dict.fromkeys(keys))


def history(
    *,
    where: Where,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=200, help="So many changes at most.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show who changed what, when and why, the newest first.

    The last 200 changes are kept.
    """
    from services.cli.config_place import open_config  # noqa: PLC0415 - as above
    from services.cli.config_show import print_history  # noqa: PLC0415 - as above

    changes = open_config(where.place()).read().content.changes
    print_history(changes[-limit:], as_json=as_json)


def rollback(
    revision: Annotated[
        int | None,
        typer.Argument(
            metavar="[REVISION]",
            min=0,
            help="The revision to go back to; 0 for nothing set.",
            show_default="the one before",
        ),
    ] = None,
    *,
    where: Where,
    changing: Changing,
) -> None:
    """Go back to the values of an earlier revision, as a new change. Waits as `set` does."""
    from services.cli.config_run import change, going_back  # noqa: PLC0415 - as above

    told = "the revision before" if revision is None else f"revision {revision}"
    change(where.place(), changing.wish(f"back to {told}"), going_back(revision))


def watch(
    section: Annotated[
        str,
        typer.Argument(
            metavar="SECTION",
            help="ingester, rag, health or sensors. No default.",
            autocompletion=offers.config_sections,
        ),
    ],
    *,
    where: Where,
    once: Annotated[
        bool, typer.Option("--once", "--json", help="Print one line and end. Default: off.")
    ] = False,
) -> None:
    """Print a section as a line of JSON, now and after each change.

    For programs that are configured by it, such as those around sensors: each line has all keys. Ends with Ctrl-C.
    """
    from services.cli.config_place import below, open_config  # noqa: PLC0415 - as above
    from services.cli.config_watch import checked_section, lines  # noqa: PLC0415 - as above

    base = below(where.place())[checked_section(section)].base
    for line in lines(open_config(where.place()), base, say):
        print_json(line)
        sys.stdout.flush()
        if once:
            return
