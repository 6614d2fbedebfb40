"""Smaller forms of vectors: how far a decoded number may be from its own, and how many bytes a vector takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.days.encodings import (
    FP16,
    KINDS,
    PQ,
    SQ8,
    EncodedVectors,
    stored_encoding,
    train_encoding,
)
from services.common.days.vector_lists import make_lists

DIM = 12


def _differences(count: int = 600, seed: int = 1) -> np.ndarray:
    """Rows of very different sizes, as lists of scans beside lists of all sorts have them."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, DIM)) * 10.0 ** rng.integers(-4, 4, (count, 1))).astype(np.float32)


@pytest.mark.parametrize(("kind", "size"), [(FP16, 2 * DIM), (SQ8, DIM + 4), (PQ, DIM // 4 + DIM // 2 + 4)])
def test_sizes(kind: str, size: int) -> None:
    """A record has the bytes that docs/formats.md gives."""
    encoding = train_encoding(kind, _differences())
    assert encoding is not None
    assert encoding.dtype.itemsize == encoding.encode(_differences(3)).itemsize == size


@given(
    values=st.lists(
        st.lists(st.floats(-1e4, 1e4, width=32), min_size=DIM, max_size=DIM), min_size=1, max_size=8
    )
)
def test_8_bits_are_off_by_half_a_step_of_their_own_vector(values: list[list[float]]) -> None:
    """The error of a number is at most a 254th of the largest number of the same vector, whatever the others are."""
    given_ = np.array(values, np.float32)
    encoding = stored_encoding(SQ8, DIM, None)
    error = np.abs(encoding.decode(encoding.encode(given_)) - given_)
    assert (error <= np.abs(given_).max(axis=1, keepdims=True) * (0.5001 / 127) + 1e-30).all()


def test_16_bits_are_off_by_a_thousandth_of_the_number() -> None:
    """Half precision has 11 significant bits; beyond its largest number it keeps that, not infinity."""
    given_ = np.clip(_differences(), -6e4, 6e4)
    encoding = stored_encoding(FP16, DIM, None)
    np.testing.assert_allclose(encoding.decode(encoding.encode(given_)), given_, rtol=2**-11, atol=1e-7)
    far = np.full((1, DIM), 1e30, np.float32)
    assert encoding.decode(encoding.encode(far)).tolist() == [[65504.0] * DIM]


def test_words_are_refined() -> None:
    """A product code with its refinement is off by at most half a step of what the words leave over."""
    given_ = _differences(2000)
    encoding = train_encoding(PQ, given_)
    assert encoding is not None
    records = encoding.encode(given_)
    decoded = encoding.decode(records)
    assert (np.abs(decoded - given_) <= records["step"][:, None] * 0.501).all()
    words = encoding.decode(
        np.array([(r["word"], [0x88] * (DIM // 2), 0.0) for r in records], encoding.dtype)
    )
    assert np.linalg.norm(decoded - given_) < np.linalg.norm(words - given_) / 4


def test_product_codes_need_a_fitting_dimension_and_enough_vectors() -> None:
    """Where they do not fit there is no encoding, instead of a wrong one."""
    assert train_encoding(PQ, np.ones((600, 10), np.float32)) is None
    assert train_encoding(PQ, _differences(255)) is None


def test_what_is_not_known_is_refused() -> None:
    """Neither another kind nor a product code without its words can be read."""
    with pytest.raises(ValueError, match="no encoding 'sq2'"):
        stored_encoding("sq2", DIM, None)
    with pytest.raises(ValueError, match="no codebook"):
        stored_encoding(PQ, DIM, None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", [False, True])
def test_reads_like_an_array(kind: str, *, unit: bool) -> None:
    """By number, slice or numbers, one vector decodes to the same bits; those compared by cosine have length 1."""
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(700, DIM)).astype(np.float32)
    if unit:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lists, order = make_lists(vectors)
    vectors = vectors[order]
    differences = vectors - lists.centers[lists.of(np.arange(700))]
    encoding = train_encoding(kind, differences)
    assert encoding is not None
    kept = EncodedVectors(encoding.encode(differences), encoding, lists, unit)
    everything = np.asarray(kept)
    assert everything.shape == (len(kept), DIM) == vectors.shape
    assert everything.dtype == np.float32
    assert np.abs(everything - vectors).max() < 0.2
    chosen = rng.permutation(700)[:50]
    assert (kept[chosen] == everything[chosen]).all()
    assert (kept[300:] == everything[300:]).all()
    assert (kept[17] == everything[17]).all()
    if unit:
        np.testing.assert_allclose(np.linalg.norm(everything, axis=1), 1.0, atol=1e-6)
