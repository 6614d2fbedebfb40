"""Settings of an origin, read from a TOML file and `APPIA_ORIGIN_*`; docs/settings.md lists them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.common.observing.probe_server import OBSERVE
from services.common.registry.advertising import ADVERTISED
from services.common.registry.port import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S
from services.common.settings import ServiceSettings, service_config

MOST_BYTES_PER_S = 1 << 40


class OriginSettings(ServiceSettings):
    """Everything that an origin can be told."""

    model_config = service_config("origin")

    state: Path = Field(description="the state directory whose days are served; nothing in it is changed")
    name: str = Field("origin", description="name in the registry, unique among origins")
    bind: str = Field(
        "tcp://127.0.0.1:*",
        description="where mirrors read, `tcp://HOST:PORT`; `*` for any free port; elsewhere than on loopback it needs "
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
    lease_s: float = Field(
        DEFAULT_TTL_S,
        ge=MIN_TTL_S,
        le=MAX_TTL_S,
        description="seconds (3 to 3600) that its entry outlives it",
    )
    bytes_per_s: int = Field(
        0,
        ge=0,
        le=MOST_BYTES_PER_S,
        description="bytes of files a second to all mirrors together, shared out evenly; 0 for no limit",
    )
    publish: str = Field(
        "",
        description="where days are published for mirrors that read there: a folder, or a URL that fsspec knows; empty "
        "for nowhere",
    )
    publish_every_s: float = Field(
        5.0,
        ge=0.1,
        le=86400,
        description="seconds (0.1 to 86400) between two looks at what is to be published",
    )
    publish_open_every_s: float = Field(
        60.0,
        ge=0.1,
        le=86400,
        description="seconds (0.1 to 86400) between two copies of files of open days that cannot grow there",
    )
    publish_bytes_per_s: int = Field(
        0, ge=0, le=MOST_BYTES_PER_S, description="bytes a second that are published; 0 for no limit"
    )
    workers: int = Field(4, ge=1, le=64, description="requests (1 to 64) that are answered at the same time")
    waiting: int = Field(
        256, ge=1, le=65536, description="requests (1 to 65536) that may wait before others are told `busy`"
    )
