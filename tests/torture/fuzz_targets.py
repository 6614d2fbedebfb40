"""What is fuzzed. Each target imports what it fuzzes when it is made, so that the guided run can instrument it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
from torture.fuzz_frames import FRAME_TARGETS
from torture.fuzzing import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torture.fuzzing import Check

_SECRETS = ["alpha", "", "gamma" * 300, "\u00f1" * 20]


def _log_inputs() -> Sequence[bytes]:
    from services.common.days.log import LogWriter  # noqa: PLC0415 - see above
    from services.common.days.log_format import EVENT, REFUSED  # noqa: PLC0415 - see above
    from services.common.durable import Disk  # noqa: PLC0415 - see above

    made = []
    with tempfile.TemporaryDirectory() as folder:
        for i in range(4):
            path = Path(folder) / f"{i}.log"
            log = LogWriter(Disk(), path)
            log.append(EVENT, 1, [text.encode() for text in _SECRETS[: i + 1]])
            log.append(REFUSED, 0, [b"refused"])
            log.append_block(9, [b"one", b"two" * 50], i)
            log.close()
            made.append(path.read_bytes())
    return made


def _log_check(folder: Path) -> Check:
    from services.common.days.log import LogReader  # noqa: PLC0415 - see above
    from services.common.days.log_blocks import unpack_block  # noqa: PLC0415 - see above
    from services.common.days.log_format import BLOCK, Damage  # noqa: PLC0415 - see above
    from services.common.errors import AppiaError  # noqa: PLC0415 - see above

    known = {text.encode() for text in _SECRETS} | {b"refused"}
    path = folder / "fuzzed.log"

    def check(data: bytes) -> str | None:
        path.write_bytes(data)
        try:
            reader = LogReader(path)
        except AppiaError:
            return None
        try:
            at = 32
            for found in reader.scan():
                start, end = (
                    (found.start, found.end) if isinstance(found, Damage) else (found.offset, found.end)
                )
                if start < at or end <= start or end > len(data):
                    return f"the scan went from {at} to {start}..{end} of {len(data)} bytes"
                at = end
                if isinstance(found, Damage):
                    continue
                if found.type == BLOCK:
                    unpack_block(found.payload)
                elif found.payload not in known:
                    return f"a record was made up: {found.payload[:40]!r}"
        finally:
            reader.close()
        return None

    return check


def _block_inputs() -> Sequence[bytes]:
    import lz4.block  # noqa: PLC0415 - see above

    raw = (3).to_bytes(4, "little") + (5).to_bytes(4, "little") + b"onetwo23"
    packed = lz4.block.compress(raw, store_size=False)
    return [(2).to_bytes(4, "little") + len(raw).to_bytes(4, "little") + packed]


def _block_check(_folder: Path) -> Check:
    from services.common.days.log_blocks import MAX_BLOCK, unpack_block  # noqa: PLC0415 - see above

    def check(data: bytes) -> str | None:
        try:
            events = unpack_block(data)
        except ValueError:
            return None
        return None if sum(map(len, events)) <= MAX_BLOCK else "a block grew beyond its limit"

    return check


def _manifest_inputs() -> Sequence[bytes]:
    from services.common.days.manifest import Artifact, Manifest  # noqa: PLC0415 - see above

    facts = {"through_segment": 1, "lost": 0, "index": "attack", "dim": 64, "chunk": "0" * 64}
    artifacts = {"events.log": Artifact(5, "0" * 64), "columns.bin": Artifact(0, "f" * 64)}
    kinds = ("chunk", "index")
    return [
        Manifest(kind, "2026-01-22", 1, 3, "2026-01-23T00:00:00+00:00", artifacts, facts).to_json()
        for kind in kinds
    ]


def _manifest_check(folder: Path) -> Check:
    from services.common.days.manifest import MANIFEST, Manifest, check_artifacts, read_manifest  # noqa: PLC0415
    from services.common.errors import AppiaError  # noqa: PLC0415 - see above

    (folder / "events.log").write_bytes(b"12345")

    def check(data: bytes) -> str | None:
        (folder / MANIFEST).write_bytes(data)
        try:
            manifest = read_manifest(folder)
            faults = check_artifacts(folder, manifest)
        except AppiaError:
            return None
        assert isinstance(manifest, Manifest)
        named = set(manifest.artifacts)
        if any("/" in name or name in {"", ".", ".."} for name in named):
            return f"a manifest names a file elsewhere: {sorted(named)}"
        return None if faults or not named else "files with other content passed as whole"

    return check


def _request_inputs() -> Sequence[bytes]:
    filters: dict[str, Any] = {
        "src": "10.0.0.0/8",
        "since": "2026-01-22",
        "dst_port": [22, 443],
        "min_score": 0.5,
    }
    questions = [
        ("similar", {"event_id": "a", "k": 5, "filters": filters, "flat": True}),
        ("similar", {"host": "10.0.0.1", "index": "entity"}),
        ("search", {"text": "escaneo de puertos desde 10.0.0.5 ayer", "now": "2026-01-23T00:00:00Z", "k": 3}),
        ("hybrid", {"entity": "10.0.0.1", "text": "port scan", "filters": {"class": ["Scan"]}}),
        ("explain", {"event_id": "a", "others": ["b", "c"]}),
        ("timeline", {"host": "10.0.0.1"}),
        ("list", {"limit": 5, "filters": {"hours": "08:00-12:00", "tag": "x", "src_internal": False}}),
        ("get", {"event_id": "a", "enrich": True}),
        ("novel", {"days": ["2026-01-22"], "percentile": 99.0, "k": 3}),
        ("campaigns", {"k": 3}),
        ("days", {"as_of": "2026-01-22:1"}),
    ]
    return [
        msgpack.packb({"v": 1, "id": i, "op": op, "args": args, "deadline_ms": 1000})
        for i, (op, args) in enumerate(questions)
    ]


def _request_check(_folder: Path) -> Check:
    from services.common.errors import AppiaError  # noqa: PLC0415 - see above
    from services.common.rpc import CODES, RequestError, request_id_of, unpack_request  # noqa: PLC0415 - see above
    from services.rag.arguments import parse_filters  # noqa: PLC0415 - see above
    from services.rag.as_of import read_moment  # noqa: PLC0415 - see above
    from services.rag.protocol import OPERATIONS  # noqa: PLC0415 - see above

    def check(data: bytes) -> str | None:
        request_id_of(data)
        try:
            request = unpack_request(data)
            operation = OPERATIONS.get(request.op)
            if operation is None:
                return None
            values = operation.read(request.args)
            parse_filters(values.get("filters", {}))
            if values.get("as_of") is not None:
                read_moment(values["as_of"])
        except RequestError as error:
            return None if error.code in CODES else f"an unknown code {error.code}"
        except AppiaError as error:
            json.dumps(str(error))  # what is told has to go over the wire
        return None

    return check


_LOG = ("services.common.days.log",)
_MANIFEST = ("services.common.days.manifest",)
_REQUEST = tuple(
    f"services.{name}" for name in ("common.rpc", "rag.protocol", "rag.arguments", "rag.filters", "rag.as_of")
)

TARGETS = (
    *FRAME_TARGETS,
    Target("log", "a log gives back what was written or names damage", _log_inputs, _log_check, _LOG, 60_000),
    Target(
        "block", "a sealed block never grows beyond its limit", _block_inputs, _block_check, _LOG, 500_000
    ),
    Target(
        "manifest",
        "a manifest is read or refused with a sentence",
        _manifest_inputs,
        _manifest_check,
        _MANIFEST,
        40_000,
    ),
    Target(
        "request",
        "a request is read or refused with a sentence",
        _request_inputs,
        _request_check,
        _REQUEST,
        400_000,
    ),
)
