"""The operations as JSON Schema (draft 2020-12): what the HTTP API and the tools for assistants say they take."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from services.common.days.metadata import SOURCES
from services.rag.arguments import MAX_TEXT, MAX_VALUES
from services.rag.blocked import Blocked
from services.rag.feedback import FEEDBACK
from services.rag.protocol import REQUIRED, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.rag.protocol import Argument, Operation

Schema = dict[str, Any]

_TIME: Schema = {"type": ["string", "integer"]}
_FLAG: Schema = {"type": "boolean"}
_SCORE: Schema = {"type": "number"}
_TEXT: Schema = {"type": "string", "maxLength": MAX_TEXT}
_TEXT_OR_NUMBER: Schema = {"type": ["string", "integer"]}
_LISTED = "one, or a list of which any may hold"


def _any_of(one: Schema) -> Schema:
    """A value, or a list of values."""
    return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_VALUES}]}


FILTERS: Mapping[str, tuple[Schema, str]] = {
    "since": (_TIME, "not before: ISO 8601 (UTC where no offset is given) or nanoseconds since 1970"),
    "until": (_TIME, "before this time, in the same forms"),
    "days": (_any_of({"type": "string", "format": "date"}), f"UTC days such as 2026-01-22; {_LISTED}"),
    "hours": (_any_of(_TEXT), f"times of any day, UTC, such as 08:00-18:00; {_LISTED}"),
    "src": (_any_of(_TEXT), f"source address or network such as 10.0.0.0/8; {_LISTED}"),
    "dst": (_any_of(_TEXT), f"destination address or network; {_LISTED}"),
    "host": (_any_of(_TEXT), f"address or network of either side; {_LISTED}"),
    "src_internal": (_FLAG, "whether the source is inside"),
    "dst_internal": (_FLAG, "whether the destination is inside"),
    "src_port": (_any_of(_TEXT_OR_NUMBER), f"source port or range such as 1000-2000; {_LISTED}"),
    "dst_port": (_any_of(_TEXT_OR_NUMBER), f"destination port or range; {_LISTED}"),
    "port": (_any_of(_TEXT_OR_NUMBER), f"port or range of either side; {_LISTED}"),
    "protocol": (_any_of(_TEXT_OR_NUMBER), f"tcp, udp, icmp, ... or a number; {_LISTED}"),
    "class": (_any_of(_TEXT), f"final class, * for any characters; {_LISTED}"),
    "category": (_any_of(_TEXT), f"threat category, * for any characters; {_LISTED}"),
    "label": (_any_of(_TEXT), f"label of a data set, * for any characters; {_LISTED}"),
    "node": (_any_of(_TEXT), f"sensor that saw it, * for any characters; {_LISTED}"),
    "tags": (_any_of(_TEXT), f"a tag of the event, * for any characters; {_LISTED}"),
    "technique": (_any_of(_TEXT), f"ATT&CK technique that the narrative names, such as T1046; {_LISTED}"),
    "source": (_any_of({"enum": list(SOURCES)}), f"which detector decided; {_LISTED}"),
    "fast_triggered": (_FLAG, "whether the fast detector fired"),
    "feedback": (_any_of({"enum": [str(one) for one in FEEDBACK]}), f"what analysts said; {_LISTED}"),
    "blocked": (
        _any_of({"enum": [True, False, *(one.value for one in Blocked)]}),
        f"whether a firewall stopped it: true, false or unknown; {_LISTED}",
    ),
    "min_overall": (_SCORE, "overall threat score of at least this, 0 to 1"),
    "max_overall": (_SCORE, "overall threat score of at most this"),
    "min_fast": (_SCORE, "score of the fast detector of at least this"),
    "max_fast": (_SCORE, "score of the fast detector of at most this"),
    "min_ml": (_SCORE, "score of the model of at least this"),
    "max_ml": (_SCORE, "score of the model of at most this"),
    "min_divergence": (_SCORE, "fast detector and model apart by at least this"),
    "max_divergence": (_SCORE, "fast detector and model apart by at most this"),
}
"""Every filter: the schema of its value, and what it means."""


def operation_schema(operation: Operation) -> Schema:
    """The arguments of an operation as the schema of one JSON object."""
    required = [argument.name for argument in operation.arguments if argument.default is REQUIRED]
    schema: Schema = {
        "type": "object",
        "properties": {argument.name: argument_schema(argument) for argument in operation.arguments},
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def argument_schema(argument: Argument) -> Schema:
    """The values that an argument may have, with its default and what it means."""
    schema = {**_value_schema(argument), "description": argument.help}
    if argument.default is not REQUIRED and argument.default is not None:
        schema["default"] = argument.default
    return schema


def filters_schema() -> Schema:
    """All filters as the schema of one JSON object."""
    properties = {name: {**schema, "description": help_} for name, (schema, help_) in FILTERS.items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value_schema(argument: Argument) -> Schema:
    limits = {
        key: limit
        for key, limit in (("minimum", argument.low), ("maximum", argument.high))
        if math.isfinite(limit)
    }
    longest: Schema = {"maxLength": int(argument.high)} if math.isfinite(argument.high) else {}
    return {
        Kind.TEXT: {"type": "string", "minLength": 1, **longest},
        Kind.WHOLE: {"type": "integer", **limits},
        Kind.NUMBER: {"type": "number", **limits},
        Kind.FLAG: {"type": "boolean"},
        Kind.CHOICE: {"type": "string", "enum": list(argument.choices)},
        Kind.TEXTS: {
            "type": "array",
            "items": {"type": "string"},
            "minItems": int(argument.low),
            **({"maxItems": int(argument.high)} if math.isfinite(argument.high) else {}),
        },
        Kind.FILTERS: filters_schema(),
    }[argument.kind]
