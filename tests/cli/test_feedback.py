"""`appia feedback`: an analyst says what an event was, and finds it again by that."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from services.cli.answers_feedback import feedback_lines, show_remarks
from services.common.days.layout import claim_layout
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.ingester.feedback import FeedbackDesk
from services.training.days_data import labels_of, sealed_days

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

SAID = {
    "verdict": "false_positive",
    "note": "nightly\nbackup",
    "confidence": 4,
    "tags": ["plan"],
    "analyst": "ana",
    "time": "2026-01-22T12:00:00.000000Z",
}


def test_what_was_said_is_printed_once_an_event() -> None:
    """Wherever an answer shows an event, one line a remark tells verdict, who, when and why."""
    event = {"event_id": "e-1", "feedback": [SAID, {**SAID, "verdict": None, "confidence": None, "tags": []}]}
    answer = {
        "hits": [event, {"event_id": "e-2"}],
        "groups": [{"examples": [event]}],
        "receipt": {"missing": []},
    }
    assert feedback_lines(answer) == [
        "e-1: false positive (4 of 5 sure) by ana, 2026-01-22 12:00: nightly / backup [plan]",
        "e-1: remark by ana, 2026-01-22 12:00: nightly / backup",
    ]


def test_the_list_says_what_stands(capsys: pytest.CaptureFixture[str]) -> None:
    """A remark that was replaced, a withdrawal and an event that is gone are told; nothing steers the terminal."""
    event = {"src_ip": "10.0.0.1", "src_port": 1, "dst_ip": "10.0.0.2", "dst_port": 2, "class": "Bot"}
    common = {**SAID, "event_id": "e-1", "event": event, "stands": False, "withdraws": False}
    remarks = [
        {**common, "verdict": None, "note": "", "tags": [], "confidence": None, "withdraws": True},
        {**common, "note": "\x1b[2Jgone", "event": None},
    ]
    show_remarks({"remarks": remarks, "faults": ["feedback-000001.log is torn"]})
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == [
        "2026-01-22",
        "12:00",
        "ana",
        "withdrawn",
        "e-1",
        "10.0.0.1:1",
        "10.0.0.2:2",
        "Bot",
    ]
    assert lines[2].endswith(
        "false positive (no longer stands)     4  e-1    -           -           not served  \\x1b[2Jgone [plan]"
    )
    assert lines[3] == "missing: feedback-000001.log is torn"


def test_nothing_said_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    show_remarks({"remarks": [], "faults": []})
    assert capsys.readouterr().out == "Nobody has said anything.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--false-positive"], "which event is it about?"),
        (["e-1", "--true-positive", "--false-positive"], "not both"),
        (["e-1", "--confidence", "6", "--true-positive"], "less than or equal to 5"),
    ],
)
def test_wrong_use_is_a_sentence(
    appia: Callable[..., subprocess.CompletedProcess[str]], words: list[str], sentence: str
) -> None:
    """Without asking anybody, exit status 2."""
    done = appia("feedback", *words, "--state", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr


def test_a_whole_round(shared_stack: Any, appia: Any, ask: Any, eventually: Any) -> None:
    """A verdict is kept, shown with the event by every replica, a filter, replaced, listed and withdrawn."""
    where = ["--state", str(shared_stack.state)]
    event_id = ask("list", "--limit", "1")["events"][0]["event_id"]

    def say(*words: str) -> str:
        done = appia("feedback", event_id, *words, *where)
        assert (done.returncode, done.stderr) == (0, ""), done
        return str(done.stdout)

    def listed(kind: str) -> list[str]:
        """What every replica finds, once they agree."""
        answers = [
            json.loads(appia("list", "--feedback", kind, "--endpoint", one.endpoint, "--json").stdout)[
                "events"
            ]
            for one in shared_stack.running.replicas
        ]
        return [event["event_id"] for event in answers[0]] if answers[0] == answers[1] else ["they differ"]

    assert "is a true positive, says ana" in say("--true-positive", "--confidence", "2", "--analyst", "ana")
    eventually("both see the first", lambda: listed("true_positive") == [event_id])
    say("--false-positive", "--note", "nightly backup", "--tag", "plan", "--analyst", "ana")
    eventually("both see the second", lambda: listed("false_positive") == [event_id])
    assert listed("true_positive") == []
    text = appia("get", event_id, *where).stdout
    assert f"{event_id}: false positive by ana, " in text
    assert "nightly backup [plan]" in text
    told = [(one["verdict"], one["stands"]) for one in ask("feedback", event_id)["remarks"]]
    assert told == [("false_positive", True), ("true_positive", False)]
    assert "nightly backup" in appia("feedback", *where).stdout
    assert "Withdrawn" in say("--withdraw", "--analyst", "ana")
    eventually("both see that it is withdrawn", lambda: listed("any") == [])


def test_what_cannot_be_kept_is_refused(shared_stack: Any, appia: Any, tmp_path: Path) -> None:
    """An event that is not there, a note with an escape, nothing to withdraw, and no running stack."""
    where = ["--state", str(shared_stack.state), "--analyst", "ana"]
    (first,) = json.loads(appia("list", "--limit", "1", "--json", *where[:2]).stdout)["events"]
    for words, status, sentence in [
        (["nowhere", "--true-positive"], 1, "There is no event 'nowhere'"),
        ([first["event_id"], "--note", "\x1b[2J"], 2, "control character U+001B"),
        ([first["event_id"], "--note", ""], 2, "says nothing"),
        ([first["event_id"], "--confidence", "3"], 2, "belongs to a verdict"),
        ([first["event_id"], "--withdraw", "--note", "x"], 2, "stands alone"),
        ([first["event_id"], "--withdraw"], 1, "Nothing that ana said"),
    ]:
        done = appia("feedback", *words, *where)
        assert (done.returncode, done.stdout) == (status, "")
        assert sentence in done.stderr
    done = appia("feedback", "e-1", "--true-positive", "--state", str(tmp_path))
    assert (done.returncode, "is not a state directory" in done.stderr) == (1, True)


def test_verify_reads_what_was_said(appia: Any, tmp_path: Path) -> None:
    """`appia verify` counts the remarks; damage among them is named, and the exit status is 1."""
    names = StateNames(tmp_path / "state")
    claim_layout(names, Disk())
    desk = FeedbackDesk(names, Disk(), lambda: 1)
    for number in range(3):
        desk.take({"feedback_id": f"f-{number}", "event_id": "e-1", "analyst": "ana", "note": "hm"})
    desk.close()
    good = appia("verify", "--state", str(names.root))
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, "feedback: whole; 3 remarks")
    raw = bytearray(names.feedback_log(1).read_bytes())
    raw[60] ^= 1
    names.feedback_log(1).write_bytes(raw)
    bad = appia("verify", "--state", str(names.root), "--json")
    found = json.loads(bad.stdout)["feedback"]
    assert (bad.returncode, found["remarks"]) == (1, 2)
    assert "1 fault found" in bad.stderr
    assert found["faults"][0].startswith("feedback-000001.log holds ")
    assert "feedback: 1 fault; 2 remarks" in appia("verify", "--state", str(names.root)).stdout


def test_models_are_scored_with_what_was_said(sealed_sample: Path, appia: Any, tmp_path: Path) -> None:
    """`models evaluate` counts the verdicts it used for labels, and does not begin where the log is damaged."""
    names = StateNames(shutil.copytree(sealed_sample, tmp_path / "state"))
    with sealed_days(names) as readers:
        view = readers[0].view()
        labels = labels_of(view)
        attacks = np.flatnonzero(labels != "BENIGN")[:3].tolist()
        events = [
            fields["event_id"] for fields in view.events.fetch([*attacks, int((labels == "BENIGN").argmax())])
        ]
    desk = FeedbackDesk(names, Disk(), lambda: 1)
    said = zip(events, ["false_positive", "false_positive", "true_positive", "true_positive"], strict=True)
    for event_id, verdict in said:
        desk.take({"feedback_id": event_id[:64], "event_id": event_id, "analyst": "ana", "verdict": verdict})
    desk.close()
    evaluate = ["models", "evaluate", "--index", "attack", "--state", str(names.root)]
    found = json.loads(appia(*evaluate, "--json").stdout)
    assert found["feedback"] == {"benign": 2, "confirmed": 1, "left_out": 1, "disputed": 0}
    assert found["classes"]["BENIGN"] == int((labels == "BENIGN").sum()) + 1
    assert "Feedback: 2 false positives taken as benign, 1 true positive confirmed" in appia(*evaluate).stdout
    names.feedback_log(2).write_bytes(b"?" * 64)
    done = appia(*evaluate)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be read whole" in done.stderr
