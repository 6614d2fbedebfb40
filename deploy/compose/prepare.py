"""What `docker compose up` does before anything else: secrets, models, and where services are. Changes nothing twice.

    /site               the folder of the site's secrets (docs/site.md); only this container sees it
    /handout/SERVICE    what one service gets of it; mounted there at /etc/appia/keys, read-only
    /var/lib/appia/main the state directory: gets the models of the image and `endpoints.json`

A secret that is no longer in the site's folder goes from the hand-outs too: that is how a key ends.
"""

# ruff: noqa: INP001 - a script of its own, which lies in the image

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.cli.running import INSTALLED, IngesterAt, Running
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.replacing import replace_file
from services.common.secret_files import make_secret_folder
from services.common.site.names import HEALTH, OPERATOR, SiteFolder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SITE, HANDOUT, STATE = Path("/site"), Path("/handout"), Path("/var/lib/appia/main")
KEYS = "/etc/appia/keys"
HERE, MEMBER = "here", "etcd"
"""Names of nodes: this machine, whose services share a server key, and the member of etcd."""
POINTERS = ("ring.json", "ACTIVE")
"""They name other files, so they come after these."""


@dataclass(frozen=True)
class Asked:
    """What the environment says: addresses of containers, the URL of the registry, who may ask."""

    ingester: str
    etcd: str
    registry: str
    analysts: tuple[str, ...]

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Asked:
        """Raises KeyError where docker-compose.yml does not set one."""
        return cls(
            environ["INGESTER"],
            environ["ETCD"],
            environ["REGISTRY"],
            tuple(environ.get("ANALYSTS", "").replace(",", " ").split()),
        )


def main() -> int:
    """Make what is missing; gives the exit status."""
    asked, disk, folder = Asked.of(os.environ), Disk(), SiteFolder(SITE)
    status = make_site(asked) or run("models", "install", "--state", str(STATE))
    if status:
        return status
    for service, parts in parts_of(folder).items():
        hand_out(disk, HANDOUT / service, dict(files_of(parts)))
    names = StateNames(STATE)
    disk.write_file(names.endpoints, endpoints(asked).to_json().encode())
    return 0


def make_site(asked: Asked) -> int:
    """All services of appia on one machine, one member of etcd."""
    nodes = ["--ingester", f"{HERE}={asked.ingester}", "--rag", f"{HERE}={asked.ingester}"]
    analysts = [word for name in asked.analysts for word in ("--analyst", name)]
    return run("keys", "site", str(SITE), *nodes, "--etcd", f"{MEMBER}={asked.etcd}", *analysts)


def run(*words: str) -> int:
    """Run the command `appia`; what it says is seen, and its exit status given."""
    return subprocess.run([Path(sys.executable).with_name("appia"), *words], check=False).returncode


def parts_of(folder: SiteFolder) -> dict[str, dict[str, Path]]:
    """What each service gets: files and folders of the site by where they lie below /etc/appia/keys."""
    service = {
        "registry": folder.registry,
        "server.secret": folder.server_secret(HERE),
        "access.toml": folder.access,
    }
    public = {"signing.public": folder.signing_public}
    wire, storage = {"wire": folder.ingester / "wire"}, {"rest": folder.storage_keys.parent}
    return {
        "etcd": {".": folder.member(MEMBER)},
        "ingester": {**service, **wire, **storage, "signing": folder.ingester / "signing"},
        "origin": service,
        "rag": {**service, **public, **storage},
        "health": {**service, **public, "health.secret": folder.client_secret(HEALTH)},
        "operator": {
            **wire,
            "registry": folder.reader,
            "operator.secret": folder.client_secret(OPERATOR),
            "server.public": folder.server_public(HERE),
        },
    }


def files_of(parts: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Every file of these parts by its name below the target, those that name others last; a missing part has none."""
    found = []
    for name, source in parts.items():
        paths = [path for path in source.rglob("*") if path.is_file()] if source.is_dir() else [source]
        found += [(str(Path(name) / path.relative_to(source)), path) for path in paths if path.exists()]
    yield from sorted(found, key=lambda one: (Path(one[0]).name in POINTERS, one[0]))


def hand_out(disk: Disk, target: Path, files: Mapping[str, Path]) -> None:
    """Let the folder `target` hold these files and no others. What is right already is not touched."""
    for name, source in files.items():
        place, content, mode = target / name, source.read_bytes(), source.stat().st_mode & 0o777
        if not place.exists() or place.read_bytes() != content:
            make_secret_folder(disk, place.parent)
            replace_file(disk, place, content, mode)
    for path in sorted(target.rglob("*")):
        if path.is_file() and str(path.relative_to(target)) not in files:
            disk.remove(path)


def endpoints(asked: Asked) -> Running:
    """Where the command finds the services, for the container that runs it."""
    return Running(
        state=str(STATE),
        registry=asked.registry,
        pid=INSTALLED,
        ingester=IngesterAt(0, f"tcp://{asked.ingester}:5570", "", f"tcp://{asked.ingester}:5572"),
        replicas=[],
        keys=KEYS,
    )


if __name__ == "__main__":
    sys.exit(main())
