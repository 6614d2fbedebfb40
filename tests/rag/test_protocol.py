"""The table of operations: what each kind of argument allows."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import UsageError
from services.common.rpc import CODES
from services.rag.protocol import OPERATIONS, Argument, Kind, Operation

NUMBER = Argument("n", Kind.NUMBER, "a number", 0.5, 0, 1)
TEXTS = Argument("t", Kind.TEXTS, "some texts", None, 1, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1, True, "0.5", 10**400])
def test_a_number_out_of_its_range_is_refused(value: Any) -> None:
    """NaN, infinity, a flag and a number in quotes are no number, nor is one beyond the bounds."""
    with pytest.raises(UsageError, match="'n' must be a finite number from 0 to 1"):
        NUMBER.read({"n": value})


@pytest.mark.parametrize("value", [[], ["a", "b", "c"]])
def test_a_list_has_its_length(value: Any) -> None:
    """A list of texts that is too short or too long is refused."""
    with pytest.raises(UsageError, match="'t' must be 1 to 2 texts"):
        TEXTS.read({"t": value})


def test_defaults_stand_for_what_is_left_out() -> None:
    """An argument that is absent or null has its default; one without a default is missed by name."""
    operation = Operation("try", "Tries.", (NUMBER, TEXTS))
    assert operation.read({}) == {"n": 0.5, "t": None}
    assert operation.read({"n": 1, "t": ["x"]}) == {"n": 1, "t": ["x"]}
    with pytest.raises(UsageError, match="'x' is missing: what it is"):
        Argument("x", Kind.TEXT, "what it is").read({"x": None})


DOCUMENT = (Path(__file__).parents[2] / "docs" / "queries.md").read_text()


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_documentation_has_every_argument(name: str) -> None:
    """The rows of an operation in docs/queries.md name each of its arguments; those that all have stand above."""
    rows = " ".join(re.findall(rf"^\| `{name}` \|(.*?)\|[^|]*\|$", DOCUMENT, re.MULTILINE))
    above = DOCUMENT[: DOCUMENT.index("| `similar` |")]
    for argument in OPERATIONS[name].arguments:
        assert f"`{argument.name}`" in (above if argument.name in {"as_of", "enrich"} else rows)


@pytest.mark.parametrize("code", CODES)
def test_the_documentation_has_every_code(code: str) -> None:
    """docs/queries.md says what each code of a refusal means."""
    assert f"| `{code}` |" in DOCUMENT
