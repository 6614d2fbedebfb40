"""A folder of secrets: what is there stays, what is missing is made, and every secret is closed to others."""

from __future__ import annotations

import shutil
import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from common.site.conftest import NOW

from services.common.access.book import read_access
from services.common.access.curve import KeyPair
from services.common.access.edit import revoke_key
from services.common.access.names import GROUPS
from services.common.access.rights import Rate
from services.common.chain.keys import read_public_key, read_signing_ring
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.registry.keys import read_registry_keys
from services.common.rest.storage_keys import read_storage_keys
from services.common.site.expiry import expiries
from services.common.site.names import SiteFolder
from services.common.wire.keys import read_key_ring

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.site.making import MadeSite

THREE = {"n1": "10.0.0.11", "n2": "10.0.0.12", "n3": "10.0.0.13"}
SITE: dict[str, Any] = {
    "ingester": {"n1": "10.0.0.11"},
    "rag": {"n2": "10.0.0.12", "n3": "10.0.0.13"},
    "etcd": THREE,
    "analysts": ("alice",),
    "encrypt": True,
}


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_all_of_a_site_is_made_and_each_reader_takes_its_part(make: Callable[..., MadeSite]) -> None:
    """The services' own readers open what was made: no second opinion about formats."""
    made = make(**SITE)
    folder = made.folder
    read_key_ring(folder.ingester)
    signing = read_signing_ring(folder.ingester)
    assert signing is not None
    assert read_public_key(folder.signing_public) == signing.active.public
    assert len(read_storage_keys(folder.storage_keys)) == 1
    services, analysts = read_registry_keys(folder.registry), read_registry_keys(folder.reader)
    assert (services.login and services.login.user, analysts.login and analysts.login.user) == (
        "main",
        "main-reader",
    )
    assert services.seals == analysts.seals is not None
    for node in THREE:
        public = KeyPair.read(folder.server_secret(node)).public
        assert folder.server_public(node).read_text() == f"{public}\n"
    assert made.members == THREE


def test_each_key_that_asks_has_the_rights_of_its_work_and_no_more(make: Callable[..., MadeSite]) -> None:
    folder = make(**SITE).folder
    found = read_access(folder.access).principals
    rights = {name: one.rights.operations for name, one in found.items()}
    assert rights == {
        "operator": frozenset(GROUPS["all"]),
        "health": frozenset(GROUPS["control"]),
        "mirror-n2": frozenset(GROUPS["mirror"]),
        "mirror-n3": frozenset(GROUPS["mirror"]),
        "alice": frozenset((*GROUPS["questions"], *GROUPS["remarks"])),
    }
    assert found["mirror-n2"].rights.rate == Rate(1000, 1000)
    for name, one in found.items():
        assert KeyPair.read(folder.client_secret(name)).public == one.public_key


