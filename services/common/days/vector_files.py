"""The vectors of a sealed index as files: written once in the form that was chosen, then checked and mapped.

docs/formats.md says what each file holds.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, get_args

import faiss
import numpy as np

from services.common.days.compression import choose_form
from services.common.days.encodings import EncodedVectors, stored_encoding
from services.common.days.open_writer import VectorSpec
from services.common.days.raw import raw
from services.common.days.selection import Postings
from services.common.days.vector_lists import FaissLists, Lists
from services.common.days.vectors import NO_VECTOR, VectorIndex
from services.common.embedding.port import Metric
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.days.checked import CheckedFiles
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
MOST_FAISS_BYTES, MOST_FAISS_LISTS = 1 << 36, 1 << 20
"""Far above what a day of a hundred million events takes, far below what a wrong number in a file can say."""
_PIECE = 1 << 20  # bytes that faiss hands over at a time
# As faiss/impl/index_write.cpp has it: kind, dimension, vectors, two fillers, trained, metric; then how many numbers.
_FLAT_HEADER = struct.Struct("<4siqqqBiQ")
_FLAT_MAGIC = (b"IxF2", b"IxFI")
_IVF_MAGIC = b"IwSq"


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


def limit_faiss(most_bytes: int = MOST_FAISS_BYTES) -> None:
    """Bound what faiss does on the word of a file that it reads, in this process.

    Call it before another thread reads (faiss/index_io.h: the limits are not thread-safe).

    Args:
        most_bytes: that one array of a file may take.
    """
    faiss.set_deserialization_vector_byte_limit(most_bytes)
    faiss.set_deserialization_loop_limit(MOST_FAISS_LISTS)
    faiss.set_deserialization_lattice_r2_limit(1)  # of a kind of index that is never written


def map_vectors(files: CheckedFiles) -> VectorIndex:
    """Map the vectors that a manifest describes. Nothing is copied.

    Raises:
        AppiaError: a file does not hold what the manifest says.
    """
    manifest = files.manifest
    facts = manifest.facts
    spec = VectorSpec(facts["index"], facts["model"], facts["dim"], facts["metric"])
    items: int = facts["items"]
    if spec.metric not in get_args(Metric):
        raise AppiaError(
            f"{files.folder} has the metric {spec.metric!r}, which does not exist: run `appia verify`"
        )
    accelerator: Accelerator | None = None
    lists = None
    owner: object = None
    if LISTS in files:
        accelerator = lists = _map_lists(files, (facts["nlist"], spec.dim), facts["nprobe"])
    if IVF in files:
        ivf, owner = _map_ivf(files)
        accelerator = FaissLists(ivf, facts["nprobe"])
    vectors: Vectors
    if RECORDS in files:
        vectors = _map_records(files, facts["kind"], spec, (items, lists))
    else:
        vectors = _map_flat(files, items, spec.dim)
    codes, postings = None, None
    if ROWS in files:
        parts = files.mapped(ROWS, "<u4", (2 * manifest.rows + items + 1,))
        codes, order, starts = np.split(parts, [manifest.rows, 2 * manifest.rows])
        postings = Postings(order, starts)
    left_out = manifest.rows - facts.get("rows_with_vector", manifest.rows)
    return VectorIndex(spec, manifest.rows, vectors, codes, postings, accelerator, owner, left_out)


def _map_lists(files: CheckedFiles, shape: tuple[int, int], nprobe: int) -> Lists:
    count, dim = shape
    numbers = files.mapped(LISTS, "<u4", (count + 1 + count * dim,))
    return Lists(numbers[count + 1 :].view("<f4").reshape(shape), numbers[: count + 1], nprobe)


def _map_records(
    files: CheckedFiles, kind: str, spec: VectorSpec, stored: tuple[int, Lists | None]
) -> Vectors:
    items, lists = stored
    if lists is None:
        raise AppiaError(f"{files.folder} has vectors of kind {kind} without {LISTS}: run `appia verify`")
    codebook = np.array(files.raw(CODEBOOK)).view("<f4") if CODEBOOK in files else None
    encoding = stored_encoding(kind, spec.dim, codebook)
    records = files.mapped(RECORDS, encoding.dtype, (items,))
    return EncodedVectors(records, encoding, lists, spec.metric == "cosine")


def _map_flat(files: CheckedFiles, items: int, dim: int) -> NDArray[np.float32]:
    """The vectors of a flat index of faiss, float32 (items, dim). Its format is simple, so faiss is not asked."""
    path, data = files.folder / FLAT, files.raw(FLAT)
    if len(data) != _FLAT_HEADER.size + 4 * items * dim:
        raise AppiaError(f"{path} has {len(data)} bytes, which are not {items} x {dim} numbers")
    magic, stored_dim, count, _, _, _, _, numbers = _FLAT_HEADER.unpack(data[: _FLAT_HEADER.size].tobytes())
    if magic not in _FLAT_MAGIC or (stored_dim, count, numbers) != (dim, items, items * dim):
        raise AppiaError(f"{path} is no flat index of {items} x {dim} numbers")
    return data[_FLAT_HEADER.size :].view("<f4").reshape(items, dim)


def _map_ivf(files: CheckedFiles) -> tuple[Any, object]:
    """The lists of an index of format 1, and what they show, which must outlive them."""
    data = files.raw(IVF)
    if bytes(data[:4]) != _IVF_MAGIC:  # faiss would open any of its many kinds
        raise AppiaError(f"{files.folder / IVF} holds no lists of scalar-quantized vectors")
    reader: Any = faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data))  # type: ignore[attr-defined] # not in its stubs
    return faiss.read_index(reader), data
