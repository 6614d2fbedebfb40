"""Which model of the store each index is made with: of its own name, unless a setting names another one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChosenModels:
    """The names of models by the index that they make the vectors of; an index that is not named has its own."""

    semantic: str = "semantic"
    temporal: str = "temporal"

    def name_of(self, index: str) -> str:
        """The name in the model store of the model for `index`."""
        name: str = getattr(self, index, index)
        return name
