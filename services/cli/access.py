"""`appia access`: the keys that may ask, and what each may do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import JsonOption, grouped
from services.cli.output import counted, print_json, print_lines, print_table
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from services.common.access.curve import KeyPair
    from services.common.access.rights import Days, Principal
    from services.common.durable import Disk

FileOption = Annotated[
    Path,
    typer.Option(
        "--access",
        metavar="FILE",
        envvar="APPIA_ACCESS",
        help="The access file, as in the settings. No default.",
    ),
]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key. No default.")]
TAKEN_UP = "Running services take it up within a second."


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    access = typer.Typer(
        help="Say who may ask, and what: new, token, list, check, revoke. See docs/access.md.",
        no_args_is_help=True,
    )
    access.command("new", epilog='Example: appia access new alice --access access.toml --days "last 30"')(
        grouped(new)
    )
    access.command("token", epilog="Example: appia access token alice --access access.toml")(token)
    access.command("list", epilog="Example: appia access list --access access.toml")(show)
    access.command("check", epilog="Example: appia access check --access access.toml")(check)
    access.command("revoke", epilog="Example: appia access revoke alice --access access.toml")(revoke)
    app.add_typer(access, name="access")


@dataclass(frozen=True)
class Allowed:
    """Options about what a key may do."""

    operations: Annotated[
        list[str] | None,
        typer.Option(
            "--operations",
            metavar="NAME",
            help="An operation or group (questions, remarks, control, all); may be given several times.",
            show_default="questions",
        ),
    ] = None
    indices: Annotated[
        list[str] | None,
        typer.Option(
            "--indices",
            metavar="NAME",
            help="attack, semantic, temporal, entity or all; may be given several times.",
            show_default="all",
        ),
    ] = None
    days: Annotated[
        list[str] | None,
        typer.Option(
            "--days",
            metavar="DAYS",
            help='all, "last 30", 2026-11-20 or 2026-11-01..2026-11-20; may be given several times.',
            show_default="all",
        ),
    ] = None
    rate: Annotated[
        float | None,
        typer.Option(metavar="N", help="Questions a second in the long run.", show_default="50"),
    ] = None
    burst: Annotated[
        int | None, typer.Option(metavar="N", help="Questions at once after a pause.", show_default="100")
    ] = None
    delegate: Annotated[
        bool, typer.Option("--delegate", help="A gateway: it says on whose behalf it asks. Default: off.")
    ] = False

    def fields(self) -> dict[str, Any]:
        """As the access file has them."""
        return {
            "operations": self.operations or ["questions"],
            "indices": self.indices or ["all"],
            "days": self.days or ["all"],
            "rate": self.rate,
            "burst": self.burst,
            "delegate": self.delegate or None,
        }


@dataclass(frozen=True)
class Proof:
    """Options about how one shows who he is."""

    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where the new key goes (mode 0400).", show_default="NAME.secret here"
        ),
    ] = None
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key",
            metavar="KEY",
            help="The public key of one that made its key itself; no key is made then.",
            show_default="that of the new key",
        ),
    ] = None
    with_token: Annotated[
        bool, typer.Option("--token", help="Make a token for HTTP instead, and show it once. Default: off.")
    ] = False


def new(
    *,
    name: NameArgument,
    access: Annotated[
        Path | None,
        typer.Option(
            "--access",
            metavar="FILE",
            envvar="APPIA_ACCESS",
            help="The access file; made if missing.",
            show_default="none: the table is printed, for who keeps the file",
        ),
    ] = None,
    proof: Proof,
    allowed: Allowed,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and say in the access file what it may do. No secret is shown, but a token, once.

    Without --access the key is made and its table printed: so a key never leaves the machine of who uses it.
    """
    from services.common.access.edit import add_key, to_table  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.common.access.table import check_name  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    made = _prove(check_name(name), proof)
    fields = {**made.fields, **allowed.fields()}
    pair_file = made.keep(Disk())
    try:
        if access is not None:
            add_key(Disk(), access, name, fields)
    except AppiaError:
        made.drop(Disk())
        raise
    if as_json:
        print_json({"name": name, "file": pair_file, "token": made.token or None, **fields})
        return
    told = [f"Its key is in {pair_file}: ask with --key {pair_file}."] if pair_file else []
    told += [f"Its token, shown this once: {made.token}"] if made.token else []
    if access is None:
        print_lines(*(f"# {line}" for line in told), *to_table(name, fields).splitlines())
    else:
        print_lines(f"Added {name} to {access}. {TAKEN_UP}", *told)


