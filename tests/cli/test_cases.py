"""`appia export-case` and `appia verify-case` over a running stack with a sealed and signed day."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from services.cli.main import run
from services.common.days.chunk import open_chunk
from services.common.days.names import StateNames
from services.common.events.network_security_pb2 import NetworkSecurityEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTE = "<script>alert(1)</script>\n\"><img src=//evil.example onerror='alert(1)'>"
HOSTILE = "</td><script src=//evil.example></script>"
RISKY = {"script", "img", "b", "a", "link", "iframe", "form", "object", "svg"}


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process: status, output and errors."""

    def go(*words: object) -> tuple[int, str, str]:
        status = run([str(word) for word in words])
        return status, *capsys.readouterr()

    return go


class Elements(HTMLParser):
    """The elements and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_case_is_handed_over_and_checked(
    sealed_sample: Path, tmp_path: Path, start_stack: Callable[..., Any], say: Any
) -> None:
    """Exported from a running stack, proved with the public key alone; on another machine it says what lacks."""
    state = shutil.copytree(sealed_sample, tmp_path / "state")
    start_stack(state)
    where = "--state", state
    day = StateNames(state).days()[0]
    event_id = json.loads(say("list", "--limit", 1, "--json", *where)[1])["events"][0]["event_id"]
    remark = "feedback", event_id, "--true-positive", "--analyst", "<b>Ann</b>", "--note", NOTE
    assert say(*remark, *where)[0] == 0
    case = tmp_path / "case.zip"
    status, out, err = say("export-case", event_id, "--out", case, "--note", NOTE, *where)
    assert (status, err) == (0, "")
    assert out.startswith(f"Wrote {case}: 1 event, 12 files, signed with the key ")
    key = next((state / "keys" / "signing").glob("*.public"))
    status, out, _ = say("verify-case", case, "--public-key", key, "--json")
    found = json.loads(out)
    assert (status, found["faults"], found["left_out"], found["note"]) == (0, [], [], NOTE)
    assert (found["events"][0]["original"], found["events"][0]["link"]) == (True, 2)
    assert found["head"] == json.loads(say("chain", "list", "--json", *where)[1])["head"]
    with zipfile.ZipFile(case) as archive:
        original = archive.read("events/0001/event.pb")
        similar = json.loads(archive.read("events/0001/similar.json"))
        page = Elements(archive.read("index.html").decode("ascii"))
    assert original == _payload(state, day, found["events"][0]["row"])
    assert len(similar["explanation"]["others"]) == len(similar["groups"]) == 10
    assert page.names.isdisjoint(RISKY)
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert page.text.count(NOTE.splitlines()[0]) >= 2
    _without_the_state_directory(say, state, event_id, tmp_path)
    _refusals(say, state, event_id, case)


def test_what_a_sensor_sends_stays_text(
    start_stack: Callable[..., Any], tmp_path: Path, say: Any, eventually: Callable[..., None]
) -> None:
    """Class, label, sensor and tags of an event that attacks its readers stand on the page as they were sent."""
    where = "--state", start_stack(tmp_path / "state").state
    (tmp_path / "event_evil.pb").write_bytes(_hostile_event())
    assert say("feed", "--format", "mldefender-pb", tmp_path / "event_evil.pb", *where)[0] == 0
    eventually("it is seen", lambda: say("get", "evil<b>", *where)[0] == 0)
    assert say("export-case", "evil<b>", "--out", tmp_path / "case.zip", *where)[0] == 0
    with zipfile.ZipFile(tmp_path / "case.zip") as archive:
        page = Elements(archive.read("index.html").decode("ascii"))
    assert page.names.isdisjoint(RISKY)
    assert page.text.count(HOSTILE) >= 4
    assert "Event 1: evil<b>" in page.text


def _without_the_state_directory(say: Any, state: Path, event_id: str, tmp_path: Path) -> None:
    """Another machine has an endpoint and a key of its own; its case says what it has not."""
    keys, case = tmp_path / "keys", tmp_path / "remote.zip"
    assert say("keys", "signing", keys)[0] == 0
    endpoint = json.loads((state / "endpoints.json").read_text())["replicas"][0]["endpoint"]
    status, out, _ = say("export-case", event_id, "--out", case, "--endpoint", endpoint, "--keys", keys)
    assert status == 0
    assert "not in it: events/0001/event.pb: no state directory was at hand" in out
    status, out, _ = say("verify-case", case, "--public-key", next((keys / "signing").glob("*.public")))
    assert status == 0
    assert "as the replica told it; its own bytes are not there" in out
    assert "not in it: days and chain: no state directory was at hand" in out


def _refusals(say: Any, state: Path, event_id: str, case: Path) -> None:
    """What is there is not overwritten; a case without a key, of no event, or of a wrong key is told in a sentence."""
    where, new = ("--state", state), case.with_name("new.zip")
    for words, status, says in (
        ((event_id, "--out", case, *where), 2, "exists and is not overwritten"),
        ((event_id, "--out", case.parent / "no" / "x.zip", *where), 2, "there is no folder"),
        ((event_id, "--out", new, "--keys", case.parent, *where), 2, "there is no key to sign the case with"),
        ((event_id, "--out", new, "--note", "x" * 4097, *where), 2, "--note takes at most 4,096 bytes"),
        (("nobody", "--out", new, *where), 1, "There is no event 'nobody'"),
        ((*map(str, range(101)), "--out", new, *where), 2, "a case has at most 100 events"),
    ):
        found = say("export-case", *words)
        assert (found[0], says in found[2]) == (status, True), found
        assert not new.exists()
    other = case.parent / "keys" / "signing"
    status, out, err = say("verify-case", case, "--public-key", next(other.glob("*.public")))
    assert status == 1
    assert "the case is signed with the key" in out
    assert "the chain was never signed with the key" in out
    assert "faults found: do not rely on this case" in err


def test_two_exports_of_one_moment_differ_in_nothing_else(
    ask: Any, shared_stack: Any, tmp_path: Path, say: Any
) -> None:
    """As of the same moment: the same files, byte for byte; only when it was made and the signature differ."""
    newest = ask("list", "--limit", "2")
    ids = [event["event_id"] for event in newest["events"]]
    listings = []
    for name in ("one.zip", "two.zip"):
        words = "--out", tmp_path / name, "--as-of", newest["receipt"]["as_of"], "--json"
        status, _, err = say("export-case", *ids, *words, "--state", shared_stack.state)
        assert (status, err) == (0, "")
        with zipfile.ZipFile(tmp_path / name) as archive:
            listings.append(json.loads(archive.read("case.json")))
            assert archive.read("events/0002/event.pb")
    assert listings[0]["files"] == listings[1]["files"]
    assert {one["what"] for one in listings[0]["left_out"]} == {"event 1", "event 2"}  # the day is open


def test_a_link_that_leads_nowhere_is_there_too(say: Any, tmp_path: Path) -> None:
    """A case would take its place; it is somebody's, and is not overwritten."""
    (tmp_path / "case.zip").symlink_to(tmp_path / "gone")
    status, _, err = say(
        "export-case", "x", "--out", tmp_path / "case.zip", "--endpoint", "tcp://127.0.0.1:9"
    )
    assert (status, "exists and is not overwritten" in err) == (2, True), err


