"""Types the chapters of the guides on machines: `python -m docs.on_machines CHAPTER...` (with `tests` on the path).

The machines are those that the guides speak of: a controller with the bundle on a stick, three nodes with a bare
Debian, and the machine of an analyst. The addresses of the guides stand for theirs. Chapters are typed one after the
other, each where the one before it left off; without a name, all. What is printed is a report in Markdown; the exit
status is 0 when every command did what the guides show.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from docs.blocks import Block, Happening
from docs.guides import CHAPTERS, NETWORK, PLACES, chapter_steps
from docs.shell import Shell, ShellError
from docs.typing_in import GuideError, type_in
from fleet.bundles import built_bundle, derive
from fleet.machines import Machines

from make.bundle.pack import archive
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from fleet.machine import Machine

NEXT = "0.1.1"
"""The release of the guide to upgrades."""
STICK = Path("/media/stick")
SAMPLE = Path(__file__).parents[2] / "samples/office-day.csv.gz"
PATIENCE_S = 900.0


@dataclass
class Lab:
    """The machines of the guides, and a shell on each that something was typed into."""

    machines: Machines
    bundle: Path
    out: Path  # a folder that keeps what all commands printed
    shells: dict[tuple[str, str], Shell] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.machines.__enter__()
        try:
            stick = self._stick()
            for place in PLACES:
                self.machines.add(place, binds={} if place.startswith("node") else stick)
            self._let_in("controller")
        except BaseException:
            self.machines.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for shell in self.shells.values():
            shell.close()
        self.machines.remove()

    def _stick(self) -> dict[Path, Path]:
        """What is on the stick: the bundle, the next release of it, and the sample of traffic."""
        following = derive(self.bundle, self.machines.folder / "next", NEXT)
        archive(following, following.with_name("next.tar"), 0)
        packed = self.bundle.with_name(f"{self.bundle.name}.tar")
        files = (self.bundle, packed, following, following.with_name("next.tar"), SAMPLE)
        return {path: STICK / path.name for path in files}

    def _let_in(self, place: str) -> None:
        """Give root of a machine the key that all others let in, as an administrator has one."""
        home = self.machines[place].root / "root/.ssh"
        (home / "id_ed25519").write_bytes(self.machines.key.read_bytes())
        (home / "id_ed25519").chmod(0o600)
        (home / "known_hosts").write_bytes(self.machines.known_hosts.read_bytes())

    def type_chapter(self, chapter: str) -> int:
        """All steps of a chapter, in order; gives how many commands there were.

        Raises:
            GuideError, ShellError, AppiaError: one of them went wrong.
        """
        count = 0
        for step in chapter_steps(chapter):
            if isinstance(step, Happening):
                self._happen(step)
            else:
                count += self._type(chapter, step)
        if not count:
            raise GuideError(f"the chapter {chapter} types nothing")
        return count

    def _type(self, chapter: str, block: Block) -> int:
        assert block.mark is not None
        key = chapter, block.mark.place
        if key not in self.shells:
            self.shells[key] = self._shell(self.machines[block.mark.place])
        with (self.out / "typed.log").open("a") as log:
            log.write(f"\n== {chapter} on {block.mark.place}, {block.guide}:{block.line}\n")
        return type_in([block], self.shells[key], PATIENCE_S, self._names())

    def _shell(self, machine: Machine) -> Shell:
        words = ["ssh", "-i", str(self.machines.key), *machine.ssh_options, f"root@{machine.address}", "bash"]
        return Shell(words, copy=self.out / "typed.log")

    def _names(self) -> dict[str, str]:
        """What stands in a guide for what is there."""
        return {NETWORK: self.machines.network.subnet} | {
            theirs: self.machines[place].address for place, theirs in PLACES.items()
        }

    def _happen(self, step: Happening) -> None:
        machine = self.machines[step.place]
        for key in [key for key in self.shells if key[1] == step.place]:
            self.shells.pop(key).close()
        machine.cut_power()
        if step.what == "is lost":
            self._empty(machine)
        if step.what != "is switched off":
            machine.boot()

    def _empty(self, machine: Machine) -> None:
        """The same name and address with a new disk, on which there is Debian and nothing else."""
        machine.disk.remove()
        machine.disk.mount()
        self.machines._furnish(machine)
        self.machines._write_hosts()


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """What a command line asks for; ends the process where that is nothing that there is."""
    parser = argparse.ArgumentParser("docs.on_machines", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help=", ".join(CHAPTERS))
    parser.add_argument(
        "--bundle", type=Path, metavar="FOLDER", help="what `make bundle` made; without it the newest"
    )
    parser.add_argument("--stay", action="store_true", help="leave the machines until Ctrl-C, to look around")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="keeps what all commands printed")
    given = parser.parse_args(words)
    given.chapters = given.chapters or list(CHAPTERS)
    if unknown := set(given.chapters) - set(CHAPTERS):
        parser.error(f"there is no chapter {', '.join(sorted(unknown))}; there are {', '.join(CHAPTERS)}")
    return given


def main(words: Sequence[str] | None = None) -> int:
    """Type some chapters."""
    given = parsed(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # machines are taken away then, too
    with tempfile.TemporaryDirectory(prefix="appia-guides-") as scratch:
        out = given.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        machines = Machines(Path(scratch) / "machines", f"guide{os.getpid() % 100_000}")
        try:
            with Lab(machines, (given.bundle or built_bundle()).resolve(), out) as lab:
                status = _type_all(lab, given.chapters)
                if given.stay:
                    _stay(lab)
                return status
        except AppiaError as error:
            sys.stderr.write(f"docs.on_machines: {error}\n")
            return 2


def _stay(lab: Lab) -> None:
    for machine in lab.machines:
        options = " ".join(machine.ssh_options)
        _say(f"{machine.name}: ssh -i {lab.machines.key} {options} root@{machine.address}")
    with suppress(KeyboardInterrupt):
        signal.pause()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _type_all(lab: Lab, chapters: Sequence[str]) -> int:
    _say("| chapter | commands | seconds | as shown |\n| --- | --- | --- | --- |")
    for chapter in chapters:
        began = time.monotonic()
        try:
            count = lab.type_chapter(chapter)
        except (GuideError, ShellError, AppiaError) as error:
            _say(f"| {chapter} | | {time.monotonic() - began:.0f} | no |\n\n{error}")
            return 1
        _say(f"| {chapter} | {count} | {time.monotonic() - began:.0f} | yes |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
