"""`--check` of every service: settings and keys are looked at, one sentence says what is wrong, nothing is changed."""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from services.common.access.curve import make_server_key
from services.common.access.entrance import AccessFiles
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.preflight import Preflight
from services.common.rest.storage_keys import new_storage_keys, storage_keys_file
from services.common.wire.keys import new_key_ring

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


SERVICES = ("health", "ingester", "mirror", "origin", "rag")


def checked(service: str, settings: Path) -> int:
    """The exit status of `appia-SERVICE --settings FILE --check`, run in this process."""
    main = importlib.import_module(f"services.{service}.main").main
    arguments: Sequence[str] = ["--settings", str(settings), "--check"]
    try:
        return int(main(arguments))
    except SystemExit as end:
        return int(end.code or 0)


def needed_by(service: str, keys: Path) -> dict[str, str]:
    """Settings beside the state directory that a service does not do without."""
    return {"ingester": {"keys": str(keys)}, "mirror": {"source": "file:///mnt/share"}}.get(service, {})


def settings_file(folder: Path, **values: object) -> Path:
    """Settings of a service with a state directory that is not there, and keys where given."""
    path = folder / "service.toml"
    path.write_text(
        "".join(f"{key} = {value!r}\n" for key, value in {"state": "/no/state", **values}.items())
    )
    return path


