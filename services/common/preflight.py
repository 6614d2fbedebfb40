"""What `--check` of a service does: settings and keys are read, what is wrong is said; nothing is opened or changed."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from services.common.access.book import read_access
from services.common.access.curve import KeyPair
from services.common.access.entrance import AccessFiles, check_access_files
from services.common.errors import AppiaError
from services.common.journal import say_wrong
from services.common.observing.probe_server import check_place
from services.common.registry.connect import check_registry_url
from services.common.registry.keys import read_registry_keys
from services.common.rest.storage_keys import open_log_keys
from services.common.rpc import check_endpoint
from services.common.secret_files import CREDENTIALS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

S = TypeVar("S")

WRONG = 2
_CREDENTIALS = Path("/run/credentials")
"""Where systemd puts the credentials of services (systemd.exec(5))."""


class Preflight:
    """Reads what settings name. Every method raises AppiaError where something cannot be used."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Nothing is read yet."""
        self._has_credentials = CREDENTIALS_VARIABLE in environ
        self.unseen: list[str] = []
        """Settings whose files only the running service can see: its credentials."""

    def file(self, setting: str, path: Path | None, read: Callable[[Path], object]) -> None:
        """Read the file or folder that a setting names; None is nothing to read."""
        if path is None:
            return
        if path.is_relative_to(_CREDENTIALS) and not self._has_credentials:
            self.unseen.append(setting)
        else:
            read(path)

    @contextmanager
    def as_owner_of(self, place: Path) -> Iterator[None]:
        """Root reads keys as the user they belong to, who is the one that the service runs as; others as they are."""
        owner = place.stat().st_uid if os.geteuid() == 0 and place.exists() else 0
        if owner == 0:
            yield
            return
        os.seteuid(owner)
        try:
            yield
        finally:
            os.seteuid(0)

    def server(self, bind: str, files: AccessFiles) -> None:
        """Where a service is asked, and who may ask it."""
        check_endpoint(bind, encrypted=files.server_key is not None)
        check_access_files(files)
        self.file("server_key", files.server_key, KeyPair.read)
        self.file("access", files.access, read_access)

    def registry(self, url: str, keys: Path | None) -> None:
        """Where it registers."""
        check_registry_url(url)
        self.file("registry_keys", keys, read_registry_keys)

    def observed(self, place: str) -> None:
        """Where it is observed; empty for nowhere."""
        if place:
            check_place(place)

    def storage(self, path: Path | None, *, required: bool) -> None:
        """The storage keys, where logs are encrypted."""
        if path is None:
            open_log_keys(None, _nobody, require_encryption=required)
        self.file("storage_key", path, lambda file: self._open_log_keys(file, required=required))

    def _open_log_keys(self, path: Path, *, required: bool) -> None:
        with self.as_owner_of(path):
            open_log_keys(path, _nobody, require_encryption=required)


def check(program: str, load: Callable[[], S], look: Callable[[S, Preflight], None]) -> int:
    """Load settings, look at what they name, and print one sentence; gives the exit status. Blocks on the disk.

    Args:
        program: named before what is wrong.
        load: reads the settings.
        look: reads what they name.
    """
    flight = Preflight()
    try:
        settings = load()
        look(settings, flight)
    except AppiaError as error:
        say_wrong(program, error)
        return WRONG
    unseen = f" (credentials that only the service sees: {', '.join(flight.unseen)})" if flight.unseen else ""
    sys.stdout.write(f"ok{unseen}\n")
    return 0


def _nobody(_sentence: str) -> None:
    """Takes what is only of interest while a service runs."""
