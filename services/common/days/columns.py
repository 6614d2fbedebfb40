"""Fixed-width columns of a day and the tables of addresses and texts that they refer to. See docs/formats.md.

Filters run over these columns; SQLite holds the same facts in readable form for whole events.

An open day writes rows (`ROW`, 76 bytes each); a sealed day holds the same columns one after the other, each beginning
at a multiple of 64 bytes. An address is 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). A text is
`u32 length | UTF-8`.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

import numpy as np

from services.common.days.raw import raw

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.durable import AppendFile, Disk

ROW = np.dtype(
    [
        ("position", "<i8"),  # where the event's bytes lie in the log
        ("time_ns", "<i8"),  # event time, nanoseconds since 1970 UTC
        ("src_ip", "<u4"),  # number in the table of addresses
        ("dst_ip", "<u4"),
        ("class", "<u4"),  # number in the table of texts, as the next four
        ("category", "<u4"),
        ("label", "<u4"),
        ("node", "<u4"),
        ("narrative", "<u4"),
        ("src_port", "<u2"),
        ("dst_port", "<u2"),
        ("protocol", "u1"),
        ("source", "u1"),  # DetectorSource
        ("fast_triggered", "u1"),
        ("spare", "u1"),
        ("overall", "<f4"),
        ("fast", "<f4"),
        ("ml", "<f4"),
        ("divergence", "<f4"),
        ("packets", "<f4"),
        ("bytes", "<f4"),
    ]
)
TAGS = "tags"
"""A column beside those of `ROW`, in a file of its own: the number of the event's tags in the table of texts, u32."""
ADDRESS_BYTES = 16

REMEMBERED = 1 << 17
"""Texts or addresses that a table of an open day remembers; more come with a flood of forged senders."""

_LENGTH = struct.Struct("<I")
_ALIGN = 64
_MAPPED = b"\x00" * 10 + b"\xff\xff"


def pack_address(text: str) -> bytes:
    """The 16 bytes of an address. Raises `ValueError` where `text` is none."""
    packed = ipaddress.ip_address(text).packed
    return packed if len(packed) == ADDRESS_BYTES else _MAPPED + packed


def pack_text(text: str) -> bytes:
    """A text as it lies in the table."""
    raw = text.encode("utf-8", "replace")
    return _LENGTH.pack(len(raw)) + raw


def unpack_texts(raw: bytes, most: int | None = None) -> tuple[list[str], int]:
    """The first `most` whole texts in `raw`, or all, and how many bytes they take; a torn last one is left."""
    texts: list[str] = []
    at = 0
    while at + _LENGTH.size <= len(raw) and len(texts) != most:
        (length,) = _LENGTH.unpack_from(raw, at)
        end = at + _LENGTH.size + length
        if end > len(raw):
            break
        texts.append(raw[at + _LENGTH.size : end].decode("utf-8", "replace"))
        at = end
    return texts, at


def _cut(file: AppendFile, size: int) -> None:
    """Cut off what lies behind `size`; a file for which that fails is closed."""
    try:
        if size < file.size:
            file.truncate(size)
    except OSError:
        file.close()
        raise


