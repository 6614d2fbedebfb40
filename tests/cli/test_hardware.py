"""What a machine has is read from the kernel's files, and nothing is made up where they are missing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from services.cli.control_groups import cpu_cores, memory_limit
from services.cli.hardware import DiskKind, disk_kind, find_hardware, hottest_c

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., None]

V2 = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
V1_CPU = "31 25 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct"
V1_MEMORY = "32 25 0:28 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"
MEMINFO = "MemTotal:       4000000 kB\nMemFree: 5 kB\nMemAvailable:   3000000 kB\nHugePages_Total: 0\n"
GROUP = "sys/fs/cgroup"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What stands for `/`."""
    place = tmp_path / "machine"
    place.mkdir()
    return place


@pytest.fixture
def write(root: Path) -> Write:
    """Write files of the kernel, `.` for `/` in their names."""

    def files(**texts: object) -> None:
        for name, text in texts.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text))

    return files


def test_a_machine_without_files_of_the_kernel_is_not_made_up(root: Path, tmp_path: Path) -> None:
    """Cores and the file system are asked of the system; all else stays unknown."""
    found = find_hardware(tmp_path, root)
    assert found.cores == len(os.sched_getaffinity(0))
    assert (found.memory_bytes, found.available_bytes, found.temperature_c) == (0, 0, None)
    assert found.disk is DiskKind.UNKNOWN
    assert 0 < found.disk_free_bytes <= found.disk_bytes


def test_this_machine_is_understood(tmp_path: Path) -> None:
    """The real files of the kernel that the tests run on."""
    found = find_hardware(tmp_path)
    assert 0 < found.cores <= (os.cpu_count() or 1)
    assert 0 < found.available_bytes <= found.memory_bytes


def test_limits_of_groups_count_wherever_they_stand(root: Path, write: Write, tmp_path: Path) -> None:
    """Version 2: a quota of the group above, memory of the own; file contents that can go are not in use."""
    write(
        **{
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/appia.slice/rag\n",
            "proc/self/mountinfo": V2,
            f"{GROUP}/cpu.max": "max 100000",
            f"{GROUP}/appia.slice/cpu.max": "150000 100000",
            f"{GROUP}/appia.slice/rag/memory.max": 1_000_000_000,
            f"{GROUP}/appia.slice/rag/memory.current": 700_000_000,
            f"{GROUP}/appia.slice/rag/memory.stat": "anon 5\ninactive_file 500000000\n",
        }
    )
    assert cpu_cores(root) == 1.5
    found = find_hardware(tmp_path, root)
    assert found.cores <= 1.5
    assert (found.memory_bytes, found.available_bytes) == (1_000_000_000, 800_000_000)


def test_limits_of_version_1_are_found_inside_a_container(root: Path, write: Write) -> None:
    """The memory group is mounted from the container's own group on; a number beyond all machines is no limit."""
    write(
        **{
            "proc/self/cgroup": "3:cpu,cpuacct:/\n2:memory:/docker/abc/inner\n",
            "proc/self/mountinfo": f"{V1_CPU}\n{V1_MEMORY}\n",
            f"{GROUP}/cpu/cpu.cfs_quota_us": 50_000,
            f"{GROUP}/cpu/cpu.cfs_period_us": 100_000,
            f"{GROUP}/memory/memory.limit_in_bytes": 9_223_372_036_854_771_712,
            f"{GROUP}/memory/inner/memory.limit_in_bytes": 2_000_000,
            f"{GROUP}/memory/inner/memory.usage_in_bytes": 1_500_000,
        }
    )
    limit = memory_limit(root)
    assert cpu_cores(root) == 0.5
    assert limit is not None
    assert (limit.most_bytes, limit.used_bytes) == (2_000_000, 1_500_000)


@pytest.mark.parametrize("quota", ["max 100000", "", "-1 100000", "0 100000", "100000 0", "x y", "100000"])
def test_a_quota_that_is_none_is_no_limit(root: Path, write: Write, quota: str) -> None:
    """Also what makes no sense."""
    write(
        **{
            "proc/self/cgroup": "0::/\nthis is no group\n",
            "proc/self/mountinfo": V2,
            f"{GROUP}/cpu.max": quota,
        }
    )
    assert cpu_cores(root) is None


def test_the_hottest_sensor_of_the_processor_counts(root: Path, write: Write) -> None:
    """Radios and disks are hot for reasons of their own; broken sensors say what no machine survives."""
    zone, monitor = "sys/class/thermal/thermal_zone", "sys/class/hwmon/hwmon"
    write(**{f"{zone}0/type": "iwlwifi_1\n", f"{zone}0/temp": "95000\n"})
    assert hottest_c(root) == 95.0
    write(
        **{
            f"{zone}1/type": "x86_pkg_temp",
            f"{zone}1/temp": "61500",
            f"{zone}2/type": "cpu-thermal",
            f"{zone}2/temp": "-274000",
            f"{zone}3/type": "cpu-broken",
            f"{zone}3/temp": "255000",
            f"{zone}4/type": "cpu-silent",
            f"{monitor}0/name": "k10temp",
            f"{monitor}0/temp1_input": "63250",
            f"{monitor}1/name": "nvme",
            f"{monitor}1/temp1_input": "88000",
        }
    )
    assert hottest_c(root) == 63.25


@pytest.mark.parametrize(
    ("device", "told", "kind"),
    [
        ("sda", "1", DiskKind.ROTATING),
        ("nvme0n1", "0", DiskKind.SOLID),
        ("mmcblk0", "0", DiskKind.CARD),
        ("vda", "1", DiskKind.UNKNOWN),
        ("sda", "perhaps", DiskKind.UNKNOWN),
    ],
)
def test_the_disk_below_a_partition_is_known(  # noqa: PLR0917 - fixtures
    root: Path, write: Write, tmp_path: Path, device: str, told: str, kind: DiskKind
) -> None:
    """The kernel says it of the whole disk; disks of virtual machines say nothing that counts."""
    whole = f"sys/devices/{device}"
    write(
        **{
            "proc/self/mountinfo": (
                f"22 1 8:1 / / rw - ext4 /dev/root rw\n24 22 8:2 / {_spelled(tmp_path)} rw - ext4 /dev/{device}p1 rw\n"
            ),
            f"{whole}/queue/rotational": told,
            f"{whole}/{device}p1/partition": "1",
        }
    )
    block = root / "sys" / "class" / "block"
    block.mkdir(parents=True)
    (block / f"{device}p1").symlink_to(root / whole / f"{device}p1")
    assert disk_kind(tmp_path, root) is kind


def test_a_mapped_device_is_as_slow_as_the_slowest_below(root: Path, write: Write, tmp_path: Path) -> None:
    """Encrypted disks and volumes are made of others."""
    block = "sys/class/block"
    write(
        **{
            "proc/self/mountinfo": f"22 1 8:1 / {_spelled(tmp_path)} rw - ext4 /dev/mapper/vault rw",
            "dev/dm-0": "",
            f"{block}/dm-0/slaves/sda/x": "",
            f"{block}/dm-0/slaves/nvme0n1/x": "",
            f"{block}/sda/queue/rotational": "1",
            f"{block}/nvme0n1/queue/rotational": "0",
        }
    )
    (root / "dev" / "mapper").mkdir()
    (root / "dev" / "mapper" / "vault").symlink_to(root / "dev" / "dm-0")
    assert disk_kind(tmp_path, root) is DiskKind.ROTATING


def _spelled(path: Path) -> str:
    return str(path.resolve()).replace(" ", "\\040")