@pytest.fixture(autouse=True)
def _memory_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Health takes modules out of its process, which is this one here."""
    monkeypatch.setattr("services.health.main._stay_small", lambda: None)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    new_key_ring(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def access(tmp_path: Path) -> Path:
    path = tmp_path / "access.toml"
    path.write_text("format = 1\n")
    path.chmod(0o640)
    return path


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_sound_is_ok_and_nothing_is_made(
    service: str, tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No state directory is needed for it, and none is made."""
    needed = needed_by(service, keys)
    settings = settings_file(tmp_path, observe="127.0.0.1:9601", **needed)
    before = sorted(tmp_path.rglob("*"))
    assert checked(service, settings) == 0
    assert capsys.readouterr() == ("ok\n", "")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"colour": "red"}, "has the unknown setting 'colour'"),
        ({"observe": "10.0.0.1:9601"}, "is not on loopback: measures are served to this machine only"),
        ({"registry": "etcd://10.0.0.1:2379"}, "etcd"),
        (
            {"registry": "etcds://10.0.0.1:2379", "registry_keys": "/no/folder"},
            "There is no folder /no/folder",
        ),
        ({"server_key": "/no/server.secret"}, "needs the setting access"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_status_2(  # noqa: PLR0917 - fixtures
    service: str,
    wrong: dict[str, str],
    said: str,
    tmp_path: Path,
    keys: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same mistakes are found in the settings of every service."""
    needed = needed_by(service, keys)
    assert checked(service, settings_file(tmp_path, **needed, **wrong)) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert said in heard.err
    assert heard.err.startswith(f"appia-{service}: ")
    assert heard.err.count("\n") == 1


@pytest.mark.parametrize(
    ("service", "place"),
    [("health", "bind"), ("ingester", "control"), ("mirror", "bind"), ("origin", "bind"), ("rag", "bind")],
)
def test_a_server_beyond_loopback_needs_keys(  # noqa: PLR0917 - fixtures
    service: str, place: str, tmp_path: Path, keys: Path, access: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without them it is refused, with them it is sound."""
    needed = needed_by(service, keys)
    anywhere = {place: "tcp://0.0.0.0:5599", **needed}
    assert checked(service, settings_file(tmp_path, **anywhere)) == 2
    assert "is not on loopback, where requests need keys" in capsys.readouterr().err
    secret, _ = make_server_key(Disk(), tmp_path / "server")
    guarded = {**anywhere, "server_key": str(secret), "access": str(access)}
    assert checked(service, settings_file(tmp_path, **guarded)) == 2
    told = "advertise_control" if place == "control" else "advertise"
    assert f"nobody else can connect to that: set {told} to" in capsys.readouterr().err
    guarded[told] = "tcp://10.1.2.3:5599"
    assert checked(service, settings_file(tmp_path, **guarded)) == 0
    access.write_text("format = 1\n[keys.alice]\n")
    assert checked(service, settings_file(tmp_path, **guarded)) == 2


def test_an_intake_on_every_address_says_which_one_sensors_use(
    tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its frames are encrypted anyway, so that no key of a server is missed."""
    anywhere = {"keys": str(keys), "v2": "tcp://[::]:5570"}
    assert checked("ingester", settings_file(tmp_path, **anywhere)) == 2
    assert "tcp://[::]:5570 is every address of this machine" in capsys.readouterr().err
    told = settings_file(tmp_path, advertise="tcp://[fd00::3]:5570", **anywhere)
    assert checked("ingester", told) == 0


def test_an_ingester_without_its_key_ring_is_told_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder of keys is the one thing that no other service has."""
    assert checked("ingester", settings_file(tmp_path, keys=str(tmp_path / "none"))) == 2
    assert "appia keys new" in capsys.readouterr().err


def test_version_1_on_a_public_address_is_refused_before_the_service_starts(
    tmp_path: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_file(tmp_path, keys=str(keys), v1_pull="tcp://8.8.8.8:5571")
    assert checked("ingester", settings) == 2
    assert "would take version 1 frames from everywhere" in capsys.readouterr().err


def test_a_rule_of_alerts_that_nobody_could_use_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "alerts.toml").write_text('[[rule]]\nname = "one"\nsignal = "no_such_signal"\nabove = 1\n')
    assert checked("health", settings_file(tmp_path, alerts=str(tmp_path / "alerts.toml"))) == 2
    assert "no_such_signal" in capsys.readouterr().err


def test_credentials_that_only_the_service_sees_are_named_and_not_looked_for(
    tmp_path: Path, access: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first start there is no /run/credentials/UNIT; and nobody else may look into it."""
    secret = "/run/credentials/appia-rag@1.service/secrets_server.secret"  # noqa: S105 - a path
    assert checked("rag", settings_file(tmp_path, server_key=secret, access=str(access))) == 0
    assert capsys.readouterr().out == "ok (credentials that only the service sees: server_key)\n"


def test_the_service_itself_does_look_for_its_credentials() -> None:
    """Under systemd `--check` reads them as any other file."""
    flight = Preflight({"CREDENTIALS_DIRECTORY": "/run/credentials/appia-rag@1.service"})
    with pytest.raises(AppiaError, match="secrets_none"):
        flight.server(
            "tcp://127.0.0.1:*",
            AccessFiles(Path("/run/credentials/appia-rag@1.service/secrets_none"), Path("/x")),
        )


@pytest.fixture
def nobodys() -> Iterator[Path]:
    """A folder with a key ring that belongs to another user, who may enter it: not so pytest's own folders."""
    with tempfile.TemporaryDirectory(prefix="appia-preflight-") as folder:
        Path(folder).chmod(0o711)
        keys = Path(folder) / "keys"
        new_key_ring(keys)
        new_storage_keys(Disk(), storage_keys_file(keys))
        for path in (keys, *keys.rglob("*")):
            os.chown(path, 65534, 65534)
        yield keys


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_reads_keys_as_the_user_they_belong_to(
    tmp_path: Path, nobodys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of the user who runs the service are refused to root otherwise; and root is root again afterwards."""
    stored = {"storage_key": str(storage_keys_file(nobodys))}
    assert checked("ingester", settings_file(tmp_path, keys=str(nobodys), **stored)) == 0
    assert capsys.readouterr().err == ""
    assert os.geteuid() == 0
    (nobodys / "wire/ring.json").chmod(0o666)
    assert checked("ingester", settings_file(tmp_path, keys=str(nobodys))) == 2
    assert os.geteuid() == 0


def test_a_mirror_whose_source_needs_what_is_not_installed_is_told_before_it_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(protocol: str) -> None:
        raise ImportError(f"install what speaks {protocol}")

    monkeypatch.setattr("fsspec.get_filesystem_class", missing)
    assert checked("mirror", settings_file(tmp_path, source="s3://days/main")) == 2
    assert "'s3://days/main' cannot be opened: install what speaks s3." in capsys.readouterr().err
