"""Health is asked until it tells of what was hurt; that it cannot be asked is no end of the step."""

from __future__ import annotations

import json
from subprocess import TimeoutExpired
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fleet import hurting
from fleet.story import Alert

from services.common.errors import AppiaError

if TYPE_CHECKING:
    from collections.abc import Callable

DOWN = Alert("a", "service-down", "rag/rag-1-a1")
FIRING = {"firing": [{"rule": DOWN.rule, "subject": DOWN.subject}]}


def parted() -> Any:
    raise TimeoutExpired("ssh", 120.0)


def refused() -> Any:
    raise AppiaError("refused")


def fleet(*answers: Callable[[], Any]) -> Any:
    """Its health answers so, one time after the other; the last answer stays."""
    left = list(answers)
    return SimpleNamespace(alerts=lambda _site: (left.pop(0) if len(left) > 1 else left[0])())


SILENT = [parted, refused, lambda: json.loads(""), dict]


@pytest.mark.parametrize("silent", SILENT, ids=["parted", "refused", "no words", "no list"])
def test_a_health_that_does_not_answer_is_asked_again(silent: Callable[[], Any]) -> None:
    check = hurting.told(fleet(silent, lambda: FIRING), [DOWN])
    assert check.held
    assert check.seen.startswith("1 alerts")


@pytest.mark.parametrize("silent", SILENT, ids=["parted", "refused", "no words", "no list"])
def test_one_that_never_answers_has_told_of_nothing(
    silent: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hurting, "TOLD_WITHIN_S", 0.0)
    check = hurting.told(fleet(silent), [DOWN])
    assert not check.held
    assert "not told: a: service-down rag/rag-1-a1" in check.seen
