"""The narrative cache embeds each text once, keeps it, and survives being cut off at any byte."""

from __future__ import annotations

import multiprocessing
import os
import signal
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.embedding.cache import CacheSettings, NarrativeCache, NarrativeReader, ReadThrough
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.synchronize import Event
    from pathlib import Path
    from typing import Literal

    from numpy.typing import NDArray

DIM = 4


class CountingEmbedder:
    """A text embedder that remembers what it was asked; its vectors follow from the text alone."""

    def __init__(self, model_id: str = "semantic@0123456789ab") -> None:
        self.model_id = model_id
        self.name = "semantic"
        self.dim = DIM
        self.metric: Literal["l2", "cosine"] = "cosine"
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        self.asked += texts
        return np.array([vector_of(text) for text in texts], np.float32).reshape(-1, DIM)


def vector_of(text: str) -> NDArray[np.float32]:
    seed = int.from_bytes(text.encode()[:32].ljust(1, b"\0"), "little")
    vector = np.random.default_rng(seed).standard_normal(DIM)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def expected(texts: Sequence[str]) -> NDArray[np.float32]:
    return np.array([vector_of(text) for text in texts], np.float32)


def files_of(folder: Path, number: int = 1) -> tuple[Path, Path]:
    home = folder / "semantic@0123456789ab"
    return home / f"{number:010d}.texts", home / f"{number:010d}.vectors"


def fill(folder: Path, texts: Sequence[str], limits: CacheSettings = CacheSettings()) -> CountingEmbedder:  # noqa: B008 - frozen
    embedder = CountingEmbedder()
    with NarrativeCache(folder, embedder, limits) as cache:
        np.testing.assert_array_equal(cache.embed(texts), expected(texts))
    return embedder


def test_each_distinct_text_is_embedded_once(tmp_path: Path) -> None:
    assert fill(tmp_path, ["a", "b", "a", "a", "c", "b"]).asked == ["a", "b", "c"]


