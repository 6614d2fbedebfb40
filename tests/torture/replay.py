"""What a disk may hold after the power went: every state that the recorded operations and syncs allow.

A file keeps what was synced; of what was written since, any part may be there, torn at any byte, in any order, or as
zeros where only its size was kept. A folder keeps the names that it had when it was synced; of the changes since, any
may be there (the pessimistic reading of POSIX by ALICE, https://www.usenix.org/conference/osdi14/technical-sessions/
presentation/pillai). A rename within a folder is atomic; one to another folder may be there in
either, both or none. States in which a journal kept the names in their order, as ext4 and XFS do, are drawn more often.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torture.calls import Chmod, Library, Mkdir, Open, Rename, Sync, SyncFailed, Truncate, Unlink, Write

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

    from torture.calls import Operation

SECTOR = 512
FILE_MODE, FOLDER_MODE = 0o640, 0o750


@dataclass(frozen=True)
class Tree:
    """Files with their content and permission bits, and folders with theirs, by path."""

    files: dict[str, tuple[bytes, int]]
    folders: dict[str, int]

    def key(self) -> int:
        """Equal for equal trees; two different ones collide with a probability of about 2**-61."""
        files = frozenset((path, hash(data)) for path, (data, _) in self.files.items())
        return hash((files, frozenset(self.folders)))


@dataclass
class _File:
    synced: bytes = b""
    pending: list[Write | Truncate] = field(default_factory=list)
    mode: int = FILE_MODE
    loose: dict[int, bytes] = field(default_factory=dict)  # what a library had in it, by the moment
    beside: str = ""  # the database that a file of a library belongs to
    cache: bytearray | None = None  # what processes read, where a failed sync lost a part of it
    _now: bytes | None = None

    def change(self, operation: Write | Truncate) -> None:
        self.pending.append(operation)
        self._now = None
        if self.cache is not None:
            _apply(self.cache, operation)

    def lose(self) -> None:
        """What was written since the last sync never comes to the disk, and is read as before."""
        self.cache = bytearray(self.now())
        self.pending, self._now = [], None

    def now(self) -> bytes:
        if self.cache is not None:
            return bytes(self.cache)
        return self.written()

    def written(self) -> bytes:
        """What is on disk if all that waits comes to it."""
        if self._now is None:
            content = bytearray(self.synced)
            for operation in self.pending:
                _apply(content, operation)
            self._now = bytes(content)
        return self._now

    def sync(self, found: bytes | None) -> None:
        self.synced = self.written() if found is None or self.cache is not None else found
        self._now = self.synced
        self.pending, self.loose = [], {}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A change of a folder: `name` leads to an inode (or nowhere), and `gone` to nothing any more."""

    number: int  # of the operation
    name: str | None
    inode: int
    gone: str | None = None

    def apply(self, names: dict[str, int]) -> None:
        if self.gone is not None:
            names.pop(self.gone, None)
        if self.name is not None:
            names[self.name] = self.inode


@dataclass
class _Folder:
    synced: dict[str, int] = field(default_factory=dict)
    pending: list[_Entry] = field(default_factory=list)
    now: dict[str, int] = field(default_factory=dict)
    mode: int = FOLDER_MODE

    def change(self, entry: _Entry) -> None:
        self.pending.append(entry)
        entry.apply(self.now)

    def sync(self) -> None:
        self.synced, self.pending = dict(self.now), []


_Item = tuple[int, int]
"""Something that may be lost: an inode, and which of its pending changes (-1 for the content of a file)."""


