"""Version 1 frames: what the sensors in the field send, opened, and sealed without their flaw.

    nonce[12] || ChaCha20-Poly1305(key, nonce, no aad, u32_le size || lz4_block) || tag[16]

A frame carries one event and names neither key nor sender. docs/wire-format.md says what this cannot promise.
"""

from __future__ import annotations

import os
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from services.common.errors import AppiaError
from services.common.wire.body import TAG_BYTES, check_length, compress, decompress
from services.common.wire.keys import v1_aead, v1_mark
from services.common.wire.refusals import FrameRefused, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NONCE = struct.Struct("<IQ")
FRAMES_OF_A_BOOT = 1 << 32
PEERS_KEPT = 4096
TRIAL_BYTES_PER_S = 64 << 20
TRIAL_BURST_BYTES = 256 << 20
TRIAL_COST_BYTES = 4096
"""What one trial costs beside the bytes of the frame: setting up the cipher takes as long as this many bytes."""


@dataclass(frozen=True, slots=True)
class SealedV1:
    """What the outside of an authentic version 1 frame says; it tells replays and restarts apart.

    `key` stands for the seed that opened it, `node` is the sensor that this seed belongs to (None: many may
    share it), `boot` the four prefix bytes (zero from old sensors).
    """

    key: bytes
    node: str | None
    boot: int
    counter: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class OpenedV1(SealedV1):
    """An authentic version 1 frame and its one payload."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class _Key:
    aead: ChaCha20Poly1305
    mark: bytes
    node: str | None


@dataclass(frozen=True, slots=True)
class _Keys:
    """All keys that are taken now, and which of them opened the last frame of each peer."""

    all: tuple[_Key, ...]
    nodes: frozenset[str]
    last: OrderedDict[str, _Key] = field(default_factory=OrderedDict)

    def in_order(self, peer: str) -> Iterator[_Key]:
        first = self.last.get(peer)
        if first is not None:
            yield first
        yield from (key for key in self.all if key is not first)

    def remember(self, peer: str, key: _Key) -> None:
        self.last[peer] = key
        self.last.move_to_end(peer)
        if len(self.last) > PEERS_KEPT:
            self.last.popitem(last=False)


class TrialBudget:
    """How many keys may be tried beyond the first: 64 MiB of frames a second, four times that at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds that never go back."""
        self._clock = clock
        self._left = float(TRIAL_BURST_BYTES)
        self._at = clock()

    def take(self, frame_bytes: int) -> bool:
        """Say whether one more key may be tried on a frame of this size."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) * TRIAL_BYTES_PER_S, TRIAL_BURST_BYTES)
        self._at = now
        if self._left < frame_bytes + TRIAL_COST_BYTES:
            return False
        self._left -= frame_bytes + TRIAL_COST_BYTES
        return True


