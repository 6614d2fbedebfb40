"""A network on one computer: a bridge, and a network namespace with a cable to it for each machine.

No way leads out of it: there is no default route and no name server, as on a site without the internet.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_HOST = 11
_CHOICE = "10.64.0.0/12"
_LOCK = Path("/run/appia-fleet.lock")
_PREFIX = re.compile(r"[a-z][a-z0-9]{0,9}")


def command(*words: str, given: str | None = None) -> str:
    """Run a tool of the system to its end; gives its standard output.

    Raises subprocess.CalledProcessError, with what it said.
    """
    run = subprocess.run(words, check=False, capture_output=True, text=True, input=given)
    if run.returncode != 0:
        error = subprocess.CalledProcessError(run.returncode, words, run.stdout, run.stderr)
        error.add_note(run.stderr.strip())
        raise error
    return run.stdout


def _routed() -> list[ipaddress.IPv4Network]:
    """Every network that this computer has a way to, but for the whole world."""
    routes = json.loads(command("ip", "-json", "-4", "route"))
    return [ipaddress.IPv4Network(route["dst"]) for route in routes if route["dst"] != "default"]


def _free(net: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
    if taken := next((other for other in _routed() if net.overlaps(other)), None):
        raise UsageError(f"The subnet {net} is in use here already ({taken}): choose another.")
    return net


def _any_free(choice: ipaddress.IPv4Network) -> ipaddress.IPv4Network:
    routed = _routed()
    for net in choice.subnets(new_prefix=24):
        if not any(net.overlaps(other) for other in routed):
            return net
    raise UsageError(f"No subnet of {choice} is free here: name one.")


@dataclass(frozen=True)
class Place:
    """One namespace: its name, the address of its eth0, and the end of its cable that is plugged into the bridge."""

    name: str
    namespace: str
    address: str
    wire: str


class Network:
    """The bridge and its namespaces. All its names begin with `prefix`, so that several can be there at once."""

    def __init__(self, prefix: str, subnet: str | None = None) -> None:
        """Make nothing yet; without `subnet` one is chosen that nobody uses here.

        Raises UsageError for a prefix that cannot be part of an interface's name.
        """
        if not _PREFIX.fullmatch(prefix):
            raise UsageError(
                f"A prefix is up to 10 small letters and digits, beginning with a letter, not {prefix!r}."
            )
        self._prefix = prefix
        self._net = ipaddress.IPv4Network(subnet or _CHOICE)
        self._chosen = subnet is not None
        self._cuts: set[tuple[str, str]] = set()
        self._silenced: set[tuple[str, int, bool]] = set()
        self.places: dict[str, Place] = {}

    @property
    def bridge(self) -> str:
        """The name of the bridge."""
        return f"{self._prefix}-br"

    @property
    def subnet(self) -> str:
        """Its addresses, as 10.77.0.0/24; known once it is made."""
        return str(self._net)

    @property
    def gateway(self) -> str:
        """The address by which this computer is part of the network."""
        return str(self._net[1])

    def make(self) -> None:
        """Make the bridge. Raises UsageError where its name, or an address of its subnet, is in use here already."""
        with suppress(subprocess.CalledProcessError):
            command("ip", "link", "show", self.bridge)
            raise UsageError(f"There is a network {self.bridge} already: remove it, or use another prefix.")
        with _LOCK.open("w") as lock:  # who chooses a subnet takes it before the next one looks
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._net = _free(self._net) if self._chosen else _any_free(self._net)
            command("ip", "link", "add", self.bridge, "type", "bridge")
            command("ip", "address", "add", f"{self.gateway}/{self._net.prefixlen}", "dev", self.bridge)
            command("ip", "link", "set", self.bridge, "up")
        self._apply()

    def add(self, name: str) -> Place:
        """A new namespace with an address on the network."""
        number = len(self.places)
        address = str(self._net[FIRST_HOST + number])
        place = Place(name, f"{self._prefix}-{name}", address, f"{self._prefix}-{number}")
        command("ip", "netns", "add", place.namespace)
        self.places[name] = place
        inside = ("-n", place.namespace)
        far_end = ("type", "veth", "peer", "name", "eth0", "netns", place.namespace)
        command("ip", "link", "add", place.wire, *far_end)
        command("ip", "link", "set", place.wire, "master", self.bridge, "up")
        command("ip", *inside, "address", "add", f"{address}/{self._net.prefixlen}", "dev", "eth0")
        command("ip", *inside, "link", "set", "lo", "up")
        command("ip", *inside, "link", "set", "eth0", "up")
        return place

    def unplug(self, name: str) -> None:
        """Cut the cable of one machine: nothing reaches it, and it reaches nothing."""
        command("ip", "link", "set", self.places[name].wire, "down")

    def plug(self, name: str) -> None:
        """Mend its cable."""
        command("ip", "link", "set", self.places[name].wire, "up")

    def part(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Let no frame pass between `some` and `others`, in either direction; all else goes on, ssh from here too."""
        theirs = list(others)
        for one in some:
            for other in theirs:
                self._cuts |= {(one, other), (other, one)}
        self._apply()

    def silence(self, name: str, port: int, *, asking: bool = False) -> None:
        """Let nobody reach a TCP port of one machine; with `asking` it reaches that port of no other either."""
        self._silenced.add((name, port, asking))
        self._apply()

    def mend(self) -> None:
        """End every partition and every silence."""
        self._cuts.clear()
        self._silenced.clear()
        self._apply()

    def remove(self) -> None:
        """Take everything away; what is not there is no fault."""
        for place in self.places.values():
            with suppress(subprocess.CalledProcessError):
                command("ip", "netns", "delete", place.namespace)
            with suppress(subprocess.CalledProcessError):
                command("ip", "link", "delete", place.wire)
        with suppress(subprocess.CalledProcessError):
            command("ip", "link", "delete", self.bridge)
        with suppress(subprocess.CalledProcessError):
            command("nft", "delete", "table", "bridge", self._prefix)

    def _apply(self) -> None:
        """One table of the bridge, replaced as a whole."""
        wires = {name: place.wire for name, place in self.places.items()}
        rules = [f'iifname "{wires[one]}" oifname "{wires[other]}"' for one, other in sorted(self._cuts)]
        for name, port, asking in sorted(self._silenced):
            rules += [f'oifname "{wires[name]}" tcp dport {port}']
            rules += [f'iifname "{wires[name]}" tcp dport {port}'] if asking else []
        drops = "".join(f"    {rule} drop\n" for rule in rules)
        table = f"table bridge {self._prefix}"
        chain = f"  chain cuts {{\n    type filter hook forward priority 0; policy accept;\n{drops}  }}\n"
        command("nft", "-f", "-", given=f"{table}\ndelete {table}\n{table} {{\n{chain}}}\n")
