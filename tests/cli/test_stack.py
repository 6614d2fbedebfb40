"""Feeding, asking, sealing and verifying, each as a user does it, against one running stack."""

from __future__ import annotations

import csv
import gzip
import json
import signal
import socket
import sys
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Appia = Callable[..., subprocess.CompletedProcess[str]]
    Ask = Callable[..., dict[str, Any]]
    Start = Callable[..., Any]
    Eventually = Callable[..., None]

FLOWS = 300


@pytest.fixture
def flows(sample: Path) -> list[list[str]]:
    """The sample as rows, the header first."""
    with gzip.open(sample, "rt", newline="") as file:
        return list(csv.reader(file))


def write(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def served(ask: Ask, eventually: Eventually) -> None:
    """The flows that the shared stack was fed are in every index."""

    def whole() -> bool:
        days = ask("days")["days"]
        return bool(days) and all(index["rows"] >= FLOWS for index in days[0]["indices"].values())

    eventually("all flows are served", whole)


@pytest.mark.usefixtures("served")
def test_questions_answer_with_receipts(ask: Ask) -> None:
    """Every question has its document, as programs rely on it, and every search its receipt."""
    listed = ask("list", "--limit", "3")
    assert len(listed["events"]) == 3
    times = [event["time"] for event in listed["events"]]
    assert times == sorted(times, reverse=True)
    event_id = listed["events"][0]["event_id"]
    patterns = ask("similar", event_id, "-k", "4")
    assert len(patterns["groups"]) == 4
    assert patterns["patterns"] > 4
    found = ask("similar", event_id, "-k", "4", "--flat")
    assert len(found["hits"]) == 4
    assert event_id not in [hit["event_id"] for hit in found["hits"]]
    searched = ask("search", "port scan from outside", "-k", "5", "--no-parse")
    assert len(searched["groups"]) == 5
    assert len(ask("search", "port scan", "-k", "5", "--flat")["hits"]) == 5
    assert ask("search", "port scan from outside")["understood"]["filters"] == {"src_internal": False}
    for answer in (listed, found, searched):
        assert answer["receipt"]["rows"] >= FLOWS
        assert answer["receipt"]["missing"] == []
    assert ask("get", event_id)["event"]["event_id"] == event_id
    assert ask("stats")["rows"] >= FLOWS
    day = ask("days")["days"][0]
    assert (day["day"], day["state"]) == (listed["events"][0]["time"][:10], "open")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("index", ["attack", "semantic", "temporal", "fused"])
def test_each_index_can_be_asked_alone(ask: Ask, index: str) -> None:
    """The index that is named is the one that answers."""
    event_id = ask("list", "--limit", "1")["events"][0]["event_id"]
    assert {hit["index"] for hit in ask("similar", event_id, "--index", index, "--flat")["hits"]} == {index}
    assert {group["index"] for group in ask("similar", event_id, "--index", index)["groups"]} == {index}


@pytest.mark.usefixtures("served")
def test_hosts_are_compared(ask: Ask, appia: Appia, shared_stack: Any) -> None:
    """A host of the open day is told in words, and hosts like it come; the asked one only with its address."""
    event = ask("list", "--limit", "1")["events"][0]
    address, day = event["src_ip"], event["time"][:10]
    answer = ask("similar", f"{address}@{day}", "--index", "entity", "-k", "5")
    assert (answer["host"]["address"], answer["host"]["day"]) == (address, day)
    assert {hit["index"] for hit in answer["hits"]} == {"entity"}
    assert address not in [hit["address"] for hit in answer["hits"]]
    assert answer["receipt"]["missing"] == []
    assert ask("similar", address, "--index", "entity", "--host", "192.0.2.1")["hits"] == []
    where = ("--state", str(shared_stack.state))
    for words, sentence in (
        ((event["event_id"], "--index", "entity"), "is no address: the index entity compares hosts"),
        ((address,), "is the address of a host, not the id of an event"),
        ((address, "--index", "entity", "--port", "443"), "can be filtered by days and host, not by port"),
        (("203.0.113.1", "--index", "entity"), "There is no host 203.0.113.1"),
    ):
        assert sentence in appia("similar", *words, *where).stderr
    shown = appia("similar", address, "--index", "entity", *where).stdout
    assert f"{address} on {day}: began" in shown


@pytest.mark.usefixtures("served")
def test_every_filter_reaches_the_replica(ask: Ask) -> None:
    """Filters of an event's own values keep it, those of other values leave it out."""
    one = ask("list", "--limit", "1")["events"][0]
    day, second = one["time"][:10], one["time"][:19]
    own = {
        "--from": second,
        "--to": day,
        "--day": day,
        "--src": one["src_ip"],
        "--dst": f"{one['dst_ip']}/32",
        "--host": one["dst_ip"],
        "--src-port": str(one["src_port"]),
        "--dst-port": f"{one['dst_port']}-{one['dst_port']}",
        "--port": str(one["dst_port"]),
        "--protocol": str(one["protocol"]),
        "--class": one["class"].lower(),
        "--category": f"{one['category'][:2]}*",
        "--node": one["node"],
        "--min-score": "0",
        "--max-score": "1",
        "--min-fast": "0",
        "--max-fast": "1",
        "--min-ml": "0",
        "--max-ml": "1",
        "--min-divergence": "0",
        "--max-divergence": "1",
    }
    words = [word for pair in own.items() for word in pair]
    kept = ask("list", "--limit", "1000", *words)["events"]
    assert one["event_id"] in [event["event_id"] for event in kept]
    tomorrow = str(date.fromisoformat(day) + timedelta(days=1))
    others = {"--from": tomorrow, "--to": "2000-01-01", "--day": "2000-01-01", "--src": "192.0.2.1"}
    others |= {"--class": "no such", "--label": "no such", "--node": "no such", "--min-score": "2"}
    others |= {"--source": "DIVERGENCE", "--protocol": "sctp", "--port": "0", "--max-ml": "-1"}
    for name, value in others.items():
        assert ask("list", name, value)["events"] == [], name
    assert ask("list", "--fast-triggered")["events"] == []
    assert ask("list", "--day", day, "--day", "2000-01-01")["events"] != []


@pytest.mark.usefixtures("served")
def test_a_day_as_the_end_is_meant_whole(ask: Ask) -> None:
    """`--from` and `--to` the same day mean all of that day."""
    day = ask("days")["days"][0]["day"]
    assert ask("search", "scan", "--from", day, "--to", day)["receipt"]["rows"] >= FLOWS


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        ("get no-such-event", 1, "There is no event 'no-such-event'"),
        ("similar no-such-event", 1, "There is no event 'no-such-event'"),
        ("list --src nowhere", 2, "must be an address or a network"),
        ("list --from yesterday", 2, "must be a time"),
        ("list --port 70000", 2, "must be a port"),
        ("list --protocol warp", 2, "must be a number from 0 to 255 or one of"),
        ("list --source nobody", 2, "must be one of UNKNOWN"),
        ("list --day 2026-02-30", 2, "is not a day"),
        ("seal 2001-01-01", 1, "2001-01-01 has no events"),
        ("verify 2001-01-01", 1, "has no day 2001-01-01"),
    ],
)
def test_what_the_stack_refuses_is_one_line(
    shared_stack: Any, appia: Appia, words: str, status: int, sentence: str
) -> None:
    """Wrong filters have exit status 2, what is not there has 1; the reason is one line."""
    done = appia(*words.split(), "--state", str(shared_stack.state))
    assert (done.returncode, done.stdout) == (status, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("served")
def test_signing_a_day_that_is_not_there_is_one_clear_sentence(shared_stack: Any, appia: Appia) -> None:
    """The day is named once, and what can be done about it."""
    where = ("--state", str(shared_stack.state))
    for words, said in (
        (("chain", "adopt", "2001-01-01"), "Day 2001-01-01 is not sealed: `appia days` shows which are"),
        (
            ("chain", "remove", "2001-01-01"),
            "The chain has no sealed day 2001-01-01: there is nothing to say",
        ),
    ):
        done = appia(*words, *where)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"appia: {said}")


