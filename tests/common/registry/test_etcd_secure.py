"""etcd with TLS and users: who may use it, and one clear sentence for each way of being refused."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from real_etcd.certificates import Certificates, make_certificates
from real_etcd.member import MISSING, Member, Setup, installed

from services.common.errors import AppiaError, UsageError
from services.common.registry.connect import open_registry
from services.common.registry.port import Entry, Registry, RegistryUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

TTL_S = 3.0
NOBODY = Path("unused")
PASSWORD = "pass:word-with-a-colon"  # noqa: S105 - of an etcd that ends with the test
ENTRY = Entry("rag", "one", "tcp://10.0.0.7:1")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def etcd(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """TLS, client certificates asked for, and a user who may use keys below appia/."""
    if not installed():
        pytest.skip(MISSING)
    setup = Setup(certificates=certificates, options=("--client-cert-auth", "--auth-token-ttl", "1"))
    member = Member(tmp_path_factory.mktemp("etcd") / "data", setup=setup)
    member.start()
    member.control("user", "add", "root", "--interactive=false", given="roots-password\n")
    member.control("role", "add", "appia")
    member.control("role", "grant-permission", "appia", "--prefix=true", "readwrite", "appia/")
    member.control("user", "add", "appia", "--interactive=false", given=f"{PASSWORD}\n")
    member.control("user", "grant-role", "appia", "appia")
    member.control("user", "grant-role", "root", "root")
    member.control("auth", "enable")
    yield member
    member.kill()


@pytest.fixture
def folder(tmp_path: Path, certificates: Certificates) -> Path:
    """The keys of a service that may do all it needs."""
    folder = tmp_path / "registry"
    folder.mkdir()
    shutil.copy(certificates.ca, folder / "ca.pem")
    put_pair(folder, certificates.client)
    put_secret(folder / "login", f"appia:{PASSWORD}\n")
    return folder


def put_pair(folder: Path, pair: tuple[Path, Path]) -> None:
    shutil.copy(pair[0], folder / "client.pem")
    put_secret(folder / "client-key.pem", pair[1].read_text())


def put_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o400)


def opened(etcd: Member, folder: Path | None, prefix: str = "appia", scheme: str = "etcds") -> Registry:
    return open_registry(f"{scheme}://{etcd.hostport}/{prefix}", NOBODY, folder)


def test_an_entry_lives_in_etcd_over_tls_under_a_login(etcd: Member, folder: Path) -> None:
    registry = opened(etcd, folder)
    registration = registry.register(ENTRY, TTL_S)
    registration.heartbeat({"days": 1})
    assert [dict(entry.info) for entry in registry.entries("rag")] == [{"days": 1}]
    registration.withdraw()
    assert registry.entries("rag") == []


def test_a_token_that_ran_out_or_that_a_restarted_etcd_forgot_is_replaced_without_a_word(
    etcd: Member, folder: Path
) -> None:
    registry = opened(etcd, folder)
    registration = registry.register(ENTRY, TTL_S)
    time.sleep(2.5)  # tokens live for a second here
    registration.heartbeat({"late": 1})
    etcd.kill()
    etcd.start()
    registration.heartbeat({"back": 1})
    assert [entry.name for entry in registry.entries("rag")] == ["one"]
    registration.withdraw()


def _other_authority(folder: Path, _: Certificates, tmp: Path) -> None:
    shutil.copy(make_certificates(tmp / "others").ca, folder / "ca.pem")


def _other_client(folder: Path, _: Certificates, tmp: Path) -> None:
    put_pair(folder, make_certificates(tmp / "others").client)


def _no_client(folder: Path, _: Certificates, __: Path) -> None:
    (folder / "client.pem").unlink()
    (folder / "client-key.pem").unlink()


REFUSALS = {
    "no login": (lambda folder, _, __: (folder / "login").unlink(), "wants a user and a password"),
    "a wrong password": (
        lambda folder, _, __: put_secret(folder / "login", "appia:hunter2"),
        "refuses the user or the password",
    ),
    "an unknown user": (
        lambda folder, _, __: put_secret(folder / "login", f"nobody:{PASSWORD}"),
        "refuses the user or the password",
    ),
    "another authority": (_other_authority, "ca.pem of registry_keys did not sign"),
    "no authority": (
        lambda folder, _, __: (folder / "ca.pem").unlink(),
        "ca.pem of registry_keys did not sign",
    ),
    "another client": (_other_client, "not accept this client's certificate"),
    "no client certificate": (_no_client, "not accept this client's certificate"),
    "a client with a common name": (
        lambda folder, certificates, _: put_pair(folder, certificates.named_client),
        "make client.pem without one",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_who_may_not_is_told_why_in_one_sentence_without_a_secret(
    etcd: Member, folder: Path, certificates: Certificates, tmp_path: Path, case: str
) -> None:
    change, words = REFUSALS[case]
    change(folder, certificates, tmp_path)
    with pytest.raises(RegistryUnavailable, match=words) as caught:
        opened(etcd, folder).entries("rag")
    said = str(caught.value)
    # Where a handshake is broken off, nobody can tell whether etcd refuses or is being stopped.
    assert said.startswith(("The registry in etcd cannot be used: 127.", "No etcd answered: 127."))
    assert "\n" not in said
    assert "hunter2" not in said
    assert PASSWORD not in said


def test_keys_below_another_prefix_are_refused(etcd: Member, folder: Path) -> None:
    registry = opened(etcd, folder, prefix="others")
    sentence = "gives the user 'appia' no right to keys below others/"
    with pytest.raises(RegistryUnavailable, match=sentence):
        registry.entries("rag")
    with pytest.raises(RegistryUnavailable, match=sentence):
        registry.register(ENTRY, TTL_S)


def test_a_password_that_was_changed_stops_working_at_once(etcd: Member, folder: Path) -> None:
    registry = opened(etcd, folder)
    assert registry.entries("rag") == []
    root = ("--user", "root:roots-password")
    etcd.control("user", "passwd", "appia", "--interactive=false", given="another\n", options=root)
    try:
        with pytest.raises(RegistryUnavailable, match="refuses the user or the password"):
            registry.entries("rag")
    finally:
        etcd.control("user", "passwd", "appia", "--interactive=false", given=f"{PASSWORD}\n", options=root)
    assert registry.entries("rag") == []


def test_plain_text_to_an_etcd_with_tls_and_tls_to_one_without(
    etcd: Member, shared_etcd: Member, folder: Path
) -> None:
    with pytest.raises(RegistryUnavailable, match="it may speak TLS where plain text was asked for"):
        opened(etcd, None, scheme="etcd").entries("rag")
    with pytest.raises(RegistryUnavailable, match=r"does not speak TLS|or the other way round"):
        opened(shared_etcd, folder).entries("rag")


def test_a_login_where_etcd_has_no_users(shared_etcd: Member, tmp_path: Path) -> None:
    put_secret(tmp_path / "login", "appia:x")
    with pytest.raises(RegistryUnavailable, match="has no users switched on"):
        opened(shared_etcd, tmp_path, scheme="etcd").entries("rag")


@pytest.mark.parametrize(
    ("name", "mode", "text", "words"),
    [
        ("login", 0o440, "a:b", "has mode 0440 and must have 0400"),
        ("login", 0o400, "no colon", "should be one line, USER:PASSWORD"),
        ("login", 0o400, ":hunter2", "should be one line, USER:PASSWORD"),
        ("login", 0o400, "a:hunter2\nb", "should be one line, USER:PASSWORD"),
        ("login", 0o400, "a:" + "x" * 2000, "more than 1024 bytes"),
        ("seal", 0o400, "", "is damaged"),
        ("seal", 0o400, f"1 {'ab' * 32}", "is damaged"),
        ("seal", 0o644, f"1 {'ab' * 32} seals", "has mode 0644"),
        ("client.pem", 0o644, "x", "both are needed, or neither"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_named_and_not_quoted(
    tmp_path: Path, name: str, mode: int, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(mode)
    with pytest.raises(AppiaError, match=words) as caught:
        open_registry("etcds://127.0.0.1:1/appia", NOBODY, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "abab" not in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder .*absent"):
        open_registry("etcds://127.0.0.1:1/appia", NOBODY, tmp_path / "absent")
