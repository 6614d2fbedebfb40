"""`appia backup` and `appia restore` as a user meets them: what they print, what they refuse, their exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from services.cli.backup import size_shown
from services.cli.main import run
from services.common.backup.restoring import Restoring
from services.common.days.layout import claim_layout
from services.common.days.log import LogWriter
from services.common.days.log_format import FEEDBACK
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.system_calls import SystemCalls

if TYPE_CHECKING:
    from pathlib import Path

    Captured = pytest.CaptureFixture[str]


@pytest.fixture
def state(tmp_path: Path) -> StateNames:
    names, disk = StateNames(tmp_path / "state"), Disk()
    claim_layout(names, disk)
    for folder in (names.feedback, names.keys):
        disk.make_folder(folder)
    log = LogWriter(disk, names.feedback_log(1))
    log.append(FEEDBACK, 0, [b"a remark"])
    log.close()
    (names.keys / "seed").write_bytes(b"secret")
    return names


def _json(captured: Captured) -> dict[str, object]:
    out, err = captured.readouterr()
    assert err == ""
    return dict(json.loads(out))


def test_the_way_there_and_back(state: StateNames, tmp_path: Path, capsys: Captured) -> None:
    """Two commands, and what each says: counts, and what to do about secrets."""
    place = tmp_path / "place"
    assert run(["backup", f"file://{place}", "--state", str(state.root)]) == 0
    out = capsys.readouterr().out
    assert f"in {place}: 0 days, 0 events, 2 files, " in out
    assert "Secrets are not in it" in out
    target = tmp_path / "target"
    assert run(["restore", str(place), "--state", str(target)]) == 0
    out = capsys.readouterr().out
    assert f"into {target}: 0 days, 0 events, 2 files, " in out
    assert f"put the folder of keys back to {target}/keys first" in out
    assert f"appia up --state {target}" in out
    assert not (target / "keys").exists()


def test_programs_get_the_facts(state: StateNames, tmp_path: Path, capsys: Captured) -> None:
    """One JSON document each, whose names fit together."""
    place, where = str(tmp_path / "place"), ["--state", str(state.root), "--json"]
    assert run(["backup", place, "--keys", *where]) == 0
    first = _json(capsys)
    assert (first["keys"], first["files"], first["remarks"], first["removed"]) == (True, 3, 1, [])
    assert run(["backup", place, "--keep", "1", *where]) == 0
    second = _json(capsys)
    assert (second["keys"], second["removed"]) == (False, [first["backup"]])
    assert run(["backup", place, "--list", "--json"]) == 0
    listed = _json(capsys)
    kept = {name: second[name] for name in second if name not in {"faults", "removed", "freed_bytes"}}
    assert listed == {"backups": [kept], "faults": []}
    assert run(["backup", place, "--check", "--json"]) == 0
    assert _json(capsys) == {"backups": 1, "pieces": 2, "faults": []}
    assert run(["restore", place, "--state", str(tmp_path / "target"), "--json"]) == 0
    restored = _json(capsys)
    assert (restored["name"], restored["remarks"], restored["faults"]) == (second["backup"], 1, [])


def test_backups_of_another_directory_are_not_removed(
    state: StateNames, tmp_path: Path, capsys: Captured
) -> None:
    """`--keep` counts those of this machine and state directory only."""
    other = StateNames(tmp_path / "other")
    claim_layout(other, Disk())
    for names in (state, other):
        assert run(["backup", str(tmp_path / "place"), "--keep", "1", "--state", str(names.root)]) == 0
    capsys.readouterr()
    assert run(["backup", str(tmp_path / "place"), "--list"]) == 0
    out = capsys.readouterr().out
    assert f":{state.root}" in out
    assert f":{other.root}" in out


def test_damage_is_named_and_the_status_is_1(state: StateNames, tmp_path: Path, capsys: Captured) -> None:
    """By the list, by the check, by the removal of older ones and by the restore."""
    place, where = tmp_path / "place", ["--state", str(state.root)]
    assert run(["backup", str(place), *where]) == 0
    (snapshot,) = place.glob("snapshots/*.json")
    snapshot.write_bytes(snapshot.read_bytes().replace(b'"remarks":1', b'"remarks":2'))
    capsys.readouterr()
    assert run(["backup", str(place), "--list"]) == 1
    out, err = capsys.readouterr()
    assert (f"{snapshot} is damaged" in out, err) == (True, "appia: 1 backup cannot be read\n")
    assert run(["backup", str(place), "--check"]) == 1
    assert f"{snapshot} is damaged" in capsys.readouterr().out
    assert run(["restore", str(place), "--state", str(tmp_path / "target")]) == 1
    assert f"{snapshot} is damaged" in capsys.readouterr().err
    assert run(["backup", str(place), "--keep", "1", *where]) == 1
    assert "was made, but no older one removed" in capsys.readouterr().err
    assert len(list(place.glob("snapshots/*.json"))) == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["backup", "s3://b/x", "--state", "STATE"], "s3:// is no place for backups"),
        (["backup", "STATE/inside", "--state", "STATE"], "lie in each other"),
        (["backup", "PLACE/nowhere/x", "--state", "STATE"], "is missing: make it, or mount"),
        (["backup", "PLACE"], "which state directory?"),
        (["backup", "PLACE", "--list", "--keep", "2"], "give --list or --check alone"),
        (["backup", "PLACE", "--list", "--check"], "give --list or --check alone"),
        (["backup", "PLACE", "--list"], "is no folder for backups"),
        (["backup", "PLACE", "--check"], "is no folder for backups"),
        (["restore", "PLACE", "--state", "TARGET"], "is no folder for backups"),
        (["restore", "s3://b/x", "--state", "TARGET"], "s3:// is no place for backups"),
        (["restore", "PLACE"], "which state directory?"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(
    state: StateNames, tmp_path: Path, capsys: Captured, words: list[str], why: str
) -> None:
    """With status 2, and nothing is made."""
    names = {"STATE": str(state.root), "PLACE": str(tmp_path / "place"), "TARGET": str(tmp_path / "target")}
    for old, new in names.items():
        words = [word.replace(old, new) for word in words]
    assert run(words) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]


def test_what_is_no_state_directory_is_not_backed_up(tmp_path: Path, capsys: Captured) -> None:
    """Status 1, and no folder for backups is made."""
    assert run(["backup", str(tmp_path / "place"), "--state", str(tmp_path / "empty")]) == 1
    assert "is not a state directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backup_is_told(state: StateNames, tmp_path: Path, capsys: Captured) -> None:
    """Also one whose name would lead elsewhere."""
    assert run(["backup", str(tmp_path / "place"), "--state", str(state.root)]) == 0
    for name in ("20200101T000000Z", "../../x"):
        where = ["--state", str(tmp_path / "target"), "--backup", name]
        assert run(["restore", str(tmp_path / "place"), *where]) == 1
        assert f"has no backup '{name}'" in capsys.readouterr().err
    assert not (tmp_path / "target").exists()


def test_sizes_are_shown_in_the_unit_that_fits() -> None:
    """Powers of 1024, which their units say."""
    assert [size_shown(n) for n in (0, 1023, 1024, 5 << 20, 3 << 40, 2 << 50)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "5.0 MiB",
        "3.0 TiB",
        "2048.0 TiB",
    ]


def test_an_interrupted_restore_says_how_to_go_on(
    state: StateNames, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle leaves a directory that nothing else goes on with; before the first byte there is none."""
    place, target = str(tmp_path / "place"), tmp_path / "target"
    assert run(["backup", place, "--state", str(state.root)]) == 0
    words = ["restore", place, "--state", str(target)]

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for moment, is_told in (("_check_room", False), ("_write", True)):
        capsys.readouterr()
        with monkeypatch.context() as patched:
            patched.setattr(Restoring, moment, interrupt)
            assert run(words) == 130
        assert ("give the same command again" in capsys.readouterr().err) == is_told
    assert run(words) == 0


def test_a_disk_that_fails_is_told_with_what_to_do(
    state: StateNames, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full one above all: status 1, one sentence, and the same command goes on later."""

    def full(_self: SystemCalls, _fd: int, _data: object) -> int:
        raise OSError(28, "No space left on device")

    place, target = str(tmp_path / "place"), tmp_path / "target"
    for words in (
        ["backup", place, "--state", str(state.root)],
        ["restore", place, "--state", str(target)],
    ):
        with monkeypatch.context() as patched:
            patched.setattr(SystemCalls, "write", full)
            assert run(words) == 1
        err = capsys.readouterr().err
        assert "No space left on device; " in err
        assert "goes on from there" in err
        assert run(words) == 0
        capsys.readouterr()
