"""Runs programs of Ansible as on a controller: with the settings of the playbooks and nothing of this user's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ANSIBLE = Path(__file__).parents[2] / "deploy/ansible"
PROGRAMS = Path(sys.executable).parent


def run_ansible(home: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One program of Ansible with its words, in the folder of the playbooks; what it keeps goes to `home`. Blocks."""
    return subprocess.run(
        [str(PROGRAMS / words[0]), *words[1:]],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
            "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ANSIBLE / "ansible.cfg"),
            "ANSIBLE_HOME": str(home),
            **environment,
        },
        cwd=ANSIBLE,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
