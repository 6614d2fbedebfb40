"""What a place for backups has to offer: pieces by their content, and the snapshots that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from services.common.backup.snapshot import Piece, Snapshot


class BackupStore(Protocol):
    """Pieces and snapshots. All methods block; a disk's or network's own errors come as `OSError`."""

    def has(self, piece: Piece) -> bool:
        """Whether the piece is there, in its size; its content is not read."""

    def put(self, data: bytes, *, secret: bool) -> Piece:
        """Keep `data`, unless it is there; only its owner may read a secret."""

    def put_blocks(self, blocks: Iterable[bytes]) -> Piece:
        """Keep content that comes by and by, as one piece; what reading it raises is passed on, and nothing is kept."""

    def read(self, piece: Piece) -> Iterator[bytes]:
        """The content of a piece by and by; raises `AppiaError` at its end where it is not what it should be."""

    def names(self) -> list[str]:
        """Names of the snapshots, ascending, which is by their time."""

    def snapshot(self, name: str) -> Snapshot:
        """Read a snapshot; raises `AppiaError` where it is absent or damaged."""

    def commit(self, snapshot: Snapshot) -> None:
        """Make all pieces last, and then the snapshot: before this it is not there, and afterwards it is whole."""

    def prune(self, names: Sequence[str]) -> int:
        """Remove snapshots, and the pieces that no other one needs; gives how many bytes that freed."""
