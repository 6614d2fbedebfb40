"""Every key that can change while its service runs, defined once: the settings of the services inherit them.

A section is one frozen class: its fields have type, bounds, default and description, and say when a change is taken
up. To add a key, add a field to its section with `at_once` or `at_start`, and read it where its service applies them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from services.common.days.policies import Compression, IndexPolicy
from services.common.settings import AT_ONCE, AT_START, TAKEN

if TYPE_CHECKING:
    from collections.abc import Mapping

MIB = 1 << 20

Value: TypeAlias = bool | int | float | str
"""What a key can hold: plain, so that it can be written on a command line and shown in a table."""


def at_once(default: Any, description: str, **bounds: Any) -> Any:
    """A key that a running service takes up within seconds; `bounds` are those of pydantic's `Field`."""
    return Field(default, description=description, json_schema_extra={TAKEN: AT_ONCE}, **bounds)


def at_start(default: Any, description: str, **bounds: Any) -> Any:
    """A key that a service takes up when it starts the next time; `bounds` are those of pydantic's `Field`."""
    return Field(default, description=description, json_schema_extra={TAKEN: AT_START}, **bounds)


class Live(BaseModel):
    """Base of the sections: frozen, and without keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class IngesterLive(Live):
    """What the ingester can be told while it runs."""

    seal_after_quiet_s: float = at_once(
        600.0, "seconds without a new event after which a past day is sealed", gt=0, le=86_400 * 366
    )
    compression: Compression = at_once(
        "balanced", "how a sealed day's events are compressed: fast, balanced or maximum"
    )
    vectors_attack: Compression = at_once(
        "fast", "form of the attack vectors of a sealed day: fast, balanced or maximum"
    )
    vectors_semantic: Compression = at_once(
        "fast", "form of the semantic vectors of a sealed day: fast, balanced or maximum"
    )
    vectors_temporal: Compression = at_once(
        "fast", "form of the temporal vectors of a sealed day: fast, balanced or maximum"
    )
    vectors_entity: Compression = at_once(
        "fast", "form of the entity vectors of a sealed day: fast, balanced or maximum"
    )
    benign_sample_rate_attack: float = at_once(
        1.0, "share of clearly benign events that a sealed day's attack index has vectors of", gt=0, le=1
    )
    benign_sample_rate_semantic: float = at_once(
        1.0, "share of clearly benign events that a sealed day's semantic index has vectors of", gt=0, le=1
    )
    benign_sample_rate_temporal: float = at_once(
        1.0, "share of clearly benign events that a sealed day's temporal index has vectors of", gt=0, le=1
    )
    queue_bytes: int = at_once(
        2 * MIB, "events waiting for the indices, bytes, 1 MiB to 1 GiB", ge=MIB, le=1024 * MIB
    )
    batch_rows: int = at_once(
        1024, "events that the indices take and commit at once, at most; 64 to 8192", ge=64, le=8192
    )
    commit_interval_s: float = at_once(
        0.0,
        "seconds (0 to 5) that the indices wait for a full batch: larger commits, and events are found that much later",
        ge=0,
        le=5,
    )
    dead_letter_bytes: int = at_once(256 * MIB, "most that the dead letter keeps, bytes", ge=MIB)
    disk_warn_percent: float = at_once(
        85.0,
        "disk use at which a warning is logged and shown by `appia status`, percent",
        gt=0,
        le=100,
    )
    disk_stop_percent: float = at_once(92.0, "disk use at which intake pauses, percent", gt=0, le=100)
    model_threads: int = at_start(
        1, "threads of one model, 1 to 64; the sealing of a day takes them at once", ge=1, le=64
    )

    @property
    def policies(self) -> Mapping[str, IndexPolicy]:
        """How each sealed index is made smaller."""
        return {
            "attack": IndexPolicy(self.vectors_attack, self.benign_sample_rate_attack),
            "semantic": IndexPolicy(self.vectors_semantic, self.benign_sample_rate_semantic),
            "temporal": IndexPolicy(self.vectors_temporal, self.benign_sample_rate_temporal),
            "entity": IndexPolicy(self.vectors_entity),
        }


class RagLive(Live):
    """What every replica can be told while it runs."""

    weight_attack: float = at_once(
        1.0, "weight of the attack index in fused answers, 0 to 1000", ge=0, le=1000
    )
    weight_semantic: float = at_once(
        1.0, "weight of the semantic index in fused answers, 0 to 1000", ge=0, le=1000
    )
    weight_temporal: float = at_once(
        1.0, "weight of the temporal index in fused answers, 0 to 1000", ge=0, le=1000
    )
    weight_meaning: float = at_once(
        1.0, "weight of the meaning of a text in `search`, 0 to 1000", ge=0, le=1000
    )
    weight_words: float = at_once(1.0, "weight of the words of a text in `search`, 0 to 1000", ge=0, le=1000)
    question_glossary: Literal["spanish", "none"] = at_once(
        "spanish",
        "`spanish` puts questions in Spanish into the narratives' English; `none` asks as they are, "
        "for a model of many languages",
    )
    novel_percentile: float = at_once(
        99.9,
        "how unusual an event is that `novel` shows where the question does not say, 90 to 100",
        ge=90,
        le=100,
    )
    waiting: int = at_once(
        256, "requests that wait, 1 to 10000; a further one is answered `busy`", ge=1, le=10_000
    )
    workers: int = at_start(
        2,
        "requests answered at the same time, 1 to 64; more replicas do more than more of these",
        ge=1,
        le=64,
    )
    slow_workers: int = at_start(
        1,
        "requests that take many seconds (`novel`, `campaigns`, `quality`) answered beside them, 1 to 64",
        ge=1,
        le=64,
    )
    ready_within_s: float = at_once(
        30.0,
        "seconds (1 to 3600) within which a replica has to serve what is published, or say that it is not ready",
        ge=1,
        le=3600,
    )


class HealthLive(Live):
    """What the health service can be told while it runs."""

    interval_s: float = at_once(10.0, "seconds between two looks at everything, 1 to 3600", ge=1, le=3600)
    check_every_s: float = at_once(
        300.0, "seconds between two quick looks at the files of all days, 1 to 86400", ge=1, le=86_400
    )
    repair_every_attack_s: float = at_once(
        86_400.0,
        "seconds within which every byte of the attack indices is read and what is damaged is made anew; 0: never",
        ge=0,
        le=86_400 * 366,
    )
    repair_every_semantic_s: float = at_once(
        86_400.0, "the same for the semantic indices, 0 to 31622400", ge=0, le=86_400 * 366
    )
    repair_every_temporal_s: float = at_once(
        86_400.0, "the same for the temporal indices, 0 to 31622400", ge=0, le=86_400 * 366
    )
    repair_every_entity_s: float = at_once(
        86_400.0, "the same for the indices of hosts, 0 to 31622400", ge=0, le=86_400 * 366
    )
    repair_tries: int = at_once(
        5,
        "failures in a row after which a repair is not tried again until something changes, 1 to 100",
        ge=1,
        le=100,
    )
    repair_retry_s: float = at_once(
        300.0, "seconds after a failed repair, doubled after each further one up to a day", ge=1, le=86_400
    )
    repair_stop_percent: float = at_once(90.0, "disk use at which nothing is repaired, percent", gt=0, le=100)
    read_bytes_per_s: int = at_once(
        4 * MIB, "how fast every byte is read, bytes a second, at least 65536", ge=1 << 16, le=1 << 40
    )
    audit_every_s: float = at_once(
        86_400.0,
        "seconds between two audits of each index: what it finds against the true nearest; 0: none",
        ge=0,
        le=86_400 * 366,
    )
    audit_sample: int = at_once(100, "events that an audit asks about, 10 to 10000", ge=10, le=10_000)
    sensor_silent_s: float = at_once(
        900.0, "seconds without an event after which a sensor is silent, at the least", ge=1, le=86_400 * 30
    )
    sensor_silent_times: float = at_once(
        3.0, "and so many times as long as is usual for that sensor, 1 to 100", ge=1, le=100
    )
    sensor_silent_most_s: float = at_once(
        172_800.0,
        "seconds after which a sensor is silent whatever is usual for it, 60 to 2592000",
        ge=60,
        le=86_400 * 30,
    )
    retention_enabled: bool = at_once(
        default=False,
        description="true makes old days smaller and drops the oldest, by the keys that follow; false only warns",
    )
    keep_days: int = at_once(
        0,
        "days that are kept, today among them, 0 to 36525; 0: as many as there is room for",
        ge=0,
        le=36_525,
    )
    keep_least_days: int = at_once(
        7, "days that are kept even where there is no room, 1 to 36525", ge=1, le=36_525
    )
    keep_percent: float = at_once(
        80.0,
        "share of the disk that may be used before days are dropped for room, percent, 0 to 100; 0: any",
        ge=0,
        le=100,
    )
    keep_bytes: int = at_once(
        0, "bytes that all days together may take, up to 2 to the 60; 0: any number", ge=0, le=1 << 60
    )
    quantise_after_days: int = at_once(
        30, "days after which vectors are kept in a smaller form, 0 to 36525; 0: never", ge=0, le=36_525
    )
    quantise_to: Literal["balanced", "maximum"] = at_once(
        "balanced", "the form of the vectors of old days: balanced or maximum"
    )


class SensorsLive(Live):
    """What sensors are told: no service of ours reads it, `appia config watch sensors` hands it to theirs.

    Thresholds have the names, defaults and bounds that the sensors' detector has in its own file, so that a wrapper
    can put them there; `SystemConfiguration.threat_score_thresholds` of the contract is a map of the same.
    """

    threshold_level1_attack: float = at_once(
        0.65, "score from which the first detector calls a flow an attack, 0.5 to 0.99", ge=0.5, le=0.99
    )
    threshold_level2_ddos: float = at_once(
        0.85, "score from which an attack is called DDoS, 0.5 to 0.99", ge=0.5, le=0.99
    )
    threshold_level2_ransomware: float = at_once(
        0.9, "score from which an attack is called ransomware, 0.5 to 0.99", ge=0.5, le=0.99
    )
    threshold_level3_anomaly: float = at_once(
        0.8, "score from which traffic is called anomalous, 0.5 to 0.99", ge=0.5, le=0.99
    )
    threshold_level3_web: float = at_once(
        0.75, "score from which traffic is called an attack on the web, 0.5 to 0.99", ge=0.5, le=0.99
    )
    threshold_level3_internal: float = at_once(
        0.85, "score from which traffic is called a threat from inside, 0.5 to 0.99", ge=0.5, le=0.99
    )


INGESTER: Final = "ingester"
RAG: Final = "rag"
HEALTH: Final = "health"
SENSORS: Final = "sensors"
SECTIONS: Final[Mapping[str, type[Live]]] = {
    INGESTER: IngesterLive,
    RAG: RagLive,
    HEALTH: HealthLive,
    SENSORS: SensorsLive,
}
"""The class of each section, in the order in which they are shown."""
