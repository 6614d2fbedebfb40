"""The project's docker-compose.yml, brought up by podman-compose service by service.

podman 4.3, which Debian 12 has, neither waits until a service is healthy nor runs health checks without systemd, and it
does not find containers that have ended where others depend on them. So this keeps the order of `depends_on` itself,
and runs the checks of the file. Nothing of the file is changed.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from make.containers.report import Failed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

    from make.containers.podman import Podman

HEALTHY_S = 60.0
PROJECT = "appiacheck"
COMPOSE = str(Path(sys.executable).with_name("podman-compose"))


def in_order(services: dict[str, Any]) -> list[str]:
    """Services without a profile, each behind those that it depends on."""
    found: list[str] = []

    def add(name: str) -> None:
        for other in services[name].get("depends_on", {}):
            add(other)
        if name not in found:
            found.append(name)

    for name, service in services.items():
        if not service.get("profiles"):
            add(name)
    return found


@dataclass(frozen=True)
class Stack:
    """The containers of one project; for the namespaces of the containers."""

    podman: Podman

    def services(self) -> dict[str, Any]:
        """The file as podman-compose reads it."""
        found: dict[str, Any] = yaml.safe_load(self._compose("config"))["services"]
        return found

    def up(self) -> str:
        """Start every service in order; raises `Failed` where one does not get healthy, or ends badly."""
        services = self.services()
        for name in in_order(services):
            self._compose("up", "--detach", "--no-deps", name)
            if "healthcheck" in services[name]:
                self.wait_healthy(name)
            elif status := int(self.podman.run(["podman", "wait", self.container(name)])):
                raise Failed(f"{name} ended with {status}: {self.log(name)}")
        return ", ".join(in_order(services))

    def wait_healthy(self, name: str, within_s: float = HEALTHY_S) -> None:
        """Until its own health check says so."""
        until = time.monotonic() + within_s
        while self.podman.attempt(["podman", "healthcheck", "run", self.container(name)]).returncode:
            if time.monotonic() > until:
                raise Failed(f"{name} is not healthy after {within_s:.0f} s: {self.log(name)}")
            time.sleep(0.3)

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove the containers; volumes stay unless they shall go too."""
        self._compose("down", *(["--volumes"] if volumes else []))

    def container(self, name: str) -> str:
        """The name of the container of a service."""
        return f"{PROJECT}_{name}_1"

    def log(self, name: str) -> str:
        """The last that a service said."""
        done = self.podman.attempt(["podman", "logs", "--tail", "3", self.container(name)])
        return " ".join((done.stdout + done.stderr).split())[-400:]

    def inspect(self, name: str) -> dict[str, Any]:
        """What the engine knows of the container of a service."""
        found: dict[str, Any] = json.loads(self.podman.run(["podman", "inspect", self.container(name)]))[0]
        return found

    def exec(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run something in the container of a service."""
        return self.podman.attempt(["podman", "exec", self.container(name), *words])

    def appia(self, *words: str, volumes: Sequence[str] = ()) -> str:
        """The command, as the guide runs it; gives what it prints."""
        mounted = [word for volume in volumes for word in ("--volume", volume)]
        return self._compose(
            "--profile", "tools", "run", "--rm", "-T", "--no-deps", *mounted, "appia", *words
        )

    def print_secret(self, path: str) -> str:
        """A file of the folder of secrets."""
        return self._compose("run", "--rm", "-T", "--no-deps", "keys", "cat", f"/site/{path}")

    def _compose(self, *words: str) -> str:
        return self.podman.run([COMPOSE, "--project-name", PROJECT, *words], 120)
