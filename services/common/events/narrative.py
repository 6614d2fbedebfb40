"""An event in words: one sentence, the same for the same behaviour, without addresses (docs/narratives.md)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from services.common.events.features import FeatureMatrix, column_of
from services.common.events.vocabulary import FLAG_PATTERNS, OTHER_PROTOCOL, Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.common.events.table import EventTable

# Class, category, reason, fast detector fired, and the words' indices of source, threat, ML score, divergence.
Verdict: TypeAlias = tuple[str, str, str, bool, int, int, int, int]

REMEMBERED = 65_536  # sentences, verdicts and addresses kept at most, each, between two batches
LONGEST_TEXT = 60  # characters of a text that the sensor wrote
TCP = 6
WITH_PORTS = (6, 17, 132)  # TCP, UDP, SCTP
FEWEST_PACKETS_OF_A_RATE = 5
INTERNAL, OUTBOUND, INBOUND, EXTERNAL, GROUP = range(5)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
# Anything with two colons (IPv6, MAC), then numbers with dots or colons in them (IPv4, ports, rates).
_ADDRESS = re.compile(r"[0-9a-f]*(?::[0-9a-f.]*){2,}(?:%\w+)?(?:/\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![a-z\d])\d[\d.,:]*", re.IGNORECASE)

_FLOW = "network_features."
_DURATION = column_of(_FLOW + "flow_duration_microseconds")
_SENT_PACKETS = column_of(_FLOW + "total_forward_packets")
_RECEIVED_PACKETS = column_of(_FLOW + "total_backward_packets")
_SENT = column_of(_FLOW + "total_forward_bytes")
_RECEIVED = column_of(_FLOW + "total_backward_bytes")
_PAUSE = column_of(_FLOW + "flow_inter_arrival_time_max")
_FLAGS = {name: column_of(f"{_FLOW}{name}_flag_count") for name in ("fin", "syn", "rst", "psh", "ack", "urg")}


class Narrator:
    """Tells events; remembers the sentences it has made, within bounds. Not for several threads at once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Prepare the lookup tables of one vocabulary."""
        self._words = vocabulary
        self._services = _ServiceNames(vocabulary)
        scales = vocabulary.scales
        self._parts = (
            self._services.words, vocabulary.directions, scales["duration"].words, scales["packets"].words,
            scales["sent"].words, scales["received"].words, (*scales["rate"].words, ""),
            scales["pause"].words, vocabulary.flags,
        )  # fmt: skip
        self._sizes = tuple(len(words) for words in self._parts)
        self._flows = int(np.prod(self._sizes))
        self._places: dict[str, int] = {}
        self._verdicts: dict[Verdict, int] = {}
        self._sentences: dict[int, str] = {}

    def narrate(self, table: EventTable, features: FeatureMatrix) -> list[str]:
        """Tell n events: one sentence each, the same object for the same behaviour within a batch.

        Raises `ValueError` where the two have different lengths.
        """
        if len(table) != len(features.values):
            raise ValueError(f"{len(table)} events cannot have {len(features.values)} rows of features")
        self._forget()
        flows = np.ravel_multi_index(self._flow_bins(table, features.values), self._sizes)
        verdicts = self._verdict_rows(table)
        known = self._verdicts
        codes = [known.setdefault(verdict, len(known)) for verdict in verdicts]
        keys = (flows + np.array(codes, np.int64) * self._flows).tolist()
        sentences = self._sentences
        for row, key in enumerate(keys):
            if key not in sentences:
                sentences[key] = self._sentence(int(flows[row]), verdicts[row])
        return [sentences[key] for key in keys]

    def _forget(self) -> None:
        # Keys of sentences hold codes of verdicts, so both go together.
        if max(len(self._verdicts), len(self._sentences)) > REMEMBERED:
            self._verdicts.clear()
            self._sentences.clear()
        if len(self._places) > REMEMBERED:
            self._places.clear()

    def _flow_bins(self, table: EventTable, values: NDArray[np.float32]) -> tuple[NDArray[np.int64], ...]:
        scales = self._words.scales
        duration = values[:, _DURATION]
        packets = values[:, _SENT_PACKETS] + values[:, _RECEIVED_PACKETS]
        lasting = (duration > 0) & (packets >= FEWEST_PACKETS_OF_A_RATE)
        rate = packets / np.where(lasting, duration, 1) * 1e6
        return (
            self._services.codes(table),
            self._directions(table),
            scales["duration"].bins(duration),
            scales["packets"].bins(packets),
            scales["sent"].bins(values[:, _SENT]),
            scales["received"].bins(values[:, _RECEIVED]),
            np.where(lasting, scales["rate"].bins(rate), len(scales["rate"].words)),
            scales["pause"].bins(values[:, _PAUSE]),
            np.where(table.protocol == TCP, flag_patterns(values), FLAG_PATTERNS.index("none")),
        )

    def _directions(self, table: EventTable) -> NDArray[np.int64]:
        source = np.array([self._place(address) for address in table.src_ip], np.int64)
        target = np.array([self._place(address) for address in table.dst_ip], np.int64)
        by_sides = np.array(
            [[INTERNAL, OUTBOUND, GROUP], [INBOUND, EXTERNAL, GROUP], [INBOUND, EXTERNAL, GROUP]]
        )
        return by_sides[source, target]

    def _place(self, address: str) -> int:
        """0 inside, 1 outside, 2 many hosts at once."""
        place = self._places.get(address)
        if place is None:
            place = 2 if self._words.is_group(address) else int(not self._words.is_inside(address))
            self._places[address] = place
        return place

    def _verdict_rows(self, table: EventTable) -> list[Verdict]:
        scales = self._words.scales
        columns = (
            table.fast_triggered,
            table.source,
            scales["threat"].bins(table.overall),
            scales["ml"].bins(table.ml),
            scales["divergence"].bins(table.divergence),
        )
        numbers = (column.tolist() for column in columns)
        return list(zip(table.klass, table.category, table.fast_reason, *numbers, strict=True))

    def _sentence(self, flow: int, verdict: Verdict) -> str:
        words = [
            part[index] for part, index in zip(self._parts, np.unravel_index(flow, self._sizes), strict=True)
        ]
        service, direction, duration, packets, sent, received, rate, pause, flags = words
        manner = " ".join(word for word in (packets, duration, rate, pause) if word)
        pieces = [f"{direction} {service}: {manner}", f"sent {sent} and received {received}"]
        pieces += [flags] if flags else []
        pieces += self._verdict_words(service, verdict)
        return ", ".join(pieces[:2]) + "".join(f"; {piece}" for piece in pieces[2:]) + "."

    def _verdict_words(self, service: str, verdict: Verdict) -> list[str]:
        vocabulary = self._words
        klass, category, reason = (plain_text(text) for text in verdict[:3])
        triggered, source, threat, ml, divergence = verdict[3:]
        said, kind = (vocabulary.verdicts.get(text.lower(), text) for text in (klass, category))
        judged = " as ".join(dict.fromkeys(text for text in (said, kind) if text))
        fired = f"the fast detector fired on {reason}" if reason else "the fast detector fired"
        pieces = (
            f"judged {judged}" if judged else "",
            vocabulary.scales["threat"].words[threat],
            fired if triggered else "",
            vocabulary.scales["ml"].words[ml],
            vocabulary.sources.get(source, ""),
            vocabulary.scales["divergence"].words[divergence],
            "" if said == "benign" else self._technique(service, f"{klass} {category} {reason}"),
        )
        return [piece for piece in pieces if piece]

    def _technique(self, service: str, texts: str) -> str:
        spaced = re.sub(r"[-_/.:;,()]+", " ", texts.lower())
        for rule in self._words.techniques:
            if rule.services and not any(service.startswith(f"{name} ") for name in rule.services):
                continue
            if rule.words.search(spaced):
                return f"ATT&CK {rule.say}"
        return ""


class _ServiceNames:
    """Words for (protocol, port), such as "HTTPS traffic over TCP", and the number of each."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        names = list(dict.fromkeys(vocabulary.services.values()))
        ports = np.arange(1 << 16)
        unnamed = vocabulary.scales["port"]
        self._of_port = unnamed.bins(ports) + len(names)
        for port, name in vocabulary.services.items():
            self._of_port[port] = names.index(name)
        names += unnamed.words
        protocols = [*vocabulary.protocols.values(), OTHER_PROTOCOL]
        self._of_protocol = np.full(256, len(protocols) - 1)
        self._of_protocol[list(vocabulary.protocols)] = np.arange(len(protocols) - 1)
        self._has_ports = np.isin(np.arange(256), WITH_PORTS)
        self._portless = len(names)
        # One row of words per name and one for traffic without ports.
        self.words = (
            *(f"{name} traffic over {protocol}" for name in names for protocol in protocols),
            *(f"{protocol} traffic" for protocol in protocols),
        )
        self._width = len(protocols)

    def codes(self, table: EventTable) -> NDArray[np.int64]:
        """(n,) index into `words`."""
        names = np.where(self._has_ports[table.protocol], self._of_port[table.dst_port], self._portless)
        codes: NDArray[np.int64] = names * self._width + self._of_protocol[table.protocol]
        return codes


