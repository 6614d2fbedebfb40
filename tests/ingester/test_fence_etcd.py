"""The epoch of the writer in a real etcd: who may take it, who has to stop, and what an etcd that is away changes."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from real_etcd.member import MISSING, Member, installed, wait_until

from services.common.errors import AppiaError
from services.common.registry.etcd_client import EtcdClient
from services.common.registry.etcd_url import parse_etcd_url
from services.common.registry.keys import RegistryKeys
from services.common.registry.port import RegistryUnavailable
from services.common.sealed import Seals
from services.ingester.fence import Fenced
from services.ingester.fence_etcd import EtcdEpoch, WriterKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LEASE_S = 2.0
CHILD = """
import sys, time
from pathlib import Path
from services.common.registry.etcd_client import EtcdClient
from services.common.registry.etcd_url import parse_etcd_url
from services.common.registry.keys import RegistryKeys
from services.ingester.fence_etcd import EtcdEpoch, WriterKey
settings = parse_etcd_url(sys.argv[1])
epoch = EtcdEpoch(EtcdClient(settings, RegistryKeys()), WriterKey(settings.prefix, "one", 3600.0))
epoch.take()
print(epoch.number, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    if not installed():
        pytest.skip(MISSING)
    member = Member(tmp_path_factory.mktemp("etcd") / "data")
    member.start()
    yield member
    member.kill()


@pytest.fixture
def url(etcd: Member, request: pytest.FixtureRequest) -> str:
    return f"etcd://{etcd.hostport}/{''.join(char if char.isalnum() else '-' for char in request.node.name)}"


@pytest.fixture
def writer(url: str) -> Callable[..., EtcdEpoch]:
    """A writer of a name; by default one that another machine would take for a stranger."""
    settings = parse_etcd_url(url)

    def make(name: str = "one", seals: Seals | None = None) -> EtcdEpoch:
        client = EtcdClient(settings, RegistryKeys())
        return EtcdEpoch(client, WriterKey(settings.prefix, name, LEASE_S, seals))

    return make


def test_a_writer_has_the_revision_of_its_key_and_keeps_it(
    writer: Callable[..., EtcdEpoch], etcd: Member, url: str
) -> None:
    epoch = writer()
    epoch.take()
    first = epoch.number
    assert first > 0
    for _ in range(3):
        time.sleep(LEASE_S / 2)
        epoch.keep()
    assert epoch.number == first
    key = f"{url.rpartition('/')[2]}/writer/one"
    assert f'"ModRevision" : {first}' in etcd.control("get", key, "-w", "fields")


def test_a_second_writer_of_the_name_is_refused_while_the_first_lives(
    writer: Callable[..., EtcdEpoch],
) -> None:
    first, second, other = writer(), writer(), writer("two")
    first.take()

    def beat(_: float) -> None:
        first.keep()
        time.sleep(0.2)

    second._sleep = beat
    with pytest.raises(AppiaError, match=r"Another ingester \(process .*writer/one in etcd and lives"):
        second.take()
    assert second.number == 0
    first.keep()
    other.take()


def test_a_writer_that_gave_its_place_back_is_not_waited_for(writer: Callable[..., EtcdEpoch]) -> None:
    first, second = writer(), writer()
    first.take()
    first.give_back()
    began = time.monotonic()
    second.take()
    assert time.monotonic() - began < LEASE_S
    assert second.number > first.number
    first.give_back()
    second.keep()


def test_a_writer_that_fell_silent_is_replaced_after_its_lease_and_stops_when_it_wakes(
    writer: Callable[..., EtcdEpoch],
) -> None:
    silent, newer = writer(), writer()
    silent.take()
    newer.take()
    assert newer.number > silent.number
    with pytest.raises(Fenced, match=f"with epoch {newer.number}; this one, of epoch {silent.number}, stops"):
        silent.keep()
    silent.give_back()
    newer.keep()


def test_a_writer_whose_lease_ran_out_and_whom_nobody_replaced_goes_on_with_a_new_epoch(
    writer: Callable[..., EtcdEpoch], etcd: Member, url: str
) -> None:
    epoch = writer()
    epoch.take()
    first = epoch.number
    key = f"{url.rpartition('/')[2]}/writer/one"
    assert wait_until(lambda: etcd.control("get", key) == "", 10)
    epoch.keep()
    assert epoch.number > first


def test_a_process_of_this_machine_that_was_killed_is_replaced_at_once(
    writer: Callable[..., EtcdEpoch], url: str
) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        older = int(child.stdout.readline())
        child.kill()
        child.wait()
        epoch = writer()
        epoch.take()
        assert epoch.number > older


def test_an_etcd_that_is_away_is_told_and_taken_when_it_comes(
    tmp_path_factory: pytest.TempPathFactory, etcd: Member
) -> None:
    del etcd  # skips where none is installed
    member = Member(tmp_path_factory.mktemp("away") / "data")
    settings = parse_etcd_url(f"etcd://{member.hostport}")
    epoch = EtcdEpoch(EtcdClient(settings, RegistryKeys()), WriterKey("appia", "one", LEASE_S))
    with pytest.raises(RegistryUnavailable):
        epoch.take()
    with pytest.raises(RegistryUnavailable):
        epoch.keep()
    try:
        member.start()
        epoch.keep()
        first = epoch.number
        # All that etcd knew is lost: its revisions begin at 1 again.
        member.kill()
        member.empty()
        member.start()
        epoch.keep()
        assert first > 0
        assert epoch.number > 0
    finally:
        member.kill()


def test_a_holder_of_an_older_epoch_that_a_backup_of_etcd_brought_back_stops_nobody(
    writer: Callable[..., EtcdEpoch], etcd: Member, url: str
) -> None:
    epoch = writer()
    epoch.take()
    key = f"{url.rpartition('/')[2]}/writer/one"
    etcd.control("put", key, '{"version": 1, "token": "of another", "host": "elsewhere", "pid": 1}')
    epoch._epoch += 1000
    epoch.keep()
    epoch.keep()


def test_a_holder_that_cannot_be_read_is_taken_for_one_that_lives(
    writer: Callable[..., EtcdEpoch], etcd: Member, url: str
) -> None:
    seals = Seals(1, {1: bytes(32)})
    sealed, other = writer(seals=seals), writer(seals=Seals(2, {2: bytes(32)}))
    sealed.take()
    key = f"{url.rpartition('/')[2]}/writer/one"
    assert "host" not in etcd.control("get", key, "-w", "json")
    with pytest.raises(Fenced, match="process unknown on 'another machine'"):
        other.keep()
    sealed.keep()
