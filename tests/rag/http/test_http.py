"""The HTTP API over real replicas: every operation, streams, and one sentence for every mistake."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import re
import signal
import socket
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from services.rag.http.problems import PROBLEMS
from services.rag.protocol import OPERATIONS
from services.rag.schemas import FILTERS

if TYPE_CHECKING:
    import requests

OLD, OPEN = "2026-01-20", "2026-01-22"


@pytest.fixture
def served(world: Any, start_replica: Any, serve: Any) -> Any:
    """A server over one replica with a sealed and an open day."""
    world.fill(OLD, 60, sealed=True)
    world.fill(OPEN, 40, sealed=False)
    return serve(start_replica(world.state.root).ready()["endpoint"])


def refused(response: requests.Response, code: str, *words: str) -> None:
    """The response is a problem of this code whose sentence has the words."""
    body = response.json()
    assert (body["code"], response.status_code) == (code, PROBLEMS[code][0]), body
    assert response.headers["content-type"] == "application/problem+json"
    assert body["status"] == response.status_code
    assert all(word in body["detail"] for word in words), body["detail"]
    assert "\n" not in body["detail"]


def test_operations_are_posted(world: Any, served: Any) -> None:
    """An operation takes its arguments as a JSON object and gives the answer of the replica."""
    event_id = next(iter(world.events))
    answer = served.post("get", json={"event_id": event_id}).json()
    assert answer["fields"]["event_id"] == event_id
    hits = served.post(
        "similar", json={"event_id": event_id, "index": "attack", "k": 7, "flat": True}
    ).json()["hits"]
    assert len(hits) == 7
    assert served.post("stats").json()["rows"] == 100
    listed = served.post("list", json={"filters": {"class": "DDoS"}, "limit": 1000}).json()["events"]
    wanted = {i for i, e in world.events.items() if e.final_classification == "DDoS"}
    assert {event["event_id"] for event in listed} == wanted


def test_forms_have_their_arguments_in_the_address(world: Any, served: Any) -> None:
    """What a browser can ask for needs no body: one event, the days, totals, lists with filters."""
    event_id = next(iter(world.events))
    assert served.get(f"/v1/events/{event_id}").json()["fields"]["event_id"] == event_id
    assert [day["day"] for day in served.get("/v1/days").json()["days"]] == [OLD, OPEN]
    assert served.get("/v1/stats?enrich=false").status_code == 400, "an argument of another operation"
    assert served.get("/v1/timeline/10.1.2.3?since=2026-01-20").json()["receipt"]["rows"] > 0
    assert served.get("/healthz").json()["ok"] is True
    lines = served.get(
        "/v1/events?class=DDoS&class=PortScan&min_overall=0.5&fast_triggered=true"
    ).text.splitlines()
    events = [json.loads(line) for line in lines[:-1]]
    wanted = {
        i
        for i, e in world.events.items()
        if e.final_classification in {"DDoS", "PortScan"}
        and e.overall_threat_score >= 0.5
        and e.fast_detector_triggered
    }
    assert {event["event_id"] for event in events} == wanted


def test_long_lists_are_streamed(world: Any, served: Any) -> None:
    """All events come, one a line, newest first, over several pages; the last line is the receipt."""
    world.write(OPEN, world.make(OPEN, 2400))
    while served.get("/v1/stats").json()["rows"] < 2500:
        pass
    response = served.get("/v1/events", stream=True)
    assert response.headers["content-type"] == "application/x-ndjson"
    *events, end = [json.loads(line) for line in response.iter_lines()]
    assert len({event["event_id"] for event in events}) == len(events) == end["events"] == 2500
    assert [e["time"] for e in events] == sorted((e["time"] for e in events), reverse=True)
    assert (end["next"], end["receipt"]["rows"]) == (None, 2500)
    *some, end = served.get("/v1/events?limit=1700&order=oldest").text.splitlines()
    assert len(some) == json.loads(end)["events"] == 1700
    assert json.loads(end)["next"]
    *events, _ = served.get("/v1/events?limit=3").text.splitlines()
    assert len(events) == 3


WRONG_BODIES = [
    (b'{"event_id": ', "usage", "not JSON"),
    (b'{"event_id": "\xff"}', "usage", "not valid UTF-8"),
    (b'{"k": NaN}', "usage", "NaN is no number"),
    (b'{"k": -Infinity}', "usage", "-Infinity is no number"),
    (b'{"k": 1e999}', "usage", "'k' must be a whole number"),
    (b'{"k": ' + b"9" * 5000 + b"}", "usage", "too many digits"),
    (b'{"event_id": "x", "k": 99999999999999999999999}', "usage", "more than 64 bits"),
    (b"[" * 20_000, "usage", "nested too deeply"),
    (b"[]", "usage", "must be a JSON object"),
    (b'{"event_id": "\\ud800"}', "usage", "Unicode"),
    (b'{"event_id": "e", "x": 1}', "usage", "no argument 'x'"),
    (b'{"event_id": ""}', "usage", "not empty"),
    (b'{"event_id": "unknown"}', "not_found", "There is no event 'unknown'"),
    (b'{"event_id": "' + b"x" * 70_000 + b'"}', "too_large", "65536 bytes"),
]


def test_a_wrong_body_is_one_sentence(served: Any) -> None:
    """Whatever comes in, the answer says what is wrong with it."""
    for body, code, said in WRONG_BODIES:
        response = served.post("similar", data=body, headers={"Content-Type": "application/json"})
        refused(response, code, said)


def test_other_mistakes_are_one_sentence_too(served: Any) -> None:
    """Paths, methods, media types, parameters and hosts that are wrong."""
    refused(served.get("/v1/nothing"), "not_found", "/openapi.json")
    refused(served.get("/docs"), "not_found")
    refused(served.get("/v1/similar"), "method", "GET is not allowed")
    refused(served.post("get", data=b"event_id=1"), "media_type", "application/json")
    refused(served.get("/v1/events/unknown"), "not_found", "no event 'unknown'")
    refused(served.get("/v1/events?limit=0"), "usage", "'limit'")
    refused(served.get("/v1/events?limit=many"), "usage", "'limit' must be a number")
    refused(served.get("/v1/events?fast_triggered=maybe"), "usage", "'fast_triggered' must be true or false")
    refused(served.get("/v1/events?nonsense=1"), "usage", "no argument 'nonsense'")
    refused(served.get("/v1/events?since=never"), "usage", "'since' must be a time")
    refused(served.get("/v1/stats?timeout_s=nan"), "usage", "'timeout_s'")
    for path in ("/v1/stats", "/v1/events", "/openapi.json", "/healthz"):
        # Browsers take some names that are none by RFC 3986, and no name may pass by not being one.
        for host in (
            "attacker.example",
            "attacker{}.example",
            "127.0.0.1@attacker",
            "localhost:x",
            "[::1",
            "",
        ):
            refused(served.get(path, headers={"Host": host}), "usage", "Host", "127.0.0.1")
    stats = served.get("/v1/stats", headers={"Host": "localhost:1234"})
    assert stats.status_code == 200
    assert stats.headers["x-content-type-options"] == "nosniff"
    assert stats.headers["cross-origin-resource-policy"] == "same-origin"


def test_ten_megabytes_are_refused_in_a_sentence(served: Any) -> None:
    """A client that sends all before it reads gets the sentence too, not a connection that was reset."""
    head = {"Content-Type": "application/json", "Connection": "close"}
    with closing(HTTPConnection(served.url.removeprefix("http://"), timeout=20)) as raw:
        raw.request("POST", "/v1/search", b"x" * (10 << 20), head)
        answer = raw.getresponse()
        assert (answer.status, b"65536 bytes" in answer.read()) == (413, True)


def test_ten_megabytes_are_not_waited_for(served: Any) -> None:
    """A body that does not come to its end is refused."""
    address, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((address, int(port)), timeout=20) as raw:
        head = "POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        raw.sendall(f"{head}Content-Length: {10 << 20}\r\n\r\n".encode() + b"x" * 200_000)
        assert b" 413 " in raw.recv(4096).splitlines()[0]


def test_a_deadline_is_kept(world: Any, start_replica: Any, serve: Any) -> None:
    """A replica that hangs costs the time that the request allows, and no more."""
    world.fill(OLD, 10, sealed=True)
    replica = start_replica(world.state.root)
    server = serve(replica.ready()["endpoint"])
    os.kill(replica.process.pid, signal.SIGSTOP)
    try:
        response = server.get("/v1/stats?timeout_s=0.3")
        refused(response, "unavailable", "within 0.3 s")
        assert response.elapsed.total_seconds() < 3
        assert response.headers["retry-after"] == "5"
    finally:
        os.kill(replica.process.pid, signal.SIGCONT)


def test_too_many_requests_are_told_that_it_is_busy(world: Any, start_replica: Any, serve: Any) -> None:
    """With as many requests under way as are allowed, a further one is answered at once.

    Six that are refused show that 64 others were in at that time, however long a busy machine takes to let them in.
    """
    world.fill(OLD, 10, sealed=True)
    replica = start_replica(world.state.root)
    server = serve(replica.ready()["endpoint"])
    os.kill(replica.process.pid, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(70) as pool:
        asked = [pool.submit(server.get, "/v1/stats?timeout_s=25") for _ in range(70)]
        try:
            refused = list(itertools.islice(concurrent.futures.as_completed(asked, timeout=30), 6))
            assert [future.result().json()["code"] for future in refused] == ["busy"] * 6
            assert server.get("/v1/stats").json()["code"] == "busy"
            done, waiting = concurrent.futures.wait(asked, timeout=0.5)
            assert (len(done), len(waiting)) == (6, 64)
        finally:
            os.kill(replica.process.pid, signal.SIGCONT)
    assert server.get("/v1/stats").status_code == 200, "places are given back"


def test_replicas_may_come_and_go(world: Any, start_replica: Any, serve: Any) -> None:
    """A replica that is killed costs no request while another one lives; with none it says so and recovers."""
    world.fill(OLD, 10, sealed=True)
    one, two = (start_replica(world.state.root, f"rag-{i}") for i in range(2))
    server = serve(one.ready()["endpoint"], two.ready()["endpoint"])
    one.end(signal.SIGKILL)
    assert [server.get("/v1/stats").status_code for _ in range(10)] == [200] * 10
    assert server.end() == 0


def test_the_description_is_that_of_the_operations(served: Any) -> None:
    """/openapi.json has every operation with every argument and filter, and every kind of problem."""
    document = served.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for name, operation in OPERATIONS.items():
        schema = document["paths"][f"/v1/{name}"]["post"]["requestBody"]["content"]["application/json"][
            "schema"
        ]
        assert set(schema["properties"]) == {argument.name for argument in operation.arguments}
        if "filters" in schema["properties"]:
            assert set(schema["properties"]["filters"]["properties"]) == set(FILTERS)
        statuses = set(document["paths"][f"/v1/{name}"]["post"]["responses"])
        assert statuses == {"200", *(str(status) for status, _ in PROBLEMS.values())}
    assert "http" not in json.dumps(document["paths"]).replace("http_", ""), "nothing points elsewhere"


def test_the_documentation_has_every_problem() -> None:
    """docs/http.md names each code with its status."""
    document = (Path(__file__).parents[3] / "docs" / "http.md").read_text()
    rows = dict(re.findall(r"^\| (\d{3}) \| (.*?) \|$", document, re.MULTILINE))
    assert {code for row in rows.values() for code in re.findall("`([a-z_]+)`", row)} == set(PROBLEMS)
    assert all(f"`{code}`" in rows[str(status)] for code, (status, _) in PROBLEMS.items())
