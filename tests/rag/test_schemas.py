"""The schemas allow what the replica takes, and refuse what it refuses."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from services.common.errors import UsageError
from services.rag.arguments import FILTER_KEYS, parse_filters
from services.rag.protocol import OPERATIONS
from services.rag.schemas import FILTERS, filters_schema, operation_schema


def test_every_filter_is_described() -> None:
    """The schemas have the filters that there are."""
    assert set(FILTERS) == FILTER_KEYS


@pytest.mark.parametrize("name", OPERATIONS)
def test_schemas_are_schemas(name: str) -> None:
    """Each is valid in itself, and says of every argument what it means."""
    schema = operation_schema(OPERATIONS[name])
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(one["description"] for one in schema["properties"].values())


@pytest.mark.parametrize(
    "filters",
    [
        {"since": "2026-01-22", "until": 2 * 10**18},
        {"src": ["10.0.0.0/8", "::1"], "port": [443, "1000-2000"], "protocol": "tcp"},
        {"class": "DDoS", "tags": ["a", "b*"], "source": "DIVERGENCE", "feedback": "any"},
        {"src_internal": False, "fast_triggered": True, "min_overall": 0, "max_ml": 0.5},
    ],
)
def test_what_is_described_is_taken(filters: dict[str, Any]) -> None:
    """Filters that fit the schema are read."""
    jsonschema.validate(filters, filters_schema())
    parse_filters(filters)


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("search", {}),
        ("search", {"text": ""}),
        ("search", {"text": "x", "k": 1001}),
        ("search", {"text": "x", "by": "luck"}),
        ("list", {"limit": 0}),
        ("list", {"limit": 1.5}),
        ("list", {"filters": {"nothing": 1}}),
        ("list", {"filters": {"source": "nobody"}}),
        ("days", {"all": True}),
    ],
)
def test_what_is_not_described_is_refused(op: str, args: dict[str, Any]) -> None:
    """Arguments that do not fit the schema are refused by the replica as well."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(args, operation_schema(OPERATIONS[op]))
    with pytest.raises(UsageError):
        parse_filters(OPERATIONS[op].read(args).get("filters", {}))
