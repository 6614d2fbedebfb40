"""Flows are labelled by what the recording did, and classes are capped fairly."""

import csv
import gzip
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Row = dict[str, str]
START = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def flow(second: int, source: str = "203.0.113.66", target: str = "10.20.1.10") -> Row:
    return {
        "src_ip": source,
        "dst_ip": target,
        "src_port": "4000",
        "dst_port": "80",
        "timestamp": f"2023-11-14 22:13:{20 + second:02}.500000",
    }


@pytest.fixture
def scan(label: ModuleType) -> Any:
    return label.Truth("PortScan", "nmap", "203.0.113.66", ("10.20.1.10",), START, START + 5)


def test_a_flow_between_the_two_ends_of_an_attack_while_it_ran_has_its_label(
    label: ModuleType, scan: Any
) -> None:
    assert label.label_of(flow(2), [scan]) == "PortScan"


def test_a_flow_that_the_meter_turned_round_has_the_same_label(label: ModuleType, scan: Any) -> None:
    assert label.label_of(flow(2, "10.20.1.10", "203.0.113.66"), [scan]) == "PortScan"


@pytest.mark.parametrize("row", [flow(30, "10.20.2.11"), flow(2, "10.20.2.11")])
def test_a_flow_of_others_or_of_another_time_is_benign(label: ModuleType, scan: Any, row: Row) -> None:
    assert label.label_of(row, [scan]) == "BENIGN"


def test_a_flow_of_an_outside_attacker_that_no_attack_explains_is_refused(
    label: ModuleType, scan: Any
) -> None:
    with pytest.raises(ValueError, match="belongs to no attack that ran"):
        label.label_of(flow(30), [scan])


def test_a_flow_that_two_attacks_explain_is_refused(label: ModuleType, scan: Any) -> None:
    flood = label.Truth("DoS-SynFlood", "hping3", scan.source, scan.targets, scan.start, scan.end)
    with pytest.raises(ValueError, match=r"\['DoS-SynFlood', 'PortScan'\]"):
        label.label_of(flow(2), [scan, flood])


def test_a_capped_class_keeps_its_share_of_every_moment_and_others_keep_all(
    label: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label, "CAPS", {"PortScan": 3})
    rows = [{"place": place, "label": "PortScan" if place % 2 else "BENIGN"} for place in range(12)]
    kept = label.capped(rows)
    assert [row["place"] for row in kept if row["label"] == "PortScan"] == [1, 5, 9]
    assert [row["place"] for row in kept if row["label"] == "BENIGN"] == [0, 2, 4, 6, 8, 10]


def test_the_truth_is_read_back_as_it_was_written(label: ModuleType, scan: Any, tmp_path: Path) -> None:
    later = label.Truth(
        "WebAttack", "curl", "10.20.2.18", ("10.20.1.10", "10.20.1.20"), START + 9, START + 12
    )
    label.write_truth(tmp_path / "truth", [later, scan])
    assert label.read_truth(tmp_path / "truth") == [scan, later]


def test_the_same_flows_in_another_order_make_the_same_bytes(
    label: ModuleType, scan: Any, tmp_path: Path
) -> None:
    rows = [flow(2), flow(1, "10.20.2.11"), flow(3)]
    samples = []
    for name, ordered in (("a", rows), ("b", rows[::-1])):
        flows = tmp_path / f"{name}.csv"
        with flows.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(ordered)
        counts = label.make_sample(flows, [scan], tmp_path / f"{name}.gz")
        samples.append((tmp_path / f"{name}.gz").read_bytes())
    assert samples[0] == samples[1]
    assert counts == {"BENIGN": 1, "PortScan": 2}
    lines = gzip.decompress(samples[0]).decode().splitlines()
    assert [line.rsplit(",", 1)[1] for line in lines] == ["label", "BENIGN", "PortScan", "PortScan"]
