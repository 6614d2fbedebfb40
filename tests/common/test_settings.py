"""Settings are read once, checked, and refused in one sentence that names file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import Field, ValidationError

from services.common.errors import UsageError
from services.common.settings import (
    ServiceSettings,
    describe_settings,
    load_settings,
    service_config,
    settings_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class Sample(ServiceSettings):
    model_config = service_config("sample")

    state: Path = Field(description="the state directory")
    workers: int = Field(4, ge=1, le=64, description="1 to 64 threads")
    weight: float = Field(1.0, ge=0, allow_inf_nan=False, description="a number from 0")
    name: str | None = Field(None, description="a text")
    folder: str = Field("", description="a folder")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def writer(text: str) -> Path:
        path = tmp_path / "sample.toml"
        path.write_text(text)
        return path

    return writer


def test_a_file_is_read_and_cast(write: Callable[[str], Path]) -> None:
    """Values come from the file, defaults fill the rest, and the result cannot be changed."""
    loaded = load_settings(Sample, write('state = "/x"\nworkers = 2\n'))
    assert (loaded.state, loaded.workers, loaded.weight) == (Path("/x"), 2, 1.0)
    with pytest.raises(ValidationError, match="frozen"):
        loaded.workers = 3  # type: ignore[misc]


def test_the_environment_wins(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable with the service's prefix overrides the file."""
    monkeypatch.setenv("APPIA_SAMPLE_WORKERS", "9")
    assert load_settings(Sample, write('state = "/x"\nworkers = 2\n')).workers == 9


def test_no_file_is_fine_where_the_environment_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the environment alone may give the settings."""
    monkeypatch.setenv("APPIA_SAMPLE_STATE", "/y")
    assert load_settings(Sample, None).state == Path("/y")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "workers = 0\nstate='x'",
            r"sample.toml: the setting 'workers' is 0, .* it should be: 1 to 64 threads\.",
        ),
        ("workers = 'many'\nstate='x'", r"'workers' is 'many'.* 1 to 64 threads\."),
        ("weight = nan\nstate='x'", r"'weight' is nan"),
        ("workers = 2", r"sample.toml lacks the setting 'state': the state directory\."),
        (
            "wrokers = 2\nstate='x'",
            r"unknown setting 'wrokers'; there are: folder, name, state, weight, workers\.",
        ),
        ("workers = = 2", r"sample.toml is not TOML"),
        ("[workers]\na = 1\n", r"'workers' is \{'a': 1\}|lacks"),
    ],
)
def test_what_is_wrong_is_one_sentence(write: Callable[[str], Path], text: str, said: str) -> None:
    """A wrong key, value or file is refused in one sentence with the file, the key and what is allowed."""
    with pytest.raises(UsageError, match=said) as refused:
        load_settings(Sample, write(text))
    assert "\n" not in str(refused.value)


def test_a_wrong_variable_is_named(write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad value from the environment names the variable, and one that is no setting is refused."""
    monkeypatch.setenv("APPIA_SAMPLE_WORKERS", "none")
    with pytest.raises(UsageError, match=r"environment variable APPIA_SAMPLE_WORKERS: .*1 to 64"):
        load_settings(Sample, write('state = "/x"'))
    monkeypatch.setenv("APPIA_SAMPLE_WORKERS", "3")
    monkeypatch.setenv("APPIA_SAMPLE_WRKERS", "3")
    with pytest.raises(UsageError, match="APPIA_SAMPLE_WRKERS names no setting"):
        load_settings(Sample, write('state = "/x"'))


def test_an_absent_or_binary_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there, or not text, is named with the reason."""
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings(Sample, tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not TOML"):
        load_settings(Sample, tmp_path / "bad.toml")


def test_settings_describe_themselves() -> None:
    """Every setting is listed with type, default and description, for the documentation."""
    rows = describe_settings(Sample)
    assert [(row.name, row.type, row.default) for row in rows] == [
        ("state", "Path", "required"),
        ("workers", "int", "`4`"),
        ("weight", "float", "`1.0`"),
        ("name", "str or None", "`None`"),
        ("folder", "str", "empty"),
    ]
    assert "| `workers` | int | `4` |  | 1 to 64 threads |" in settings_table(Sample).splitlines()
