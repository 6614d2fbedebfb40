"""Settings of the health service, read from a TOML file and `APPIA_HEALTH_*`; docs/settings.md lists them."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from services.common.observing.probe_server import OBSERVE
from services.common.settings import ServiceSettings, service_config


class HealthSettings(ServiceSettings):
    """Everything that the health service can be told."""

    model_config = service_config("health")

    state: Path = Field(description="the state directory that is watched")
    name: str = Field("health", description="name in the registry")
    bind: str = Field(
        "tcp://127.0.0.1:*",
        description="where it is asked, `tcp://HOST:PORT`; elsewhere than on loopback it needs `server_key` and "
        "`access`",
    )
    observe: str = Field("", description=OBSERVE)
    registry: str = Field(
        "file", description="where services register: `file`, or `etcds://HOST:PORT[,HOST:PORT][/PREFIX]`"
    )
    registry_keys: Path | None = Field(
        None, description="folder of what etcd asks for: `ca.pem`, `login` and others, see docs/registry.md"
    )