class V1Opener:
    """Opens the frames of one channel with any of the given seeds; for one thread, `use` for any.

    The key that opened the last frame of a peer is tried first on its next one, so a sensor in operation costs
    one trial a frame however many seeds there are. What forged frames may cost is bounded by a `TrialBudget`.
    """

    def __init__(
        self,
        seeds: Sequence[bytes],
        channel: str,
        nodes: Mapping[str, bytes] | None = None,
        budget: TrialBudget | None = None,
    ) -> None:
        """Open with `seeds`, which many may share, and those of single sensors, `nodes`.

        Raises:
            UsageError: the channel is no name.
            ValueError: there is no seed.
        """
        self._channel = channel
        self._budget = budget or TrialBudget()
        self._keys = self._derive(seeds, nodes or {})

    def use(self, seeds: Sequence[bytes], nodes: Mapping[str, bytes]) -> None:
        """Take other seeds from now on; raise ValueError without one."""
        # In one step: a frame that another thread is opening meets the old keys or the new, never a mix.
        self._keys = self._derive(seeds, nodes)

    def open(self, frame: bytes, peer: str = "") -> OpenedV1:
        """Check and open one frame; never blocks.

        Raises:
            FrameRefused: what `authenticate` refuses, size_zero, size_too_large, size_exceeds_ratio or
                bad_block. Nothing but FrameRefused, whatever the bytes.
        """
        sealed, plain = self.authenticate(frame, peer)
        return OpenedV1(sealed.key, sealed.node, sealed.boot, sealed.counter, sealed.tag, decompress(plain))

    def authenticate(self, frame: bytes, peer: str = "") -> tuple[SealedV1, bytes]:
        """Check the tag of a frame; give its outside and what was sealed (`u32_le size || lz4_block`).

        `peer` is the address that it came from, if that is known.

        Raises:
            FrameRefused: too_short, too_long, bad_tag or too_many_trials.
        """
        check_length(frame, NONCE.size)
        nonce, sealed = frame[: NONCE.size], frame[NONCE.size :]
        keys = self._keys
        for number, key in enumerate(keys.in_order(peer)):
            if number and not self._budget.take(len(frame)):
                raise FrameRefused(
                    Reason.TOO_MANY_TRIALS,
                    f"{number} keys did not open it, and no more may be tried this second",
                )
            plain = _decrypt(key.aead, nonce, sealed)
            if plain is not None:
                keys.remember(peer, key)
                boot, counter = NONCE.unpack(nonce)
                return SealedV1(key.mark, key.node, boot, counter, frame[-TAG_BYTES:]), plain
        raise FrameRefused(
            Reason.BAD_TAG, f"a frame of {len(frame)} bytes is not sealed with a key of this channel"
        )

    def check_node(self, sealed: SealedV1, node: str) -> None:
        """Hold the node id inside a frame against the seed that opened it.

        Raises:
            FrameRefused: wrong_node. A sensor with a seed of its own is believed under that one only, and its
                seed vouches for no other.
        """
        owner = sealed.node if sealed.node is not None else (node if node in self._keys.nodes else None)
        if owner is None or owner == sealed.node == node:
            return
        by = "a shared seed" if sealed.node is None else f"the seed of node {sealed.node!r}"
        raise FrameRefused(Reason.WRONG_NODE, f"names node {node!r} and is sealed with {by}")

    def _derive(self, seeds: Sequence[bytes], nodes: Mapping[str, bytes]) -> _Keys:
        if not seeds:
            raise ValueError("an opener needs at least one seed")
        owners = [*((None, seed) for seed in seeds), *nodes.items()]
        keys = (
            _Key(v1_aead(seed, self._channel), v1_mark(seed, self._channel), node) for node, seed in owners
        )
        return _Keys(tuple(keys), frozenset(nodes))


def _decrypt(aead: ChaCha20Poly1305, nonce: bytes, sealed: bytes) -> bytes | None:
    try:
        return aead.decrypt(nonce, sealed, None)
    except InvalidTag:
        return None


class V1Sealer:
    """Seals version 1 frames for an old receiver; one per boot, not to be shared between threads.

    `boot` comes from `boots.next_boot`: it stands where old sensors have zeros, so that no nonce repeats. The
    counter begins at a random multiple of 2**32: should a boot number come again all the same (a cloned
    machine, a clock set back together with its disk), the nonces still differ but for once in 2**32.
    """

    def __init__(
        self, seed: bytes, channel: str, boot: int, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        """Raise UsageError for a channel that is no name, ValueError for a boot outside 1 to 2**32 - 1."""
        if not 1 <= boot < 1 << 32:
            raise ValueError(f"boot {boot} is not between 1 and 2**32 - 1")
        self._channel = channel
        self._aead = v1_aead(seed, channel)
        self._boot = boot
        self._first = int.from_bytes(random(4), "little") * FRAMES_OF_A_BOOT
        self._sealed = 0

    def use(self, seed: bytes) -> None:
        """Seal with another seed from now on; the counter goes on, so that no (key, nonce) comes twice."""
        self._aead = v1_aead(seed, self._channel)

    def seal(self, payload: bytes) -> bytes:
        """Seal one event.

        Raises:
            FrameRefused: the payload is empty or too large for a frame.
            AppiaError: this boot has used up its 2**32 counters.
        """
        plain = compress(payload, NONCE.size)
        if self._sealed >= FRAMES_OF_A_BOOT:
            raise AppiaError("All 2**32 nonces of this boot are used: start the sender again.")
        nonce = NONCE.pack(self._boot, self._first + self._sealed)
        self._sealed += 1
        return nonce + self._aead.encrypt(nonce, plain, None)
