"""Whatever answers in the place of health: `appia status` shows it, or says that it is not understood."""

from __future__ import annotations

import io
import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from services.cli.fleet import Fleet, observation_of
from services.cli.look import look_of
from services.cli.status_screen import screen_lines
from services.common.errors import AppiaError
from services.health.observation import Chain, Day, Disk, Index, Intake, Observation, Sensor, Service
from services.health.plain import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_800_000_000_000_000_000
SEEN = Observation(
    NOW,
    disks=(Disk("/data", 100, 50, 50.0, 1.0),),
    services=(Service("rag", "rag-1", answers=True, ready=True, uptime_s=5.0, rows=1, config_revision=3),),
    intake=Intake(
        "2026-11-20T10:00:00+00:00", 10, index_lag={"attack": 1.0}, refused_per_minute={"bad": 1.0}
    ),
    sensors=(Sensor("office", 1, NOW, 1.0),),
    days=(Day("2026-11-19", sealed=True, rows=1, indices=(Index("attack", "ok"),)),),
    chain=Chain(1, ("a fault",)),
    config_revision=2,
)
STRANGE: tuple[Any, ...] = (
    None,
    "\x1b[31m",
    -1,
    1 << 63,
    math.inf,
    math.nan,
    True,
    [],
    {},
    [[]],
    b"x",
    msgpack.Timestamp(1, 0),
)


def pieces(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from pieces(node[key])


def show(document: Any) -> list[str]:
    fleet = Fleet("/state", observation_of(document), alerts=())
    json.dumps(fleet.as_dict(), allow_nan=False)
    return screen_lines(fleet, look_of(io.StringIO(), {}))


@pytest.mark.parametrize("value", STRANGE)
def test_no_value_of_another_type_ends_the_command_or_steers_the_terminal(value: Any) -> None:
    """It is shown, spelled out, or refused in one sentence."""
    document = json.loads(json.dumps(plain(SEEN)))
    assert any("office" in line for line in show(document))
    for node, key in list(pieces(document)):
        kept = node[key]
        node[key] = value
        with suppress(AppiaError):
            assert not any("\x1b" in line for line in show(document))
        node[key] = kept
