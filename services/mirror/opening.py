"""Opens the source that a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import fsspec

from services.common.errors import UsageError
from services.mirror.appia_filesystem import PROTOCOL, AppiaFileSystem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def shown(url: str) -> str:
    """A URL without what a name and password may be in, to be written down."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def check_url(url: str) -> str:
    """The protocol of a URL.

    Raises:
        UsageError: the URL is none, or fsspec does not know it, or what it needs is not installed.
    """
    protocol, found, _ = url.partition("://")
    if not found or "::" in url:
        raise UsageError(
            f"The source {shown(url)!r} is no URL: give appia://HOST:PORT, file:///FOLDER, s3://BUCKET/PREFIX or so."
        )
    if protocol == PROTOCOL:
        AppiaFileSystem._get_kwargs_from_urls(url)  # noqa: SLF001 - how fsspec itself reads a URL
    elif protocol not in fsspec.available_protocols():
        raise UsageError(f"The source {shown(url)!r} is of a kind that fsspec does not know: {protocol}.")
    else:
        try:
            fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            raise UsageError(f"The source {shown(url)!r} cannot be opened: {error}.") from None
    return protocol


def open_filesystem(
    url: str, key: Path | None, server_key: str | None, options: Mapping[str, Any]
) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it. Nothing is cached between two reads.

    Args:
        url: `appia://HOST:PORT` for an origin; `file:///FOLDER`, `s3://BUCKET/PREFIX` and what else fsspec knows.
        key: for an origin, the file of the own key.
        server_key: for an origin, its public key (Z85) or the name of a file that holds it.
        options: of other file systems, as fsspec takes them.

    Raises:
        UsageError: the URL is none, or what it needs is not installed, or an option is not known there.
        AppiaError: a key cannot be used.
    """
    if check_url(url) == PROTOCOL:
        return AppiaFileSystem.of_url(url, key=key, server_key=server_key)
    given = {"skip_instance_cache": True, "use_listings_cache": False, **options}
    try:
        filesystem, path = fsspec.core.url_to_fs(url, **given)
    except (ImportError, ValueError, TypeError) as error:
        raise UsageError(f"The source {shown(url)!r} cannot be opened: {error}.") from None
    return filesystem, str(path)
