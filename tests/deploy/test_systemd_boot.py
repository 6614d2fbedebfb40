"""The units under a real systemd: started, stopped, stuck, wrong, and after a restart of the machine."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from deploy.node import REPLICA_OF_COPY, SERVICES, STATE, UNITS, Node, has_etcd, wait_for
from deploy.release import PROJECT, why_no_release
from fleet.image import base_image, why_no_image
from fleet.machines import Machines

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = 300
SAMPLE = PROJECT / "samples/office-day.csv.gz"
MODELS = Path.home() / ".local/share/appia/models"
REASON = why_no_image()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A machine that has started with all services, and has taken events."""
    image = base_image()
    if reason := why_no_release(image):
        pytest.skip(reason)
    with Machines(tmp_path_factory.mktemp("units"), "units", image=image) as machines:
        (machine,) = machines.add("node", binds=Node.binds(), boot=False)
        node = Node(machine, MODELS)
        soon = machine.root / "etc/systemd/system/appia-rag@1.service.d"
        soon.mkdir()
        (soon / "soon.conf").write_text("[Service]\nWatchdogSec=3\nRestartSec=100ms\n")
        machine.boot()
        wait_for("the services did not start with the machine", 60, node.are_active)
        assert node.feed(SAMPLE, EVENTS) == EVENTS
        yield node


def test_all_services_start_with_the_machine_and_none_had_to_be_started_twice(node: Node) -> None:
    """Each said that it is ready, and is watched from then on."""
    for unit in UNITS:
        shown = node.show(unit)
        assert (shown["Type"], shown["NRestarts"], shown["Slice"]) == ("notify", "0", "appia.slice"), unit
        assert shown["WatchdogTimestamp"], unit


def test_questions_are_answered_over_encrypted_days(node: Node) -> None:
    """The replica has its server key and the storage keys as credentials, and knows the analyst by the access file."""
    wait_for("the events are not visible", 10, lambda: node.rows() == EVENTS)


def test_a_mirror_and_the_replica_of_its_copy_run_beside_them(node: Node) -> None:
    """The mirror reads from the origin with a key of its own, into the folder of its site."""
    wait_for("the copy has not all events", 20, lambda: node.rows(REPLICA_OF_COPY) == EVENTS)
    assert "Read-only file system" in node.inside("appia-mirror@copy.service", f"touch {STATE}/x")[1]


@pytest.mark.parametrize("unit", UNITS)
def test_a_service_is_nobody_special(node: Node, unit: str) -> None:
    """No capability, no way to gain one, a filter of system calls, a user of its own."""
    status = node.process(unit)
    assert (status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]) == ("0000000000000000", "1", "2")
    assert status["Uid"].split()[1] != "0"


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "appia-ingester.service"])
def test_the_keys_of_the_ingester_are_hidden_from_all_others(node: Node, unit: str) -> None:
    """Although all run as one user, to whom the files belong."""
    assert node.inside("appia-ingester.service", "cat /etc/appia/keys/wire/ring.json")[0] == 0
    status, said = node.inside(unit, "cat /etc/appia/keys/wire/ring.json")
    assert status != 0
    assert "Permission denied" in said or "No such file" in said


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit != "appia-ingester.service"])
def test_only_the_ingester_can_change_days(node: Node, unit: str) -> None:
    """The others see the folder of days, which the ingester makes at its first start, as one that is read only."""
    assert "Read-only file system" in node.inside(unit, f"touch {STATE}/days/x")[1]


def test_the_ingester_can_change_its_state_and_nothing_else(node: Node) -> None:
    assert node.inside("appia-ingester.service", f"touch {STATE}/run/x && rm {STATE}/run/x")[0] == 0
    for path in ("/etc/appia/keys/x", "/opt/appia/x", "/usr/x"):
        assert "Read-only file system" in node.inside("appia-ingester.service", f"touch {path}")[1]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_service_gets_its_own_secrets_and_sees_no_others(node: Node, service: object) -> None:
    """They are copies in memory, for it alone; the files that they come from are root's."""
    assert isinstance(service, type(SERVICES[0]))
    folder = f"/run/credentials/{service.unit}"
    given = {f"secrets_{secret}" for secret in service.secrets.values()}
    assert set(node.inside(service.unit, f"ls {folder}")[1].split()) == given
    assert "Permission denied" in node.inside(service.unit, "ls /etc/appia/secrets")[1]


def test_health_has_the_right_to_what_it_asks(node: Node) -> None:
    """Once it has seen everything, no service has refused it anything."""
    wait_for("health is not ready", 20, lambda: node.readiness("127.0.0.1", 9602).startswith("200 "))
    for unit in UNITS:
        assert not [one for one in said_by(node, unit) if one.get("event") == "refused"], unit


def said_by(node: Node, unit: str) -> list[dict[str, object]]:
    """What a service logged itself, as docs/systemd.md has it: without what systemd says of it."""
    return [json.loads(entry["MESSAGE"]) for entry in node.logged(f"_SYSTEMD_UNIT={unit}")]


def test_logs_are_json_in_the_journal_with_their_priorities(node: Node) -> None:
    """The prefix is taken off again, so that a program reads each line; warnings are found by `-p warning`."""
    for unit in UNITS:
        assert any(one.get("ready") for one in said_by(node, unit)), unit
    entries = node.logged("_SYSTEMD_UNIT=appia-ingester.service")
    for entry in entries:
        level = json.loads(entry["MESSAGE"]).get("level", "info")
        assert entry["PRIORITY"] == {"info": "6", "warning": "4", "error": "3"}[level]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_documented_line_gives_programs_what_a_service_said(node: Node) -> None:
    """Of all that the journal has of the unit jq keeps each line of the service, and nothing else."""
    (line,) = [one for one in documented("Logs") if "-o cat | jq -R " in one]
    journal, _, filtering = line.partition("#")[0].partition(" | ")
    heard = node.machine.run("sh", "-c", f"{journal} --no-pager").stdout
    words = ("sh", "-c", f"{filtering} -c")
    told = subprocess.run(words, input=heard, capture_output=True, text=True, check=True)
    assert [json.loads(one) for one in told.stdout.splitlines()] == said_by(node, "appia-rag@1.service")
    assert "Started appia-rag@1.service" in heard


