"""Who gets in at the door of the HTTP API, without replicas: every path, every form of the header."""

from __future__ import annotations

import asyncio
import io
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import Request

from services.common.access.book import AccessBook
from services.common.access.buckets import Buckets
from services.common.access.edit import new_token
from services.common.access.refusals import Refusals
from services.common.access.table import token_digest
from services.common.logs import make_logger
from services.common.rpc import RequestError
from services.rag.http.app import Api, HttpSettings, make_app
from services.rag.http.health import Health
from services.rag.http.tokens import Tokens
from services.rag.places import Places
from services.rag.protocol import OPERATIONS
from tests.common.access.conftest import table, write_access

if TYPE_CHECKING:
    from pathlib import Path

Answer = tuple[int, dict[str, str], dict[str, Any]]
WHOLE = {"as_of": "", "missing": [], "partial": False, "repeatable": True, "unrepeatable": []}


class _Replicas:
    """A client that remembers what it was asked, and on whose behalf."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self._delay_s = delay_s

    async def ask(self, op: str, _args: object, _patience: object, who: str | None = None) -> dict[str, Any]:
        self.asked.append((op, who))
        await asyncio.sleep(self._delay_s)
        return {"events": [], "next": None, "receipt": WHOLE}

    def close(self) -> None:
        """Nothing to close."""


class Door:
    """An application behind a door, with two keys: alice's, and one that was revoked."""

    def __init__(self, folder: Path, clock: Any = time.monotonic, delay_s: float = 0.0) -> None:
        self.alice, self.revoked = new_token(), new_token()
        write_access(
            folder / "access.toml",
            table("alice", token_sha256=token_digest(self.alice), rate=2, burst=3),
            table("bob", token_sha256=token_digest(self.revoked), revoked=True),
        )
        self.log = io.StringIO()
        logger = make_logger("http", self.log)
        self.refusals = Refusals(logger, clock)
        tokens = Tokens(AccessBook(folder / "access.toml", logger), self.refusals, Buckets(clock))
        self.settings = HttpSettings(at_once=4, tokens=tokens)
        self.replicas: Any = _Replicas(delay_s)
        self.app = make_app(self.replicas, self.settings)

    def ask(self, path: str, *authorization: str, method: str = "GET") -> Answer:
        """Status, headers and body of the answer to a request with some headers Authorization."""
        return asyncio.run(self.answer(scope(path, *authorization, method=method)))

    async def answer(self, asked: dict[str, Any]) -> Answer:
        answer: dict[str, Any] = {"body": b""}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        async def send(message: Any) -> None:
            answer.update({key: message[key] for key in ("status", "headers") if key in message})
            answer["body"] += message.get("body", b"")

        await self.app(asked, receive, send)
        headers = {name.decode(): value.decode() for name, value in answer["headers"]}
        lines = answer["body"].splitlines() or [b"{}"]
        return answer["status"], headers, json.loads(lines[-1])


def scope(path: str, *authorization: str, method: str = "GET") -> dict[str, Any]:
    """A request as servers give it to an application."""
    headers = [(b"host", b"localhost"), *((b"authorization", one.encode()) for one in authorization)]
    if method == "POST":
        headers.append((b"content-type", b"application/json"))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "client": ("192.0.2.7", 1234),
    }


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_nothing_is_told_without_a_token(door: Door) -> None:
    """Every path and method that the description names, and some that it does not."""
    described = make_app(door.replicas).routes
    paths = {(str(route.path), "POST" if "POST" in route.methods else "GET") for route in described}  # type: ignore[attr-defined]
    assert {(f"/v1/{name}", "POST") for name in OPERATIONS} < paths
    closed = [one for one in paths if one != ("/healthz", "GET")]
    odd = ["/", "/healthz/", "//healthz", "/HEALTHZ", "/v1/../healthz", "/healthz/../v1/days", "/docs"]
    for path, method in [*closed, *((path, "GET") for path in odd)]:
        status, headers, body = door.ask(path, method=method)
        assert (status, body["code"]) == (401, "unauthorized"), path
        assert headers["www-authenticate"] == 'Bearer realm="appia"'
        assert headers["content-type"] == "application/problem+json"
    for method in ("OPTIONS", "HEAD", "DELETE", "PUT"):
        assert door.ask("/v1/days", method=method)[0] == 401
    assert door.replicas.asked == []


def test_a_token_says_on_whose_behalf_replicas_are_asked(door: Door) -> None:
    """By its key's name, for posted operations, forms and streams; the word Bearer in any case."""
    assert door.ask("/v1/days", f"Bearer {door.alice}")[0] == 200
    assert door.ask("/v1/get", f"bearer  {door.alice} ", method="POST")[0] == 200
    assert door.ask("/v1/events", f"BEARER {door.alice}")[0] == 200
    assert door.replicas.asked == [("days", "alice"), ("get", "alice"), ("list", "alice")]


