"""Rules and dashboard speak of metrics that there are, and Prometheus' own tool takes them."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path
from typing import Any

import pytest

from services.common.observing.observed import COMMON_METRICS
from services.common.rpc_server import SERVER_METRICS
from services.health.observing import HEALTH_METRICS
from services.ingester.observing import INGESTER_METRICS, JOBS
from services.mirror.told import MIRROR_METRICS
from services.origin.publishing_loop import PUBLISH_METRICS
from services.rag.observing import REPLICA_METRICS
from tests.promtool import needs_promtool, promtool

PROJECT = Path(__file__).parents[2]
PROMETHEUS, DASHBOARD = PROJECT / "deploy" / "prometheus", PROJECT / "deploy" / "grafana" / "appia.json"
ALL = (
    *COMMON_METRICS,
    *SERVER_METRICS,
    *INGESTER_METRICS,
    JOBS,
    *REPLICA_METRICS,
    *MIRROR_METRICS,
    *PUBLISH_METRICS,
    *HEALTH_METRICS,
)
OF_LINUX = {
    "process_virtual_memory_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
}
METRIC = re.compile(r"\b(?:appia|process)_[a-z0-9_]+\b")


def named(text: str) -> set[str]:
    """Metrics in a query or rule, without the suffixes of a histogram's series."""
    return {re.sub(r"_bucket$", "", name) for name in METRIC.findall(text)}


def expressions(found: Any) -> list[str]:
    """Every query of a dashboard."""
    if isinstance(found, dict):
        own = [found[key] for key in ("expr", "query") if isinstance(found.get(key), str)]
        return own + [one for value in found.values() for one in expressions(value)]
    return [one for value in found for one in expressions(value)] if isinstance(found, list) else []


def test_no_metric_has_two_meanings() -> None:
    """Names are unique over all services, and each says what it is."""
    names = [metric.name for metric in ALL]
    assert len(names) == len(set(names))
    assert all(
        metric.meaning.endswith(".") and name.startswith("appia_")
        for metric, name in zip(ALL, names, strict=True)
    )


def test_the_dashboard_names_metrics_that_there_are() -> None:
    """Every query of every panel, each with the job that is chosen; no two panels share a number or a place."""
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    queries = expressions(dashboard)
    assert len(queries) > 30
    known = {metric.name for metric in ALL} | OF_LINUX
    assert set().union(*map(named, queries)) <= known
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    shown = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert all('job="$job"' in query for query in shown)


@needs_promtool
def test_the_queries_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    """Each as a rule, with a job and an interval in the place of Grafana's variables."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [
        {
            "record": f"query:{number}",
            "expr": query.replace("$job", "appia").replace("$__rate_interval", "1m"),
        }
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    assert promtool("check", "rules", str(path)) == ""
    path.write_text(path.read_text().replace("sum(", "sum((", 1))
    assert "parse error" in promtool("check", "rules", str(path))


def test_the_rules_name_metrics_that_there_are() -> None:
    """Also those that the tests of the rules make up."""
    known = {metric.name for metric in ALL} | OF_LINUX
    for name in ("rules.yml", "rules_test.yml"):
        text = (PROMETHEUS / name).read_text("utf-8")
        assert named(text) <= known, name
        assert named(text)


def test_every_alert_says_what_to_do() -> None:
    """A rule without an action helps nobody at night."""
    blocks = (PROMETHEUS / "rules.yml").read_text("utf-8").split("- alert: ")[1:]
    assert len(blocks) > 15
    for block in blocks:
        assert re.search(r"^ +severity|severity: (warning|critical)", block, re.MULTILINE), block
        assert "summary:" in block, block
        assert "action:" in block, block


@needs_promtool
@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_takes_them(words: tuple[str, ...]) -> None:
    """Prometheus reads the rules, and they fire when they should and not otherwise."""
    assert promtool(*words[:2], str(PROMETHEUS / words[2])) == ""


@needs_promtool
def test_a_wrong_rule_would_be_found(tmp_path: Path) -> None:
    """The check above can fail: without `for` a short silence is an alert, which its test does not want."""
    for path in PROMETHEUS.glob("*.yml"):
        text = path.read_text("utf-8")
        (tmp_path / path.name).write_text(
            text.replace("        for: 1m\n", "") if path.name == "rules.yml" else text
        )
    assert "AppiaServiceAway" in promtool("test", "rules", str(tmp_path / "rules_test.yml"))


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "deploy" / "systemd").glob("*.service")), ids=lambda path: path.name
)
def test_the_units_are_watched(path: Path) -> None:
    """systemd waits for the word of services and starts who does not give it again: as all units have in common."""
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read([path, path.parent / "appia-.service.d" / "10-common.conf"], "utf-8")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["NotifyAccess"] == "main"
    assert int(service["WatchdogSec"]) >= 30
    assert service["Restart"] == "always"
