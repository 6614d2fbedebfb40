"""Who is on the recorded network and what happens when."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from lab import Host

HERE = Path(__file__).resolve().parent
WEB, FILES, BASTION, MAIL, CHAT, MONITOR, DNS = (f"10.20.1.{last}" for last in (10, 20, 22, 25, 30, 40, 53))
SITES = tuple(f"198.51.100.{last}" for last in range(10, 30))
VISITORS = tuple(f"198.51.100.{last}" for last in range(130, 140))
SCANNER, GUESSER, FLOODER = "203.0.113.66", "203.0.113.67", "203.0.113.68"
CONTROL, DROP = "203.0.113.99", "203.0.113.77"
DESKTOPS = tuple(f"10.20.2.{last}" for last in range(11, 23))
SCOUT, INSIDER, BOT, OTHER_BOT, THIEF = (f"10.20.2.{last}" for last in (17, 18, 19, 20, 21))

# What an infected desktop's user leaves alone: no flow between it and a host it attacks is ordinary work.
SKIPPED = {SCOUT: ("intranet", "mail", "files", "share", "shell"), INSIDER: ("intranet",)}

SERVERS = (
    Host("web", (WEB,)),
    Host("files", (FILES,)),
    Host("bastion", (BASTION,)),
    Host("mail", (MAIL,)),
    Host("chat", (CHAT,)),
    Host("monitor", (MONITOR,)),
    Host("dns", (DNS,)),
)
HOSTS = (
    *SERVERS,
    *(Host(f"pc{address.rsplit('.')[-1]}", (address,)) for address in DESKTOPS),
    Host("sites", SITES, outside=True),
    Host("visitors", VISITORS, outside=True),
    Host("control", (CONTROL, DROP), outside=True),
    Host("intruder", (GUESSER, SCANNER, FLOODER), outside=True),
)
HOST_OF = {address: host.name for host in HOSTS for address in host.addresses}

LABELS = {
    "beacon": "Botnet-Beacon",
    "heartbeat": "Botnet-Beacon",
    "inject": "WebAttack",
    "logins": "BruteForce",
    "slowly": "DoS-SlowHTTP",
    "sweep": "LateralMovement",
    "tunnel": "Exfiltration",
    "upload": "Exfiltration",
}


@dataclass(frozen=True)
class Attack:
    """One entry of the plan: what runs from where against whom, `at` seconds after the start."""

    at: float
    label: str
    source: str
    targets: tuple[str, ...]
    command: tuple[str, ...]
    limit: float = 30.0


def nmap(at: float, source: str, targets: tuple[str, ...], *options: str) -> Attack:
    """A port scan at no more than 150 packets a second."""
    pace = ("-n", "-Pn", "-T4", "--max-rate", "150", "--max-retries", "1")
    # A connect scan leaves the source address to the kernel.
    origin = () if "-sT" in options else ("-e", "uplink", "-S", source)
    return Attack(at, "PortScan", source, targets, ("nmap", *pace, *origin, *options, *targets))


def own(span: tuple[float, float], source: str, attack: str, targets: tuple[str, ...]) -> Attack:
    """An attack of intruder.py; `span` is when it begins and how many seconds it takes."""
    at, seconds = span
    command = (sys.executable, str(HERE / "intruder.py"), attack, source, str(seconds), *targets)
    return Attack(at, LABELS[attack], source, targets, command, seconds + 10)


def hydra(at: float, target: str, service: str, tasks: int) -> Attack:
    """Guess passwords from the list in the working directory."""
    words = ("-I", "-t", str(tasks), "-l", "operator", "-P", "passwords", f"{service}://{target}")
    return Attack(at, "BruteForce", GUESSER, (target,), ("hydra", *words))


def flood(at: float, label: str, target: str, *options: str) -> Attack:
    """A burst of 500 packets a second for four seconds."""
    command = ("hping3", "-q", "-n", "-i", "u2000", "-c", "2000", "-a", FLOODER, *options, target)
    return Attack(at, label, FLOODER, (target,), command, 6)


UDP_PORTS = "53,67,69,111,123,137,161,500,514,520,631,1194,1434,1900,4500,5353"
PEERS = tuple(address for address in DESKTOPS if address != SCOUT)
DURATION = 270.0
ATTACKS = (
    own((8, 255), BOT, "beacon", (CONTROL,)),
    own((9, 255), OTHER_BOT, "heartbeat", (CONTROL,)),
    nmap(25, SCOUT, (WEB, FILES), "-sS", "--top-ports", "120"),
    nmap(35, SCANNER, (WEB, MAIL, BASTION), "-sS", "--top-ports", "100"),
    own((45, 8), INSIDER, "inject", (WEB,)),
    nmap(50, SCOUT, (MAIL, BASTION), "-sT", "--top-ports", "80"),
    hydra(60, FILES, "ftp", 6),
    own((70, 40), FLOODER, "slowly", (WEB,)),
    nmap(72, SCANNER, (DNS, CHAT), "-sU", "-p", UDP_PORTS),
    hydra(95, BASTION, "ssh", 8),
    own((100, 30), SCOUT, "sweep", (*PEERS, FILES, BASTION)),
    own((120, 20), INSIDER, "logins", (WEB,)),
    flood(125, "DoS-SynFlood", WEB, "-S", "-p", "80"),
    own((135, 25), GUESSER, "inject", (WEB,)),
    own((140, 15), THIEF, "tunnel", (DROP,)),
    own((150, 20), THIEF, "upload", (DROP,)),
    flood(165, "DoS-UdpFlood", CHAT, "--udp", "-p", "123", "-d", "512"),
    own((175, 35), FLOODER, "slowly", (WEB,)),
    own((185, 35), THIEF, "upload", (DROP,)),
    nmap(190, SCANNER, (FILES, CHAT), "-sS", "--top-ports", "80"),
    own((200, 20), THIEF, "tunnel", (DROP,)),
    own((205, 15), GUESSER, "logins", (WEB,)),
    own((212, 30), SCOUT, "sweep", (*PEERS, FILES, BASTION)),
    flood(222, "DoS-SynFlood", MAIL, "-S", "-p", "25"),
    flood(232, "DoS-UdpFlood", DNS, "--udp", "-p", "53", "-d", "200"),
    own((240, 12), INSIDER, "inject", (WEB,)),
)
