"""What the health service answers."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from services.common.access.entrance import AccessFiles, open_entrance
from services.common.access.names import HEALTH, PING
from services.common.errors import UsageError
from services.common.observing.condition import Served, without_facts
from services.common.rpc import RequestError
from services.common.rpc_server import RpcServer, RpcSettings
from services.health.plain import plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    import zmq
    from structlog.typing import FilteringBoundLogger

    from services.common.access.rights import Principal
    from services.common.observing.condition import Condition
    from services.common.rpc import Deadline
    from services.common.rpc_server import Handler
    from services.health.alerts.alerts import Alerts
    from services.health.service import Rounds
    from services.health.settings import HealthSettings

WORKERS, WAITING = 1, 32


class Answering:
    """The operations by name, for any thread."""

    def __init__(self, rounds: Rounds, alerts: Alerts, condition: Condition) -> None:
        """Answer from what the rounds saw last."""
        self._rounds = rounds
        self._alerts = alerts
        self._condition = condition

    def handlers(self, principal: Principal) -> Mapping[str, Handler]:
        """The operations as one that asks may use them. That it may use them at all is for `Gate` to say."""
        return {
            PING: partial(self._ping, principal),
            "fleet": lambda _args, _deadline: self._fleet(),
            "alerts": lambda _args, _deadline: self._alerts.describe(),
            "test_alert": lambda args, _deadline: self._alerts.test(_text(args, "channel", needed=False)),
            "check_now": lambda _args, _deadline: self._check_now(),
            "forget": lambda args, _deadline: {"forgotten": self._forget(args)},
        }

    def _ping(self, principal: Principal, _args: Mapping[str, Any], _deadline: Deadline) -> dict[str, Any]:
        answer = self._condition.ping(Served())
        return answer if principal.rights.see_facts else without_facts(answer)

    def _fleet(self) -> dict[str, Any]:
        seen = self._rounds.seen
        if seen is None:
            raise RequestError("unavailable", "Health has just begun to look: ask again in a moment.")
        document: dict[str, Any] = plain(seen)
        return document

    def _check_now(self) -> dict[str, Any]:
        """A day was looked at since when its `checked_ns` in `fleet` is not before `asked_ns`."""
        asked_ns = time.time_ns()
        self._rounds.hurry()
        return {"asked_ns": asked_ns}

    def _forget(self, args: Mapping[str, Any]) -> str:
        """Forget a sensor; raises `UsageError` where there is none of that name."""
        name = _text(args, "sensor", needed=True) or ""
        self._rounds.forget(name)
        return name


def open_server(
    context: zmq.Context[zmq.Socket[bytes]],
    settings: HealthSettings,
    answering: Answering,
    log: FilteringBoundLogger,
) -> RpcServer:
    """A server that is bound and not started yet. Blocks for its key and access file.

    Raises:
        AppiaError: a file cannot be used, or the endpoint cannot be bound.
    """
    entrance = open_entrance(context, AccessFiles(settings.server_key, settings.access), log, HEALTH)
    limits = RpcSettings(settings.bind, WORKERS, WAITING)
    return RpcServer(context, limits, answering.handlers, log, entrance)


def _text(args: Mapping[str, Any], name: str, *, needed: bool) -> str | None:
    value = args.get(name)
    if isinstance(value, str) or (value is None and not needed):
        return value
    raise UsageError(f"The argument {name!r} must be a text.")
