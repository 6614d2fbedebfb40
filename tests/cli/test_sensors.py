"""`appia sensors`: what health watches, and what it is told to watch no more."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from services.cli import health_at
from services.cli.main import run
from services.common.rpc_client import RpcRefused
from services.health.observation import Observation, Sensor
from services.health.plain import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Said = Callable[..., tuple[int, str, str]]

S = 1_000_000_000
NOW = 1_800_000_000 * S
SENSORS = (
    Sensor("", 3, NOW - 5 * S),
    Sensor("office\x1b[31m", 1234, NOW - 7200 * S, usual_gap_s=60.0, clock_s=-90.0),
)


@dataclass
class Health:
    """Answers as health does, and keeps what was forgotten."""

    sensors: tuple[Sensor, ...] | None = SENSORS
    forgotten: list[str] = field(default_factory=list)

    def call(self, op: str, arguments: Mapping[str, Any], _timeout_s: float) -> Any:
        if op == "fleet":
            return plain(Observation(NOW, sensors=self.sensors))
        name = str(arguments["sensor"])
        if name not in {one.name for one in self.sensors or ()}:
            raise RpcRefused("usage", f"There is no sensor {name!r}.")
        self.forgotten.append(name)
        return {"forgotten": name}


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> Health:
    found = Health()

    @contextlib.contextmanager
    def health_of(_state: Path) -> Iterator[Health]:
        yield found

    monkeypatch.setattr(health_at, "health_of", health_of)
    return found


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Said:
    def call(*words: str) -> tuple[int, str, str]:
        status = run(["sensors", *words, "--state", str(tmp_path)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_sensors_are_listed_the_longest_silent_first(said: Said, health: Health) -> None:
    """Their names are theirs, so they steer no terminal; `--json` has the numbers."""
    status, out, _ = said("list")
    lines = out.splitlines()
    assert (status, len(lines)) == (0, 3)
    assert lines[1].startswith("office")
    assert "1,234" in lines[1]
    assert "-90.0 s" in lines[1]
    assert "\x1b" not in out
    assert lines[2].startswith("(unnamed)")
    told = json.loads(said("list", "--json")[1])["sensors"]
    assert [(one["events"], one["clock_s"]) for one in told] == [(1234, -90.0), (3, 0.0)]
    health.sensors = None
    assert said("list")[1] == "No sensor has sent anything as it happened.\n"


def test_a_sensor_is_forgotten_by_its_name(said: Said, health: Health) -> None:
    """One without a name too; a name that there is not is a wrong question."""
    assert said("forget", "(unnamed)")[:2] == (0, "(unnamed) is not watched until it sends again.\n")
    assert health.forgotten == [""]
    status, _, err = said("forget", "ghost")
    assert (status, "There is no sensor 'ghost'." in err) == (2, True)
