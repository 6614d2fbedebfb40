"""Which events a day has already: the identity of an event is the first 16 bytes of the SHA-256 of its payload."""

from __future__ import annotations

import hashlib
import os
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

IDENTITY = np.dtype([("high", "<u8"), ("low", "<u8")])
SPILL = 1 << 18
"""Identities of a run (4 MiB) from which it is kept in a file."""
_PENDING = 4096
_BLOCK = 256


def identities(payloads: Sequence[bytes]) -> NDArray[np.void]:
    """The identity of each payload, (n,) of dtype `IDENTITY`."""
    return np.frombuffer(b"".join([hashlib.sha256(p).digest()[:16] for p in payloads]), IDENTITY)


def sort_identities(values: NDArray[np.void]) -> NDArray[np.void]:
    """The identities ordered by their first half, as a sealed day keeps them."""
    return values[np.argsort(values["high"], kind="stable")]


class IdentitySet:
    """A set of identities in sorted runs whose sizes grow geometrically, searched one after the other.

    A run that reaches `SPILL` identities moves to a file without a name and leaves 2 bytes an identity in memory, so
    that a day may be larger than memory. Two identities with the same first 8 bytes and different second ones count as
    different; the second of them may then not be found (an event would be shown twice). That takes a collision in 64
    bits of SHA-256.
    """

    def __init__(self, runs: Sequence[NDArray[np.void]] = (), folder: Path | None = None) -> None:
        """Begin with `runs`, each sorted by `sort_identities`; large runs move to files in `folder`, if it is given."""
        self._folder = folder
        self._runs: list[NDArray[np.void]] = []
        self._spilled: list[_SpilledRun] = []
        self._pending: dict[bytes, None] = {}
        for run in runs:
            self._keep(run)

    def add_new(self, payloads: Sequence[bytes]) -> NDArray[np.bool_]:
        """Add the payloads' identities; True (n,) where one was not in the set, also not earlier in `payloads`."""
        if len(self._pending) >= _PENDING:
            self._flush()
        values = identities(payloads)
        new = np.ones(len(values), bool)
        for run in self._runs:
            new &= ~_found(run, values)
        for spilled in self._spilled:
            new &= ~spilled.found(values)
        pending = self._pending
        for i in np.flatnonzero(new).tolist():
            key = values[i].tobytes()
            if key in pending:
                new[i] = False
            else:
                pending[key] = None
        return new

    def take_back(self, payloads: Sequence[bytes]) -> None:
        """Forget payloads that the last `add_new` said were new."""
        for value in identities(payloads):
            del self._pending[value.tobytes()]

    def close(self) -> None:
        """Give the files back."""
        for spilled in self._spilled:
            spilled.close()

    def _flush(self) -> None:
        run = sort_identities(np.frombuffer(b"".join(self._pending), IDENTITY))
        self._pending = {}
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = sort_identities(np.concatenate((self._runs.pop(), run)))
        self._keep(run)

    def _keep(self, run: NDArray[np.void]) -> None:
        if self._folder is not None and len(run) >= SPILL:
            self._spilled.append(_SpilledRun(run, self._folder))
        elif len(run):
            self._runs.append(run)


class _SpilledRun:
    """A sorted run in a file, with a Bloom filter (16 bits and 4 probes an identity: 0.2 % false) before it."""

    def __init__(self, run: NDArray[np.void], folder: Path) -> None:
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`; it has no name to clean up
        run.tofile(self._file)
        self._file.flush()
        self._fences = run["high"][::_BLOCK].copy()
        bits = 1 << (16 * len(run) - 1).bit_length()
        self._mask = np.uint64(bits - 1)
        flags = np.zeros(bits, bool)
        for probe in self._probes(run):
            flags[probe] = True
        self._bits = np.packbits(flags, bitorder="little")

    def _probes(self, values: NDArray[np.void]) -> Iterator[NDArray[np.uint64]]:
        # An identity is a part of a SHA-256: its own bits are the hashes.
        for half in ("high", "low"):
            yield values[half] & self._mask
            yield (values[half] >> np.uint64(29)) & self._mask

    def found(self, values: NDArray[np.void]) -> NDArray[np.bool_]:
        """True (n,) where a value is in the run; reads 4 KiB of the file for each that may be."""
        result = np.ones(len(values), bool)
        for probe in self._probes(values):
            result &= (
                self._bits[probe >> np.uint64(3)] >> (probe & np.uint64(7)).astype(np.uint8) & 1
            ).astype(bool)
        for i in np.flatnonzero(result).tolist():
            result[i] = self._holds(values[i])
        return result

    def _holds(self, value: np.void) -> bool:
        block = int(np.searchsorted(self._fences, value["high"], "right")) - 1
        if block < 0:
            return False
        raw = os.pread(self._file.fileno(), _BLOCK * IDENTITY.itemsize, block * _BLOCK * IDENTITY.itemsize)
        return bool((np.frombuffer(raw, IDENTITY) == value).any())

    def close(self) -> None:
        self._file.close()


def _found(run: NDArray[np.void], values: NDArray[np.void]) -> NDArray[np.bool_]:
    place = np.searchsorted(run["high"], values["high"])
    place[place == len(run)] = 0
    candidate = run[place]
    return np.asarray((candidate["high"] == values["high"]) & (candidate["low"] == values["low"]), bool)
