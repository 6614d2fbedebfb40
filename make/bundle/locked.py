"""Which packages of the lock files a bundle takes: what running needs, and what the playbooks need where they run."""

from __future__ import annotations

import re
import sys
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.markers import Marker
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from make.bundle.target import Target

LOCK, DEV_LOCK = "requirements/lock.txt", "requirements/dev-lock.txt"
CONTROLLER = "ansible-core"
# An entry of a lock: `name==version ; condition \`, its hashes, and `# via` with what needs it.
_ENTRY = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?: ; (?P<when>.+?))? \\\n(?P<rest>(?:    .*\n?)+)", re.MULTILINE
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_NEEDED_BY = re.compile(r"^ +# +(?:via +)?(?P<name>[\w.-]+)(?: \(.*\))?$", re.MULTILINE)
_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Pin:
    """One package in one version, and the SHA-256 of every file of it that the lock allows."""

    name: str
    version: str
    hashes: frozenset[str]
    needed_by: frozenset[str]


def read_pins(path: Path, target: Target) -> dict[str, Pin]:
    """The packages that a lock file has for a machine, by name."""
    pins = {}
    for found in _ENTRY.finditer(path.read_text(encoding="utf-8")):
        if found["when"] and not Marker(found["when"]).evaluate(target.environment()):
            continue
        name, rest = str(canonicalize_name(found["name"])), found["rest"]
        needed_by = frozenset(canonicalize_name(by) for by in _NEEDED_BY.findall(rest) if by != "via")
        pins[name] = Pin(name, found["version"], frozenset(_HASH.findall(rest)), needed_by)
    return pins


def needed(pins: dict[str, Pin], roots: Iterable[str]) -> dict[str, Pin]:
    """`roots`, what they need, and so on."""
    reached: dict[str, Pin] = {}
    ahead = sorted(map(str, map(canonicalize_name, roots)))
    while ahead:
        name = ahead.pop()
        if name not in pins:
            sys.exit(f"bundle: the lock has no {name}: run `make lock`")
        if name not in reached:
            reached[name] = pins[name]
            ahead += [pin.name for pin in pins.values() if name in pin.needed_by]
    return dict(sorted(reached.items()))


def runtime_pins(root: Path, target: Target) -> dict[str, Pin]:
    """What a node needs to run: the dependencies of the project, without what only builds it or its models."""
    with (root / "pyproject.toml").open("rb") as file:
        named = tomllib.load(file)["project"]["dependencies"]
    roots = [found[0] for text in named if (found := _NAME.match(text))]
    return needed(read_pins(root / LOCK, target), roots)


def controller_pins(root: Path, target: Target) -> dict[str, Pin]:
    """What the machine needs that the playbooks are run on."""
    return needed(read_pins(root / DEV_LOCK, target), [CONTROLLER])