@dataclass(frozen=True)
class _Made:
    """What shows who one is: fields of the access file, and a secret that goes into a file or is shown once."""

    fields: dict[str, str]
    token: str = ""
    pair: KeyPair | None = None
    file: Path | None = None

    def keep(self, disk: Disk) -> str | None:
        """Write the key file; gives its name."""
        if self.pair is None or self.file is None:
            return None
        self.pair.write(disk, self.file)
        return str(self.file)

    def drop(self, disk: Disk) -> None:
        """Remove the key file: nobody knows the key."""
        if self.file is not None:
            disk.remove(self.file)


def _prove(name: str, proof: Proof) -> _Made:
    from services.common.access.curve import KeyPair, read_public_key  # noqa: PLC0415 - as above
    from services.common.access.edit import new_token  # noqa: PLC0415 - as above
    from services.common.access.table import token_digest  # noqa: PLC0415 - as above

    if sum((proof.out is not None, proof.public_key is not None, proof.with_token)) > 1:
        raise UsageError("Give one of --out, --public-key and --token.")
    if proof.public_key is not None:
        return _Made({"public_key": read_public_key(proof.public_key)})
    if proof.with_token:
        made = new_token()
        return _Made({"token_sha256": token_digest(made)}, token=made)
    file = proof.out or Path(f"{name}.secret")
    if file.exists():
        raise UsageError(f"{file} exists and is not overwritten: choose another --out.")
    pair = KeyPair.new()
    return _Made({"public_key": pair.public}, pair=pair, file=file)


def token(name: NameArgument, *, access: FileOption, as_json: JsonOption = False) -> None:
    """Give a key a new token for HTTP, which is shown once.

    One before it is worth nothing any more.
    """
    from services.common.access.edit import give_token, new_token  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    made = new_token()
    give_token(Disk(), access, name, made)
    if as_json:
        print_json({"name": name, "token": made})
    else:
        print_lines(f"The token of {name}, shown this once: {made}", TAKEN_UP)


def revoke(name: NameArgument, *, access: FileOption, as_json: JsonOption = False) -> None:
    """Take all rights from a key. Its name stays in the file and is not given again."""
    from services.common.access.edit import revoke_key  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above

    revoke_key(Disk(), access, name)
    if as_json:
        print_json({"name": name, "revoked": True})
    else:
        print_lines(f"Revoked {name}. {TAKEN_UP} Its open connections are answered nothing then.")


def show(*, access: FileOption, as_json: JsonOption = False) -> None:
    """List the keys and what each may do."""
    from services.common.access.book import read_access  # noqa: PLC0415 - as above

    rows = [_row(one) for one in read_access(access).principals.values()]
    if as_json:
        print_json({"keys": rows})
        return
    columns = ["name", "by", "~operations", "~indices", "~days", "rate", "state"]
    print_table(columns, [[_cell(row[column.lstrip("~")]) for column in columns] for row in rows])


def check(*, access: FileOption, as_json: JsonOption = False) -> None:
    """Say whether running services would take this file."""
    from services.common.access.book import read_access  # noqa: PLC0415 - as above

    keys = read_access(access).principals.values()
    revoked = sum(one.revoked for one in keys)
    if as_json:
        print_json({"file": str(access), "keys": len(keys) - revoked, "revoked": revoked})
    else:
        print_lines(f"{access} is sound: {counted(len(keys) - revoked, 'key')} may ask; {revoked:,} revoked.")


def _row(one: Principal) -> dict[str, Any]:
    rights = one.rights
    ways = (("key", one.public_key), ("token", one.token_sha256), ("gateway", rights.delegate))
    return {
        "name": one.name,
        "by": [way for way, has in ways if has],
        "operations": _grouped(rights.operations),
        "indices": sorted(rights.indices),
        "days": [word for days in rights.days for word in _day_words(days)] or ["all"],
        "rate": rights.rate.per_s,
        "state": "revoked" if one.revoked else "valid",
        "public_key": one.public_key,
    }


def _grouped(operations: frozenset[str]) -> list[str]:
    """Operations by the largest groups that hold nothing else, and what is left of them."""
    from services.common.access.names import GROUPS  # noqa: PLC0415 - as above

    found: list[str] = []
    left = set(operations)
    for group, members in sorted(GROUPS.items(), key=lambda item: -len(item[1])):
        if left >= set(members):
            found.append(group)
            left -= set(members)
    return [*found, *sorted(left)]


def _day_words(days: Days) -> list[str]:
    words = [] if days.last is None else [f"last {days.last}"]
    return words + [first if first == end else f"{first}..{end}" for first, end in days.spans or ()]


def _cell(value: Any) -> str:
    return (
        ", ".join(value)
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
