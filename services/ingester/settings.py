"""Settings of the ingester, read from a TOML file and `APPIA_INGESTER_*`; docs/settings.md lists them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.common.config.tree import IngesterLive
from services.common.days.chosen_models import ChosenModels
from services.common.embedding.manifest import ModelName
from services.common.observing.probe_server import OBSERVE
from services.common.registry.advertising import ADVERTISED
from services.common.settings import ServiceSettings, service_config
from services.common.wire.keys import (
    DEFAULT_V1_CHANNEL,
    DEFAULT_V2_CHANNEL,
    FIREWALL_DECISIONS,
    RAG_ARTIFACTS,
)


class IngesterSettings(IngesterLive, ServiceSettings):
    """Everything that the ingester can be told; what can change while it runs is in `IngesterLive`."""

    model_config = service_config("ingester")

    state: Path = Field(description="the state directory; the ingester is its one writer")
    keys: Path = Field(description="folder with the key ring, made by `appia keys new`")
    v2: str = Field(
        "tcp://127.0.0.1:*", description="where senders of version 2 frames connect, tcp://HOST:PORT"
    )
    advertise: str | None = Field(None, description=f"of `v2`, {ADVERTISED}")
    v1_pull: str = Field(
        "", description="where version 1 sensors push to, tcp://HOST:PORT; empty for nowhere"
    )
    v1_sub: list[str] = Field(
        [], description="endpoints of version 1 sensors that publish, tcp://HOST:PORT each"
    )
    allow_public_v1: bool = Field(
        default=False,
        description="true lets version 1 listen and subscribe beyond loopback and private networks",
    )
    v1_backfill: bool = Field(
        default=False,
        description="true takes version 1 events however old; otherwise those above 7 days are set aside",
    )
    control: str = Field(
        "tcp://127.0.0.1:*",
        description="where `appia seal` asks, tcp://HOST:PORT; elsewhere than on loopback it needs `server_key` and "
        "`access`",
    )
    advertise_control: str | None = Field(None, description=f"of `control`, {ADVERTISED}")
    observe: str = Field("", description=OBSERVE)
    server_key: Path | None = Field(
        None,
        description="CURVE key of `control` (`appia keys server`): all is encrypted then, and only known keys may ask",
    )
    access: Path | None = Field(
        None, description="the file that says which key may ask what (`appia access new`)"
    )
    v2_channel: str = Field(
        DEFAULT_V2_CHANNEL, description="channel name that version 2 keys are derived for"
    )
    v1_channel: str = Field(
        DEFAULT_V1_CHANNEL, description="channel name that version 1 keys are derived for"
    )
    firewall_v1_pull: str = Field(
        "",
        description="where firewalls push their decisions in version 1, tcp://HOST:PORT; empty for nowhere",
    )
    firewall_v1_sub: list[str] = Field(
        [], description="endpoints of firewalls that publish decisions in version 1, tcp://HOST:PORT each"
    )
    firewall_v1_channel: str = Field(
        FIREWALL_DECISIONS, description="channel name that version 1 keys of decisions are derived for"
    )
    firewall_block_s: int = Field(
        3600,
        ge=1,
        le=366 * 86_400,
        description="how long a firewall's block holds that names no duration, seconds",
    )
    decisions_bytes: int = Field(
        32 << 20,
        ge=1 << 20,
        le=1 << 30,
        description="most that the log of firewalls' decisions keeps, bytes; the oldest are removed beyond it",
    )
    artifact_channel: str = Field(RAG_ARTIFACTS, description="channel name of event_*.pb.enc files")
    watch: list[Path] = Field([], description="folders watched for event_*.pb, event_*.pb.enc and *.jsonl")
    registry: str = Field(
        "file", description="where services register: `file`, or `etcds://HOST:PORT[,HOST:PORT][/PREFIX]`"
    )
    registry_keys: Path | None = Field(
        None, description="folder of what etcd asks for: `ca.pem`, `login` and others, see docs/registry.md"
    )
    config_within_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="seconds (1 to 3600) that a changed configuration may leave it not ready before it is taken back",
    )
    name: str = Field("ingester", description="name in the registry")
    storage_key: Path | None = Field(
        None,
        description="file of storage keys, made by `appia keys storage new`: logs, sealed events, the dead letter and "
        "feedback are encrypted; none where not set",
    )
    require_encryption: bool = Field(
        default=False,
        description="true refuses to read logs that are not encrypted; needs `storage_key`",
    )
    semantic_model: ModelName = Field(
        "semantic", description="name of the model of the semantic index, as in `appia models list`"
    )
    temporal_model: ModelName = Field(
        "temporal", description="name of the model of the temporal index, as in `appia models list`"
    )

    @property
    def models(self) -> ChosenModels:
        """The model of each index."""
        return ChosenModels(semantic=self.semantic_model, temporal=self.temporal_model)
