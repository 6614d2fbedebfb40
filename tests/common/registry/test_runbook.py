"""The commands of docs/runbooks/etcd.md, run as they stand: only folder and ports are others."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real_etcd.member import MISSING, free_ports, installed, wait_until

from services.common.registry.connect import open_registry
from services.common.registry.heartbeat import Heartbeat
from services.common.registry.keys import read_registry_keys
from services.common.registry.port import Entry, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.common.registry.port import Registry

PROJECT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
CERTIFICATES, START, USERS, KEYS, PASSWORD, ROTATION = range(6)


class Runbook:
    """Its blocks, and one etcd that the second of them runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, peer = free_ports(2)
        text = (PROJECT / "docs" / "runbooks" / "etcd.md").read_text()
        self._blocks = [
            block.replace("/etc/appia", str(folder))
            .replace("2379", str(self.port))
            .replace("2380", str(peer))
            for block in BLOCK.findall(text)
        ]
        assert len(self._blocks) == ROTATION + 1
        self._etcd: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"etcds://127.0.0.1:{self.port}/appia"

    @property
    def keys(self) -> Path:
        return self.folder / "keys" / "registry"

    def run(self, number: int) -> None:
        appia = f'appia() {{ {sys.executable} -m services.cli.main "$@"; }}'
        script = (
            f"set -euo pipefail\ncd {PROJECT}\nexport PYTHONPATH={PROJECT}\n{appia}\n{self._blocks[number]}"
        )
        done = subprocess.run(
            ["/bin/bash", "-c", script], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        script = self._blocks[START].replace("\netcd ", "\nexec etcd --logger zap --log-level error ")
        with (self.folder / "etcd.log").open("ab") as log:
            self._etcd = subprocess.Popen(["/bin/bash", "-c", script], stdout=log, stderr=log)

    def kill(self) -> None:
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()


@pytest.fixture
def runbook(tmp_path: Path) -> Iterator[Runbook]:
    if not installed():
        pytest.skip(MISSING)
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian package openssl)")
    book = Runbook(tmp_path)
    yield book
    book.kill()


def names(registry: Registry) -> list[str]:
    try:
        return [entry.name for entry in registry.entries("rag")]
    except RegistryUnavailable:
        return []


def test_etcd_is_set_up_used_its_password_changed_lost_and_rebuilt(runbook: Runbook) -> None:
    """From nothing to an entry that is back by itself in an etcd that lost everything."""
    runbook.run(CERTIFICATES)
    runbook.start()
    runbook.run(USERS)
    runbook.run(KEYS)
    registry = open_registry(runbook.url, Path("unused"), runbook.keys)
    heart = Heartbeat(registry, Entry("rag", "one", "tcp://10.0.0.7:1"), dict)
    heart.start()
    assert wait_until(lambda: heart.last_ok is not None, 10), heart.last_error
    with pytest.raises(RegistryUnavailable, match="no right to keys below appia2/"):
        open_registry(f"{runbook.url}2", Path("unused"), runbook.keys).entries("rag")
    runbook.kill()
    shutil.rmtree(runbook.folder / "etcd" / "data")
    runbook.start()
    runbook.run(USERS)
    assert wait_until(lambda: names(registry) == ["one"], 20)
    heart.stop()
    runbook.run(PASSWORD)
    with pytest.raises(RegistryUnavailable, match="refuses the user or the password"):
        registry.entries("rag")
    assert open_registry(runbook.url, Path("unused"), runbook.keys).entries("rag") == []
    before = read_registry_keys(runbook.keys).seals
    runbook.run(ROTATION)
    after = read_registry_keys(runbook.keys).seals
    assert before is not None
    assert after is not None
    assert list(before.seeds) == [before.primary] != list(after.seeds) == [after.primary]
    secrets = [runbook.keys / name for name in ("login", "seal", "client-key.pem")]
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o400}
