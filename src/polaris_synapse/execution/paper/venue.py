"""The paper exchange behind the venue port, with a memory that survives its process.

Everything goes through one worker: it applies the requests that wait, stores what they and the market led to in one
transaction, and only then answers and reports. What was reported is on disk, so after a SIGKILL the venue knows its
orders and trades as a real one would; only places in queues are lost, and orders wait at the back again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
import structlog
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.domain.instruments import PAPER_VENUE, Instrument
from polaris_synapse.domain.messages import (
    BookUpdated,
    VenueBalance,
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import OrderType, TimeInForce
from polaris_synapse.domain.topics import MARKET_DATA_NORMALIZED
from polaris_synapse.execution.paper.exchange import PaperExchange
from polaris_synapse.execution.paper.orders import PaperOrder
from polaris_synapse.execution.paper.outbox import Outcome
from polaris_synapse.execution.paper.store import PaperStore, PaperStoreError
from polaris_synapse.execution.settings import PaperSettings
from polaris_synapse.execution.venues.port import (
    VenueCapabilities,
    VenueError,
    VenueEvents,
    VenueNotSentError,
    VenueState,
)

_log = structlog.get_logger("polaris_synapse.execution.paper")

_TIMER_SECONDS: Final = 1.0


class _AskBalances(Struct, frozen=True):
    """Asks for the balances."""


_Read = VenueQuery | _AskBalances | None
_Command = VenueSubmit | VenueCancel | VenueReplace | _Read


class _Request(Struct):
    """A command that waits for the worker; None asks for all open orders."""

    command: _Command
    future: asyncio.Future[Sequence[VenueOrderStatus]]


class PaperVenue:
    """The venue ``paper``.

    ``instruments`` gives the instruments of the desk whenever it is asked; those of this venue are listed.
    ``book_of`` gives a symbol's whole book at once where the market data room can; without it the venue waits for the
    next snapshot after it starts to listen. ``takes_over``: see PaperStore.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        clock: Clock,
        path: Path,
        instruments: Callable[[], Iterable[Instrument]],
        book_of: Callable[[str], BookUpdated | None] | None = None,
        settings: PaperSettings | None = None,
        takes_over: bool = False,
    ) -> None:
        self.name: str = PAPER_VENUE
        self.capabilities: VenueCapabilities = VenueCapabilities(
            simulated=True,
            order_types=frozenset(OrderType),
            times_in_force=frozenset(TimeInForce),
            icebergs=True,
            quote_amounts=True,
            replace=True,
            order_lists=True,
        )
        self._bus = bus
        self._clock = clock
        self._path = path
        self._open_store = partial(PaperStore, path, takes_over=takes_over)
        self._instruments = instruments
        self._book_of = book_of
        self._settings = settings or PaperSettings()
        self._exchange = PaperExchange(open_orders_max=self._settings.open_orders_max)
        self._store: PaperStore | None = None
        self._trouble = "it has not been started"
        self._requests: deque[_Request] = deque()
        self._outcomes: list[Outcome] = []
        self._wake = anyio.Event()
        self._unlisted: list[PaperOrder] = []
        self._held: dict[str, int] = {}

    @property
    def state(self) -> VenueState:
        """Connected while the store can be written."""
        return VenueState(connected=not self._trouble, detail=self._trouble)

    def book_trouble(self) -> dict[str, str]:
        """Symbols whose book may not be traded on, with the reason."""
        return {symbol: why for symbol in self._exchange.symbols if (why := self._exchange.trouble(symbol))}

    # -- the port -----------------------------------------------------------------------------------------------

    async def submit(self, command: VenueSubmit, /) -> Sequence[VenueReport]:
        """Take an order. The reports are delivered; returns when they are durable."""
        if self._trouble:
            raise VenueNotSentError(f"the paper venue is down: {self._trouble}")
        await self._ask(command)
        return ()

    async def cancel(self, command: VenueCancel, /) -> Sequence[VenueReport]:
        """Cancel an order. The reports are delivered; returns when they are durable."""
        await self._ask(command)
        return ()

    async def replace(self, command: VenueReplace, /) -> Sequence[VenueReport]:
        """Change an order. The reports are delivered; returns when they are durable."""
        await self._ask(command)
        return ()

    async def query(self, command: VenueQuery, /) -> VenueOrderStatus:
        """What the store knows of an order."""
        try:
            (status,) = await self._ask(command)
        except VenueError as error:
            return VenueOrderStatus(
                time_ns=self._clock.now_ns(),
                venue=self.name,
                symbol=command.symbol,
                order_id=command.order_id,
                answered=False,
                detail=str(error),
            )
        return status

    async def open_orders(self) -> Sequence[VenueOrderStatus]:
        """Every open order."""
        return await self._ask(None)

    async def balances(self) -> Sequence[VenueBalance]:
        """What the trades stored so far have made of each asset; it may be owed, too."""
        # Behind whatever waits for the worker, which alone may use the store.
        await self._ask(_AskBalances())
        return [VenueBalance(asset=asset, total_units=units) for asset, units in sorted(self._held.items())]

    async def _ask(self, command: _Command) -> Sequence[VenueOrderStatus]:
        if self._trouble:
            raise VenueError(f"the paper venue is down: {self._trouble}")
        if len(self._requests) >= self._settings.requests_waiting_max:
            raise VenueNotSentError(f"{len(self._requests)} requests wait at the paper venue already")
        changes = isinstance(command, VenueSubmit | VenueCancel | VenueReplace)
        if changes and self._settings.latency_seconds:
            await self._clock.sleep(self._settings.latency_seconds)
        future: asyncio.Future[Sequence[VenueOrderStatus]] = asyncio.get_running_loop().create_future()
        self._requests.append(_Request(command, future))
        self._wake.set()
        return await future

    # -- running ------------------------------------------------------------------------------------------------

    async def run(self, events: VenueEvents, /) -> None:
        """Open the store, follow the market and work, until cancelled. Raises PaperStoreError when it cannot open."""
        await self._open()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow_market)
                tasks.start_soon(self._follow_time)
                await self._work(events)
        finally:
            self._trouble = "it was stopped"
            self._fail_waiting("the paper venue was stopped")
            if self._store is not None:
                self._store.close()
                self._store = None

    async def _open(self) -> None:
        store = await anyio.to_thread.run_sync(self._open_store)
        self._store = store
        next_order, next_trade = store.next_numbers()
        self._exchange.reset((), next_order=next_order, next_trade=next_trade)
        self._unlisted = store.open_orders()
        self._list_instruments()
        self._trouble = ""
        _log.info("paper venue open", path=str(self._path), open_orders=self._exchange.open_order_count)

    def _list_instruments(self) -> None:
        """Take over new instruments, fees and statuses, and the stored orders that waited for their instrument."""
        for instrument in self._instruments():
            if instrument.venue == self.name:
                new = not self._exchange.knows_instrument(instrument.symbol)
                self._exchange.list_instrument(instrument)
                if new:
                    self._load_book(instrument.symbol)
        if self._unlisted:
            listed = [order for order in self._unlisted if self._exchange.knows_instrument(order.symbol)]
            self._unlisted = [order for order in self._unlisted if not self._exchange.knows_instrument(order.symbol)]
            self._exchange.restore(listed)

    def _load_book(self, symbol: str) -> None:
        book = self._book_of(symbol) if self._book_of is not None else None
        if book is not None and book.is_snapshot:
            self._exchange.on_market(book)

    async def _follow_time(self) -> None:
        while True:
            await self._clock.sleep(_TIMER_SECONDS)
            self._list_instruments()
            self._exchange.advance(self._clock.now_ns())
            self._exchange.note_watermarks()
            self._collect()

    async def _follow_market(self) -> None:
        while True:
            subscription = self._bus.subscribe(
                # One topic, in order: orders meet a book the moment it is well again, so its levels must be there.
                (MARKET_DATA_NORMALIZED,),
                name="paper-venue",
                backlog_messages_max=self._settings.market_backlog_messages_max,
                droppable=True,
            )
            try:
                async with subscription as batches:
                    for symbol in self._exchange.symbols:
                        self._load_book(symbol)
                    self._collect()
                    async for batch in batches:
                        for envelope in batch:
                            self._exchange.on_market(envelope.message)
                        self._collect()
                return
            except SlowConsumerError as error:
                _log.warning("paper venue fell behind the market", error=str(error))
                self._exchange.distrust_books("market data was missed")

    def _collect(self) -> None:
        """Hand what the exchange has done to the worker."""
        outcome = self._exchange.drain()
        if outcome:
            self._outcomes.append(outcome)
            self._wake.set()

    async def _work(self, events: VenueEvents) -> None:
        while True:
            if not self._requests and not self._outcomes:
                self._wake = anyio.Event()
                await self._wake.wait()
            requests, self._requests = list(self._requests), deque()
            try:
                for request in requests:
                    self._apply(request)
                self._collect()
                outcomes, self._outcomes = self._outcomes, []
                reads, queries = _reads(requests)
                answers = await anyio.to_thread.run_sync(self._commit, outcomes, queries)
            except PaperStoreError as error:
                for request in requests:
                    _fail(request, f"the outcome is not known: {error}")
                await self._recover(error)
                events.reconnected()
                continue
            reports = [report for outcome in outcomes for report in outcome.reports]
            if reports:
                await events.deliver(reports)
            for request, answer in zip(reads, answers, strict=True):
                if not request.future.done():
                    request.future.set_result(answer)
            for request in requests:
                if not request.future.done():
                    request.future.set_result(())

    def _apply(self, request: _Request) -> None:
        command, now_ns = request.command, self._clock.now_ns()
        if isinstance(command, VenueSubmit):
            for one in (command, *command.also):
                if self._is_used(one.venue_client_id):
                    _fail(request, f"the client id {one.venue_client_id} was used before")
                    return
            if not self._exchange.knows_instrument(command.symbol):
                self._list_instruments()
            self._exchange.submit(command, now_ns)
        elif isinstance(command, VenueCancel):
            self._exchange.cancel(command, now_ns)
        elif isinstance(command, VenueReplace):
            self._exchange.replace(command, now_ns)
        self._collect()

    def _is_used(self, client_id: str) -> bool:
        """Whether a client id was ever used: ids are unique for ever here, also those of orders long ended."""
        assert self._store is not None
        if self._exchange.find(client_id) is not None:
            return True
        waiting = any(order.client_id == client_id for outcome in self._outcomes for order in outcome.orders)
        return waiting or self._store.order(client_id) is not None

    def _commit(self, outcomes: list[Outcome], reads: Sequence[_Read]) -> list[Sequence[VenueOrderStatus]]:
        """In a thread: store what happened, then answer queries from what is stored."""
        store = self._store
        assert store is not None
        store.write(outcomes)
        answers: list[Sequence[VenueOrderStatus]] = []
        for read in reads:
            if isinstance(read, VenueQuery):
                answers.append((self._status(store, read.venue_client_id, read),))
            elif isinstance(read, _AskBalances):
                self._held = store.balances()
                answers.append(())
            else:
                answers.append(tuple(self._known(store, order) for order in store.open_orders()))
        return answers

    def _status(self, store: PaperStore, client_id: str, query: VenueQuery) -> VenueOrderStatus:
        order = store.order(client_id)
        if order is not None:
            return self._known(store, order)
        return VenueOrderStatus(
            time_ns=self._clock.now_ns(),
            venue=self.name,
            symbol=query.symbol,
            order_id=query.order_id,
            answered=True,
            trades_checked=True,
            fills=store.fills(client_id),
        )

    def _known(self, store: PaperStore, order: PaperOrder) -> VenueOrderStatus:
        return VenueOrderStatus(
            time_ns=self._clock.now_ns(),
            venue=self.name,
            symbol=order.symbol,
            order_id=order.order_id,
            answered=True,
            found=True,
            trades_checked=True,
            state=order.state,
            venue_order_id=order.venue_order_id,
            quantity_lots=order.quantity_lots,
            price_ticks=order.price_ticks,
            stop_price_ticks=order.stop_price_ticks,
            filled_lots=order.filled_lots,
            fills=store.fills(order.client_id),
            reason=order.reason,
            detail=order.detail,
        )

    async def _recover(self, error: PaperStoreError) -> None:
        """After a failed write nothing in memory counts: go back to what the store has, once it can be written."""
        self._trouble = str(error)
        _log.error("paper store failed", error=str(error))
        self._fail_waiting(str(error))
        self._unlisted = []
        self._exchange.reset((), next_order=1, next_trade=1)
        while True:
            if self._store is not None:
                self._store.close()
                self._store = None
            await self._clock.sleep(self._settings.retry_seconds)
            try:
                store = await anyio.to_thread.run_sync(self._open_store)
                self._store = store
                await anyio.to_thread.run_sync(store.probe)
            except PaperStoreError as again:
                self._trouble = str(again)
                continue
            self._outcomes.clear()
            next_order, next_trade = store.next_numbers()
            self._exchange.reset((), next_order=next_order, next_trade=next_trade)
            self._unlisted = store.open_orders()
            self._list_instruments()
            self._trouble = ""
            _log.info("paper store works again", path=str(self._path))
            return

    def _fail_waiting(self, why: str) -> None:
        while self._requests:
            _fail(self._requests.popleft(), why)


def _reads(requests: Sequence[_Request]) -> tuple[list[_Request], list[_Read]]:
    """The requests that only ask, and what they ask."""
    asking: list[_Request] = []
    questions: list[_Read] = []
    for request in requests:
        command = request.command
        if command is None or isinstance(command, VenueQuery | _AskBalances):
            asking.append(request)
            questions.append(command)
    return asking, questions


def _fail(request: _Request, why: str) -> None:
    if not request.future.done():
        request.future.set_exception(VenueError(why))
