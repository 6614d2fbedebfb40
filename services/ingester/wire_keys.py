"""What opens frames in the ingester, and follows the key ring while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.errors import AppiaError
from services.common.wire.keys import read_key_ring
from services.common.wire.ring_watch import RingWatch
from services.common.wire.senders import SenderTable
from services.common.wire.sessions import V2Receiver
from services.common.wire.v1 import V1Opener
from services.common.wire.v1_counters import V1Counters
from services.common.wire.v1_seen import SeenFile, SeenFrames
from services.ingester.receiver import Frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.common.days.names import StateNames
    from services.common.durable import Disk
    from services.ingester.settings import IngesterSettings

SENDERS = "senders.json"
SEEN = "v1-seen"


@dataclass(frozen=True)
class WireKeys:
    """Everything that depends on the key ring."""

    frames: Frames
    artifacts: V1Opener
    firewalls: V1Opener
    watch: RingWatch

    def follow(self) -> None:
        """Take up a ring that has changed. For the receiver's thread, between two groups of frames."""
        ring = self.watch.changed()
        if ring is not None:
            self.frames.v2.use(ring)
            self.frames.v1.use(ring.opening_seeds(), ring.nodes)
            self.artifacts.use(ring.opening_seeds(), ring.nodes)
            self.firewalls.use(ring.opening_seeds(), ring.nodes)


def open_wire_keys(
    settings: IngesterSettings, state: StateNames, disk: Disk, report: Callable[[str, dict[str, Any]], None]
) -> WireKeys:
    """Read the key ring and what is remembered of senders. Blocks on the disk.

    Raises:
        AppiaError: the key ring or a file of the state directory cannot be used.
    """
    ring = read_key_ring(settings.keys)
    # Without a version 1 endpoint there is nothing to remember, and no file of 16 MiB to make.
    is_used = settings.v1_pull or settings.v1_sub or settings.firewall_v1_pull or settings.firewall_v1_sub
    file = SeenFile(disk, state.run / SEEN) if is_used else None
    try:
        seen = SeenFrames(file=file)
    except OSError as error:
        raise AppiaError(
            f"{state.run / SEEN} cannot be used ({error.strerror}): check its owner and disk, or delete it; replays of "
            "frames are then known by their content only, until new ones came."
        ) from error
    frames = Frames(
        V2Receiver(ring, settings.v2_channel, SenderTable(state.run / SENDERS, disk=disk)),
        V1Opener(ring.opening_seeds(), settings.v1_channel, ring.nodes),
        V1Counters(seen),
    )
    artifacts = V1Opener(ring.opening_seeds(), settings.artifact_channel, ring.nodes)
    firewalls = V1Opener(ring.opening_seeds(), settings.firewall_v1_channel, ring.nodes)
    return WireKeys(frames, artifacts, firewalls, RingWatch(settings.keys, ring, report))
