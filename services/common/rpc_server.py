"""The answering end of `rpc`: one thread owns the socket, a few workers answer.

    ROUTER --> io thread --> queue (`waiting_limit`) --> workers --> inproc --> io thread --> ROUTER

Operations that are known to be slow have a queue and workers of their own, so they delay no other. When a queue is
full a request is answered "busy" at once.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq

from services.common.access.entrance import Entrance
from services.common.access.gate import Gate
from services.common.access.refusals import Refusals, Refused
from services.common.access.rights import LOCAL
from services.common.errors import AppiaError, UsageError
from services.common.observing.beats import Beats
from services.common.observing.metrics import Kind, Metric, Source
from services.common.observing.requests import OK, REQUEST_METRICS, RequestTimes
from services.common.rpc import (
    FORBIDDEN,
    MAX_REQUEST,
    Deadline,
    Request,
    RequestError,
    check_endpoint,
    pack_error,
    pack_result,
    request_id_of,
    unpack_request,
)
from services.common.sockets import listen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import FilteringBoundLogger

    from services.common.access.rights import Principal
    from services.common.observing.metrics import Sample

Handler = Callable[[dict[str, Any], Deadline], object]
"""Answers one operation in a worker thread: from args and deadline to what msgpack can write."""

Handlers = Mapping[str, Handler] | Callable[["Principal"], Mapping[str, Handler]]
"""The operations by name; a function gives them as one that asks may use them."""

_STOP = b""
# A larger part makes ZeroMQ close the connection; between this and MAX_REQUEST the sender gets a reason.
_MAX_PART = 16 * MAX_REQUEST
_MAX_PARTS = 3  # identity, the empty part of a REQ client, the request
_TURN_MS = 1000  # the socket's thread goes round at least so often, to say that it lives
_REPLIES_KEPT = 64  # for one client that does not read
_SEND_PATIENCE_MS = 1000
_SOCKET_OPTIONS = {zmq.MAXMSGSIZE: _MAX_PART, zmq.SNDHWM: _REPLIES_KEPT}

_IO = "the socket that takes requests"
UNKNOWN, ANY = "(unknown)", "(any)"
BUSY = "busy"
WAITING = Metric(
    "appia_requests_waiting",
    Kind.GAUGE,
    "Requests that wait for a worker; slow ones have their own.",
    ("lane",),
)
REFUSED = Metric(
    "appia_requests_refused_total", Kind.COUNTER, "Connections and requests that were refused.", ("reason",)
)
SERVER_METRICS = (*REQUEST_METRICS, WAITING, REFUSED)


@dataclass(frozen=True)
class RpcSettings:
    """Where and how a server answers."""

    bind: str
    workers: int = 4
    waiting_limit: int = 256
    slow: frozenset[str] = frozenset()  # operations with workers of their own
    slow_workers: int = 1
    prepare: Callable[[], object] = lambda: None  # called once in each thread that will answer


@dataclass(frozen=True)
class _Lane:
    """Requests that wait, and the threads that answer them."""

    jobs: queue.Queue[_Job | None]
    workers: list[threading.Thread]


@dataclass(frozen=True)
class _Job:
    envelope: list[bytes]
    request: Request
    deadline: Deadline
    principal: Principal


class RpcServer:
    """Answers requests from `start` to `stop`. Make it and stop it in one thread."""

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        settings: RpcSettings,
        handlers: Handlers,
        log: FilteringBoundLogger,
        entrance: Entrance | None = None,
    ) -> None:
        """Bind; nothing is answered before `start`.

        Without an `entrance` everybody on this machine may ask everything. The server closes its door.

        Raises:
            UsageError: the endpoint is none, or not on loopback without keys.
            AppiaError: the endpoint cannot be bound, for example because another process has the port.
        """
        self.entrance = entrance or Entrance(Gate(Refusals(log)))
        self._context = context
        self._handlers_for = handlers if callable(handlers) else lambda _: handlers
        self._known = frozenset(self._handlers_for(LOCAL))
        self._log = log
        self._prepare = settings.prepare
        self._slow = settings.slow
        self._waiting_limit = settings.waiting_limit
        self._times = RequestTimes()
        self._beats = Beats()
        self._inside = f"inproc://rpc-{secrets.token_hex(8)}"
        self._socket = self._listen(settings.bind)
        self._replies = context.socket(zmq.PULL)
        self._replies.bind(self._inside)
        # Made now: a process that has no file handle left must be able to stop.
        self._order = context.socket(zmq.PUSH)
        self._order.connect(self._inside)
        self.endpoint = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._io = threading.Thread(target=self._serve, name="rpc-io")
        self._quick_lane = self._lane("rpc", settings.workers)
        slow_workers = settings.slow_workers if settings.slow else 0
        self._slow_lane = self._lane("rpc-slow", slow_workers)

    def _listen(self, bind: str) -> zmq.Socket[bytes]:
        door = self.entrance.door
        check_endpoint(bind, encrypted=door is not None)
        if door is None:
            return listen(self._context, zmq.ROUTER, bind, _SOCKET_OPTIONS)
        try:
            socket = listen(self._context, zmq.ROUTER, bind, {**_SOCKET_OPTIONS, **door.options})
        except AppiaError:
            door.close()
            raise
        door.watch(socket)
        return socket

    def _lane(self, name: str, workers: int) -> _Lane:
        jobs: queue.Queue[_Job | None] = queue.Queue()  # the one thread that puts holds it to the limit
        threads = [
            threading.Thread(target=self._work, args=(jobs,), name=f"{name}-{i}") for i in range(workers)
        ]
        return _Lane(jobs, threads)

    def limit_waiting(self, limit: int) -> None:
        """Let so many requests wait from now on, in each queue; those that wait stay. For any thread."""
        self._waiting_limit = limit

    def stuck(self) -> str:
        """Why requests are not taken any more; empty while they are. For any thread."""
        return self._beats.stuck()

    def source(self) -> Source:
        """What is counted here, as metrics."""
        return Source(SERVER_METRICS, self._read)

    def _read(self) -> Iterator[Sample]:
        yield from self._times.read()
        for lane, name in zip(self._lanes, ("quick", "slow"), strict=True):
            yield WAITING.of(lane.jobs.qsize(), name)
        for reason, count in self.entrance.gate.refusals.counts.items():
            yield REFUSED.of(count, reason)

    @property
    def _lanes(self) -> tuple[_Lane, ...]:
        return self._quick_lane, self._slow_lane

    def start(self) -> None:
        """Begin to answer; does not block."""
        for thread in (self._io, *(worker for lane in self._lanes for worker in lane.workers)):
            thread.start()

    def stop(self) -> None:
        """Take no further request, finish those taken, send their answers, and close; blocks until then."""
        if self._socket.closed:
            return
        if self._io.ident is None:
            self._order.close(linger=0)
            self._close(linger=0)
            return
        self._order.send(_STOP)
        self._io.join()
        self._order.close(linger=0)

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._replies, zmq.POLLIN)
        door = self.entrance.door
        for socket in () if door is None else door.sockets:
            poller.register(socket, zmq.POLLIN)
        running = True
        while running:
            self._beats.beat(_IO)
            ready = dict(poller.poll(_TURN_MS))
            if self._replies in ready:
                running = self._forward()
            if running and self._socket in ready:
                self._take(*self._receive())
            if door is not None:
                door.attend()
        self._beats.ended(_IO)
        self._drain()

    def _receive(self) -> tuple[list[bytes], str | None]:
        """The parts of a message, and the public key of who sent it; None on plain text."""
        frames = self._socket.recv_multipart(copy=False)
        parts = [frame.bytes for frame in frames]
        # What the door gave libzmq for the connection; without it nothing gets here that is encrypted.
        return parts, None if self.entrance.door is None else str(frames[-1].get("User-Id"))

    def _forward(self) -> bool:
        """Send one reply on; False when it is the order to stop."""
        parts = self._replies.recv_multipart()
        if parts == [_STOP]:
            return False
        self._socket.send_multipart(parts)
        return True

    def _drain(self) -> None:
        for lane in self._lanes:
            for _ in lane.workers:
                lane.jobs.put(None)
        workers = [worker for lane in self._lanes for worker in lane.workers]
        while any(worker.is_alive() for worker in workers) or self._replies.poll(0):
            if self._replies.poll(10):
                self._forward()
        self._close(linger=_SEND_PATIENCE_MS)

    def _close(self, linger: int) -> None:
        if self.entrance.door is not None:
            self.entrance.door.close(self._socket)
        self._replies.close(linger=0)
        self._socket.close(linger=linger)

    def _queue(self, lane: _Lane, job: _Job) -> None:
        """Let a request wait. Raises queue.Full where too many do; nobody else puts meanwhile."""
        if lane.jobs.qsize() >= self._waiting_limit:
            raise queue.Full
        lane.jobs.put(job)

    def _take(self, parts: list[bytes], public_key: str | None) -> None:
        envelope, raw = parts[:-1], parts[-1]
        try:
            _check_parts(parts)
            request = unpack_request(raw)
            principal = self.entrance.gate.admit(request, public_key)
            lane = self._slow_lane if request.op in self._slow else self._quick_lane
            deadline = Deadline.after(request.deadline_ms / 1000)
            self._queue(lane, _Job(envelope, request, deadline, principal))
        except RequestError as error:
            reply = pack_error(request_id_of(raw), error.code, str(error))
        except queue.Full:
            self._times.note(ANY, BUSY)
            reply = pack_error(
                request.id,
                BUSY,
                f"The service is busy: {lane.jobs.qsize()} requests are waiting already; ask again in a moment.",
            )
        else:
            return
        self._socket.send_multipart([*envelope[: _MAX_PARTS - 1], reply])

    def _work(self, jobs: queue.Queue[_Job | None]) -> None:
        self._prepare()
        with self._context.socket(zmq.PUSH) as replies:
            replies.connect(self._inside)
            while (job := jobs.get()) is not None:
                began = time.perf_counter()
                outcome, reply = self._answer(job)
                name = job.request.op if job.request.op in self._known else UNKNOWN
                self._times.note(name, outcome, time.perf_counter() - began)
                replies.send_multipart([*job.envelope, reply])
            replies.close(linger=-1)

    def _answer(self, job: _Job) -> tuple[str, bytes]:
        """The outcome for the measures, and the reply."""
        request = job.request
        try:
            handler = self._handler(request.op, job.principal)
            job.deadline.check()
            return OK, pack_result(request.id, handler(request.args, job.deadline))
        except RequestError as error:
            if error.code == FORBIDDEN:
                self.entrance.gate.refusals.note(Refused.CONTENT, name=job.principal.name)
            return error.code, pack_error(request.id, error.code, str(error))
        except UsageError as error:
            return "usage", pack_error(request.id, "usage", str(error))
        except AppiaError as error:
            return "unavailable", pack_error(request.id, "unavailable", str(error))
        except Exception:  # noqa: BLE001 - a fault in one answer must not end the worker
            reference = f"{time.time_ns():x}"
            self._log.exception("request failed", op=request.op, reference=reference)
            message = f"The service failed to answer; its log has the reason under reference {reference}."
            return "internal", pack_error(request.id, "internal", message)

    def _handler(self, op: str, principal: Principal) -> Handler:
        handlers = self._handlers_for(principal)
        handler = handlers.get(op)
        if handler is None:
            known = ", ".join(sorted(handlers))
            raise RequestError("usage", f"There is no operation {op!r}; there are: {known}.")
        return handler


def _check_parts(parts: list[bytes]) -> None:
    if len(parts) > _MAX_PARTS or (len(parts) == _MAX_PARTS and parts[1]):
        raise RequestError("usage", "A request is one message part.")
