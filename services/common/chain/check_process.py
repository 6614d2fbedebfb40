"""Checks the chain of days in a process of its own, for a service that has to stay small.

`python -m services.common.chain.check_process LINKS [--public FILE] [--keys FOLDER] [--head DIGEST]`

Prints one JSON object: {"links": N, "head": DIGEST, "faults": [SENTENCE...]}, at most 20 of them. The chain has to be
signed under the public key in FILE, else under the one that signs by the keys FOLDER. A DIGEST that was the head before
has to be among the links still: a chain that was cut short holds in itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.chain.keys import active_public_key, read_public_key
from services.common.chain.store import read_chain
from services.common.errors import AppiaError
from services.common.idle import become_idle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.common.chain.check import CheckedChain
    from services.common.chain.keys import PublicKey

MOST_FAULTS = 20
_SENTENCE = 300


def main(argv: Sequence[str] | None = None) -> int:
    """Check the chain named on the command line."""
    parser = argparse.ArgumentParser(description="Check the chain of days.")
    parser.add_argument("links", type=Path)
    parser.add_argument("--public", type=Path)
    parser.add_argument("--keys", type=Path)
    parser.add_argument("--head", default="")
    options = parser.parse_args(argv)
    become_idle()
    try:
        chain = read_chain(options.links, _trusted(options.public, options.keys))
        faults = [fault.sentence[:_SENTENCE] for fault in chain.faults] + _cut(chain, options.head)
        said = {"links": len(chain.links), "head": chain.head, "faults": faults[:MOST_FAULTS]}
    except (AppiaError, OSError) as error:
        said = {"links": 0, "head": "", "faults": [str(error)[:_SENTENCE]]}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


def _trusted(public: Path | None, keys: Path | None) -> PublicKey | None:
    if public is not None:
        return read_public_key(public)
    return None if keys is None else active_public_key(keys)


def _cut(chain: CheckedChain, head: str) -> list[str]:
    if not head or any(link.digest == head for link in chain.links):
        return []
    return [
        f"the link {head[:16]}... was the last one before and is gone: the chain was cut short or replaced"
    ]


if __name__ == "__main__":
    sys.exit(main())
