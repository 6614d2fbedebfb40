"""Machines are what they say: separate, reachable, hurt as asked for, and gone afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fleet.image import why_no_image
from fleet.machines import Machines
from fleet.network import Network, command

from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

GONE = f"fg{os.getpid()}"
PREFIX = f"ft{os.getpid()}"
REASON = why_no_image()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    with Machines(tmp_path_factory.mktemp("fleet"), PREFIX) as machines:
        machines.add("one", "two")
        machines.add_namespace("desk")
        yield machines


def hears(pair: Machines, place: str, other: str) -> bool:
    """Whether the sshd of `other` greets who calls it from `place`."""
    address = pair.network.places[other].address
    words = ["ip", "netns", "exec", pair.network.places[place].namespace, "timeout", "1", "bash", "-c"]
    greet = f"exec 3<>/dev/tcp/{address}/22 && head -c 4 <&3"
    return subprocess.run([*words, greet], capture_output=True, check=False).stdout == b"SSH-"


def refuses(pair: Machines, place: str, other: str) -> bool:
    """Whether `other` refuses who calls a port that nobody listens on: it is reached."""
    address = pair.network.places[other].address
    words = ["ip", "netns", "exec", pair.network.places[place].namespace, "timeout", "1", "bash", "-c"]
    call = subprocess.run(
        [*words, f"exec 3<>/dev/tcp/{address}/9"], capture_output=True, text=True, check=False
    )
    return "refused" in call.stderr


def test_a_machine_runs_a_systemd_of_its_own(pair: Machines) -> None:
    assert pair["one"].run("systemctl", "is-system-running").stdout == "running\n"
    assert pair["one"].run("cat", "/proc/1/comm").stdout == "systemd\n"
    assert pair["one"].run("hostname").stdout == "one\n"


def test_ssh_lets_the_key_in_and_knows_the_machine(pair: Machines) -> None:
    assert pair["two"].ssh("hostname").stdout == "two\n"
    with pytest.raises(AppiaError, match="two: exit 7 ended with 7"):
        pair["two"].ssh("exit 7")


def test_machines_know_each_other_by_name(pair: Machines) -> None:
    assert pair["one"].run("getent", "ahostsv4", "two").stdout.startswith(pair["two"].address)


def test_a_machine_that_is_unplugged_is_reached_by_nobody(pair: Machines) -> None:
    assert hears(pair, "desk", "one")
    pair.network.unplug("one")
    assert not hears(pair, "desk", "one")
    pair.network.plug("one")
    assert hears(pair, "desk", "one")


def test_a_partition_parts_two_and_nobody_else(pair: Machines) -> None:
    pair.network.part(["desk"], ["one"])
    assert not hears(pair, "desk", "one")
    assert hears(pair, "desk", "two")
    assert pair["one"].ssh("echo still reached").stdout == "still reached\n"
    pair.network.mend()
    assert hears(pair, "desk", "one")


def test_a_service_that_is_silenced_leaves_the_others_of_its_machine(pair: Machines) -> None:
    pair.network.silence("one", 22)
    assert not hears(pair, "desk", "one")
    assert hears(pair, "one", "two")
    pair.network.silence("one", 22, asking=True)
    assert not hears(pair, "one", "two")
    assert refuses(pair, "desk", "one")
    pair.network.mend()
    assert hears(pair, "desk", "one")


def test_a_disk_outlives_a_power_cut_and_a_switching_off(pair: Machines) -> None:
    two, first = pair["two"], pair["two"].pid
    two.run("sh", "-c", "echo kept > /var/note; mkdir -p /run/gone")
    two.cut_power()
    assert not two.is_on()
    assert not hears(pair, "one", "two")
    two.boot()
    assert two.pid != first
    assert two.run("cat", "/var/note").stdout == "kept\n"
    assert two.run("test", "-e", "/run/gone", check=False).returncode == 1
    two.poweroff()
    two.boot()
    assert (
        "reached" in two.run("journalctl", "--no-pager", "--boot=-1", "--grep=Reached target").stdout.lower()
    )


def test_what_was_done_to_machines_is_undone(pair: Machines) -> None:
    pair.network.part(["desk"], ["one"])
    pair.network.unplug("one")
    pair["two"].cut_power()
    pair.restore()
    assert hears(pair, "desk", "one")
    assert hears(pair, "one", "two")


def test_the_inventory_has_what_ansible_needs(pair: Machines) -> None:
    facts = pair.inventory(["two"])["two"]
    assert facts["ansible_host"] == pair["two"].address
    assert str(pair.known_hosts) in facts["ansible_ssh_common_args"]


def test_nothing_is_left_of_machines(tmp_path: Path) -> None:
    with Machines(tmp_path, GONE) as machines:
        (machine,) = machines.add("alone")
        nspawn = machine.pid
        names = command("ip", "netns", "list"), command("ip", "-brief", "link")
        assert all(GONE in said for said in names)
    assert GONE not in command("ip", "netns", "list")
    assert GONE not in command("ip", "-brief", "link")
    assert GONE not in command("nft", "list", "tables")
    assert str(tmp_path) not in command("cat", "/proc/mounts")
    assert not Path(f"/proc/{nspawn}").exists()
    assert not list((tmp_path / "machines").iterdir())


def test_a_network_that_is_there_is_not_taken(pair: Machines, tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=f"A run with the prefix {PREFIX} is under way"),
        Machines(tmp_path, PREFIX),
    ):
        pass
    with pytest.raises(UsageError, match=f"There is a network {PREFIX}-br already"):
        Network(PREFIX).make()
    assert hears(pair, "desk", "one")


def test_a_prefix_that_is_no_name_is_refused() -> None:
    with pytest.raises(UsageError, match="up to 10 small letters"):
        Network("Fleet-of-mine")


def test_a_subnet_that_is_in_use_is_refused(pair: Machines) -> None:
    taken = f"{pair.network.gateway.rpartition('.')[0]}.0/28"
    with pytest.raises(
        UsageError, match=rf"The subnet {taken} is in use here already \({pair.network.subnet}\)"
    ):
        Network("other", taken).make()


def test_networks_choose_subnets_that_are_free(pair: Machines) -> None:
    other = Network(f"fo{os.getpid()}")
    try:
        other.make()
        assert other.gateway != pair.network.gateway
    finally:
        other.remove()
