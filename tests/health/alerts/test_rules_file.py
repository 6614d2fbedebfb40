"""A file of rules is taken whole or refused in a sentence that says what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from health.alerts.making import HOOK, rules_of

from services.common.errors import UsageError
from services.health.alerts.rules_file import MOST_BYTES, default_rules, read_rules_file
from services.health.readings import SIGNALS

SECURITY = sorted(name for name, signal in SIGNALS.items() if signal.security)
OWN = '[[rule]]\nname = "own"\nsignal = "recall"\n'


def changing(rule: str, line: str) -> str:
    return f'{HOOK}[[rule]]\nname = "{rule}"\n{line}\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x", "is not TOML"),
        ("colour = 1", "colour: there is no such key"),
        ("rule = 3", "rule should be tables"),
        ('[[rule]]\nname = "a"', "the rule 'a', signal: field required"),
        (OWN, "the rule 'own': should have one of above and below"),
        (OWN + "above = 1\nbelow = 2", "should have one of above and below"),
        (OWN + "above = nan", "above: input should be a finite number"),
        (OWN + "above = 1\nresolve = 2", "resolve of 2 at which it would still be an alert"),
        (OWN + "below = 1\nresolve = 0.5", "resolve of 0.5 at which it would still be an alert"),
        (OWN + "above = 1\nfor = 5", "for: should be a duration such as '90s', '5m', '4h' or '7d'"),
        (OWN + 'above = 1\nfor = "8d"', "for: should be at most seven days"),
        (OWN + 'above = 1\nrepeat = "5s"', "repeat should be '1m' or more, or '0s' for never"),
        (OWN + 'above = 1\nseverity = "bad"', "severity: input should be 'info', 'warning' or 'critical'"),
        (
            OWN + 'above = 1\nto = ["mail"]',
            "goes to the channel 'mail', which is not in the file; there are: none",
        ),
        (OWN + "above = 1\n" + OWN + "above = 2", "there are two rules of the name 'own'"),
        (
            '[[rule]]\nname = "a"\nsignal = "warp"\nabove = 1',
            "unknown signal 'warp'; there are: certificate_days_left",
        ),
        ("[channel.a]\n", "the channel 'a': should have one of url_file and url"),
        ('[channel.A]\nurl = "json://h/"', "the channel 'A': string should match pattern"),
        ('[group]\nby = ["colour"]', "group.by.0: input should be 'rule', 'signal', 'severity' or 'subject'"),
        ('[quiet]\nfrom = "22:00"\nto = "25:00"', "[[quiet]] number 1, to: should be a time such as '22:00'"),
        (
            '[quiet]\nfrom = "22:00"\nto = "07:00"\ntimezone = "Mars/Base"',
            "timezone: should be a time zone such as 'Europe/Madrid'",
        ),
        (
            changing("disk-full", "above = 80\nresolve = 85"),
            "resolve of 85 at which it would still be an alert",
        ),
    ],
)
def test_what_is_wrong_is_said(text: str, sentence: str) -> None:
    """Each sentence names the file, and the rule or channel and key."""
    with pytest.raises(UsageError) as refused:
        rules_of(text)
    assert sentence in str(refused.value)
    assert "/etc/appia/alerts.toml" in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "slack://tokenA/tokenB/s3cret",
        "json://user:s3cret@host/",
        "mailto://s3cret@example.org",
        "json://host/?+Authorization=s3cret",
        "json://host/?-X-Token=s3cret",
        "json://host/?:token=s3cret",
        "mailto://localhost/?to=a@example.org&user=a&pass=s3cret",
        "json://[s3cret",
    ],
)
def test_an_address_that_holds_a_secret_stays_out_of_the_file(url: str) -> None:
    """It is refused, and not quoted."""
    with pytest.raises(UsageError) as refused:
        rules_of(f'[channel.a]\nurl = "{url}"\n')
    assert "s3cret" not in str(refused.value)
    assert "the channel 'a'" in str(refused.value)


def test_without_a_file_all_default_rules_are_there_and_nobody_is_told() -> None:
    """Every signal that can be wrong by itself has a rule."""
    rules = default_rules(SIGNALS)
    assert set(SIGNALS) - {rule.signal for rule in rules.rule} == {"queue_bytes"}
    assert not rules.channel
    assert all(rule.do for rule in rules.rule)


def test_rules_about_attacks_are_critical_and_not_held_back() -> None:
    """By default and in rules of one's own."""
    own = rules_of(HOOK + '[[rule]]\nname = "many"\nsignal = "forged_frames"\nabove = 1000\n')
    assert {rule.severity for rule in own.rule if rule.signal in SECURITY} == {"critical"}
    with pytest.raises(UsageError, match="its severity is always critical"):
        rules_of('[[rule]]\nname = "a"\nsignal = "forged_frames"\nabove = 1\nseverity = "info"\n')


