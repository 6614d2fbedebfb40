"""What mirrors may be given is named; all else below a state directory is not, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.common.days.carried import Carried, carried
from services.common.days.names import INDICES, StateNames

DAY = "2026-01-22"
SHA = "0f" * 32
FILES = [
    "VERSION",
    "retention.json",
    "chain/links.jsonl",
    "feedback/feedback-000001.log",
    "decisions/decisions-000012.log",
    "models/semantic/ACTIVE",
    f"models/semantic/{SHA}/model.onnx",
    f"days/{DAY}/open/000001/events-000002.log",
    f"days/{DAY}/open/000001/temporal.rewritten",
    f"days/{DAY}/open/000001/metadata.count",
    f"days/{DAY}/sealed/CURRENT",
    f"days/{DAY}/sealed/000003/chunk/metadata.db",
    *(f"days/{DAY}/sealed/000003/{index}/CURRENT" for index in INDICES),
    *(f"days/{DAY}/sealed/000003/{index}/000001/manifest.json" for index in INDICES),
]
FOLDERS = [
    "",
    "chain",
    "feedback",
    "decisions",
    "models",
    "models/semantic",
    f"models/semantic/{SHA}",
    "days",
    f"days/{DAY}",
    f"days/{DAY}/open",
    f"days/{DAY}/open/000001",
    f"days/{DAY}/sealed",
    f"days/{DAY}/sealed/000001",
    f"days/{DAY}/sealed/000001/chunk",
    f"days/{DAY}/sealed/000001/attack",
    f"days/{DAY}/sealed/000001/attack/000002",
]
NEVER = [
    "keys",
    "keys/wire/1.seed",
    "run",
    "run/ingester.toml",
    "values",
    "registry/rag/rag-1.json",
    "dead-letter",
    "dead-letter/refused-000001.log",
    "inbox",
    "cache/semantic",
    "health/memory.json",
    "writer.lock",
    "writer.json",
    "endpoints.json",
    "VERSION\n",
    "/VERSION",
    "./VERSION",
    "days/",
    "days//",
    "..",
    "days/../keys",
    f"days/{DAY}/..",
    f"days/{DAY}/open/000001/../../../../keys",
    f"days/{DAY}/open/000001/..",
    f"days/{DAY}/open/000001/.events.log.staged",
    f"days/{DAY}/open/000001/metadata.db",
    f"days/{DAY}/open/000001/metadata.db-wal",
    f"days/{DAY}/open/000001/writer.lock",
    f"days/{DAY}/open/.000001.going",
    f"days/.{DAY}.going",
    f"days/{DAY}/sealed/staging",
    f"days/{DAY}/sealed/000001/chunk/metadata.db-wal",
    f"days/{DAY}/sealed/000001/attack/reindex",
    f"days/{DAY}/sealed/000001/attack/staging-000001",
    f"days/{DAY}/sealed/000001/attack/staging-000001/vectors.faiss",
    f"days/{DAY}/sealed/000001/other/000001/x",
    f"days/{DAY}/other",
    "days/2026-01-2٢",
    "models/.staging",
    "models/semantic/.lock",
    f"models/semantic/{SHA}/../../ACTIVE",
    "models/semantic/ACTIVE/x",
    "chain/links.jsonl/x",
    "feedback/feedback-000001.log.1",
    f"days/{DAY}/open/000001/{'x' * 101}",
    "days\0",
]


@pytest.mark.parametrize("path", FILES)
def test_a_file_of_days_is_carried(path: str) -> None:
    """And it is known of which day it is."""
    day = DAY if path.startswith("days/") else ""
    assert carried(path) == Carried(
        is_folder=False, day=day, of_all_days=path.startswith(("feedback", "decisions"))
    )


@pytest.mark.parametrize("path", FOLDERS)
def test_a_folder_of_days_is_carried(path: str) -> None:
    """As a folder."""
    found = carried(path)
    assert found is not None
    assert found.is_folder


@pytest.mark.parametrize("path", NEVER)
def test_everything_else_is_not(path: str) -> None:
    """Secrets, settings, what is being made, what is going, and every way out."""
    assert carried(path) is None


def test_the_rules_agree_with_the_names() -> None:
    """Of the names that the product builds, those that readers need are carried and no other."""
    state = StateNames(Path("/s"))
    day = state.day(DAY)
    segment, generation = day.segment(1), day.generation(1)
    needed = [
        state.version, state.links, state.retention, state.models, state.feedback_log(1), state.decisions.path(1),
        segment.log(1), segment.columns, segment.tags, segment.symbols, segment.addresses, segment.settled,
        segment.vectors("temporal"), segment.codes("semantic"), segment.texts("semantic"), segment.model("attack"),
        segment.counts("metadata"), segment.rewritten("temporal"), day.current, generation.chunk,
        generation.index("entity"), generation.index_version("attack", 2), generation.index_current("attack"),
    ]  # fmt: skip
    private = [
        state.lock, state.writer, state.dead_letter, state.values, state.cache, state.registry, state.keys, state.run,
        state.inbox, state.endpoints, segment.metadata, day.staging, generation.index_work("attack"),
    ]  # fmt: skip
    assert [path for path in needed if carried(path.relative_to("/s").as_posix()) is None] == []
    assert [path for path in private if carried(path.relative_to("/s").as_posix()) is not None] == []
