"""Ansible filters: the keys of an ingester on its node and in the vault of the site, so that neither side loses one.

Both are files by their path in the folder of keys (docs/keys.md, docs/chain.md, docs/at-rest.md), in base64.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RING, ACTIVE, STORED = "wire/ring.json", "signing/ACTIVE", "rest/storage.keys"
SENSORS = "wire/v1/"
_IN_VAULT = "ingester/"
_KINDS = ("wire/", "signing/", "rest/")


def with_keys_of(vault: Mapping[str, str], found: Mapping[str, str]) -> dict[str, str]:
    """The vault with the keys of a node's folder in the place of those that it has.

    Revoked keys stay revoked, and storage keys that only the vault has stay for reading.

    Raises ValueError where the folder lacks a kind of keys that the site has: it is no copy of the whole.
    """
    mine, others = _of_ingester(vault)
    missing = [
        path for path in (RING, ACTIVE, STORED) if path not in found and (path != STORED or STORED in mine)
    ]
    if missing:
        raise ValueError(
            f"The folder lacks {' and '.join(missing)}: copy the whole of /etc/appia/keys of the node."
        )
    taken = {path: content for path, content in found.items() if path.startswith(_KINDS)}
    ring = json.loads(_text(found, RING))
    ring["revoked"] = sorted({*ring["revoked"], *_revoked(mine)})
    taken[RING] = _base64(json.dumps(ring))
    if STORED in found:
        lines = _text(found, STORED).split()  # the last one is that of new files
        taken[STORED] = _base64(
            "".join(f"{line}\n" for line in [*_without(_text(mine, STORED), lines), *lines])
        )
    return others | {_IN_VAULT + path: content for path, content in taken.items()}


def lost_keys(found: Mapping[str, str], vault: Mapping[str, str], seeds: Sequence[str]) -> list[str]:
    """What a node would lose if it got what the vault has: keys in use there, and revocations.

    `found` has the ring, the name of the active key and the storage keys, as far as they are there; `seeds` are the
    paths of seeds, of sensors too. A seed of the ring that is neither primary nor in the vault was retired there.
    """
    mine, _ = _of_ingester(vault)
    lost = []
    if RING in found:
        primary, revoked = json.loads(_text(found, RING))["primary"], _revoked(mine)
        if primary not in revoked and f"wire/{primary}.seed" not in mine:
            lost.append(f"the key of frames {primary}")
        lost += [f"the revocation of {key}" for key in sorted({*_revoked(found)} - {*revoked})]
    active = _text(found, ACTIVE).strip()
    if active and f"signing/{active}.key" not in mine:
        lost.append(f"the signing key {active}")
    stored = _without(_text(found, STORED), _text(mine, STORED).split())
    lost += [f"storage keys ({len(stored)})"] if stored else []
    return lost + [
        f"the seed {path}" for path in sorted(seeds) if path.startswith(SENSORS) and path not in mine
    ]


def _of_ingester(vault: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The keys of the ingester as its node has them, and everything else as the vault has it."""
    mine = {
        path.removeprefix(_IN_VAULT): content for path, content in vault.items() if path.startswith(_IN_VAULT)
    }
    keys = {path: content for path, content in mine.items() if path.startswith(_KINDS)}
    return keys, {
        path: content for path, content in vault.items() if path.removeprefix(_IN_VAULT) not in keys
    }


def _text(files: Mapping[str, str], path: str) -> str:
    return b64decode(files.get(path, "")).decode()


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()


def _revoked(files: Mapping[str, str]) -> list[int]:
    revoked: list[int] = json.loads(_text(files, RING) or "{}").get("revoked", [])
    return revoked


def _without(lines: str, known: Sequence[str]) -> list[str]:
    return [line for line in lines.split() if line not in known]


class FilterModule:
    """What Ansible looks for in a folder of filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by their names."""
        return {"appia_with_keys_of": with_keys_of, "appia_lost_keys": lost_keys}
