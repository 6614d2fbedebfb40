"""What a replica says of filters is told in the names that the command line has for them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from services.cli.filters import FilterOptions, in_options
from services.common.errors import UsageError
from services.rag.arguments import FILTER_KEYS, parse_filters


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"since": "2026-01-22", "until": "2026-01-21"}, "--from must lie before --to."),
        ({"klass": [""] * 300}, "--class must have 1 to 256 values, not 300."),
        (
            {"host": ["10.0.0.5/8"]},
            "--host cannot be '10.0.0.5/8': it has host bits set: write 10.0.0.0/8, or ",
        ),
        ({"protocol": ["port"]}, "--protocol must be a number from 0 to 255 or one of "),
        ({"src_port": ["80-70"]}, "--src-port is an impossible range: 80 is above 70."),
        ({"min_overall": float("nan")}, "--min-score must be a finite number, not nan."),
    ],
)
def test_a_filter_has_the_name_of_its_option(given: dict[str, Any], sentence: str) -> None:
    """A person who typed --from is not told about 'since'."""
    filters = FilterOptions(**given)
    with pytest.raises(UsageError) as said:
        parse_filters(filters.request())
    assert in_options(str(said.value)).startswith(sentence)


def test_values_keep_their_words() -> None:
    """What was typed is quoted as it was, also where it is the name of a filter; other sentences stay as they are."""
    assert in_options("The filter 'node' must be a text, not 'port'.") == "--node must be a text, not 'port'."
    assert in_options("The argument 'text' must be a text.") == "The argument 'text' must be a text."
    quoted = "The argument 'as_of' must be what the 'as_of' of a receipt says."
    assert in_options(quoted) == "--as-of must be what the 'as_of' of a receipt says."
    assert in_options("There is no event 'port'.") == "There is no event 'port'."


def test_every_filter_has_an_option() -> None:
    """What can be asked for in a request can be asked for on the command line."""
    given: dict[str, Any] = {field.name: "2026-01-22" for field in fields(FilterOptions)}
    everything = FilterOptions(**given)
    assert set(everything.request()) == FILTER_KEYS
