"""`appia verify`: checks files against their manifests, and days against the signed chain."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import offers
from services.cli.options import JsonOption, grouped, required_state
from services.cli.output import counted, print_json, print_lines
from services.cli.progress import files_shown
from services.cli.storage_key import StorageKeyOption, log_keys
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from services.cli.verify_said import Said
    from services.common.chain.keys import PublicKey
    from services.common.days.names import StateNames
    from services.common.days.proving import Proven
    from services.common.days.verify import DayCheck
    from services.common.rest.log_keys import LogKeys

_FIRST, _LAST = "0001-01-01", "9999-12-31"
_HEAD_DIGITS = 64


@dataclass(frozen=True)
class Choice:
    """Options of `verify`: which days, and what they are compared with."""

    since: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="First day.", show_default="the first there is"),
    ] = None
    until: Annotated[
        str | None, typer.Option("--to", metavar="DAY", help="Last day.", show_default="the last there is")
    ] = None
    public_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The public signing key that the chain has to be of, as in keys/signing/ID.public.",
            show_default="that of the state directory",
        ),
    ] = None
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HEX",
            help="A head of the chain that you noted: shows whether its end was cut off since.",
            show_default="none",
        ),
    ] = None
    state: Annotated[
        list[Path] | None,
        typer.Option(
            "--state",
            metavar="DIR",
            envvar="APPIA_STATE",
            help="State directory, or a copy; several where the days of one chain lie apart.",
            show_default="none",
        ),
    ] = None
    storage_key: StorageKeyOption = None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia verify --from 2026-01-01 --to 2026-01-31 --state ~/appia")(
        grouped(verify)
    )


def verify(
    *,
    day: Annotated[
        str | None,
        typer.Argument(
            metavar="[DAY]",
            help="UTC day, YYYY-MM-DD. Default: all.",
            show_default=False,
            autocompletion=offers.days,
        ),
    ] = None,
    choice: Choice,
    as_json: JsonOption = False,
) -> None:
    """Check every file, and prove that no sealed day was altered.

    All days are checked, and what analysts said, unless you name days. Files are compared with their manifests, and
    these with the signed chain, which shows what was altered, removed or put in. The exit status is 1 when anything is
    wrong. Reads the disk itself, whether the stack runs or not, and changes nothing; a copy of the folders days and
    chain, with VERSION, and the public key do. Without the storage key, records of encrypted logs are checked by their
    checksum only, and remarks in them not counted.
    """
    from services.cli.verify_said import Said  # noqa: PLC0415 - as above
    from services.common.days.proving import Prover  # noqa: PLC0415 - `appia --help` starts quicker without it

    first, last = _range(day, choice)
    folders = _folders(choice.state)
    keys = log_keys(choice.storage_key, *folders)
    trusted = _trusted(choice.public_key, folders)
    proven = Prover(folders, trusted, time.sleep).prove(first, last)
    with files_shown("checking days") as show:
        checks = list(_check(folders, (first, last), keys, show))
    found = {check.day for _, check in checks} | proven.chain.days.keys()
    if day is not None and day not in found:
        raise AppiaError(f"{folders[0].root} has no day {day}: `appia days` shows those there are")
    everything = (first, last) == (_FIRST, _LAST)
    said = [Said.of(names, keys) for names in folders] if everything else []
    is_signed = bool(proven.chain.links or proven.chain.faults or choice.public_key or choice.head)
    chain_faults = _faults_of_chain(proven, folders, choice.head) if is_signed else ()
    report = Report(checks, proven, chain_faults, said, trusted=trusted is not None)
    if as_json:
        print_json(report.as_plain(is_signed=is_signed))
    else:
        report.show(is_signed=is_signed)
    if report.faults:
        raise AppiaError(
            f"{counted(report.faults, 'fault')} found; what is damaged is not served, all else is"
        )


@dataclass(frozen=True)
class Report:
    """What was found."""

    checks: Sequence[tuple[StateNames, DayCheck]]
    proven: Proven
    chain_faults: Sequence[str]
    said: Sequence[Said]
    trusted: bool
    """False where no key was there to compare the chain with: then anybody may have signed it."""

    @property
    def faults(self) -> int:
        """How many things are wrong."""
        days = sum(len(faults) for _, _, faults in self._days())
        return days + len(self.chain_faults) + sum(len(one.faults) for one in self.said)

    def _days(self) -> Iterator[tuple[StateNames | None, DayCheck, list[str]]]:
        """Each day in each folder with what is wrong with it; what the chain says of a day stands at the first."""
        from services.common.days.verify import DayCheck  # noqa: PLC0415 - as above

        left = dict(self.proven.days)
        rows: list[tuple[StateNames | None, DayCheck, list[str]]] = []
        for names, check in self.checks:
            proof = left.pop(check.day, None)
            faults = [*(() if proof is None else proof.faults), *check.faults]
            rows.append((names, check, list(dict.fromkeys(faults))))
        alone = [proof for proof in left.values() if proof.faults or proof.link]
        rows += [(None, DayCheck(proof.day, 0, 0, ()), list(proof.faults)) for proof in alone]
        yield from sorted(rows, key=lambda row: row[1].day)

    def as_plain(self, *, is_signed: bool) -> dict[str, Any]:
        """The report as plain values."""
        from services.cli.verify_said import said_as_plain  # noqa: PLC0415 - `appia --help` starts quicker without it

        chain = self.proven.chain
        days = [
            {
                **asdict(check),
                "faults": faults,
                "state": "" if names is None else str(names.root),
                "link": self._link_of(check.day),
            }
            for names, check, faults in self._days()
        ]
        signed = {
            "links": len(chain.links),
            "head": chain.head,
            "keys": [key.raw.hex() for key in chain.keys],
            "trusted": self.trusted,
            "faults": list(self.chain_faults),
        }
        return {
            "days": days,
            "chain": signed if is_signed else None,
            **said_as_plain(self.said),
        }

    def _link_of(self, day: str) -> int:
        return self.proven.days[day].link if day in self.proven.days else 0

    def show(self, *, is_signed: bool) -> None:
        """Print the report for people."""
        if is_signed:
            _print_chain(self.proven, self.chain_faults)
            if not self.trusted:
                print_lines(
                    "  not shown: whose key that is; give --public-key, a file that nobody else could change"
                )
        elif self.checks:
            print_lines("chain: none; nothing is signed")
        rows = list(self._days())
        if not rows:
            print_lines("There is no day to check.")
        for names, check, faults in rows:
            self._print_day(names, check, faults)
        for one in self.said:
            print_lines(*one.lines())

    def _print_day(self, names: StateNames | None, check: DayCheck, faults: Sequence[str]) -> None:
        link = self._link_of(check.day)
        verdict = counted(len(faults), "fault") if faults else "whole" if names else "removed"
        signed = f", signed by link {link}" if link else ""
        size = f"; {counted(check.rows, 'event')}, {counted(check.files, 'file')}" if names else ""
        print_lines(f"{check.day}: {verdict}{signed}{size}")
        print_lines(*(f"  {index}: {form}" for index, form in check.vectors.items()))
        print_lines(*(f"  {fault}" for fault in faults))


def _range(day: str | None, choice: Choice) -> tuple[str, str]:
    from services.common.days.names import parse_day  # noqa: PLC0415 - as above

    if choice.head is not None and (
        len(choice.head) != _HEAD_DIGITS or set(choice.head) - set("0123456789abcdef")
    ):
        raise UsageError(f"--head takes {_HEAD_DIGITS} hex digits, as `appia verify` prints them")
    if day is not None:
        if choice.since or choice.until:
            raise UsageError("give one DAY, or --from and --to")
        return parse_day(day), parse_day(day)
    first, last = parse_day(choice.since or _FIRST), parse_day(choice.until or _LAST)
    if first > last:
        raise UsageError(f"--from {first} is after --to {last}")
    return first, last


def _folders(states: list[Path] | None) -> list[StateNames]:
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    folders = [StateNames(state) for state in states or [required_state(None)]]
    for names in folders:
        check_layout(names)
    return folders


def _trusted(given: Path | None, folders: Sequence[StateNames]) -> PublicKey | None:
    """The key given, or that of the first folder that has one."""
    from services.common.chain.keys import active_public_key, read_public_key  # noqa: PLC0415 - as above

    if given is not None:
        return read_public_key(given)
    return next(filter(None, (active_public_key(names.keys) for names in folders)), None)


def _check(
    folders: Sequence[StateNames], days: tuple[str, str], keys: LogKeys, show: Callable[[int, int], None]
) -> Iterator[tuple[StateNames, DayCheck]]:
    from services.common.days.verify import verify_day  # noqa: PLC0415 - as above

    wanted = [(names, day) for names in folders for day in names.days() if days[0] <= day <= days[1]]
    for done, (names, day) in enumerate(wanted):
        show(done, len(wanted))
        yield names, verify_day(names.day(day), keys)


def _faults_of_chain(proven: Proven, folders: Sequence[StateNames], head: str | None) -> tuple[str, ...]:
    from services.common.days.proving import faults_of_chain  # noqa: PLC0415 - as above

    return tuple(faults_of_chain(proven.chain, folders, head))


def _print_chain(proven: Proven, faults: Sequence[str]) -> None:
    chain = proven.chain
    verdict = counted(len(faults), "fault") if faults else "whole"
    keys = ", ".join(key.id for key in chain.keys)
    print_lines(f"chain: {verdict}; {counted(len(chain.links), 'link')}{keys and f', signed with {keys}'}")
    if chain.head:
        print_lines(f"  head: {chain.head}")
    print_lines(*(f"  {fault}" for fault in faults))
