"""A message says what is wrong, since when, the value and its limit, what it means and what to do; and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from health.alerts.making import HOOK, NOON_NS, NS, disk, rules_of

from services.health.alerts.engine import step
from services.health.alerts.quiet import Quiet
from services.health.alerts.rules import Channel, Grouping, Rule, Rules
from services.health.alerts.rules_file import DEFAULTS
from services.health.alerts.wording import SHOWN, Wording, shown, tame
from services.health.readings import SIGNALS, Reading, Readings

DOCS = Path(__file__).parents[3] / "docs"
NOW = HOOK + '[group]\nwait = "0s"\n'


def letters(*rounds: Readings, text: str = NOW) -> list[tuple[str, str]]:
    """Title and body of each message."""
    rules, alerts, made = rules_of(text), (), []
    for number, readings in enumerate(rounds):
        now_ns = NOON_NS + 60 * number * NS
        outcome = step(rules, SIGNALS, alerts, readings, now_ns)
        alerts = outcome.alerts
        wording = Wording(rules, SIGNALS, "box", outcome.untracked)
        made += [wording.letter(notice, f"abc-{number}", now_ns) for notice in outcome.notices]
    return [(letter.title, letter.body) for letter in made]


def test_a_message_has_all_that_is_needed_at_night() -> None:
    """In a title that fits a telephone, and a text."""
    (_, _), (title, body) = letters(disk(93), disk(93))
    assert title == "appia WARNING: disk-filling: /data on box"
    assert body == (
        "NEW warning: disk-filling: /data\n"
        "  /data is 93 % full\n"
        "  disk_used_percent is 93 %; an alert is above 85\n"
        "  since 2026-11-20 12:00:00 UTC\n"
        "\n"
        "What it means: disk_used_percent: how full the file system is.\n"
        "What to do: Free space or add a disk; `appia retention plan` shows which days would go first.\n"
        "More: docs/runbooks/alerts.md#disk_used_percent\n"
        "\n"
        "Message abc-1 of appia on box; one with the same number is the same message."
    )


def test_the_end_of_an_alert_says_since_when_it_is_over() -> None:
    """And why."""
    title, body = letters(disk(93), disk(50))[1]
    assert title == "appia RESOLVED: disk-full: /data on box"
    assert "over since 2026-11-20 12:01:00 UTC: it is well again; it began 2026-11-20 12:00:00 UTC" in body


def test_a_message_about_what_is_well_again_says_so() -> None:
    """It was repaired before the message was made, and is not over until that lasted."""
    bad, well = (Readings((Reading.of("index_corrupt", "2026-11-20/attack", x, "changed"),)) for x in (1, 0))
    title, body = letters(bad, well, text=HOOK)[0]  # whose first message waits for half a minute
    assert title == "appia CRITICAL: index-corrupt: 2026-11-20/attack on box"
    assert "  well again since 2026-11-20 12:01:00 UTC; it is over when that lasts\n" in body
    assert "above 0" not in body  # of yes and no the sentence says it


def test_a_message_about_many_is_short() -> None:
    """It has the first ones and says how many more there are."""
    many = Readings(tuple(item for number in range(150) for item in disk(93, f"/{number}").items))
    title, body = letters(many)[0]
    assert title == "appia CRITICAL: disk-full: 101 alerts on box"
    assert f"... and {101 - SHOWN} more" in body
    assert "50 more subjects of disk-full are over the limit and not told apart" in body
    assert len(body) < 6000


HOSTILE = [
    "<!channel> sensor",
    "<script>alert(1)</script>",
    "[click](http://evil.example)",
    "@everyone",
    "a\r\nSubject: other",
    "a\x1b[31m\x00b",
    "a\u202eb\u2066",
    "https://evil.example/x",
    "*bold* _x_ `code` ~y~",
    "log in at www.evil.example/x",
    "evil.example",
    "evil\u3002example",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_attackers_write_steers_no_mail_and_no_chat(name: str) -> None:
    """Names of sensors and reasons: no tag, mention, link, style, line or control character of theirs is left."""
    said = tame(name)
    assert not re.search(r"[<>\[\]@*`_~\r\n\x00-\x1f\u202a-\u202e\u2066-\u2069]|://|[.\u3002][a-z]", said)
    reading = Reading("sensor_silent_s", name, 99.0, name)
    title, body = letters(Readings((reading,)))[0]
    assert name not in title
    assert name not in body
    assert "\n" not in title


def test_addresses_and_sentences_stay_as_they_are() -> None:
    """A dot is no more than a dot before a digit, a blank or the end."""
    text = "10.0.0.7 is 93.5 % full. Nothing came."
    assert tame(text) == text


def test_a_text_is_short() -> None:
    """Whoever writes it."""
    assert len(tame("a" * 10_000)) == 300


@pytest.mark.parametrize(
    ("signal", "value", "text"),
    [
        ("disk_used_percent", 91.26, "91.3 %"),
        ("disk_days_left", float("inf"), "without end"),
        ("index_lag_rows", 1_234_567.0, "1,234,567 rows"),
        ("service_down", 1.0, "yes"),
        ("recall", 0.875, "0.875"),
        ("sensor_clock_s", 61.0, "61 s"),
    ],
)
def test_values_have_their_unit(signal: str, value: float, text: str) -> None:
    """As people write them."""
    assert shown(value, SIGNALS[signal]) == text


def test_the_runbook_has_a_section_for_each_signal() -> None:
    """The one that a message leads to."""
    headings = re.findall(r"^## (.+)$", (DOCS / "runbooks" / "alerts.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(set(SIGNALS) - set(headings)) == []


def test_the_page_has_every_key_and_every_rule() -> None:
    """What the file may say, and what it says by default."""
    page = (DOCS / "alerts.md").read_text("utf-8")
    for part in (Rules, Rule, Channel, Grouping, Quiet):
        for name, field in part.model_fields.items():
            assert f"| `{field.alias or name}` |" in page or f"[{name}" in page, (part.__name__, name)
    for rule in tomllib.loads(DEFAULTS.read_text("utf-8"))["rule"]:
        limit = f"above {rule['above']:,}" if "above" in rule else f"below {rule['below']:,}"
        row = f"| `{rule['name']}` | `{rule['signal']}` | {limit} | {rule.get('for', 'at once')} |"
        assert row in page
