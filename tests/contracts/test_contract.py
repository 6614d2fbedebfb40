"""The stub speaks the contract that sensors in the field speak: every number, type and name."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from services.common.events import network_security_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "tests" / "data" / "contract"
DESIGN = ROOT.parent / "shared" / "design"
FIELDS, ENUMS = "event-contract-fields.csv", "event-contract-enums.csv"

SCALARS = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
}
WELL_KNOWN = {"google.protobuf.Timestamp": "google.Timestamp", "google.protobuf.Duration": "google.Duration"}


def rows(name: str) -> set[tuple[str, ...]]:
    with (TABLES / name).open(newline="") as file:
        _, *lines = csv.reader(file)
    assert len(lines) == len({tuple(line) for line in lines})
    return {tuple(line) for line in lines}


def nested_name(full_name: str) -> str:
    return full_name.removeprefix("protobuf.")


def type_name(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            key, value = (field.message_type.fields_by_name[part] for part in ("key", "value"))
            return f"map<{type_name(key)},{type_name(value)}>"
        full_name = field.message_type.full_name
        return WELL_KNOWN.get(full_name, nested_name(full_name))
    if field.enum_type is not None:
        return f"enum {nested_name(field.enum_type.full_name)}"
    return SCALARS[field.type]


def label(field: FieldDescriptor) -> str:
    if type_name(field).startswith("map<"):
        return "map"
    if field.is_repeated:
        return "repeated"
    explicit = field.message_type is None and field.has_presence
    return "optional" if explicit else "singular"


def compiled_fields(message: Descriptor) -> set[tuple[str, ...]]:
    return {(message.name, str(f.number), label(f), type_name(f), f.name) for f in message.fields}


def compiled_enums() -> list[EnumDescriptor]:
    top = pb.DESCRIPTOR
    nested = [enum for message in top.message_types_by_name.values() for enum in message.enum_types]
    return [*top.enum_types_by_name.values(), *nested]


def test_every_field_is_in_the_table_and_every_row_of_it_in_the_stub() -> None:
    compiled = set().union(*map(compiled_fields, pb.DESCRIPTOR.message_types_by_name.values()))
    assert compiled == rows(FIELDS)


def test_every_enum_value_is_in_the_table_and_every_row_of_it_in_the_stub() -> None:
    compiled = {
        (nested_name(enum.full_name), str(value.number), value.name)
        for enum in compiled_enums()
        for value in enum.values
    }
    assert compiled == rows(ENUMS)


def test_the_package_has_the_name_that_sensors_use() -> None:
    assert pb.DESCRIPTOR.package == "protobuf"


@pytest.mark.parametrize("name", [FIELDS, ENUMS])
def test_our_copy_of_the_table_is_the_one_agreed_on(name: str) -> None:
    if not (DESIGN / name).exists():
        pytest.skip(f"{DESIGN} is not here, so the copy in tests/data/contract cannot be compared")
    assert (TABLES / name).read_bytes() == (DESIGN / name).read_bytes()


def test_the_checked_in_stub_is_what_the_proto_file_generates() -> None:
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed (pip install 'appia[dev]')")
    check = [sys.executable, str(ROOT / "proto" / "generate.py"), "--check"]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_optional_field_tells_zero_from_unset() -> None:
    scan = pb.SMBScanFeatures(rst_ratio=0.0)
    assert scan.HasField("rst_ratio")
    assert not scan.HasField("syn_ack_ratio")
