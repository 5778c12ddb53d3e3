"""Simulated time: what really passes, and what the desk's machine makes of it."""

from __future__ import annotations

from typing import Final

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.testing.clock import START_NS

SECOND_NS: Final = 1_000_000_000


class SimulatedTime:
    """``true_ns`` only grows. The machine's clock is off by ``offset_ns`` and may be set, back too."""

    def __init__(self) -> None:
        self.true_ns = START_NS
        self.offset_ns = 0

    @property
    def machine_ns(self) -> int:
        """What the machine's clock shows."""
        return self.true_ns + self.offset_ns


class ProcessClock(SystemClock):
    """The desk's own clock on the simulated machine, for the life of one process."""

    def __init__(self, time: SimulatedTime, *, not_before_ns: int = 0) -> None:
        super().__init__(not_before_ns=not_before_ns, wall=lambda: time.machine_ns, monotonic=lambda: time.true_ns)

    async def sleep(self, seconds: float) -> None:
        """Raises RuntimeError: nothing in the simulation sleeps, the world schedules what comes later."""
        raise RuntimeError(f"something tried to sleep {seconds} s in the simulation")