def flag_patterns(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) index into FLAG_PATTERNS from feature rows (n, d): the first pattern that holds; "none" without flags."""
    fin, syn, rst, psh, ack, urg = (values[:, column] > 0 for column in _FLAGS.values())
    silent = values[:, _RECEIVED_PACKETS] == 0
    empty = (values[:, _SENT] == 0) & (values[:, _RECEIVED] == 0)
    patterns = {
        "none": ~(fin | syn | rst | psh | ack | urg),
        "unanswered": syn & ~ack & silent & ~rst & ~fin,
        "refused": syn & rst & empty & ~fin & ~psh,
        "stealth": ~syn & ~ack & ~rst & (fin | urg | psh),
        "idle": syn & empty,
        "cut": rst,
        "closed": syn & fin,
        "opened": syn,
        "ended": fin,
    }
    order = [FLAG_PATTERNS.index(name) for name in patterns]
    return np.select(list(patterns.values()), order, FLAG_PATTERNS.index("midway"))


def plain_text(text: str) -> str:
    """What a sensor wrote, fit for a sentence: one line, short, and numbers and addresses as "#"."""
    cleaned = _CONTROL.sub(" ", text[: 4 * LONGEST_TEXT])
    cleaned = _NUMBER.sub("#", _ADDRESS.sub("#", cleaned))
    return " ".join(cleaned.split())[:LONGEST_TEXT].rstrip()
