"""Simulated time: what really passes, and what the desk's machine makes of it."""

from __future__ import annotations

from typing import Final

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


class ProcessClock:
    """The clock that one process of the desk reads: like SystemClock it never runs backwards while the process lives.

    Nothing in the simulation sleeps on it: the world schedules what comes later.
    """

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time
        self._last_ns = 0

    def now_ns(self) -> int:
        """The machine's time, or the last one given where its clock was set back."""
        self._last_ns = max(self._last_ns, self._time.machine_ns)
        return self._last_ns

    async def sleep(self, seconds: float) -> None:
        """Raises RuntimeError: simulated code does not wait."""
        raise RuntimeError(f"something tried to sleep {seconds} s in the simulation")
