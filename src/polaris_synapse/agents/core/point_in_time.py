"""The point-in-time gate: a decision may use only what was known when it was made.

One gate for all data, live and replayed alike. The decision's clock is the time of the ordered log, the latest of all
messages folded so far, so a command stamped a moment before a summary that overtook it decides at the summary's time.
Whatever is later than that clock came by a path that does not exist: a bug, and it raises.
"""

from __future__ import annotations

from msgspec import Struct


class LookAheadError(RuntimeError):
    """A decision would have used something from after its own time."""


class PointInTime(Struct, frozen=True):
    """The gate of one decision, at its clock."""

    clock_ns: int

    def admit(self, time_ns: int, what: str) -> int:
        """``time_ns`` again, when it is not later than the clock. Raises LookAheadError otherwise."""
        if time_ns > self.clock_ns:
            raise LookAheadError(
                f"{what} is from {time_ns - self.clock_ns} ns after the decision's clock of {self.clock_ns}"
            )
        return time_ns
