"""The clock port: shells read time here, cores never do."""

from __future__ import annotations

import time
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
    """The machine's clock, kept from running backwards."""

    def __init__(self) -> None:
        self._last_ns = 0

    def now_ns(self) -> int:
        """The machine's time, or the last one given where the machine's clock was set back."""
        self._last_ns = max(self._last_ns, time.time_ns())
        return self._last_ns

    async def sleep(self, seconds: float) -> None:
        """Wait on the event loop."""
        await anyio.sleep(seconds)
