"""Opens the registry that a setting names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.errors import UsageError
from services.common.registry.etcd_url import SCHEME, parse_etcd_url
from services.common.registry.files import FileRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.registry.port import Registry

FOLDER = "registry"


def open_registry(url: str, state_dir: Path) -> Registry:
    """Open the registry named by `url`; does not block and does not ask whether it answers.

    Args:
        url: "file" for the folder `<state_dir>/registry`, or "etcd://HOST:PORT[,HOST:PORT][/PREFIX]".
        state_dir: The state directory of this machine.

    Raises:
        UsageError: `url` is neither.
    """
    if url == "file":
        return FileRegistry(state_dir / FOLDER)
    if url.startswith(SCHEME):
        settings = parse_etcd_url(url)
        # Who uses the file registry pays neither the time nor the memory of an HTTP client.
        from services.common.registry.etcd import EtcdRegistry  # noqa: PLC0415 - see above

        return EtcdRegistry(settings)
    raise UsageError(
        f"The registry {url!r} is not known; use 'file' or 'etcd://HOST:PORT[,HOST:PORT][/PREFIX]'."
    )