def test_the_same_again_changes_no_byte_and_no_time(make: Callable[..., MadeSite]) -> None:
    root = make(**SITE).folder.root
    before = _contents(root), {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert make(**SITE).made == ()
    assert make().made == ()
    assert before == (_contents(root), {path: path.stat().st_mtime_ns for path in root.rglob("*")})


def test_nobody_else_can_read_what_is_secret(make: Callable[..., MadeSite]) -> None:
    """Folders are closed, and of the files in them only certificates and public keys have another mode."""
    root = make(**SITE).folder.root
    for path in (root, *root.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        elif path.name == "access.toml":
            assert mode == 0o640
        else:
            public = path.suffix == ".public" or path.name in {
                "ca.pem",
                "client.pem",
                "server.pem",
                "ACTIVE",
            }
            assert mode == (0o444 if public else 0o400), path


def test_another_node_and_another_analyst_get_what_is_theirs_and_nothing_else_changes(
    make: Callable[..., MadeSite],
) -> None:
    folder = make(**SITE).folder
    before = _contents(folder.root)
    made = make(rag={"n4": "10.0.0.14"}, analysts=("bob",)).made
    assert made == (
        "access.toml",
        "clients/bob.secret",
        "clients/mirror-n4.secret",
        "public/n4.server.public",
        "server/n4.secret",
        "site.json",
    )
    after = _contents(folder.root)
    assert {name for name in before if after[name] != before[name]} == {"access.toml", "site.json"}
    assert after["access.toml"].startswith(before["access.toml"].rstrip())


def test_a_moved_member_gets_a_certificate_for_its_new_address_and_the_others_keep_theirs(
    make: Callable[..., MadeSite],
) -> None:
    make(**SITE)
    made = make(etcd={"n2": "10.0.0.99"})
    assert made.made == ("etcd/n2/server.pem", "site.json")
    assert made.wanted.rag["n2"] == "10.0.0.99"
    (moved,) = (one for one in expiries(made.folder) if one.path == "etcd/n2/server.pem")
    assert "10.0.0.99" in moved.addresses
    assert "10.0.0.12" not in moved.addresses


def test_certificates_are_made_anew_by_the_same_authority(make: Callable[..., MadeSite]) -> None:
    folder = make(**SITE).folder
    before = _contents(folder.root)
    later = NOW + timedelta(days=700)
    made = make(renew=True, now=later).made
    assert made == tuple(
        sorted((*(f"etcd/{node}/server.pem" for node in THREE), "reader/client.pem", "registry/client.pem"))
    )
    assert _contents(folder.root)["authority/ca.pem"] == before["authority/ca.pem"]
    ends = {one.path: one.until for one in expiries(folder)}
    assert ends["etcd/n1/server.pem"] == later + timedelta(days=825)
    assert make(now=later).made == ()


def test_no_certificate_outlives_its_authority(make: Callable[..., MadeSite]) -> None:
    folder = make(**SITE).folder
    make(renew=True, now=NOW + timedelta(days=3600))
    assert {one.until for one in expiries(folder)} == {NOW + timedelta(days=3650)}


@pytest.mark.parametrize("lost", ["etcd/n1/server-key.pem", "etcd/n1/server.pem", "registry/client-key.pem"])
def test_half_a_pair_is_made_anew_whole(make: Callable[..., MadeSite], lost: str) -> None:
    """Also where another's half lies in its place: a kill between the two writes leaves that."""
    folder = make(**SITE).folder
    (folder.root / lost).unlink()
    pair = f"{lost.removesuffix('-key.pem').removesuffix('.pem')}.pem"
    assert make().made == (pair,)
    other = folder.root / "etcd" / "n2" / "server-key.pem"
    (folder.root / "etcd" / "n1" / "server-key.pem").unlink()
    (folder.root / "etcd" / "n1" / "server-key.pem").write_bytes(other.read_bytes())
    (folder.root / "etcd" / "n1" / "server-key.pem").chmod(0o400)
    assert make().made == ("etcd/n1/server.pem",)


def test_an_authority_that_is_lost_is_not_replaced_by_another(make: Callable[..., MadeSite]) -> None:
    """No member and no service that runs would trust it; and its key would be written over the old one."""
    folder = make(**SITE).folder
    key = (folder.authority / "ca-key.pem").read_bytes()
    (folder.authority / "ca.pem").unlink()
    with pytest.raises(
        AppiaError, match=r"authority/ca.pem is gone: restore it; .*/etcd/n1/ca.pem is a copy"
    ):
        make()
    assert (folder.authority / "ca-key.pem").read_bytes() == key
    shutil.copy(folder.member("n1") / "ca.pem", folder.authority)
    assert make().made == ()


def test_a_node_that_is_forgotten_may_ask_nothing_any_more(make: Callable[..., MadeSite]) -> None:
    """A run that was broken off after the rights were taken is finished by the same command; nothing is said twice."""
    folder = make(**SITE).folder
    revoke_key(Disk(), folder.access, "mirror-n3")
    made = make(forget=("n3",))
    assert read_access(folder.access).principals["mirror-n3"].revoked
    assert made.wanted.nodes == ("n1", "n2")
    assert made.made == ("site.json",)
    assert len(made.removed) == 4
    assert make(forget=("n2",)).made == ("access.toml", "site.json")
    assert read_access(folder.access).principals["mirror-n2"].revoked


def test_a_run_that_was_broken_off_anywhere_is_finished_by_the_next(
    make: Callable[..., MadeSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each single write in turn, the next run makes a whole site, in which all keys fit their tables."""
    writes = Disk.write_file
    for step in range(60):
        count = [0]

        def failing(disk: Disk, path: Path, content: bytes, mode: int = 0o640, step: int = step) -> None:
            count[0] += 1  # noqa: B023 - each round has its own
            if count[0] > step:  # noqa: B023
                raise KeyboardInterrupt
            writes(disk, path, content, mode)

        monkeypatch.setattr(Disk, "write_file", failing)
        try:
            make(f"s{step}", **SITE)
        except KeyboardInterrupt:
            monkeypatch.setattr(Disk, "write_file", writes)
            make(f"s{step}", **SITE)
            folder = make(f"s{step}").folder
            assert make(f"s{step}").made == ()
            for name, one in read_access(folder.access).principals.items():
                assert KeyPair.read(folder.client_secret(name)).public == one.public_key
            continue
        assert step > 20
        break
    else:
        pytest.fail("it was never whole")


def test_a_password_that_is_removed_is_another_one_and_the_login_follows(
    make: Callable[..., MadeSite],
) -> None:
    folder = make(**SITE).folder
    before = folder.password("main").read_text()
    folder.password("main").unlink()
    assert make().made == ("etcd/main.password", "registry/login")
    assert folder.password("main").read_text() != before


def test_rights_that_somebody_changed_stay_and_who_is_revoked_gets_no_new_key(
    make: Callable[..., MadeSite],
) -> None:
    """An analyst's secret may be removed after it was handed over; a service's may not, for its node needs it."""
    folder = make(**SITE).folder
    revoke_key(Disk(), folder.access, "alice")
    folder.client_secret("alice").unlink()
    assert make(**SITE).made == ()
    assert read_access(folder.access).principals["alice"].revoked
    folder.client_secret("health").unlink()
    with pytest.raises(AppiaError, match=r"clients/health.secret is gone"):
        make()


def test_one_node_with_a_registry_in_files_needs_no_authority(make: Callable[..., MadeSite]) -> None:
    made = make(ingester={"n1": "10.0.0.11"}, rag={"n1": "10.0.0.11"})
    assert not made.folder.authority.exists()
    assert not made.folder.reader.exists()
    assert read_registry_keys(made.folder.registry).seals is not None
    assert set(read_access(made.folder.access).principals) == {"operator", "health"}


def test_a_second_site_has_certificates_of_the_first_ones_authority_and_users_of_its_own(
    make: Callable[..., MadeSite],
) -> None:
    first = make(**SITE).folder
    made = make("b", ingester={"n9": "10.0.0.21"}, etcd_authority="../site")
    assert made.members == THREE
    assert not made.folder.authority.exists()
    assert (made.folder.registry / "ca.pem").read_bytes() == (first.authority / "ca.pem").read_bytes()
    login = read_registry_keys(made.folder.registry).login
    assert login is not None
    assert login.user == "b"
    assert not made.folder.password("root").exists()
    assert make("b").made == ()


def test_what_cannot_be_made_leaves_nothing_behind(make: Callable[..., MadeSite], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two addresses"):
        make(ingester={"n1": "10.0.0.11"}, rag={"n1": "10.0.0.12"})
    with pytest.raises(UsageError, match="no folder of a site with an etcd"):
        make(ingester={"n1": "10.0.0.11"}, etcd_authority="../nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_site_does_not_share_an_etcd_with_one_of_its_own_name(make: Callable[..., MadeSite]) -> None:
    make(**SITE)
    with pytest.raises(UsageError, match="Both sites are called main"):
        make("other", site="main", ingester={"n9": "10.0.0.21"}, etcd_authority="../site")


def test_a_damaged_secret_is_told_and_never_replaced(make: Callable[..., MadeSite]) -> None:
    folder = make(**SITE).folder
    for path in (folder.server_secret("n1"), folder.storage_keys, folder.authority / "ca-key.pem"):
        whole = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(b"nothing of use")
        path.chmod(0o400)
        with pytest.raises(AppiaError, match=str(path)) as told:
            make()
        assert "nothing of use" not in str(told.value)
        assert path.read_bytes() == b"nothing of use"
        path.chmod(0o600)
        path.write_bytes(whole)
        path.chmod(0o400)


def test_a_secret_that_others_may_read_is_refused(make: Callable[..., MadeSite]) -> None:
    folder = make(**SITE).folder
    folder.password("main").chmod(0o644)
    with pytest.raises(AppiaError, match="must have 0400"):
        make()


def test_a_folder_that_others_may_change_is_refused(make: Callable[..., MadeSite]) -> None:
    """They could put keys of their own into it."""
    root = make(**SITE).folder.root
    root.chmod(0o770)
    with pytest.raises(AppiaError, match="others can replace the keys in it"):
        make()


def test_the_guide_lists_every_file_that_is_made(make: Callable[..., MadeSite]) -> None:
    """docs/site.md says who gets each; a new file has to be said there."""
    root = make(**SITE).folder.root
    guide = (Path(__file__).parents[3] / "docs" / "site.md").read_text()
    table = guide.split("## What is made")[1].split("## Change it later")[0]
    for name in _contents(root):
        parts = Path(name).parts
        known = (
            name,
            f"{parts[0]}/",
            "/".join(parts[:2]) + "/",
            f"etcd/NODE/{parts[-1]}",
            f"`{parts[-1]}`",
            parts[0] + "/NODE" + "".join(Path(name).suffixes),
            parts[0] + "/NAME.secret",
            name.replace("main", "SITE"),
        )
        assert any(one in table for one in known), name
    assert SiteFolder(root).site_file.name in table
