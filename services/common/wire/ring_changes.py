"""Changing a key ring while others use it: rotate, retire, revoke, and seeds of single sensors.

Every step leaves a ring that can be read: a seed is on disk before `ring.json` names it, and is deleted only after
`ring.json` names it no more. One change at a time; a second one waits.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.common.errors import AppiaError, UsageError
from services.common.locks import locked_folder
from services.common.replacing import replace_file
from services.common.secret_files import SECRET_MODE, create_secret_file, make_secret_folder
from services.common.wire.keys import (
    MAX_NODE_SEEDS,
    RING_NAME,
    SEED_BYTES,
    KeyRing,
    node_folder,
    node_seed_file,
    read_key_ring,
    ring_bytes,
    ring_folder,
    seed_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.durable import Disk


def rotate_ring(keys: Path, disk: Disk, random: Callable[[int], bytes] = os.urandom) -> KeyRing:
    """Make a new random key and let it be the primary; all others go on opening. Gives the ring as it is then.

    Who runs on this folder takes it up by itself. Blocks on the disk, and while another change is made.

    Raises:
        AppiaError: there is no ring that can be read, or the folder cannot be written.
    """
    with _changing(keys) as ring:
        taken = {*ring.seeds, *ring.revoked}
        key_id = next(new for new in _ids(random) if new not in taken)
        seed = random(SEED_BYTES)
        create_secret_file(disk, seed_file(keys, key_id), f"{seed.hex()}\n".encode())
        _write_ring(keys, disk, key_id, ring.revoked)
        return KeyRing(key_id, {**ring.seeds, key_id: seed}, ring.revoked, ring.nodes)


def retire_key(keys: Path, disk: Disk, key_id: int) -> KeyRing:
    """Delete a key that nobody seals with any more: its frames become unknown. Gives the ring as it is then.

    Raises:
        UsageError: the key is the primary, or not in the ring.
        AppiaError: there is no ring that can be read, or the folder cannot be written.
    """
    with _changing(keys) as ring:
        _check_can_go(ring, key_id)
        _delete(disk, seed_file(keys, key_id))
        return _without(ring, key_id, ring.revoked)


def revoke_key(keys: Path, disk: Disk, key_id: int) -> KeyRing:
    """Refuse a key from now on, for good, and delete it. Gives the ring as it is then.

    Raises:
        UsageError: the key is the primary, or neither in the ring nor revoked.
        AppiaError: there is no ring that can be read, or the folder cannot be written.
    """
    with _changing(keys) as ring:
        if key_id not in ring.revoked:
            _check_can_go(ring, key_id)
        revoked = ring.revoked | {key_id}
        _write_ring(keys, disk, ring.primary, revoked)
        _delete(disk, seed_file(keys, key_id))
        return _without(ring, key_id, revoked)


def new_node_seed(keys: Path, disk: Disk, node: str, random: Callable[[int], bytes] = os.urandom) -> Path:
    """Make a seed for one version 1 sensor; gives its file, whose content the sensor needs too.

    Raises:
        UsageError: no node id, or one that has a seed.
        AppiaError: there is no ring that can be read, it has too many seeds, or the folder cannot be written.
    """
    path = node_seed_file(keys, node)
    with _changing(keys) as ring:
        if len(ring.nodes) >= MAX_NODE_SEEDS and node not in ring.nodes:
            raise AppiaError(
                f"{node_folder(keys)} has {MAX_NODE_SEEDS} seeds, which is the most that are tried: let sensors share "
                "one, or give some of them to another ingester."
            )
        make_secret_folder(disk, path.parent)
        create_secret_file(disk, path, f"{random(SEED_BYTES).hex()}\n".encode())
    return path


@contextmanager
def _changing(keys: Path) -> Iterator[KeyRing]:
    """The ring as it is, which nobody else changes until the end."""
    folder = ring_folder(keys)
    try:
        with locked_folder(folder):
            yield read_key_ring(keys)
    except OSError as error:
        raise AppiaError(
            f"There is no key ring at {folder} ({error.strerror}): make one with `appia keys new {keys}`."
        ) from error


def _ids(random: Callable[[int], bytes]) -> Iterator[int]:
    while True:
        yield int.from_bytes(random(4), "little")


def _check_can_go(ring: KeyRing, key_id: int) -> None:
    if key_id == ring.primary:
        raise UsageError(
            f"Key {key_id} is the primary, which seals: make another one first, with `appia keys rotate`."
        )
    if key_id not in ring.seeds:
        known = ", ".join(map(str, ring.opening_ids()))
        raise UsageError(f"There is no key {key_id} in the ring; there are {known}.")


def _without(ring: KeyRing, key_id: int, revoked: frozenset[int]) -> KeyRing:
    seeds = {known: seed for known, seed in ring.seeds.items() if known != key_id}
    return KeyRing(ring.primary, seeds, revoked, ring.nodes)


def _write_ring(keys: Path, disk: Disk, primary: int, revoked: frozenset[int]) -> None:
    replace_file(disk, ring_folder(keys) / RING_NAME, ring_bytes(primary, revoked), SECRET_MODE)


def _delete(disk: Disk, path: Path) -> None:
    try:
        disk.remove(path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise AppiaError(
            f"{path} could not be deleted ({error.strerror}): check its folder, owner and disk."
        ) from error