def test_the_documented_commands_put_in_place_what_is_tested_here(node: Node) -> None:
    """By hand it is the same as here: run once more, they change nothing, and the services go on."""
    etc = node.machine.root / "etc"
    before = {
        path: path.read_bytes() for path in etc.glob("s*d/**/*") if path.is_file() and "appia" in str(path)
    }
    node.machine.run("sh", "-e", "-c", "\n".join([f"cd {PROJECT}", *documented("By hand")]))
    assert before == {path: path.read_bytes() for path in before}
    assert {path.name for path in before} >= {
        path.name for path in (PROJECT / "deploy/systemd").glob("*.s*e")
    }
    assert node.are_active()


def documented(heading: str) -> list[str]:
    """The commands of the first block below a heading of docs/systemd.md."""
    section = (PROJECT / "docs/systemd.md").read_text().partition(f"## {heading}\n")[2]
    return section.split("```")[1].strip().splitlines()


def test_a_replica_that_is_stuck_is_killed_and_comes_back(node: Node) -> None:
    """A process that was stopped says nothing any more, and hears no SIGTERM either."""
    before = node.show("appia-rag@1.service")
    node.machine.run("kill", "-STOP", before["MainPID"])
    wait_for(
        "the watchdog did nothing",
        15,
        lambda: (
            node.show("appia-rag@1.service")["NRestarts"] == str(int(before["NRestarts"]) + 1)
            and node.are_active()
        ),
    )
    assert node.show("appia-rag@1.service")["MainPID"] != before["MainPID"]
    assert node.rows() == EVENTS
    assert "watchdog" in " ".join(entry["MESSAGE"] for entry in node.logged("UNIT=appia-rag@1.service"))


@pytest.mark.skipif(not has_etcd(), reason="etcd-server is not installed")
def test_etcd_runs_as_hardened_with_its_certificates_as_credentials(node: Node) -> None:
    """Debian's unit with the drop-in: over TLS, for clients with a certificate of the same authority only."""
    node.machine.run("systemctl", "start", "etcd")
    status = node.process("etcd.service")
    assert (status["CapBnd"], status["NoNewPrivs"], status["Seccomp"]) == ("0000000000000000", "1", "2")
    assert "Permission denied" in node.inside("etcd.service", f"ls {STATE}")[1]
    words = (
        "--endpoints=https://127.0.0.1:2379",
        "--command-timeout=1s",
        "--cacert=/etc/appia/etcd-client/ca.pem",
        "endpoint",
        "health",
    )
    pair = ("--cert=/etc/appia/etcd-client/client.pem", "--key=/etc/appia/etcd-client/client-key.pem")
    assert node.machine.run("etcdctl", *words, check=False).returncode != 0
    assert "is healthy" in node.machine.run("etcdctl", *pair, *words).stderr
    node.machine.run("systemctl", "stop", "etcd")
    assert node.show("etcd.service")["Result"] == "success"


def test_wrong_settings_are_told_once_and_not_tried_again(node: Node) -> None:
    """Status 2 would be the same at every start; the sentence has the priority of an error."""
    etc = node.machine.root / "etc/appia"
    (etc / "secrets/rag-3").mkdir()
    (etc / "rag-3.toml").write_text(f'state = "{STATE}"\ncolour = "red"\n')
    node.machine.run("systemctl", "start", "appia-rag@3", check=False)
    shown = node.show("appia-rag@3.service")
    assert (shown["ActiveState"], shown["ExecMainStatus"], shown["NRestarts"]) == ("failed", "2", "0")
    (said,) = node.logged("--priority=err", "_SYSTEMD_UNIT=appia-rag@3.service")
    assert said["MESSAGE"].startswith("appia-rag: /etc/appia/rag-3.toml has the unknown setting 'colour'")
    node.machine.run("systemctl", "reset-failed", "appia-rag@3")


def test_a_service_without_settings_is_not_started_and_that_is_no_failure(node: Node) -> None:
    node.machine.run("systemctl", "start", "appia-rag@9")
    shown = node.show("appia-rag@9.service")
    assert (shown["ActiveState"], shown["ConditionResult"]) == ("inactive", "no")


def test_all_stop_in_order_and_come_back_with_the_machine(node: Node) -> None:
    """Stopped by their target, each ends by itself; what was acknowledged is there after a restart of the machine."""
    node.machine.run("systemctl", "stop", "appia.target")  # which does not wait for what it stops
    wait_for("they do not stop", 20, lambda: set(node.states().values()) == {"inactive"})
    for unit in UNITS:
        shown = node.show(unit)
        ended = (shown["ActiveState"], shown["Result"], shown["ExecMainCode"], shown["ExecMainStatus"])
        assert ended == ("inactive", "success", "1", "0"), unit
    assert node.machine.run("sh", "-c", f"ls {STATE}/registry/*").stdout.count(".json") == 0
    node.machine.poweroff()
    node.machine.boot()
    wait_for("the services did not come back with the machine", 60, node.are_active)
    wait_for("the events did not come back", 10, lambda: node.rows() == EVENTS)
