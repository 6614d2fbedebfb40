"""A disk that fills and an etcd that goes away: told as what they are, and nothing else is blamed for it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
SIZE_MIB = 192


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own in memory; unmounted in the end."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m,mode=700", "none", str(folder)]
    if os.getuid() != 0 or subprocess.run(options, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["/usr/bin/umount", "-l", str(folder)], check=True)


def fill(folder: Path, percent: float) -> None:
    """Make the file system as full as that by one more file."""
    found = os.statvfs(folder)
    blocks = int(found.f_blocks * percent / 100) - (found.f_blocks - found.f_bfree)
    with (folder / f"ballast-{percent:g}").open("wb") as file:
        for _ in range(blocks * found.f_frsize // 4096):
            file.write(b"x" * 4096)


def test_a_disk_that_fills_is_told_at_both_limits_and_repairs_wait(
    small_disk: Path,
    start_watched: Callable[..., Any],
    eventually: Callable[..., None],
) -> None:
    """86 % is a warning, 93 % pauses the intake and lets nothing be repaired; with room again all goes on."""
    well = start_watched(small_disk / "state", fed=True)
    state = str(well.state)
    well.begin()
    fill(small_disk, 86)
    well.fires("disk_used_percent", state)
    assert not well.fleet()["intake"]["paused"]
    fill(small_disk, 93)
    well.fires("intake_paused", "ingester")
    (day,) = well.stack.names.days()
    found = small_disk.glob("state/days/*/sealed/*/attack/000001/*")
    next(path for path in found if path.name != "manifest.json").unlink()
    well.fires("index_missing", f"{day}/attack")
    well.kill_health()
    assert well.fleet()["attempts"] == []
    for ballast in small_disk.glob("ballast-*"):
        ballast.unlink()
    eventually("the index is made anew", lambda: not well.alerts())
    wanted = {("disk_used_percent", state), ("intake_paused", "ingester"), ("index_missing", f"{day}/attack")}
    assert well.fired() == wanted
    assert not well.fleet()["intake"]["paused"]
    assert well.stack.end() == 0


def test_while_etcd_is_away_nobody_is_down(
    etcd: Any, start_watched: Callable[..., Any], tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """One alert about etcd; services are asked where they were, and health is killed meanwhile."""
    well = start_watched(tmp_path / "state", "--registry", etcd.url)
    well.begin()
    before = {one["name"]: one["pid"] for one in well.fleet()["services"]}
    etcd.kill()
    well.fires("etcd_down", "etcd")
    well.kill_health()
    eventually("it looks again", lambda: well.fleet()["running_s"] > 3)
    services = well.fleet()["services"]
    assert {one["name"]: one["pid"] for one in services} == before
    assert [(one["name"], one["why"]) for one in services if not one["answers"]] == []
    etcd.start()
    well.is_well()
    assert well.fired() == {("etcd_down", "etcd")}
