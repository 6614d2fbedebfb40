"""Looks known weaknesses of the locked packages up: `python make/audit.py`.

The exit status is 0 when nothing is known, 1 when something is (or when an entry of the list of exceptions is over or
no longer needed), and 3 when the advisory service could not be asked, which says nothing about the packages.

pip-audit asks OSV (https://osv.dev) for each package of the lock files by name and version; it installs nothing.
`requirements/audit-exceptions.txt` has what is known and accepted: an id, the last day on which that holds, the reason.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What is trained with includes what runs and what tests; torch alone is pinned without hashes (make/lock.sh says why).
LOCKED = (("train-lock.txt", "--require-hashes"), ("train.txt", "--no-deps"))
EXCEPTIONS = "audit-exceptions.txt"
FOUND, NOT_ASKED = 1, 3


@dataclass(frozen=True)
class Weakness:
    """What is known of a package, under one or several ids."""

    package: str
    ids: frozenset[str]
    fixed_in: tuple[str, ...]

    def __str__(self) -> str:
        fixed = f"fixed in {', '.join(self.fixed_in)}" if self.fixed_in else "no fixed version is known"
        return f"{self.package}: {' = '.join(sorted(self.ids))}; {fixed}"


@dataclass(frozen=True)
class Accepted:
    """An entry of the list of exceptions."""

    id: str
    until: dt.date
    reason: str


class NotAskedError(Exception):
    """The advisory service could not be asked."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each finding and one line at the end; give the exit status."""
    parser = argparse.ArgumentParser(description="Look known weaknesses of the locked packages up.")
    parser.add_argument(
        "--requirements", type=Path, default=Path(__file__).resolve().parents[1] / "requirements"
    )
    parser.add_argument("--osv-url", help="ask another service that speaks the protocol of OSV")
    chosen = parser.parse_args(arguments)
    today = dt.datetime.now(dt.UTC).date()
    try:
        accepted = read_exceptions(chosen.requirements / EXCEPTIONS)
        known = [one for lock, how in LOCKED for one in ask(chosen.requirements / lock, how, chosen.osv_url)]
    except NotAskedError as error:
        print(f"audit: nothing was looked up: {error}", file=sys.stderr)
        return NOT_ASKED
    findings = list(judge(known, accepted, today))
    for finding in findings:
        print(finding)
    print(f"audit: {len(findings)} finding(s), {len(known)} known weakness(es), {len(accepted)} exception(s)")
    return FOUND if findings else 0


def ask(lock: Path, how: str, osv_url: str | None) -> list[Weakness]:
    """What is known of the packages of a lock file. Blocks for some seconds; raises NotAskedError."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        tool = str(Path(sysconfig.get_path("scripts"), "pip-audit"))
        command = [tool, "--requirement", str(lock), how, "--disable-pip", "--vulnerability-service", "osv"]
        command += [
            "--format",
            "json",
            "--output",
            str(report),
            "--progress-spinner",
            "off",
            "--aliases",
            "on",
        ]
        command += ["--cache-dir", scratch, *(["--osv-url", osv_url] if osv_url else [])]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        # pip-audit ends with 1 for a weakness and for a network that is down; only the former leaves a report.
        if not report.exists():
            last = (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
            raise NotAskedError(
                f"pip-audit gave no report on {lock.name}, as when the service cannot be reached ({last[:200]})"
            )
        return list(weaknesses(json.loads(report.read_bytes())))


def weaknesses(report: dict[str, Any]) -> Iterator[Weakness]:
    """What a report of pip-audit names."""
    for package in report["dependencies"]:
        for known in package.get("vulns", []):
            ids = frozenset([known["id"], *known.get("aliases", [])])
            yield Weakness(f"{package['name']} {package['version']}", ids, tuple(known["fix_versions"]))


def read_exceptions(path: Path) -> list[Accepted]:
    """The list of exceptions; ends the process with a sentence where a line is none."""
    accepted = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(maxsplit=2)
        try:
            name, until, reason = words
            accepted.append(Accepted(name, dt.date.fromisoformat(until), reason))
        except ValueError:
            sys.exit(
                f"audit: {path.name}:{number}: wanted an id, a day as 2027-01-31, and the reason; got {line!r}"
            )
    return accepted


def judge(known: list[Weakness], accepted: list[Accepted], today: dt.date) -> Iterator[str]:
    """What has to be done, one sentence each."""
    valid = {one.id for one in accepted if one.until >= today}
    yield from (str(one) for one in known if not one.ids & valid)
    for one in accepted:
        if one.until < today:
            yield f"{EXCEPTIONS}: {one.id} was accepted until {one.until} ({one.reason}): look at it again"
        elif not any(one.id in weakness.ids for weakness in known):
            yield f"{EXCEPTIONS}: {one.id} is no longer known of anything here: take it out"


if __name__ == "__main__":
    sys.exit(main())
