"""Says until when the certificates of a registry in etcd are good, in a process of its own: health has to stay small.

`python -m services.common.site.certificates_process REGISTRY [--keys FOLDER]`

Prints one JSON object a certificate, {"subject": NAME, "until_s": SECONDS SINCE 1970}: of the authorities (the one that
ends first) as `ca.pem` and of the client as `client.pem`, whatever a folder of credentials calls them, and of the
server of each member that answers, as `etcd HOST:PORT`. Where a file cannot be read, {"error": SENTENCE}.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from services.common.errors import AppiaError
from services.common.idle import become_idle
from services.common.registry.etcd_url import parse_etcd_url
from services.common.registry.keys import CA, CERTIFICATE, MOST_PEM_BYTES, RegistryKeys, read_registry_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.registry.etcd_url import EtcdSettings

TIMEOUT_S = 5.0
_NO_CERTIFICATE = (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm)
"""What reading a certificate raises; the last two are no ValueErrors. A member presents what it likes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Look at all of them once; gives the exit status."""
    parser = argparse.ArgumentParser(description="Say until when certificates are good.")
    parser.add_argument("registry")
    parser.add_argument("--keys", type=Path)
    options = parser.parse_args(argv)
    become_idle()
    try:
        keys = read_registry_keys(options.keys)
        members = _members(parse_etcd_url(options.registry), keys)
        for subject, until_s in chain(_files(keys), members):  # each is told at once, whatever comes after it
            sys.stdout.write(json.dumps({"subject": subject, "until_s": until_s}) + "\n")
            sys.stdout.flush()
    except AppiaError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return error.exit_code
    return 0


def _files(keys: RegistryKeys) -> Iterator[tuple[str, float]]:
    if keys.ca is not None:
        yield CA, _first_end(keys.ca)
    if keys.certificate is not None:
        yield CERTIFICATE, _first_end(keys.certificate[0])


def _first_end(path: Path) -> float:
    try:
        with path.open("rb") as file:
            found = x509.load_pem_x509_certificates(file.read(MOST_PEM_BYTES))
    except OSError as error:
        raise AppiaError(f"{path} cannot be read ({error.strerror}): check its name and owner.") from None
    except _NO_CERTIFICATE:
        raise AppiaError(f"{path} holds no certificate in PEM: restore it.") from None
    return min(one.not_valid_after_utc.timestamp() for one in found)


def _members(settings: EtcdSettings, keys: RegistryKeys) -> Iterator[tuple[str, float]]:
    """Of those that answer with a certificate: that one does not is told otherwise."""
    if not settings.tls:
        return
    context = _context(keys)
    for host, port in settings.endpoints:
        with suppress(OSError, *_NO_CERTIFICATE):
            yield f"etcd {host}:{port}", _server_end(host, port, context)


def _context(keys: RegistryKeys) -> ssl.SSLContext:
    """Nothing is asked and nothing said, so nobody is believed: one that has run out is looked at too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if keys.certificate is not None:
        try:
            context.load_cert_chain(*keys.certificate)
        except (OSError, ValueError) as error:
            raise AppiaError(f"{keys.certificate[0]} cannot be used with its key ({error}).") from None
    return context


def _server_end(host: str, port: int, context: ssl.SSLContext) -> float:
    with (
        socket.create_connection((host, port), TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        content = encrypted.getpeercert(binary_form=True) or b""
    return x509.load_der_x509_certificate(content).not_valid_after_utc.timestamp()


if __name__ == "__main__":
    sys.exit(main())
