"""Keys and values are read from words, and wrong ones are told in a sentence."""

from __future__ import annotations

import typing

import pytest

from services.common.config.sections import Base, base_of, checked, known_keys, parse_words, shown, typed
from services.common.config.tree import INGESTER, RAG, SECTIONS, IngesterLive, RagLive
from services.common.errors import UsageError
from services.common.settings import AT_ONCE, AT_START, ServiceSettings, service_config, when_taken


@pytest.mark.parametrize("name", known_keys())
def test_every_key_can_be_written_on_a_command_line(name: str) -> None:
    """It says what it is and when it is taken up; its default can be written and read back, and is one value."""
    section, _, key = name.partition(".")
    field = SECTIONS[section].model_fields[key]
    assert field.description
    assert when_taken(field) in {AT_ONCE, AT_START}
    default = getattr(SECTIONS[section](), key)
    assert type(default) in typing.get_args(bool | int | float | str)
    assert typed({}, parse_words([f"{name}={shown(default)}"])) == {name: default}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["rag.weight_atack=1"],
            "There is no key 'rag.weight_atack' in the configuration: did you mean rag.weight",
        ),
        (["weight_attack=1"], "There is no key 'weight_attack'"),
        (["rag.waiting"], "'rag.waiting' is not KEY=VALUE"),
        (["rag.waiting=1", "rag.waiting=2"], "rag.waiting is given twice"),
        (["\x1b[31m=1"], r"There is no key '\\x1b\[31m' in the configuration: `appia config get` lists"),
        (
            ["rag.waiting=0"],
            "rag.waiting cannot be '0', input should be greater than or equal to 1; it is: requests",
        ),
        (["rag.waiting="], "rag.waiting cannot be '', input should be a valid integer"),
        (["rag.weight_words=inf"], "rag.weight_words cannot be 'inf', input should be a finite number"),
        (
            ["ingester.compression=zip"],
            "ingester.compression cannot be 'zip', input should be 'fast', 'balanced'",
        ),
    ],
)
def test_what_is_not_allowed_is_told(words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        typed({}, parse_words(words))


def test_wishes_are_held_against_what_is_there() -> None:
    """Live values of another release that are not allowed any more stop a change until they are taken away."""
    with pytest.raises(UsageError, match=r"no key 'rag\.gone'"):
        typed({"rag.gone": 1}, {"rag.waiting": "5"})
    assert typed({"rag.waiting": 1}, {"rag.waiting": None}) == {"rag.waiting": None}


class Settings(RagLive, ServiceSettings):
    model_config = service_config("sample")
    folder: str = "x"


def test_the_environment_pins_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base of a service knows which keys its environment says, and takes no live values for them."""
    monkeypatch.setenv("APPIA_SAMPLE_WAITING", "7")
    base = base_of(RAG, RagLive, Settings(weight_words=3.0, folder="y"))
    assert (base.pinned, base.values.waiting, base.values.weight_words) == ({"waiting"}, 7, 3.0)
    live = base.under({"waiting": 9, "weight_words": 4.0})
    assert (live.waiting, live.weight_words, live.weight_attack) == (7, 4.0, 1.0)


def test_a_section_is_checked_whole() -> None:
    with pytest.raises(UsageError, match=r"ingester\.batch_rows cannot be 1, input should be"):
        Base(INGESTER, IngesterLive, IngesterLive()).under({"batch_rows": 1, "queue_bytes": 2 << 20})
    assert checked(INGESTER, IngesterLive, {"batch_rows": "128"}).batch_rows == 128
