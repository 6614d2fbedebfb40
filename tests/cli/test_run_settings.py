"""Settings files say exactly what was decided, whatever characters a path has."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli.run_settings import read_overrides, to_toml
from services.common.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.lists(TEXT))


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True), VALUES))
def test_toml_reads_back(values: dict[str, object]) -> None:
    """Whatever is written is read back the same by Python's own reader."""
    assert tomllib.loads(to_toml(values)) == values


def test_floats_keep_their_value() -> None:
    """Seconds with a fraction are written so that TOML takes them."""
    assert tomllib.loads(to_toml({"a": 0.5, "b": 600.0})) == {"a": 0.5, "b": 600.0}


def test_a_value_of_another_kind_is_refused() -> None:
    """A date from the operator's file is no setting, and its key is named."""
    with pytest.raises(UsageError, match="the setting 'when' is of a kind"):
        to_toml({"when": {"a": 1}})


def test_overrides_come_by_service(tmp_path: Path) -> None:
    """All tables are there even when the file has one, or when there is no file."""
    assert read_overrides(None) == {"ingester": {}, "rag": {}, "health": {}}
    (tmp_path / "mine.toml").write_text("[ingester]\nseal_after_quiet_s = 60\n")
    assert read_overrides(tmp_path / "mine.toml") == {
        "ingester": {"seal_after_quiet_s": 60},
        "rag": {},
        "health": {},
    }


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("seal_after_quiet_s = 60", "has 'seal_after_quiet_s' at its top"),
        ("[inngester]", "has 'inngester' at its top"),
        ("ingester = 1", "has 'ingester' at its top"),
        ("[ingester", "is not TOML"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str | None, sentence: str) -> None:
    """Each mistake is said with the file's name."""
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=sentence):
        read_overrides(path)