def test_replicas_are_found_in_three_ways(shared_stack: Any, appia: Appia) -> None:
    """By the stack's own file, by the registry, and by an endpoint; a dead endpoint beside it does no harm."""
    state = str(shared_stack.state)
    endpoint = shared_stack.running.replicas[0].endpoint
    for words in (
        ["--state", state],
        ["--state", state, "--registry", "file"],
        ["--endpoint", endpoint],
        ["--endpoint", "tcp://127.0.0.1:1", "--endpoint", endpoint],
    ):
        done = appia("stats", "--json", *words)
        assert (done.returncode, done.stderr) == (0, ""), words
    assert appia("stats", env={"APPIA_STATE": state}).returncode == 0


@pytest.mark.usefixtures("served")
def test_text_ends_with_the_receipt(shared_stack: Any, ask: Ask, appia: Appia) -> None:
    """For people each answer is a table or a few lines, and says what was searched."""
    state = "--state", str(shared_stack.state)
    event_id = ask("list", "--limit", "1")["events"][0]["event_id"]
    for words in (["similar", event_id, "--flat"], ["search", "scan", "--flat"], ["list"]):
        lines = appia(*words, *state).stdout.splitlines()
        assert lines[0].split()[-1] == "event"
        (searched,) = [line for line in lines if line.startswith("searched ")]
        assert searched.endswith("nothing was missing")
        assert lines[lines.index(searched) + 1].startswith("as of '")
    assert appia("list", "--class", "none", *state).stdout.startswith("No event passes the filters.\n")
    assert appia("search", "scan", "--class", "none", *state).stdout.startswith("No event was found.\n")
    assert f'"event_id": "{event_id}"' in appia("get", event_id, *state).stdout
    assert "open" in appia("days", *state).stdout
    assert appia("stats", *state).stdout.splitlines()[0].endswith("1 day")


