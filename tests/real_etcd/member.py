"""Real etcd processes for tests: one alone, with TLS or without, or several as a cluster."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from real_etcd.certificates import Certificates

ETCD = Path("/usr/bin/etcd")
ETCDCTL = Path("/usr/bin/etcdctl")
MISSING = f"{ETCD} and {ETCDCTL} are not both installed (Debian packages etcd-server and etcd-client)"


def installed() -> bool:
    return ETCD.exists() and ETCDCTL.exists()


def wait_until(condition: Callable[[], bool], within_s: float, step_s: float = 0.02) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(step_s)
    return condition()


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@dataclass(frozen=True)
class Setup:
    """How a member is run: at which address, with which certificates, behind which command, with which options."""

    host: str = "127.0.0.1"
    certificates: Certificates | None = None
    before: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Member:
    """One etcd process; its ports stay the same over restarts."""

    def __init__(self, folder: Path, name: str = "default", setup: Setup | None = None) -> None:
        self.folder = folder
        self.name = name
        self._setup = setup or Setup()
        self._log = folder.with_suffix(".log")
        self.port, self._peer_port, self._health_port = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def certificates(self) -> Certificates:
        """Those that it was set up with."""
        assert self._setup.certificates is not None
        return self._setup.certificates

    @property
    def hostport(self) -> str:
        return f"{self._setup.host}:{self.port}"

    @property
    def peer(self) -> str:
        return f"http://{self._setup.host}:{self._peer_port}"

    @property
    def client(self) -> str:
        return f"{'http' if self._setup.certificates is None else 'https'}://{self.hostport}"

    def launch(self, cluster: str | None = None) -> None:
        """Start the process and do not wait for it."""
        with self._log.open("ab") as log:
            command = [*self._setup.before, *self._command(cluster or f"{self.name}={self.peer}")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def start(self, cluster: str | None = None) -> None:
        """Start the process and wait until its cluster has a leader."""
        self.launch(cluster)
        if not wait_until(self.healthy, within_s=30):
            self.kill()
            raise AssertionError(f"etcd did not start: {self._log.read_text()[-2000:]}")

    def _command(self, cluster: str) -> list[str]:
        command = [str(ETCD), "--name", self.name, "--data-dir", str(self.folder)]
        command += ["--logger", "zap", "--log-level", "error"]
        command += ["--listen-client-urls", self.client, "--advertise-client-urls", self.client]
        command += ["--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer]
        command += ["--initial-cluster", cluster]
        command += ["--listen-metrics-urls", f"http://{self._setup.host}:{self._health_port}"]
        found = self._setup.certificates
        if found is not None:
            command += ["--cert-file", str(found.server[0]), "--key-file", str(found.server[1])]
            command += ["--trusted-ca-file", str(found.ca)]
        return [*command, *self._setup.options]

    def healthy(self) -> bool:
        try:
            url = f"http://{self._setup.host}:{self._health_port}/health"
            # A proxy named in the environment is not for this.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=1) as answer:
                return bool(json.load(answer)["health"] == "true")
        except (OSError, ValueError):
            return False

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        # The signal is taken when the process next runs: until then it may still answer.
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def empty(self) -> None:
        shutil.rmtree(self.folder)

    def control(self, *words: str, given: str = "", options: tuple[str, ...] = ()) -> str:
        """Run etcdctl to its end and give what it says."""
        command = [str(ETCDCTL), "--endpoints", self.client, *options]
        found = self._setup.certificates
        if found is not None:
            command += [
                "--cacert",
                str(found.ca),
                "--cert",
                str(found.client[0]),
                "--key",
                str(found.client[1]),
            ]
        done = subprocess.run(
            [*self._setup.before, *command, *words],
            input=given,
            capture_output=True,
            text=True,
            errors="replace",  # sealed values are no text
            check=False,
            timeout=30,
            env={**os.environ, "ETCDCTL_API": "3"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
