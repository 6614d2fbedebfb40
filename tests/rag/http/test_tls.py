"""TLS by files: who is spoken with, and files that are renewed, half renewed and broken while a server runs."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization

from services.common.errors import AppiaError
from services.common.logs import make_logger
from services.rag.http.tls import TlsFiles, TlsNames
from tests.real_etcd.certificates import Certificates, make_certificates

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Spoken:
    """A server's files in their place, a clock, and what was logged."""

    def __init__(self, folder: Path, made: Certificates, *, clients: bool = False) -> None:
        self.names = TlsNames(folder / "cert.pem", folder / "key.pem", folder / "ca.pem" if clients else None)
        self.put(made)
        self.now, self.log = 0.0, io.StringIO()
        self.files = TlsFiles(self.names, make_logger("http", self.log), lambda: self.now)

    def put(self, made: Certificates) -> None:
        """Put others in their place."""
        for source, place in zip(
            (*made.server, made.ca),
            (self.names.certificate, self.names.key, self.names.client_ca),
            strict=True,
        ):
            if place is not None:
                shutil.copy(source, place.with_suffix(".new"))
                place.with_suffix(".new").replace(place)

    def greet(
        self, roots: Certificates, change: Callable[[ssl.SSLContext], Any] = lambda _: None
    ) -> tuple[str | None, int]:
        """Speak with the server: the version, and the number of its certificate.

        Raises:
            ssl.SSLError: it was not to be.
        """
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(roots.ca)
        change(client)
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=self._answer, args=(theirs,))
        thread.start()
        ours.settimeout(10)
        try:
            with client.wrap_socket(ours, server_hostname="127.0.0.1") as wrapped:
                assert wrapped.recv(5) == b"hello"  # in TLS 1.3 a client learns here that it was refused
                found = wrapped.getpeercert() or {}
                return wrapped.version(), int(str(found["serialNumber"]), 16)
        finally:
            ours.close()
            thread.join()

    def _answer(self, plain: socket.socket) -> None:
        with plain:
            try:
                with self.files.context.wrap_socket(plain, server_side=True) as wrapped:
                    wrapped.send(b"hello")
            except OSError:
                pass  # the client says so too

    def logged(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("two"))


def _version(version: ssl.TLSVersion) -> Callable[[ssl.SSLContext], None]:
    def change(client: ssl.SSLContext) -> None:
        client.set_ciphers("ALL:@SECLEVEL=0")
        client.options &= ~ssl.OP_NO_TLSv1_1
        client.minimum_version = client.maximum_version = version

    return change


@pytest.mark.filterwarnings("ignore:ssl.*TLSv1_1:DeprecationWarning")
def test_tls_is_1_2_or_newer(tmp_path: Path, one: Certificates, two: Certificates) -> None:
    """An older version is not spoken, and a client that trusts another authority does not go on."""
    spoken = Spoken(tmp_path, one)
    assert spoken.greet(one)[0] == "TLSv1.3"
    assert spoken.greet(one, _version(ssl.TLSVersion.TLSv1_2))[0] == "TLSv1.2"
    with pytest.raises(ssl.SSLError):
        spoken.greet(one, _version(ssl.TLSVersion.TLSv1_1))
    with pytest.raises(ssl.SSLCertVerificationError):
        spoken.greet(two)


def test_renewed_files_are_taken_up(tmp_path: Path, one: Certificates, two: Certificates) -> None:
    """With the next connection once a second has passed; it is logged."""
    spoken = Spoken(tmp_path, one)
    before = spoken.greet(one)
    spoken.put(two)
    spoken.now = 0.9
    assert spoken.greet(one) == before
    spoken.now = 2.0
    assert spoken.greet(two)[1] != before[1]
    with pytest.raises(ssl.SSLError):
        spoken.greet(one)
    assert [line["event"] for line in spoken.logged()] == ["the TLS files have changed"]


def test_files_that_do_not_fit_are_not_taken(tmp_path: Path, one: Certificates, two: Certificates) -> None:
    """While the certificate is new and the key old, the old ones serve; once both are there, the new ones do."""
    spoken = Spoken(tmp_path, one)
    before = spoken.greet(one)
    spoken.names.certificate.write_bytes(two.server[0].read_bytes())
    for now in (2.0, 4.0):
        spoken.now = now
        assert spoken.greet(one) == before
    (line,) = spoken.logged()
    assert line["level"] == "error"
    assert "cannot be used (key values mismatch)" in line["reason"]
    spoken.put(two)
    spoken.now = 6.0
    assert spoken.greet(two)[1] != before[1]
    spoken.names.key.chmod(0o444)
    spoken.now = 8.0
    assert spoken.greet(two)[1] != before[1]
    assert "has mode 0444" in spoken.logged()[-1]["reason"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_may_need_certificates(
    tmp_path: Path, one: Certificates, two: Certificates, version: ssl.TLSVersion
) -> None:
    """None, and one of another authority, do not get in; which authority it is can change as well."""

    def showing(made: Certificates) -> Callable[[ssl.SSLContext], None]:
        def change(client: ssl.SSLContext) -> None:
            client.minimum_version = client.maximum_version = version
            client.load_cert_chain(*made.client)

        return change

    spoken = Spoken(tmp_path, one, clients=True)
    assert spoken.greet(one, showing(one))
    for refused in (showing(two), _version(version)):
        with pytest.raises(OSError, match=r"alert|reset|EOF"):
            spoken.greet(one, refused)
    spoken.put(two)
    spoken.now = 2.0
    assert spoken.greet(two, showing(two))
    with pytest.raises(OSError, match=r"alert|reset|EOF"):
        spoken.greet(two, showing(one))


def test_what_cannot_be_used_is_said(tmp_path: Path, one: Certificates, two: Certificates) -> None:
    """One sentence for each, which names the file; a key with a passphrase does not ask the terminal for it."""
    certificate, key = one.server
    locked, empty, open_key = tmp_path / "locked.pem", tmp_path / "empty.pem", tmp_path / "open.pem"
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"passphrase")
    form = serialization.PrivateFormat.PKCS8
    locked.write_bytes(loaded.private_bytes(serialization.Encoding.PEM, form, secret))
    empty.write_bytes(b"")
    for file in (locked, empty):
        file.chmod(0o400)
    shutil.copy(key, open_key)
    open_key.chmod(0o440)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o400)
    missing = tmp_path / "missing.pem"
    for names, said in [
        (TlsNames(certificate, missing), f"{missing} could not be read"),
        (TlsNames(missing, key), f"{missing} cannot be read"),
        (TlsNames(certificate, open_key), "has mode 0440 and must have 0400"),
        (TlsNames(certificate, pipe), "is not a plain file"),
        (TlsNames(certificate, locked), "without a passphrase"),
        (TlsNames(certificate, empty), f"{empty} cannot be used"),
        (TlsNames(empty, key), f"{empty} and the key {key} cannot be used"),
        (TlsNames(certificate, two.server[1]), "key values mismatch"),
        (TlsNames(certificate, key, empty), f"{empty} cannot be used to check clients"),
        (TlsNames(certificate, key, missing), f"{missing} cannot be read"),
    ]:
        with pytest.raises(AppiaError, match=re.escape(said)) as refused:
            TlsFiles(names, make_logger("http", io.StringIO()))
        assert "\n" not in str(refused.value)
