"""`appia-origin` as a process: it registers, answers, shows itself, publishes, and ends in order."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zmq
from prometheus_client.parser import text_string_to_metric_families

from services.common.errors import AppiaError
from services.common.logs import make_logger
from services.common.observing.observed import COMMON_METRICS
from services.common.registry.connect import open_registry
from services.common.rpc_client import RpcClient
from services.common.rpc_server import SERVER_METRICS
from services.common.settings import settings_table
from services.origin.main import main
from services.origin.observing import ORIGIN_METRICS
from services.origin.publishing_loop import PUBLISH_METRICS, PublishingLoop
from services.origin.settings import OriginSettings
from tests.origin.conftest import OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[2] / "docs"
COMMAND = [sys.executable, "-m", "services.origin.main"]


def test_the_documents_have_every_setting_and_metric() -> None:
    """Word for word as the code gives them."""
    table = settings_table(OriginSettings)
    assert table in (DOCS / "settings.md").read_text(), f"put this table into settings.md:\n{table}"
    page = (DOCS / "metrics.md").read_text().partition("## Origin\n")[2].partition("\n## ")[0]
    rows = [
        f"| `{m.name}` | {m.kind} | {', '.join(m.labels)} | {m.meaning} |"
        for m in (*ORIGIN_METRICS, *PUBLISH_METRICS)
    ]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_a_process_serves_publishes_and_ends(world: Any, tmp_path: Path, connect: Callable[..., Any]) -> None:
    """It is found in the registry, `ping` and its pages say how it is, and SIGTERM takes it out of the registry."""
    share, settings = tmp_path / "share", tmp_path / "origin.toml"
    share.mkdir()
    settings.write_text(
        f'state = "{world.state.root}"\nname = "o-1"\nobserve = "127.0.0.1:0"\npublish = "{share}"\n'
        "publish_every_s = 0.1\n"
    )
    process = subprocess.Popen([*COMMAND, "--settings", str(settings)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert (said["service"], said["name"], said["pid"]) == ("origin", "o-1", process.pid)
        with closing(open_registry("file", world.state.root)) as registry:
            (entry,) = _eventually(lambda: registry.entries("origin"))
            assert entry.address == said["endpoint"]
            assert connect(int(said["endpoint"].rpartition(":")[2])).cat_file("VERSION") == b"1\n"
            _eventually((share / "days" / OPEN / "open" / "000001" / "metadata.count").exists)
            answer = _eventually(lambda: _published(said["endpoint"]))
            assert (answer["service"], answer["ready"], answer["publish"]["faults"]) == ("origin", True, [])
            assert (share / "VERSION").read_bytes() == b"1\n"
            _check_pages(said["observe"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert registry.entries("origin") == []
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _published(endpoint: str) -> dict[str, Any]:
    """The answer to `ping` once all was published; empty before."""
    with zmq.Context() as context, closing(RpcClient(context, endpoint)) as client:
        answer: dict[str, Any] = client.call("ping", {}, 10)
        return answer if not answer["publish"]["behind_s"] else {}


def _check_pages(place: str) -> None:
    for path, text in (("/healthz", b"It works.\n"), ("/readyz", b"It is ready.\n")):
        with urllib.request.urlopen(f"http://{place}{path}", timeout=20) as answer:
            assert answer.read() == text
    with urllib.request.urlopen(f"http://{place}/metrics", timeout=20) as answer:
        scraped = answer.read().decode()
    known = {m.name: m for m in (*COMMON_METRICS, *SERVER_METRICS, *ORIGIN_METRICS, *PUBLISH_METRICS)}
    for family in text_string_to_metric_families(scraped):
        if not family.name.startswith("process_"):
            told = known[family.name + "_total" * (family.type == "counter")]
            assert (family.type, family.documentation) == (told.kind, told.meaning)
    assert 'appia_origin_sent_bytes_total{key="local"} 2.0' in scraped


def _eventually(look: Callable[[], Any], seconds: float = 20) -> Any:
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "lacks the setting 'state'"),
        ('state = "/s"\nbytes_per_s = -1', "the setting 'bytes_per_s' is -1"),
        ('state = "/s"\nbind = "tcp://0.0.0.0:5574"', "needs keys|server_key"),
        ('state = "/s"\npublish = "nonsense://x"', "no place that fsspec knows"),
        ('state = "/s"\npublsh = "x"', "unknown setting 'publsh'"),
        ("state = [", "is not TOML"),
    ],
)
def test_what_is_set_wrong_is_one_sentence(
    tmp_path: Path, text: str, why: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And exit status 2."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of this process stay
    settings = tmp_path / "origin.toml"
    settings.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["--settings", str(settings)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert re.search(why, said)
    assert len(said.splitlines()) == 1
    with pytest.raises(SystemExit) as ended:
        main(["--settings", str(settings), "--check"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == said


def test_a_place_that_fails_is_told_once_and_tried_again(tmp_path: Path) -> None:
    """How long it is behind is told meanwhile; when it is back, so is that."""
    broken = threading.Event()
    broken.set()
    rounds = []

    class Publisher:
        def publish(self, now_s: float) -> None:
            rounds.append(now_s)
            if broken.is_set():
                raise AppiaError("the share is away")

    with (tmp_path / "log").open("w") as file:
        log = make_logger("origin", file)
        loop = PublishingLoop(Publisher(), 0.02, lambda: 7, threading.Event(), log)
        loop.start()
        _eventually(lambda: len(rounds) >= 3)
        seen = loop.seen
        assert seen.fault == "the share is away"
        assert seen.behind_s > 0.05
        assert {sample.metric.name: sample.value for sample in loop.source().read()} == {
            "appia_published_bytes_total": 7,
            "appia_publish_failing": 1,
            "appia_publish_behind_seconds": pytest.approx(loop.seen.behind_s, abs=1),
        }
        broken.clear()
        _eventually(lambda: not loop.seen.fault)
        loop.stop()
    events = [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()]
    assert events == ["publishing_fails", "publishing_works_again"]
