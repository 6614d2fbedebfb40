"""The words that events are told in: a file people edit, read and checked once (docs/narratives.md)."""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SCALES = (
    "duration", "packets", "sent", "received", "rate", "pause", "threat", "ml", "divergence", "port",
)  # fmt: skip
DIRECTIONS = ("internal", "outbound", "inbound", "external", "group")
# In the order in which they are tried, see `narrative.flag_patterns`.
FLAG_PATTERNS = (
    "none", "unanswered", "refused", "stealth", "idle", "cut", "closed", "opened", "ended", "midway",
)  # fmt: skip
OTHER_PROTOCOL = "another protocol"


@dataclass(frozen=True)
class Scale:
    """Words for a number: `words[i]` up to the border `below[i]` (not included), the last one from there on."""

    below: NDArray[np.float64]
    words: tuple[str, ...]

    def bins(self, numbers: NDArray[Any]) -> NDArray[np.int64]:
        """Index of the word of each number; same shape."""
        return np.searchsorted(self.below, numbers, side="right")


@dataclass(frozen=True)
class Technique:
    """One ATT&CK rule: any of the words, and one of the services where some are named."""

    say: str
    words: re.Pattern[str]
    services: frozenset[str]


@dataclass(frozen=True)
class Vocabulary:
    """All words; `identity` names the version and the content ("1@sha12")."""

    identity: str
    scales: dict[str, Scale]
    directions: tuple[str, ...]  # in the order of DIRECTIONS
    inside: tuple[IPv4Network | IPv6Network, ...]
    group: tuple[IPv4Network | IPv6Network, ...]
    protocols: dict[int, str]
    services: dict[int, str]  # by port
    flags: tuple[str, ...]  # in the order of FLAG_PATTERNS
    sources: dict[int, str]
    verdicts: dict[str, str]
    techniques: tuple[Technique, ...]

    def is_inside(self, address: str) -> bool:
        """Whether an address (canonical text) belongs to the site."""
        return _within(address, self.inside)

    def is_group(self, address: str) -> bool:
        """Whether an address (canonical text) means many hosts at once."""
        return _within(address, self.group)


def load_vocabulary(path: Path | None = None) -> Vocabulary:
    """Read a vocabulary file, or the one that comes with the program.

    Raises `AppiaError` where the file cannot be read or an entry is missing or wrong; it names the entry.
    """
    source = files("services.common.events").joinpath("vocabulary.toml") if path is None else path
    try:
        content = source.read_bytes()
        document = tomllib.loads(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise AppiaError(f"The vocabulary {source} cannot be read: {error}.") from error
    try:
        return _vocabulary(document, hashlib.sha256(content).hexdigest()[:12])
    except _WrongEntryError as error:
        raise AppiaError(f"The vocabulary {source} is wrong: {error}.") from error


class _WrongEntryError(ValueError):
    """Names the entry of the file and what is wrong with it."""


def _vocabulary(document: dict[str, Any], digest: str) -> Vocabulary:
    version = document.get("version")
    if not isinstance(version, int):
        raise _WrongEntryError("version must be a whole number")
    scales = _section(document, "scales")
    services = _services(_section(document, "services"))
    networks = _section(document, "networks")
    return Vocabulary(
        identity=f"{version}@{digest}",
        scales={name: _scale(name, scales.get(name)) for name in SCALES},
        directions=_words(document, "directions", DIRECTIONS),
        inside=_networks("networks.inside", networks.get("inside")),
        group=_networks("networks.group", networks.get("group")),
        protocols=_numbered(document, "protocols", 255),
        services=services,
        flags=_words(document, "flags", FLAG_PATTERNS),
        sources=_numbered(document, "sources", 255),
        verdicts={
            key.lower(): _text(f"verdicts.{key}", say) for key, say in _section(document, "verdicts").items()
        },
        techniques=tuple(
            _technique(rule, services) for rule in _list("techniques", document.get("techniques"))
        ),
    )


def _section(document: dict[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name)
    if not isinstance(section, dict):
        raise _WrongEntryError(f"the section [{name}] is missing")
    return section


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _WrongEntryError(f"{name} must be a list")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _WrongEntryError(f"{name} must be a text")
    return value


def _scale(name: str, value: object) -> Scale:
    entries = _list(f"scales.{name}", value)
    below: list[Any] = [entry.get("below") for entry in entries if isinstance(entry, dict)]
    borders = below[:-1]
    if (
        not below
        or len(below) != len(entries)
        or below[-1] is not None
        or not all(_is_number(border) for border in borders)
        or any(low >= high for low, high in pairwise(borders))
    ):
        raise _WrongEntryError(
            f"scales.{name} needs entries with `below` rising from one to the next, and a last one without"
        )
    words = tuple(_text(f"scales.{name}.say", entry.get("say")) for entry in entries)
    return Scale(np.array(borders, np.float64), words)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _words(document: dict[str, Any], section: str, keys: tuple[str, ...]) -> tuple[str, ...]:
    words = _section(document, section)
    return tuple(_text(f"{section}.{key}", words.get(key)) for key in keys)


def _numbered(document: dict[str, Any], section: str, largest: int) -> dict[int, str]:
    words = {}
    for key, say in _section(document, section).items():
        if not key.isdecimal() or int(key) > largest:
            raise _WrongEntryError(f"{section}.{key} must be a number from 0 to {largest}")
        words[int(key)] = _text(f"{section}.{key}", say)
    return words


def _services(section: dict[str, Any]) -> dict[int, str]:
    names: dict[int, str] = {}
    for name, ports in section.items():
        for port in _list(f"services.{name}", ports):
            if not isinstance(port, int) or not 0 < port < 65_536:
                raise _WrongEntryError(f"services.{name} must list ports from 1 to 65535, not {port!r}")
            if port in names:
                raise _WrongEntryError(f"port {port} is named by both {names[port]} and {name}")
            names[port] = name
    return names


def _networks(name: str, value: object) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text) for text in _list(name, value))
    except ValueError as error:
        raise _WrongEntryError(f"{name}: {error}") from None


def _technique(rule: object, known: dict[int, str]) -> Technique:
    if not isinstance(rule, dict):
        raise _WrongEntryError("each of [[techniques]] needs say and words")
    say = _text("techniques.say", rule.get("say"))
    text: Callable[[object], str] = lambda value: _text(f"the words or services of {say}", value)  # noqa: E731
    words = [text(word).lower() for word in _list(f"the words of {say}", rule.get("words"))]
    services = [text(service) for service in _list(f"the services of {say}", rule.get("services", []))]
    if unknown := set(services) - set(known.values()):
        raise _WrongEntryError(f"{say} names a service that is not listed: {', '.join(sorted(unknown))}")
    pattern = "|".join(re.escape(word) for word in words)
    return Technique(say, re.compile(rf"(?<!\w)(?:{pattern})(?!\w)"), frozenset(services))


def _within(address: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    number = ip_address(address)
    return any(number in network for network in networks)
