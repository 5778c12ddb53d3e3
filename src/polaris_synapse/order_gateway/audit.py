"""What the gateway tells the audit log: log-ins, refused signatures, changed keys. Bounded, also under attack."""

from __future__ import annotations

from collections import Counter

import anyio
import structlog

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import AuditNote

_MINUTE_NS = 60_000_000_000
_log = structlog.get_logger(__name__)


class AuditTrail:
    """Sends notes in batches from its own task, so that nobody waits for them.

    Refusals are free for an attacker and each note costs a durable write: from one address only so many a minute are
    written out, and the rest become one note that counts them.
    """

    def __init__(self, bus: Bus, clock: Clock, *, notes_max: int, per_address_and_minute_max: int) -> None:
        self._bus = bus
        self._clock = clock
        self._notes_max = notes_max
        self._per_minute_max = per_address_and_minute_max
        self._notes: list[AuditNote] = []
        self._wake = anyio.Event()
        self._minute = 0
        self._counts: Counter[str] = Counter()
        self.dropped = 0

    def note(self, actor: str, action: str, subject: str = "", detail: str = "") -> None:
        """Write something down: a log-in, a key made or revoked."""
        if len(self._notes) >= self._notes_max:
            self.dropped += 1
            return
        now = self._clock.now_ns()
        self._notes.append(AuditNote(time_ns=now, actor=actor, action=action, subject=subject, detail=detail))
        self._wake.set()

    def refused(self, address: str, actor: str, reason: str, detail: str) -> None:
        """Write a refusal of authentication down, within the address's share."""
        minute = self._clock.now_ns() // _MINUTE_NS
        if minute != self._minute:
            self._sum_up()
            self._minute = minute
        if len(self._counts) >= self._notes_max and address not in self._counts:
            address = "other addresses"
        self._counts[address] += 1
        if self._counts[address] <= self._per_minute_max:
            self.note(actor, "authentication.refused", address, f"{reason}: {detail}" if detail else reason)

    def _sum_up(self) -> None:
        counts, self._counts = self._counts, Counter()
        for address, count in counts.items():
            if count > self._per_minute_max:
                more = count - self._per_minute_max
                self.note("gateway", "authentication.refused.more", address, f"{more} more refusals in one minute")

    async def run(self) -> None:
        """Send notes until cancelled. What the bus does not take is kept and tried again."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Send what is waiting."""
        while self._notes:
            batch = tuple(self._notes)
            try:
                await self._bus.send(batch)
            except BusError as error:
                _log.warning("audit notes wait", notes=len(batch), reason=error.reason.name)
                await self._clock.sleep(1.0)
                continue
            del self._notes[: len(batch)]