class Volume:
    """Follows operations, and says what would be left if the power went now."""

    ROOT = 0

    def __init__(self, tree: Tree | None = None) -> None:
        """Begin with a tree that is on disk as a whole; empty by default."""
        self._inodes: dict[int, _File | _Folder] = {self.ROOT: _Folder()}
        self._handles: dict[int, int] = {}
        self._done = 0
        self._journal = 0  # operations up to this one are in the journal
        for path, mode in sorted(tree.folders.items() if tree else ()):
            self._at(self._add(path, _Folder(mode=mode))).mode = mode
        for path, (data, mode) in tree.files.items() if tree else ():
            self._add(path, _File(data, mode=mode))
        for folder in self._inodes.values():
            if isinstance(folder, _Folder):
                folder.sync()

    def follow(self, operations: Iterable[Operation]) -> None:
        """Take in what comes next."""
        for operation in operations:
            self._done += 1
            self._follow(operation)

    def _follow(self, operation: Operation) -> None:  # noqa: C901, PLR0912 - a branch each
        match operation:
            case Open():
                self._open(operation)
            case Write() | Truncate():
                self._file(self._handles[operation.handle]).change(operation)
            case Sync():
                node = self._at(self._handles[operation.handle])
                if isinstance(node, _File):
                    node.sync(operation.found)
                else:
                    node.sync()
                self._journal = self._done if operation.whole else self._journal
            case SyncFailed():
                node = self._at(self._handles[operation.handle])
                if isinstance(node, _File):
                    node.lose()
            case Rename():
                self._rename(operation)
            case Unlink():
                folder, name = self._parent(operation.path)
                if name in folder.now:
                    folder.change(_Entry(self._done, None, 0, name))
            case Mkdir():
                self._add(operation.path, _Folder(mode=operation.mode))
            case Chmod():
                inode = self._find(operation.path)
                if inode is not None:
                    self._at(inode).mode = operation.mode
            case Library():
                self._take_of_library(operation)

    def _take_of_library(self, operation: Library) -> None:
        database = operation.files[0][0]
        there = dict(operation.files)
        for path in (database, f"{database}-wal"):
            inode = self._find(path)
            if path in there:
                inode = self._add(path, _File()) if inode is None else inode
                file = self._file(inode)
                file.loose[self._done], file.beside = there[path], database
            elif inode is not None:  # the library took it away
                folder, name = self._parent(path)
                folder.change(_Entry(self._done, None, 0, name))

    def _open(self, operation: Open) -> None:
        inode = self._find(operation.path) if operation.path else self.ROOT
        if inode is None:
            inode = self._add(operation.path, _File(mode=operation.mode))
        elif operation.cut:
            self._file(inode).change(Truncate(operation.handle, 0))
        self._handles[operation.handle] = inode

    def _rename(self, operation: Rename) -> None:
        folder, old = self._parent(operation.old)
        after, new = self._parent(operation.new)
        inode = folder.now[old]
        if folder is after:
            folder.change(_Entry(self._done, new, inode, old))
        else:
            after.change(_Entry(self._done, new, inode))
            folder.change(_Entry(self._done, None, 0, old))

    def _at(self, inode: int) -> _File | _Folder:
        return self._inodes[inode]

    def _file(self, inode: int) -> _File:
        node = self._inodes[inode]
        assert isinstance(node, _File)
        return node

    def _find(self, path: str) -> int | None:
        inode = self.ROOT
        for name in path.split("/") if path else ():
            node = self._inodes[inode]
            if not isinstance(node, _Folder) or name not in node.now:
                return None
            inode = node.now[name]
        return inode

    def _parent(self, path: str) -> tuple[_Folder, str]:
        above, _, name = path.rpartition("/")
        inode = self._find(above)
        if inode is None:  # made by somebody who does not go through these calls
            inode = self._add(above, _Folder())
        folder = self._inodes[inode]
        assert isinstance(folder, _Folder)
        return folder, name

    def _add(self, path: str, node: _File | _Folder) -> int:
        folder, name = self._parent(path)
        if isinstance(node, _Folder) and name in folder.now:
            return folder.now[name]
        inode = len(self._inodes)
        self._inodes[inode] = node
        folder.change(_Entry(self._done, name, inode))
        return inode

    # What may be left

    def promised(self) -> Tree:
        """What is there whatever happens: that which was synced."""
        return self._left(lambda _i, _p, _e: False, lambda _, file: file.synced, lambda _: None)

    def now(self) -> Tree:
        """What processes see."""
        return self._left(
            lambda _i, _p, _e: True, lambda _, file: file.now(), lambda file: file.loose[max(file.loose)]
        )

    def cut(self, luck: random.Random) -> Tree:
        """One of the states in which a disk may be found if the power goes now."""
        moments: dict[str, tuple[float, float]] = {}
        return self._left(*self._fate(luck), lambda file: _of_library(file, luck, moments))

    def _left(
        self,
        keep: Callable[[int, int, _Entry], bool],
        content: Callable[[int, _File], bytes],
        of_library: Callable[[_File], bytes | None],
    ) -> Tree:
        files: dict[str, tuple[bytes, int]] = {}
        folders: dict[str, int] = {}
        for path, inode in self._walk(keep):
            node = self._inodes[inode]
            if isinstance(node, _Folder):
                folders[path] = node.mode
            else:
                data = of_library(node) if node.loose else content(inode, node)
                if data is not None:
                    files[path] = data, node.mode
        return Tree(files, folders)

    def _walk(self, keep: Callable[[int, int, _Entry], bool]) -> Iterator[tuple[str, int]]:
        waiting = [("", self.ROOT)]
        while waiting:
            above, inode = waiting.pop()
            folder = self._inodes[inode]
            assert isinstance(folder, _Folder)
            names = folder.synced
            if folder.pending:
                names = dict(names)
                for place, entry in enumerate(folder.pending):
                    if keep(inode, place, entry):
                        entry.apply(names)
            for name, child in names.items():
                path = f"{above}{name}"
                yield path, child
                if isinstance(self._inodes[child], _Folder):
                    waiting.append((f"{path}/", child))

    def _pending(self) -> list[_Item]:
        found: list[_Item] = []
        for inode, node in self._inodes.items():
            if isinstance(node, _Folder):
                found += [(inode, place) for place in range(len(node.pending))]
            elif node.pending:
                found.append((inode, -1))
        return found

    def _fate(
        self, luck: random.Random
    ) -> tuple[Callable[[int, int, _Entry], bool], Callable[[int, _File], bytes]]:
        """What happens to each change of a folder, and to each file."""
        style = luck.choice(("lost", "kept", "journal", "journal", "any", "any", "all_but", "none_but"))
        if style == "journal":
            upto = luck.randint(self._journal, self._done)
            return lambda _i, _p, entry: entry.number <= upto, lambda _, file: _settled(file, luck)
        if style == "any":
            share = luck.choice((0.2, 0.5, 0.8))
            return lambda _i, _p, _e: luck.random() < share, lambda _, file: _torn(file, luck)
        chosen: set[_Item] = set()
        if style in {"all_but", "none_but"}:
            pending = self._pending()
            chosen = set(luck.sample(pending, min(len(pending), luck.choice((1, 1, 2)))))
        keeps = style in {"kept", "all_but"}

        def content(inode: int, file: _File) -> bytes:
            if (inode, -1) in chosen:
                return _torn(file, luck)
            return file.written() if keeps else file.synced

        return lambda inode, place, _: ((inode, place) in chosen) is not keeps, content


