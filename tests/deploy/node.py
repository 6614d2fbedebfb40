"""A machine with the services of one site as deploy/systemd has them, furnished as docs/systemd.md says."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.release import binds, lay_release, make_owners
from real_etcd.certificates import make_certificates

from services.cli.stack import prepare_models
from services.common.access.curve import KeyPair
from services.common.chain.keys import new_signing_key
from services.common.days.chosen_models import ChosenModels
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.rest.storage_keys import new_storage_keys
from services.common.wire.keys import new_key_ring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fleet.machine import Machine

STATE, COPY = Path("/var/lib/appia/main"), Path("/var/lib/appia/copy")
INTAKE, REPLICA, REPLICA_OF_COPY = "tcp://127.0.0.1:5570", "tcp://127.0.0.1:5561", "tcp://127.0.0.1:5562"
_ACCESS = """\
format = 1
[keys.analyst]
public_key = "{analyst}"
operations = ["all"]
indices = ["all"]
days = ["all"]
[keys.health]
public_key = "{health}"
operations = ["control"]
indices = ["all"]
days = ["all"]
[keys.mirror]
public_key = "{mirror}"
operations = ["mirror"]
indices = ["all"]
days = ["all"]
"""
_OF_COPY = """\
[Unit]
After=appia-mirror@copy.service
[Service]
ReadWritePaths=-/var/lib/appia/copy/registry
"""
"""What docs/systemd.md names for a replica of another site than `main`."""


@dataclass(frozen=True)
class Service:
    """A unit, the name of its settings, where it listens, and which of its secrets is which setting."""

    unit: str
    name: str
    places: Mapping[str, str]
    secrets: Mapping[str, str]

    def settings(self) -> str:
        """What /etc/appia/NAME.toml says."""
        folder = f"/run/credentials/{self.unit}/secrets_"
        given = {"state": str(STATE), "access": "/etc/appia/access.toml", **self.places}
        given |= {setting: f"{folder}{secret}" for setting, secret in self.secrets.items()}
        return "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())


_SERVER, _STORAGE = {"server_key": "server.secret"}, {"storage_key": "storage.keys"}
SERVICES = (
    Service(
        "appia-ingester.service",
        "ingester",
        {
            "v2": INTAKE,
            "control": "tcp://127.0.0.1:5572",
            "observe": "127.0.0.1:9601",
            "keys": "/etc/appia/keys",
        },
        {**_SERVER, **_STORAGE},
    ),
    Service(
        "appia-origin.service",
        "origin",
        {"bind": "tcp://127.0.0.1:5574", "observe": "127.0.0.1:9603"},
        _SERVER,
    ),
    Service(
        "appia-health.service",
        "health",
        {"bind": "tcp://127.0.0.1:5573", "observe": "127.0.0.1:9602"},
        {**_SERVER, "key": "client.secret"},
    ),
    Service(
        "appia-rag@1.service",
        "rag-1",
        {"bind": REPLICA, "observe": "127.0.0.1:9611"},
        {**_SERVER, **_STORAGE},
    ),
    Service(
        "appia-mirror@copy.service",
        "mirror-copy",
        {
            "state": str(COPY),
            "source": "appia://127.0.0.1:5574",
            "source_server_key": "/etc/appia/server.public",
            "observe": "127.0.0.1:9604",
        },
        {"source_key": "mirror.secret", **_STORAGE},
    ),
    Service(
        "appia-rag@2.service",
        "rag-2",
        {"state": str(COPY), "name": "rag-2", "bind": REPLICA_OF_COPY, "observe": "127.0.0.1:9612"},
        {**_SERVER, **_STORAGE},
    ),
)
UNITS = tuple(service.unit for service in SERVICES)
ETCD, ETCDCTL = Path("/usr/bin/etcd"), Path("/usr/bin/etcdctl")
ETCD_UNIT = Path("/lib/systemd/system/etcd.service")
_ETCD_PEM = "/run/credentials/etcd.service/etcd_{name}.pem"
_ETCD = {
    "ETCD_NAME": "node",
    "ETCD_LISTEN_CLIENT_URLS": "https://127.0.0.1:2379",
    "ETCD_ADVERTISE_CLIENT_URLS": "https://127.0.0.1:2379",
    "ETCD_LISTEN_PEER_URLS": "https://127.0.0.1:2380",
    "ETCD_INITIAL_ADVERTISE_PEER_URLS": "https://127.0.0.1:2380",
    "ETCD_INITIAL_CLUSTER": "node=https://127.0.0.1:2380",
    "ETCD_CLIENT_CERT_AUTH": "true",
    "ETCD_TRUSTED_CA_FILE": _ETCD_PEM.format(name="ca"),
    "ETCD_CERT_FILE": _ETCD_PEM.format(name="server"),
    "ETCD_KEY_FILE": _ETCD_PEM.format(name="server-key"),
    "ETCD_PEER_TRUSTED_CA_FILE": _ETCD_PEM.format(name="ca"),
    "ETCD_PEER_CERT_FILE": _ETCD_PEM.format(name="server"),
    "ETCD_PEER_KEY_FILE": _ETCD_PEM.format(name="server-key"),
}
"""/etc/default/etcd, which Debian's unit reads."""


