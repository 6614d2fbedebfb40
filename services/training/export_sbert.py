"""A folder of the sentence-transformers library as a model of the store.

The library's format (https://sbert.net): `modules.json` lists what a text goes through; a `Transformer`, a `Pooling`
and perhaps a `Normalize` are understood, with a BERT, RoBERTa or XLM-RoBERTa inside, which is what most models of
sentences in many languages are. Vectors are brought to length 1: the semantic index compares by the cosine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services.common.embedding.manifest import MODEL_FILE, TOKENIZER_FILE, InputSchema, texts_schema_hash
from services.common.embedding.store import sha256_of
from services.common.errors import UsageError
from services.training.bert_graph import BertGraph, BertShape
from services.training.exporting import (
    Facts,
    arrays_of,
    checked_difference,
    load_torch,
    origin,
    read_facts,
    read_json,
)
from services.training.port import TrainedModel
from services.training.sentence_model import compare, embed, quantise, token_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.training.bert_graph import Activation, Pooling
    from services.training.exporting import ExportOptions

WHAT = "a sentence-transformers folder"
FAMILIES = ("bert", "roberta", "xlm-roberta")
# Narratives and questions are shorter; more would only cost memory where somebody pastes a page.
MOST_TOKENS = 128
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
CHECKED = (
    "",
    "scan",
    "Outbound HTTPS traffic over TCP: a dozen packets at a moderate rate, sent a longer request; closed in order.",
    "Inbound SSH traffic over TCP: many packets over several seconds; judged malicious as brute force.",
    "Internal DNS traffic over UDP: two packets within a millisecond.",
    "intentos repetidos de contraseña por ssh",
    "A SYN that was never answered; the fast detector fired on many SYN in # ms; the detectors disagree.",
    "who talked to this host last night? " * 40,
)


@dataclass(frozen=True)
class _Folder:
    """What the configuration files say, and the tokenizer."""

    shape: BertShape
    tokenizer: bytes


def export_sbert(options: ExportOptions) -> TrainedModel:
    """Build the graph of a folder, check it, compare it with torch. Blocks for seconds to a minute.

    Raises:
        UsageError: the folder is none of sentence-transformers, or its model is of a kind that is not understood.
        AppiaError: the graph does not do what torch does, or in 8 bits not what it does in 32.
    """
    told = _read(options.folder)
    options.report("loading the weights")
    torch_model = load_torch(options.folder, "AutoModel", ("pooler.",))
    weights = arrays_of(torch_model)
    ids = token_ids(told.tokenizer, CHECKED, told.shape.max_tokens)
    options.report("building the graph and comparing it with torch")
    graph = BertGraph(weights, told.shape, small_table=False).build().SerializeToString()
    exact, seconds = embed(graph, ids)
    measured = {
        "graph_to_torch_largest_difference": checked_difference(
            exact, _torch_vectors(torch_model, ids, told.shape.pooling)
        ),
        "sentences_per_second_one_thread": len(ids) / seconds,
    }
    if options.int8:
        options.report("bringing the weights to 8 bits and comparing")
        graph = quantise(BertGraph(weights, told.shape, small_table=True).build())
        measured |= compare(exact, *embed(graph, ids))
    return TrainedModel(
        name=options.name,
        version="1",
        files={MODEL_FILE: bytes(graph), TOKENIZER_FILE: told.tokenizer},
        input=_schema(told),
        dim=exact.shape[1],
        metric="cosine",
        training_data=origin(options.folder),
        measured=measured,
    )


def _schema(told: _Folder) -> InputSchema:
    longest = told.shape.max_tokens
    return InputSchema(
        kind="texts", hash=texts_schema_hash(sha256_of(told.tokenizer), longest), shape=(longest,)
    )


def _read(folder: Path) -> _Folder:
    pooling = _pooling(folder)
    config = read_facts(folder, "config.json", WHAT)
    family, activation = config.get("model_type"), str(config.get("hidden_act"))
    if family not in FAMILIES:
        raise UsageError(
            f"the model in {folder} is of the family {family!r}; those known are {', '.join(FAMILIES)}"
        )
    if activation not in ACTIVATIONS or config.get("position_embedding_type", "absolute") != "absolute":
        raise UsageError(f"the model in {folder} has an activation or positions that export does not know")
    # RoBERTa's positions begin behind the one of the padding.
    first = 0 if family == "bert" else config["pad_token_id"] + 1
    shape = BertShape(
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        max_tokens=min(_longest(folder), config["max_position_embeddings"] - first),
        layer_norm_eps=config["layer_norm_eps"],
        first_position=first,
        activation=ACTIVATIONS[activation],
        pooling=pooling,
    )
    return _Folder(shape, _tokenizer(folder))


def _tokenizer(folder: Path) -> bytes:
    try:
        return (folder / TOKENIZER_FILE).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder} has no readable {TOKENIZER_FILE} ({error.strerror}): save it there with the tokenizer's "
            "save_pretrained of the transformers library"
        ) from None


def _longest(folder: Path) -> int:
    """The longest input in tokens: what the folder says, but at most `MOST_TOKENS`."""
    path = folder / "sentence_bert_config.json"
    told = read_facts(folder, path.name, WHAT).get("max_seq_length") if path.exists() else None
    return min(told or MOST_TOKENS, MOST_TOKENS)


def _pooling(folder: Path) -> Pooling:
    """How the vectors of the tokens become one. Refuses what a text would go through besides."""
    found = read_json(folder, "modules.json", WHAT)
    if not isinstance(found, list) or not all(isinstance(module, dict) for module in found):
        raise UsageError(f"{folder} is not {WHAT}: modules.json holds no list of modules")
    modules = [Facts(module, f"{folder / 'modules.json'}, a module,") for module in found]
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise UsageError(
            f"the model in {folder} consists of {', '.join(kinds)}; export knows Transformer, Pooling and Normalize"
        )
    if modules[0]["path"] not in ("", "."):
        raise UsageError(
            f"the transformer of {folder} is in the folder {modules[0]['path']!r}; it should be at the top"
        )
    _refuse_other_uses(folder, normalised=kinds[2:] == ["Normalize"])
    config = read_facts(folder, str(Path(modules[1]["path"]) / "config.json"), WHAT)
    on = [name for name in config.names() if name.startswith("pooling_mode") and config[name] is True]
    if isinstance(config.get("pooling_mode"), str):
        # Since version 5 of the library one text names the mode.
        on = [name for name in POOLINGS if POOLINGS[name] == config["pooling_mode"]]
    if len(on) != 1 or on[0] not in POOLINGS:
        raise UsageError(
            f"{folder} pools by {', '.join(on) or 'nothing known'}; export knows mean, cls and max"
        )
    return POOLINGS[on[0]]


def _refuse_other_uses(folder: Path, *, normalised: bool) -> None:
    """Refuse a model that is not meant for the cosine, or wants words of its own before a text."""
    path = folder / "config_sentence_transformers.json"
    told = read_facts(folder, path.name, WHAT) if path.exists() else Facts({}, str(path))
    compared = told.get("similarity_fn_name") or "cosine"
    if compared != "cosine" and not normalised:
        raise UsageError(
            f"the model in {folder} compares by {compared}; the semantic index compares by the cosine"
        )
    if told.get("default_prompt_name"):
        raise UsageError(f"the model in {folder} wants a prompt before each text, which appia does not give")


def _torch_vectors(model: Any, ids: Sequence[Sequence[int]], pooling: Pooling) -> NDArray[np.float32]:
    """Unit vectors (n, dim) of token lists by torch, pooled as the sentence-transformers library does."""
    import torch  # noqa: PLC0415 - only the extra `train` has it

    vectors = []
    with torch.no_grad():
        for row in ids:
            states = model(input_ids=torch.tensor([row])).last_hidden_state[0]
            pooled = {"mean": states.mean(dim=0), "cls": states[0], "max": states.max(dim=0).values}[pooling]
            vectors.append(torch.nn.functional.normalize(pooled, dim=0).numpy())
    return np.array(vectors, np.float32)
