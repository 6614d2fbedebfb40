"""Phrases of questions: scores, detectors, addresses, ports, services, places, and names in the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.common.events.vocabulary import load_vocabulary
from services.rag.arguments import parse_filters
from services.rag.language.ports import SERVICES
from services.rag.language.understand import understand
from services.rag.language.understanding import Facts

NOW = 1_795_188_600 * 10**9
FACTS = Facts(
    classes=("BENIGN", "MALICIOUS"),
    categories=("Botnet-Beacon", "DoS GoldenEye", "DoS-SlowHTTP", "Infiltration - Portscan", "PortScan", "WebAttack"),
    nodes=("core", "sensor-2", "a*b", "sensor-*"),
    tags=("reviewed", "web"),
)  # fmt: skip
WEB = [80, 443, 8000, 8008, 8080, 8081, 8443, 8888]


def check(text: str, filters: dict[str, Any]) -> None:
    """The text is understood as these filters."""
    assert parse_filters(understand(text, NOW, FACTS).filters) == parse_filters(filters)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("divergence > 0.4", {"min_divergence": 0.4}),
        ("divergence is at most 30%", {"max_divergence": 0.3}),
        ("overall_threat_score >= 0.9", {"min_overall": 0.9}),
        ("score above 80", {"min_overall": 0.8}),
        ("score 0.9 or more", {"min_overall": 0.9}),
        ("a score of at least 90 percent", {"min_overall": 0.9}),
        ("medium threat score", {"min_overall": 0.4, "max_overall": 0.7}),
        ("high risk", {"min_overall": 0.7}),
        ("critical threats", {"min_overall": 0.9}),
        ("fast detector score below 0.2", {"max_fast": 0.2}),
        ("score of the ML detector over 0.7", {"min_ml": 0.7}),
        ("ML score between 0.2 and 0.4", {"min_ml": 0.2, "max_ml": 0.4}),
        ("very high divergence", {"min_divergence": 0.6}),
        ("puntuación del detector rápido superior a 0,5", {"min_fast": 0.5}),
        ("amenazas muy altas", {"min_overall": 0.9}),
        ("score above 500", {}),
        ("score between 0.8 and 0.2", {}),
        ("above 0.8", {}),
        ("high rate", {}),
        ("high ports", {}),
    ],
)
def test_scores(text: str, filters: dict[str, Any]) -> None:
    """Comparisons and levels of a score become bounds from 0 to 1; what names no score does not."""
    check(text, filters)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("the fast detector fired", {"fast_triggered": True}),
        ("the fast detector didn't fire", {"fast_triggered": False}),
        ("fast fired but the ML model said benign", {"fast_triggered": True, "max_ml": 0.5}),
        ("ML disagreed with the fast detector", {"min_divergence": 0.3}),
        ("fast and ML disagree strongly", {"min_divergence": 0.6}),
        ("disagreement between the detectors", {"min_divergence": 0.3}),
        ("both detectors fired", {"fast_triggered": True, "min_ml": 0.5}),
        ("just the fast detector", {"source": "FAST_ONLY"}),
        ("source ML_PRIORITY", {"source": "ML_PRIORITY"}),
        ("ambos detectores coinciden", {"source": "CONSENSUS"}),
        ("el modelo ML no detectó nada", {"max_ml": 0.5}),
        ("los detectores están en desacuerdo", {"min_divergence": 0.3}),
        ("a fast host", {}),
        ("fast transfers", {}),
        ("peers that disagree", {}),
    ],
)
def test_detectors(text: str, filters: dict[str, Any]) -> None:
    """Which detector fired or disagreed becomes filters; "fast" alone is no detector."""
    check(text, filters)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("10.0.0.5", {"host": "10.0.0.5"}),
        ("to 10.0.0.5 or 10.0.0.6 from 1.2.3.4", {"dst": ["10.0.0.5", "10.0.0.6"], "src": "1.2.3.4"}),
        ("from the host 10.0.0.5", {"src": "10.0.0.5"}),
        ("within 10.0.0.5/8", {"host": "10.0.0.0/8"}),
        ("against 2001:DB8::1", {"dst": "2001:db8::1"}),
        ("192.168.10.8 -> 10.2.0.1:444", {"src": "192.168.10.8", "dst": "10.2.0.1", "dst_port": [444]}),
        (
            "192.168.10.8:3046 to 10.2.0.1:8080 tcp",
            {
                "src": "192.168.10.8",
                "src_port": [3046],
                "dst": "10.2.0.1",
                "dst_port": [8080],
                "protocol": ["tcp"],
            },
        ),
        ("desde 10.1.1.1 a 10.2.2.2:53", {"src": "10.1.1.1", "dst": "10.2.2.2", "dst_port": [53]}),
        ("10.2.0.1:22", {"host": "10.2.0.1", "port": [22]}),
        ("what did 10.1.1.1 do to 10.2.2.2", {"host": "10.1.1.1", "dst": "10.2.2.2"}),
        ("10.2.0.1:70000", {}),
        ("between fe80::1 and 10.1.1.1", {"src": ["fe80::1", "10.1.1.1"], "dst": ["fe80::1", "10.1.1.1"]}),
        ("desde 10.0.0.5 hacia 10.0.0.0/24", {"src": "10.0.0.5", "dst": "10.0.0.0/24"}),
        ("999.1.1.1", {}),
        ("10.0.0.5/99", {}),
        ("version 1.2.3", {}),
        ("00:1b:44:11:3a:b7", {}),
        ("dead beef", {}),
    ],
)
def test_addresses(text: str, filters: dict[str, Any]) -> None:
    """Addresses are of the side that the words before them say; bits of a host are dropped; others are none."""
    check(text, filters)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("ports 80, 443 and 8080", {"port": [80, 443, 8080]}),
        ("ports between 20 and 25", {"port": "20-25"}),
        ("port 1000 to 2000", {"port": "1000-2000"}),
        ("source port 53", {"src_port": 53}),
        ("to port 22", {"dst_port": 22}),
        ("ports above 1024", {"port": "1025-65535"}),
        ("puerto de destino 22", {"dst_port": 22}),
        ("http on port 8081", {"port": 8081}),
        ("over UDP", {"protocol": "udp"}),
        ("icmpv6", {"protocol": "icmpv6"}),
        ("the web server", {"dst_port": WEB}),
        ("servidor web", {"dst_port": WEB}),
        ("https and ssh", {"dst_port": [443, 8443, 22]}),
        ("carpetas compartidas", {"dst_port": 445}),
        ("port 70000", {}),
        ("ports 80-70", {}),
        ("web attack", {}),
        ("port scan", {}),
        ("https://evil.example", {}),
        ("my-ssh-server", {}),
    ],
)
def test_ports_and_services(text: str, filters: dict[str, Any]) -> None:
    """Ports by number and by the names of services; numbers win over names, and parts of other words are none."""
    check(text, filters)


def test_services_have_the_ports_of_the_narratives() -> None:
    """Every service of the vocabulary is understood by its name, with the same ports."""
    named: dict[str, set[int]] = {}
    for port, name in load_vocabulary().services.items():
        named.setdefault(name, set()).add(port)
    other_names = {"SQL database": "database", "remote shell port": None}
    for name, ports in named.items():
        known = other_names.get(name, name)
        if known is not None:
            assert set(SERVICES[known][0]) == ports, name
    assert set(SERVICES["web"][0]) == named["HTTP"] | named["HTTPS"]


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("from outside", {"src_internal": False}),
        ("to the internet", {"dst_internal": False}),
        ("external attackers", {"src_internal": False}),
        ("from internal hosts to external servers", {"src_internal": True, "dst_internal": False}),
        ("between internal hosts", {"src_internal": True, "dst_internal": True}),
        ("internal hosts attacked by external hosts", {"src_internal": False, "dst_internal": True}),
        ("from outside and from external hosts", {"src_internal": False}),
        ("internal hosts scanning other internal hosts", {"src_internal": True, "dst_internal": True}),
        ("internal machines talking with internal servers", {"src_internal": True, "dst_internal": True}),
        ("external hosts scanning internal machines", {"src_internal": False, "dst_internal": True}),
        (
            "equipos internos que escanean otros equipos internos",
            {"src_internal": True, "dst_internal": True},
        ),
        ("internal server being attacked", {"dst_internal": True}),
        ("against our internal servers", {"dst_internal": True}),
        ("outbound", {"src_internal": True, "dst_internal": False}),
        ("tráfico entrante", {"src_internal": False, "dst_internal": True}),
        ("desde internet hacia equipos internos", {"src_internal": False, "dst_internal": True}),
        ("atacantes externos", {"src_internal": False}),
        ("local privilege escalation", {}),
        ("internet explorer", {}),
        ("outside", {}),
    ],
)
def test_inside_and_outside(text: str, filters: dict[str, Any]) -> None:
    """Who acts is the source, and what something is done to the destination."""
    check(text, filters)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("class malicious", {"class": "MALICIOUS"}),
        ("clase maliciosa", {"class": "MALICIOUS"}),
        ("classified as portscan", {"category": "PortScan"}),
        ("category dos", {"category": ["DoS GoldenEye", "DoS-SlowHTTP"]}),
        ("category infiltration portscan", {"category": "Infiltration - Portscan"}),
        ("category: botnet beacon traffic", {"category": "Botnet-Beacon"}),
        ("tagged as reviewed", {"tags": "reviewed"}),
        ("on sensor-2", {"node": "sensor-2"}),
        ("node core", {"node": "core"}),
        ("T1021.002 and t1046", {"technique": ["T1021.002", "T1046"]}),
        ("class war", {}),
        ("malicious traffic", {}),
        ("botnet", {}),
        ("the core of it", {}),
        ("web pages", {}),
        ("node a*b", {}),
        ("t10461", {}),
    ],
)
def test_names_in_the_data(text: str, filters: dict[str, Any]) -> None:
    """A name is a filter behind a word for what it is; alone it is left to meaning, and one with "*" is never one."""
    check(text, filters)


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("find botnet-like behavior", ("Botnet-Beacon",)),
        ("infected machines", ("Botnet-Beacon", "Infiltration - Portscan")),
        ("slow denial of service", ("DoS-SlowHTTP",)),
        ("denegación de servicio", ("DoS GoldenEye", "DoS-SlowHTTP")),
        ("sql injection", ("WebAttack",)),
        ("who scanned us", ("Infiltration - Portscan", "PortScan")),
        ("goldeneye", ("DoS GoldenEye",)),
        ("harmless traffic", ("BENIGN",)),
        ("web pages on port 80", ()),
        ("large uploads", ()),
    ],
)
def test_names_that_are_spoken_of(text: str, hints: tuple[str, ...]) -> None:
    """Other words for what a class is are hints, those that most of what is said is about, and never filters."""
    understood = understand(text, NOW, FACTS)
    assert understood.hints == hints
    assert not {"class", "category"} & set(understood.filters)


@pytest.mark.parametrize(
    ("text", "blocked"),
    [
        ("attacks that were blocked", True),
        ("scans blocked by the firewall", True),
        ("what did get dropped by our firewall", True),
        ("which the firewall stopped", True),
        ("attacks that were not blocked", False),
        ("attacks that weren't blocked by a firewall", False),
        ("floods never blocked", False),
        ("what the firewall let through", False),
        ("the firewall did not block", False),
        ("ataques bloqueados", True),
        ("escaneos bloqueados por el cortafuegos", True),
        ("ataques que fueron bloqueados", True),
        ("ataques no bloqueados", False),
        ("ataques sin bloquear", False),
        ("ataques que no se bloquearon", False),
        ("lo que el cortafuegos dejó pasar", False),
    ],
)
def test_what_a_firewall_did(text: str, blocked: bool) -> None:  # noqa: FBT001 - a table
    """In both languages; "not" belongs to the phrase, and without any decision the words are words."""
    understood = understand(text, NOW, replace(FACTS, firewalls=True))
    assert understood.filters == {"blocked": blocked}
    assert not understood.notes
    assert "blocked" not in understand(text, NOW, FACTS).filters
