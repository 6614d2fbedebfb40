"""The access file: which keys there are, and what each may do.

    format = 1

    [keys.alice]
    public_key = "..."             # CURVE, 40 characters of Z85, as `appia access new` prints it
    token_sha256 = "..."           # SHA-256 of a token for HTTP, 64 hexadecimal digits
    operations = ["questions"]     # names of operations or groups
    indices = ["all"]              # attack, semantic, temporal, entity
    days = ["all"]                 # or "last 30", "2026-11-20", "2026-11-01..2026-11-20"
    rate = 50                      # requests a second; `burst` (100) at once after a pause
    delegate = false               # true for a gateway that names on whose behalf it asks
    revoked = false

What is not said is not allowed: `operations`, `indices` and `days` have no default. So a file that is cut short is
damaged, or allows less, and never more.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

from services.common.access.names import ALL, GROUPS, INDICES, OPERATIONS
from services.common.access.rights import DEFAULT_BURST, DEFAULT_RATE, Days, Principal, Rate, Rights
from services.common.errors import AppiaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

FORMAT = 1
MAX_KEYS = 10_000
MAX_RATE = 100_000
MAX_LAST_DAYS = 36_500
TOKEN_BYTES = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_Z85 = re.compile(r"[0-9a-zA-Z.:+=^!/*?&<>()\[\]{}@%$#-]{40}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LAST = re.compile(r"last ([1-9]\d{0,4})", re.ASCII)
_SPAN = re.compile(r"(\d{4}-\d\d-\d\d)(?:\.\.(\d{4}-\d\d-\d\d))?", re.ASCII)
_FIELDS = (
    "public_key",
    "token_sha256",
    "operations",
    "indices",
    "days",
    "rate",
    "burst",
    "delegate",
    "revoked",
)


@dataclass(frozen=True)
class AccessTable:
    """Every key of an access file at one moment. Immutable; safe for several threads."""

    principals: Mapping[str, Principal] = field(default_factory=dict)
    by_key: Mapping[str, Principal] = field(default_factory=dict)

    @classmethod
    def of(cls, principals: Iterable[Principal]) -> AccessTable:
        """A table of these, which have different names and keys."""
        by_name = {one.name: one for one in principals}
        return cls(by_name, {one.public_key: one for one in by_name.values() if one.public_key})

    def of_name(self, name: str) -> Principal | None:
        """Who has a name; None where there is none or it is revoked."""
        return _unless_revoked(self.principals.get(name))

    def of_key(self, public_key: str) -> Principal | None:
        """Who has a CURVE public key (Z85); None where nobody does or it is revoked."""
        return _unless_revoked(self.by_key.get(public_key))

    def of_token(self, token: str) -> Principal | None:
        """Who has an HTTP token; None where nobody does or it is revoked. How long it takes tells nothing of others."""
        return _unless_revoked(self.holder(token))

    def holder(self, token: str) -> Principal | None:
        """As `of_token`, and who is revoked too, so that logs can name him: he may do nothing."""
        digest, found = token_digest(token), None
        for one in self.principals.values():
            if hmac.compare_digest(one.token_sha256.encode(), digest.encode()):
                found = one
        return found


def token_digest(token: str) -> str:
    """What the access file keeps of a token: SHA-256 of its characters in UTF-8, lower-case hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _unless_revoked(found: Principal | None) -> Principal | None:
    return None if found is None or found.revoked else found


def parse_access(content: bytes, where: str) -> AccessTable:
    """Read the content of an access file; `where` names it in errors.

    Raises:
        AppiaError: it is no such file; the sentence names the key and the field.
    """
    try:
        raw = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise AppiaError(f"The access file {where} is not TOML: {str(error)[:120]}.") from None
    if type(raw.get("format")) is not int or raw["format"] != FORMAT:
        raise AppiaError(f"The access file {where} must say format = {FORMAT}.")
    keys = raw.get("keys", {})
    if set(raw) - {"format", "keys"} or not isinstance(keys, dict) or len(keys) > MAX_KEYS:
        raise AppiaError(
            f"The access file {where} holds `format` and at most {MAX_KEYS} tables [keys.NAME], no more."
        )
    principals = [_Reader(where, name, fields).principal() for name, fields in keys.items()]
    _refuse_twice(where, principals, lambda one: one.public_key)
    _refuse_twice(where, principals, lambda one: one.token_sha256)
    return AccessTable.of(principals)