def test_what_is_no_case_is_told(say: Any, tmp_path: Path, sealed_sample: Path) -> None:
    """No file, a folder, a pipe that nobody writes into, another file, no key."""
    key = next((sealed_sample / "keys" / "signing").glob("*.public"))
    (tmp_path / "x").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    for file, public, status, says in (
        (tmp_path / "none", key, 2, "cannot be read"),
        (tmp_path, key, 2, "is no plain file"),
        (tmp_path / "pipe", key, 2, "is no plain file"),
        (tmp_path / "x", key, 1, "is no case as `appia export-case` writes them"),
        (tmp_path / "x", tmp_path / "x", 2, "is no public key"),
    ):
        found = say("verify-case", file, "--public-key", public)
        assert (found[0], says in found[2]) == (status, True), found


def _hostile_event() -> bytes:
    event = NetworkSecurityEvent(
        event_id="evil<b>", originating_node_id=HOSTILE, final_classification=HOSTILE
    )
    event.event_timestamp.GetCurrentTime()
    event.event_tags.append(HOSTILE)
    event.custom_metadata["label"] = HOSTILE
    event.network_features.source_ip, event.network_features.destination_ip = "10.0.0.1", "10.0.0.2"
    return event.SerializeToString(deterministic=True)


def _payload(state: Path, day: str, row: int) -> bytes:
    chunk = open_chunk(StateNames(state).day(day).generation(1).chunk)
    try:
        return chunk.log.event(int(chunk.columns["position"][row]))
    finally:
        chunk.log.close()
