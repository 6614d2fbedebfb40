"""`appia alerts`: what is wrong now, what was, whether messages arrive, and whether a file of rules is sound."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import JsonOption, StateOption, required_state
from services.cli.output import counted, print_json, print_lines, print_table, say
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.health.alerts.rules import Rule, Rules

NS = 1e9
TEST_S, LOOK_S = 90.0, 0.5

ChannelArgument = Annotated[
    str | None, typer.Argument(metavar="CHANNEL", help="Name of a channel.", show_default="all of them")
]
RulesOption = Annotated[
    Path | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Send from this process, as this file of rules says; nothing has to run.",
        show_default="none: health sends, as its own file says",
    ),
]
FileArgument = Annotated[
    Path | None,
    typer.Argument(metavar="FILE", help="A file of rules.", show_default="the rules that come with appia"),
]
LimitOption = Annotated[int, typer.Option(min=1, max=400, metavar="N", help="Most lines of each table.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    alerts = typer.Typer(
        help="Show what is wrong; try channels and rules. See docs/alerts.md.",
        no_args_is_help=True,
    )
    alerts.command("list", epilog="Example: appia alerts list --state ~/appia")(show)
    alerts.command("history", epilog="Example: appia alerts history --state ~/appia --limit 50")(history)
    alerts.command("test", epilog="Example: appia alerts test mail --state ~/appia")(send_test)
    alerts.command("check", epilog="Example: appia alerts check alerts.toml")(check)
    app.add_typer(alerts, name="alerts")


def show(*, state: StateOption = None, as_json: JsonOption = False) -> None:
    """Show what is wrong now, who was told, and each channel.

    Exit status 1 where an alert fires. Without a running health service it shows what the last one knew, and says so.
    """
    told = _told(required_state(state))
    if as_json:
        print_json(told)
    else:
        _print_alerts(told)
        _print_channels(told["channels"])
        _print_faults(told)
    if told["firing"]:
        raise typer.Exit(1)


def history(*, state: StateOption = None, limit: LimitOption = 20, as_json: JsonOption = False) -> None:
    """Show alerts that are over, and messages that went out.

    The newest come first; of messages those that arrived or were given up.
    """
    told = _told(required_state(state))
    ended, sent = told["recent"][::-1][:limit], told["messages"][::-1][:limit]
    if as_json:
        print_json({"alerts": ended, "messages": sent})
        return
    if not ended and not sent:
        print_lines("No alert has ended, and no message was sent.")
    if ended:
        rows = [_ended_row(one) for one in ended]
        print_table(["over", "severity", "rule", "subject", ">lasted", "ended as", "~told"], rows)
    if sent:
        print_lines(*([""] if ended else []))
        rows = [
            [_moment(one["ended_ns"]), one["channel"], _outcome(one), one["id"], one["title"]] for one in sent
        ]
        print_table(["message", "channel", "~outcome", "number", "~title"], rows)


def send_test(
    channel: ChannelArgument = None,
    *,
    state: StateOption = None,
    file: RulesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a message that says that nothing is wrong.

    Tells of each channel whether it was taken. Exit status 1 where one was not.
    """
    outcomes = _test_by_health(required_state(state), channel) if file is None else _test_here(file, channel)
    failures = {name: why for name, why in outcomes.items() if why}
    if as_json:
        print_json({"channels": {name: {"arrived": not why, "why": why} for name, why in outcomes.items()}})
    else:
        print_lines(*(f"{name}: {why or 'taken by the service'}" for name, why in outcomes.items()))
    if failures:
        raise AppiaError(f"{counted(len(failures), 'channel')} of {len(outcomes)} did not take the message.")


def check(file: FileArgument = None, *, as_json: JsonOption = False) -> None:
    """Say whether health would take this file, and show its rules.

    Addresses of channels are looked at too. Nothing is sent: `appia alerts test --file FILE` does that.
    """
    from services.health.alerts.rules_file import default_rules, parse_rules, read_rules_file  # noqa: PLC0415 - as above
    from services.health.readings import SIGNALS  # noqa: PLC0415 - as above

    rules = default_rules(SIGNALS) if file is None else parse_rules(read_rules_file(file), file, SIGNALS)
    faults = _address_faults(rules)
    if as_json:
        print_json(
            {"file": file and str(file), "rules": [_rule(rules, r) for r in rules.rule], "faults": faults}
        )
    else:
        _print_rules(rules)
        about = "the rules that come with appia" if file is None else str(file)
        if not faults:
            print_lines("", f"{about}: sound; {counted(len(rules.channel), 'channel')}.")
    if faults:
        name, why = next(iter(faults.items()))
        raise AppiaError(f"The channel {name!r} cannot be used: {why}")


