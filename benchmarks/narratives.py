"""Sentences of real traffic and questions about them: what the measurements of the semantic index work on."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load

from benchmarks.common import ROOT, SAMPLE
from models.build_semantic import SHAPE, WEIGHTS_FILE, fetch
from services.common.embedding.manifest import MODEL_FILE
from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.common.events.features import extract
from services.common.events.narrative import Narrator
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.table import tabulate
from services.common.events.vocabulary import load_vocabulary
from services.feed.readers import reader_of
from services.feed.readers.port import LabelMode, ReadOptions
from services.training.bert_graph import BertGraph
from services.training.sentence_model import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.embedding.port import TextEmbedder
    from services.common.embedding.store import LoadedModel

CACHE = ROOT / ".appia" / "cache"
QUESTIONS = ROOT / "tests" / "data" / "questions" / "spanish.toml"
SHARED = ROOT.parent / "shared" / "data"
FIRST = 5
_BATCH = 4096


@dataclass(frozen=True)
class DataSet:
    """A file of traffic and its format."""

    name: str
    path: Path
    format: str


DATA_SETS = (
    DataSet("samples/office-day", SAMPLE, "cicflowmeter"),
    DataSet("CICIDS2017, the week", SHARED / "cicids2017" / "cicids2017-week.csv.gz", "cicflowmeter"),
    DataSet("CTU, Zeek 008", SHARED / "zeek-ctu" / "008-conn.log.labeled.gz", "zeek-conn"),
    DataSet("CTU, Zeek 011", SHARED / "zeek-ctu" / "011-conn.log.labeled.gz", "zeek-conn"),
    DataSet("APT29, Zeek, day 1", SHARED / "zeek-apt29" / "day1-combined.json.gz", "zeek-conn"),
    DataSet("Suricata, 2021-06-06", SHARED / "suricata" / "eve-2021-06-06.json.gz", "suricata-eve"),
)


@dataclass(frozen=True)
class Question:
    """A question in Spanish and in English; a narrative answers it when all of `answers` occur in it."""

    es: str
    en: str
    answers: tuple[str, ...]

    def answered_by(self, narratives: Sequence[str]) -> NDArray[np.bool_]:
        """Which narratives answer, bool (n,)."""
        return np.array([all(answer in text for answer in self.answers) for text in narratives])


def read_questions(path: Path = QUESTIONS) -> dict[str, list[Question]]:
    """The questions by part: "seen" and "unseen" (see the file)."""
    document = tomllib.loads(path.read_text("utf-8"))
    return {
        part: [Question(entry["es"], entry["en"], tuple(entry["answers"])) for entry in entries]
        for part, entries in document.items()
    }


def tell(data: DataSet, labels: LabelMode) -> list[str]:
    """The narrative of every event of a file, in its order."""
    narrator, told = Narrator(load_vocabulary()), []
    for batch in _batches(data, labels):
        payloads = [event.SerializeToString() for event in batch]
        told += narrator.narrate(tabulate(batch, payloads), extract(payloads))
    return told


def _batches(data: DataSet, labels: LabelMode) -> Iterator[list[NetworkSecurityEvent]]:
    batch: list[NetworkSecurityEvent] = []
    for item in reader_of(data.format).read(str(data.path), ReadOptions(labels=labels)):
        if isinstance(item, NetworkSecurityEvent):
            batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch


def exact_texts(stored: LoadedModel) -> OnnxTexts:
    """The semantic model in 32 bits: the same tokenizer, and a graph of the weights as they were fetched.

    Raises:
        AppiaError: the weights are not in `.appia/cache`, and cannot be fetched.
    """
    source = load(fetch(None, CACHE)[WEIGHTS_FILE])
    weights = {name: array for name, array in source.items() if array.dtype == np.float32}
    graph = BertGraph(weights, SHAPE, small_table=False).build().SerializeToString()
    return OnnxTexts(
        dataclasses.replace(stored, files=stored.files | {MODEL_FILE: graph}), OnnxSettings(threads=2)
    )


@dataclass(frozen=True)
class Told:
    """Different narratives, and the unit vector of each by one model, float32 (n, dim)."""

    narratives: Sequence[str]
    texts: TextEmbedder
    vectors: NDArray[np.float32]

    def nearest(self, words: Sequence[str], count: int) -> NDArray[np.int64]:
        """The numbers of the `count` narratives nearest to each text, int64 (m, count)."""
        return nearest(self.texts.embed(words), self.vectors, count)

    def found(self, questions: Sequence[Question], words: Sequence[str]) -> float:
        """How well questions are answered when they are asked by these words: the mean over the questions.

        For each the share of right ones among the five nearest narratives, or among as many as there are.
        """
        shares = []
        for question, places in zip(questions, self.nearest(words, FIRST), strict=True):
            right = question.answered_by(self.narratives)
            shares.append(right[places].sum() / min(FIRST, right.sum()))
        return float(np.mean(shares))


def embed_all(texts: TextEmbedder, narratives: Sequence[str]) -> Told:
    """The narratives with their vectors."""
    return Told(narratives, texts, texts.embed(narratives))
