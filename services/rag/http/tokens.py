"""Lets only those in who show a token of the access file (RFC 6750), and says whose it is (docs/access.md)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from starlette.requests import Request

from services.common.access.buckets import Buckets
from services.common.access.refusals import Refused
from services.common.access.rights import Principal
from services.rag.http.problems import problem
from services.rag.http.reading import pass_over

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from services.common.access.book import AccessBook
    from services.common.access.refusals import Refusals

_PRINCIPAL = "appia.principal"
_SCHEME = "bearer"
_MAX_TOKEN = 256
_ASKED = 'Bearer realm="appia"'
_WRONG = f'{_ASKED}, error="invalid_token"'


class Tokens:
    """Knows whose a token is, and how often that one asked. For one event loop."""

    def __init__(self, book: AccessBook, refusals: Refusals, buckets: Buckets | None = None) -> None:
        """Ask `book` anew for each request; `refusals` counts and logs, without the token."""
        self._book = book
        self._refusals = refusals
        self._buckets = buckets or Buckets()

    def admit(self, scope: Scope) -> Principal | Response:
        """Whose token a request shows, or how it is refused.

        Who has the rights for what is asked is the replicas' matter, which are told the name.
        """
        token = _token_of(scope)
        found = None if token is None else self._book.table.holder(token)
        if found is None:
            self._refusals.note(Refused.UNKNOWN_BEARER, address=_address(scope))
            return _unauthorized(scope, _ASKED if token is None else _WRONG)
        if found.revoked:
            self._refusals.note(Refused.REVOKED_BEARER, name=found.name, address=_address(scope))
            return _unauthorized(scope, _WRONG)
        wait_s = self._buckets.take(found)
        if wait_s:
            self._refusals.note(Refused.RATE, name=found.name)
            return _too_many(scope, found, wait_s)
        return found


def _token_of(scope: Scope) -> str | None:
    """The token in the header Authorization; None where it has none, or there are several such headers."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(given) != 1:
        return None
    scheme, _, token = given[0].decode("latin-1").strip().partition(" ")
    return token.strip() if scheme.lower() == _SCHEME and len(token) <= _MAX_TOKEN else None


def _address(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else ""


def _unauthorized(scope: Scope, challenge: str) -> Response:
    sentence = "A token that is known here is needed, in the header Authorization: Bearer TOKEN."
    return problem("unauthorized", sentence, scope["path"], {"WWW-Authenticate": challenge})


def _too_many(scope: Scope, principal: Principal, wait_s: float) -> Response:
    rate = principal.rights.rate
    sentence = f"The key {principal.name} may ask {rate.per_s:g} times a second, {rate.burst} at once."
    return problem("too_many", sentence, scope["path"], {"Retry-After": str(math.ceil(wait_s))})


class TokenDoor:
    """An application behind a door: what has no token does not reach it, but for some `public` paths."""

    def __init__(self, app: ASGIApp, tokens: Tokens, public: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._tokens = tokens
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as ASGI has it."""
        if scope["type"] == "lifespan" or scope["path"] in self._public:
            await self._app(scope, receive, send)
            return
        found = self._tokens.admit(scope)
        if isinstance(found, Principal):
            await self._app({**scope, _PRINCIPAL: found}, receive, send)
        else:
            await pass_over(Request(scope, receive).stream())
            await found(scope, receive, send)


def bearer_of(scope: Scope) -> str:
    """The name of the key whose token a request showed that came through a `TokenDoor`.

    Raises:
        KeyError: it came another way: nothing may be answered then.
    """
    principal: Principal = scope[_PRINCIPAL]
    return principal.name
