"""Settings of the health service, read from a TOML file and `APPIA_HEALTH_*`; docs/settings.md lists them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from services.common.config.tree import HealthLive
from services.common.observing.probe_server import OBSERVE
from services.common.registry.advertising import ADVERTISED
from services.common.registry.port import DEFAULT_TTL_S, MAX_TTL_S, MIN_TTL_S, check_label
from services.common.settings import ServiceSettings, service_config


class HealthSettings(HealthLive, ServiceSettings):
    """Everything that the health service can be told; what can change while it runs is in `HealthLive`."""

    model_config = service_config("health")

    state: Path = Field(description="the state directory that is watched")
    name: str = Field("health", description="name in the registry")
    bind: str = Field(
        "tcp://127.0.0.1:*",
        description="where it is asked, `tcp://HOST:PORT`; elsewhere than on loopback it needs `server_key` and "
        "`access`",
    )
    advertise: str | None = Field(None, description=ADVERTISED)
    observe: str = Field("", description=OBSERVE)
    registry: str = Field(
        "file", description="where services register: `file`, or `etcds://HOST:PORT[,HOST:PORT][/PREFIX]`"
    )
    registry_keys: Path | None = Field(
        None, description="folder of what etcd asks for: `ca.pem`, `login` and others, see docs/registry.md"
    )
    lease_s: float = Field(
        DEFAULT_TTL_S,
        ge=MIN_TTL_S,
        le=MAX_TTL_S,
        description="seconds (3 to 3600) that its entry outlives it",
    )
    server_key: Path | None = Field(
        None,
        description="its CURVE key (`appia keys server`): all is encrypted then, and only known keys may ask",
    )
    access: Path | None = Field(
        None, description="the file that says which key may ask what (`appia access new`)"
    )
    key: Path | None = Field(
        None, description="the key that it asks other services with (`appia access new`), where they want one"
    )
    expect: list[str] = Field(
        [],
        description="services that should run, `KIND/NAME` each, such as `rag/rag-1`; where empty, all that were there "
        "within a day",
    )
    alerts: Path | None = Field(
        None,
        description="the file of rules and channels of alerts, see docs/alerts.md; without it the built-in rules",
    )
    signing_key: Path | None = Field(
        None,
        description="a public signing key that the chain of days has to be signed under; that of `<state>/keys` where "
        "not set",
    )

    @field_validator("expect")
    @classmethod
    def _are_services(cls, texts: list[str]) -> list[str]:
        for text in texts:
            kind, _, name = text.partition("/")
            check_label("kind", kind)
            check_label("name", name)
        return texts
