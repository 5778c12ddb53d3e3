"""The clock port: shells read time here, cores never do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import anyio


class Clock(Protocol):
    """Wall time in nanoseconds since 1970 UTC, and waiting."""

    def now_ns(self) -> int:
        """The time. Never runs backwards within a process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock, kept from running backwards and from standing still.

    After the machine's clock was set back, time goes on at half speed until the machine has caught up: were it to stand
    still meanwhile, nothing would time out and the last price would stay fresh. ``not_before_ns``: the newest time that
    an earlier process has used, as the journal has it. ``wall`` and ``monotonic`` read nanoseconds; simulations bring
    their own.
    """

    def __init__(
        self,
        *,
        not_before_ns: int = 0,
        wall: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        #: The newest time given, and what the monotonic clock showed when time last followed the machine's clock.
        self._followed_ns = not_before_ns
        self._followed_at_ns = monotonic()

    def now_ns(self) -> int:
        """The machine's time, or where it lies behind the newest given, that time and half of what has passed since."""
        wall_ns, at_ns = self._wall(), self._monotonic()
        slow_ns = self._followed_ns + (at_ns - self._followed_at_ns) // 2
        if wall_ns < slow_ns:
            return slow_ns
        self._followed_ns, self._followed_at_ns = wall_ns, at_ns
        return wall_ns

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await anyio.sleep(seconds)
