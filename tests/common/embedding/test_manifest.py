"""The manifest says what a model is, and refuses to be half filled in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from services.common.embedding.manifest import parse_manifest, texts_schema_hash, windows_schema_hash
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.embedding.manifest import Manifest

    Make = Callable[..., Manifest]


def test_a_manifest_survives_the_disk(make_manifest: Make, model_bytes: bytes) -> None:
    manifest = make_manifest({"model.onnx": model_bytes})
    assert parse_manifest(manifest.to_json(), "here") == manifest


def test_the_model_id_is_the_name_and_the_start_of_the_sha256(
    make_manifest: Make, model_bytes: bytes
) -> None:
    manifest = make_manifest({"model.onnx": model_bytes})
    assert manifest.model_id == f"attack@{manifest.sha256[:12]}"


@pytest.mark.parametrize(
    "change",
    [
        {"created": "2030-01-01T00:00:00+00:00"},
        {"measured": {"x": 2.0}},
        {"inputs_digest": "1" * 64},
        {"version": "2"},
    ],
)
def test_what_does_not_decide_a_vector_does_not_change_the_sha256(
    make_manifest: Make, model_bytes: bytes, change: dict[str, Any]
) -> None:
    files = {"model.onnx": model_bytes}
    assert make_manifest(files, **change).sha256 == make_manifest(files).sha256


@pytest.mark.parametrize("change", [{"name": "other"}, {"dim": 4}, {"metric": "cosine"}])
def test_what_decides_a_vector_changes_the_sha256(
    make_manifest: Make, model_bytes: bytes, change: dict[str, Any]
) -> None:
    files = {"model.onnx": model_bytes}
    assert make_manifest(files, **change).sha256 != make_manifest(files).sha256


def test_another_model_file_changes_the_sha256(make_manifest: Make) -> None:
    assert make_manifest({"model.onnx": b"a"}).sha256 != make_manifest({"model.onnx": b"b"}).sha256


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"format": 2}, "format"),
        ({"name": "../attack"}, "name"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "files"),
        ({"files": {"model.onnx": "abc"}}, "files"),
        ({"files": {"other.onnx": "0" * 64}}, "whole file"),
        ({"files": {"model.onnx": "0" * 64, "manifest.json": "0" * 64}}, "whole file"),
        ({"dim": 0}, "dim"),
        ({"metric": "dot"}, "metric"),
        ({"surprise": 1}, "surprise"),
        ({"input": {"kind": "pictures", "hash": "0" * 64, "shape": [1]}}, "input"),
        ({"input": {"kind": "texts", "hash": "0" * 64, "shape": [8]}}, "whole file"),
    ],
)
def test_a_bad_field_is_refused_and_named(
    make_manifest: Make, model_bytes: bytes, change: dict[str, Any], place: str
) -> None:
    data = json.loads(make_manifest({"model.onnx": model_bytes}).to_json()) | change
    with pytest.raises(AppiaError, match=rf"manifest here cannot be used: .*{place}"):
        parse_manifest(json.dumps(data).encode(), "here")


@pytest.mark.parametrize("field", ["files", "input", "dim", "metric", "licence", "made_by", "created"])
def test_a_missing_field_is_refused(make_manifest: Make, model_bytes: bytes, field: str) -> None:
    data = json.loads(make_manifest({"model.onnx": model_bytes}).to_json())
    del data[field]
    with pytest.raises(AppiaError, match=field):
        parse_manifest(json.dumps(data).encode(), "here")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(AppiaError, match="cannot be used"):
        parse_manifest(data, "here")


def test_schema_hashes_tell_different_inputs_apart() -> None:
    texts = {
        texts_schema_hash("a" * 64, 128),
        texts_schema_hash("b" * 64, 128),
        texts_schema_hash("a" * 64, 64),
    }
    windows = {
        windows_schema_hash(("events", "bytes"), 64, 56_250_000_000),
        windows_schema_hash(("bytes", "events"), 64, 56_250_000_000),
        windows_schema_hash(("events", "bytes"), 32, 56_250_000_000),
        windows_schema_hash(("events", "bytes"), 64, 60_000_000_000),
    }
    assert len(texts) == 3
    assert len(windows) == 4