def _refuse_twice(where: str, principals: list[Principal], mark: Callable[[Principal], str]) -> None:
    seen: dict[str, str] = {}
    for one in principals:
        other = seen.setdefault(mark(one), one.name) if mark(one) else one.name
        if other != one.name:
            raise AppiaError(
                f"The access file {where} gives {other} and {one.name} the same key or token: each has its own."
            )


def check_name(name: str) -> str:
    """Give back the name of a key.

    Raises:
        UsageError: it is not allowed.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} is no name of a key: use 1 to 64 letters, digits, '_' and '-', beginning with a letter or "
            "digit."
        )
    return name


class _Reader:
    """Reads one table [keys.NAME]."""

    def __init__(self, where: str, name: str, fields: object) -> None:
        self._where, self._name = where, name
        try:
            check_name(name)
        except UsageError as error:
            raise AppiaError(f"The access file {where}: {error}") from None
        if not isinstance(fields, dict):
            raise self._wrong("it must be a table [keys.NAME]")
        unknown = sorted(set(fields) - set(_FIELDS))
        if unknown:
            raise self._wrong(f"there is no {unknown[0][:80]!r}, but {', '.join(_FIELDS)}")
        self._fields: dict[str, Any] = fields

    def principal(self) -> Principal:
        public_key = self._text("public_key", _Z85, "40 characters of Z85")
        token = self._text("token_sha256", _SHA256, "64 lower-case hexadecimal digits")
        if not public_key and not token:
            raise self._wrong("it needs a 'public_key' or a 'token_sha256'")
        return Principal(self._name, self._rights(), public_key, token, self._flag("revoked"))

    def _rights(self) -> Rights:
        return Rights(
            self._members("operations", {**{name: (name,) for name in OPERATIONS}, **GROUPS}),
            self._members("indices", {**{name: (name,) for name in INDICES}, ALL: INDICES}),
            self._days(),
            Rate(
                self._number("rate", DEFAULT_RATE, (int, float)),
                int(self._number("burst", DEFAULT_BURST, (int,))),
            ),
            self._flag("delegate"),
        )

    def _days(self) -> tuple[Days, ...]:
        words = self._words("days")
        if ALL in words:
            return ()
        last = [int(match[1]) for word in words if (match := _LAST.fullmatch(word))]
        spans = [self._span(word) for word in words if not _LAST.fullmatch(word)]
        if last and (spans or len(last) > 1 or last[0] > MAX_LAST_DAYS):
            raise self._wrong(f"'days' is either one 'last N' (1 to {MAX_LAST_DAYS}) or a list of dates")
        return (Days(last=last[0]) if last else Days(tuple(spans)),)

    def _span(self, word: str) -> tuple[str, str]:
        match = _SPAN.fullmatch(word)
        try:
            if match is not None and date.fromisoformat(match[1]) <= date.fromisoformat(match[2] or match[1]):
                return match[1], match[2] or match[1]
        except ValueError:
            pass
        raise self._wrong(
            f"'days' holds {word[:40]!r}; allowed are 'all', 'last 30', '2026-11-20' and '2026-11-01..2026-11-20'"
        )

    def _members(self, of: str, known: Mapping[str, tuple[str, ...]]) -> frozenset[str]:
        """What the words of a field stand for."""
        words = self._words(of)
        unknown = [word for word in words if word not in known]
        if unknown:
            raise self._wrong(f"{of!r} holds {unknown[0][:80]!r}; there are: {', '.join(known)}")
        return frozenset(one for word in words for one in known[word])

    def _words(self, of: str) -> list[str]:
        found = self._fields.get(of)
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise self._wrong(f"it needs {of!r}, a list of texts")
        return found

    def _text(self, of: str, form: re.Pattern[str], what: str) -> str:
        found = self._fields.get(of, "")
        if found != "" and not (isinstance(found, str) and form.fullmatch(found)):
            raise self._wrong(f"{of!r} must be {what}")
        return str(found)

    def _flag(self, of: str) -> bool:
        found = self._fields.get(of, False)
        if not isinstance(found, bool):
            raise self._wrong(f"{of!r} must be true or false")
        return found

    def _number(self, of: str, default: float, types: tuple[type, ...]) -> float:
        found = self._fields.get(of, default)
        least = 1 if types == (int,) else 0
        if type(found) not in types or not least <= found <= MAX_RATE or found == 0:
            raise self._wrong(f"{of!r} must be a number above 0 and at most {MAX_RATE}")
        return float(found)

    def _wrong(self, why: str) -> AppiaError:
        return AppiaError(f"The access file {self._where}, key {self._name!r}: {why}.")
