"""The ingester's control socket: who may ask it, and in whose name feedback is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.access.entrance import AccessFiles, open_entrance
from services.common.access.names import INGESTER
from services.common.access.rights import LOCAL
from services.common.rpc_server import RpcServer, RpcSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zmq
    from structlog.typing import FilteringBoundLogger

    from services.common.access.rights import Principal
    from services.common.rpc_server import Handler
    from services.ingester.settings import IngesterSettings

FEEDBACK = "feedback"


def open_control(
    context: zmq.Context[zmq.Socket[bytes]],
    settings: IngesterSettings,
    handlers: Mapping[str, Handler],
    log: FilteringBoundLogger,
) -> RpcServer:
    """A server for these operations that is bound and not started yet. Blocks for its key and access file.

    Raises:
        AppiaError: a file cannot be used, or the endpoint cannot be bound.
    """
    entrance = open_entrance(context, AccessFiles(settings.server_key, settings.access), log, INGESTER)

    def handlers_for(principal: Principal) -> Mapping[str, Handler]:
        return {**handlers, FEEDBACK: said_by(principal, handlers[FEEDBACK])}

    return RpcServer(context, RpcSettings(settings.control, workers=2), handlers_for, log, entrance)


def said_by(principal: Principal, give_feedback: Handler) -> Handler:
    """Feedback by one that asks: the analyst is the key's name, whatever the request says; on plain text as it says."""
    if principal is LOCAL:
        return give_feedback

    def give(args: dict[str, Any], deadline: Any) -> object:
        return give_feedback({**args, "analyst": principal.name}, deadline)

    return give