def test_feeding_again_adds_nothing(shared_stack: Any, appia: Appia, sample: Path) -> None:
    """The same records are acknowledged as known, in text and in JSON."""
    words = [
        "feed",
        "--state",
        str(shared_stack.state),
        "--format",
        "cicflowmeter",
        "--limit",
        "50",
        str(sample),
    ]
    summary = json.loads(appia(*words, "--json").stdout)
    counts = {key: summary[key] for key in ("read", "sent", "acknowledged", "duplicates", "refused")}
    assert counts == {"read": 50, "sent": 50, "acknowledged": 50, "duplicates": 50, "refused": {}}
    text = appia(*words)
    assert text.stdout.startswith("50 read, 50 sent, 50 acknowledged (50 of them known before), 0 refused; ")
    assert (text.returncode, text.stderr) == (0, "")


def test_refused_records_are_named(
    start_stack: Start, appia: Appia, flows: list[list[str]], tmp_path: Path
) -> None:
    """Each of the first is named by file, line and reason; the rest are counted; the good ones are kept."""
    stack = start_stack(tmp_path / "state")
    address = flows[0].index("src_ip")
    bad = [[*row[:address], "nowhere", *row[address + 1 :]] for row in flows[1:31]]
    files = [write(tmp_path / "one.csv", [flows[0], *bad]), write(tmp_path / "two.csv", flows[:11])]
    words = ["feed", "--state", str(stack.state), "--format", "cicflowmeter", *map(str, files)]
    done = appia(*words)
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert errors[0].startswith("one.csv:2: bad_source_ip: ")
    assert (len(errors), errors[-1]) == (21, "... and 10 more")
    assert done.stdout.startswith("40 read, 10 sent, 10 acknowledged, 30 refused; ")
    summary = json.loads(appia(*words, "--json").stdout)
    assert (summary["read"], summary["sent"], summary["refused"]) == (40, 10, {"bad_source_ip": 30})
    strict = json.loads(appia(*words, "--json", "--strict").stdout)
    assert (strict["read"], strict["sent"]) == (1, 0)


def test_amounts_count_over_all_paths(
    start_stack: Start, appia: Appia, flows: list[list[str]], tmp_path: Path, eventually: Eventually
) -> None:
    """Limits span files, repetition makes new events on other days, and standard input is a path as well."""
    stack = start_stack(tmp_path / "state")
    files = [write(tmp_path / f"{n}.csv", [flows[0], *flows[n * 10 + 1 : n * 10 + 11]]) for n in range(3)]
    words = ["feed", "--state", str(stack.state), "--format", "cicflowmeter", "--json"]
    limited = json.loads(appia(*words, "--limit", "15", *map(str, files)).stdout)
    assert (limited["read"], limited["sent"], limited["acknowledged"]) == (15, 15, 15)
    repeated = json.loads(appia(*words, "--repeat", "2", "--shift-days", "-1", str(files[2])).stdout)
    assert (repeated["sent"], repeated["duplicates"], repeated["refused"]) == (20, 0, {})
    piped = json.loads(appia(*words, "-", stdin=files[0].read_text()).stdout)
    assert (piped["sent"], piped["acknowledged"]) == (10, 10)

    def days() -> list[int]:
        answer = json.loads(appia("days", "--state", str(stack.state), "--json").stdout)
        return [day["rows"] for day in answer["days"]]

    eventually("two days are served", lambda: days() == [10, 25 + 10])


@pytest.fixture
def growing(tmp_path: Path, flows: list[list[str]]) -> tuple[Path, list[list[str]]]:
    """A file with five rows, and rows to append."""
    return write(tmp_path / "growing.csv", flows[:6]), flows[6:9]


