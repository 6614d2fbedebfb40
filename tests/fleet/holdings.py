"""What every replica of a site has, event by event: a program for the analyst's place on the network.

`python -m fleet.holdings DESKS.json SITE events` asks each replica that is registered by itself and prints one JSON
object: by the replica's name the identifiers of its events; `newest` in place of `events` prints how many seconds old
its newest event is, `sealed` which of its days are sealed. In place of each stands a sentence where it did not tell.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from fleet.analyst import Desk

from services.common.access.credentials import Credentials
from services.common.errors import AppiaError
from services.common.registry.connect import open_registry
from services.common.rpc_client import RpcClient
from services.rag.asking import KIND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from services.common.registry.port import Entry

PAGE, WITHIN_S = 1000, 30.0


def events_of(client: RpcClient) -> Iterator[str]:
    """The identifiers of all events of one replica, as of one moment; blocks for as many answers as there are pages.

    Raises AppiaError where it does not answer.
    """
    page: dict[str, Any] = {"order": "oldest", "limit": PAGE}
    while True:
        answer = client.call("list", page, WITHIN_S)
        yield from (event["event_id"] for event in answer["events"])
        if answer["next"] is None:
            return
        page = {**page, "after": answer["next"], "as_of": answer["receipt"]["as_of"]}


def newest_of(client: RpcClient) -> float | None:
    """How old the newest event of a replica is, in seconds; None where it has none. Raises as `events_of`."""
    events = client.call("list", {"limit": 1}, WITHIN_S)["events"]
    return max(time.time() - datetime.fromisoformat(events[0]["time"]).timestamp(), 0.0) if events else None


def sealed_of(client: RpcClient) -> list[str]:
    """The sealed days that a replica serves. Raises as `events_of`."""
    days = client.call("days", {}, WITHIN_S)["days"]
    return [day["day"] for day in days if day["state"] == "sealed"]


QUESTIONS: dict[str, Callable[[RpcClient], Any]] = {
    "events": lambda client: list(events_of(client)),
    "newest": newest_of,
    "sealed": sealed_of,
}


def told_by(
    entry: Entry, credentials: Credentials, context: zmq.Context[zmq.Socket[bytes]], what: str
) -> Any:
    """What a replica tells, or the sentence why it does not."""
    secured = credentials.secured(entry.address, entry.info)
    with closing(RpcClient(context, entry.address, secured)) as client:
        try:
            return QUESTIONS[what](client)
        except AppiaError as error:
            return str(error)


def main(arguments: list[str]) -> int:
    """Run the program."""
    desks, site, what = Path(arguments[0]), arguments[1], arguments[2]
    desk = Desk(**json.loads(desks.read_text())[site])
    credentials = Credentials.read(Path(desk.key), None)
    with closing(open_registry(desk.registry, Path(), Path(desk.registry_keys))) as registry:
        entries = registry.entries(KIND)
    with zmq.Context() as context:
        told = {entry.name: told_by(entry, credentials, context, what) for entry in entries}
    sys.stdout.write(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
