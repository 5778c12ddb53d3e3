"""The paper venue, divided like the execution room: a partition of symbols has an exchange and a file of its own.

The files lie in one directory. Where several machines run execution, that directory must be one that they share, since
a partition that moves takes its paper orders with it. Whom the group gives a partition takes its file over, also from a
process that hangs: a real venue would not hang with the process that trades there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

import anyio
import structlog

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.kafka.routing import partition_of
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    VenueBalance,
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.execution.paper.store import PaperStoreError
from polaris_synapse.execution.paper.venue import PaperVenue
from polaris_synapse.execution.venues.port import VenueError, VenueEvents, VenueNotSentError, VenueState

_RETRY_SECONDS: Final = 1.0
#: How long a request waits for an exchange that has just come: until its file is open, and the market data room has
#: said the book in full, which it does every two seconds.
_OPENING_SECONDS_MAX: Final = 5.0
_OPENING_POLL_SECONDS: Final = 0.05
#: So many requests of a partition may wait for that; more would take the places of the other partitions' requests.
_OPENING_WAITS_MAX: Final = 16
_log = structlog.get_logger(__name__)


class PartitionedPaper:
    """The venue ``paper`` over the partitions that this process has. See ``show``."""

    def __init__(
        self, *, bus: Bus, clock: Clock, directory: Path, partitions: int, instruments: Iterable[Instrument]
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._directory = directory
        self._partitions = partitions
        self._instruments = tuple(instruments)
        self._venues: dict[int, PaperVenue] = {}
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._wanted: frozenset[int] = frozenset()
        #: What has had its first book since its partition came.
        self._stocked: set[tuple[int, str]] = set()
        #: Requests that wait for a partition's exchange to open.
        self._waits: Counter[int] = Counter()
        self._changed = anyio.Event()
        example = self._venue(0)
        self.name: str = example.name
        self.capabilities = example.capabilities

    def _venue(self, partition: int) -> PaperVenue:
        return PaperVenue(
            bus=self._bus,
            clock=self._clock,
            path=self._directory / f"paper-{partition}.sqlite3",
            instruments=self._instruments_of(partition),
            takes_over=True,
        )

    def _instruments_of(self, partition: int) -> Callable[[], Iterable[Instrument]]:
        mine = [one for one in self._instruments if partition_of(one.symbol, self._partitions) == partition]
        return lambda: mine

    def show(self, partitions: Collection[int]) -> None:
        """These partitions are here from now on, and no others."""
        self._wanted = frozenset(partitions)
        self._changed.set()

    @property
    def state(self) -> VenueState:
        """Connected while every partition here is."""
        troubles = [
            f"partition {number}: {venue.state.detail}"
            for number, venue in sorted(self._venues.items())
            if not venue.state.connected
        ]
        return VenueState(connected=not troubles, detail="; ".join(troubles))

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """Ready once every symbol here has had a whole book: before that the exchange turns its orders away."""
        return {"books": self._check_books}

    def _check_books(self) -> str | None:
        """Only the first book is waited for; one that breaks later is market data's to answer for."""
        waiting: list[str] = []
        for number in sorted(self._wanted):
            venue = self._venues.get(number)
            opened = venue is not None and venue.state.connected
            trouble = venue.book_trouble() if venue is not None and opened else {}
            mine = {one.symbol for one in self._instruments_of(number)() if one.venue == self.name}
            if opened:
                self._stocked |= {(number, symbol) for symbol in mine - trouble.keys()}
            waiting += [symbol for symbol in mine if (number, symbol) not in self._stocked]
        return f"the paper venue has no book of {', '.join(sorted(waiting))} yet" if waiting else None

    async def run(self, events: VenueEvents, /) -> None:
        """See Venue: run an exchange for each partition that is here."""
        self._venues, self._scopes = {}, {}
        async with anyio.create_task_group() as tasks:
            while True:
                self._changed = anyio.Event()
                for number in self._venues.keys() - self._wanted:
                    self._scopes.pop(number).cancel()
                    del self._venues[number]
                    self._stocked = {place for place in self._stocked if place[0] != number}
                for number in self._wanted - self._venues.keys():
                    self._venues[number] = self._venue(number)
                    self._scopes[number] = anyio.CancelScope()
                    tasks.start_soon(self._run_one, self._venues[number], self._scopes[number], events)
                await self._changed.wait()

    async def _run_one(self, venue: PaperVenue, scope: anyio.CancelScope, events: VenueEvents) -> None:
        """Run an exchange; while its file cannot be opened, as in the middle of another's transaction, try again."""
        with scope:
            while True:
                try:
                    await venue.run(events)
                except PaperStoreError as error:
                    _log.warning("paper_partition_waits", error=str(error))
                await self._clock.sleep(_RETRY_SECONDS)

    async def _at(self, symbol: str, *, with_book: bool = False) -> PaperVenue:
        """The exchange of a symbol, waited for where it has just come. Raises VenueNotSentError where it does not."""
        number = partition_of(symbol, self._partitions)
        deadline_ns = self._clock.now_ns() + round(_OPENING_SECONDS_MAX * 1e9)
        if (venue := self._open(number, symbol, with_book=with_book)) is not None:
            return venue
        if self._waits[number] >= _OPENING_WAITS_MAX:
            raise VenueNotSentError(f"{self._waits[number]} requests wait for {symbol}'s exchange to open already")
        self._waits[number] += 1
        try:
            while number in self._wanted and self._clock.now_ns() < deadline_ns:
                await self._clock.sleep(_OPENING_POLL_SECONDS)
                if (venue := self._open(number, symbol, with_book=with_book)) is not None:
                    return venue
        finally:
            self._waits[number] -= 1
        if number not in self._wanted:
            raise VenueNotSentError(f"{symbol} has moved to another instance of execution-engine")
        raise VenueNotSentError(f"the exchange of {symbol} did not open within {_OPENING_SECONDS_MAX:g} s")

    def _open(self, number: int, symbol: str, *, with_book: bool) -> PaperVenue | None:
        """The exchange where it works; ``with_book`` only where the symbol has had its first book too."""
        venue = self._venues.get(number)
        if venue is None or not venue.state.connected:
            return None
        if with_book and (number, symbol) not in self._stocked:
            if symbol in venue.book_trouble():
                return None
            self._stocked.add((number, symbol))
        return venue

    async def submit(self, command: VenueSubmit, /) -> Sequence[VenueReport]:
        """See Venue."""
        return await (await self._at(command.symbol, with_book=True)).submit(command)

    async def cancel(self, command: VenueCancel, /) -> Sequence[VenueReport]:
        """See Venue."""
        return await (await self._at(command.symbol)).cancel(command)

    async def replace(self, command: VenueReplace, /) -> Sequence[VenueReport]:
        """See Venue."""
        return await (await self._at(command.symbol)).replace(command)

    async def query(self, command: VenueQuery, /) -> VenueOrderStatus:
        """See Venue."""
        return await (await self._at(command.symbol)).query(command)

    async def open_orders(self) -> Sequence[VenueOrderStatus]:
        """See Venue."""
        return [status for venue in tuple(self._venues.values()) for status in await venue.open_orders()]

    async def balances(self) -> Sequence[VenueBalance]:
        """Not told: they are the venue's, and each partition of the core knows only its own symbols' part of them."""
        raise VenueError("the paper venue's balances are not compared where execution is divided")
