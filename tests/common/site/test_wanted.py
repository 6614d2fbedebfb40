"""What was asked for of a site: read back as it was, refused where it does not go together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import AppiaError, UsageError
from services.common.registry.etcd_url import parse_etcd_url
from services.common.site.wanted import Wanted, parse_nodes, read_wanted, registry_url

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = Wanted("main", {"n1": "10.0.0.1"}, {"n2": "fd00::2"}, {"n1": "10.0.0.1"}, ("alice",), encrypt=True)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    assert read_wanted(path) is None
    path.write_bytes(WHOLE.to_json())
    assert read_wanted(path) == WHOLE


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"site": "Main"},
        {"site": 7},
        {"ingester": {"n1": "10.0.0.1", "n2": "10.0.0.2"}},
        {"rag": {"../n2": "10.0.0.2"}},
        {"rag": ["n2"]},
        {"encrypt": "no"},
        {"analysts": ["health"]},
        {"etcd_authority": None},
        {"more": 1},
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "site.json"
    path.write_text(json.dumps({**json.loads(WHOLE.to_json()), **change}))
    with pytest.raises(AppiaError, match="damaged or of a later version"):
        read_wanted(path)


@given(st.binary(max_size=200))
def test_no_bytes_in_its_place_do_more_than_be_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-site.json"
    path.write_bytes(content)
    with pytest.raises(AppiaError):
        read_wanted(path)


@pytest.mark.parametrize(
    "text",
    ["", "n1", "n1=", "=10.0.0.1", "n.1=10.0.0.1", "../n1=10.0.0.1", "n1=10.0.0", "n1=10.0.0.256",
     "n1=0.0.0.0", "n1=::", "n1=224.0.0.1", "n1=ff02::1", "n1=255.255.255.255",
     "n1=[fd00::1]", "n1=fe80::1%eth0", "n1=a b", "n1=host:2379", "n1=-host", "n1=10.0.0.1/24", "n1=a,b",
     f"{'n' * 41}=10.0.0.1", f"n1={'a' * 254}"],
)  # fmt: skip
def test_what_is_no_node_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not NODE=ADDRESS.*--rag node-1=10.0.0.11"):
        parse_nodes([text], "rag")


def test_a_node_is_named_once() -> None:
    with pytest.raises(UsageError, match="names n1 twice"):
        parse_nodes(["n1=10.0.0.1", "n1=10.0.0.2"], "rag")


def test_addresses_are_spelled_in_one_way() -> None:
    """So that a certificate for an address is known to be for it, however it was typed."""
    assert parse_nodes(["a=FD00:0:0::1", "b=Node.Example"], "etcd") == {"a": "fd00::1", "b": "node.example"}


def test_the_registry_url_is_one_that_services_take() -> None:
    settings = parse_etcd_url(registry_url({"n1": "10.0.0.1", "n2": "fd00::2"}, WHOLE.prefix))
    assert settings.endpoints == (("10.0.0.1", 2379), ("fd00::2", 2379))
    assert (settings.prefix, settings.tls) == ("appia/main", True)
    assert registry_url({}, "appia/main") == "file"


@pytest.mark.parametrize("name", ["root", "a-reader", "", "A", "-a", "a/b", "a" * 33])
def test_names_of_sites_that_would_be_another_user_of_etcd_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no name of a site"):
        Wanted(site=name)


@pytest.mark.parametrize("name", ["health", "operator", "mirror-n2", "a b"])
def test_an_analyst_has_no_name_of_a_service(name: str) -> None:
    with pytest.raises(UsageError):
        Wanted(analysts=(name,))


def test_the_ingester_may_move_and_what_was_asked_for_stays() -> None:
    moved = WHOLE.and_also(Wanted("main", {"n5": "10.0.0.5"}))
    assert moved.ingester == {"n5": "10.0.0.5"}
    assert (moved.rag, moved.etcd, moved.analysts, moved.encrypt) == (
        WHOLE.rag,
        WHOLE.etcd,
        WHOLE.analysts,
        True,
    )


def test_a_shared_etcd_has_no_second_list_of_members() -> None:
    with pytest.raises(UsageError, match="those of the site of --etcd-authority"):
        Wanted(etcd={"n1": "10.0.0.1"}, etcd_authority="../other")


def test_two_nodes_have_no_address_in_common() -> None:
    """Two members of etcd at one place would be one, and the registry's URL would name it twice."""
    with pytest.raises(UsageError, match=r"n1 and n2 have one address, 10\.0\.0\.1: .*--forget"):
        Wanted(ingester={"n1": "10.0.0.1"}, rag={"n1": "10.0.0.1", "n2": "10.0.0.1"})


def test_only_a_node_that_is_there_can_go() -> None:
    gone = WHOLE.without(tuple(WHOLE.ingester))
    assert gone.ingester == {}
    assert set(gone.nodes) == set(WHOLE.nodes) - set(WHOLE.ingester)
    with pytest.raises(UsageError, match="has no node 'x'; it has"):
        WHOLE.without(("x",))