def test_anything_else_is_no_token(door: Door) -> None:
    """Other schemes, changed tokens, two headers of which one is right, the digest itself."""
    good = f"Bearer {door.alice}"
    wrong: list[tuple[str, ...]] = [
        ("",),
        (door.alice,),
        ("Bearer",),
        ("Bearer ",),
        (f"Basic {door.alice}",),
        (f"{good}x",),
        (good[:-1],),
        (good.swapcase(),),
        (f"Bearer {token_digest(door.alice)}",),
        (f"Bearer {'x' * 100_000}",),
        (good, good),
        (good, "Bearer other"),
        (f"Bearer {door.revoked}",),
        ("Bearer \xff\u20ac\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),),
    ]
    for given in wrong:
        status, _, body = door.ask("/v1/days", *given)
        assert (status, body["code"]) == (401, "unauthorized"), given
        assert "TOKEN" in body["detail"]
        assert door.alice not in json.dumps(body)
    assert door.replicas.asked == []
    assert door.refusals.counts == {"unknown_token": len(wrong) - 1, "revoked_token": 1}


def test_what_is_logged_has_no_token(door: Door) -> None:
    """The address and, for a key that was revoked, its name; one line a second for each reason."""
    for token in ("wrong-and-secret", door.revoked, "again"):
        door.ask("/v1/days", f"Bearer {token}")
    lines = [json.loads(line) for line in door.log.getvalue().splitlines()]
    assert [(line["reason"], line["address"], line.get("name")) for line in lines] == [
        ("unknown_token", "192.0.2.7", None),
        ("revoked_token", "192.0.2.7", "bob"),
    ]
    for secret in ("wrong-and-secret", door.revoked, door.alice, token_digest(door.revoked)):
        assert secret not in door.log.getvalue()


def test_a_token_has_its_rate(tmp_path: Path) -> None:
    """Three at once, then two a second; the answer says when the next may come. Health costs nothing."""
    now = [100.0]
    door = Door(tmp_path, lambda: now[0])
    asked = [door.ask("/v1/days", f"Bearer {door.alice}") for _ in range(4)]
    assert [status for status, _, _ in asked] == [200, 200, 200, 429]
    _, headers, body = asked[-1]
    assert (body["code"], headers["retry-after"]) == ("too_many", "1")
    assert "alice may ask 2 times a second, 3 at once" in body["detail"]
    now[0] += 0.6
    assert [door.ask("/v1/days", f"Bearer {door.alice}")[0] for _ in range(2)] == [200, 429]
    assert door.refusals.counts["rate"] == 2


def test_health_needs_no_token_and_tells_nothing(door: Door) -> None:
    """It says that a replica answers, and asks in its own name; where none does, that none does."""
    assert door.ask("/healthz")[::2] == (200, {"ok": True})
    assert door.replicas.asked == [("ping", None)]
    assert door.ask("/healthz", "Bearer wrong")[0] == 200


def test_health_is_asked_once_a_second_whoever_wants_to_know() -> None:
    """A hundred at the same time are one question, and so is the second after it."""
    now, replicas = [5.0], _Replicas(0.02)
    client: Any = replicas

    async def many(health: Health) -> list[bool]:
        return await asyncio.gather(*(health.is_good() for _ in range(100)))

    async def both() -> None:
        health = Health(client, lambda: now[0])
        assert all(await many(health))
        now[0] += 0.9
        assert all(await many(health))
        assert len(replicas.asked) == 1
        now[0] += 0.2
        assert all(await many(health))
        assert len(replicas.asked) == 2

    asyncio.run(both())


def test_a_request_that_came_around_the_door_is_answered_nothing(door: Door) -> None:
    """Were the door ever left out, nobody would be asked with the server's own rights."""
    api = Api(door.replicas, door.settings)
    with pytest.raises(KeyError):
        asyncio.run(api.form(Request(scope("/v1/days")), "days"))
    assert door.replicas.asked == []


def test_the_description_says_that_a_token_is_needed(door: Door) -> None:
    """As OpenAPI has it: for all paths but health, and only where it is so."""
    document = door.ask("/openapi.json", f"Bearer {door.alice}")[2]
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    own = {path: form["get"].get("security") for path, form in document["paths"].items() if "get" in form}
    assert [path for path, security in own.items() if security is not None] == ["/healthz"]
    assert own["/healthz"] == []
    open_to_all = Door.__new__(Door)
    open_to_all.app = make_app(door.replicas)
    assert open_to_all.ask("/openapi.json")[2]["security"] == []


def test_one_key_cannot_take_all_places() -> None:
    """Half of them at most, so that others are answered meanwhile; a place is free again after its answer."""
    places = Places(4)

    def refused(key: str | None) -> str:
        with pytest.raises(RequestError) as error, places.taken(key):
            pass
        assert error.value.code == "busy"
        return str(error.value)

    for _ in range(2):
        with places.taken("alice"), places.taken("alice"):
            assert (
                refused("alice")
                == "2 requests of the key alice are being answered already; wait for one of them."
            )
            with places.taken("bob"), places.taken(None):
                assert "Too many requests" in refused("carol")


def test_requests_at_the_same_time_take_the_places_of_their_key(tmp_path: Path) -> None:
    """Of four places two are alice's: a third request of hers is told so while the first ones are answered."""
    door = Door(tmp_path, delay_s=0.3)

    async def three() -> list[Answer]:
        asked = scope("/v1/days", f"Bearer {door.alice}")
        return await asyncio.gather(*(door.answer(asked) for _ in range(3)))

    answers = asyncio.run(three())
    assert sorted(status for status, _, _ in answers) == [200, 200, 503]
    assert [body["code"] for status, _, body in answers if status == 503] == ["busy"]
