"""The settings of a replica."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from services.common.config.tree import RagLive
from services.common.observing.probe_server import OBSERVE
from services.common.registry.advertising import ADVERTISED
from services.common.registry.port import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S
from services.common.settings import ServiceSettings, service_config
from services.rag.networks import INTERNAL, parse_networks


class RagSettings(RagLive, ServiceSettings):
    """Where a replica reads, listens and registers; what can change while it runs is in `RagLive`."""

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
    advertise: str | None = Field(None, description=ADVERTISED)
    observe: str = Field("", description=OBSERVE)
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
    config_within_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="seconds (1 to 3600) that a changed configuration may leave it not ready before it is taken back",
    )
    lease_s: float = Field(
        DEFAULT_TTL_S,
        ge=MIN_TTL_S,
        le=MAX_TTL_S,
        description="seconds (3 to 3600) that its entry outlives it",
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

    @field_validator("internal_networks")
    @classmethod
    def _are_networks(cls, texts: list[str]) -> list[str]:
        parse_networks(texts)
        return texts
