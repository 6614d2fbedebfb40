"""Runs the real playbooks, as an administrator does, and reads what they say they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSIBLE = Path(__file__).parents[2] / "deploy/ansible"


@dataclass(frozen=True)
class Played:
    """One run of a playbook. `recap` has the counts of each host by their names in Ansible's recap."""

    playbook: str
    seconds: float
    status: int
    recap: Mapping[str, Mapping[str, int]]
    output: str

    @property
    def changed(self) -> int:
        """How many tasks changed something, on all hosts."""
        return sum(counts.get("changed", 0) for counts in self.recap.values())

    @property
    def failed(self) -> tuple[str, ...]:
        """The hosts on which a task failed, or which were not reached."""
        return tuple(
            host
            for host, counts in self.recap.items()
            if counts.get("failed", 0) or counts.get("unreachable", 0)
        )

    @property
    def is_right(self) -> bool:
        """Whether it went well on every host."""
        return self.status == 0 and not self.failed

    def raise_unless_right(self) -> None:
        """Raise AppiaError where it did not go well."""
        if not self.is_right:
            raise AppiaError(f"{self.playbook} failed on {', '.join(self.failed) or 'no machine'}")

    def last_words(self) -> str:
        """The end of what it said, up to the recap."""
        return self.output.partition("PLAY RECAP")[0][-2500:].strip()


def read_recap(output: str) -> dict[str, dict[str, int]]:
    """The counts of each host from the recap at the end of what a playbook printed."""
    recap = {}
    for line in output.rpartition("PLAY RECAP")[2].splitlines()[1:]:
        host, colon, counts = line.partition(" : ")
        if colon:
            pairs = (word.partition("=") for word in counts.split())
            recap[host.strip()] = {name: int(number) for name, _, number in pairs}
    return recap


class Playbooks:
    """Plays the books of one inventory. `log` gets everything that they print."""

    def __init__(self, inventory: Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        """`environment` has what playbooks need beside what this process has, such as where the vault's password is."""
        self._inventory, self._log, self._environment = inventory, log, dict(environment or {})

    def play(self, playbook: str, within_s: float, **variables: Any) -> Played:
        """Play `playbook` (its name in deploy/ansible); blocks until it ends, `within_s` seconds at most.

        Raises subprocess.TimeoutExpired where it takes longer.
        """
        given = json.dumps(variables)
        words = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            str(self._inventory),
            playbook,
            "-e",
            given,
        ]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            **self._environment,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(self._log.parent / "ansible"),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        began = time.monotonic()
        run = subprocess.run(
            words,
            cwd=ANSIBLE,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=within_s,
        )
        with self._log.open("a") as log:
            log.write(f"$ ansible-playbook {playbook} -e '{given}'\n{run.stdout}\n")
        return Played(playbook, time.monotonic() - began, run.returncode, read_recap(run.stdout), run.stdout)
