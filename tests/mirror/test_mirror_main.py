"""A mirror as a process beside a real origin: a replica here answers as one there, also after kill -9."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from prometheus_client.parser import text_string_to_metric_families

from services.common.days.held import Held, write_held
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.days.one_writer import lock_state
from services.common.durable import Disk
from services.common.errors import AppiaError
from services.common.logs import make_logger
from services.common.observing.observed import COMMON_METRICS
from services.common.observing.systemd import ALONE
from services.common.registry.connect import open_registry
from services.common.rpc_client import RpcClient
from services.common.settings import settings_table
from services.mirror.building import build
from services.mirror.main import main
from services.mirror.settings import MirrorSettings
from services.mirror.told import MIRROR_METRICS
from tests.rag.conftest import World
from tests.torture.processes import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = Path(__file__).parents[2] / "docs"
SEALED, OPEN, NEXT = "2026-01-21", "2026-01-22", "2026-01-23"
WITHIN_S = 5.0


def test_the_documents_have_every_setting_and_metric() -> None:
    """Word for word as the code gives them."""
    table = settings_table(MirrorSettings)
    assert table in (DOCS / "settings.md").read_text(), f"put this table into settings.md:\n{table}"
    assert all(field.description for field in MirrorSettings.model_fields.values())
    page = (DOCS / "metrics.md").read_text().partition("## Mirror\n")[2].partition("\n## ")[0]
    rows = [f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.meaning} |" for m in MIRROR_METRICS]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


class Site:
    """An origin and a replica over the days there, a mirror of them, and a replica over the mirror's copy."""

    def __init__(self, world: Any, folder: Path) -> None:
        self.world, self.folder, self.here = world, folder, folder / "here"
        self.context = zmq.Context()
        self.running: list[Service] = []
        claim_layout(StateNames(self.here), Disk())  # as a mirror does first: a replica need not wait for it
        self.origin = self.start("origin", state=str(world.state.root))
        self.there = self.start("rag", "there", state=str(world.state.root))
        self.copy = self.start("rag", "here", state=str(self.here))
        self.origin.wait_ready()
        port = self.origin.ready["endpoint"].rpartition(":")[2]
        self.mirror = self.start(
            "mirror",
            state=str(self.here),
            source=f"appia://127.0.0.1:{port}",
            observe="127.0.0.1:0",
            poll_s=0.1,
        )
        for service in (self.mirror, self.there, self.copy):
            service.wait_ready()

    def start(self, service: str, name: str = "", **settings: Any) -> Service:
        known = {"name": name or service, **settings}
        one = Service(self.folder, name or service, f"services.{service}.main", known)
        self.running.append(one)
        return one

    def ask(self, service: Service, operation: str, **arguments: Any) -> Any:
        with closing(RpcClient(self.context, service.ready["endpoint"])) as client:
            return client.call(operation, arguments, 20.0)

    def rows(self, service: Service) -> int:
        return int(self.ask(service, "ping")["rows"])

    def wait_rows(self, rows: int, within_s: float = 30.0) -> float:
        """Until the replica over the copy shows so many rows; gives the seconds."""
        began = time.monotonic()
        while self.rows(self.copy) != rows:
            assert time.monotonic() - began < within_s, f"{self.rows(self.copy)} rows and not {rows}"
            time.sleep(0.05)
        return time.monotonic() - began

    def end(self) -> None:
        for service in self.running:
            service.end()
        self.context.term()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One for all tests of this file: processes take a while to start."""
    folder = tmp_path_factory.mktemp("site")
    world = World(folder / "there")
    world.fill(SEALED, 200, sealed=True)
    world.fill(OPEN, 100, sealed=False)
    made = Site(world, folder)
    yield made
    made.end()
    world.close()


def _questions(world: Any) -> list[tuple[str, dict[str, Any]]]:
    ids = list(world.events)
    asked: list[tuple[str, dict[str, Any]]] = [("stats", {}), ("days", {}), ("list", {"limit": 20})]
    for event_id in (ids[3], ids[-2]):
        asked += [("get", {"event_id": event_id})]
        asked += [
            ("similar", {"event_id": event_id, "k": 10, "index": i}) for i in ("attack", "semantic", "fused")
        ]
    return asked


def _without_place(answer: Any) -> Any:
    """An answer without what names the replica, and how long it took."""
    found = {name: value for name, value in answer.items() if name != "replica"}
    if "receipt" in found:
        found["receipt"] = {name: value for name, value in found["receipt"].items() if name != "took_ms"}
    return found


def test_a_replica_over_the_copy_answers_as_one_over_the_source(site: Site) -> None:
    """The same answers and receipts, of a sealed and an open day; new rows within seconds; killed in between."""
    site.wait_rows(300)
    until = time.monotonic() + 20
    for question, arguments in _questions(site.world):
        same = False
        while not same and time.monotonic() < until:
            answers = [
                _without_place(site.ask(one, question, **arguments)) for one in (site.there, site.copy)
            ]
            same = answers[0] == answers[1]
        assert answers[0] == answers[1], question
    for round_number in range(3):
        site.world.fill(OPEN, 40, sealed=False)
        if round_number:
            site.mirror.end()
            site.mirror.launch()
            site.mirror.wait_ready()
        took_s = site.wait_rows(300 + 40 * (round_number + 1))
        assert round_number or took_s < WITHIN_S
    site.world.seal(OPEN)
    until = time.monotonic() + 20
    while not (site.here / "days" / OPEN / "sealed" / "CURRENT").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    assert site.rows(site.copy) == 420
    assert site.copy.process.poll() is None


def test_it_says_how_it_is_while_the_source_is_away_and_goes_on(site: Site) -> None:
    """Fail static: the copy serves; ping, registry and pages say what is wrong; with the origin it goes on."""
    rows = site.rows(site.there)
    site.wait_rows(rows)
    site.origin.end()
    with closing(open_registry("file", site.here)) as registry:
        (entry,) = registry.entries("mirror")
    assert {"behind_s", "days_held", "days_left_out", "fault"} <= set(entry.info)
    until = time.monotonic() + 30
    while not (said := site.ask(site.mirror, "ping"))["mirror"]["faults"]:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert said["mirror"]["faults"][0].startswith("source: The source cannot be read")
    page = (
        urllib.request.urlopen(f"http://{site.mirror.ready['observe']}/metrics", timeout=10).read().decode()
    )
    found = {family.name for family in text_string_to_metric_families(page)}
    assert {m.name.removesuffix("_total") for m in (*MIRROR_METRICS, *COMMON_METRICS)} <= found
    assert site.rows(site.copy) == rows
    site.world.fill(NEXT, 7, sealed=False)
    port = int(site.origin.ready["endpoint"].rpartition(":")[2])
    again = site.start("origin", "again", state=str(site.world.state.root), bind=f"tcp://127.0.0.1:{port}")
    again.wait_ready()
    site.wait_rows(rows + 7, 60)
    assert site.mirror.stop() == 0


def test_a_replica_names_what_the_copy_does_not_hold(there: Any, make_mirror: Any, replica: Any) -> None:
    """Every answer that the missing day could matter to says so; one that is not about that day does not."""
    there.fill("2026-01-20", 40, sealed=True)
    there.fill(SEALED, 40, sealed=True)
    mirror = make_mirror(there.state.root, budget=1)
    mirror.settle()
    operations = replica(type("Copy", (), {"state": mirror.state, "embedders": there.embedders}))
    answer = operations["list"]({"limit": 5}, _no_deadline())
    assert [(gap["day"], "not held here" in gap["reason"]) for gap in answer["receipt"]["missing"]] == [
        ("2026-01-20", True),
        (SEALED, True),
    ]
    assert answer["receipt"]["repeatable"] is False
    narrow = operations["list"]({"limit": 5, "filters": {"days": ["2026-01-19"]}}, _no_deadline())
    assert narrow["receipt"]["missing"] == []
    days = operations["days"]({}, _no_deadline())["days"]
    assert [(day["day"], day["state"]) for day in days] == [("2026-01-20", "not held"), (SEALED, "not held")]
    with pytest.raises(Exception, match="2 days are not held here"):
        operations["get"]({"event_id": "e-1"}, _no_deadline())


def _no_deadline() -> Any:
    from services.common.rpc import Deadline  # noqa: PLC0415

    return Deadline()


def test_a_copy_whose_source_was_never_read_says_so(
    tmp_path: Path, make_mirror: Any, replica: Any, there: Any
) -> None:
    """Nobody knows which days there are, so no answer is whole."""
    mirror = make_mirror(tmp_path / "nowhere")
    operations = replica(type("Copy", (), {"state": mirror.state, "embedders": there.embedders}))
    answer = operations["list"]({"limit": 5}, _no_deadline())
    assert [gap["day"] for gap in answer["receipt"]["missing"]] == ["mirror"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "there"}, "is no URL"),
        ({"source": "appia://"}, "appia://HOST:PORT"),
        ({"source": "nosuch://x"}, "does not know: nosuch"),
        ({"source": "simplecache::file:///x"}, "is no URL"),
        ({"source": "file:///x", "budget_bytes": -1}, "budget_bytes"),
        ({"source": "file:///x", "source_key": "/nowhere/key"}, "key"),
        ({"source": "https://user:topsecret@h/x::y"}, "is no URL"),
    ],
)
def test_wrong_settings_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], said: str
) -> None:
    """Exit status 2 and one line, which names no secret; nothing is made."""
    file = tmp_path / "mirror.toml"
    values = {"state": str(tmp_path / "state"), **settings}
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    with pytest.raises(SystemExit) as ended:
        main(["--settings", str(file), "--check"])
    line = capsys.readouterr().err
    assert (ended.value.code, len(line.splitlines())) == (2, 1)
    assert said in line
    assert "topsecret" not in line
    assert not (tmp_path / "state").exists()


def test_an_ingesters_own_days_are_not_taken_for_a_copy(there: Any) -> None:
    """A mirror refuses a state directory that it did not make, and an ingester one that a mirror keeps."""
    there.fill(SEALED, 5, sealed=False)
    settings = MirrorSettings(state=there.state.root, source="file:///nowhere")
    mirror = build(settings, Disk(), make_logger("mirror"), (ALONE, threading.Event()))
    with pytest.raises(AppiaError, match="has days of an ingester of its own"), mirror:
        pass
    write_held(Disk(), there.state.mirror, Held("file:///x", reached=True))
    with pytest.raises(AppiaError, match="is the copy that a mirror keeps"):
        lock_state(there.state, Disk(), "ingester")
