"""The process that health starts says until when certificates are good, also of those that ran out."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from real_etcd.certificates import make_certificates

from services.common.site import certificates_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from real_etcd.certificates import Certificates

MINUTE = timedelta(minutes=1)


def say(registry: str, *words: str, credentials: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
    """It is a process of its own: it gives its priority away."""
    command = [sys.executable, "-m", certificates_process.__name__, registry, *words]
    environ = os.environ | ({} if credentials is None else {"CREDENTIALS_DIRECTORY": str(credentials)})
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert not done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def keys_of(made: Certificates, folder: Path) -> Path:
    """A folder of `registry_keys` with these certificates."""
    folder.mkdir()
    for source, name in zip((made.ca, *made.client), ("ca.pem", "client.pem", "client-key.pem"), strict=True):
        (folder / name).write_bytes(source.read_bytes())
        (folder / name).chmod(0o400)
    return folder


@contextmanager
def member(made: Certificates) -> Iterator[int]:
    """Presents a server's certificate to who has one itself, as etcd does; gives its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*made.server)
    context.load_verify_locations(made.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError), listening.accept()[0] as plain:
                plain.settimeout(20)
                context.wrap_socket(plain, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("good_for", [MINUTE, -MINUTE])
def test_files_and_what_members_present_are_told(tmp_path: Path, good_for: timedelta) -> None:
    """One that runs out within a minute, and one that ran out; a member that is away is left out."""
    until_s = time.time() + good_for.total_seconds()
    made = make_certificates(tmp_path / "made", good_for=good_for)
    keys = keys_of(made, tmp_path / "keys")
    with member(made) as port:
        status, told = say(f"etcds://127.0.0.1:{port},127.0.0.1:1/appia", "--keys", str(keys))
    assert status == 0
    assert [one["subject"] for one in told] == ["ca.pem", "client.pem", f"etcd 127.0.0.1:{port}"]
    assert [one["until_s"] for one in told] == pytest.approx([until_s] * 3, abs=10)


def of_version_5(pem: Path) -> str:
    """The same certificate with a version that there is not (RFC 5280 knows 1 to 3)."""
    der = ssl.PEM_cert_to_DER_cert(pem.read_text())
    return ssl.DER_cert_to_PEM_cert(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x04", 1))


def test_a_member_with_an_odd_certificate_hides_no_other(tmp_path: Path) -> None:
    """What it presents cannot be read; the files and the member after it are told all the same."""
    made = make_certificates(tmp_path / "made")
    keys = keys_of(made, tmp_path / "keys")
    with member(made) as sound:
        made.server[0].write_text(of_version_5(made.server[0]))
        with member(made) as odd:
            status, told = say(f"etcds://127.0.0.1:{odd},127.0.0.1:{sound}/appia", "--keys", str(keys))
    assert status == 0
    assert [one["subject"] for one in told] == ["ca.pem", "client.pem", f"etcd 127.0.0.1:{sound}"]


def test_credentials_of_systemd_are_told_under_the_names_of_their_kind(tmp_path: Path) -> None:
    """Rules, runbook and who is alerted know `ca.pem` and `client.pem`, on each machine."""
    keys = keys_of(make_certificates(tmp_path / "made"), tmp_path / "keys")
    for file in keys.iterdir():
        file.rename(tmp_path / f"secrets_registry_{file.name}")
    folder = str(tmp_path / "secrets_registry")
    status, told = say("etcd://127.0.0.1:1/appia", "--keys", folder, credentials=tmp_path)
    assert (status, [one["subject"] for one in told]) == (0, ["ca.pem", "client.pem"])


def test_of_several_authorities_the_one_that_ends_first_is_told(tmp_path: Path) -> None:
    """The old one beside the new one has to go before it ends."""
    old, new = (
        make_certificates(tmp_path / name, good_for=days * timedelta(days=1)).ca
        for name, days in (("a", 3), ("b", 9))
    )
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "ca.pem").write_bytes(new.read_bytes() + old.read_bytes())
    status, told = say("etcd://127.0.0.1:1/appia", "--keys", str(tmp_path / "keys"))
    assert (status, [one["subject"] for one in told]) == (0, ["ca.pem"])
    assert told[0]["until_s"] == pytest.approx(time.time() + 3 * 86_400, abs=10)


@pytest.mark.parametrize("odd", [False, True])
def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path: Path, odd: bool) -> None:  # noqa: FBT001 - a case
    """And the status says that nothing is known."""
    text = of_version_5(make_certificates(tmp_path / "made").ca) if odd else "nothing"
    (tmp_path / "ca.pem").write_text(text)
    status, (said,) = say("etcds://127.0.0.1:1/appia", "--keys", str(tmp_path))
    assert status != 0
    assert said == {"error": f"{tmp_path / 'ca.pem'} holds no certificate in PEM: restore it."}
