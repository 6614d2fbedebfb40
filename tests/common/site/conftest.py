"""Folders of sites in which random bytes and the time are known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from services.common.durable import Disk
from services.common.site.making import MadeSite, Tools, make_site
from services.common.site.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
Make = "Callable[..., MadeSite]"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., MadeSite]:
    """Makes what the keywords say beside what was said before, in the folder `name`."""

    def made(
        name: str = "site",
        *,
        renew: bool = False,
        now: datetime = NOW,
        forget: Sequence[str] = (),
        **wanted: Any,
    ) -> MadeSite:
        asked = Wanted(**{"site": "main" if name == "site" else name, **wanted})
        tools = Tools(Disk(), now=lambda: now)

        def joined(before: Wanted | None) -> Wanted:
            return before.without(forget).and_also(asked) if before else asked

        return make_site(tmp_path / name, joined, tools, renew=renew, forget=forget)

    return made