def _told(state: Path) -> dict[str, Any]:
    """What health says, or where none runs, what its file says."""
    from services.cli.health_at import NoHealth, health_of  # noqa: PLC0415 - `appia --help` starts quicker without it
    from services.cli.jobs import call  # noqa: PLC0415 - as above
    from services.cli.running import is_served  # noqa: PLC0415 - as above
    from services.common.days.layout import check_layout  # noqa: PLC0415 - as above
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above

    names = StateNames(state)
    check_layout(names)
    if is_served(names):
        try:
            with health_of(state) as health:
                return call(health, "alerts", {})
        except NoHealth as error:
            say(str(error))
        except AppiaError as error:  # it hangs, or was killed this moment
            say(f"{error} This is what health wrote down last.")
    else:
        say(f"nothing runs on {state}: this is what was known when it ran last")
    return _kept(state)


def _kept(state: Path) -> dict[str, Any]:
    from services.health.alerts.alerts import LEDGER  # noqa: PLC0415 - as above
    from services.health.alerts.describing import describe  # noqa: PLC0415 - as above
    from services.health.alerts.ledger import read_bytes, read_kept  # noqa: PLC0415 - as above
    from services.health.alerts.state import Kept  # noqa: PLC0415 - as above

    path = state / "health" / LEDGER
    data = read_bytes(path)
    try:
        kept = Kept(origin="") if data is None else read_kept(data, path)
    except ValueError:
        raise AppiaError(f"{path} is damaged: health sets it aside when it starts") from None
    return describe(kept, None, {}, int(path.stat().st_mtime_ns) if data else 0)


def _test_by_health(state: Path, channel: str | None) -> dict[str, str]:
    """Why each channel did not take the message; "" where it did. Blocks until all is known, 90 seconds at most."""
    from services.cli.health_at import health_of  # noqa: PLC0415 - as above
    from services.cli.jobs import call  # noqa: PLC0415 - as above

    with health_of(state) as health:
        made = call(health, "test_alert", {"channel": channel})["messages"]
        since = time.monotonic()
        while True:
            told = call(health, "alerts", {})
            outcomes = _outcomes(told, made)
            late = time.monotonic() - since > TEST_S
            if late or not any(why is None for why in outcomes.values()):
                waiting = "it still waits; health tries on, see `appia alerts list`"
                return {name: waiting if why is None else why for name, why in outcomes.items()}
            time.sleep(LOOK_S)


