"""What a link says of a day: the generations there are from then on, and the SHA-256 of every manifest in them.

The manifests have the SHA-256 of all other files, so a state names every byte of a sealed day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK = "chunk"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_NUMBER = re.compile(r"\d{6}")
_NAME = re.compile(r"[a-z]{1,32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class IndexState:
    """The versions of an index by number, each with the SHA-256 (hex) of its manifest, and which one is served."""

    served: int
    versions: Mapping[int, str]


@dataclass(frozen=True)
class GenerationState:
    """A generation: the SHA-256 (hex) of the chunk's manifest, and its indices by name."""

    chunk: str
    indices: Mapping[str, IndexState] = field(default_factory=dict)

    def parts(self) -> dict[str, str]:
        """The SHA-256 (hex) of each manifest by the folder it is in, such as `chunk` or `attack/000001`."""
        found = {CHUNK: self.chunk}
        for name, index in self.indices.items():
            found |= {part_name(name, version): digest for version, digest in index.versions.items()}
        return found

    def with_index(self, name: str, index: IndexState) -> GenerationState:
        """The generation with one index as given."""
        return replace(self, indices={**self.indices, name: index})


@dataclass(frozen=True)
class DayState:
    """A day's generations by number; `served` is the one that CURRENT names, None for a day that was removed."""

    day: str
    served: int | None
    generations: Mapping[int, GenerationState] = field(default_factory=dict)

    def with_generation(self, number: int, generation: GenerationState) -> DayState:
        """The day with one generation as given."""
        return replace(self, generations={**self.generations, number: generation})


def part_name(index: str, version: int) -> str:
    """The folder of a version of an index inside its generation."""
    return f"{index}/{version:06d}"


def state_to_plain(state: DayState) -> dict[str, Any]:
    """A state as plain values for a link."""
    return {
        "day": state.day,
        "served": state.served,
        "generations": {f"{number:06d}": _plain(one) for number, one in state.generations.items()},
    }


def _plain(generation: GenerationState) -> dict[str, Any]:
    indices = {
        name: {
            "served": index.served,
            "versions": {f"{number:06d}": digest for number, digest in index.versions.items()},
        }
        for name, index in generation.indices.items()
    }
    return {"chunk": generation.chunk, "indices": indices}


def state_from_plain(raw: Any) -> DayState:
    """The state that plain values spell.

    Raises:
        AppiaError: they do not: a name or number of another form, something served that is not there.
    """
    try:
        generations = {_number(name): _generation(one) for name, one in raw["generations"].items()}
        state = DayState(_matching(_DAY, raw["day"]), raw["served"], generations)
    except (TypeError, KeyError, AttributeError, ValueError):
        raise AppiaError("it does not describe a day as this release knows it") from None
    served = {number for number in (state.served,) if type(number) is int}  # true is no number
    if not served <= set(generations) or bool(served) != bool(generations) or state_to_plain(state) != raw:
        raise AppiaError("it does not describe a day as this release knows it")
    return state


def _generation(raw: Any) -> GenerationState:
    indices = {_matching(_NAME, name): _index(one) for name, one in raw["indices"].items()}
    return GenerationState(_matching(_SHA256, raw["chunk"]), indices)


def _index(raw: Any) -> IndexState:
    versions = {_number(name): _matching(_SHA256, digest) for name, digest in raw["versions"].items()}
    if type(raw["served"]) is not int or raw["served"] not in versions:
        raise ValueError("served, and not there")
    return IndexState(raw["served"], versions)


def _number(name: str) -> int:
    return int(_matching(_NUMBER, name))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError("of another form")
    return text
