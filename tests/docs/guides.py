"""Which pages are guides, and which chapters of them the fleet's machines run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docs.blocks import blocks_of, happenings_of

if TYPE_CHECKING:
    from docs.blocks import Block, Happening

_DOCS = Path(__file__).parents[2] / "docs"

GUIDES = tuple(
    _DOCS / f"{name}.md"
    for name in (
        "user-guide",
        "producer-consumer",
        "sizing",
        "backup",
        "models",
        "install",
        "security-checklist",
        "upgrade",
        "disaster",
    )
)
"""In the order in which they are run in the stack of the tests: those that change days come after those that ask."""

CHAPTERS: dict[str, str] = {
    "one-node": "from a bundle to one node that runs",
    "grow": "one node becomes three, with its days and keys",
    "install": "three nodes, to an answered question",
    "analyst": "questions from a machine of one's own",
    "upgrade": "one node at a time, and back",
    "security": "what the checklist looks at",
    "disaster-etcd": "a member of etcd is lost, then all of them",
    "disaster-rag": "a replica's node is lost",
    "disaster-ingester": "the ingester's node is lost and comes back from a backup",
    "uninstall": "what goes and what stays",
}
"""What `make fleet` types on its machines: each chapter from the state that the one before leaves behind."""


PLACES = {
    "controller": "10.0.0.5",
    "node-1": "10.0.0.11",
    "node-2": "10.0.0.12",
    "node-3": "10.0.0.13",
    "analyst": "10.0.0.50",
}
"""The machines that chapters are typed on, with the addresses that they have in the guides."""
NETWORK = "10.0.0.0/24"


def chapter_steps(chapter: str) -> list[Block | Happening]:
    """What is typed and what happens in a chapter, in the order of the guides."""
    steps: list[Block | Happening] = []
    for guide in GUIDES:
        typed = [b for b in blocks_of(guide) if b.mark is not None and b.mark.chapter == chapter]
        happening = [h for h in happenings_of(guide) if h.chapter == chapter]
        steps += sorted([*typed, *happening], key=lambda step: step.line)
    return steps


def stack_blocks(guide: Path) -> list[Block]:
    """The blocks of a guide that are typed in the stack of the tests, in order."""
    return [block for block in blocks_of(guide) if block.mark is not None and block.mark.stack]
