"""A store of each kind, and an etcd for those that need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from real_etcd.member import MISSING, Member, installed

from services.common.durable import Disk
from services.common.registry.etcd_client import EtcdClient
from services.common.registry.etcd_url import parse_etcd_url
from services.common.registry.keys import RegistryKeys
from services.common.values.etcd import EtcdValues
from services.common.values.files import FileValues

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.common.values.port import Values


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    if not installed():
        pytest.skip(MISSING)
    member = Member(tmp_path_factory.mktemp("etcd") / "data")
    member.start()
    yield member
    member.kill()


@pytest.fixture(params=["file", "etcd"])
def values(request: pytest.FixtureRequest, tmp_path: Path) -> Values:
    """Each adapter in turn; every test gets a store of its own."""
    if request.param == "file":
        return FileValues(tmp_path / "values", Disk())
    prefix = "".join(char if char.isalnum() else "-" for char in request.node.name)
    member: Member = request.getfixturevalue("etcd")
    settings = parse_etcd_url(f"etcd://{member.hostport}/{prefix}")
    return EtcdValues(EtcdClient(settings, RegistryKeys()), settings.prefix)
