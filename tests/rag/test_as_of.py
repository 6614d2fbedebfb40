"""The text of `as_of`: short, readable, and read back as what it was made of."""

from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.days.names import EVENT_INDICES, INDICES
from services.common.errors import UsageError
from services.rag.as_of import MAX_DAYS, DayPart, Moment, OpenPart, read_moment
from services.rag.protocol import AS_OF

FIRST = dict.fromkeys(INDICES, 1)
LIMIT = 8 * 1024


def _open(number: int, rows: int, **written: int) -> OpenPart:
    return OpenPart(number, rows, {name: written.get(name, rows) for name in EVENT_INDICES})


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (Moment(()), "nothing"),
        (Moment((), remarks=3), "nothing remarks=3"),
        (Moment((), remarks=3, decisions=(0, 9)), "nothing remarks=3 decisions=9"),
        (
            Moment((), decisions=(4, 9), now="2026-11-20T15:27:31Z"),
            "nothing decisions=4..9 now=2026-11-20T15:27:31Z",
        ),
        (Moment((DayPart("2026-01-20", 1, FIRST),)), "2026-01-20:1"),
        (Moment((DayPart("2026-01-20", 2, {**FIRST, "attack": 3}),)), "2026-01-20:2a3"),
        (Moment((DayPart("2026-01-20", 1, {"attack": 1, "temporal": 12}),)), "2026-01-20:1s0t12e0"),
        (Moment((DayPart("2026-01-20", segments=(_open(1, 785),)),)), "2026-01-20+1=785"),
        (
            Moment((DayPart("2026-01-20", 1, FIRST, (_open(2, 9, attack=10), _open(3, 0))),)),
            "2026-01-20:1+2=9a10+3=0",
        ),
        (
            Moment(tuple(DayPart(f"2026-01-{day}", 1, FIRST) for day in (29, 30, 31)), check="0123456789ab"),
            "2026-01-29..31:1 #0123456789ab",
        ),
        (
            Moment(
                tuple(
                    DayPart(day, 1, FIRST) for day in ("2026-01-20", "2026-01-22", "2026-01-31", "2026-02-01")
                ),
                7,
                "2026-02-01T10:00:00.000000Z",
                "0123456789ab",
            ),
            "2026-01-20:1 22:1 31..2026-02-01:1 remarks=7 now=2026-02-01T10:00:00.000000Z #0123456789ab",
        ),
    ],
)
def test_a_moment_has_a_short_name(moment: Moment, text: str) -> None:
    """Days that are alike are one range, and only what is not as usual is named; reading gives the moment again."""
    assert moment.to_text() == text
    assert read_moment(text) == moment


def test_a_year_of_sealed_days_is_one_word() -> None:
    """400 days of the first generation are named by the first and the last."""
    days = tuple(DayPart((date(2025, 10, 17) + timedelta(n)).isoformat(), 1, FIRST) for n in range(400))
    assert Moment(days).to_text() == "2025-10-17..2026-11-20:1"
    assert read_moment("2025-10-17..2026-11-20:1").days == days


def test_the_most_varied_days_stay_short() -> None:
    """400 days of which no two are alike, some with late events, stay below 8 KiB and what a request may hold."""
    days = tuple(
        DayPart(
            (date(2025, 10, 17) + timedelta(n)).isoformat(),
            2 + n % 3,
            {"attack": 1 + n % 5, "semantic": 1 + n % 2, "temporal": 1, "entity": 1},
            (_open(3, 1000 + n),) if n % 4 == 0 else (),
        )
        for n in range(400)
    )
    text = Moment(days, 123_456, "2026-11-20T15:27:31.123456Z", "0123456789ab").to_text()
    assert len(text) < LIMIT * 2 // 3
    assert len(text) < AS_OF.high
    assert read_moment(text).days == days


_NUMBERS = st.integers(0, 999_999)


@st.composite
def _moments(draw: st.DrawFn) -> Moment:
    numbers = draw(st.lists(st.integers(0, 2000), unique=True, max_size=12))
    days = []
    for number in sorted(numbers):
        generation = draw(st.integers(0, 3))
        versions = draw(st.dictionaries(st.sampled_from(INDICES), st.integers(1, 12)))
        segments = draw(st.dictionaries(_NUMBERS, _NUMBERS, max_size=2, min_size=0 if generation else 1))
        days.append(
            DayPart(
                (date(2025, 10, 17) + timedelta(number)).isoformat(),
                generation,
                {name: versions[name] for name in INDICES if name in versions} if generation else {},
                tuple(
                    OpenPart(number, rows, {name: draw(_NUMBERS) for name in EVENT_INDICES})
                    for number, rows in sorted(segments.items())
                ),
            )
        )
    return Moment(tuple(days), draw(_NUMBERS), None, draw(st.none() | st.just("00ff00ff00ff")))


@given(_moments())
def test_every_moment_is_read_back(moment: Moment) -> None:
    """Whatever can be seen has a name from which the same can be read."""
    assert read_moment(moment.to_text()) == moment


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "yesterday",
        "2026-01-20",
        "20:1",
        "2026-02-30:1",
        "2026-01-20:0",
        "2026-01-20:1x2",
        "2026-01-20:1 2026-01-20:1",
        "2026-01-22:1 20:1",
        "2026-01-24..20:1",
        "2026-01-20..22:1+2=5",
        "2026-01-20+2=5+2=5",
        "0001-01-01..9999-12-31:1",
        "2026-01-20:1 nothing",
        "nothing 2026-01-20:1",
        "2026-01-20:1 #xyz",
        "2026-01-20:\u0661",
        "#0123456789ab",
        "2026-01-20:1/../../etc",
        "9" * 5000,
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    """A text that no receipt has is refused in one sentence that shows what one looks like."""
    with pytest.raises(
        UsageError, match=r"^The argument 'as_of' must be what the 'as_of' of a receipt says"
    ) as said:
        read_moment(text)
    assert len(str(said.value)) < 300


@given(st.text(max_size=80) | st.text(alphabet="0123456789-.:+=aste# ", max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Any text is a moment or is refused; what is a moment is no longer than a request allows."""
    try:
        moment = read_moment(text)
    except UsageError:
        return
    assert len(moment.days) <= MAX_DAYS


def test_the_documentation_shows_real_names() -> None:
    """What docs/receipts.md shows as the name of a moment is one, and is given back as it stands there."""
    document = (Path(__file__).parents[2] / "docs" / "receipts.md").read_text("utf-8")
    shown = re.findall(r"^as of '(.+)'$|--as-of '?([0-9].+?)['`]", document, re.MULTILINE)
    names = [one or other for one, other in shown]
    assert len(names) == 3
    assert [read_moment(name).to_text() for name in names] == names
