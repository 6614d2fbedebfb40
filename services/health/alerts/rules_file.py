"""The file of rules: read whole, laid over the rules that come with the product, and refused in one sentence."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from services.common.errors import UsageError
from services.health.alerts.rules import Rules
from services.health.alerts.severity import CRITICAL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from services.health.readings import Signal

DEFAULTS = Path(__file__).with_name("default_rules.toml")
MOST_BYTES = 1 << 20
_MAY_CHANGE = frozenset({"name", "to", "repeat", "do"})
"""What a file may change of a rule about attacks."""
_LIMITS = frozenset({"above", "below", "resolve"})


def read_rules_file(path: Path) -> bytes:
    """The bytes of a file of rules.

    Raises:
        UsageError: it cannot be read, or is too long.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"The file of rules {path} cannot be read ({error.strerror}).") from None
    if len(data) > MOST_BYTES:
        raise UsageError(
            f"The file of rules {path} has more than {MOST_BYTES:,} bytes: check that it is the right one."
        )
    return data


def default_rules(signals: Mapping[str, Signal]) -> Rules:
    """The rules that come with the product, with no channel: alerts are in `appia alerts list` and the log."""
    return parse_rules(b"", Path("the rules that come with appia"), signals)


def parse_rules(data: bytes, path: Path, signals: Mapping[str, Signal]) -> Rules:
    """What a file says, over the rules that come with the product.

    A rule of the name of one of those changes the keys that it gives. A `url_file` that is no absolute path is meant
    from the folder of the file.

    Raises:
        UsageError: the file cannot be used; the sentence names the rule or channel, the key and what is allowed.
    """
    table = _toml(data, path)
    own = _tables(table, "rule", path)
    known = {str(rule["name"]): rule for rule in _toml(DEFAULTS.read_bytes(), DEFAULTS)["rule"]}
    _refuse_doubles(own, path)
    for rule in own:
        if _is_security(known.get(str(rule.get("name")), {}), signals):
            _refuse_silencing(rule, path)
    wanted = (
        known if table.get("defaults", True) else {n: r for n, r in known.items() if _is_security(r, signals)}
    )
    laid = [_laid(wanted.pop(str(rule.get("name")), {}), rule) for rule in own]
    table["rule"] = [_with_severity(rule, signals) for rule in (*wanted.values(), *laid)]
    table["quiet"] = _tables(table, "quiet", path)
    rules = _checked(table, path)
    _check_meaning(rules, path, signals)
    return _from_folder(rules, path.parent)


def _laid(below: Mapping[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    """A rule over the one of its name. Another limit ends at that limit: where the one below it ended fits no more."""
    moved = {"above", "below"} & set(rule)
    return {**{key: value for key, value in below.items() if not (moved and key in _LIMITS)}, **rule}


def _toml(data: bytes, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The file of rules {path} is not TOML: {error}.") from None


def _tables(table: Mapping[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """A list of tables; a single `[key]` is a list of one."""
    found = table.get(key, [])
    tables = [found] if isinstance(found, dict) else found
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise UsageError(f"{path}: {key} should be tables: write [[{key}]] above the keys of each.")
    return tables


def _refuse_doubles(own: list[dict[str, Any]], path: Path) -> None:
    names = [str(rule.get("name")) for rule in own]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UsageError(
            f"{path}: there are two rules of the name {double[:60]!r}: give each a name of its own."
        )


def _is_security(rule: Mapping[str, Any], signals: Mapping[str, Signal]) -> bool:
    signal = signals.get(str(rule.get("signal")))
    return signal is not None and signal.security


def _refuse_silencing(rule: Mapping[str, Any], path: Path) -> None:
    changed = sorted(set(rule) - _MAY_CHANGE)
    if changed:
        raise UsageError(
            f"{path}: the rule {rule['name']!r} is about attacks and cannot be weakened, so {changed[0]} stays as it "
            f"is: {', '.join(sorted(_MAY_CHANGE - {'name'}))} may be changed, and rules of other names added."
        )


def _with_severity(rule: dict[str, Any], signals: Mapping[str, Signal]) -> dict[str, Any]:
    return {"severity": CRITICAL, **rule} if _is_security(rule, signals) else rule


def _checked(table: dict[str, Any], path: Path) -> Rules:
    try:
        return Rules.model_validate(table)
    except ValidationError as error:
        raise UsageError(_sentence(error.errors(include_url=False)[0], table, path)) from None


def _sentence(error: ErrorDetails, table: Mapping[str, Any], path: Path) -> str:
    """One sentence about the first fault. No value is quoted: one of them may be a secret in the wrong place."""
    where, key = [str(path)], [str(part) for part in error["loc"]]
    if key[:1] == ["rule"] and len(key) > 1:
        where.append(f"the rule {str(table['rule'][int(key[1])].get('name', f'number {key[1]}'))[:60]!r}")
        key = key[2:]
    elif key[:1] == ["channel"] and len(key) > 1:
        where.append(f"the channel {key[1][:60]!r}")
        key = [part for part in key[2:] if part != "[key]"]
    elif key[:1] == ["quiet"] and len(key) > 1:
        where.append(f"[[quiet]] number {int(key[1]) + 1}")
        key = key[2:]
    if key:
        where.append(".".join(part[:60] for part in key))
    if error["type"] == "extra_forbidden":
        return f"{', '.join(where)}: there is no such key; docs/alerts.md lists them."
    said = error["msg"].removeprefix("Value error, ")
    return f"{', '.join(where)}: {said[:1].lower()}{said[1:]}."


def _check_meaning(rules: Rules, path: Path, signals: Mapping[str, Signal]) -> None:
    """Check what no single key shows: that names name something, and that no rule makes an attack look small."""
    for rule in rules.rule:
        where = f"{path}: the rule {rule.name!r}"
        signal = signals.get(rule.signal)
        if signal is None:
            known = ", ".join(sorted(signals))
            raise UsageError(f"{where} has the unknown signal {rule.signal[:60]!r}; there are: {known}.")
        if signal.security and rule.severity != CRITICAL:
            raise UsageError(
                f"{where} watches {rule.signal}, which is about attacks: its severity is always critical."
            )
        lost = next((name for name in rule.to if name not in rules.channel), None)
        if lost is not None:
            there = ", ".join(sorted(rules.channel)) or "none"
            raise UsageError(
                f"{where} goes to the channel {lost!r}, which is not in the file; there are: {there}."
            )


def _from_folder(rules: Rules, folder: Path) -> Rules:
    channels = {
        name: channel.model_copy(update={"url_file": channel.url_file and folder / channel.url_file})
        for name, channel in rules.channel.items()
    }
    return rules.model_copy(update={"channel": channels})
