"""What a file of rules holds, each key with its type and bounds. Nothing here reads a file or a clock."""

from __future__ import annotations

import re
import urllib.parse
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from services.health.alerts.quiet import Quiet
from services.health.alerts.severity import Severity, reaches

if TYPE_CHECKING:
    from typing import Self

DAY_S = 86_400
LONGEST_S = 7 * DAY_S
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY_S}
_DURATION = re.compile(r"(\d{1,7})([smhd])")
MOST_CHANNELS, MOST_RULES = 50, 500

PLAIN_SCHEMES = frozenset({"mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms", "syslog"})
"""Kinds of apprise whose address alone is no secret: https://github.com/caronc/apprise/wiki."""
_PREFIXED = ("+", "-", ":")
"""Before the name of a header or a field that such an address adds to each message; those carry tokens."""
_SECRET_KEYS = frozenset({"user", "pass", "password", "token", "key", "secret", "login", "auth"})


def seconds(value: object) -> object:
    """A duration as rules write it, such as `90s`, `5m`, `4h` or `7d`, in seconds.

    Raises:
        ValueError: it is none, or longer than seven days.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("should be a duration such as '90s', '5m', '4h' or '7d'")
    number = int(match[1]) * _UNITS[match[2]]
    if number > LONGEST_S:
        raise ValueError("should be at most seven days ('7d')")
    return number


Duration: TypeAlias = Annotated[int, BeforeValidator(seconds)]
Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")]
GroupKey: TypeAlias = Literal["rule", "signal", "severity", "subject"]


class Part(BaseModel):
    """Base of what is in the file: frozen, strict in its types, without keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Rule(Part):
    """When something is wrong, how bad that is, and who is told."""

    name: Name
    signal: str
    subject: str = Field("*", min_length=1, max_length=200)
    above: float | None = None
    below: float | None = None
    resolve: float | None = None
    for_s: Duration = Field(0, alias="for")
    resolve_for_s: Duration = Field(0, alias="resolve_for")
    severity: Severity = "warning"
    to: tuple[Name, ...] = Field((), strict=False)  # none: every channel
    repeat_s: Duration = Field(4 * 3600, alias="repeat")  # 0: never
    do: str = Field("", max_length=500)
    enabled: bool = True

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("should have one of above and below")
        if self.resolve is not None and self.is_over(self.resolve):
            raise ValueError(f"has a resolve of {self.resolve:g} at which it would still be an alert")
        if 0 < self.repeat_s < 60:
            raise ValueError(
                "repeats more often than every minute: repeat should be '1m' or more, or '0s' for never"
            )
        return self

    @property
    def limit(self) -> float:
        """The number beyond which it is an alert."""
        return self.above if self.above is not None else self.below if self.below is not None else 0.0

    @property
    def condition(self) -> str:
        """The limit in words."""
        return f"{'above' if self.above is not None else 'below'} {self.limit:g}"

    def is_over(self, value: float) -> bool:
        """Whether a value is an alert."""
        return value > self.limit if self.above is not None else value < self.limit

    def is_well(self, value: float) -> bool:
        """Whether a value ends an alert: within the limit, and as far as `resolve` says."""
        end = self.limit if self.resolve is None else self.resolve
        return value <= end if self.above is not None else value >= end

    def watches(self, signal: str, subject: str) -> bool:
        """Whether it looks at this reading; the glob is that of fnmatch, and upper case counts."""
        return self.signal == signal and fnmatchcase(subject, self.subject)


class Channel(Part):
    """Where messages go: one address of apprise, in a file of its own or, where it holds no secret, here."""

    url_file: Annotated[Path, Field(strict=False)] | None = None
    url: str = ""
    least: Severity = "info"

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if (self.url_file is None) == (not self.url):
            raise ValueError("should have one of url_file and url")
        if self.url:
            refuse_secrets(self.url)
        return self


def refuse_secrets(url: str) -> None:
    """Check that an address may stand in a file that others read. It is never quoted.

    Raises:
        ValueError: it may hold a secret.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        keys = [key for key, _ in urllib.parse.parse_qsl(parts.query, keep_blank_values=True)]
    except ValueError:
        raise ValueError("has a url that is none") from None
    in_file = "put it into a file of mode 0400 and name that as url_file"
    if parts.scheme.lower() not in PLAIN_SCHEMES:
        kinds = ", ".join(sorted(PLAIN_SCHEMES))
        raise ValueError(f"has a url that may hold a secret ({kinds} may stand here): {in_file}")
    # A query has `+NAME` as a header; decoded, the plus sign is a space.
    if "@" in parts.netloc or any(k.lower() in _SECRET_KEYS or k.startswith((" ", *_PREFIXED)) for k in keys):
        raise ValueError(f"has a url with a user, a password, a token or a header: {in_file}")


class Grouping(Part):
    """Which alerts share a message, and how long the first waits for others."""

    by: tuple[GroupKey, ...] = Field(("rule",), strict=False)
    wait_s: Duration = Field(30, alias="wait")


class Rules(Part):
    """A whole file, or the rules that come with the product."""

    defaults: bool = True
    runbook: str = Field("docs/runbooks/alerts.md", max_length=200)
    rule: tuple[Rule, ...] = Field((), max_length=MOST_RULES, strict=False)
    channel: dict[Name, Channel] = Field(default_factory=dict, max_length=MOST_CHANNELS)
    group: Grouping = Field(default_factory=lambda: Grouping.model_validate({}))
    quiet: tuple[Quiet, ...] = Field((), max_length=50, strict=False)

    def named(self, name: str) -> Rule | None:
        """The rule of this name that is in use."""
        return next((rule for rule in self.rule if rule.name == name and rule.enabled), None)

    def channels_of(self, rule: Rule) -> tuple[str, ...]:
        """Who is told of this rule's alerts, sorted; a channel hears nothing of less than its `least`."""
        wanted = self.channel if not rule.to else {name: self.channel[name] for name in rule.to}
        return tuple(sorted(name for name, to in wanted.items() if reaches(rule.severity, to.least)))
