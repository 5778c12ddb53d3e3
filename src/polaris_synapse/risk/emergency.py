"""The stop that works while the journal cannot be written.

Nothing new can happen then in any case: the bus takes no order. What a person who pulls the kill switch wants besides
is that open orders go away. So the cancels go to the venues at once, past the cores; what the venues say comes back as
ordinary reports, and the cores learn of it in the order of the journal, as ever. The command itself is held, written
down beside the journal in space that was set aside for it, and is the first input when the journal works again, before
any order; until it is in force, the execution room refuses to send what was on its way to a venue.

The book of the internal venue is state of the cores and cannot change without the journal: its orders stay where they
are, and nothing can trade with them, until the command takes its place in the journal and cancels them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

import structlog
from msgspec.structs import replace

from polaris_synapse.domain.messages import ActivateBreaker, Command, KillLevel, SetKillLevel
from polaris_synapse.risk.core import RiskCore

_log = structlog.get_logger(__name__)

#: Stop what goes to the venues for an account ("*": all) until ``in_force``, and cancel these orders; those asked for.
StopVenues = Callable[[str, Collection[int], Callable[[], bool]], Awaitable[Sequence[int]]]
#: Put a command in front of all that will be taken, and call back when it is durable.
Hold = Callable[[Command, Callable[[], None]], None]


class StopMemory(Protocol):
    """Keeps stops over a restart without the journal."""

    def remember(self, stops: Sequence[Command]) -> None:
        """Write them down. Raises OSError."""
        ...


class EmergencyStops:
    """Stops in force in this process and not in the journal yet."""

    def __init__(self, *, core: RiskCore, hold: Hold, stop_venues: StopVenues, memory: StopMemory) -> None:
        self._core = core
        self._hold = hold
        self._stop_venues = stop_venues
        self._memory = memory
        self._waiting: dict[str, Command] = {}
        self._number = 0

    async def stop(self, command: SetKillLevel) -> tuple[list[int], bool]:
        """Put a kill level in force at once: the orders whose cancels are on their way, and whether it is on disk."""
        kept = self._keep(command)
        order_ids = self._core.open_order_ids(command.account) if command.level >= KillLevel.CANCEL_ALL else ()

        def in_force() -> bool:
            levels = self._core.kill_levels()
            return max(levels["*"], levels.get(command.account, KillLevel.OFF)) >= command.level

        sent = await self._stop_venues(command.account, order_ids, in_force)
        _log.warning("emergency_stop", account=command.account, level=command.level.name, cancels=len(sent), kept=kept)
        return sorted(sent), kept

    def trip(self, command: ActivateBreaker) -> bool:
        """Hold a breaker's trip; whether it is on disk. No new order is taken before it is in force."""
        return self._keep(command)

    def _keep(self, command: Command) -> bool:
        self._number += 1
        held = replace(command, request_id=f"emergency-{self._number}-{command.time_ns}")
        self._hold(held, lambda: self._durable(held.request_id))
        self._waiting[held.request_id] = held
        return self._write()

    def _durable(self, request_id: str) -> None:
        self._waiting.pop(request_id, None)
        self._write()

    def _write(self) -> bool:
        try:
            self._memory.remember(tuple(self._waiting.values()))
        except OSError as error:
            _log.error("emergency_stop_not_written", error=str(error))
            return False
        return True
