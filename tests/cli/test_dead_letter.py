"""`appia dead-letter` and `appia keys storage` as a user runs them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.rest.storage_keys import StorageKeys, new_storage_keys, read_storage_keys
from services.ingester.dead_letter import DeadLetter
from services.ingester.feedback import FeedbackDesk
from services.ingester.refused import Refused

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Appia = Callable[..., subprocess.CompletedProcess[str]]

OLD_SECONDS = 1_600_000_000
EVIL = "\x1b[2Jevil"


def _event(name: str) -> bytes:
    event = NetworkSecurityEvent(event_id=name, originating_node_id="node-a")
    event.event_timestamp.seconds = OLD_SECONDS
    event.network_features.source_ip, event.network_features.destination_ip = "10.0.0.1", "192.0.2.1"
    return event.SerializeToString()


@pytest.fixture
def state(tmp_path: Path) -> StateNames:
    names = StateNames(tmp_path / "state")
    claim_layout(names, Disk())
    return names


@pytest.fixture
def storage_key(tmp_path: Path) -> Path:
    path = tmp_path / "keys" / "rest" / "storage.keys"
    new_storage_keys(Disk(), path)
    return path


@pytest.fixture
def letters(state: StateNames, storage_key: Path) -> list[str]:
    """An encrypted dead letter: a late event, a forged frame, and what an attacker wrote; gives their names."""
    letter = DeadLetter(
        Disk(), state.dead_letter, 1 << 20, lambda: 1_790_000_000 * 10**9, StorageKeys(storage_key, print)
    )
    letter.keep("too_old", "the event is too old", "v2 sender 0x1", _event("late-event"))
    letter.keep("bad_tag", "the tag does not fit", "v2", _event("forged-event"))
    letter.keep("bad_source_ip", f"{EVIL!r} is no address", EVIL, EVIL.encode() + b"\x00" * 300)
    letter.close()
    return [str(kept.place) for kept in Refused(state.dead_letter, StorageKeys(storage_key, print)).kept()]


def test_what_is_kept_is_counted_and_shown(
    appia: Appia, state: StateNames, storage_key: Path, letters: list[str]
) -> None:
    """By reason, and one by one; nothing that an attacker wrote reaches the terminal as it is."""
    where = ("--state", str(state.root), "--storage-key", str(storage_key))
    done = appia("dead-letter", "list", *where)
    assert (done.returncode, done.stderr) == (0, "")
    for word in (*letters, "too_old", "bad_tag", "bad_source_ip", "2026-09-21T14:13:20Z"):
        assert word in done.stdout
    assert "\x1b" not in done.stdout
    found = json.loads(appia("dead-letter", "list", "--reason", "too_old", *where, "--json").stdout)
    assert found["counts"] == {"too_old": 1}
    assert found["records"][0]["name"] == letters[0]
    shown = appia("dead-letter", "show", letters[2], *where)
    assert "bytes: 308, the first 256:" in shown.stdout
    assert "1b 5b 32 4a 65 76 69 6c" in shown.stdout
    assert "\x1b" not in shown.stdout
    data = json.loads(appia("dead-letter", "show", letters[0], *where, "--json").stdout)["data"]
    assert bytes.fromhex(data) == _event("late-event")


def test_wrong_words_are_one_sentence(
    appia: Appia, state: StateNames, storage_key: Path, letters: list[str]
) -> None:
    """Names that are none or of nothing, no key, another key, no state directory, nothing that runs."""
    where = ("--state", str(state.root))
    with_key = (*where, "--storage-key", str(storage_key))
    other = storage_key.with_name("other.keys")
    new_storage_keys(Disk(), other)
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("show", "x", *with_key), 2, "names nothing"),
        (("show", "9:9", *with_key), 1, "holds nothing at 9:9"),
        (("list", *where), 1, "encrypted with the storage key"),
        (("list", *where, "--storage-key", str(other)), 1, "has other keys"),
        (("list", "--state", str(state.root.parent / "none")), 1, "is not a state directory"),
        (("replay", *where), 1, "nothing runs on"),
        (("replay", letters[0], "--reason", "too_old", *where), 2, "not both"),
    ]
    for words, status, sentence in cases:
        done = appia("dead-letter", *words)
        assert (done.returncode, done.stdout) == (status, ""), words
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_an_empty_dead_letter_is_said(appia: Appia, state: StateNames) -> None:
    assert "holds nothing" in appia("dead-letter", "list", "--state", str(state.root)).stdout


def test_events_are_taken_in_by_the_running_stack(  # noqa: PLR0917 - fixtures
    appia: Appia,
    start_stack: Callable[..., Any],
    state: StateNames,
    storage_key: Path,
    letters: list[str],
    tmp_path: Path,
) -> None:
    """On an encrypted state directory: the late event can be asked for then, the forged one never."""
    where = ("--state", str(state.root))
    own = tmp_path / "settings.toml"
    key = json.dumps(str(storage_key))
    own.write_text(
        f"[ingester]\nstorage_key = {key}\nrequire_encryption = true\n[rag]\nstorage_key = {key}\n"
    )
    stack = start_stack(state.root, "--settings", str(own))
    done = appia("dead-letter", "replay", *where, "--json")
    assert json.loads(done.stdout) == {"taken": 1, "duplicates": 0, "refused": {"not_an_event": 1}}
    left = json.loads(
        appia("dead-letter", "list", *where, "--storage-key", str(storage_key), "--json").stdout
    )
    assert left["counts"] == {"bad_tag": 1, "bad_source_ip": 1}
    until = time.monotonic() + 30
    while (got := appia("get", "late-event", *where, "--json")).returncode:
        assert time.monotonic() < until, got
    assert "forged-event" not in got.stdout
    assert appia("get", "forged-event", *where).returncode == 1
    refused = appia("dead-letter", "replay", letters[1], *where)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "nothing says that a sensor sent it" in refused.stderr
    assert stack.stop()[0] == 0


def test_training_reads_encrypted_feedback(appia: Appia, state: StateNames, storage_key: Path) -> None:
    """Without the key it stops, as labels would be missing; with it, it comes to the days, of which there is none."""
    desk = FeedbackDesk(state, Disk(), lambda: 1, StorageKeys(storage_key, print))
    desk.take({"feedback_id": "f", "event_id": "e", "analyst": "ana", "verdict": "true_positive"})
    desk.close()
    where = ("models", "evaluate", "--state", str(state.root))
    without, with_key = appia(*where), appia(*where, env={"APPIA_STORAGE_KEY": str(storage_key)})
    assert (without.returncode, with_key.returncode) == (1, 1)
    assert "encrypted with the storage key" in without.stderr
    assert "has no sealed day" in with_key.stderr


def test_storage_keys_on_the_command_line(appia: Appia, tmp_path: Path) -> None:
    """Made once, rotated, listed by their ids; the keys themselves are never shown."""
    folder = tmp_path / "keys"
    made = json.loads(appia("keys", "storage", "new", str(folder), "--json").stdout)
    again = appia("keys", "storage", "new", str(folder))
    assert (again.returncode, again.stdout) == (2, "")
    rotated = json.loads(appia("keys", "storage", "rotate", str(folder), "--json").stdout)
    listed = appia("keys", "storage", "list", str(folder))
    assert json.loads(appia("keys", "storage", "list", str(folder), "--json").stdout)["keys"] == [
        made["key"],
        rotated["key"],
    ]
    assert f"{read_storage_keys(folder / 'rest' / 'storage.keys')[-1].key_id:016x}" == rotated["key"]
    for secret in (folder / "rest" / "storage.keys").read_text().split():
        assert secret not in listed.stdout + again.stderr
    absent = appia("keys", "storage", "rotate", str(tmp_path / "none"))
    assert (absent.returncode, len(absent.stderr.splitlines())) == (1, 1)
