"""Checks the chain of days, and the days against it, in a process of its own, for a service that has to stay small.

`python -m services.common.days.prove_process STATE [--public FILE] [--head DIGEST]`

Prints one JSON object: {"links": N, "head": DIGEST, "faults": [SENTENCE...]}, at most 20 of them. The chain has to be
signed under the public key in FILE, else under the one that signs by the keys of STATE. A DIGEST that was the head
before has to be among the links still: a chain that was cut short holds in itself. Of days every pointer, folder and
manifest is compared with what was signed, as `appia verify` does; contents of files are for who reads every byte.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from services.common.chain.keys import active_public_key, read_public_key
from services.common.days.names import StateNames
from services.common.days.proving import Prover
from services.common.errors import AppiaError
from services.common.idle import become_idle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.common.chain.check import CheckedChain
    from services.common.days.proving import Proven

MOST_FAULTS = 20
_SENTENCE = 300
_FIRST, _LAST = "0000-00-00", "9999-99-99"


def main(argv: Sequence[str] | None = None) -> int:
    """Check the chain and the days of the state directory named on the command line."""
    parser = argparse.ArgumentParser(description="Check the chain of days, and the days against it.")
    parser.add_argument("state", type=Path)
    parser.add_argument("--public", type=Path)
    parser.add_argument("--head", default="")
    options = parser.parse_args(argv)
    become_idle()
    state = StateNames(options.state)
    try:
        trusted = active_public_key(state.keys) if options.public is None else read_public_key(options.public)
        proven = Prover((state,), trusted, time.sleep, contents=False).prove(_FIRST, _LAST)
        faults = [sentence[:_SENTENCE] for sentence in _faults(proven, options.head)]
        said = {"links": len(proven.chain.links), "head": proven.chain.head, "faults": faults[:MOST_FAULTS]}
    except (AppiaError, OSError) as error:
        said = {"links": 0, "head": "", "faults": [str(error)[:_SENTENCE]]}
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


def _faults(proven: Proven, head: str) -> Iterator[str]:
    yield from (fault.sentence for fault in proven.chain.faults)
    yield from _cut(proven.chain, head)
    for proof in proven.days.values():
        yield from proof.faults


def _cut(chain: CheckedChain, head: str) -> Iterator[str]:
    if head and not any(link.digest == head for link in chain.links):
        yield f"the link {head[:16]}... was the last one before and is gone: the chain was cut short or replaced"


if __name__ == "__main__":
    sys.exit(main())
