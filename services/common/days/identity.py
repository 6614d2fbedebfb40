"""Which events a day has already: the identity of an event is the first 16 bytes of the SHA-256 of its payload."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

IDENTITY = np.dtype([("high", "<u8"), ("low", "<u8")])
_PENDING = 4096


def identities(payloads: Sequence[bytes]) -> NDArray[np.void]:
    """The identity of each payload, (n,) of dtype `IDENTITY`."""
    return np.frombuffer(b"".join([hashlib.sha256(p).digest()[:16] for p in payloads]), IDENTITY)


def sort_identities(values: NDArray[np.void]) -> NDArray[np.void]:
    """The identities ordered by their first half, as a sealed day keeps them."""
    return values[np.argsort(values["high"], kind="stable")]


class IdentitySet:
    """A set of identities at 16 bytes each: sorted runs whose sizes grow geometrically, searched one after the other.

    Two identities with the same first 8 bytes and different second ones count as different; the second of them may then
    not be found (an event would be shown twice). That takes a collision in 64 bits of SHA-256.
    """

    def __init__(self, runs: Sequence[NDArray[np.void]] = ()) -> None:
        """Begin with `runs`, each sorted by `sort_identities`; they may be mapped files."""
        self._runs = [run for run in runs if len(run)]
        self._pending: dict[bytes, None] = {}

    def add_new(self, payloads: Sequence[bytes]) -> NDArray[np.bool_]:
        """Add the payloads' identities; True (n,) where one was not in the set, also not earlier in `payloads`."""
        values = identities(payloads)
        new = np.ones(len(values), bool)
        for run in self._runs:
            new &= ~_found(run, values)
        pending = self._pending
        for i in np.flatnonzero(new).tolist():
            key = values[i].tobytes()
            if key in pending:
                new[i] = False
            else:
                pending[key] = None
        if len(pending) >= _PENDING:
            self._flush()
        return new

    def _flush(self) -> None:
        run = sort_identities(np.frombuffer(b"".join(self._pending), IDENTITY))
        self._pending = {}
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = sort_identities(np.concatenate((self._runs.pop(), run)))
        self._runs.append(run)


def _found(run: NDArray[np.void], values: NDArray[np.void]) -> NDArray[np.bool_]:
    place = np.searchsorted(run["high"], values["high"])
    place[place == len(run)] = 0
    candidate = run[place]
    return np.asarray((candidate["high"] == values["high"]) & (candidate["low"] == values["low"]), bool)
