"""Settings of a mirror, read from a TOML file and `APPIA_MIRROR_*`; docs/settings.md lists them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.common.observing.probe_server import OBSERVE
from services.common.registry.advertising import ADVERTISED
from services.common.registry.port import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S
from services.common.settings import ServiceSettings, service_config

_MOST = 1 << 50


class MirrorSettings(ServiceSettings):
    """Everything that a mirror can be told."""

    model_config = service_config("mirror")

    source: str = Field(
        description="where the days are: `appia://HOST:PORT` of an origin, `file:///FOLDER`, or another URL of fsspec"
    )
    state: Path = Field(
        description="the state directory for replicas on this host; the mirror is its one writer"
    )
    source_key: Path | None = Field(
        None, description="of `appia://`: the key of this mirror (`appia access new`); not needed on loopback"
    )
    source_server_key: str | None = Field(
        None, description="of `appia://`: the public key of the origin, or the file that holds it"
    )
    source_options: dict[str, str | int | float | bool] = Field(
        {},
        description="of other URLs: options of the fsspec file system; what is secret belongs where that looks for it",
    )
    signing_key: Path | None = Field(
        None, description="a public signing key: only sealed days that the chain names under it are pulled"
    )
    storage_key: Path | None = Field(
        None, description="the file of storage keys that the ingester has, where logs are encrypted"
    )
    poll_s: float = Field(
        1.0, ge=0.05, le=3600, description="seconds (0.05 to 3600) between two looks at the open day"
    )
    bytes_per_s: int = Field(
        0, ge=0, le=_MOST, description="bytes a second to read at most, the open day first; 0 for no limit"
    )
    budget_bytes: int = Field(
        0, ge=0, le=_MOST, description="bytes that all days may take here; the oldest go; 0 for no limit"
    )
    ready_within_s: float = Field(
        60.0, ge=1, le=86_400, description="seconds (1 to 86400) that it may be behind and still be ready"
    )
    name: str = Field("mirror", description="the mirror's name in the registry, unique among mirrors")
    bind: str = Field(
        "tcp://127.0.0.1:*",
        description="where it answers `ping`, `tcp://HOST:PORT`; `*` for any free port; elsewhere than on loopback it "
        "needs `server_key` and `access`",
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
    lease_s: float = Field(
        DEFAULT_TTL_S,
        ge=MIN_TTL_S,
        le=MAX_TTL_S,
        description="seconds (3 to 3600) that its entry outlives it",
    )
