"""Which models are active in a state directory, as the manifests of indices spell them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from services.common.days.names import StateNames


def active_model(state: StateNames, name: str) -> str:
    """The id of the model of this name; raises `AppiaError` where there is none."""
    return f"{name}@{ModelStore(state.models).active(name)[:12]}"


def active_models(state: StateNames) -> dict[str, str]:
    """The ids of all models by name. Blocks for some small files."""
    found: dict[str, str] = {}
    if state.models.is_dir():
        for folder in sorted(state.models.iterdir()):
            with suppress(AppiaError):
                found[folder.name] = active_model(state, folder.name)
    return found
