"""The vectors of a sealed index as files: written once in the form that was chosen, then checked and mapped.

docs/formats.md says what each file holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from services.common.days.compression import choose_form
from services.common.days.encodings import EncodedVectors, stored_encoding
from services.common.days.open_writer import VectorSpec
from services.common.days.raw import raw
from services.common.days.selection import Postings
from services.common.days.vector_lists import FaissLists, Lists
from services.common.days.vectors import NO_VECTOR, VectorIndex
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.compression import Form
    from services.common.days.distinct import Embedded
    from services.common.days.manifest import Manifest
    from services.common.days.policies import Compression
    from services.common.days.vectors import Accelerator, Vectors
    from services.common.durable import Disk

FLAT, RECORDS, CODEBOOK, LISTS, ROWS = (
    "vectors.faiss",
    "vectors.bin",
    "codebook.bin",
    "lists.bin",
    "rows.bin",
)
IVF = "ivf.faiss"
"""Beside `FLAT` in days of format 1; no longer written."""
_PIECE = 1 << 20  # bytes that faiss hands over at a time


def write_vectors(
    disk: Disk, folder: Path, embedded: Embedded, spec: VectorSpec, compression: Compression = "fast"
) -> dict[str, Any]:
    """Write the vectors into `folder` in the form that `compression` gives, and which row has which.

    Gives the facts that the manifest states about the files. Blocks as `choose_form`.
    """
    form = choose_form(embedded.vectors, spec, compression)
    if isinstance(form.vectors, EncodedVectors):
        disk.put(folder / RECORDS, raw(form.vectors.records))
        if form.vectors.encoding.codebook is not None:
            disk.put(folder / CODEBOOK, raw(form.vectors.encoding.codebook.astype("<f4")))
    else:
        metric = faiss.METRIC_INNER_PRODUCT if spec.metric == "cosine" else faiss.METRIC_L2
        flat = faiss.IndexFlat(spec.dim, metric)
        flat.add(np.asarray(form.vectors))
        with disk.new_file(folder / FLAT) as file:
            faiss.write_index(flat, faiss.PyCallbackIOWriter(file.write, _PIECE))  # type: ignore[attr-defined] # its stubs lack it
    if form.lists is not None:
        _write_lists(disk, folder / LISTS, form.lists)
    _write_rows(disk, folder / ROWS, embedded.codes, form.order)
    return {
        "items": len(form.order),
        "rows_with_vector": int(np.count_nonzero(embedded.codes != NO_VECTOR)),
        **_facts(form, compression),
    }


def _facts(form: Form, compression: Compression) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kind": form.kind,
        "wanted": compression,
        "recall_at_10": form.recall,
        "bytes_per_vector": form.bytes_per_vector,
    }
    if form.lists is not None:
        facts |= {"nlist": len(form.lists.centers), "nprobe": form.lists.nprobe}
    if form.passed_over:
        facts["passed_over"] = list(form.passed_over)
    return facts


def _write_lists(disk: Disk, path: Path, lists: Lists) -> None:
    """Where each list begins, uint32, and the end; then the centres, float32."""
    disk.put(path, lists.starts.astype("<u4").tobytes() + lists.centers.astype("<f4").tobytes())


def _write_rows(disk: Disk, path: Path, given: NDArray[np.uint32], stored: NDArray[np.int64]) -> None:
    """The vector of each row, then the rows ordered by vector, then where each vector's rows begin; all uint32.

    Args:
        disk: writes the file.
        path: of the file.
        given: the number of each row's vector or `NO_VECTOR`, as embedded (rows,).
        stored: the vectors in the order in which they are stored (items,).
    """
    numbers = np.full(len(stored) + 1, NO_VECTOR, "<u4")
    numbers[stored] = np.arange(len(stored))
    codes = numbers[np.minimum(given, len(stored))]
    order = np.argsort(codes, kind="stable").astype("<u4")
    starts = np.searchsorted(codes[order], np.arange(len(stored) + 1)).astype("<u4")
    disk.put(path, raw(np.concatenate((codes, order, starts))))


def describe_form(manifest: Manifest) -> str:
    """In which form the vectors of an index are kept, and why, in words."""
    facts = manifest.facts
    told = [f"{facts['items']} vectors as {facts['kind']}"]
    if "bytes_per_vector" in facts:
        told.append(f"{facts['bytes_per_vector']:g} bytes each")
    if facts.get("recall_at_10", 1.0) < 1.0:
        told.append(f"recall@10 {facts['recall_at_10']:g}")
    with_vector = facts.get("rows_with_vector", manifest.rows)
    if with_vector < manifest.rows:
        told.append(f"{with_vector} of {manifest.rows} rows have one")
    told += [f"{facts['wanted']} passed over {reason}" for reason in facts.get("passed_over", [])]
    return ", ".join(told)


def map_vectors(folder: Path, manifest: Manifest) -> VectorIndex:
    """Map the vectors that a manifest describes, whose files were checked against it. Nothing is copied.

    Raises:
        AppiaError: a file does not hold what the manifest says.
    """
    facts = manifest.facts
    spec = VectorSpec(facts["index"], facts["model"], facts["dim"], facts["metric"])
    items: int = facts["items"]
    accelerator: Accelerator | None = None
    lists = None
    owner: object = None
    if LISTS in manifest.artifacts:
        accelerator = lists = _map_lists(folder / LISTS, (facts["nlist"], spec.dim), facts["nprobe"])
    if IVF in manifest.artifacts:
        ivf = faiss.read_index(str(folder / IVF), faiss.IO_FLAG_MMAP_IFC)
        accelerator = FaissLists(ivf, facts["nprobe"])
    vectors: Vectors
    if RECORDS in manifest.artifacts:
        vectors = _map_records(folder, facts["kind"], spec, (items, lists))
    else:
        vectors, owner = _map_flat(folder / FLAT, items, spec.dim)
    codes, postings = None, None
    if ROWS in manifest.artifacts:
        raw = _mapped(folder / ROWS, "<u4", (2 * manifest.rows + items + 1,))
        codes, order, starts = np.split(raw, [manifest.rows, 2 * manifest.rows])
        postings = Postings(order, starts)
    left_out = manifest.rows - facts.get("rows_with_vector", manifest.rows)
    return VectorIndex(spec, manifest.rows, vectors, codes, postings, accelerator, owner, left_out)


def _map_lists(path: Path, shape: tuple[int, int], nprobe: int) -> Lists:
    count, dim = shape
    raw = _mapped(path, "<u4", (count + 1 + count * dim,))
    return Lists(raw[count + 1 :].view("<f4").reshape(shape), raw[: count + 1], nprobe)


def _map_records(folder: Path, kind: str, spec: VectorSpec, stored: tuple[int, Lists | None]) -> Vectors:
    items, lists = stored
    if lists is None:
        raise AppiaError(f"{folder} has vectors of kind {kind} without {LISTS}: run `appia verify`")
    path = folder / CODEBOOK
    try:
        encoding = stored_encoding(kind, spec.dim, np.fromfile(path, "<f4") if path.exists() else None)
    except ValueError as error:
        raise AppiaError(f"{folder} cannot be read: {error}; run `appia verify`") from None
    records = _mapped(folder / RECORDS, encoding.dtype, (items,))
    return EncodedVectors(records, encoding, lists, spec.metric == "cosine")


def _map_flat(path: Path, items: int, dim: int) -> tuple[NDArray[np.float32], object]:
    """The vectors of a flat faiss file as float32 (items, dim), and the object that owns the mapping."""
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if (index.ntotal, index.d) != (items, dim):
        raise AppiaError(f"{path} has {index.ntotal} x {index.d} numbers and should have {items} x {dim}")
    if not items:
        return np.empty((0, dim), np.float32), index
    stored: Any = index  # faiss types what it reads as the base class
    return faiss.rev_swig_ptr(stored.get_xb(), items * dim).reshape(items, dim), index


def _mapped(path: Path, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if path.stat().st_size != wanted:
        raise AppiaError(
            f"{path} has {path.stat().st_size} bytes and should have {wanted}: run `appia verify`"
        )
    # A plain array over the mapping: slices of numpy's own memmap type cost several times as much.
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))
