"""`appia keys registry`."""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import JsonOption, grouped
from services.cli.output import print_json, print_lines
from services.common.durable import REAL
from services.common.errors import UsageError
from services.common.registry.rotation import Rotation  # noqa: TC001 - typer reads it when a command is made

if TYPE_CHECKING:
    from services.common.registry.keys import Login

MOST_PASSWORD_CHARS = 512


@dataclass(frozen=True)
class Etcd:
    """Options about what etcd asks for."""

    login: Annotated[
        str | None,
        typer.Option(
            metavar="USER",
            help="User of etcd; the password is asked for, or read as one line from a pipe.",
            show_default="none",
        ),
    ] = None
    ca: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="PEM file of who signed etcd's certificate.", show_default="the machine's"
        ),
    ] = None
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="PEM file of a client certificate.", show_default="none"),
    ] = None
    certificate_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of its key.", show_default="none")
    ] = None


def add_to(keys: typer.Typer) -> None:
    """Add the command."""
    keys.command(
        "registry", epilog="Example: appia keys registry ~/appia/keys --ca etcd-ca.pem --login appia"
    )(grouped(registry))


def registry(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the keys; made if missing. No default.")
    ],
    *,
    etcd: Etcd,
    rotate: Annotated[
        Rotation | None,
        typer.Option(
            metavar="STEP",
            help="Replace the sealing key, a step at a time: add a new one that only opens, use it, drop the others.",
            show_default="none",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the folder of what a registry in etcd asks for.

    It is DIR/registry, and gets a key that seals what is kept in etcd, too. Copy DIR/registry to each machine that uses
    the registry. A sealing key that is there stays.
    """
    from services.common.registry.connect import KEYS_FOLDER  # noqa: PLC0415 - cryptography loads slowly
    from services.common.registry.new_keys import (  # noqa: PLC0415 - as above
        Given,
        make_registry_keys,
        rotate_seals,
    )

    place = folder / KEYS_FOLDER
    if rotate is not None:
        if etcd != Etcd():
            raise UsageError("--rotate stands alone: change the login or certificates in another run")
        seals = rotate_seals(REAL, place, rotate)
    else:
        given = Given(_login(etcd.login), etcd.ca, etcd.certificate, etcd.certificate_key)
        seals = make_registry_keys(REAL, place, given)
    others = [key_id for key_id in seals.seeds if key_id != seals.primary]
    if as_json:
        print_json({"folder": str(place), "sealing_key": seals.primary, "opening_keys": others})
    else:
        also = f"; also opens what was sealed with {', '.join(map(str, others))}" if others else ""
        print_lines(f"{place} is ready; key {seals.primary} seals{also}.")


def _login(user: str | None) -> Login | None:
    from services.common.registry.keys import Login  # noqa: PLC0415 - as above

    if user is None:
        return None
    if sys.stdin.isatty():
        return Login(user, getpass.getpass(f"Password of the user {user} of etcd: "))
    return Login(user, sys.stdin.readline(MOST_PASSWORD_CHARS).rstrip("\r\n"))