def has_etcd() -> bool:
    """Whether Debian's etcd is installed here: a machine gets it from this computer."""
    return ETCD.exists() and ETCDCTL.exists() and ETCD_UNIT.exists()


class Node:
    """The machine, and how its administrator asks it."""

    def __init__(self, machine: Machine, models: Path) -> None:
        """Furnish the machine, which is switched off, with everything but the events."""
        self.machine, root = machine, machine.root
        lay_release(root)
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        prepare_models(models, StateNames(root / STATE.relative_to("/")), ChosenModels())
        self._make_keys(root / "etc/appia")
        if has_etcd():
            self._add_etcd(root)
        self._own(root, *make_owners(root))
        _enable(root / "etc/systemd/system")
        _put(root / "etc/systemd/system/appia-rag@2.service.d/copy.conf", _OF_COPY, 0o644)

    @staticmethod
    def _make_keys(etc: Path) -> None:
        pairs = {name: KeyPair.new() for name in ("server", "analyst", "health", "mirror")}
        new_key_ring(etc / "keys")
        new_signing_key(etc / "keys", Disk())
        new_storage_keys(Disk(), etc / "made/storage.keys")
        secrets = {
            "server.secret": pairs["server"].secret,
            "client.secret": pairs["health"].secret,
            "mirror.secret": pairs["mirror"].secret,
            "storage.keys": (etc / "made/storage.keys").read_text(),
        }
        shutil.rmtree(etc / "made")
        for service in SERVICES:
            _put(etc / f"{service.name}.toml", service.settings(), 0o644)
            for secret in service.secrets.values():
                _put(etc / "secrets" / service.name / secret, secrets[secret], 0o400)
        _put(etc / "analyst.secret", pairs["analyst"].secret, 0o400)
        _put(etc / "server.public", pairs["server"].public, 0o644)
        public = {name: pair.public for name, pair in pairs.items()}
        _put(etc / "access.toml", _ACCESS.format_map(public), 0o640)

    @staticmethod
    def _add_etcd(root: Path) -> None:
        """Debian's etcd as its package leaves it, with certificates of its own; the drop-in is there already."""
        made = make_certificates(root / "etc/appia/made")
        for path, name in (
            (made.ca, "ca.pem"),
            (made.server[0], "server.pem"),
            (made.server[1], "server-key.pem"),
        ):
            _put(root / "etc/appia/secrets/etcd" / name, path.read_text(), 0o400)
        for path, name in (
            (made.ca, "ca.pem"),
            (made.client[0], "client.pem"),
            (made.client[1], "client-key.pem"),
        ):
            _put(root / "etc/appia/etcd-client" / name, path.read_text(), 0o400)
        shutil.rmtree(root / "etc/appia/made")
        (root / "etc/sysusers.d/etcd.conf").write_text("u etcd -\n")
        shutil.copy(ETCD_UNIT, root / "etc/systemd/system")
        (root / "etc/default/etcd").write_text("".join(f'{key}="{value}"\n' for key, value in _ETCD.items()))

    @staticmethod
    def _own(root: Path, user: int, group: int) -> None:
        state, keys = root / STATE.relative_to("/"), root / "etc/appia/keys"
        for path in (state, *state.rglob("*"), keys, *keys.rglob("*")):
            os.chown(path, user, group)
        state.chmod(0o750)
        os.chown(root / "etc/appia/access.toml", 0, group)

    @staticmethod
    def binds() -> dict[Path, Path]:
        """What the machine has to see of this computer."""
        return {**binds(), **({ETCD: ETCD, ETCDCTL: ETCDCTL} if has_etcd() else {})}

    def show(self, unit: str) -> dict[str, str]:
        """What systemd knows of a unit."""
        said = self.machine.run("systemctl", "show", unit).stdout
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    def states(self) -> dict[str, str]:
        """Each service and whether it is active."""
        said = self.machine.run("systemctl", "is-active", *UNITS, check=False).stdout
        return dict(zip(UNITS, said.split(), strict=True))

    def are_active(self) -> bool:
        """Whether all services are."""
        return set(self.states().values()) == {"active"}

    def appia(self, *words: str, user: str = "root") -> Any:
        """What a command of appia says as JSON."""
        who = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups")
        return json.loads(self.machine.run(*who, "/opt/appia/current/bin/appia", *words, "--json").stdout)

    def feed(self, file: Path, events: int) -> int:
        """Send the first events of a file; gives how many were acknowledged."""
        to = ("--to", INTAKE, "--keys", "/etc/appia/keys", "--format", "cicflowmeter")
        return int(self.appia("feed", *to, "--limit", str(events), str(file), user="appia")["acknowledged"])

    def rows(self, replica: str = REPLICA) -> int:
        """How many events a replica answers for, asked with the analyst's key."""
        words = ("--endpoint", replica, "--key", "/etc/appia/analyst.secret")
        return int(self.appia("stats", *words, "--server-key", "/etc/appia/server.public")["rows"])

    def logged(self, *words: str) -> list[dict[str, Any]]:
        """Entries of the journal."""
        said = self.machine.run("journalctl", "--no-pager", "--output=json", *words).stdout
        return [json.loads(line) for line in said.splitlines()]

    def readiness(self, host: str, port: int) -> str:
        """What a service says to /readyz, which only its own machine may ask: HTTP status and sentence."""
        request = f"GET /readyz HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n"
        line = f"exec 3<>/dev/tcp/{host}/{port}; printf '{request}' >&3; cat <&3"
        said = self.machine.run("timeout", "5", "bash", "-c", line, check=False).stdout
        return " ".join([*said.split()[1:2], *said.splitlines()[-1:]])

    def process(self, unit: str) -> dict[str, str]:
        """/proc/PID/status of a service's main process."""
        said = self.machine.run("cat", f"/proc/{self.show(unit)['MainPID']}/status").stdout
        return {key: value.strip() for key, _, value in (line.partition(":") for line in said.splitlines())}

    def inside(self, unit: str, line: str) -> tuple[int, str]:
        """Run a shell line where a service sees the machine's files, as its user; gives the status and all it said."""
        words = (
            "nsenter",
            "--target",
            self.show(unit)["MainPID"],
            "--mount",
            "--",
            "setpriv",
            "--reuid=appia",
        )
        done = self.machine.run(
            *words, "--regid=appia", "--clear-groups", "sh", "-c", f"{line} 2>&1", check=False
        )
        return done.returncode, done.stdout


def wait_for(what: str, until_s: float, is_so: Callable[[], bool]) -> None:
    """Wait until it is so; fail with `what` after so many seconds."""
    end = time.monotonic() + until_s
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def _put(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _enable(system: Path) -> None:
    """As `systemctl enable` does."""
    for wanted, unit in (("multi-user.target", "appia.target"), *(("appia.target", unit) for unit in UNITS)):
        (system / f"{wanted}.wants").mkdir(exist_ok=True)
        file = f"{unit.partition('@')[0]}@.service" if "@" in unit else unit
        (system / f"{wanted}.wants" / unit).symlink_to(f"../{file}")