class TextTable:
    """Numbers texts in the order in which they come; appended to a file. Not safe for several threads."""

    def __init__(self, disk: Disk, path: Path, keep: int | None = None, remembered: int = REMEMBERED) -> None:
        """Open the table at `path`; a torn end is cut off, and what comes after the first `keep` texts.

        With more than `remembered` texts it forgets which it has, to bound memory: a text may then have two numbers.
        """
        self._file = disk.append_to(path)
        texts, size = unpack_texts(path.read_bytes())
        if keep is not None and len(texts) > keep:
            del texts[keep:]
            size = sum(map(len, map(pack_text, texts)))
        _cut(self._file, size)
        self._codes = {text: code for code, text in enumerate(texts)}
        self._count = len(texts)
        self._remembered = remembered

    def __len__(self) -> int:
        return self._count

    def unknown(self, texts: Iterable[str]) -> list[str]:
        """The distinct texts that have no number yet, in the order in which they come."""
        return [text for text in dict.fromkeys(texts) if text not in self._codes]

    def codes(self, texts: Sequence[str]) -> NDArray[np.uint32]:
        """The number of each text, uint32 (n,); new ones are appended, durable after `sync`."""
        known = self._codes
        new = self.unknown(texts)
        if new:
            self._file.write(b"".join(map(pack_text, new)))
            known.update((text, self._count + i) for i, text in enumerate(new))
            self._count += len(new)
        codes = np.fromiter(map(known.__getitem__, texts), np.uint32, len(texts))
        if len(known) > self._remembered:
            known.clear()
        return codes

    def sync(self) -> None:
        """Block until all texts are on disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AddressTable:
    """Numbers addresses as `TextTable` does texts, with the same bound."""

    def __init__(self, disk: Disk, path: Path, remembered: int = REMEMBERED) -> None:
        """Open the table at `path`; a torn end is cut off."""
        self._file = disk.append_to(path)
        raw = path.read_bytes()
        whole = len(raw) - len(raw) % ADDRESS_BYTES
        _cut(self._file, whole)
        self._count = whole // ADDRESS_BYTES
        self._remembered = remembered
        first = max(0, self._count - remembered)
        self._codes: dict[bytes, int] = {raw[16 * i : 16 * i + 16]: i for i in range(first, self._count)}
        self._known: dict[str, int] = {}

    def codes(self, addresses: Sequence[str]) -> NDArray[np.uint32]:
        """The number of each address, uint32 (n,). Raises `ValueError` where one is no address."""
        known = self._known
        for text in addresses:
            if text not in known:
                known[text] = self._code(pack_address(text))
        codes = np.fromiter(map(known.__getitem__, addresses), np.uint32, len(addresses))
        if len(known) > self._remembered:
            known.clear()
            self._codes.clear()
        return codes

    def _code(self, packed: bytes) -> int:
        code = self._codes.get(packed)
        if code is None:
            code = self._codes[packed] = self._count
            self._count += 1
            self._file.write(packed)
        return code

    def sync(self) -> None:
        """Block until all addresses are on disk."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def column_offsets(rows: int) -> dict[str, int]:
    """Where each column of a sealed day of `rows` rows begins, in bytes; the key "" gives the file's size."""
    offsets: dict[str, int] = {}
    at = 0
    for name in _names():
        offsets[name] = at
        at += -(-rows * ROW[name].itemsize // _ALIGN) * _ALIGN
    return {**offsets, "": at}


def write_columns(disk: Disk, path: Path, rows: NDArray[np.void]) -> None:
    """Write the rows (n,) of dtype `ROW` as the columns of a sealed day."""
    offsets = column_offsets(len(rows))
    ends = list(offsets.values())[1:]
    with disk.new_file(path) as file:
        for name, end in zip(_names(), ends, strict=True):
            size = file.write(raw(rows[name]))
            file.write(bytes(end - offsets[name] - size))


def columns_in(mapped: NDArray[np.uint8], rows: int) -> dict[str, NDArray[np.generic]]:
    """The columns of a sealed day of `rows` rows, each (rows,), in the bytes of their file, without copying.

    Raises:
        ValueError: there are more bytes or less.
    """
    offsets = column_offsets(rows)
    if len(mapped) != offsets[""]:
        raise ValueError(f"the columns have {len(mapped)} bytes and should have {offsets['']}")
    return {
        name: mapped[offsets[name] : offsets[name] + rows * ROW[name].itemsize].view(ROW[name])
        for name in _names()
    }


def map_tags(path: Path, rows: int) -> NDArray[np.uint32] | None:
    """Map the tags of the first `rows` rows, uint32 (rows,); None where there are none for so many rows."""
    try:
        known = path.stat().st_size // 4
    except FileNotFoundError:
        return None
    if rows > known:
        return None
    return np.asarray(np.memmap(path, "<u4", "r", shape=(rows,))) if rows else np.empty(0, np.uint32)


def _names() -> Iterable[str]:
    return ROW.names or ()
