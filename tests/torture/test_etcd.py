"""Three real members of etcd, ill-treated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from real_etcd.member import MISSING, installed
from torture import etcd
from torture.in_ci import hold

from services.cli.store_folder import model_store_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_events_questions_and_the_one_writer_survive_etcd(tmp_path: Path) -> None:
    """Promises 6 and 9: fail static, no false failover, one writer, and one that is replaced stops."""
    if not installed():
        pytest.skip(MISSING)
    if not (model_store_folder(None, os.environ) / "semantic" / "ACTIVE").exists():
        pytest.skip("no models are built: run `appia models build`")
    facts = hold(etcd.SUITE, tmp_path).facts
    assert facts["events taken"] >= 40
    assert facts["questions answered"] >= 40
    assert facts["rival refused"] > 0
    assert facts["ingester stopped by a higher epoch"] == 1
