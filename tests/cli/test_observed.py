"""A real stack is observed: its pages, its metrics and what documents say of them, and its watchdog."""

from __future__ import annotations

import json
import os
import signal
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.common.observing.observed import COMMON_METRICS
from services.common.rpc_server import SERVER_METRICS
from services.health.observing import HEALTH_METRICS
from services.ingester.observing import INGESTER_METRICS, JOBS
from services.rag.observing import REPLICA_METRICS
from tests.promtool import PROMTOOL, promtool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.common.observing.metrics import Metric

DOCUMENT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
OWN = {
    "ingester": (*INGESTER_METRICS, JOBS),
    "rag-1": REPLICA_METRICS,
    "health": HEALTH_METRICS,
}


def rows(metrics: Sequence[Metric]) -> list[str]:
    return [f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.meaning} |" for m in metrics]


@pytest.mark.parametrize(
    ("heading", "metrics"),
    [
        ("What every service has", COMMON_METRICS),
        ("What ingester, replicas and health have as they are asked", SERVER_METRICS),
        ("Ingester", OWN["ingester"]),
        ("Replicas", OWN["rag-1"]),
        ("Health", HEALTH_METRICS),
    ],
)
def test_the_page_has_every_metric(heading: str, metrics: Sequence[Metric]) -> None:
    """Each with its kind, labels and meaning, and none that there is not."""
    section = DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert [line for line in section.splitlines() if line.startswith("| `")] == rows(metrics)


def page(place: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{place}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_real_stack_is_observed(
    start_stack: Callable[..., Any],
    appia: Callable[..., Any],
    sample: Path,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    """What is scraped is what is documented and what happened; a replica that is frozen comes back by itself."""
    stack = start_stack(tmp_path / "state", "--watchdog", "3")
    flows = ("--format", "cicflowmeter", "--limit", "300", str(sample))
    assert appia("feed", "--state", str(stack.state), *flows).returncode == 0
    places = stack.running.observe
    targets = json.loads((stack.state / "run" / "prometheus.json").read_text())
    assert {(one["labels"]["appia"], *one["targets"]) for one in targets} == set(places.items())
    served = 'appia_served_rows{state="open"} 300.0'
    eventually("all is served", lambda: served in page(places["rag-1"], "/metrics")[1])
    for name in places:
        own = OWN[name]
        assert page(places[name], "/healthz") == (200, "It works.\n")
        eventually(
            "it is ready", lambda place=places[name]: page(place, "/readyz") == (200, "It is ready.\n")
        )
        text = page(places[name], "/metrics")[1]
        known = {metric.name: metric for metric in (*COMMON_METRICS, *SERVER_METRICS, *own)}
        for family in text_string_to_metric_families(text):
            if not family.name.startswith("process_"):
                told = known[family.name + "_total" * (family.type == "counter")]
                assert (family.type, family.documentation) == (told.kind, told.meaning)
        if PROMTOOL:
            assert promtool("check", "metrics", stdin=text) == ""
    assert "appia_events_accepted_total 300.0" in page(places["ingester"], "/metrics")[1]
    replica = stack.running.replicas[0].pid
    os.kill(replica, signal.SIGSTOP)
    eventually("another one runs", lambda: stack.running.replicas[0].pid != replica)
    assert stack.running.observe == places
    assert page(places["rag-1"], "/healthz")[0] == 200
    assert stack.stop()[0] == 0
