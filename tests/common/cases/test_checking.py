"""What `verify-case` finds: everything that somebody could do to a case, each by its name."""

from __future__ import annotations

import io
import json
import stat
import struct
import time
import zipfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from services.common.canonical import canonical
from services.common.cases.archive import archive_of
from services.common.cases.checking import CaseCheck, check_case
from services.common.cases.listing import digests, from_bytes, sign, to_bytes
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.chain.keys import SigningKey

    Files = dict[str, bytes]
    Check = Callable[[bytes], CaseCheck]

ORIGINAL, IDENTITIES = "events/0001/event.pb", "days/2026-01-22/000001/chunk/identities.bin"
MANIFEST = "days/2026-01-22/000001/chunk/manifest.json"


@pytest.fixture
def case(office: Any) -> bytes:
    """A case of two events."""
    return bytes(office.case(0, 3)[1])


@pytest.fixture
def files(case: bytes) -> Files:
    """Its files, in order."""
    with zipfile.ZipFile(io.BytesIO(case)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def check(office: Any, tmp_path: Path) -> Check:
    """Check bytes as a case, under the key of the office."""

    def run(data: bytes) -> CaseCheck:
        (tmp_path / "case.zip").write_bytes(data)
        return check_case(tmp_path / "case.zip", office.key.public, office.key.public)

    return run


def signed_anew(files: Files, key: SigningKey, **changes: Any) -> bytes:
    """The files listed and signed again, as a thief of the key or a careless signer can."""
    rest = {name: data for name, data in files.items() if name not in {"case.json", "case.sig"}}
    listing = replace(from_bytes(files["case.json"]), files=digests(rest), **changes)
    listed = to_bytes(listing)
    return archive_of({"case.json": listed, "case.sig": sign(listed, key), **rest})


def test_a_whole_case_has_no_fault(case: bytes, check: Check) -> None:
    """Each event has its own bytes, and link 2 vouches for its day."""
    found = check(case)
    assert found.faults == ()
    assert [(shown.original, shown.link) for shown in found.events] == [(True, 2), (True, 2)]


def test_every_byte_counts(case: bytes, check: Check) -> None:
    """Whatever single byte somebody changes, it is a fault: also between the files and in the directory."""
    signed = range(case.index(b'{"key"'), case.index(b'{"key"') + 300)
    places = {*range(0, len(case), len(case) // 150), *range(60), *signed, *range(len(case) - 100, len(case))}
    for place in sorted(places):
        damaged = bytearray(case)
        damaged[place] ^= 0x20
        try:
            assert check(bytes(damaged)).faults, place
        except AppiaError:
            continue


@pytest.mark.parametrize("size", [0, 1, 21, 22, 500, -1])
def test_a_case_that_was_cut_off_is_named(case: bytes, check: Check, size: int) -> None:
    """An empty file, a short one, one without its last byte."""
    with pytest.raises(AppiaError, match="is no case as"):
        check(case[:size])


def test_what_was_put_before_or_behind_is_named(case: bytes, check: Check) -> None:
    """A program before the archive, or bytes after it, as other kinds of files have them."""
    with pytest.raises(AppiaError, match="something was put behind"):
        check(case + b"x")
    with pytest.raises(AppiaError, match="is no case"):
        check(b"#!/bin/sh\n" + case)


@pytest.mark.parametrize(
    "name", [ORIGINAL, IDENTITIES, "index.html", "chain/links.jsonl", "events/0002/feedback.json"]
)
def test_missing_altered_and_extra_files_are_named(files: Files, check: Check, name: str) -> None:
    """Each by the name of the file."""
    without = {one: data for one, data in files.items() if one != name}
    assert f"{name} is missing" in check(archive_of(without)).faults
    assert (
        f"{name} was altered: case.json names another SHA-256"
        in check(archive_of(files | {name: b"x"})).faults
    )
    extra = name.replace("2026-01-22", "2026-01-23").replace("000", "111")
    if extra != name:
        assert (
            f"{extra} was put in: case.json does not name it"
            in check(archive_of(files | {extra: b"x"})).faults
        )


def test_a_missing_list_or_signature_is_named(files: Files, check: Check) -> None:
    """Without them nothing can be said."""
    for name in ("case.json", "case.sig"):
        with pytest.raises(AppiaError, match=f"has no {name}: it is missing"):
            check(archive_of({one: data for one, data in files.items() if one != name}))


def test_another_key_is_named(files: Files, check: Check, new_key: Callable[[], SigningKey]) -> None:
    """Signed by somebody else; signed with the name of the right key; altered after it was signed; no signature."""
    other = new_key()
    found = check(signed_anew(files, other))
    assert [fault for fault in found.faults if f"is signed with the key '{other.public.id}'" in fault]
    signature = json.loads(files["case.sig"])
    listing = replace(from_bytes(files["case.json"]), note="something else")
    assert (
        "case.json was altered: its signature does not hold"
        in check(archive_of(files | {"case.json": to_bytes(listing)})).faults
    )
    for wrong in (b"", b"{}", b"\xff", canonical({**signature, "signature": "zz"})):
        assert (
            "case.sig was altered: it is no signature of a case"
            in check(archive_of(files | {"case.sig": wrong})).faults
        )


@pytest.mark.parametrize("field", ["key", "public", "signature"])
def test_no_byte_of_the_signature_file_is_free(files: Files, check: Check, field: str) -> None:
    """The same number in capitals, or another key beside a signature that holds: not as it was written."""
    signature = json.loads(files["case.sig"])
    for other in (signature[field].upper(), "0" * 16):
        if other != signature[field]:
            found = check(archive_of(files | {"case.sig": canonical({**signature, field: other})}))
            assert len(found.faults) == 1, other


def test_a_list_that_cannot_be_read_is_refused(files: Files, check: Check, office: Any) -> None:
    """Other JSON, a newer format, a name that leads elsewhere: also where it is signed rightly."""
    document = json.loads(files["case.json"])
    for change, says in (
        ({"format": 2}, "install a newer appia"),
        ({"files": {"../../etc/passwd": "0" * 64}}, "no list of a case"),
        ({"files": {"case.json": "0" * 64}}, "no list of a case"),
        ({"more": 1}, "no list of a case"),
        ({"events": [{}]}, "no list of a case"),
        ({"events": [{**document["events"][0], "day": "../.."}]}, "no list of a case"),
        ({"note": None}, "no list of a case"),
    ):
        listed = canonical({**document, **change})
        with pytest.raises(AppiaError, match=says):
            check(archive_of(files | {"case.json": listed, "case.sig": sign(listed, office.key)}))
    with pytest.raises(AppiaError, match="it is not canonical JSON"):
        check(archive_of(files | {"case.json": files["case.json"] + b"\n"}))


def packed(
    files: Files, change: Callable[[zipfile.ZipInfo], None], method: int = zipfile.ZIP_STORED
) -> bytes:
    """The files packed by another program, each entry changed."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            info.compress_type = method
            change(info)
            archive.writestr(info, data)
    return made.getvalue()


def test_bombs_are_refused_unread(files: Files, check: Check) -> None:
    """A megabyte of zeros in a kilobyte, and a file that lies over another one: nothing is ever expanded."""
    bomb = files | {"index.html": bytes(1 << 20)}
    with pytest.raises(
        AppiaError, match=r"is compressed \([\d,]+ bytes for 1,048,576\), and nothing in a case is"
    ):
        check(packed(bomb, lambda _: None, zipfile.ZIP_DEFLATED))
    plain = archive_of(files)
    names = list(files)
    first, second = (plain.rindex(name.encode()) - 46 for name in names[2:4])
    over = bytearray(plain)
    over[second + 42 : second + 46] = plain[first + 42 : first + 46]
    assert any("lies over it" in fault for fault in check(bytes(over)).faults)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "..\\x", "C:\\x", "events/0001/../../x", "events/0001/", "x", "x\n"],
)
def test_names_that_lead_elsewhere_are_named(files: Files, check: Check, name: str) -> None:
    """By the list of names there can be, whatever an unzip would make of them."""
    assert f"{name!r} is no name of a file in a case" in check(archive_of(files | {name: b"x"})).faults


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda info: setattr(info, "external_attr", (stat.S_IFLNK | 0o777) << 16), "is no plain file"),
        (lambda info: setattr(info, "comment", b"hidden"), "was packed by another program"),
        (
            lambda info: setattr(info, "extra", struct.pack("<HH4s", 0x7075, 4, b"abcd")),
            "was packed by another program",
        ),
        (lambda info: setattr(info, "date_time", (2026, 1, 1, 0, 0, 0)), "was packed by another program"),
    ],
)
def test_other_archives_are_named(files: Files, check: Check, change: Any, says: str) -> None:
    """Symbolic links, comments, extra fields and dates; the same content packed anew is no case."""
    with pytest.raises(AppiaError, match=says):
        check(packed(files, change))


def test_an_encrypted_entry_and_a_double_are_named(case: bytes, check: Check, files: Files) -> None:
    """The flag alone is enough; of two files with one name an unzip would show the second."""
    place = case.rindex(b"index.html") - 46 + 8
    locked = bytearray(case)
    locked[place] |= 1
    assert "'index.html' is encrypted, and nothing in a case is" in check(bytes(locked)).faults
    twice = archive_of(files | {"index.htmm": b"x"}).replace(b"index.htmm", b"index.html")
    assert "index.html is in the archive twice" in check(twice).faults


def test_a_directory_without_end_is_refused(check: Check) -> None:
    """Sizes that the file does not have, in the last record."""
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, 1 << 20, 0, 0)
    with pytest.raises(AppiaError, match="is no case"):
        check(bytes(1 << 20) + end)


def test_a_flood_of_lines_is_no_chain(files: Files, check: Check) -> None:
    """Millions of lines in a file of some megabytes would take minutes, and gigabytes to say what each of them is."""
    flooded = files | {"chain/links.jsonl": b"\n" * (1 << 22)}
    began = time.monotonic()
    assert "chain/links.jsonl has 4,194,304 lines, which is too much" in check(archive_of(flooded)).faults
    assert time.monotonic() - began < 5


def test_the_chain_vouches_against_the_signer(files: Files, check: Check, office: Any) -> None:
    """Who can sign cases and not days puts no event into a day: each way is named, although the case is signed."""
    other = office.payloads[1].replace(b"10.0.0.1", b"10.0.0.9")
    forged = files | {ORIGINAL: other}
    event = from_bytes(files["case.json"]).events[0]
    told = replace(event, event_id=office.event_id(1), sha256=digests({"": other})[""])
    found = check(signed_anew(forged, office.key, events=(told,)))
    assert found.faults == ("an event of the case was not in the day 2026-01-22 as it was signed",)
    assert found.events[0].link == 0
    identities = files[IDENTITIES] + b"\0" * 16
    found = check(signed_anew(files | {IDENTITIES: identities}, office.key))
    assert f"{IDENTITIES} is not the file that {MANIFEST} names" in found.faults
    manifest = files[MANIFEST].replace(b'"rows": 6', b'"rows": 7')
    found = check(signed_anew(files | {MANIFEST: manifest}, office.key))
    assert f"{MANIFEST} is not the manifest that link 2 names" in found.faults
    found = check(signed_anew(files, office.key, events=(replace(event, sha256="0" * 64),)))
    assert f"{ORIGINAL} is not the event" in found.faults[0]
    links = files["chain/links.jsonl"].replace(b'"sealed"', b'"served"')
    found = check(signed_anew(files | {"chain/links.jsonl": links}, office.key))
    assert found.faults[0].startswith("chain/links.jsonl: link 2 was altered")
    assert [shown.link for shown in found.events] == [0, 0]


def test_cases_may_be_signed_with_another_key_than_days(
    office: Any, tmp_path: Path, new_key: Callable[[], SigningKey]
) -> None:
    """An analyst has a key of his own; the chain is of the ingester's, and both have to be as they were given."""
    own = new_key()
    path = tmp_path / "case.zip"
    path.write_bytes(office.case(0, key=own)[1])
    found = check_case(path, own.public, office.key.public)
    assert (found.faults, found.events[0].link) == ((), 2)
    found = check_case(path, own.public, own.public)
    assert "chain/links.jsonl: the chain was never signed with the key" in found.faults[0]
    assert found.events[0].link == 0
