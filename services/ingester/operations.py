"""The operations of the ingester's control socket, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.common.observing.condition import Served
from services.ingester.reindexing import describe_indices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.common.days.chosen_models import ChosenModels
    from services.common.days.names import StateNames
    from services.common.observing.condition import Condition
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler
    from services.ingester.feedback import FeedbackDesk
    from services.ingester.fence import Fencing
    from services.ingester.holding import HoldDesk
    from services.ingester.indexer import Indexer
    from services.ingester.jobs import Jobs
    from services.ingester.queue import ByteQueue
    from services.ingester.receiver import Receiver
    from services.ingester.replay import Replay
    from services.ingester.signing import Signing

KIND = "ingester"
"""What the service is called in the registry and in its log."""


@dataclass(frozen=True)
class Protection:
    """Whether logs are encrypted, and which key signs what is sealed."""

    encrypts: bool
    signing: Signing

    def as_dict(self) -> dict[str, Any]:
        """The id of the key that signs is empty where none does."""
        return {"encrypts": self.encrypts, "signs": self.signing.key_id()}


@dataclass(frozen=True)
class Counted:
    """The parts that `status` asks for their counters."""

    receiver: Receiver
    indexer: Indexer
    indexing: ByteQueue
    fencing: Fencing
    protection: Protection
    started: str
    """When, as an ISO time in UTC: everything is counted since."""

    def status(self) -> dict[str, Any]:
        """Counters of all parts; blocks for none of them but for the name of the signing key."""
        return {
            "started": self.started,
            "protection": self.protection.as_dict(),
            **self.counters(),
        }

    def counters(self) -> dict[str, Any]:
        """What changes as events come; reads no file and blocks for nothing."""
        return {
            **self.receiver.counts(),
            "index_lag": self.indexer.lag(),
            "hours_due": self.indexer.due(),
            "index_faults": self.indexer.faults(),
            "reused_ids": self.indexer.reused_ids,
            "queue_bytes": self.indexing.bytes,
            "writer": self.fencing.status(),
        }


@dataclass(frozen=True)
class Answering:
    """The parts that do what is asked."""

    condition: Condition
    counted: Counted
    jobs: Jobs
    feedback: FeedbackDesk
    replay: Replay
    state: StateNames
    models: ChosenModels
    holds: HoldDesk

    def handlers(self) -> Mapping[str, Handler]:
        """Every operation by its name."""
        jobs = self.jobs
        return {
            "ping": lambda _args, _deadline: self.condition.ping(Served()),
            "status": lambda _args, _deadline: self.counted.status(),
            "feedback": lambda args, _deadline: self.feedback.take(args),
            "replay": lambda args, _deadline: self.replay.take(args),
            "indices": lambda args, _deadline: describe_indices(self.state, self.models, args),
            "hold": lambda args, _deadline: self.holds.hold(args),
            "unhold": lambda args, _deadline: self.holds.release(args),
            "holds": lambda _args, _deadline: self.holds.describe(),
            "seal_status": lambda args, _deadline: jobs.status(str(args.get("job", ""))),
            **{kind: _job_handler(jobs, kind) for kind in jobs.kinds},
        }


def _job_handler(jobs: Jobs, kind: str) -> Handler:
    def queue(args: dict[str, Any], _deadline: Deadline) -> dict[str, Any]:
        return {"job": jobs.request(kind, args)}

    return queue
