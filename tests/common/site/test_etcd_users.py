"""Users of a real etcd, with the certificates of a site: each reads and writes what is its own, and nothing else."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from real_etcd.certificates import Certificates
from real_etcd.member import MISSING, Member, Setup, installed

from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.registry.connect import open_registry
from services.common.registry.port import Entry, RegistryUnavailable
from services.common.site.etcd_access import set_up_users
from services.common.site.making import Tools, make_site
from services.common.site.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from services.common.registry.port import Registry

ENTRY = Entry("rag", "rag-1", "tcp://10.0.0.12:5560", {})


def _make(root: Path, wanted: Wanted) -> None:
    make_site(root, lambda _before: wanted, Tools(Disk()), renew=False)


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites, a and b, of which b uses the etcd of a."""
    root = tmp_path_factory.mktemp("sites")
    here = {"n1": "127.0.0.1"}
    _make(root / "a", Wanted("a", here, etcd=here))
    _make(root / "b", Wanted("b", here, etcd_authority="../a"))
    return root


@pytest.fixture(scope="module")
def etcd(sites: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    """A member with the certificates that were made for it, its peers' door too, which lets nobody in without one."""
    if not installed():
        pytest.skip(MISSING)
    own, keys = sites / "a" / "etcd" / "n1", sites / "a" / "registry"
    client = keys / "client.pem", keys / "client-key.pem"
    found = Certificates(own / "ca.pem", (own / "server.pem", own / "server-key.pem"), client, client)
    options = ("--client-cert-auth", "--bcrypt-cost", "4")
    member = Member(tmp_path_factory.mktemp("etcd") / "data", setup=Setup("127.0.0.1", found, (), options))
    member.start()
    yield member
    member.kill()


@pytest.fixture
def registry(etcd: Member, sites: Path) -> Iterator[Callable[[str, str], Registry]]:
    """The registry of one site as another's keys, or nobody's, see it: prefix of the site, folder of keys."""
    opened = []

    def opens(site: str, keys: str) -> Registry:
        found = open_registry(f"etcds://{etcd.hostport}/appia/{site}", sites, sites / keys)
        opened.append(found)
        return found

    yield opens
    for one in opened:
        one.close()


@pytest.fixture(scope="module")
def users(etcd: Member, sites: Path) -> list[str]:
    """What the first setting up of both sites changed."""
    return [*set_up_users(sites / "a", [etcd.hostport]), *set_up_users(sites / "b", [etcd.hostport])]


def test_users_are_made_once(users: list[str], etcd: Member, sites: Path) -> None:
    """The second time nothing is to be done, also not for the other site."""
    assert {"made the user root", "let a read and write appia/a/", "switched users on"} <= set(users)
    assert "let b-reader read appia/b/" in users
    assert set_up_users(sites / "a", [etcd.hostport]) == []
    assert set_up_users(sites / "b", [etcd.hostport]) == []


@pytest.mark.usefixtures("users")
def test_services_register_and_analysts_find_them_and_change_nothing(
    registry: Callable[[str, str], Registry],
) -> None:
    kept = registry("a", "a/registry").register(ENTRY, 10)
    assert [one.name for one in registry("a", "a/reader").entries("rag")] == ["rag-1"]
    with pytest.raises(RegistryUnavailable, match="no right to keys below appia/a/"):
        registry("a", "a/reader").register(ENTRY, 10)
    kept.withdraw()


@pytest.mark.usefixtures("users")
@pytest.mark.parametrize("keys", ["b/registry", "b/reader"])
def test_a_site_sees_nothing_of_another(registry: Callable[[str, str], Registry], keys: str) -> None:
    with pytest.raises(RegistryUnavailable, match="no right"):
        registry("a", keys).entries("rag")


@pytest.mark.usefixtures("users")
def test_nobody_asks_without_a_login_or_without_a_certificate(
    registry: Callable[[str, str], Registry], sites: Path
) -> None:
    for name, lost in (("no-login", ("login",)), ("no-certificate", ("client.pem", "client-key.pem"))):
        shutil.copytree(sites / "a" / "registry", sites / name)
        for file in lost:
            (sites / name / file).unlink()
        with pytest.raises(RegistryUnavailable):
            registry("a", name).entries("rag")


@pytest.mark.usefixtures("users")
def test_another_password_is_taken_over(
    etcd: Member, sites: Path, registry: Callable[[str, str], Registry]
) -> None:
    (sites / "a" / "etcd" / "a.password").unlink()
    _make(sites / "a", Wanted("a", {"n1": "127.0.0.1"}, etcd={"n1": "127.0.0.1"}))
    with pytest.raises(RegistryUnavailable, match="refuses the user or the password"):
        registry("a", "a/registry").entries("rag")
    assert set_up_users(sites / "a", [etcd.hostport]) == ["changed the password of a"]
    assert registry("a", "a/registry").entries("rag") == []


@pytest.mark.usefixtures("users")
def test_a_right_that_somebody_gave_beyond_the_prefix_is_taken_back(etcd: Member, sites: Path) -> None:
    password = (sites / "a" / "etcd" / "root.password").read_text().strip()
    as_root = ("--user", f"root:{password}")
    etcd.control(
        "role", "grant-permission", "b-reader", "--prefix=true", "readwrite", "appia/", options=as_root
    )
    assert set_up_users(sites / "b", [etcd.hostport]) == ["took a right to other keys from b-reader"]
    said = etcd.control("role", "get", "b-reader", options=as_root)
    assert "appia/b/" in said
    assert "[appia/, appia0)" not in said


@pytest.mark.usefixtures("users")
def test_the_password_of_root_of_another_etcd_is_told(etcd: Member, sites: Path, tmp_path: Path) -> None:
    shutil.copytree(sites / "a", tmp_path / "a")
    path = tmp_path / "a" / "etcd" / "root.password"
    path.chmod(0o600)
    path.write_text("hunter2\n")
    path.chmod(0o400)
    with pytest.raises(AppiaError, match="another password for its user root") as told:
        set_up_users(tmp_path / "a", [etcd.hostport])
    assert "hunter2" not in str(told.value)


def test_a_site_without_etcd_has_no_users(tmp_path: Path) -> None:
    _make(tmp_path / "c", Wanted("c", {"n1": "127.0.0.1"}))
    with pytest.raises(UsageError, match="has no etcd"):
        set_up_users(tmp_path / "c", [])
    with pytest.raises(UsageError, match="holds no secrets of a site"):
        set_up_users(tmp_path / "nowhere", [])
