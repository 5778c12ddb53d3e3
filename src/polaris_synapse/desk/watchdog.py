"""Watches a desk from another process, and cancels its open orders at the venues when it has died.

It acts on two facts together: the heartbeat has been silent for long enough, and nobody holds the lock of the data
directory, which the operating system gives back only when the desk's process is gone. A process that is stopped or
hangs still holds it; writing to the paper venue's store beside it could make two truths of one venue, so there the
watchdog raises the alarm and touches nothing. While it cancels it holds the lock itself, so no desk starts meanwhile.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

import httpx2
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.journal import JournalLockedError
from polaris_synapse.bus.lock import DirectoryLock, lock_holder
from polaris_synapse.desk.heartbeat import read_heartbeat
from polaris_synapse.desk.place import read_place
from polaris_synapse.domain.messages import VenueCancel
from polaris_synapse.domain.orders import OrderEvent
from polaris_synapse.execution.paper.abandoned import AbandonedPaperVenue
from polaris_synapse.execution.venues.port import CancelPort, VenueError

_HEALTH_SECONDS_MAX: Final = 2.0


class Verdict(StrEnum):
    """How a desk is."""

    ALIVE = "alive"
    STOPPED = "stopped"  # on purpose, or never started
    LATE = "late"  # silent, but not for long enough to act
    HANGS = "hangs"  # silent, and its process is still there
    GONE = "gone"  # silent, and its process is not there any more


class AbandonedOrder(Struct, frozen=True, kw_only=True):
    """An open order of a desk that is gone. ``outcome``: ``cancelled``, ``would be cancelled``, or what went wrong."""

    venue: str
    symbol: str
    order_id: int
    venue_order_id: str
    outcome: str


class Finding(Struct, frozen=True, kw_only=True):
    """What one look found, and did. ``process_id`` 0: not known. ``healthy``: None where it was not asked."""

    time_ns: int
    verdict: Verdict
    silent_seconds: float
    process_id: int
    healthy: bool | None
    sentence: str
    orders: tuple[AbandonedOrder, ...] = ()

    @property
    def is_fine(self) -> bool:
        """Whether nobody need do anything."""
        return self.verdict in (Verdict.ALIVE, Verdict.STOPPED, Verdict.LATE) and self.healthy is not False


class Watchdog:
    """Looks at the desk in ``directory``. ``dry_run``: says what it would do and does nothing."""

    def __init__(self, directory: Path, clock: Clock, *, silence_seconds: float, dry_run: bool) -> None:
        self._directory = directory
        self._clock = clock
        self._silence_seconds = silence_seconds
        self._dry_run = dry_run

    async def look(self) -> Finding:
        """One look, and what follows from it."""
        beat = read_heartbeat(self._directory)
        if beat is None:
            return self._finding(Verdict.STOPPED, "No desk runs here, or it was stopped on purpose.")
        silent = max((self._clock.now_ns() - beat.time_ns) / 1e9, 0.0)
        if silent < self._silence_seconds:
            return await self._living(silent, beat.process_id)
        holder = lock_holder(self._directory / "journal")
        if holder is not None:
            healthy = await self._health()
            return self._finding(
                Verdict.HANGS,
                f"The desk has been silent for {silent:.0f} s, but its process {holder} is still there, stopped or "
                "hanging, and holds the data directory. Nothing was cancelled, since two writers would damage the "
                "paper venue's store. End the process (kill -9) and this watchdog cancels; or let it go on.",
                silent,
                holder,
                healthy,
            )
        return await self._abandoned(silent, beat.process_id)

    async def _living(self, silent: float, process_id: int) -> Finding:
        healthy = await self._health()
        late = silent > self._silence_seconds / 2
        sentence = f"The desk is alive; its last heartbeat is {silent:.1f} s old."
        if healthy is False:
            sentence = f"The desk's heart beats ({silent:.1f} s ago), but its gateway does not answer."
        return self._finding(Verdict.LATE if late else Verdict.ALIVE, sentence, silent, process_id, healthy)

    async def _health(self) -> bool | None:
        """Whether the gateway answers; None where the desk has not said yet where it listens."""
        place = read_place(self._directory)
        if place is None or not place.process_id:
            return None
        try:
            async with httpx2.AsyncClient(timeout=_HEALTH_SECONDS_MAX, trust_env=False) as client:
                answer = await client.get(f"{place.url('gateway')}/health")
        except httpx2.TransportError:
            return False
        return answer.status_code == 200

    async def _abandoned(self, silent: float, process_id: int) -> Finding:
        gone = f"The desk (process {process_id}) died {silent:.0f} s ago"
        try:
            lock = DirectoryLock(self._directory / "journal")
        except JournalLockedError:
            return self._finding(Verdict.LATE, "The desk is starting again.", silent, process_id)
        try:
            detail = f"the desk was silent for {silent:.0f} s and its process was gone"
            with AbandonedPaperVenue(self._directory / "paper.sqlite3", self._clock, detail=detail) as paper:
                orders = tuple(await self._cancel_all(paper))
        except VenueError as error:
            sentence = f"{gone}, and its open orders could not be cancelled: {error}."
            return self._finding(Verdict.GONE, sentence, silent, process_id)
        finally:
            lock.release()
        return self._finding(Verdict.GONE, f"{gone}. {_done(orders, self._dry_run)}", silent, process_id, None, orders)

    async def _cancel_all(self, venue: CancelPort) -> list[AbandonedOrder]:
        """Cancel what is open, order by order; one that fails is said and the others still go."""
        done: list[AbandonedOrder] = []
        for status in await venue.open_orders():
            outcome = "would be cancelled"
            if not self._dry_run:
                command = VenueCancel(
                    time_ns=self._clock.now_ns(),
                    venue=venue.name,
                    symbol=status.symbol,
                    order_id=status.order_id,
                    venue_client_id="",
                    venue_order_id=status.venue_order_id,
                )
                try:
                    reports = await venue.cancel(command)
                    cancelled = any(report.event is OrderEvent.CANCEL for report in reports)
                    outcome = "cancelled" if cancelled else "; ".join(r.detail for r in reports) or "sent"
                except VenueError as error:
                    outcome = str(error)
            done.append(
                AbandonedOrder(
                    venue=venue.name,
                    symbol=status.symbol,
                    order_id=status.order_id,
                    venue_order_id=status.venue_order_id,
                    outcome=outcome,
                )
            )
        return done

    def _finding(
        self,
        verdict: Verdict,
        sentence: str,
        silent: float = 0.0,
        process_id: int = 0,
        healthy: bool | None = None,
        orders: tuple[AbandonedOrder, ...] = (),
    ) -> Finding:
        return Finding(
            time_ns=self._clock.now_ns(),
            verdict=verdict,
            silent_seconds=round(silent, 3),
            process_id=process_id,
            healthy=healthy,
            sentence=sentence,
            orders=orders,
        )


def _done(orders: tuple[AbandonedOrder, ...], dry_run: bool) -> str:
    if not orders:
        return "No order of it is open at the paper venue."
    if dry_run:
        return f"{len(orders)} open orders at the paper venue would be cancelled."
    cancelled = sum(order.outcome == "cancelled" for order in orders)
    text = f"{cancelled} of {len(orders)} open orders at the paper venue were cancelled."
    return text + " The desk learns of it when it starts again."