def test_a_growing_file_is_followed_until_it_is_enough(
    start_stack: Start,
    background: Callable[..., subprocess.Popen[str]],
    appia: Appia,
    growing: tuple[Path, list[list[str]]],
    eventually: Eventually,
) -> None:
    """Rows are sent as they are written; Ctrl-C ends in good order with all of them acknowledged."""
    path, more = growing
    stack = start_stack(path.with_name("state"))
    words = ["feed", "--state", str(stack.state), "--format", "cicflowmeter", "--follow", "--json"]
    feeding = background(sys.executable, "-m", "services.cli.main", *words, str(path))

    def rows() -> int:
        answer = json.loads(appia("stats", "--state", str(stack.state), "--json").stdout)
        return int(answer["rows"])

    eventually("the first rows are there", lambda: rows() == 5)
    with path.open("a", newline="") as file:
        csv.writer(file).writerows(more)
    eventually("the new rows are there", lambda: rows() == 8)
    feeding.send_signal(signal.SIGINT)
    out, err = feeding.communicate()
    summary = json.loads(out)
    assert (feeding.returncode, err) == (0, "")
    assert (summary["read"], summary["acknowledged"], summary["refused"]) == (8, 8, {})


def test_old_receivers_are_fed_without_acknowledgement(
    start_stack: Start, appia: Appia, flows: list[list[str]], tmp_path: Path, eventually: Eventually
) -> None:
    """By PUSH and by PUB of wire version 1 every event arrives here, and the summary claims nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        publisher = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    (tmp_path / "mine.toml").write_text(f'[ingester]\nv1_sub = ["{publisher}"]\n')
    stack = start_stack(tmp_path / "state", "--settings", str(tmp_path / "mine.toml"))
    words = ["feed", "--format", "cicflowmeter"]
    pushed = write(tmp_path / "pushed.csv", flows[:21])
    done = appia(*words, "--state", str(stack.state), "--transport", "v1-push", str(pushed))
    assert done.returncode == 0
    assert "v1_backfill" in done.stderr
    assert done.stdout.startswith("20 read, 20 sent, not acknowledged (wire version 1 cannot), 0 refused; ")
    published = write(tmp_path / "published.csv", [flows[0], *flows[21:41]])
    to = ["--to", publisher, "--keys", str(stack.state / "keys"), "--transport", "v1-pub"]
    assert appia(*words, *to, str(published)).returncode == 0

    def rows() -> int:
        answer = json.loads(appia("stats", "--state", str(stack.state), "--json").stdout)
        return int(answer["rows"])

    eventually("all have arrived", lambda: rows() == 40)


def test_a_day_is_sealed_served_and_verified(
    start_stack: Start, appia: Appia, sample: Path, tmp_path: Path, eventually: Eventually
) -> None:
    """Sealing reports what it did, a second time is refused, and one flipped bit is found by `verify`."""
    stack = start_stack(tmp_path / "state")
    state = "--state", str(stack.state)
    fed = appia("feed", *state, "--format", "cicflowmeter", "--limit", "200", str(sample))
    assert fed.returncode == 0, fed.stderr

    def days() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(appia("days", *state, "--json").stdout)["days"]
        return found

    eventually("the day is served", lambda: [day["state"] for day in days()] == ["open"])
    day = days()[0]["day"]
    report = json.loads(appia("seal", day, *state, "--json").stdout)
    assert (report["day"], report["rows"], report["generation"], report["failed"]) == (day, 200, 1, {})
    eventually("the sealed day is served", lambda: [day["state"] for day in days()] == ["sealed"])
    again = appia("seal", day, *state)
    assert (again.returncode, again.stdout) == (1, "")
    assert "is sealed already" in again.stderr
    for words in (["verify", day], ["verify"]):
        checked = appia(*words, *state)
        assert (checked.returncode, checked.stderr) == (0, "")
        assert checked.stdout.startswith("chain: whole; 2 links, signed with ")
        assert f"\n{day}: whole, signed by link 2; 200 events, " in checked.stdout
    assert stack.stop()[0] == 0
    flip_a_bit(stack.state / "days" / day / "sealed" / "000001" / "chunk")
    wrong = appia("verify", *state, "--json")
    assert wrong.returncode == 1
    assert len(json.loads(wrong.stdout)["days"][0]["faults"]) > 0
    assert "found; what is damaged is not served" in wrong.stderr


def flip_a_bit(folder: Path) -> None:
    """Change one bit in the middle of the largest file."""
    path = max(folder.iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o640)
    path.write_bytes(content)
