"""The registry names the contract's numbers, says what it leaves out, and has a hash of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from services.common.events.feature_list import FEATURES, SCHEMA_HASH, SCHEMA_VERSION, schema_hash
from services.common.events.network_security_pb2 import NetworkSecurityEvent

DOCUMENT = Path(__file__).parents[3] / "docs" / "features.md"

# Numbers of the same messages that are left out, each for the reason docs/features.md gives.
LEFT_OUT = {
    "network_features.source_port",
    "network_features.source_ifindex",
    "ml_analysis.level1_general_detection.model_type",
    "ml_analysis.level2_context_classification.model_type",
    "schema_version",
    "provenance.global_timestamp_ns",
}


def numbers_below(message: object, prefix: str, inside: set[str]) -> set[str]:
    found = set()
    for field in message.fields:
        path = prefix + field.name
        if field.is_repeated or field.type in (field.TYPE_STRING, field.TYPE_BYTES):
            continue
        if field.type != field.TYPE_MESSAGE:
            found.add(path)
        elif path in inside:
            found |= numbers_below(field.message_type, f"{path}.", inside)
    return found


def test_no_number_of_a_registered_message_is_forgotten() -> None:
    """Every single number of the messages the registry reads is a feature or named as left out."""
    prefixes = {
        feature.path.rsplit(".", depth)[0]
        for feature in FEATURES
        for depth in range(1, feature.path.count(".") + 1)
    }
    numbers = numbers_below(NetworkSecurityEvent.DESCRIPTOR, "", prefixes)
    assert numbers == {feature.path for feature in FEATURES} | LEFT_OUT


def test_paths_are_unique_and_texts_filled() -> None:
    """Each path occurs once and each entry says its unit and meaning."""
    assert len({feature.path for feature in FEATURES}) == len(FEATURES)
    assert all(feature.unit and feature.meaning for feature in FEATURES)


def test_the_forty_detector_inputs_and_all_others_are_there() -> None:
    """The sizes of the groups are those of the contract."""
    names = ("ddos_embedded", "ransomware_embedded", "traffic_classification", "internal_anomaly")
    groups = dict.fromkeys(names, 10) | {"ransomware": 20, "smb_scan": 3}
    for group, size in groups.items():
        assert sum(f.path.startswith(f"network_features.{group}.") for f in FEATURES) == size


@pytest.mark.parametrize("word", ["_ip", "ifindex", "source_port", "timestamp"])
def test_nothing_that_identifies_is_a_feature(word: str) -> None:
    """Addresses, source ports, interfaces and times of day are no features."""
    assert not [feature.path for feature in FEATURES if feature.path.split(".")[-1].endswith(word)]


def test_the_hash_is_that_of_this_version() -> None:
    """A changed path, unit or order needs a new version and a new hash here, on purpose."""
    assert SCHEMA_VERSION == 1
    assert SCHEMA_HASH == "843e7e4ae6388011a5c3b875f829e0dc48962d47b6f422bce1a643e558ca39fa"


def test_the_hash_notices_what_matters() -> None:
    """Version, path, unit and order change the hash; a better wording does not."""
    first, *rest = FEATURES
    others = [
        schema_hash(SCHEMA_VERSION + 1, FEATURES),
        schema_hash(SCHEMA_VERSION, (replace(first, path="x"), *rest)),
        schema_hash(SCHEMA_VERSION, (replace(first, unit="x"), *rest)),
        schema_hash(SCHEMA_VERSION, (*rest, first)),
    ]
    assert SCHEMA_HASH not in others
    assert len(set(others)) == len(others)
    assert schema_hash(SCHEMA_VERSION, (replace(first, meaning="x"), *rest)) == SCHEMA_HASH


def test_the_document_lists_the_registry() -> None:
    """docs/features.md has one table row per feature, in order, and names version and hash."""
    text = DOCUMENT.read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| `(.+)` \| (.+) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    expected = [
        (str(column), feature.path, feature.unit, feature.layer, feature.meaning)
        for column, feature in enumerate(FEATURES)
    ]
    assert rows == expected
    assert f"version {SCHEMA_VERSION}" in text
    assert SCHEMA_HASH in text
