"""A sentence-transformers folder becomes a model of the store that does what torch does, or is refused in words."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from services.common.embedding.onnx import OnnxSettings, OnnxTexts
from services.common.embedding.store import ModelStore
from services.common.errors import AppiaError, UsageError

torch = pytest.importorskip("torch", reason="needs the extra train")
transformers = pytest.importorskip("transformers", reason="needs the extra train")

from safetensors.torch import load_file, save_file  # noqa: E402 - needs the packages above

from services.training.export_sbert import export_sbert  # noqa: E402 - as above
from services.training.exporting import (  # noqa: E402 - as above
    ExportOptions,
    checked_difference,
    name_for,
    store_export,
)

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
WORDS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"word{n}" for n in range(28)))
SIZES = {
    "vocab_size": len(WORDS),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
    "pad_token_id": 0,
}
TEXTS = ["word1 word5 word9", "word2", "", "word3 word3 nothing word27 " * 9]
POOLINGS = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens"}


def tokenizer(pad: int = 0) -> Any:
    """One word, one token; the padding is the first one, or the second as in XLM-RoBERTa."""
    words = {word: row for row, word in enumerate(WORDS)} | {"[PAD]": pad, "[CLS]": 1 - pad}
    made = Tokenizer(WordLevel(words, unk_token=WORDS[3]))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1 - pad), ("[SEP]", 2)]
    )
    return made


def write(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder with random weights; further modules by their type, settings of the model by name."""

    def make(
        family: str = "Bert", pooling: str = "mean", modules: tuple[str, ...] = ("Normalize",), **changes: Any
    ) -> Path:
        torch.manual_seed(3)
        root = tmp_path / "a-model"
        config = getattr(transformers, f"{family}Config")(**SIZES | changes)
        model = getattr(transformers, f"{family}Model")(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.5)
        model.save_pretrained(root)
        kinds = ("Transformer", "Pooling", *modules)
        paths = ("", "1_Pooling", "2_Normalize", "3")
        write(
            root / "modules.json",
            [
                {"type": f"sentence_transformers.models.{kind}", "path": path}
                for kind, path in zip(kinds, paths, strict=False)
            ],
        )
        modes = {
            f"pooling_mode_{mode}": mode == POOLINGS.get(pooling, pooling)
            for mode in (*POOLINGS.values(), pooling)
        }
        write(root / "1_Pooling" / "config.json", modes)
        tokenizer(config.pad_token_id).save(str(root / "tokenizer.json"))
        return root

    return make


def export(root: Path, store: ModelStore, name: str = "tiny", *, int8: bool = False) -> OnnxTexts:
    options = ExportOptions(root, name_for(root, name), lambda _: None, int8=int8)
    manifest = store_export(store, export_sbert(options), options, NOW)
    assert manifest.created == "2026-01-02T03:04:05+00:00"
    return OnnxTexts(store.load(name), OnnxSettings())


def expected(root: Path, texts: list[str], pooling: str, longest: int) -> np.ndarray:
    """The vectors by torch, all texts in one padded batch: another way than the one the export compares with."""
    model = transformers.AutoModel.from_pretrained(root).eval()
    words = tokenizer(model.config.pad_token_id)
    words.enable_padding(pad_id=model.config.pad_token_id)
    words.enable_truncation(longest)
    rows = words.encode_batch(texts)
    ids = torch.tensor([row.ids for row in rows])
    mask = torch.tensor([row.attention_mask for row in rows])
    with torch.no_grad():
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
    if pooling == "cls":
        vectors = states[:, 0]
    elif pooling == "max":
        vectors = states.masked_fill(mask[..., None] == 0, -torch.inf).amax(dim=1)
    else:
        vectors = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    return np.asarray(torch.nn.functional.normalize(vectors, dim=1))


@pytest.mark.parametrize(
    ("family", "pooling", "modules", "changes"),
    [
        ("Bert", "mean", ("Normalize",), {}),
        ("Bert", "cls", (), {"hidden_act": "gelu_new"}),
        ("Roberta", "max", ("Normalize",), {"type_vocab_size": 1}),
        ("XLMRoberta", "mean", (), {"hidden_act": "relu", "pad_token_id": 1, "type_vocab_size": 1}),
    ],
)
def test_the_stored_model_does_what_torch_does(  # noqa: PLR0917 - fixtures
    folder: Callable[..., Path],
    tmp_path: Path,
    family: str,
    pooling: str,
    modules: tuple[str, ...],
    changes: dict[str, Any],
) -> None:
    """Families, poolings, activations, long and empty texts: all vectors within 1e-4 of torch."""
    root = folder(family, pooling, modules, **changes)
    store = ModelStore(tmp_path / "store")
    model = export(root, store)
    manifest = store.load("tiny").manifest
    (longest,) = manifest.input.shape
    # RoBERTa's positions begin behind the padding's, so that many fewer texts fit.
    assert longest == (20 if family == "Bert" else 19 - changes.get("pad_token_id", 0))
    np.testing.assert_allclose(model.embed(TEXTS), expected(root, TEXTS, pooling, longest), atol=1e-4)
    assert manifest.measured["graph_to_torch_largest_difference"] <= 1e-4
    assert (model.dim, model.metric, manifest.made_by.script) == (24, "cosine", "appia models export")


