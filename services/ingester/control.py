"""The ingester's control socket: who may ask it, how often that was refused, and in whose name something is said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.common.access.entrance import AccessFiles, open_entrance
from services.common.access.names import INGESTER, PING
from services.common.access.rights import LOCAL
from services.common.observing.condition import without_facts
from services.common.rpc_server import RpcServer, RpcSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import zmq
    from structlog.typing import FilteringBoundLogger

    from services.common.access.refusals import Refusals
    from services.common.access.rights import Principal
    from services.common.rpc_server import Handler
    from services.ingester.settings import IngesterSettings

FEEDBACK, HOLD, STATUS = "feedback", "hold", "status"


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
    common = {**handlers, STATUS: with_refusals(entrance.gate.refusals, handlers[STATUS])}

    def handlers_for(principal: Principal) -> Mapping[str, Handler]:
        return {
            **common,
            FEEDBACK: said_by(principal, handlers[FEEDBACK], "analyst"),
            HOLD: said_by(principal, handlers[HOLD], "who"),
            PING: told_to(principal, handlers[PING]),
        }

    return RpcServer(context, RpcSettings(settings.control, workers=2), handlers_for, log, entrance)


def with_refusals(refusals: Refusals, give_status: Callable[..., Any]) -> Handler:
    """A status that also counts who was refused here."""
    return lambda args, deadline: {**give_status(args, deadline), "refused_requests": refusals.counts}


def said_by(principal: Principal, handler: Handler, who: str) -> Handler:
    """An operation whose argument `who` names who asks: that is the key's name then; on plain text what is said."""
    if principal is LOCAL:
        return handler

    def answer(args: dict[str, Any], deadline: Any) -> object:
        return handler({**args, who: principal.name}, deadline)

    return answer


def told_to(principal: Principal, ping: Callable[..., Any]) -> Handler:
    """A ping that tells no more than who answers to one that may not look."""
    if principal.rights.see_facts:
        return ping
    return lambda args, deadline: without_facts(ping(args, deadline))
