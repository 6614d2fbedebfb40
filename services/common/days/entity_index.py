"""The `entity` index of a day: a row is a host. Its facts and its profile lie beside its vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.common.days.day_hosts import HOST, DayHosts, find_hosts
from services.common.days.embedders import spec_of
from services.common.days.names import ENTITY
from services.common.days.raw import raw
from services.common.days.vectors import VectorIndex
from services.common.errors import AppiaError
from services.common.events.profiles import PROFILE, profiles_schema_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from services.common.days.checked import CheckedFiles
    from services.common.days.day_hosts import Segment
    from services.common.durable import Disk
    from services.common.embedding.port import RowEmbedder

HOSTS, PROFILES = "hosts.bin", "profiles.bin"


@dataclass(frozen=True)
class EntityIndex:
    """The hosts of a day and the vector of each. Immutable; safe for several threads."""

    hosts: DayHosts
    vectors: VectorIndex  # row i is host i


def embed_hosts(segments: Sequence[Segment], embedder: RowEmbedder) -> EntityIndex:
    """The hosts in the events of one day's segments, in memory. Blocks about a second for a million events."""
    hosts = find_hosts(segments)
    vectors = embedder.embed(hosts.profiles)
    return EntityIndex(hosts, VectorIndex(spec_of(ENTITY, embedder), len(hosts), vectors))


def write_hosts(disk: Disk, folder: Path, hosts: DayHosts) -> None:
    """Write the hosts' facts and profiles into `folder`."""
    disk.put(folder / HOSTS, raw(hosts.facts))
    disk.put(folder / PROFILES, raw(hosts.profiles.astype("<f4")))


def map_hosts(files: CheckedFiles) -> DayHosts:
    """Map what `write_hosts` wrote.

    Raises:
        AppiaError: a file is missing or does not hold as many hosts as the manifest says, or the profiles have other
            numbers than those of this release.
    """
    manifest = files.manifest
    if manifest.facts.get("profiles") != profiles_schema_hash():
        raise AppiaError(
            f"the hosts in {files.folder} are described by other numbers than this release uses: run "
            f"`appia reindex {manifest.day} --index {ENTITY}`"
        )
    count = manifest.rows
    facts = files.mapped(HOSTS, HOST, (count,))
    profiles = files.mapped(PROFILES, "<f4", (count, len(PROFILE)))
    return DayHosts(facts, profiles, int(manifest.facts["left_out"]))
