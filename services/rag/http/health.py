"""Whether a replica answers, for whoever wants to know: nothing else is told, and asking often costs nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from services.common.errors import AppiaError
from services.rag.asking import Patience
from services.rag.protocol import PING

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.rag.async_client import AsyncClient

KNOWN_S = 1.0
WAIT_S = 2.0


class Health:
    """Asks at most once a second, and one question at a time. For one event loop."""

    def __init__(self, client: AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is known yet."""
        self._client = client
        self._clock = clock
        self._asking = asyncio.Lock()
        self._good = False
        self._until = clock()

    async def is_good(self) -> bool:
        """Whether a replica answered, at most a second ago; waits for it two seconds at most."""
        async with self._asking:
            if self._clock() >= self._until:
                self._good = await self._ask()
                self._until = self._clock() + KNOWN_S
            return self._good

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(WAIT_S):  # also where its turn does not come
                await self._client.ask(PING, {}, Patience(overall_s=WAIT_S))
        except (AppiaError, TimeoutError):
            return False
        return True
