"""What a running stack is put through: fed, asked, hurt, stopped and started again."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from make.containers.images import ROOT
from make.containers.report import Failed

if TYPE_CHECKING:
    from make.containers.report import Report
    from make.containers.stack import Stack

SAMPLE = ROOT / "samples" / "office-day.csv.gz"
EVENTS = 7853
DAY = "2026-11-20"
HOST = str(Path(sys.executable).with_name("appia"))
SERVICES = ("etcd", "ingester", "rag-1", "rag-2", "health")


@dataclass(frozen=True)
class Scenario:
    """One run over a stack that is not up yet."""

    stack: Stack
    report: Report

    def run(self) -> None:
        """Everything, in order. Raises `Failed` at the first step that fails."""
        report, stack = self.report, self.stack
        with report.step(
            "podman-compose up: keys, models and users of etcd are made, all services get healthy"
        ) as step:
            step.seen = stack.up()
        with report.step("who the services are, and what they may") as step:
            step.seen = self.check_confined()
        with report.step("appia feed, in a container of its own") as step:
            step.seen = self.feed()
        with report.step("appia search, in a container of its own") as step:
            step.seen = self.search()
        with report.step(
            "an analyst asks from outside, through a published port, with a key of his own"
        ) as step:
            step.seen = self.ask_from_outside()
        with report.step("appia status: health sees every service") as step:
            step.seen = self.status()
        with report.step("a replica is killed: the other one answers, and it comes back") as step:
            step.seen = self.kill_a_replica()
        with report.step("a day is sealed and signed; replicas answer from it") as step:
            step.seen = self.seal()
        with report.step("down, and up again with the volumes") as step:
            step.seen = self.restart()
        with report.step("down with volumes") as step:
            stack.down(volumes=True)
            left = stack.podman.run(["podman", "volume", "ls", "--quiet"]).split()
            step.seen = f"volumes left: {len(left)}"

    def check_confined(self) -> str:
        """Reads what the kernel says of process 1 of each container, and tries to write where nobody may."""
        for name in SERVICES:
            said = dict(
                line.split(":\t", 1)
                for line in self.stack.exec(name, "cat", "/proc/1/status").stdout.splitlines()
                if ":\t" in line
            )
            seen = (
                said["Uid"].split()[0],
                int(said["CapEff"], 16),
                int(said["CapBnd"], 16),
                said["NoNewPrivs"],
            )
            if seen != ("10001", 0, 0, "1"):
                raise Failed(f"{name}: user, capabilities and no_new_privs are {seen}")
            wrong = self.stack.exec(name, "touch", "/opt/new")
            if "Read-only file system" not in wrong.stderr:
                raise Failed(f"{name} may write to its image: {wrong.stderr}")
        for name in ("rag-1", "rag-2"):
            wrong = self.stack.exec(name, "touch", "/var/lib/appia/main/new")
            if "Read-only file system" not in wrong.stderr:
                raise Failed(f"{name} may write to the state directory: {wrong.stderr}")
        return "user 10001, no capability, no_new_privs; images read-only, for replicas the days too"

    def feed(self) -> str:
        """Every event is acknowledged."""
        words = ("feed", "--format", "cicflowmeter", "--json", "/in.csv.gz")
        told = json.loads(self.stack.appia(*words, volumes=[f"{SAMPLE}:/in.csv.gz:ro"]))
        if told["acknowledged"] != EVENTS:
            raise Failed(f"{told['acknowledged']} events were acknowledged")
        return f"{EVENTS:,} events are acknowledged"

    def search(self) -> str:
        """An answer over all events."""
        said = self.stack.appia("search", "port scan from outside", "-k", "3").splitlines()
        receipt = next((line for line in said if line.startswith("searched ") and " rows of " in line), "")
        if "MALICIOUS" not in said[1] or not receipt.endswith("nothing was missing"):
            raise Failed(f"the answer is another: {said[:3]} {receipt}")
        return receipt

    def ask_from_outside(self) -> str:
        """Without a key nobody is answered."""
        stack = self.stack
        with tempfile.TemporaryDirectory() as folder:
            for name in ("clients/analyst.secret", "public/here.server.public"):
                path = Path(folder, Path(name).name)
                path.write_text(stack.print_secret(name))
                path.chmod(0o400)
            where = ["--endpoint", "tcp://127.0.0.1:5561", "--endpoint", "tcp://127.0.0.1:5562", "--json"]
            server = ["--server-key", str(Path(folder, "here.server.public"))]
            key = ["--key", str(Path(folder, "analyst.secret"))]
            answer = json.loads(stack.podman.run([HOST, "stats", *where, *server, *key]))
            refused = stack.podman.attempt([HOST, "stats", *where, "--timeout", "5"])
        if not refused.returncode:
            raise Failed("a question without a key was answered")
        return f"{answer['rows']:,} events; without a key: exit status {refused.returncode}"

    def status(self) -> str:
        """Waits for the first look of health."""
        until = time.monotonic() + 40
        while True:
            told = json.loads(self.stack.appia("status", "--json"))
            services = {f"{one['kind']}/{one['name']}": one for one in told["services"]}
            if len(services) >= 4 and all(one["ready"] for one in services.values()):
                return f"ready: {', '.join(sorted(services))}"
            if time.monotonic() > until:
                raise Failed(f"not all are ready: {json.dumps(told['services'])[:500]}")
            time.sleep(1)

    def kill_a_replica(self) -> str:
        """SIGKILL to the process itself: whether it is started again is for the engine."""
        stack = self.stack
        os.kill(stack.inspect("rag-1")["State"]["Pid"], signal.SIGKILL)
        rows = self.rows()
        until = time.monotonic() + 30
        while stack.inspect("rag-1")["State"]["Status"] != "running":
            if time.monotonic() > until:
                raise Failed("rag-1 was not started again")
            time.sleep(0.3)
        stack.wait_healthy("rag-1")
        return f"{rows:,} events while it was away"

    def rows(self) -> int:
        """How many events are searched."""
        return int(json.loads(self.stack.appia("stats", "--json"))["rows"])

    def seal(self) -> str:
        """The whole chain holds under the public key."""
        self.stack.appia("seal", DAY)
        return self.stack.appia("verify").strip().splitlines()[0]

    def restart(self) -> str:
        """The same events, the same keys."""
        stack, keys = self.stack, self.stack.print_secret("public/here.server.public")
        stack.down()
        stack.up()
        if stack.print_secret("public/here.server.public") != keys:
            raise Failed("other keys were made")
        rows = self.rows()
        if rows != EVENTS:
            raise Failed(f"there are {rows} events")
        return f"{rows:,} events, the same keys"
