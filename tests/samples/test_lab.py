"""The namespaces carry traffic while the lab stands, and nothing of it stays afterwards."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = ("ip", "tc", "sysctl", "ethtool", "tcpdump")
SERVER = "import socket; s = socket.create_server(('203.0.113.9', 80)); s.accept()[0].sendall(b'hello')"
CLIENT = "import socket; s = socket.create_connection(('203.0.113.9', 80), 3); exit(s.recv(9) != b'hello')"


def namespaces() -> str:
    command = [shutil.which("ip") or "ip", "netns", "list"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(autouse=True)
def _possible(lab: ModuleType) -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"making network namespaces needs root and the programs {', '.join(TOOLS)}")
    if lab.PREFIX in namespaces():
        pytest.skip("a recording is running")
    try:
        lab.call("ip", "netns", "add", "appia-probe")
        lab.call("ip", "netns", "delete", "appia-probe")
    except RuntimeError as error:
        pytest.skip(f"network namespaces cannot be made here: {error}")


def test_traffic_between_inside_and_outside_is_captured_and_nothing_stays(
    lab: ModuleType, tmp_path: Path
) -> None:
    hosts = [lab.Host("inner", ("10.20.0.9",)), lab.Host("outer", ("203.0.113.9",), outside=True)]
    with lab.Lab(hosts) as network:
        server = network.start("outer", [sys.executable, "-c", SERVER], tmp_path)
        capture = network.capture(tmp_path / "seen.pcap")
        for _ in range(20):
            if network.start("inner", [sys.executable, "-c", CLIENT], tmp_path).wait(20) == 0:
                break
            time.sleep(0.2)
        else:
            pytest.fail("the inside host never reached the outside host")
        time.sleep(0.5)
        network.stop(capture)
        sleeper = network.start("inner", ["sleep", "600"], tmp_path)
    assert b"hello" in (tmp_path / "seen.pcap").read_bytes()
    assert server.poll() is not None
    assert sleeper.poll() is not None
    assert lab.PREFIX not in namespaces()


def test_a_lab_that_cannot_be_built_leaves_the_namespaces_of_others_alone(lab: ModuleType) -> None:
    lab.call("ip", "netns", "add", lab.ROUTER)
    try:
        with pytest.raises(RuntimeError, match="File exists"), lab.Lab([]):
            pass
        assert lab.ROUTER in namespaces()
    finally:
        lab.call("ip", "netns", "delete", lab.ROUTER)
