"""The ingester's hand on the chain: opens it for whoever publishes, and mends at a start what a crash left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.chain.keys import active_public_key, read_signing_ring, signing_folder
from services.common.chain.store import ChainWriter, NoLinks, last_link
from services.common.days.linking import mend
from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from services.common.chain.store import Links
    from services.common.days.names import StateNames
    from services.common.durable import Disk


@dataclass(frozen=True)
class Signing:
    """Signs what is published below `state` with the keys of the folder `keys`, where there are any."""

    state: StateNames
    keys: Path
    disk: Disk
    clock: Callable[[], int]  # nanoseconds since 1970

    def links(self) -> Links:
        """The chain, with the keys as they are now; one that says nothing where there is no key.

        Raises:
            AppiaError: a key is damaged, or others may read it.
        """
        ring = read_signing_ring(self.keys)
        return NoLinks() if ring is None else ChainWriter(self.state.links, ring, self.disk, self.clock)

    def key_id(self) -> str:
        """Which key signs; empty where there is none, or none that can be used."""
        try:
            public = active_public_key(self.keys)
        except AppiaError:
            return ""
        return "" if public is None else public.id

    def prepare(self, report: Callable[[str], None]) -> None:
        """Mend all days, before anything is retired. What cannot be mended is reported, and the rest goes on.

        Raises:
            AppiaError: a signing key is damaged, or others may read it.
        """
        links = self.links()
        if isinstance(links, NoLinks):
            report(
                f"days are sealed without a signature: there is no key in {signing_folder(self.keys)}; "
                f"`appia keys signing {self.keys}` makes one"
            )
        try:
            links.state_of("")
        except AppiaError as error:  # a damaged chain is said once; days are mended as far as they can be
            report(str(error))
            links = NoLinks()
        for day in self.state.days():
            try:
                for sentence in mend(links, self.state.day(day), self.disk):
                    report(sentence)
            except AppiaError as error:
                report(f"day {day}: {error}")

    def head(self) -> dict[str, str | int]:
        """Number and digest of the last link, to be noted elsewhere; empty where there is none."""
        link = last_link(self.state.links)
        return {} if link is None else {"link": link.number, "head": link.digest}
