"""What a service counts is scraped as Prometheus takes it, however strange the names are that senders give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.common.observing.metrics import (
    LONGEST_LABEL,
    OTHERS,
    Kind,
    Metric,
    Source,
    label,
    largest,
    make_registry,
)
from services.common.observing.requests import BOUNDS_S, REQUEST_METRICS, RequestTimes
from tests.promtool import needs_promtool, promtool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.common.observing.metrics import Sample

HEAT = Metric("appia_heat_celsius", Kind.GAUGE, "How warm it is.", ("room",))
DOORS = Metric("appia_doors_total", Kind.COUNTER, "Doors that opened.")


def scrape(*sources: Source) -> str:
    return generate_latest(make_registry(sources)).decode()


def values(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("appia_")
    }


def test_values_are_read_when_scraped() -> None:
    """Each scrape has what is counted then, under the names that were declared, and nothing of another registry."""
    counted = [1.0]

    def read() -> Iterable[Sample]:
        return [HEAT.of(20.5, "attic"), HEAT.of(-3, "cellar"), DOORS.of(counted[0])]

    registry = make_registry([Source((HEAT, DOORS), read)])
    for count in (1.0, 7.0):
        counted[0] = count
        found = values(generate_latest(registry).decode())
        assert found == {
            ("appia_heat_celsius", ("attic",)): 20.5,
            ("appia_heat_celsius", ("cellar",)): -3.0,
            ("appia_doors_total", ()): count,
        }
    assert "process_resident_memory_bytes" in generate_latest(registry).decode()


def test_names_of_senders_can_do_no_harm() -> None:
    """Quotes, line feeds, escapes and surrogates in a name stay within it; it is cut, and the scrape can be parsed."""
    names = ['a"} 1\nappia_doors_total 9\n', "\x1b[2Jclear", "x" * 500, "\ud800", "\u202eright", ""]
    text = scrape(Source((HEAT,), lambda: [HEAT.of(1, label(name)) for name in names]))
    found = values(text)
    assert {name for name, _ in found} == {"appia_heat_celsius"}
    assert len(found) == len(names)
    assert all(shown.isprintable() and len(shown) <= LONGEST_LABEL for _, (shown,) in found)


def test_the_number_of_labels_is_bounded() -> None:
    """The largest keep their names, the others are one sum; nothing is lost of the total."""
    counts = {f"sensor-{number:04}": number for number in range(2000)}
    found = largest(counts, 10)
    assert list(found) == [f"sensor-{number}" for number in range(1999, 1989, -1)] + [OTHERS]
    assert sum(found.values()) == sum(counts.values())
    assert largest({"a\n": 1, "a\t": 2}) == {"a\ufffd": 3}


def test_requests_are_counted_by_outcome_and_time() -> None:
    """A request falls under each bound that it kept, is summed, and is counted by its outcome."""
    times = RequestTimes()
    for seconds in (0.0005, BOUNDS_S[0], 0.3, 99.0):
        times.note("similar", "ok", seconds)
    times.note("(any)", "busy")
    found = values(scrape(Source(REQUEST_METRICS, times.read)))
    assert found["appia_requests_total", ("similar", "ok")] == 4
    assert found["appia_requests_total", ("(any)", "busy")] == 1
    name = "appia_request_duration_seconds"
    assert [found[f"{name}_bucket", (le, "similar")] for le in ("0.001", "0.25", "0.5", "30.0", "+Inf")] == [
        2,
        2,
        3,
        3,
        4,
    ]
    assert found[f"{name}_count", ("similar",)] == 4
    assert found[f"{name}_sum", ("similar",)] == pytest.approx(99.3015)


@needs_promtool
def test_what_is_scraped_passes_promtool() -> None:
    """Kinds of all shapes, linted by Prometheus' own tool."""
    times = RequestTimes()
    times.note("similar", "ok", 0.1)
    text = scrape(
        Source((HEAT, DOORS), lambda: [HEAT.of(1, "x"), DOORS.of(2)]), Source(REQUEST_METRICS, times.read)
    )
    assert promtool("check", "metrics", stdin=text) == ""
