"""A clock that a test moves by hand."""

from __future__ import annotations

import heapq
from typing import Final

import anyio
import anyio.lowlevel

#: 2026-01-01T00:00:00Z.
START_NS: Final = 1_767_225_600_000_000_000
_NS: Final = 1_000_000_000


class ManualClock:
    """Stands still until it is moved. Sleepers wake, in order, when the time passes them."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self._now_ns = now_ns
        self._sleepers: list[tuple[int, int, anyio.Event]] = []
        self._sleeps = 0

    def now_ns(self) -> int:
        """The time it was moved to."""
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved ``seconds`` on."""
        if seconds <= 0:
            await anyio.lowlevel.checkpoint()
            return
        woken = anyio.Event()
        self._sleeps += 1
        heapq.heappush(self._sleepers, (self._now_ns + round(seconds * _NS), self._sleeps, woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Move on and wake whoever slept until then; they run at the next turn of the event loop."""
        self.advance_to_ns(self._now_ns + round(seconds * _NS))

    def advance_to_ns(self, time_ns: int) -> None:
        """Move on to a time. Raises ValueError for a time that has passed."""
        if time_ns < self._now_ns:
            raise ValueError("a clock never runs backwards")
        self._now_ns = time_ns
        while self._sleepers and self._sleepers[0][0] <= time_ns:
            heapq.heappop(self._sleepers)[2].set()

    @property
    def sleepers(self) -> int:
        """How many wait."""
        return len(self._sleepers)
