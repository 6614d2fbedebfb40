"""Opens the registry that a setting names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.common.errors import UsageError
from services.common.registry.etcd_url import is_etcd_url, parse_etcd_url
from services.common.registry.files import FileRegistry

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.registry.port import Registry

FOLDER = "registry"
KEYS_FOLDER = "registry"


def registry_keys_in(keys: Path) -> Path | None:
    """The folder of what etcd asks for inside a keys folder; None where it is not there."""
    folder = keys / KEYS_FOLDER
    return folder if folder.is_dir() else None


def open_registry(url: str, state_dir: Path, keys: Path | None = None) -> Registry:
    """Open the registry named by `url`; does not ask whether it answers. Blocks on the disk for the keys only.

    Args:
        url: "file" for the folder `<state_dir>/registry`, or "etcds://HOST:PORT[,HOST:PORT][/PREFIX]" ("etcd://" on
            loopback).
        state_dir: The state directory of this machine.
        keys: The folder of what etcd asks for (see `RegistryKeys`); None where it asks for nothing.

    Raises:
        UsageError: `url` is neither, or the folder is incomplete.
        AppiaError: a secret in the folder cannot be used.
    """
    if url == "file":
        return FileRegistry(state_dir / FOLDER)
    check_registry_url(url)
    # Who uses the file registry pays neither the time nor the memory of an HTTP client and of cryptography.
    from services.common.registry.etcd import EtcdRegistry  # noqa: PLC0415 - see above
    from services.common.registry.keys import read_registry_keys  # noqa: PLC0415 - as above

    return EtcdRegistry(parse_etcd_url(url), read_registry_keys(keys))


def check_registry_url(url: str) -> str:
    """Give back a registry URL that can be opened.

    Raises:
        UsageError: it names no registry.
    """
    if is_etcd_url(url):
        parse_etcd_url(url)
    elif url != "file":
        raise UsageError(
            f"The registry {url!r} is not known; use 'file', 'etcds://HOST:PORT[,HOST:PORT][/PREFIX]', or "
            "'etcd://' on loopback."
        )
    return url
