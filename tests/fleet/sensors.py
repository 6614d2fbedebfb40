"""Sensors: a file that grows, and a real `appia feed --follow` that sends it from a place on the network."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleet.traffic import event_ids

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.network import Place
    from fleet.traffic import Traffic

FLUSH_WITHIN_S = 90.0
TICK_S = 0.1
SEEN_WITHIN_S = 0.5
"""The feed looks five times a second whether its file has grown."""


def in_place(place: Place, *words: str) -> list[str]:
    """A command that runs at a place on the network, by this project's own Python where it begins with a module."""
    return ["ip", "netns", "exec", place.namespace, *words]


@dataclass(frozen=True)
class Intake:
    """Where a sensor sends, and the folder of the keys that it seals with."""

    endpoint: str
    keys: Path


class Sensor:
    """Sees flows at a rate, and sends them until `finish`. What it could not send waits in its file."""

    def __init__(self, place: Place, folder: Path, traffic: Traffic, intake: Intake) -> None:
        """Nothing is sent yet."""
        self._place, self._traffic, self._intake = place, traffic, intake
        self.name = place.name
        self.path = folder / f"{place.name}.{traffic.format}"
        self._log = folder / f"{place.name}.log"
        self._over = threading.Event()
        self._fault: OSError | None = None
        self.seen = 0
        self._feed: subprocess.Popen[bytes] | None = None

    @property
    def target(self) -> list[str]:
        """Options of `appia feed` that say where it sends."""
        return ["--to", self._intake.endpoint, "--keys", str(self._intake.keys)]

    def start(self, rate: float) -> None:
        """Begin to see `rate` flows a second, and to send them."""
        self.path.write_text(self._traffic.first_line() or self._flow())
        self._writer = threading.Thread(target=self._write, args=(rate,), name=self.name)
        self._writer.start()
        words = [
            sys.executable,
            "-m",
            "services.cli.main",
            "feed",
            str(self.path),
            "--format",
            self._traffic.format,
        ]
        words += [*self.target, "--follow", "--json"]
        with self._log.open("wb") as log:
            self._feed = subprocess.Popen(
                in_place(self._place, *words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )

    def _flow(self) -> str:
        self.seen += 1
        return self._traffic.line(time.time())

    def _write(self, rate: float) -> None:
        began = time.monotonic()
        before = self.seen
        with self.path.open("a") as file:
            while not self._over.wait(TICK_S):
                due = before + int((time.monotonic() - began) * rate) - self.seen
                file.write("".join(self._flow() for _ in range(due)))
                file.flush()

    def is_sending(self) -> bool:
        """Whether its feed runs."""
        return self._feed is not None and self._feed.poll() is None

    def finish(self) -> dict[str, Any]:
        """See nothing more, send what is left, and wait until all of it is acknowledged; gives the feed's summary.

        Raises AppiaError where the feed ended before, or does not end.
        """
        self._over.set()
        self._writer.join()
        if self._feed is None or not self.is_sending():
            raise AppiaError(
                f"The sensor {self.name} stopped sending: {self._log.read_text()[-500:].strip()}"
            )
        time.sleep(SEEN_WITHIN_S)
        self._feed.send_signal(signal.SIGINT)
        try:
            said, _ = self._feed.communicate(timeout=FLUSH_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AppiaError(f"{self.name} has events that nobody took in {FLUSH_WITHIN_S:.0f} s.") from None
        finally:
            self.remove()
        return dict(json.loads(said))

    def events(self) -> set[str]:
        """The identifiers of all events that it saw; blocks on the disk."""
        return set(event_ids(self.path, self._traffic.format))

    def remove(self) -> None:
        """End it in the middle of what it does."""
        self._over.set()
        if self._feed is not None:
            self._feed.kill()
            self._feed.wait()
            if self._feed.stdout is not None:
                self._feed.stdout.close()
