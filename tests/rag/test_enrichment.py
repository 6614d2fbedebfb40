"""What is told about addresses, services and techniques, from real files in MaxMind's format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from services.common.errors import AppiaError
from services.common.events.techniques import technique, techniques_in
from services.common.events.vocabulary import load_vocabulary
from services.common.rpc import Deadline
from services.rag.enrichment import Enricher
from services.rag.geoip import LOOK_S, GeoFile
from services.rag.networks import INTERNAL, parse_networks

if TYPE_CHECKING:
    from pathlib import Path

    from services.common.events.vocabulary import Vocabulary

BERLIN = {"country": {"iso_code": "DE", "names": {"en": "Germany"}}, "city": {"names": {"en": "Berlin"}}}
MADRID = {"country": {"iso_code": "ES", "names": {"en": "Spain"}}, "city": {"names": {"en": "Madrid"}}}
SYSTEM = {"autonomous_system_number": 64_500, "autonomous_system_organization": "Example Net"}


def write(path: Path, kind: str, records: dict[str, Any], version: int = 6) -> Path:
    writer = MMDBWriter(version, kind, ipv4_compatible=version == 6)
    for network, record in records.items():
        writer.insert_network(IPSet([network]), record)
    partial = path.with_suffix(".partial")
    writer.to_db_file(str(partial))
    partial.replace(path)
    return path


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return load_vocabulary()


def event(**more: Any) -> dict[str, Any]:
    plain = {"event_id": "e", "src_ip": "203.0.113.9", "dst_ip": "10.0.0.5", "dst_port": 445}
    return {**plain, "narrative": "Inbound SMB: at once.", **more}


def enricher(vocabulary: Vocabulary, city: Path | None = None, asn: Path | None = None) -> Enricher:
    return Enricher(
        parse_networks(INTERNAL),
        vocabulary.services,
        None if city is None else GeoFile(city),
        None if asn is None else GeoFile(asn),
    )


def test_every_event_of_an_answer_is_told_more_about(tmp_path: Path, vocabulary: Vocabulary) -> None:
    """Place, network, inside or not, service and techniques stand beside each event; the receipt names the files."""
    city = write(tmp_path / "city.mmdb", "Test-City", {"203.0.113.0/24": BERLIN, "2001:db8::/32": MADRID})
    asn = write(tmp_path / "asn.mmdb", "Test-ASN", {"203.0.113.0/25": SYSTEM})
    told = "Inbound SMB: at once; ATT&CK T1021.002 SMB/Windows Admin Shares."
    answer = {
        "groups": [{"examples": [event(narrative=told)]}],
        "event": event(src_ip="2001:db8::1", dst_port=4),
        "receipt": {},
    }
    shown = enricher(vocabulary, city, asn).show_in(answer)
    first, second = (one["enrichment"] for one in (shown["groups"][0]["examples"][0], shown["event"]))
    assert first == {
        "src": {
            "internal": False,
            "country": "DE",
            "country_name": "Germany",
            "city": "Berlin",
            "asn": 64_500,
            "organization": "Example Net",
        },
        "dst": {"internal": True},
        "service": "SMB",
        "techniques": [
            {
                "id": "T1021.002",
                "name": "SMB/Windows Admin Shares",
                "tactic": "TA0008",
                "tactic_name": "Lateral Movement",
            }
        ],
    }
    assert second["src"]["city"] == "Madrid"
    assert "service" not in second
    files = shown["receipt"]["enrichment"]["files"]
    assert [(file["file"], file["type"]) for file in files] == [
        ("city.mmdb", "Test-City"),
        ("asn.mmdb", "Test-ASN"),
    ]
    assert "enrichment" not in answer["event"], "what was found may be kept for other answers"


def test_without_files_the_rest_is_told(vocabulary: Vocabulary) -> None:
    """Inside and outside need no file."""
    shown = enricher(vocabulary).show_in({"event": event(), "receipt": {}})
    assert shown["event"]["enrichment"]["src"] == {"internal": False}
    assert shown["receipt"]["enrichment"] == {"files": [], "faults": []}


@pytest.mark.parametrize("content", [None, b"", b"no such format" * 100])
def test_a_file_that_cannot_be_read_stops_no_answer(
    tmp_path: Path, vocabulary: Vocabulary, content: bytes | None
) -> None:
    """An absent or damaged file is named once in the receipt; the rest is told."""
    city = tmp_path / "city.mmdb"
    if content is not None:
        city.write_bytes(content)
    shown = enricher(vocabulary, city).show_in({"hits": [event(), event(src_ip="8.8.8.8")], "receipt": {}})
    assert shown["hits"][1]["enrichment"]["dst"] == {"internal": True}
    (fault,) = shown["receipt"]["enrichment"]["faults"]
    assert "city.mmdb" in fault


def test_flipped_bytes_are_told_or_harmless(tmp_path: Path, vocabulary: Vocabulary) -> None:
    """Whatever byte of a file is wrong, the answer comes."""
    city = write(tmp_path / "city.mmdb", "Test-City", {"203.0.113.0/24": BERLIN})
    sound = city.read_bytes()
    for place in range(0, len(sound), 7):
        city.with_suffix(".new").write_bytes(
            sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :]
        )
        city.with_suffix(".new").replace(city)
        shown = enricher(vocabulary, city).show_in({"event": event(), "receipt": {}})
        assert shown["event"]["enrichment"]["src"]["internal"] is False


def test_a_new_file_takes_over(tmp_path: Path) -> None:
    """A file that is replaced is read within some seconds, without a restart; one that vanishes is a sentence."""
    clock = [0.0]
    path = write(tmp_path / "city.mmdb", "Test-City", {"203.0.113.0/24": BERLIN})
    file = GeoFile(path, lambda: clock[0])
    assert file.get("203.0.113.9") == BERLIN
    write(path, "Test-City", {"203.0.113.0/24": MADRID})
    os.utime(path, ns=(1, 1))
    assert file.get("203.0.113.9") == BERLIN
    clock[0] = LOOK_S
    assert file.get("203.0.113.9") == MADRID
    assert file.get("198.51.100.1") == {}
    path.unlink()
    clock[0] = 2 * LOOK_S
    with pytest.raises(AppiaError, match="There is no file"):
        file.get("203.0.113.9")


def test_a_file_of_ipv4_says_nothing_about_ipv6(tmp_path: Path) -> None:
    """An address that a file cannot hold is none that it knows."""
    path = write(tmp_path / "city.mmdb", "Test-City", {"203.0.113.0/24": BERLIN}, version=4)
    assert GeoFile(path).get("2001:db8::1") == {}


def test_the_names_of_techniques_agree_with_the_vocabulary(vocabulary: Vocabulary) -> None:
    """Every technique that narratives name is known, by the same name, with its tactic."""
    for rule in vocabulary.techniques:
        number, _, name = rule.say.partition(" ")
        known = technique(number)
        assert (known.name, bool(known.tactic_name)) == (name, True)
    assert techniques_in("no ATT&CK T9999 that is known; T1046 without the word") == [technique("T9999")]
    assert technique("T9999").name == ""


def test_a_replica_tells_more_where_it_is_asked_to(world: Any, replica: Any) -> None:
    """`enrich` adds to what is shown, in single events and in lists; without it nothing is added."""
    world.fill("2026-01-20", 10, sealed=True)
    ask = replica(world)
    (event_id, *_) = world.events
    plain, told = (
        ask["get"]({"event_id": event_id, "enrich": enrich}, Deadline()) for enrich in (False, True)
    )
    assert "enrichment" not in plain["fields"]
    assert told["fields"]["enrichment"]["src"].keys() == {"internal"}
    listed = ask["list"]({"limit": 3, "enrich": True}, Deadline())
    assert all("enrichment" in event for event in listed["events"])
    assert listed["receipt"]["enrichment"] == {"files": [], "faults": []}