def test_8_bits_are_smaller_and_near(folder: Callable[..., Path], tmp_path: Path) -> None:
    """The 8-bit model takes well under half of the bytes, and its manifest says how near it is to 32 bits."""
    store = ModelStore(tmp_path / "store")
    root = folder(hidden_size=96, intermediate_size=192, vocab_size=4000)
    exact, small = export(root, store, "exact"), export(root, store, "small", int8=True)
    sizes = [len(store.load(name).files["model.onnx"]) for name in ("exact", "small")]
    assert sizes[1] < sizes[0] / 2.5
    cosines = (exact.embed(TEXTS) * small.embed(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.97
    assert store.load("small").manifest.measured["cosine_to_fp32_least"] > 0.97
    assert store.load("small").manifest.made_by.arguments == ("--int8",)


def test_the_model_card_tells_the_licence(folder: Callable[..., Path], tmp_path: Path) -> None:
    root = folder()
    store = ModelStore(tmp_path / "store")
    export(root, store)
    assert store.load("tiny").manifest.licence.startswith("not stated")
    (root / "README.md").write_text(
        "---\nlanguage: es\nlicense: apache-2.0\n---\n# A model\nlicense: another\n"
    )
    export(root, store)
    assert store.load("tiny").manifest.licence == "apache-2.0 (as its folder states)"


def drop(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def change(name: str, **fields: Any) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / name
        before = json.loads(path.read_text()) if path.exists() else {}
        write(path, before | fields)

    return edit


def lacking(name: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / "config.json"
        write(path, {key: value for key, value in json.loads(path.read_text()).items() if key != name})

    return edit


def without_a_layer(root: Path) -> None:
    path = root / "model.safetensors"
    weights = {name: tensor for name, tensor in load_file(path).items() if "layer.1" not in name}
    save_file(weights, path, {"format": "pt"})


def nested(root: Path) -> None:
    modules = json.loads((root / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write(root / "modules.json", modules)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (drop("modules.json"), "is not a sentence-transformers folder: modules.json cannot be read"),
        (drop("config.json"), "is not a sentence-transformers folder: config.json cannot be read"),
        (drop("tokenizer.json"), "has no readable tokenizer.json"),
        (drop("model.safetensors"), "has no model.safetensors"),
        (lambda root: (root / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda root: (root / "model.safetensors").write_bytes(b"no"), "cannot be loaded"),
        (lambda root: write(root / "config.json", []), "config.json holds no map"),
        (lambda root: write(root / "modules.json", ["Transformer"]), "modules.json holds no list of modules"),
        (lacking("num_hidden_layers"), "config.json lacks 'num_hidden_layers'"),
        (lambda root: write(root / "modules.json", [{"path": ""}]), "a module, lacks 'type'"),
        (without_a_layer, "lacks 16 weights of the model, such as encoder.layer.1"),
        (nested, "is in the folder '0_Transformer'; it should be at the top"),
        (change("config.json", model_type="mpnet"), "of the family 'mpnet'; those known are bert, roberta"),
        (change("config.json", hidden_act="silu"), "an activation or positions that export does not know"),
        (change("1_Pooling/config.json", pooling_mode_max_tokens=True), "pools by pooling_mode_mean"),
        (change("config_sentence_transformers.json", default_prompt_name="query"), "wants a prompt before"),
    ],
)
def test_a_wrong_folder_is_refused_in_words(
    folder: Callable[..., Path], tmp_path: Path, spoil: Callable[[Path], Any], sentence: str
) -> None:
    """What is missing, broken or not understood is said with its name, and nothing is stored."""
    root, store = folder(), ModelStore(tmp_path / "store")
    spoil(root)
    with pytest.raises(UsageError, match=sentence):
        export(root, store)
    assert not list(store.root.glob("*"))


def test_modules_that_are_not_understood_are_named(folder: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="consists of Transformer, Pooling, Dense, Normalize"):
        export(folder(modules=("Dense", "Normalize")), ModelStore(tmp_path / "store"))


def test_vectors_that_are_not_for_the_cosine_are_refused(folder: Callable[..., Path], tmp_path: Path) -> None:
    """A model for dot products is refused, but not where its vectors have length 1 anyway."""
    store, uses = (
        ModelStore(tmp_path / "store"),
        change("config_sentence_transformers.json", similarity_fn_name="dot"),
    )
    root = folder(modules=())
    uses(root)
    with pytest.raises(UsageError, match="compares by dot; the semantic index compares by the cosine"):
        export(root, store)
    root = folder()
    uses(root)
    assert export(root, store).dim == 24


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("semantic", "semantic is the name of a model that appia builds"),
        ("Big", "cannot be named 'Big'"),
        ("../up", "cannot be named"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    folder: Callable[..., Path], tmp_path: Path, name: str, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        export(folder(), ModelStore(tmp_path / "store"), name)


def test_a_folder_gives_its_name() -> None:
    assert (
        name_for(Path("/x/paraphrase_Multilingual-MiniLM-L12.v2/"), None)
        == "paraphrase-multilingual-minilm-l12-v2"
    )
    with pytest.raises(UsageError, match="cannot be named '2-models'"):
        name_for(Path("/x/2-models"), None)


def test_no_other_model_is_overwritten(folder: Callable[..., Path], tmp_path: Path) -> None:
    """A name of a model that came into the store another way is refused."""
    store = ModelStore(tmp_path / "store")
    export(folder(), store)
    path = next(store.root.glob("tiny/*/manifest.json"))
    path.chmod(0o600)
    path.write_text(path.read_text().replace("appia models export", "appia models train"))
    with pytest.raises(UsageError, match="has a model tiny that was not exported"):
        export(folder(), store)


@pytest.mark.parametrize("wrong", [2e-4, np.nan])
def test_a_graph_that_differs_is_not_stored(wrong: float) -> None:
    """A difference above 1e-4, or no number at all, is an error; one below is given back."""
    vectors = np.zeros((3, 4), np.float32)
    other = vectors.copy()
    other[1, 2] = wrong
    with pytest.raises(AppiaError, match="differs from torch"):
        checked_difference(other, vectors)
    other[1, 2] = 5e-5
    assert checked_difference(other, vectors) == pytest.approx(5e-5)
