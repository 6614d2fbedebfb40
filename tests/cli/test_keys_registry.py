"""`appia keys registry`: what it makes, replaces and refuses, and that no secret is on a command line or printed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from services.cli import keys_registry
from services.common.errors import UsageError
from services.common.registry.keys import Login, read_registry_keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

PEM = "-----BEGIN CERTIFICATE-----\n"


@pytest.fixture
def run() -> Callable[..., Result]:
    import typer  # noqa: PLC0415 - the app is this test's own

    app = typer.Typer()
    keys_registry.add_to(app)
    app.callback()(lambda: None)

    def call(*words: str, given: str = "") -> Result:
        return CliRunner().invoke(app, ["registry", *words], input=given)

    return call


def told(result: Result) -> dict[str, object]:
    assert result.exception is None, result.output
    return dict(json.loads(result.stdout))


def test_it_makes_a_folder_with_a_sealing_key_and_what_is_given(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    for name in ("ca", "certificate", "key"):
        (tmp_path / name).write_text(PEM)
    files = ("--ca", str(tmp_path / "ca"), "--certificate", str(tmp_path / "certificate"))
    words = (*files, "--certificate-key", str(tmp_path / "key"), "--login", "appia", "--json")
    result = run(str(tmp_path / "keys"), *words, given="hunter2: two\n")
    folder = tmp_path / "keys" / "registry"
    keys = read_registry_keys(folder)
    assert told(result) == {
        "folder": str(folder),
        "sealing_key": keys.seals and keys.seals.primary,
        "opening_keys": [],
    }
    assert keys.login == Login("appia", "hunter2: two")
    assert keys.ca == folder / "ca.pem"
    assert keys.certificate == (folder / "client.pem", folder / "client-key.pem")
    assert "hunter2" not in result.output + repr(keys)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o400}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_second_run_replaces_the_login_and_never_the_sealing_key(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    first = told(run(str(tmp_path), "--login", "a", "--json", given="one\n"))
    second = told(run(str(tmp_path), "--login", "b", "--json", given="two\n"))
    assert first == second
    assert read_registry_keys(tmp_path / "registry").login == Login("b", "two")


def test_a_sealing_key_is_replaced_in_three_steps_in_their_order(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    old = told(run(str(tmp_path), "--json"))["sealing_key"]
    for early in ("use", "drop"):
        refused = run(str(tmp_path), "--rotate", early).exception
        assert isinstance(refused, UsageError)
        assert "`--rotate add`" in str(refused)
    added = told(run(str(tmp_path), "--rotate", "add", "--json"))
    [new] = added["opening_keys"]  # type: ignore[misc]
    assert added["sealing_key"] == old
    used = told(run(str(tmp_path), "--rotate", "use", "--json"))
    assert (used["sealing_key"], used["opening_keys"]) == (new, [old])
    dropped = told(run(str(tmp_path), "--rotate", "drop", "--json"))
    assert (dropped["sealing_key"], dropped["opening_keys"]) == (new, [])


@pytest.mark.parametrize(
    ("words", "given", "fact"),
    [
        (("--login", "a"), "", "a password of etcd"),
        (("--login", "a:b"), "x\n", "without a colon"),
        (("--login", "a"), "\x1b[2J\n", "printable"),
        (("--ca", "/absent"), "", "could not be read"),
        (("--ca", "/etc/passwd"), "", "not a PEM file"),
        (("--certificate", "/etc/passwd"), "", "belong together"),
        (("--rotate", "add"), "", "no sealing key"),
        (("--rotate", "add", "--login", "a"), "x\n", "--rotate stands alone"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_and_nothing_is_made(
    run: Callable[..., Result], tmp_path: Path, words: tuple[str, ...], given: str, fact: str
) -> None:
    refused = run(str(tmp_path / "keys"), *words, given=given).exception
    assert isinstance(refused, UsageError)
    assert fact in str(refused)
    assert not (tmp_path / "keys").exists()
