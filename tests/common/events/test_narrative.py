"""A sentence says what the flow did and what was judged, and never who it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.events import narrative
from services.common.events.features import extract
from services.common.events.narrative import LONGEST_TEXT, Narrator, plain_text
from services.common.events.network_security_pb2 import NetworkSecurityEvent
from services.common.events.parse import parse_event
from services.common.events.table import tabulate
from services.common.events.vocabulary import DIRECTIONS, FLAG_PATTERNS, SCALES, load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., NetworkSecurityEvent]

DOCUMENT = Path(__file__).parents[3] / "docs" / "narratives.md"


@pytest.fixture(scope="module")
def narrator() -> Narrator:
    return Narrator(load_vocabulary())


def tell(narrator: Narrator, *events: NetworkSecurityEvent) -> list[str]:
    payloads = [event.SerializeToString() for event in events]
    return narrator.narrate(
        tabulate([parse_event(payload) for payload in payloads], payloads), extract(payloads)
    )


def test_a_plain_flow(narrator: Narrator, make_event: Make) -> None:
    """Service, direction, size, time, rate and flags are said, and nothing of a verdict where there is none."""
    event = make_event(
        flow_duration_microseconds=1_000_000, syn_flag_count=2, ack_flag_count=9, fin_flag_count=2
    )
    (sentence,) = tell(narrator, event)
    assert sentence == (
        "Outbound HTTPS traffic over TCP: a dozen packets within a second or two at a moderate rate, "
        "sent a longer request and received a few kilobytes; opened and closed in order."
    )


def test_a_judged_flow(narrator: Narrator, make_event: Make) -> None:
    """Class, category, scores, who fired and why, disagreement and technique follow."""
    judged = {
        "final_classification": "MALICIOUS",
        "threat_category": "Port Scan",
        "overall_threat_score": 0.8,
        "fast_detector_score": 0.9,
        "ml_detector_score": 0.1,
        "fast_detector_triggered": True,
        "fast_detector_reason": "many SYN in 250 ms",
        "authoritative_source": 6,
    }
    (sentence,) = tell(narrator, make_event(judged))
    assert sentence.endswith(
        "; judged malicious as Port Scan; high threat score; the fast detector fired on many SYN in # ms; "
        "the detectors diverge; the detectors disagree strongly; ATT&CK T1046 Network Service Discovery."
    )
    assert 25 <= len(sentence.split()) <= 60


def test_a_label_in_the_metadata_is_not_told(narrator: Narrator, make_event: Make) -> None:
    """What only custom_metadata knows changes no word."""
    plain, labelled = make_event(), make_event({"custom_metadata": {"label": "DoS Hulk"}})
    one, other = tell(narrator, plain, labelled)
    assert one == other


def test_the_same_behaviour_is_the_same_sentence(narrator: Narrator, make_event: Make) -> None:
    """Other addresses, source ports, times and nearly equal numbers give one sentence."""
    events = [
        make_event(
            {"event_id": f"e-{number}"},
            source_ip=f"10.0.0.{number}",
            source_port=40_000 + number,
            total_forward_bytes=1000 + number,
        )
        for number in range(1, 50)
    ]
    sentences = tell(narrator, *events)
    assert len(set(sentences)) == 1
    assert len({id(sentence) for sentence in sentences}) == 1


@pytest.mark.parametrize(
    ("source", "destination", "word"),
    [
        ("10.0.0.1", "192.168.0.1", "Internal"),
        ("10.0.0.1", "8.8.8.8", "Outbound"),
        ("8.8.8.8", "fd00::1", "Inbound"),
        ("8.8.8.8", "2001:db8::1", "External"),
        ("10.0.0.1", "224.0.0.251", "Broadcast or multicast"),
        ("224.0.0.1", "10.0.0.1", "Inbound"),
    ],
)
def test_directions(narrator: Narrator, make_event: Make, source: str, destination: str, word: str) -> None:
    """Direction follows from which side is inside."""
    (sentence,) = tell(narrator, make_event(source_ip=source, destination_ip=destination))
    assert sentence.startswith(f"{word} HTTPS")


@pytest.mark.parametrize(
    ("protocol", "port", "words"),
    [
        (17, 53, "DNS traffic over UDP:"),
        (6, 60_000, "high-port traffic over TCP:"),
        (6, 1, "system-port traffic over TCP:"),
        (1, 443, "ICMP traffic:"),
        (200, 443, "another protocol traffic:"),
    ],
)
def test_services(narrator: Narrator, make_event: Make, protocol: int, port: int, words: str) -> None:
    """A port has its name where the protocol has ports."""
    (sentence,) = tell(narrator, make_event(protocol_number=protocol, destination_port=port))
    assert words in sentence


ANSWERED = {"total_forward_bytes": 100, "total_backward_bytes": 100, "total_backward_packets": 5}
EMPTY = {"total_forward_bytes": 0, "total_backward_bytes": 0, "total_backward_packets": 1}


@pytest.mark.parametrize(
    ("pattern", "flags", "sizes"),
    [
        ("none", "", ANSWERED),
        ("unanswered", "syn", EMPTY | {"total_backward_packets": 0}),
        ("refused", "syn rst ack", EMPTY),
        ("stealth", "fin psh urg", EMPTY),
        ("idle", "syn ack", EMPTY),
        ("cut", "syn ack psh rst", ANSWERED),
        ("closed", "syn ack psh fin", ANSWERED),
        ("opened", "syn ack psh", ANSWERED),
        ("ended", "ack fin", ANSWERED),
        ("midway", "ack psh", ANSWERED),
    ],
)
def test_flag_patterns(
    narrator: Narrator, make_event: Make, pattern: str, flags: str, sizes: dict[str, int]
) -> None:
    """Each pattern of TCP flags has its words; the same flags on UDP say nothing."""
    counts = {f"{flag}_flag_count": 1 for flag in flags.split()}
    over_tcp, over_udp = tell(
        narrator, make_event(**sizes, **counts), make_event(**sizes, **counts, protocol_number=17)
    )
    words = load_vocabulary().flags[FLAG_PATTERNS.index(pattern)]
    assert over_tcp.endswith(f"; {words}.") if words else ";" not in over_tcp
    assert ";" not in over_udp


@pytest.mark.parametrize(
    ("event", "port", "technique"),
    [
        ({"threat_category": "FTP-Patator"}, 21, "T1110"),
        ({"threat_category": "DDoS"}, 80, "T1498"),
        ({"threat_category": "DoS Hulk"}, 80, "T1499"),
        ({"threat_category": "Botnet ARES"}, 8080, "T1071"),
        ({"threat_category": "Web Attack - XSS"}, 80, "T1190"),
        ({"threat_category": "data_exfiltration"}, 443, "T1041"),
        ({"threat_category": "Infiltration"}, 445, "T1021.002"),
        ({"threat_category": "lateral_movement"}, 3389, "T1021 "),
        ({"final_classification": "MALICIOUS"}, 4444, "T1571"),
        ({"fast_detector_reason": "port_scan", "fast_detector_triggered": True}, 80, "T1046"),
        ({"final_classification": "MALICIOUS"}, 80, ""),
        ({"final_classification": "MALICIOUS", "threat_category": "bottle"}, 80, ""),
        ({"final_classification": "BENIGN", "threat_category": "DDoS"}, 80, ""),
        ({}, 4444, ""),
    ],
)
def test_techniques(
    narrator: Narrator, make_event: Make, event: dict[str, Any], port: int, technique: str
) -> None:
    """ATT&CK is named where whole words of the verdict say so, and never of benign or unjudged traffic."""
    (sentence,) = tell(narrator, make_event(event, destination_port=port))
    found = re.search(r"ATT&CK (T\S+ )", sentence)
    assert (found[1].startswith(technique) if found else technique == "") is True


def test_a_class_and_a_category_that_say_the_same_are_said_once(narrator: Narrator, make_event: Make) -> None:
    """BENIGN as Benign is benign."""
    (sentence,) = tell(narrator, make_event({"final_classification": "BENIGN", "threat_category": "Benign"}))
    assert sentence.endswith("; judged benign.")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("line\nbreak\x00\x1b[31m red", "line break [#m red"),
        ("from 10.0.0.1:443 at 3.5/s", "from # at #/s"),
        ("host 2001:db8::1%eth0 and fe80::/10 and ::1", "host # and # and #"),
        ("00:1a:2b:3c:4d:5e", "#"),
        ("right\u202eto left", "right to left"),
        ("T1046 by engine C2", "T1046 by engine C2"),
        ("", ""),
        ("   ", ""),
    ],
)
def test_texts_of_a_sensor_are_made_plain(raw: str, told: str) -> None:
    """Control characters go, and numbers and addresses become one sign."""
    assert plain_text(raw) == told


def test_texts_of_a_sensor_are_cut() -> None:
    """However long a reason is, its share of the sentence is bounded, and making it plain stays cheap."""
    assert len(plain_text("word " * 200_000)) <= LONGEST_TEXT
    assert len(plain_text("a:" * 500_000)) <= LONGEST_TEXT


ADDRESSES = st.ip_addresses().map(str)


@settings(max_examples=150, deadline=None)
@given(
    ADDRESSES,
    ADDRESSES,
    st.lists(st.text(max_size=30) | st.just("ADDRESS"), min_size=3, max_size=3),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
)
def test_any_event_becomes_one_bounded_line_without_addresses(
    source: str, destination: str, texts: list[str], number: int, large: int
) -> None:
    """Whatever an event holds, the sentence is one line, short, and without its addresses."""
    klass, category, reason = (text.replace("ADDRESS", f"from {source} to {destination}") for text in texts)
    event = NetworkSecurityEvent(
        event_id="e",
        event_timestamp={"seconds": 1},
        final_classification=klass,
        threat_category=category,
        fast_detector_reason=reason,
        fast_detector_triggered=True,
        network_features={
            "source_ip": source,
            "destination_ip": destination,
            "destination_port": number,
            "protocol_number": number,
            "total_forward_packets": large,
            "flow_duration_microseconds": large,
        },
    )
    (sentence,) = tell(Narrator(load_vocabulary()), event)
    assert sentence.isprintable() or not sentence.isascii()
    assert "\n" not in sentence
    assert len(sentence) < 700
    for address in (source, destination):
        if len(address) > 4:
            assert address not in sentence


def test_memory_is_bounded_and_sentences_stay_the_same(
    make_event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of new reasons and addresses is forgotten between batches, without changing what is said."""
    monkeypatch.setattr(narrative, "REMEMBERED", 8)
    narrator = Narrator(load_vocabulary())
    first = tell(narrator, make_event({"fast_detector_reason": "word", "fast_detector_triggered": True}))
    for number in range(10):
        reasons = [f"reason {chr(97 + number)}{chr(97 + inner)}" for inner in range(4)]
        tell(
            narrator,
            *(
                make_event({"fast_detector_reason": reason}, source_ip=f"10.0.{number}.{row}")
                for row, reason in enumerate(reasons)
            ),
        )
        assert max(map(len, (narrator._verdicts, narrator._sentences, narrator._places))) <= 8 + 8
    assert (
        tell(narrator, make_event({"fast_detector_reason": "word", "fast_detector_triggered": True})) == first
    )


def test_no_events_give_no_sentences(narrator: Narrator) -> None:
    """An empty batch is no special case."""
    assert tell(narrator) == []


def test_rows_and_features_belong_together(narrator: Narrator, make_event: Make) -> None:
    """A table and a matrix of different lengths are refused."""
    payload = make_event().SerializeToString()
    with pytest.raises(ValueError, match="1 events cannot have 0 rows of features"):
        narrator.narrate(tabulate([parse_event(payload)], [payload]), extract([]))


def test_the_document_explains_every_part_of_the_vocabulary() -> None:
    """docs/narratives.md names each scale, direction, flag pattern and section, and how to change them."""
    text = DOCUMENT.read_text("utf-8")
    sections = ("networks", "protocols", "services", "sources", "verdicts", "techniques", "version")
    for name in (*SCALES, *DIRECTIONS, *FLAG_PATTERNS, *sections):
        assert f"`{name}`" in text, name
