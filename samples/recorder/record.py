"""Record the sample: build a network, work and attack in it, capture, meter, label. Needs root."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import plan
from lab import Lab
from label import Truth, make_sample, write_manifest, write_truth

# Program: the Debian package it is in.
TOOLS = {
    "ip": "iproute2",
    "tc": "iproute2",
    "sysctl": "procps",
    "ethtool": "ethtool",
    "tcpdump": "tcpdump",
    "nmap": "nmap",
    "hydra": "hydra",
    "hping3": "hping3",
    "dnsmasq": "dnsmasq-base",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "openssl": "openssl",
    "curl": "curl",
}
METER = "cicflowmeter 0.2.0 scapy 2.5.0"
ASK_METER = """
from importlib.metadata import version
print("cicflowmeter", version("cicflowmeter"), "scapy", version("scapy"))
"""
# Debian's sshd wants this folder to exist.
PRIVILEGE_FOLDER = Path("/run/sshd")


def check_tools(meter_python: str) -> None:
    """Exit, saying what is missing, unless this can run to its end."""
    if os.geteuid() != 0:
        sys.exit("Making network namespaces needs root: run this as root.")
    meter = subprocess.run([meter_python, "-c", ASK_METER], check=False, capture_output=True, text=True)
    if meter.stdout.strip() != METER:
        sys.exit(
            f"{meter_python} has {meter.stdout.strip() or 'no meter'}, not {METER}: install those versions."
        )
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        sys.exit(f"Programs are missing. Install them with: apt-get install {' '.join(missing)}")


def prepare(folder: Path) -> None:
    """Make the throw-away keys, certificate, password list and sshd configuration of this recording."""
    subject = ("-subj", "/CN=example.org", "-days", "2", "-keyout", "key.pem", "-out", "cert.pem")
    commands = [
        ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject),
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sample", "-f", "id"),
        ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "sample", "-f", "host_key"),
    ]
    for command in commands:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / "passwords").write_text("".join(f"season{number}\n" for number in range(150)))
    settings = {
        "ListenAddress": plan.BASTION,
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "id.pub",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PermitRootLogin": "prohibit-password",
        "MaxStartups": "100",
        "MaxAuthTries": "3",
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))


def start_servers(lab: Lab, folder: Path) -> None:
    """Start every server and give them two seconds to listen."""
    script = str(plan.HERE / "servers.py")
    for host in lab.hosts.values():
        role = "desktop" if host.name.startswith("pc") else host.name
        if role in {"web", "files", "mail", "chat", "desktop", "sites", "control"}:
            lab.start(host.name, [sys.executable, script, role, *host.addresses], folder)
    lab.start("bastion", [shutil.which("sshd") or "sshd", "-D", "-f", str(folder / "sshd_config")], folder)
    options = [
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--pid-file",
        "--user=root",
        "--log-facility=-",
    ]
    names = [f"--address=/www{site.rsplit('.')[-1]}.example.net/{site}" for site in plan.SITES]
    answers = [*names, f"--address=/example.net/{plan.SITES[0]}", f"--listen-address={plan.DNS}"]
    lab.start("dns", ["dnsmasq", "--keep-in-foreground", "--bind-interfaces", *options, *answers], folder)
    time.sleep(2)


def start_people(lab: Lab, folder: Path) -> None:
    """Start everybody's ordinary work."""
    script = str(plan.HERE / "people.py")
    for name in ["monitor", "visitors", *(host for host in lab.hosts if host.startswith("pc"))]:
        addresses = lab.hosts[name].addresses
        skipped = plan.SKIPPED.get(addresses[0], ())
        lab.start(name, [sys.executable, script, ",".join(addresses), str(plan.DURATION), *skipped], folder)


def run_attack(lab: Lab, attack: plan.Attack, folder: Path, truths: list[Truth]) -> None:
    """Run one attack to its end or its limit, and note when it really ran."""
    process = lab.start(plan.HOST_OF[attack.source], attack.command, folder)
    start = time.time()
    try:
        process.wait(attack.limit)
    except subprocess.TimeoutExpired:
        lab.stop(process)
    tool = " ".join(Path(word).name if word.startswith("/") else word for word in attack.command)
    truths.append(
        Truth(attack.label, tool, attack.source, attack.targets, round(start, 3), round(time.time(), 3))
    )


def record(pcap: Path, folder: Path) -> list[Truth]:
    """Build the network, capture everything the plan makes happen, take it down; returns what ran."""
    truths: list[Truth] = []
    with Lab(plan.HOSTS) as lab:
        start_servers(lab, folder)
        capture = lab.capture(pcap)
        began = time.monotonic()
        start_people(lab, folder)
        threads = []
        for attack in plan.ATTACKS:
            time.sleep(max(0.0, began + attack.at - time.monotonic()))
            thread = threading.Thread(target=run_attack, args=(lab, attack, folder, truths))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
        time.sleep(max(0.0, began + plan.DURATION - time.monotonic()))
        lab.stop(capture)
    return truths


def parsed_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meter-python", required=True, help=f"a Python that has {METER}")
    out = "folder for the sample (default: samples)"
    parser.add_argument("--out", type=Path, default=plan.HERE.parent, help=out)
    work = "folder that keeps the capture and the flows (default: none does)"
    parser.add_argument("--work", type=Path, help=work)
    return parser.parse_args()


def recorded(pcap: Path, folder: Path) -> list[Truth]:
    """Record with what this machine needs for sshd in place."""
    made_folder = not PRIVILEGE_FOLDER.exists()
    PRIVILEGE_FOLDER.mkdir(exist_ok=True)
    try:
        return record(pcap, folder)
    finally:
        if made_folder:
            PRIVILEGE_FOLDER.rmdir()


def main() -> None:
    """Record, meter and label; print the counts by label."""
    arguments = parsed_arguments()
    check_tools(arguments.meter_python)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        prepare(folder)
        kept = arguments.work or folder
        kept.mkdir(parents=True, exist_ok=True)
        pcap, flows = kept / "office-day.pcap", kept / "office-day-flows.csv"
        truths = recorded(pcap, folder)
        write_truth(arguments.out / "ground-truth.jsonl", truths)
        subprocess.run([arguments.meter_python, plan.HERE / "meter.py", pcap, flows], check=True)
        counts = make_sample(flows, truths, arguments.out / "office-day.csv.gz")
    write_manifest(arguments.out, ["ground-truth.jsonl", "office-day.csv.gz"])
    for label, count in counts.items():
        print(f"{label:16} {count:6}")


if __name__ == "__main__":
    main()
