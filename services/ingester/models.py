"""Loads the models that the ingester and the sealer embed with, from the state directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.days.embedders import Embedders
from services.common.durable import REAL
from services.common.embedding.cache import CacheSettings, NarrativeCache, NarrativeReader, ReadThrough
from services.common.embedding.manifest import windows_schema_hash
from services.common.embedding.onnx import OnnxArrays, OnnxSettings, OnnxTexts
from services.common.embedding.store import ModelStore
from services.common.events.features import SCHEMA_HASH
from services.common.events.profiles import profiles_schema_hash
from services.common.events.windows import CHANNELS, STEP_NS, STEPS

if TYPE_CHECKING:
    from services.common.days.chosen_models import ChosenModels
    from services.common.days.names import StateNames
    from services.common.durable import Disk


def ingester_embedders(
    state: StateNames, chosen: ChosenModels, threads: int, disk: Disk = REAL
) -> tuple[Embedders, NarrativeCache]:
    """The active ones of the chosen models, the semantic one behind the narrative cache, which the caller closes.

    Raises:
        AppiaError: a model is missing, was changed, or was made for another input.
    """
    attack, texts, temporal, entity = _load(state, chosen, threads)
    cache = NarrativeCache(state.cache, texts, CacheSettings(), disk)
    return Embedders(attack, cache, temporal, entity), cache


def sealing_embedders(state: StateNames, chosen: ChosenModels, threads: int) -> Embedders:
    """The active ones of the chosen models for a sealer, which only reads the narrative cache.

    Raises:
        AppiaError: as `ingester_embedders`.
    """
    attack, texts, temporal, entity = _load(state, chosen, threads)
    semantic = ReadThrough(NarrativeReader(state.cache, texts.model_id, texts.dim), texts)
    return Embedders(attack, semantic, temporal, entity)


def _load(
    state: StateNames, chosen: ChosenModels, threads: int
) -> tuple[OnnxArrays, OnnxTexts, OnnxArrays, OnnxArrays]:
    store, settings = ModelStore(state.models), OnnxSettings(threads=threads)
    windows_hash = windows_schema_hash(CHANNELS, STEPS, STEP_NS)
    return (
        OnnxArrays(store.load("attack"), "features", SCHEMA_HASH, settings),
        OnnxTexts(store.load(chosen.name_of("semantic")), settings),
        OnnxArrays(store.load(chosen.name_of("temporal")), "windows", windows_hash, settings),
        OnnxArrays(store.load("entity"), "profiles", profiles_schema_hash(), settings),
    )
