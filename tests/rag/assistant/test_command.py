"""`appia ask` as a user runs it: its own process, a replica in another, and an endpoint that a test plays."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., subprocess.CompletedProcess[str]]

APPIA = Path(sys.executable).parent / "appia"
DAY = "2026-01-20"
HOSTILE_ID = "id\x1b[31m](http://evil.example)"


@pytest.fixture
def ask(world: Any, start_replica: Any) -> Run:
    """Runs `appia ask` over a replica that needs no model of a text."""
    events = world.make(DAY, 30)
    events[0].event_id, events[0].network_features.source_ip = HOSTILE_ID, "198.51.100.7"
    world.write(DAY, events)
    endpoint = start_replica(world.state.root).ready()["endpoint"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("APPIA_")}

    def run(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(APPIA), "ask", *words, "--endpoint", endpoint, "--by", "words"]
        return subprocess.run(command, env=clean | (env or {}), capture_output=True, text=True, check=False)

    return run


def test_a_summary_without_an_endpoint(ask: Run) -> None:
    """What a newcomer sees who has set nothing."""
    done = ask("some traffic")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "What fits the question best:"
    assert "a summary: no chat endpoint is set" in lines
    assert any(line.startswith("searched 30 rows of 1 day") for line in lines)


def test_a_model_set_by_the_environment(ask: Run, played: Any, tmp_path: Path) -> None:
    """URL, model, key file and timeout come from variables; the key is in no output."""
    key = tmp_path / "key"
    key.write_text("sk-secret\n")
    key.chmod(0o600)
    env = {
        "APPIA_ASK_URL": played.url,
        "APPIA_ASK_MODEL": "small",
        "APPIA_ASK_KEY_FILE": str(key),
        "APPIA_ASK_TIMEOUT": "20",
    }
    played.says("It was \x1b[31mweb traffic [E1], see http://evil.example [E77].")
    done = ask("web traffic", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert "It was \ufffd(31mweb traffic [" in done.stdout
    assert "told by the model small; it cites 1 event" in done.stdout
    assert "left out of the answer: 1 unknown citation, 1 link" in done.stdout
    assert not [one for one in ("\x1b", "sk-secret", "evil.example") if one in done.stdout]
    assert played.asked[0].headers["authorization"] == "Bearer sk-secret"
    assert ask("web traffic", "--no-chat", env=env).stdout.startswith("What fits the question best:")
    assert len(played.asked) == 1


def test_one_document_for_programs(ask: Run, played: Any) -> None:
    """With --json there is nothing else on standard output; an id of an attacker stands in it escaped."""
    played.says("A scan [E1].")
    chat = ("--chat-url", played.url, "--chat-model", "small")
    done = ask("traffic", "--src", "198.51.100.7", "--json", *chat)
    assert "\x1b" not in done.stdout
    answer = json.loads(done.stdout)
    assert answer["citations"] == [{"label": "E1", "event_id": HOSTILE_ID}]
    assert answer["answer"] == "A scan [E1]."
    told = ask("traffic", "--src", "198.51.100.7", *chat).stdout
    assert r"[E1] is the event id\x1b[31m](http://evil.example)" in told
    assert "\x1b" not in told


def test_an_endpoint_that_fails_is_told_as_the_reason(ask: Run, played: Any) -> None:
    """The question is answered all the same."""
    played.sends_json({}, 503)
    done = ask("web traffic", "--chat-url", played.url, "--chat-model", "small")
    assert done.returncode == 0
    assert f"a summary: The endpoint at {played.url} has a fault of its own (HTTP 503)" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--chat-url", "http://127.0.0.1:1"), "which model? Give --chat-model NAME, or set APPIA_ASK_MODEL"),
        (("--chat-url", "ftp://x", "--chat-model", "m"), "must be a URL such as http://127.0.0.1:8080"),
        (("--chat-url", "http://8.8.8.8", "--chat-model", "m"), "event data would leave in plain text"),
        (("--chat-timeout", "0"), "Invalid value for '--chat-timeout'"),
        (("--since", "now"), "No such option"),
    ],
)
def test_wrong_options_are_one_sentence(words: tuple[str, ...], said: str, ask: Run) -> None:
    """With exit status 2."""
    done = ask("web traffic", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_example_of_the_documentation_runs(
    world: Any, start_replica: Any, played: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands there, but for where things are and what needs a model of texts."""
    text = (Path(__file__).parents[3] / "docs" / "assistant.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    events = world.fill(DAY, 20, sealed=True)
    start_replica(world.state.root).ready()
    for there, here in (
        ("/var/lib/appia", str(world.state.root)),
        ("http://127.0.0.1:11434", played.url),
        ("who scanned us from outside?", "traffic"),
        ('{"k": 5}', '{"k": 5, "by": "words"}'),
    ):
        assert there in example
        example = example.replace(there, here)
    played.says("A scan [E1].")
    exec(compile(example, "docs/assistant.md", "exec"), {})  # noqa: S102 - the example is ours
    said = capsys.readouterr().out
    assert said.startswith("A scan [")
    assert any(event.event_id in said for event in events)


def test_a_question_that_is_too_long(ask: Run) -> None:
    """The sentence of the replicas, before they are asked."""
    done = ask("a" * 1001)
    assert done.returncode == 2
    assert "at most 1000 characters, not 1001" in done.stderr
