"""No (key, nonce) twice, ever; and the suite finds the flaw that it is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from torture.in_ci import SEED, hold
from torture.nonces import BOOTS, SUITE
from torture.suite import Budget

from services.common.wire.sessions import V2Receiver
from services.common.wire.v1 import V1Sealer
from services.common.wire.v2 import V2Sealer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_no_key_and_nonce_come_twice(tmp_path: Path) -> None:
    """1,000 boots, with rollbacks, losses, clones and kills among them."""
    outcome = hold(SUITE, tmp_path)
    assert outcome.facts["boots"] == SUITE.ci_rounds * BOOTS == 1000
    assert min(outcome.facts[fact] for fact in ("rollbacks", "losses", "clones", "kills while sending")) >= 20


def _without_luck(init: Callable[..., None]) -> Callable[..., None]:
    """The same constructor with zeros for whatever it draws at random."""

    def made(self: object, *arguments: object) -> None:
        init(self, *arguments, bytes)

    return made


@pytest.mark.parametrize("sealer", [V1Sealer, V2Sealer, V2Receiver])
def test_who_draws_nothing_at_random_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealer: type
) -> None:
    """Without the random start of version 1, or the salts of version 2, rollbacks and clones bring nonces again."""
    monkeypatch.setattr(sealer, "__init__", _without_luck(vars(sealer)["__init__"]))
    assert SUITE.run(Budget(SEED, tmp_path, 4)).broken > 0
