"""Time of another clock (a recording's, a simulation's) laid onto the desk's clock, at a steady rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from polaris_synapse.bus.clock import Clock

SECOND_NS: Final = 1_000_000_000
#: A source that falls further behind than this starts over from now: it runs slower, never in the past, because
#: messages with old times would make good prices look stale.
_BEHIND_NS_MAX: Final = 250_000_000


class Pacer:
    """Maps source times to desk times and waits until they are due.

    ``speed``: source seconds in a desk second; 0 means as fast as possible, and then everything happens now.
    """

    def __init__(self, clock: Clock, source_start_ns: int, *, speed: Fraction) -> None:
        if speed < 0:
            raise ValueError("a speed is zero (as fast as possible) or positive")
        self._clock = clock
        self._speed = speed
        self._source_start_ns = source_start_ns
        self._desk_start_ns = clock.now_ns()

    def desk_time(self, source_ns: int) -> int:
        """When ``source_ns`` happens on the desk's clock."""
        if not self._speed:
            return self._clock.now_ns()
        passed = (source_ns - self._source_start_ns) * self._speed.denominator // self._speed.numerator
        return self._desk_start_ns + passed

    async def wait(self, source_ns: int) -> int:
        """Wait until ``source_ns`` is due, and return its desk time."""
        due = self.desk_time(source_ns)
        ahead = due - self._clock.now_ns()
        if not self._speed:
            return due
        if ahead > 0:
            await self._clock.sleep(ahead / SECOND_NS)
        elif -ahead > _BEHIND_NS_MAX:
            self._desk_start_ns -= ahead
            due -= ahead
        return due
