"""One stack for all guides: the sample of office traffic in a home directory of its own, and shells that are in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docs.shell import Shell

from services.cli.running import read_running
from services.cli.store_folder import model_store_folder
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def typist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of somebody who has appia, and a home in which there is nothing but the samples."""
    given = os.environ.get("APPIA_MODELS")
    store = model_store_folder(None if given is None else Path(given), os.environ).absolute()
    if not (store / "temporal" / "ACTIVE").exists():
        pytest.skip(f"no models are in {store}: run `appia models build`")
    home = tmp_path_factory.mktemp("guides")
    (home / "samples").symlink_to(PROJECT / "samples")
    return {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "APPIA_MODELS": str(store),
        "COLUMNS": "200",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
    }


@pytest.fixture(scope="session")
def stack(typist: dict[str, str]) -> Iterator[dict[str, str]]:
    """`appia up --state ~/appia --replicas 2`, fed with the sample; the environment of who asks it."""
    home = Path(typist["HOME"])
    log_path = home / "up.log"
    with log_path.open("wb") as log:
        words = [
            f"{Path(sys.executable).parent}/appia",
            "up",
            "--state",
            str(home / "appia"),
            "--replicas",
            "2",
        ]
        process = subprocess.Popen(
            words, stdout=log, stderr=log, env=typist, cwd=home, start_new_session=True
        )
    try:
        _wait_until_ready(process, home / "appia", log_path)
        with Shell(["bash"], typist, home) as shell:
            feed = "appia feed --state ~/appia --format cicflowmeter samples/office-day.csv.gz"
            assert shell.run(feed, PATIENCE_S)[0] == 0
        yield typist
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], state: Path, log: Path) -> None:
    until = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(AppiaError):
            if read_running(state).pid == process.pid:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, f"the stack was not ready: {log.read_text()}"
        time.sleep(0.05)


@pytest.fixture
def guide(tmp_path: Path) -> Callable[[str], Path]:
    """Write a guide with some text."""

    def write(text: str) -> Path:
        path = tmp_path / "guide.md"
        path.write_text(text, "utf-8")
        return path

    return write
