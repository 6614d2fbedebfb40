"""The files of another host's state directory as an fsspec file system: `appia://HOST:PORT`, read only.

It speaks to `appia-origin` over the requests of `services/common/rpc.py`, encrypted beyond loopback. Paths are relative
to the state directory, without a slash before them ("days/2026-01-22"). Nothing is cached. What an origin answers is
checked, so that none gives more bytes than were asked for, names that lead elsewhere, or pages without end.

`fsspec` knows it only where somebody registers it: `fsspec.register_implementation("appia", AppiaFileSystem)`.
"""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

import zmq
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from services.common.access.credentials import Credentials
from services.common.errors import UsageError
from services.common.rpc_client import RpcClient, RpcNoHandshake, RpcRefused, RpcTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROTOCOL = "appia"
DEFAULT_PORT = 5574
TIMEOUT_S = 10.0
MAX_CHUNK = 1 << 20
"""Bytes in one request at most."""
MAX_RANGES = 128
"""Ranges in one request at most; with paths of 200 characters they stay far below the 64 KiB of a request."""
MOST_ENTRIES = 1_000_000
PAGE = 1000
"""Names in one page, of an origin that is one."""
_WAIT_S = 0.25
"""Pause after "too many" or "busy"."""
LONGEST_S = 60.0
"""For so long 1 MiB, or a page of names, may take in all, however many requests that is."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", re.ASCII)
_KINDS = ("file", "directory")

Range = tuple[str, int, int]
"""Path, first byte, number of bytes."""


class AppiaFileSystem(AbstractFileSystem):  # type: ignore[misc] # fsspec has no types
    """Reads what an origin serves. Every call blocks, and may be made from any thread; they take turns.

    Errors are those of the standard library: FileNotFoundError; PermissionError where the origin refuses;
    TimeoutError where a request was not answered within `timeout_s`, or all of them took too long; ConnectionError
    where nobody listens or the connection broke; OSError with a sentence for all else. It can be used on after any.
    """

    protocol: ClassVar[str] = PROTOCOL
    root_marker: ClassVar[str] = ""
    cachable: ClassVar[bool] = False

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        key: str | Path | None = None,
        server_key: str | None = None,
        timeout_s: float = TIMEOUT_S,
        **options: Any,
    ) -> None:
        """Connect in the background to the origin at `host:port`. Blocks on the disk for the keys.

        Args:
            host: name or address, IPv6 without brackets.
            port: 5574 where None.
            key: the file of the own key (`appia access new`); None for plain text, on loopback only.
            server_key: the origin's public key (Z85), or the name of a file that holds it.
            timeout_s: for each request, seconds.
            options: those of fsspec itself.

        Raises:
            UsageError: a key is missing or is none.
            AppiaError: a key file cannot be used, or the endpoint is none.
        """
        super().__init__(**options)
        credentials = Credentials.read(None if key is None else Path(key), server_key)
        shown = f"[{host}]" if ":" in host else host
        self.endpoint = f"tcp://{shown}:{port or DEFAULT_PORT}"
        if credentials.own is not None and credentials.server_key is None:
            raise UsageError(
                f"{self.endpoint} has to prove itself: give the origin's public key, the file server.public."
            )
        self.timeout_s, self.longest_s = timeout_s, LONGEST_S
        self._secured = credentials.secured(self.endpoint, {})
        self._lock = threading.Lock()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._client: RpcClient | None = None
        try:
            self._client = self._connect()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection; it must not be used afterwards. A request that is under way is waited for."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
            self._context.term()

    @classmethod
    def of_url(cls, url: str, **options: Any) -> tuple[Self, str]:
        """The file system that `url` names, and the path in it.

        Other than `url_to_fs` of fsspec it takes IPv6 too. `options` and errors are those of the constructor.
        """
        return cls(**cls._get_kwargs_from_urls(url), **options), cls._strip_protocol(url)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """The path below the state directory, of a URL or a path."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = str(path)
        if text.startswith(f"{PROTOCOL}://"):
            text = urlsplit(text).path
        return text.strip("/")

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, Any]:
        """Host and port of a URL.

        Raises:
            UsageError: it has none, or more than these.
        """
        try:
            parts = urlsplit(path)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.username is not None or parts.query or parts.fragment:
            raise UsageError("An origin is named as appia://HOST:PORT, with nothing else before or after it.")
        return {"host": host} if port is None else {"host": host, "port": port}

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:  # noqa: FBT001, FBT002 - fsspec's signature
        """What is in a folder, by name; of a file, itself. Times of change (`mtime_ns`) are nanoseconds since 1970."""
        path = self._strip_protocol(path)
        info = self.info(path)
        found = [info] if info["type"] == "file" else self._entries(path)
        return found if detail else [one["name"] for one in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Of one file or folder: `name` (the whole path), `type`, `size` in bytes, `mtime_ns`."""
        path = self._strip_protocol(path)
        found = self._ask("stat", {"path": path}, path)
        return _info(path, found.get("kind"), found.get("size"), found.get("mtime_ns"))

    def modified(self, path: str) -> Any:
        """When a file changed, as fsspec has it (seconds since 1970)."""
        return self.info(path)["mtime_ns"] / 1e9

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        """The bytes of a file from `start` up to before `end`, or to where it ended at the first request."""
        path = self._strip_protocol(path)
        first = start or 0
        if first < 0 or (end is not None and end < 0):
            size = self.info(path)["size"]
            first = max(size + first, 0) if first < 0 else first
            end = max(size + end, 0) if end is not None and end < 0 else end
        (found,) = self._read_all([(path, first, -1 if end is None else max(end - first, 0))])
        if isinstance(found, OSError):
            raise found
        return found

    def cat_ranges(
        self,
        paths: list[str],
        starts: int | Sequence[int],
        ends: int | Sequence[int],
        max_gap: None = None,
        on_error: str = "return",
        **_: Any,
    ) -> list[bytes | OSError]:
        """Ranges of many files in few requests: up to 128 of them and 1 MiB in each.

        A file that is not there gives its FileNotFoundError in the list, unless `on_error` is "raise". Other errors
        are raised: they are of the connection, not of one file.
        """
        if max_gap is not None:
            raise NotImplementedError("ranges are not joined")
        count = len(paths)
        firsts = [starts] * count if isinstance(starts, int) else list(starts)
        lasts = [ends] * count if isinstance(ends, int) else list(ends)
        asked = [
            (self._strip_protocol(path), first, max(last - first, 0))
            for path, first, last in zip(paths, firsts, lasts, strict=True)
        ]
        found = self._read_all(asked)
        faults = [one for one in found if isinstance(one, OSError)]
        if faults and on_error == "raise":
            raise faults[0]
        return found

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        if mode != "rb":
            raise PermissionError(f"{path!r}: an origin is read only.")
        return _File(self, path, mode, block_size or MAX_CHUNK, **options)

    def _entries(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after, began = "", time.monotonic()
        while True:
            self._check_time(began + self.longest_s * (1 + len(found) // PAGE))
            page = self._ask("list", {"path": path, "after": after}, path)
            entries, last = page.get("entries"), page.get("last")
            if not isinstance(entries, list) or not isinstance(last, str) or (last and last <= after):
                raise self._no_answer("list")
            for entry in entries:
                if not isinstance(entry, list) or len(entry) != 4 or not _is_name(entry[0]):
                    raise self._no_answer("list")
                found.append(_info(f"{path}/{entry[0]}" if path else entry[0], *entry[1:]))
            if not last:
                return found
            if len(found) > MOST_ENTRIES:
                raise OSError(f"{path!r} has more than {MOST_ENTRIES} entries: it is no folder of days.")
            after = last

    def _read_all(self, asked: Sequence[Range]) -> list[bytes | OSError]:
        """Every range, in as many requests as it takes; a length of -1 is up to the end."""
        jobs = [_Job(path, start, length) for path, start, length in asked]
        began, received = time.monotonic(), 0
        while waiting := [job for job in jobs if not job.is_done]:
            until = began + self.longest_s * (1 + received // MAX_CHUNK)
            received += self._read_some(waiting[:MAX_RANGES], until)
        return [job.result for job in jobs]

    def _read_some(self, jobs: list[_Job], until: float) -> int:
        """One request for these, and its answer given to them: so many bytes; waits where the origin says so."""
        self._check_time(until)
        ranges: list[Range] = []
        left = MAX_CHUNK
        for job in jobs:
            if ranges and not left and job.wanted:
                break
            length = min(job.wanted, left)
            ranges.append((job.path, job.at, length))
            left -= length
        answer = self._ask("read", {"ranges": ranges}, jobs[0].path)
        parts, wait_s = answer.get("parts"), answer.get("wait_s")
        if not isinstance(parts, list) or len(parts) > len(ranges) or not isinstance(wait_s, int | float):
            raise self._no_answer("read")
        if not parts:
            if not 0 < wait_s <= LONGEST_S:
                raise self._no_answer("read")
            self._check_time(until - wait_s)
            time.sleep(wait_s)
        for job, (_, _, length), part in zip(jobs, ranges, parts, strict=False):
            if not isinstance(part, dict) or not job.take(part, length):
                raise self._no_answer("read")
        return sum(len(part.get("data", b"")) for part in parts)

    def _check_time(self, until: float) -> None:
        """Raise where an origin that sends a little again and again, or lets wait, would hold us up for ever."""
        if time.monotonic() > until:
            raise TimeoutError(f"{self.endpoint} is too slow: 1 MiB took longer than {self.longest_s:g} s.")

    def _ask(self, op: str, args: Mapping[str, Any], path: str) -> dict[str, Any]:
        """The answer to one request; again after a pause where the origin has too much to do."""
        until = time.monotonic() + self.timeout_s
        while True:
            try:
                with self._lock:
                    answer = self._call(op, args)
            except RpcRefused as error:
                if error.code not in {"busy", "too_many"} or time.monotonic() + _WAIT_S > until:
                    raise _as_os_error(error, path) from error
                time.sleep(_WAIT_S)
                continue
            if not isinstance(answer, dict):
                raise self._no_answer(op)
            return answer

    def _call(self, op: str, args: Mapping[str, Any]) -> Any:
        try:
            if self._client is None:
                self._client = self._connect()
            return self._client.call(op, args, self.timeout_s)
        except RpcNoHandshake as error:
            raise ConnectionError(str(error)) from error
        except RpcTimeout as error:
            # A link that was cut tells nobody: the next request begins with a connection of its own.
            if self._client is not None:
                self._client.close()
                self._client = None
            kind = TimeoutError if type(error) is RpcTimeout else ConnectionError
            raise kind(str(error)) from error

    def _connect(self) -> RpcClient:
        return RpcClient(self._context, self.endpoint, self._secured)

    def _no_answer(self, op: str) -> OSError:
        return OSError(f"{self.endpoint} gave an answer to {op!r} that is none.")


class _Job:
    """One range that is being read."""

    def __init__(self, path: str, start: int, length: int) -> None:
        self.path = path
        self.at = start
        self._end = None if length < 0 else start + length
        self._parts: list[bytes] = []
        self._fault: OSError | None = None
        self.is_done = False

    @property
    def wanted(self) -> int:
        """How many bytes to ask for."""
        return MAX_CHUNK if self._end is None else self._end - self.at

    @property
    def result(self) -> bytes | OSError:
        """All bytes, or why there are none."""
        return b"".join(self._parts) if self._fault is None else self._fault

    def take(self, part: Mapping[str, Any], length: int) -> bool:
        """Take the answer to the last request of `length` bytes; False where it is none."""
        if "error" in part:
            self._fault = _as_os_error(RpcRefused(str(part["error"]), str(part.get("message"))), self.path)
            self.is_done = True
            return True
        data, size = part.get("data"), part.get("size")
        if not isinstance(data, bytes) or type(size) is not int or size < 0 or len(data) > length:
            return False
        self._end = size if self._end is None else min(self._end, size)
        self.at += len(data)
        self._parts.append(data)
        self.is_done = self.at >= self._end
        return self.is_done or bool(data) or not length


class _File(AbstractBufferedFile):  # type: ignore[misc] # fsspec has no types
    """An opened file: reads ahead as fsspec does."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        found: bytes = self.fs.cat_file(self.path, start, end)
        return found


def _info(path: str, kind: Any, size: Any, mtime_ns: Any) -> dict[str, Any]:
    if kind not in _KINDS or type(size) is not int or size < 0 or type(mtime_ns) is not int:
        raise OSError(f"What the origin says of {path!r} is none: it is damaged, or no origin.")
    return {"name": path, "type": kind, "size": size, "mtime_ns": mtime_ns}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _as_os_error(error: RpcRefused, path: str) -> OSError:
    sentence = str(error)
    if error.code == "not_found":
        return FileNotFoundError(sentence)
    if error.code == "forbidden":
        return PermissionError(sentence)
    return OSError(f"{path!r} cannot be read: {sentence}")