def _outcomes(told: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """What became of messages, by channel: "" arrived, None not known yet. Failures of before say nothing."""
    sent = {one["id"]: one for one in told["messages"]}
    outcomes: dict[str, str | None] = {}
    for letter in made:
        name, line = letter["channel"], told["channels"].get(letter["channel"], {})
        if letter["id"] in sent:
            outcomes[name] = sent[letter["id"]]["why"]
        elif line.get("failing_since_ns") and line.get("failed_ns", 0) >= letter.get("made_ns", 0):
            outcomes[name] = f"{line['why'].rstrip('.')}; health goes on trying"
        else:
            outcomes[name] = None
    return outcomes


def _test_here(file: Path, channel: str | None) -> dict[str, str]:
    import secrets  # noqa: PLC0415 - as above
    import socket  # noqa: PLC0415 - as above

    from services.health.alerts.alerts import channels_asked  # noqa: PLC0415 - as above
    from services.health.alerts.child import ChildSender  # noqa: PLC0415 - as above
    from services.health.alerts.courier import Addressed  # noqa: PLC0415 - as above
    from services.health.alerts.outbox import Parcel  # noqa: PLC0415 - as above
    from services.health.alerts.rules_file import parse_rules, read_rules_file  # noqa: PLC0415 - as above
    from services.health.alerts.wording import trial_letter  # noqa: PLC0415 - as above
    from services.health.readings import SIGNALS  # noqa: PLC0415 - as above

    rules = parse_rules(read_rules_file(file), file, SIGNALS)
    origin, now_ns = secrets.token_hex(3), time.time_ns()
    letters = [
        trial_letter(f"{origin}-{number}", name, socket.gethostname(), now_ns)
        for number, name in enumerate(channels_asked(tuple(rules.channel), channel), 1)
    ]
    parcels = [
        Addressed(Parcel(one.channel, (one,), frozenset()), rules.channel[one.channel]) for one in letters
    ]
    whys: dict[str, str] = {}
    ended = ChildSender().send(parcels, whys.__setitem__)
    return {one.channel: whys.get(one.id, ended or "nothing is known of it") for one in letters}


def _address_faults(rules: Rules) -> dict[str, str]:
    """Why channels have no address that can be used."""
    from services.health.alerts.send_process import address_of, service_of  # noqa: PLC0415 - as above

    faults: dict[str, str] = {}
    for name, channel in rules.channel.items():
        try:
            service_of(address_of(channel.url, channel.url_file))
        except AppiaError as error:
            faults[name] = str(error)
    return faults


def _print_alerts(told: Mapping[str, Any]) -> None:
    rows = [
        [
            _ago(told, one["since_ns"]),
            _state(told, one, state),
            *(one[key] for key in ("severity", "rule", "subject", "text")),
        ]
        for state in ("firing", "ending", "pending")
        for one in told[state]
    ]
    if rows:
        print_table([">since", "state", "severity", "rule", "subject", "~text"], rows)
    else:
        print_lines("No alerts.")
    for rule, number in sorted(told["untracked"].items()):
        print_lines(f"... and {counted(number, 'subject')} more of {rule}, which are not told apart")


def _state(told: Mapping[str, Any], one: Mapping[str, Any], phase: str) -> str:
    """An alert that fires goes on doing so until it was well for as long as its rule says."""
    well_ns = one.get("well_since_ns")
    return f"well for {_ago(told, well_ns)}" if phase == "firing" and well_ns else phase


def _print_channels(channels: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        [
            name,
            "" if not line["delivered_ns"] else _moment(line["delivered_ns"]),
            line["waiting"],
            line["lost"],
            line["why"] if line["known"] else "not in the file of rules any more",
        ]
        for name, line in sorted(channels.items())
    ]
    print_lines("")
    if rows:
        print_table(["channel", "last delivered", ">waiting", ">given up", "~fault"], rows)
    else:
        print_lines("Nobody is told: there are no channels. docs/alerts.md says how to name some.")


def _print_faults(told: Mapping[str, Any]) -> None:
    if told["quiet"]:
        print_lines("Quiet hours: messages wait, but those that are bad enough.")
    print_lines(*(f"WARNING: {fault}" for fault in told["faults"].values()))


def _print_rules(rules: Rules) -> None:
    from services.cli.durations import lasting  # noqa: PLC0415 - as above

    rows = [
        {
            **_rule(rules, rule),
            "for_s": lasting(rule.for_s) if rule.for_s else "",
            "repeat_s": lasting(rule.repeat_s) if rule.repeat_s else "never",
            "to": ", ".join(rules.channels_of(rule)) or "nobody",
        }
        for rule in rules.rule
    ]
    columns = ["rule", "signal", "~subject", "limit", ">for", "severity", ">repeat", "~to"]
    print_table(columns, [list(row.values()) for row in rows])


def _rule(rules: Rules, rule: Rule) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "signal": rule.signal,
        "subject": rule.subject,
        "limit": rule.condition if rule.enabled else "off",
        "for_s": rule.for_s,
        "severity": rule.severity,
        "repeat_s": rule.repeat_s,
        "to": list(rules.channels_of(rule)),
    }


def _ended_row(one: Mapping[str, Any]) -> list[object]:
    from services.cli.durations import lasting  # noqa: PLC0415 - as above

    lasted = lasting((one["over_ns"] - one["since_ns"]) / NS)
    return [
        _moment(one["over_ns"]),
        one["severity"],
        one["rule"],
        one["subject"],
        lasted,
        one["why_over"],
        ", ".join(one["told_to"]) or "nobody",
    ]


def _outcome(one: Mapping[str, Any]) -> str:
    if one["delivered"]:
        tries = one["tries"]
        return "arrived" if tries == 1 else f"arrived at try {tries}"
    return f"given up: {one['why']}"


def _moment(time_ns: int) -> str:
    from services.health.alerts.wording import moment  # noqa: PLC0415 - as above

    return moment(time_ns)


def _ago(told: Mapping[str, Any], since_ns: int) -> str:
    from services.cli.durations import lasting  # noqa: PLC0415 - as above

    return lasting((told["as_of_ns"] - since_ns) / NS)
