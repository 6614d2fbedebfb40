"""`appia keys site` and `appia keys etcd-users`: what they take, say and refuse, and that no secret is ever printed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from services.cli import keys_site
from services.common.durable import Disk
from services.common.errors import AppiaError, UsageError
from services.common.site.making import Tools, make_site
from services.common.site.wanted import Wanted, read_wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

NODES = ("--ingester", "n1=10.0.0.11", "--rag", "n2=10.0.0.12", "--etcd", "n1=10.0.0.11")


@pytest.fixture
def run() -> Callable[..., Result]:
    app = typer.Typer()
    keys_site.add_to(app)
    app.callback()(lambda: None)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def _said(result: Result) -> str:
    assert result.exception is None, result.output
    return str(result.stdout)


def test_it_says_what_is_new_and_where_services_register(run: Callable[..., Result], tmp_path: Path) -> None:
    root = tmp_path / "site"
    first = _said(run("site", root, *NODES, "--analyst", "alice"))
    assert "these are new:" in first
    assert "  clients/alice.secret\n" in first
    assert 'registry = "etcds://10.0.0.11:2379/appia/main"' in first
    second = _said(run("site", root))
    assert "nothing was missing." in second
    assert "clients/alice" not in second


def test_an_even_number_of_members_is_pointed_out(run: Callable[..., Result], tmp_path: Path) -> None:
    """It is no error: one member becomes three by way of two."""
    root = tmp_path / "site"
    assert "bear no more losses" not in _said(run("site", root, *NODES))
    assert "2 members of etcd bear no more losses than 1 do" in _said(
        run("site", root, "--etcd", "n2=10.0.0.12")
    )
    assert "bear no more losses" not in _said(run("site", root, "--etcd", "n3=10.0.0.13"))


def test_programs_are_told_the_same(run: Callable[..., Result], tmp_path: Path) -> None:
    root = tmp_path / "site"
    told = json.loads(_said(run("site", root, *NODES, "--site", "ward-3", "--encrypt", "--json")))
    assert told["site"] == "ward-3"
    assert told["registry"] == "etcds://10.0.0.11:2379/appia/ward-3"
    assert "ingester/rest/storage.keys" in told["made"]
    assert json.loads(_said(run("site", root, "--json")))["made"] == []


def test_no_secret_is_printed(run: Callable[..., Result], tmp_path: Path) -> None:
    """Neither by making nor by showing: no line of any file that is closed, but what `site.json` says."""
    root = tmp_path / "site"
    said = _said(run("site", root, *NODES, "--encrypt"))
    said += _said(run("site", root, "--json")) + _said(run("site", root, "--show"))
    secrets = {
        line
        for path in root.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o777 == 0o400 and path.name != "site.json"
        for line in path.read_text().splitlines()
    }
    assert len(secrets) > 20
    assert not [line for line in secrets if line in said]


def test_it_lists_until_when_certificates_are_good(run: Callable[..., Result], tmp_path: Path) -> None:
    root = tmp_path / "site"
    _said(run("site", root, *NODES))
    told = json.loads(_said(run("site", root, "--show", "--json")))
    left = {one["certificate"]: one["days_left"] for one in told["certificates"]}
    assert list(left) == [
        "etcd/n1/server.pem",
        "reader/client.pem",
        "registry/client.pem",
        "authority/ca.pem",
    ]
    assert left["etcd/n1/server.pem"] in {824, 825}
    shown = _said(run("site", root, "--show"))
    assert re.search(r"etcd/n1/server.pem\s+10\.0\.0\.11 127\.0\.0\.1", shown)
    assert "--renew-certificates" not in shown


def test_certificates_that_end_soon_are_pointed_out_and_made_anew(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    root = tmp_path / "site"
    _said(run("site", root, *NODES))
    wanted = read_wanted(root / "site.json")
    assert wanted is not None
    old = Tools(Disk(), now=lambda: datetime.now(UTC) - timedelta(days=800))
    make_site(root, lambda _before: wanted, old, renew=True)
    for words in (("--show",), ()):  # who only adds an analyst is told, too
        assert "make certificates anew with --renew-certificates" in _said(run("site", root, *words))
    assert "registry/client.pem" in _said(run("site", root, "--renew-certificates"))
    assert "--renew-certificates" not in _said(run("site", root, "--show"))


def test_an_authority_that_ends_soon_is_not_made_anew_by_renewing(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    """Its certificates end with it, however often they are made anew."""
    root = tmp_path / "site"
    asked = Wanted(ingester={"n1": "10.0.0.11"}, etcd={"n1": "10.0.0.11"})
    old = Tools(Disk(), now=lambda: datetime.now(UTC) - timedelta(days=3640))
    make_site(root, lambda _before: asked, old, renew=False)
    for words in (("--show",), ("--renew-certificates",)):
        said = _said(run("site", root, *words))
        assert "The authority ends before long" in said
        assert "with --renew-certificates" not in said


def test_a_site_without_certificates_says_so(run: Callable[..., Result], tmp_path: Path) -> None:
    root = tmp_path / "site"
    assert "by etcd alone" not in _said(run("site", root, "--ingester", "n1=10.0.0.11"))
    assert "holds no certificates" in _said(run("site", root, "--show"))
    assert json.loads(_said(run("site", root, "--show", "--json")))["certificates"] == []
    assert "find each other by etcd alone" in _said(run("site", root, "--rag", "n2=10.0.0.12"))


def test_a_node_that_is_gone_is_forgotten_and_another_may_have_its_address(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    root = tmp_path / "site"
    _said(run("site", root, *NODES, "--etcd", "n2=10.0.0.12"))
    assert "have one address" in str(run("site", root, "--rag", "n3=10.0.0.12").exception)
    told = json.loads(_said(run("site", root, "--forget", "n2", "--rag", "n3=10.0.0.12", "--json")))
    assert told["registry"] == "etcds://10.0.0.11:2379/appia/main"
    assert told["removed"] == [
        "clients/mirror-n2.secret",
        "etcd/n2",
        "public/n2.server.public",
        "server/n2.secret",
    ]
    assert "server/n3.secret" in told["made"]
    assert not list(root.rglob("*n2*"))
    assert "These are gone:\n  clients/mirror-n3.secret" in _said(run("site", root, "--forget", "n3"))
    assert "has no node 'n2'; it has n1." in str(run("site", root, "--forget", "n2").exception)
    assert "Which node writes?" in str(run("site", root, "--forget", "n1").exception)


def test_another_site_uses_the_same_etcd_from_wherever_it_is_named(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is remembered relative to the other, so both can be moved together."""
    monkeypatch.chdir(tmp_path)
    _said(run("site", "a", *NODES))
    said = _said(run("site", "b", "--site", "b", "--ingester", "n9=10.0.0.21", "--etcd-authority", "a"))
    assert 'registry = "etcds://10.0.0.11:2379/appia/b"' in said
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("a", "b"):
        Path(name).rename(moved / name)
    assert "nothing was missing." in _said(run("site", moved / "b"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Which node writes"),
        (("--ingester", "n1"), "is not NODE=ADDRESS"),
        (("--ingester", "n1=10.0.0.1", "--rag", "n1=10.0.0.2"), "two addresses"),
        (("--ingester", "n1=10.0.0.1", "--ingester", "n2=10.0.0.2"), "one ingester"),
        ((*NODES, "--site", "Main"), "no name of a site"),
        ((*NODES, "--analyst", "health"), "name of a key of appia itself"),
        ((*NODES, "--etcd-authority", "nowhere"), "those of the site of --etcd-authority"),
        (("--show", *NODES), "--show stands alone"),
        (("--show",), "holds no secrets of a site"),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_made(
    run: Callable[..., Result], tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    result = run("site", tmp_path / "site", *words)
    assert isinstance(result.exception, UsageError)
    assert sentence in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_belongs_to_one_site(run: Callable[..., Result], tmp_path: Path) -> None:
    _said(run("site", tmp_path / "site", *NODES))
    result = run("site", tmp_path / "site", "--site", "other")
    assert "holds the secrets of the site main" in str(result.exception)


def test_the_commands_of_the_guide_do_what_it_says(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of docs/site.md, in order, in one folder; the users of a real etcd have their own tests."""
    monkeypatch.chdir(tmp_path)
    guide = (Path(__file__).parents[2] / "docs" / "site.md").read_text().replace("\\\n", "")
    commands = re.findall(r"^\$ appia keys (.+)$", guide, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["site", "site", "etcd-users"]
    for command in commands[:2]:
        assert "these are new:" in _said(run(*command.split()))
        assert "nothing was missing." in _said(run(*command.split()))
    assert commands[2] == "etcd-users site-b"


def test_users_are_not_set_up_where_no_etcd_answers(run: Callable[..., Result], tmp_path: Path) -> None:
    _said(run("site", tmp_path / "site", *NODES))
    result = run("etcd-users", tmp_path / "site", "--endpoint", "127.0.0.1:1")
    assert isinstance(result.exception, AppiaError)
    assert "could not be connected to" in str(result.exception)
    assert "PORT" in str(run("etcd-users", tmp_path / "site", "--endpoint", "127.0.0.1").exception)
