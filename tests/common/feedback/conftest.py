"""Remarks, and a state directory to write them into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from services.common.days.layout import claim_layout
from services.common.days.log import LogWriter
from services.common.days.log_format import FEEDBACK
from services.common.days.names import StateNames
from services.common.durable import Disk
from services.common.feedback.remark import Remark, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., Remark]


@pytest.fixture
def state(tmp_path: Path) -> StateNames:
    names = StateNames(tmp_path / "state")
    claim_layout(names, Disk())
    return names


@pytest.fixture
def remark() -> Make:
    """`remark(number, says)`: "tp" or "fp" is a verdict, "" a withdrawal, anything else a note; by ana on e-1."""

    def make(
        number: int, says: str = "tp", analyst: str = "ana", event_id: str = "e-1", **more: Any
    ) -> Remark:
        verdicts = {"tp": Verdict.TRUE_POSITIVE, "fp": Verdict.FALSE_POSITIVE}
        fields: dict[str, Any] = {
            "verdict": verdicts.get(says),
            "note": "" if says in verdicts else says,
            **more,
        }
        return Remark(f"f-{number}", event_id, analyst, 1_769_040_000_000_000_000 + number, **fields)

    return make


@pytest.fixture
def write(state: StateNames) -> Callable[..., LogWriter]:
    """`write(number, remarks)`: a log file of feedback, closed unless `leave_open`."""

    def run(number: int, remarks: list[Remark], first_lsn: int = 0, *, leave_open: bool = False) -> LogWriter:
        disk = Disk()
        disk.make_folder(state.feedback)
        log = LogWriter(disk, state.feedback_log(number))
        log.append(FEEDBACK, first_lsn, [one.to_bytes() for one in remarks])
        if not leave_open:
            log.close()
        return log

    return run
