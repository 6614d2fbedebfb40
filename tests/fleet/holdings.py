"""What every replica of a site has, event by event: a program for the analyst's place on the network.

`python -m fleet.holdings DESKS.json SITE` asks each replica that is registered by itself and prints one JSON object:
the identifiers of its events by the replica's name, or a sentence why it did not tell.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
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
    from collections.abc import Iterator

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


def held_by(
    entry: Entry, credentials: Credentials, context: zmq.Context[zmq.Socket[bytes]]
) -> list[str] | str:
    """The identifiers that a replica tells, or why it does not."""
    secured = credentials.secured(entry.address, entry.info)
    with closing(RpcClient(context, entry.address, secured)) as client:
        try:
            return list(events_of(client))
        except AppiaError as error:
            return str(error)


def main(arguments: list[str]) -> int:
    """Run the program."""
    desks, site = Path(arguments[0]), arguments[1]
    desk = Desk(**json.loads(desks.read_text())[site])
    credentials = Credentials.read(Path(desk.key), None)
    with closing(open_registry(desk.registry, Path(), Path(desk.registry_keys))) as registry:
        entries = registry.entries(KIND)
    with zmq.Context() as context:
        sys.stdout.write(json.dumps({entry.name: held_by(entry, credentials, context) for entry in entries}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