@pytest.mark.parametrize("rule", ["forged-frames", "nonce-repeated", "sender-copied", "chain-broken"])
@pytest.mark.parametrize(
    "line",
    [
        "enabled = false",
        "above = 1000",
        'subject = "nobody"',
        'severity = "info"',
        'for = "7d"',
        "signal = 'recall'",
    ],
)
def test_a_rule_about_attacks_cannot_be_weakened(rule: str, line: str) -> None:
    """Whoever tries is told, and the file is not taken."""
    with pytest.raises(UsageError, match=f"the rule '{rule}' is about attacks and cannot be weakened"):
        rules_of(changing(rule, line))


def test_rules_about_attacks_stay_without_the_defaults() -> None:
    """`defaults = false` takes the others out."""
    assert sorted(rule.signal for rule in rules_of("defaults = false").rule) == SECURITY


def test_a_rule_about_attacks_may_go_to_one_channel() -> None:
    """With another pause between reminders."""
    text = '[channel.pager]\nurl = "json://localhost/"\nleast = "critical"\n'
    rules = rules_of(text + changing("chain-broken", 'to = ["pager"]\nrepeat = "1h"'))
    rule = rules.named("chain-broken")
    assert rule is not None
    assert (rules.channels_of(rule), rule.repeat_s, rule.limit) == (("pager",), 3600, 0)


def test_a_rule_of_the_same_name_changes_the_keys_that_it_gives() -> None:
    """The other keys stay as they come."""
    rules = rules_of(changing("disk-full", "repeat = '1d'"))
    rule, before = rules.named("disk-full"), default_rules(SIGNALS).named("disk-full")
    assert rule is not None
    assert before is not None
    assert rule == before.model_copy(update={"repeat_s": 86_400})


@pytest.mark.parametrize("limit", ["above = 80", "above = 99", "below = 5"])
def test_another_limit_is_where_it_ends_too(limit: str) -> None:
    """Who changes only the limit of a rule that ends elsewhere need not know where that was."""
    rule = rules_of(changing("disk-full", limit)).named("disk-full")
    assert rule is not None
    assert rule.condition == limit.replace(" =", "")
    assert rule.resolve is None
    assert rule.is_well(rule.limit)
    kept = rules_of(changing("disk-full", "severity = 'warning'")).named("disk-full")
    assert kept is not None
    assert (kept.limit, kept.resolve) == (92, 90)


def test_a_rule_that_is_switched_off_is_not_used() -> None:
    """It is there and asks nobody."""
    assert rules_of(changing("disk-full", "enabled = false")).named("disk-full") is None


def test_a_channel_hears_nothing_of_less_than_its_least() -> None:
    """A pager sleeps through warnings."""
    rules = rules_of(HOOK + '[channel.pager]\nurl = "json://localhost/"\nleast = "critical"\n')
    filling, full = rules.named("disk-filling"), rules.named("disk-full")
    assert filling is not None
    assert full is not None
    assert (rules.channels_of(filling), rules.channels_of(full)) == (("hook",), ("hook", "pager"))


def test_the_file_of_an_address_is_meant_from_the_folder_of_the_rules() -> None:
    """An absolute path stays as it is."""
    rules = rules_of('[channel.a]\nurl_file = "mail.url"\n[channel.b]\nurl_file = "/run/b"\n')
    assert (rules.channel["a"].url_file, rules.channel["b"].url_file) == (
        Path("/etc/appia/mail.url"),
        Path("/run/b"),
    )


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """One that is not there, and one that is too long to be one."""
    with pytest.raises(UsageError, match="cannot be read \\(No such file"):
        read_rules_file(tmp_path / "none.toml")
    (tmp_path / "long.toml").write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(UsageError, match="has more than 1,048,576 bytes"):
        read_rules_file(tmp_path / "long.toml")
