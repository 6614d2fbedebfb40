"""A look into the bytes of an ONNX model before a runtime opens it.

onnxruntime would read files beside the model ("external data") and run operators of any domain that is
registered. Neither is ever needed here, so both are refused, as are functions a model brings along. The
`onnx` package is not installed where models only run, so this reads the protobuf wire format itself; message
and field numbers are those of onnx.proto (ONNX IR specification).

What is looked at must be what the runtime sees. So bytes that a laxer reader takes for something else are refused
too: numbers of fields in more than 32 bits, of which protobuf drops the upper ones, and models in the format of
onnxruntime itself, which it knows by four bytes (`file_identifier` in its ort.fbs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_DOMAINS = frozenset({"", "ai.onnx"})

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# message -> {field number: message of that field}
_INNER: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "opset": {},
    "tensor": {},
}
_DOMAIN_FIELD = {"opset": 1, "node": 7}
_TENSOR_EXTERNAL_DATA, _TENSOR_LOCATION = 13, 14
_OWN_FORMAT = b"ORTM"  # at offset 4, as flatbuffers have it
_MOST_KEY = (1 << 32) - 1


@dataclass(frozen=True)
class _Field:
    number: int
    kind: int
    value: int
    data: memoryview


def refuse_unsafe_model(data: bytes, where: str) -> None:
    """Return if the ONNX model in `data` is whole and uses the standard operators only.

    Raises:
        AppiaError: it cannot be read, keeps data in other files, names another operator domain, or
            brings functions or training steps along; `where` names the file in the message.
    """
    try:
        reason = _first_objection(data)
    except (IndexError, ValueError):
        reason = "it is not a whole ONNX model"
    if reason:
        raise AppiaError(
            f"The model file {where} is refused: {reason}; use only models built by this project."
        )


def _first_objection(data: bytes) -> str:
    if data[4:8] == _OWN_FORMAT:
        return "it is in the format of onnxruntime, which cannot be looked into"
    pending = [("model", memoryview(data))]
    graphs = 0
    while pending:
        message, content = pending.pop()
        if message in ("function", "training"):
            return f"it brings a {message} of its own"
        graphs += message == "graph"
        for field in _fields(content):
            objection = _objection(message, field)
            if objection:
                return objection
            inner = _INNER[message].get(field.number)
            if inner is not None and field.kind == _BYTES:
                pending.append((inner, field.data))
    return "" if graphs else "it holds no graph"


def _objection(message: str, field: _Field) -> str:
    if message == "tensor" and (
        field.number == _TENSOR_EXTERNAL_DATA or (field.number == _TENSOR_LOCATION and field.value)
    ):
        return "it keeps data in other files"
    if field.number == _DOMAIN_FIELD.get(message):
        domain = bytes(field.data).decode("utf-8")
        if domain not in STANDARD_DOMAINS:
            return f"it uses operators of the domain {domain!r}"
    return ""


def _fields(content: memoryview) -> Iterator[_Field]:
    """The fields of one message; raises ValueError or IndexError where the bytes make no sense."""
    position, empty = 0, content[:0]
    while position < len(content):
        key, position = _varint(content, position)
        if key > _MOST_KEY:
            raise ValueError("the number of a field is too large")
        number, kind = key >> 3, key & 7
        value, data = 0, empty
        if kind == _VARINT:
            value, position = _varint(content, position)
        else:
            length, position = _length(kind, content, position)
            data = content[position : position + length]
            position += length
            if position > len(content):
                raise ValueError("the bytes end early")
        yield _Field(number, kind, value, data)


def _length(kind: int, content: memoryview, position: int) -> tuple[int, int]:
    if kind == _BYTES:
        return _varint(content, position)
    if kind == _FIXED64:
        return 8, position
    if kind == _FIXED32:
        return 4, position
    raise ValueError(f"wire type {kind}")


def _varint(content: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than 10 bytes")
