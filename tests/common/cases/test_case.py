"""What is in a case, and that it is the same each time."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from services.common.cases.archive import archive_of
from services.common.cases.evidence import Evidence
from services.common.cases.listing import from_bytes
from services.common.cases.writing import NO_STATE, Front, case_of
from services.common.errors import AppiaError
from services.common.rest.storage_keys import NO_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable

FRONT = Front("2026-01-23T00:00:00Z", "0.0", "", "2026-01-22:1")


def opened(data: bytes) -> dict[str, bytes]:
    """The files of a case by Python's own reader."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_case_has_the_events_as_they_were_sent(office: Any, sha256: Callable[[bytes], str]) -> None:
    """Original bytes, answers, manifests, links, page; each named by its SHA-256, and nothing left out."""
    listing, data = office.case(0, 3)
    files = opened(data)
    assert [files["events/0001/event.pb"], files["events/0002/event.pb"]] == [
        office.payloads[0],
        office.payloads[3],
    ]
    assert listing.left_out == ()
    assert listing.files == {
        name: sha256(found) for name, found in files.items() if name not in {"case.json", "case.sig"}
    }
    assert from_bytes(files["case.json"]) == listing
    days = {name for name in files if name.startswith("days/")}
    parts = {"chunk/identities.bin", "chunk/manifest.json"}
    parts |= {f"{index}/000001/manifest.json" for index in ("attack", "semantic", "temporal", "entity")}
    assert days == {f"days/2026-01-22/000001/{part}" for part in parts}
    assert files["chain/links.jsonl"] == office.state.links.read_bytes()
    assert json.loads(files["events/0002/similar.json"])["groups"][0]["count"] == 2


def test_the_same_content_has_the_same_bytes(office: Any) -> None:
    """Made twice it is the same file; made later it differs in its list and signature alone."""
    assert office.case(1)[1] == office.case(1)[1]
    one, later = (opened(office.case(1, created=f"2026-01-2{n}T00:00:00Z")[1]) for n in (3, 4))
    assert {name for name in one if one[name] != later[name]} == {"case.json", "case.sig"}
    assert b"took_ms" not in b"".join(one.values())


def test_without_a_state_directory_that_is_said(office: Any) -> None:
    """Answers alone make a case too; it names what is not there and why, in the list and on the page."""
    listing, data = case_of(FRONT, [office.answers(0)], None, office.key)
    files = opened(data)
    assert {one.what: one.why for one in listing.left_out}["events/0001/event.pb"] == NO_STATE
    assert {"days and chain", "events/0001/event.pb"} == {one.what for one in listing.left_out}
    assert NO_STATE.encode() in files["index.html"]
    assert not [name for name in files if name.endswith(".pb") or name.startswith(("days", "chain"))]
    assert listing.events[0].sha256 == ""


def test_what_was_refused_is_said(office: Any) -> None:
    """A question that a replica did not answer, such as one that the key has no right to, is named with its reason."""
    answers = office.answers(0, feedback="a replica refused: no right")
    answers = type(answers)(answers.get, None, None, {"similar": "x", "feedback": "no right"})
    listing, data = case_of(FRONT, [answers], None, office.key)
    assert ("events/0001/feedback.json", "no right") in [(one.what, one.why) for one in listing.left_out]
    assert opened(data)["index.html"].count(b"Not in this case.") == 2


def test_encrypted_logs_need_their_key(encrypted_office: Any) -> None:
    """With it the case has the event as it was sent; without it all else, and it says why."""
    office, keys = encrypted_office
    listing, data = office.case(2, keys=keys)
    assert opened(data)["events/0001/event.pb"] == office.payloads[2]
    assert listing.left_out == ()
    listing, data = office.case(2)
    (left_out,) = listing.left_out
    assert left_out.what == "events/0001/event.pb"
    assert "encrypted" in left_out.why
    assert "days/2026-01-22/000001/chunk/identities.bin" in opened(data)


def test_altered_days_are_left_out(own_office: Any) -> None:
    """What differs from the chain is not handed on as if it were signed; the reason says what to do."""
    manifest = own_office.state.day("2026-01-22").generation(1).chunk / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes() + b" ")
    listing, data = own_office.case(0)
    told = {one.what: one.why for one in listing.left_out}
    assert "it was altered" in told["days/2026-01-22/000001/chunk/manifest.json"]
    assert "cannot be shown" in told["event 1"]
    assert "days/2026-01-22/000001/chunk/identities.bin" not in opened(data)


def test_days_without_a_signature_and_damaged_chains_are_named(own_office: Any) -> None:
    """Both make a case that says so; a chain that does not hold is not put in."""
    own_office.state.links.write_bytes(own_office.state.links.read_bytes().replace(b'"sealed"', b'"served"'))
    listing, data = own_office.case(0)
    told = {one.what: one.why for one in listing.left_out}
    assert "the chain is damaged: link 2 was altered" in told["chain/links.jsonl"]
    assert "not signed" in told["days/2026-01-22/000001"]
    assert "chain/links.jsonl" not in opened(data)
    assert listing.head == ""


@pytest.mark.parametrize("generation", [1, 2])
def test_an_event_that_is_gone_is_named(office: Any, generation: int) -> None:
    """The generation was retired meanwhile, or there is another event at its place: no other bytes are taken for it."""
    answers = office.answers(0)
    answers = type(answers)({**answers.get, "segment": f"sealed-{generation:06d}", "row": 1}, None, None, {})
    with Evidence(office.state, NO_KEYS) as evidence:
        listing, data = case_of(FRONT, [answers], evidence, office.key)
    why = {one.what: one.why for one in listing.left_out}["events/0001/event.pb"]
    assert ("another event" if generation == 1 else "(any more): make the case again") in why
    assert "events/0001/event.pb" not in opened(data)


@pytest.mark.parametrize(
    "place", [{"day": "../../../etc"}, {"segment": "sealed-../../"}, {"segment": "open-x"}]
)
def test_a_place_from_a_replica_is_no_path(office: Any, place: dict[str, str]) -> None:
    """What another machine calls a day or a segment leads to no file elsewhere; of a neighbour it is passed over."""
    answers = office.answers(0)
    answers.similar["groups"][0]["examples"][0].update(place)
    with Evidence(office.state, NO_KEYS) as evidence:
        assert case_of(FRONT, [answers], evidence, office.key)[0].left_out == ()
        answers.get.update(place)
        with pytest.raises(AppiaError, match="which is no place"):
            case_of(FRONT, [answers], evidence, office.key)


def test_a_case_that_would_be_too_large_is_refused() -> None:
    """Before anything is written, with what to do."""
    with pytest.raises(AppiaError, match="put fewer events into one"):
        archive_of({f"{number}": b"" for number in range(4097)})


def test_identities_that_were_cut_short_show_nothing(own_office: Any) -> None:
    """A damaged day is told in the case; nothing fails."""
    (path,) = own_office.state.root.rglob("identities.bin")
    path.chmod(0o640)
    path.write_bytes(path.read_bytes()[:-3])
    listing, _ = own_office.case(0)
    assert "cannot be shown: run `appia verify`" in listing.left_out[-1].why