def test_a_second_run_asks_only_for_new_texts(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    assert fill(tmp_path, ["b", "new", "a"]).asked == ["new"]


def test_unusual_texts_are_kept_apart(tmp_path: Path) -> None:
    texts = ["", " ", "\n", "ñandú", "a\0b", "x" * 10_000]
    fill(tmp_path, texts)
    assert fill(tmp_path, texts).asked == []


def test_no_texts_give_no_vectors(tmp_path: Path) -> None:
    with NarrativeCache(tmp_path, CountingEmbedder(), CacheSettings()) as cache:
        assert cache.embed([]).shape == (0, DIM)


def test_it_tells_about_its_model(tmp_path: Path) -> None:
    with NarrativeCache(tmp_path, CountingEmbedder(), CacheSettings()) as cache:
        told = (cache.model_id, cache.name, cache.dim, cache.metric)
    assert told == ("semantic@0123456789ab", "semantic", DIM, "cosine")


def test_another_model_has_another_cache(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    other = CountingEmbedder("semantic@ffffffffffff")
    with NarrativeCache(tmp_path, other, CacheSettings()) as cache:
        cache.embed(["a"])
    assert other.asked == ["a"]


def test_texts_are_embedded_in_batches(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Watched(CountingEmbedder):
        def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
            sizes.append(len(texts))
            return super().embed(texts)

    with NarrativeCache(tmp_path, Watched(), CacheSettings(texts_per_sync=4)) as cache:
        cache.embed([str(number) for number in range(10)])
    assert sizes == [4, 4, 2]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        NarrativeCache(tmp_path, CountingEmbedder(), CacheSettings()),
        pytest.raises(AppiaError, match="written by another process"),
    ):
        NarrativeCache(tmp_path, CountingEmbedder(), CacheSettings())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_cut_of_either_file_loses_only_what_follows(tmp_path: Path, data: st.DataObject) -> None:
    """After a cut at any byte of one file, vectors are right and whole records before it are kept."""
    texts = [f"text {number}" * (number + 1) for number in range(6)]
    folder = tmp_path / str(next(fresh))
    fill(folder, texts)
    torn = data.draw(st.sampled_from(files_of(folder)))
    cut = data.draw(st.integers(0, torn.stat().st_size))
    os.truncate(torn, cut)
    asked = fill(folder, texts).asked
    assert asked == texts[len(texts) - len(asked) :]
    assert fill(folder, texts).asked == []


fresh = count()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_flipped_byte_never_gives_a_wrong_vector(tmp_path: Path, data: st.DataObject) -> None:
    texts = [f"text {number}" for number in range(6)]
    folder = tmp_path / str(next(fresh))
    fill(folder, texts)
    path = data.draw(st.sampled_from(files_of(folder)))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    fill(folder, texts)


def test_garbage_after_the_last_record_is_cut_off(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    whole = [path.stat().st_size for path in files_of(tmp_path)]
    for path in files_of(tmp_path):
        with path.open("ab") as file:
            file.write(b"\x05\0\0\0garbage" * 40)
    assert fill(tmp_path, ["a", "b"]).asked == []
    assert [path.stat().st_size for path in files_of(tmp_path)] == whole


def test_generations_bound_the_files_and_keep_what_is_used(tmp_path: Path) -> None:
    """With 3 texts per generation, a text in steady use is never asked for again; one not used goes."""
    limits = CacheSettings(texts_per_generation=3, texts_per_sync=2)
    fill(tmp_path, ["rare", "steady"], limits)
    for number in range(10):
        asked = fill(tmp_path, ["steady", f"new {number}"], limits).asked
        assert asked == [f"new {number}"]
    assert len(list(files_of(tmp_path)[0].parent.glob("*.texts"))) <= 2
    assert fill(tmp_path, ["rare"], limits).asked == ["rare"]


def test_a_reader_sees_what_is_written_while_it_is_written(tmp_path: Path) -> None:
    with NarrativeCache(tmp_path, CountingEmbedder(), CacheSettings()) as cache:
        reader = NarrativeReader(tmp_path, cache.model_id, DIM)
        assert reader.find("a") is None
        cache.embed(["a"])
        reader.refresh()
        found = reader.find("a")
        reader.close()
    assert found is not None
    np.testing.assert_array_equal(found, vector_of("a"))


def test_a_reader_follows_the_generations(tmp_path: Path) -> None:
    limits = CacheSettings(texts_per_generation=1, texts_per_sync=1)
    with NarrativeCache(tmp_path, CountingEmbedder(), limits) as cache:
        cache.embed(["first"])
        reader = NarrativeReader(tmp_path, cache.model_id, DIM)
        assert reader.find("first") is not None
        cache.embed(["second", "third"])
        reader.refresh()
        found = [reader.find(text) is not None for text in ("first", "second", "third")]
        reader.close()
    assert found == [False, False, True]


def test_a_reader_leaves_a_torn_tail_alone(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    texts, _ = files_of(tmp_path)
    with texts.open("ab") as file:
        file.write(b"\x01\0\0")
    before = texts.read_bytes()
    reader = NarrativeReader(tmp_path, "semantic@0123456789ab", DIM)
    assert reader.find("a") is not None
    reader.close()
    assert texts.read_bytes() == before


def test_a_reader_of_nothing_finds_nothing(tmp_path: Path) -> None:
    assert NarrativeReader(tmp_path, "semantic@0123456789ab", DIM).find("a") is None


def test_another_process_reads_through_the_cache(tmp_path: Path) -> None:
    """Known texts come from the cache, the others are embedded and kept nowhere; order and model are as asked."""
    fill(tmp_path, ["a", "b"])
    embedder = CountingEmbedder()
    reader = NarrativeReader(tmp_path, embedder.model_id, DIM)
    through = ReadThrough(reader, embedder)
    asked = ["new", "b", "a", "newer"]
    np.testing.assert_array_equal(through.embed(asked), expected(asked))
    assert embedder.asked == ["new", "newer"]
    assert through.embed([]).shape == (0, DIM)
    assert (through.model_id, through.name, through.dim, through.metric) == (
        embedder.model_id,
        "semantic",
        DIM,
        "cosine",
    )
    assert reader.find("new") is None
    reader.close()


def _write_for_ever(folder: Path, some_written: Event) -> None:
    with NarrativeCache(folder, CountingEmbedder(), CacheSettings(texts_per_sync=2)) as cache:
        for number in count():
            cache.embed([f"text {number}", f"other {number}"])
            if number == 20:
                some_written.set()


def test_kill_9_while_writing_loses_nothing_that_was_returned(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    some_written = context.Event()
    writer = context.Process(target=_write_for_ever, args=(tmp_path, some_written))
    writer.start()
    assert some_written.wait(60)
    os.kill(writer.pid or 0, signal.SIGKILL)
    writer.join()
    assert fill(tmp_path, [f"text {number}" for number in range(21)]).asked == []
