"""The settings of a replica."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from services.common.registry.port import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S
from services.common.settings import ServiceSettings, service_config
from services.rag.networks import INTERNAL, parse_networks


class RagSettings(ServiceSettings):
    """Where a replica reads, listens and registers."""

    model_config = service_config("rag")

    state: Path = Field(description="the state directory that the ingester writes")
    storage_key: Path | None = Field(
        None, description="the file of storage keys that the ingester has, where logs are encrypted"
    )
    require_encryption: bool = Field(
        default=False, description="true refuses to read logs that are not encrypted; needs `storage_key`"
    )
    signing_key: Path | None = Field(
        None, description="a public signing key: only sealed days that the chain names under it are served"
    )
    models: Path | None = Field(None, description="the model store; `<state>/models` where not set")
    name: str = Field("rag-1", description="the replica's name in the registry, unique among replicas")
    bind: str = Field(
        "tcp://127.0.0.1:*",
        description="where it listens, `tcp://HOST:PORT`; `*` for any free port; elsewhere than on loopback it needs "
        "`server_key` and `access`",
    )
    advertise: str | None = Field(
        None, description="the endpoint that clients are told; the bound one where not set"
    )
    server_key: Path | None = Field(
        None,
        description="its CURVE key (`appia keys server`): all is encrypted then, and only known keys may ask",
    )
    access: Path | None = Field(
        None, description="the file that says which key may ask what (`appia access new`)"
    )
    registry: str = Field("file", description="`file`, or `etcds://HOST:PORT[,HOST:PORT][/PREFIX]`")
    registry_keys: Path | None = Field(
        None, description="folder of what etcd asks for: `ca.pem`, `login` and others, see docs/registry.md"
    )
    lease_s: float = Field(
        DEFAULT_TTL_S,
        ge=MIN_TTL_S,
        le=MAX_TTL_S,
        description="seconds (3 to 3600) that its entry outlives it",
    )
    workers: int = Field(
        2,
        ge=1,
        le=64,
        description="requests answered at the same time, 1 to 64; more replicas do more than more of these",
    )
    slow_workers: int = Field(
        1,
        ge=1,
        le=64,
        description="requests that take many seconds (`novel`, `campaigns`) answered beside them, 1 to 64",
    )
    waiting: int = Field(
        256, ge=1, le=10_000, description="requests that wait, 1 to 10000; a further one is answered `busy`"
    )
    open_wait_s: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="seconds (0 to 3600) to open days before it answers with those it has",
    )
    internal_networks: list[str] = Field(
        list(INTERNAL),
        description="networks that are inside, such as `10.0.0.0/8`: for filters, questions, campaigns and enrichment",
    )
    geoip_city: Path | None = Field(
        None, description="a file of places in MaxMind's format, such as GeoLite2-City.mmdb, for `enrich`"
    )
    geoip_asn: Path | None = Field(
        None, description="a file of networks in MaxMind's format, such as GeoLite2-ASN.mmdb, for `enrich`"
    )
    weight_attack: float = Field(
        1.0, ge=0, le=1000, description="weight of the attack index in fused answers, 0 to 1000"
    )
    weight_semantic: float = Field(
        1.0, ge=0, le=1000, description="weight of the semantic index in fused answers, 0 to 1000"
    )
    weight_temporal: float = Field(
        1.0, ge=0, le=1000, description="weight of the temporal index in fused answers, 0 to 1000"
    )
    weight_meaning: float = Field(
        1.0, ge=0, le=1000, description="weight of the meaning of a text in `search`, 0 to 1000"
    )
    weight_words: float = Field(
        1.0, ge=0, le=1000, description="weight of the words of a text in `search`, 0 to 1000"
    )
    question_glossary: Literal["spanish", "none"] = Field(
        "spanish",
        description="`spanish` puts questions in Spanish into the narratives' English; `none` asks as they are, "
        "for a model of many languages",
    )

    @field_validator("internal_networks")
    @classmethod
    def _are_networks(cls, texts: list[str]) -> list[str]:
        parse_networks(texts)
        return texts