def _apply(content: bytearray, operation: Write | Truncate) -> None:
    if isinstance(operation, Truncate):
        del content[operation.size :]
        content.extend(bytes(operation.size - len(content)))
    else:
        content.extend(bytes(max(0, operation.offset - len(content))))
        content[operation.offset : operation.offset + len(operation.data)] = operation.data


def _settled(file: _File, luck: random.Random) -> bytes:
    """As a file system with a journal leaves a file: a beginning of what was written, or zeros for its end."""
    if not file.pending:
        return file.synced
    fate = luck.random()
    if fate < 0.3:
        return file.synced
    if fate < 0.6:
        return file.written()
    content = bytearray(file.synced)
    number = luck.randrange(len(file.pending))
    for operation in file.pending[:number]:
        _apply(content, operation)
    _tear(content, file.pending[number], luck)
    return bytes(content)


def _torn(file: _File, luck: random.Random) -> bytes:
    """Any part of what was written, in any order."""
    if not file.pending:
        return file.synced
    if luck.random() < 0.3:
        return _settled(file, luck)
    content = bytearray(file.synced)
    for operation in file.pending:
        fate = luck.random()
        if fate < 0.4:
            _apply(content, operation)
        elif fate < 0.7:
            _tear(content, operation, luck)
    return bytes(content)


def _tear(content: bytearray, operation: Write | Truncate, luck: random.Random) -> None:
    """Let a part of a write come to the disk: up to a byte, some sectors of it, or only the size that it gave."""
    if isinstance(operation, Truncate):
        return
    at, size = operation.offset, len(operation.data)
    before = bytes(content[at : at + size])
    kept = bytearray(before + bytes(size - len(before)))
    fate = luck.choice(("byte", "sector", "sectors", "zeros", "noise"))
    if fate == "byte":
        end = luck.randint(0, size)
        kept = bytearray(operation.data[:end] + before[end:])
    elif fate == "sector":
        end = max(0, luck.randint(0, 1 + size // SECTOR) * SECTOR - at % SECTOR)
        kept = bytearray(operation.data[:end] + before[end:])
    elif fate == "sectors":
        for start in range(-(at % SECTOR), size, SECTOR):
            if luck.random() < 0.5:
                begin, end = max(start, 0), min(start + SECTOR, size)
                kept[begin:end] = operation.data[begin:end]
    elif fate == "noise":  # what lay on the disk before, where the file was not yet
        kept[len(before) :] = luck.randbytes(size - len(before))
    if kept:
        _apply(content, Write(operation.handle, at, bytes(kept)))


def _of_library(file: _File, luck: random.Random, moments: dict[str, tuple[float, float]]) -> bytes | None:
    """What SQLite left: its files as they were at one moment, none of them, or a part of each."""
    fate, share = moments.setdefault(file.beside, (luck.random(), luck.random()))
    moment = sorted(file.loose)[int(share * len(file.loose))]
    if fate < 0.75:
        return file.loose[moment]
    if fate < 0.85:
        return None
    return file.loose[moment][: luck.randint(1, max(1, len(file.loose[moment])))]
