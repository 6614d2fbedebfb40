"""`appia up`: one ingester and some replicas over one state directory, in the foreground."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - typer reads it when a command is made
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.options import JsonOption, StateOption, grouped, required_state
from services.cli.output import print_lines, print_table, say
from services.cli.store_folder import ModelsOption, model_store_folder
from services.common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.cli.running import Running
    from services.cli.stack import StackOptions
    from services.common.durable import Disk

SAME_PORT = "a free one, the same at each start"
END_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Places:
    """Options of `up` about where services listen and register."""

    registry: Annotated[
        str, typer.Option(metavar="URL", help="Where services register: file, or etcds://HOST:PORT/PREFIX.")
    ] = "file"
    listen: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address at which senders of wire version 2 reach the ingester; the rest stays on loopback.",
        ),
    ] = "127.0.0.1"
    intake_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65535, help="Port for wire version 2.", show_default=SAME_PORT
        ),
    ] = None
    v1_port: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=1, max=65535, help="Port for wire version 1 (PUSH).", show_default=SAME_PORT
        ),
    ] = None


@dataclass(frozen=True)
class Extras:
    """Options of `up` that few need."""

    settings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file with tables [ingester], [rag] and [health]: settings that win over what is chosen here.",
            show_default="none",
        ),
    ] = None
    models: ModelsOption = None
    watchdog: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=3600,
            help="Kill and start again a service that has not said for so long that it works; 0 for never.",
        ),
    ] = 30.0
    health: Annotated[
        bool,
        typer.Option(
            "--health/--no-health", help="Run the health service, which watches, repairs and alerts."
        ),
    ] = True
    as_json: JsonOption = False


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: appia up --state ~/appia --replicas 2")(grouped(up))


def up(
    *,
    state: StateOption = None,
    replicas: Annotated[
        int, typer.Option(metavar="N", min=1, max=64, help="Processes that answer questions.")
    ] = 1,
    places: Places,
    extras: Extras,
) -> None:
    """Run the whole system on a state directory, until Ctrl-C.

    DIR is made if it is missing. When all is ready, DIR/endpoints.json says where; DIR/run has settings and logs.
    """
    from services.cli.run_settings import read_overrides  # noqa: PLC0415 - as above
    from services.cli.stack import StackOptions  # noqa: PLC0415 - other commands start quicker without it
    from services.common.days.names import StateNames  # noqa: PLC0415 - as above
    from services.common.registry.connect import check_registry_url  # noqa: PLC0415 - as above

    options = StackOptions(
        names=StateNames(_checked_state(required_state(state))),
        replicas=replicas,
        registry=check_registry_url(places.registry),
        listen=_checked_address(places.listen),
        intake_port=places.intake_port,
        v1_port=places.v1_port,
        overrides=read_overrides(extras.settings),
        health=extras.health,
    )
    _run(options, model_store_folder(extras.models, os.environ), extras)


def _run(options: StackOptions, store: Path, extras: Extras) -> None:
    from services.cli.running import StackLock  # noqa: PLC0415 - as above
    from services.common.days.layout import claim_layout  # noqa: PLC0415 - as above
    from services.common.durable import Disk  # noqa: PLC0415 - as above
    from services.common.private_folders import UMASK  # noqa: PLC0415 - as above

    os.umask(UMASK)
    names, disk = options.names, Disk()
    claim_layout(names, disk)
    disk.make_folder(names.run)
    lock = StackLock(names)
    try:
        # What kill -9 left behind must not be taken for the stack that is starting.
        disk.remove(names.endpoints)
        with _stop_on_signals() as stop:
            _serve(
                options, store, Announcer(options, disk, as_json=extras.as_json), Guard(stop, extras.watchdog)
            )
    finally:
        disk.remove(names.endpoints)
        lock.release()
    if not extras.as_json:
        print_lines("Stopped.")


@dataclass(frozen=True)
class Guard:
    """What ends the stack, and how long a service may be silent, in seconds."""

    stop: threading.Event
    watchdog_s: float


def _serve(options: StackOptions, store: Path, announcer: Announcer, guard: Guard) -> None:
    from services.cli import stack  # noqa: PLC0415 - as above
    from services.cli.concerns import concerns  # noqa: PLC0415 - as above
    from services.cli.ports import PortBook  # noqa: PLC0415 - as above
    from services.cli.supervisor import Supervisor, Surroundings  # noqa: PLC0415 - as above
    from services.common.observing.pulse import Pulse  # noqa: PLC0415 - as above
    from services.common.observing.systemd import Notifier, Supervised  # noqa: PLC0415 - as above

    names, disk = options.names, announcer.disk
    ports = PortBook(names.run / "ports.json", random.SystemRandom(), say)
    sealing = stack.prepare_sealing(
        names, options.registry, disk
    )  # before the settings, which name its folder
    services = stack.make_services(options, ports, disk)
    settings = stack.ingester_settings(names)
    stack.prepare_models(store, names, settings.models)
    if stack.prepare_keys(names):
        say(f"made a new key in {names.keys}; machines that send here need a copy of its folder wire")
    public = stack.prepare_signing(names, disk)
    if public is not None:
        say(f"made a new key that signs sealed days; who verifies a copy elsewhere needs {public}")
    if sealing:
        say(f"made a new key in {names.keys} that seals what `appia config` sets")
    disk.make_folder(names.inbox)
    for concern in concerns(names, settings):
        say(concern)
    # Whoever supervises `appia up` itself is told what it tells systemd.
    notifier = Notifier(Supervised.take(os.environ))
    pulse = Pulse(notifier, time.monotonic)
    around = Surroundings(time.monotonic, guard.stop, say, watchdog_s=guard.watchdog_s, turn=pulse.turn)

    def ready(facts: Mapping[str, Mapping[str, Any]]) -> None:
        announcer.ready(facts)
        notifier.ready()

    Supervisor(services, around).run(ready)
    notifier.close()


class Announcer:
    """Writes `endpoints.json` when the stack is ready, and tells the operator the first time."""

    def __init__(self, options: StackOptions, disk: Disk, *, as_json: bool) -> None:
        self.disk = disk
        self._options = options
        self._as_json = as_json
        self._told = False

    def ready(self, facts: Mapping[str, Mapping[str, Any]]) -> None:
        """Take what each service said when it was ready."""
        from services.cli.stack import running_stack, targets  # noqa: PLC0415 - as above

        running = running_stack(self._options, facts)
        names = self._options.names
        self.disk.write_file(names.run / "prometheus.json", targets(running).encode())
        self.disk.write_file(names.endpoints, running.to_json().encode())
        if self._told:
            return
        self._told = True
        if self._as_json:
            sys.stdout.write(running.to_json())
        else:
            _print_ready(running)
        sys.stdout.flush()


def _print_ready(running: Running) -> None:
    ingester = running.ingester
    rows = [
        ("ingester", "feed, wire version 2", ingester.v2, ingester.pid),
        ("", "sensors, wire version 1 (PUSH)", ingester.v1_pull or "off", ""),
        *((replica.name, "questions", replica.endpoint, replica.pid) for replica in running.replicas),
        *([("health", "appia status, appia alerts", running.health, "")] if running.health else []),
    ]
    print_table(["service", "~for", "at", ">process"], rows)
    print_lines(
        "",
        f"Ready. Feed it: appia feed --state {running.state} --format cicflowmeter FILE",
        f'Ask it:        appia search --state {running.state} "port scan from outside"',
        "Stop it:       Ctrl-C",
    )


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that is set by the signals that end a program in good order."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in END_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _checked_state(state: Path) -> Path:
    root = state.expanduser().resolve()
    try:
        str(root).encode()
    except UnicodeEncodeError:
        raise UsageError("the name of the state directory is not UTF-8: choose another one") from None
    return root


def _checked_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise UsageError(
            f"{text!r} is not an address: give one of this machine to --listen, or 0.0.0.0"
        ) from None
