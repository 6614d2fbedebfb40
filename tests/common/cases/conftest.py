"""A sealed and signed day with events that attack whoever looks at them, and a case of two of them."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.common.cases.evidence import Evidence
from services.common.cases.writing import Answers, Front, case_of
from services.common.chain.keys import new_signing_key, read_signing_ring
from services.common.chain.store import ChainWriter
from services.common.days.embedders import Embedders
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.days.open_writer import SegmentLog
from services.common.days.sealing import Sealer
from services.common.durable import Disk
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.vocabulary import load_vocabulary
from services.common.rest.storage_keys import NO_KEYS, StorageKeys, new_storage_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.common.cases.listing import Listing
    from services.common.chain.keys import SigningKey
    from services.common.rest.log_keys import LogKeys

DAY, START_S = "2026-01-22", 1_769_040_000
SEALED = "sealed-000001"
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "</bdi></td></table><iframe src=//evil.example></iframe>",
    "</style><style>@import url(//evil.example)</style>",
    "]]>--><!--<svg onload=alert(1)>&lt;b&gt;&#60;b&#62;",
    "javascript:alert(1) {{7*7}} ${7*7} \u202egnp.exe \u2066\u200b\x1b[2J\x00\x7f",
    "\ufeff+ADw-script+AD4-alert(1)+ADw-/script+AD4- \U000e0041 \u05d0\u05d1 \u00e9\U0001f600",
)
"""Texts that attack a page: elements, attributes, ends of what they stand in, entities, directions, other encodings."""


class Small:
    """An embedder that knows nothing but the sizes."""

    def __init__(self, name: str) -> None:
        self.name, self.dim, self.metric = name, 4, "l2"
        self.model_id = f"{name}@{'0' * 12}"

    def embed(self, values: NDArray[np.float32] | Sequence[str], /) -> NDArray[np.float32]:
        rows = np.arange(len(values), dtype=np.float32)
        return np.stack([rows, rows, rows, rows], axis=1).reshape(-1, 4)


@dataclass
class Office:
    """The state directory, its signing key, and the events by number."""

    state: StateNames
    key: SigningKey
    payloads: list[bytes]

    def event_id(self, number: int) -> str:
        return NetworkSecurityEvent.FromString(self.payloads[number]).event_id

    def answers(self, number: int, **more: Any) -> Answers:
        """What a replica answers about an event; every text in it is hostile."""
        event_id, receipt = self.event_id(number), {"as_of": f"{DAY}:1", "took_ms": 1.5, "missing": []}
        place = {"day": DAY, "segment": SEALED, "row": number}
        texts = dict(zip(("narrative", "class", "label", "category", "tags"), HOSTILE, strict=False))
        fields = {"event_id": event_id, "time": f"{DAY}T00:00:0{number}Z", "src_ip": "10.0.0.1", **texts}
        remark = {
            "note": "\n".join(HOSTILE),
            "analyst": HOSTILE[1],
            "tags": list(HOSTILE),
            "verdict": HOSTILE[2],
        }
        neighbour = {**fields, **place, "src_port": 1, "dst_ip": HOSTILE[0], "dst_port": 2}
        group = {
            "score": 0.5,
            "narrative": HOSTILE[3],
            "classes": {HOSTILE[4]: 2},
            "count": 2,
            "examples": [neighbour],
        }
        other = {"event": neighbour, "changed": [{"says": HOSTILE[5]}], "deltas": [{"says": HOSTILE[6]}]}
        explanation = {"others": [other], "what_if": {"says": HOSTILE[0]}, "receipt": receipt}
        return Answers(
            get={"event": {HOSTILE[0]: HOSTILE[1], "l": [HOSTILE[2], {"x": 1.5}]}, "fields": fields, **place}
            | {"receipt": {**receipt, "missing": [{"reason": HOSTILE[0]}]}},
            similar={"event": fields, "groups": [group], "receipt": receipt, "explanation": explanation},
            feedback={
                "remarks": [{**remark, "time": "t", "confidence": 4, "stands": True}],
                "receipt": receipt,
            },
            refused=more,
        )

    def case(
        self,
        *numbers: int,
        created: str = "2026-01-23T00:00:00Z",
        key: SigningKey | None = None,
        keys: LogKeys = NO_KEYS,
    ) -> tuple[Listing, bytes]:
        """A case of some events; `keys` open encrypted logs."""
        answers = [self.answers(number) for number in numbers]
        front = Front(created, "0.0", "\n".join(HOSTILE), f"{DAY}:1")
        with Evidence(self.state, keys) as evidence:
            return case_of(front, answers, evidence, key or self.key)


def payload(number: int) -> bytes:
    """An event whose texts are hostile; its id too."""
    event = NetworkSecurityEvent(event_id=f"e-{number}{HOSTILE[number % 4]}", originating_node_id="node-a")
    event.event_timestamp.seconds = START_S + number
    event.final_classification = HOSTILE[0]
    event.network_features.source_ip, event.network_features.destination_ip = "10.0.0.1", "192.0.2.1"
    event.network_features.protocol_number = 6
    return event.SerializeToString(deterministic=True)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def new_key(tmp_path: Path, disk: Disk) -> Callable[[], SigningKey]:
    """Makes keys that nobody knows yet."""
    made: list[SigningKey] = []

    def make() -> SigningKey:
        made.append(new_signing_key(tmp_path / f"keys-{len(made)}", disk))
        return made[-1]

    return make


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """Six events on a sealed and signed day, for tests that change nothing on disk."""
    return _office(tmp_path_factory.mktemp("office") / "state", NO_KEYS)


@pytest.fixture
def encrypted_office(tmp_path: Path, disk: Disk) -> tuple[Office, LogKeys]:
    """The same with encrypted logs, and what opens them."""
    new_storage_keys(disk, tmp_path / "storage.keys")
    keys = StorageKeys(tmp_path / "storage.keys", print)
    return _office(tmp_path / "state", keys), keys


def _office(root: Path, keys: LogKeys) -> Office:
    disk, state = Disk(), StateNames(root)
    claim_layout(state, disk)
    new_signing_key(state.keys, disk)
    ring = read_signing_ring(state.keys)
    assert ring is not None
    small: Any = Small
    embedders = Embedders(*map(small, ("attack", "semantic", "temporal", "entity")))
    links = ChainWriter(state.links, ring, disk, lambda: START_S * 1_000_000_000)
    sealer = Sealer(
        disk, load_vocabulary(), embedders, lambda *_: None, retry_after_s=(), links=links, keys=keys
    )
    payloads = [payload(number) for number in range(6)]
    log = SegmentLog(disk, state.day(DAY).segment(1), 0)
    log.append(payloads)
    log.sync()
    log.close()
    report = sealer.seal(state.day(DAY), 1)
    assert not report.failed
    return Office(state, ring.active, payloads)


@pytest.fixture
def own_office(office: Office, tmp_path: Path) -> Office:
    """The same, for a test that changes it."""
    shutil.copytree(office.state.root, tmp_path / "state")
    return Office(StateNames(tmp_path / "state"), office.key, office.payloads)


@pytest.fixture
def hostile() -> tuple[str, ...]:
    """The texts."""
    return HOSTILE


@pytest.fixture
def sha256() -> Callable[[bytes], str]:
    return lambda data: hashlib.sha256(data).hexdigest()
