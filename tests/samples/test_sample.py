"""The shipped sample is what its README and MANIFEST say it is."""

import csv
import gzip
import hashlib
import ipaddress
import json
import re
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

Row = dict[str, str]
SAMPLES = Path(__file__).parents[2] / "samples"
SAMPLE = SAMPLES / "office-day.csv.gz"
README = (SAMPLES / "README.md").read_text()
RANGES = [ipaddress.ip_network(text) for text in ("10.20.0.0/16", "198.51.100.0/24", "203.0.113.0/24")]
TEXT_COLUMNS = {"src_ip", "dst_ip", "timestamp", "label"}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    with gzip.open(SAMPLE, "rt", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def truths() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SAMPLES / "ground-truth.jsonl").read_text().splitlines()]


def moment(row: Row) -> float:
    return datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S.%f").replace(tzinfo=UTC).timestamp()


def test_the_counts_by_label_are_those_of_the_readme(rows: list[Row]) -> None:
    table = re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \|", README, re.MULTILINE)
    assert Counter(row["label"] for row in rows) == {
        label: int(count.replace(",", "")) for label, count in table
    }


def test_the_flows_are_sorted_by_time(rows: list[Row]) -> None:
    stamps = [row["timestamp"] for row in rows]
    assert stamps == sorted(stamps)


def test_every_address_is_private_or_for_documentation(rows: list[Row]) -> None:
    addresses = {ipaddress.ip_address(row[end]) for row in rows for end in ("src_ip", "dst_ip")}
    assert {address for address in addresses if not any(address in net for net in RANGES)} == set()


def test_every_column_has_a_name_of_its_own_and_every_cell_a_value(rows: list[Row]) -> None:
    assert all(rows[0])
    with gzip.open(SAMPLE, "rt") as file:
        header = file.readline().strip().split(",")
    assert len(set(header)) == len(header)
    assert all(row[name] for row in rows for name in header)


def test_every_column_but_times_addresses_and_label_is_a_finite_number(rows: list[Row]) -> None:
    for name in rows[0].keys() - TEXT_COLUMNS:
        values = [float(row[name]) for row in rows]
        assert all(abs(value) < float("inf") for value in values), name


def test_every_column_is_described_in_the_readme(rows: list[Row]) -> None:
    assert [name for name in rows[0] if f"`{name}`" not in README] == []


def test_the_manifest_lists_both_files_with_their_hashes() -> None:
    entries = dict(reversed(line.split("  ")) for line in (SAMPLES / "MANIFEST").read_text().splitlines())
    assert entries.keys() == {SAMPLE.name, "ground-truth.jsonl"}
    for name, digest in entries.items():
        assert hashlib.sha256((SAMPLES / name).read_bytes()).hexdigest() == digest


def test_the_gzip_header_carries_no_name_and_no_time() -> None:
    head = SAMPLE.read_bytes()[:10]
    assert head[:3] == b"\x1f\x8b\x08"
    assert head[3:8] == bytes(5)


def test_every_attack_flow_belongs_to_an_attack_that_ran_and_no_ordinary_flow_does(
    rows: list[Row], truths: list[dict[str, Any]]
) -> None:
    for row in rows:
        ends = {row["src_ip"], row["dst_ip"]}
        running = {
            truth["label"]
            for truth in truths
            if truth["start"] - 1 <= moment(row) <= truth["end"] + 1
            and truth["source"] in ends
            and ends & set(truth["targets"])
        }
        assert running == ({row["label"]} - {"BENIGN"})


def test_every_attack_that_ran_is_in_the_sample(rows: list[Row], truths: list[dict[str, Any]]) -> None:
    assert {truth["label"] for truth in truths} | {"BENIGN"} == {row["label"] for row in rows}


def test_the_ground_truth_names_no_path_of_the_machine_that_recorded(truths: list[dict[str, Any]]) -> None:
    assert [word for truth in truths for word in truth["tool"].split() if word.startswith("/")] == []
