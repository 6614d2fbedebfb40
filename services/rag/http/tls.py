"""TLS by files that may be renewed while a server runs: whole or not at all."""

from __future__ import annotations

import hashlib
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.common.secret_files import read_secret_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

LOOK_S = 1.0
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class TlsNames:
    """PEM files.

    Attributes:
        certificate: the server's, followed by those between it and its root.
        key: its private key, mode 0400.
        client_ca: the roots of the certificates that clients need; None where they need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def digest(self) -> bytes:
        """SHA-256 over what is in the files. Blocks on the disk.

        Raises:
            AppiaError: one cannot be read, or others may read the key.
        """
        found = hashlib.sha256(read_secret_file(self.key, _MAX_BYTES))
        for path in (self.certificate, self.client_ca):
            if path is not None:
                found.update(_read(path))
        return found.digest()

    def context(self) -> ssl.SSLContext:
        """What they stand for: TLS 1.2 or newer. Blocks on the disk.

        Raises:
            AppiaError: they cannot be used.
        """
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION
        try:
            # Without a word for a key with a passphrase OpenSSL would ask the terminal.
            made.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise AppiaError(
                f"The TLS certificate {self.certificate} and the key {self.key} cannot be used ({_reason(error)}): "
                "give PEM files that belong together, the key without a passphrase."
            ) from None
        return made if self.client_ca is None else self._with_clients(made, self.client_ca)

    @staticmethod
    def _with_clients(made: ssl.SSLContext, roots: Path) -> ssl.SSLContext:
        try:
            made.load_verify_locations(roots)
        except (OSError, ValueError) as error:
            raise AppiaError(
                f"{roots} cannot be used to check clients ({_reason(error)}): give a PEM file of certificates."
            ) from None
        made.verify_mode = ssl.CERT_REQUIRED
        # A ticket would let in whoever had a certificate once, without a look at it.
        made.num_tickets = 0
        made.options |= ssl.OP_NO_TICKET
        return made


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        raise AppiaError(f"{path} cannot be read ({error.strerror}).") from None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or "not PEM"


class TlsFiles:
    """Speaks TLS by what the files say now; looked at with a new connection, once a second at most. For one thread.

    Files that do not fit together, as while they are being replaced, are logged, and what they said before stays.
    Connections that are open stay as they are.
    """

    def __init__(
        self, names: TlsNames, log: FilteringBoundLogger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the files; blocks on the disk.

        Raises:
            AppiaError: they cannot be used.
        """
        self._names = names
        self._log = log
        self._clock = clock
        self._digest = names.digest()
        self._current = names.context()
        self._refused = ""
        self._next_look = clock() + LOOK_S
        self.context = names.context()
        """What a server listens with. OpenSSL asks it in every handshake which one to go on with."""
        self.context.sni_callback = self._choose

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._clock() >= self._next_look:
            self._look()
            self._next_look = self._clock() + LOOK_S
        connection.context = self._current

    def _look(self) -> None:
        try:
            digest = self._names.digest()
            if digest != self._digest:
                self._current, self._digest = self._names.context(), digest
                self._log.info("the TLS files have changed")
            self._refused = ""
        except AppiaError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self._log.error("the TLS files are not taken; those before stay", reason=self._refused)
