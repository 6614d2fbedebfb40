"""`appia keys site` and `appia keys etcd-users`: the secrets of a whole site, made in one folder on the controller."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import JsonOption, grouped
from services.cli.output import print_json, print_lines, print_table
from services.common.durable import Disk
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.site.expiry import Expiry
    from services.common.site.making import MadeSite
    from services.common.site.wanted import Wanted

SOON_DAYS = 60
FolderArgument = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Folder of the site's secrets; made if missing. No default.")
]
_Nodes = list[str] | None


@dataclass(frozen=True)
class Nodes:
    """Options about which nodes there are; each may be given in several runs, and adds to those before."""

    ingester: Annotated[
        _Nodes,
        typer.Option(
            metavar="NODE=ADDRESS", help="The node that writes, with its address.", show_default="none"
        ),
    ] = None
    rag: Annotated[
        _Nodes,
        typer.Option(
            metavar="NODE=ADDRESS",
            help="A node with replicas; may be given several times.",
            show_default="none",
        ),
    ] = None
    etcd: Annotated[
        _Nodes,
        typer.Option(
            metavar="NODE=ADDRESS",
            help="A node with a member of etcd: one or three; may be given several times.",
            show_default="none, for a registry in files",
        ),
    ] = None


@dataclass(frozen=True)
class Site:
    """Options about the site itself."""

    site: Annotated[
        str | None, typer.Option(metavar="NAME", help="Name of the site.", show_default="main")
    ] = None
    analyst: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Who may ask questions; may be given several times.", show_default="none"
        ),
    ] = None
    encrypt: Annotated[
        bool,
        typer.Option("--encrypt", help="Make a key that logs are encrypted with, too. Default: off."),
    ] = False
    etcd_authority: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder of another site, whose etcd this one uses too.",
            show_default="an etcd of its own",
        ),
    ] = None


@dataclass(frozen=True)
class Doing:
    """Options about what to do instead of making what is missing alone."""

    renew_certificates: Annotated[
        bool,
        typer.Option(
            "--renew-certificates",
            help="Make the certificates of etcd anew, of the same authority. Default: off.",
        ),
    ] = False
    forget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NODE",
            help="A node that is gone: its secrets are removed, its key revoked; may be given several times.",
            show_default="none",
        ),
    ] = None
    show: Annotated[
        bool,
        typer.Option("--show", help="Make nothing; list until when certificates are good. Default: off."),
    ] = False


def add_to(keys: typer.Typer) -> None:
    """Add the commands."""
    example = (
        "appia keys site site --ingester n1=10.0.0.11 --rag n2=10.0.0.12 --etcd n1=10.0.0.11 --analyst alice"
    )
    keys.command("site", epilog=f"Example: {example}")(grouped(site))
    keys.command("etcd-users", epilog="Example: appia keys etcd-users site")(etcd_users)


def site(
    folder: FolderArgument,
    *,
    nodes: Nodes,
    about: Site,
    doing: Doing,
    as_json: JsonOption = False,
) -> None:
    """Make all that is secret about a site, in one folder.

    Do it on the machine that you install from. Certificates and users of etcd, keys of servers and clients with their
    rights, keys that seal frames and sign days. What is there stays, what is missing is made: name a new node later,
    and its secrets are added. Keep the folder where nobody else can read it; docs/site.md says what goes where.
    """
    from services.common.site.making import Tools, make_site  # noqa: PLC0415 - cryptography loads slowly

    if doing.show:
        if nodes != Nodes() or about != Site() or doing != Doing(show=True):
            raise UsageError("--show stands alone: it makes nothing.")
        _show(folder, as_json=as_json)
        return
    made = make_site(
        folder,
        lambda before: _wanted(folder, before, (nodes, about, doing.forget or ())),
        Tools(Disk()),
        renew=doing.renew_certificates,
        forget=doing.forget or (),
    )
    _tell(made, as_json=as_json)


def _wanted(folder: Path, before: Wanted | None, asked: tuple[Nodes, Site, Sequence[str]]) -> Wanted:
    """What there shall be: what there was, without the nodes that are gone, and what is asked for."""
    from services.common.site.wanted import DEFAULT_SITE, Wanted  # noqa: PLC0415 - as above

    nodes, about, gone = asked
    name = about.site if about.site is not None else (before.site if before else DEFAULT_SITE)
    if before is not None and before.site != name:
        raise UsageError(
            f"{folder} holds the secrets of the site {before.site}: each site has a folder of its own."
        )
    wanted = (before or Wanted(site=name)).without(gone).and_also(_asked(folder, name, nodes, about))
    if not wanted.ingester:
        raise UsageError("Which node writes? Give --ingester NODE=ADDRESS.")
    return wanted


def _asked(folder: Path, name: str, nodes: Nodes, about: Site) -> Wanted:
    """What this run names."""
    from services.common.site.wanted import ROLES, Wanted, parse_nodes  # noqa: PLC0415 - as above

    other = about.etcd_authority
    return Wanted(
        site=name,
        **{role: parse_nodes(getattr(nodes, role) or [], role) for role in ROLES},
        analysts=tuple(about.analyst or ()),
        encrypt=about.encrypt,
        etcd_authority=os.path.relpath(other.resolve(), folder.resolve()) if other else "",
    )


def _tell(made: MadeSite, *, as_json: bool) -> None:
    from services.common.site.wanted import registry_url  # noqa: PLC0415 - as above

    registry = registry_url(made.members, made.wanted.prefix)
    root = made.folder.root
    if as_json:
        told = {"folder": str(root), "site": made.wanted.site, "registry": registry}
        print_json({**told, "made": list(made.made), "removed": list(made.removed)})
        return
    changed = "these are new:" if made.made else "nothing was missing."
    print_lines(
        f"{root} holds the secrets of the site {made.wanted.site}; {changed}",
        *(f"  {one}" for one in made.made),
        *(("These are gone:",) if made.removed else ()),
        *(f"  {one}" for one in made.removed),
    )
    print_lines(f'Services of this site register at: registry = "{registry}"', *_advice(made))


def _advice(made: MadeSite) -> Iterator[str]:
    """What may be asked for, and is hardly meant; and what has to be done before long."""
    from services.common.site.expiry import expiries  # noqa: PLC0415 - as above

    members, servers = len(made.members), len(made.wanted.servers)
    if members and members % 2 == 0:
        yield f"{members} members of etcd bear no more losses than {members - 1} do: use 1, 3 or 5."
    if not members and servers > 1:
        yield "Services on several nodes find each other by etcd alone: name its members with --etcd."
    yield from _ending(expiries(made.folder))


def _ending(certificates: Sequence[Expiry]) -> Iterator[str]:
    """What to do about certificates that end before long."""
    soon = datetime.now(UTC) + timedelta(days=SOON_DAYS)
    ending = [one for one in certificates if one.until < soon]
    if any(one.is_authority for one in ending):
        yield "The authority ends before long, and its certificates with it: docs/site.md tells how to make another."
    elif ending:
        first = f"{ending[0].path} is good until {ending[0].until.date()}"
        yield f"{first}: make certificates anew with --renew-certificates, and install again."


def _show(folder: Path, *, as_json: bool) -> None:
    from services.common.site.expiry import expiries  # noqa: PLC0415 - as above
    from services.common.site.names import SiteFolder  # noqa: PLC0415 - as above
    from services.common.site.wanted import read_wanted  # noqa: PLC0415 - as above

    if read_wanted(SiteFolder(folder).site_file) is None:
        raise UsageError(f"{folder} holds no secrets of a site: make them with `appia keys site`.")
    now, found = datetime.now(UTC), expiries(SiteFolder(folder))
    rows = [(one.path, one.addresses, one.until.date().isoformat(), (one.until - now).days) for one in found]
    if as_json:
        names = ("certificate", "addresses", "until", "days_left")
        print_json(
            {"folder": str(folder), "certificates": [dict(zip(names, row, strict=True)) for row in rows]}
        )
        return
    if not rows:
        print_lines(f"{folder} holds no certificates: the registry of this site is a folder.")
        return
    cells = [(path, " ".join(addresses), until, left) for path, addresses, until, left in rows]
    print_table(["certificate", "~addresses", "until", ">days left"], cells)
    print_lines(*_ending(found))


def etcd_users(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder of the site's secrets. No default.")
    ],
    *,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where etcd is asked; may be given several times.",
            show_default="all members, by their addresses",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the users of the site in its etcd, with their rights.

    Users are switched on then. What is as it should be stays; a password whose file is another by now is changed. Run
    it when most members of etcd are up, on a machine that may ask them.
    """
    from services.common.site.etcd_access import set_up_users  # noqa: PLC0415 - as above

    changed = set_up_users(folder, endpoint or [])
    if as_json:
        print_json({"changed": changed})
    elif changed:
        print_lines(*(f"{one[0].upper()}{one[1:]}." for one in changed))
    else:
        print_lines("Everything was as it should be.")
