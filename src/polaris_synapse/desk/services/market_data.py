"""The market data service on Kafka: a feed, the cores of the symbols that this process has, and the desk's time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import anyio
from starlette.types import ASGIApp

from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.host import PartitionState
from polaris_synapse.bus.kafka.partition import Local
from polaris_synapse.bus.kafka.routing import partition_of
from polaris_synapse.bus.kafka.volatile import VolatileHost
from polaris_synapse.desk.reference_data import instruments_of
from polaris_synapse.desk.room_settings import market_data_settings
from polaris_synapse.desk.services.app import Checks
from polaris_synapse.desk.services.base import Member, ServiceParts
from polaris_synapse.desk.services.internal_books import InternalBooks
from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import BookUpdated, ListInstrument, Mark, Message, ResyncNeeded
from polaris_synapse.domain.topics import MARKET_DATA
from polaris_synapse.market_data import api as market_data_api
from polaris_synapse.market_data.core import MarketDataCore
from polaris_synapse.market_data.service import MarketDataService
from polaris_synapse.market_data.views import MarketViews
from polaris_synapse.order_gateway.last_prices import LastPricesWriter
from polaris_synapse.order_gateway.market_channels import MarketChannelsWriter
from polaris_synapse.order_gateway.metrics import MarketWriterMetrics
from polaris_synapse.order_gateway.order_port import OrderPort

#: How often each book is said in full, for those who begin to listen later than it did.
_BOOK_SECONDS: Final = 2.0
_VIEW_TRADES_MAX: Final = 1


class MarketDataHandler:
    """Follows the symbols of its partitions. The one that has partition 0 sends everybody the time."""

    def __init__(self, parts: ServiceParts) -> None:
        self.parts = parts
        settings = market_data_settings(parts.settings)
        self._core_settings = settings.core
        self._instruments = instruments_of(parts.settings)
        self._internal = frozenset(i.symbol for i in self._instruments if i.venue == INTERNAL_VENUE)
        self._partitions = parts.destinations.partitions(MARKET_DATA)
        self._here: frozenset[int] = frozenset()
        self._resync: list[str] = []
        self._wanted = anyio.Event()
        #: Followed within the host's own step, so that a book said in full is never behind its changes.
        self._books = MarketViews(trades_max=_VIEW_TRADES_MAX, candles_max=_VIEW_TRADES_MAX)
        self._internal_books = InternalBooks(parts.outlet, parts.destinations, parts.clock)
        cache = parts.gateway.cache
        #: Tells the gateways' clients of the markets, where there is a cache to do it through.
        self._channels = (
            None if cache is None else MarketChannelsWriter(cache, parts.clock, MarketWriterMetrics(parts.registry))
        )
        self._service = MarketDataService(parts.bus, parts.clock, parts.registry, settings, self._instruments)
        self._host = VolatileHost(
            room="market_data",
            group=f"{parts.name}-group",
            make_core=self._make_core,
            set_up=self._set_up,
            settings=parts.kafka,
            destinations=parts.destinations,
            outlet=parts.perishable,
            clock=parts.clock,
            metrics=parts.metrics,
            client=parts.client,
            deliver=self._deliver,
            admit=self._internal_books.admit,
            changed=self._changed,
        )
        parts.bus.apply_here = self._host.post

    def _make_core(self, _: int) -> Core:
        return MarketDataCore(self._core_settings)

    def _of_partition(self, partition: int) -> list[str]:
        symbols = (instrument.symbol for instrument in self._instruments)
        return [symbol for symbol in symbols if partition_of(symbol, self._partitions) == partition]

    def _set_up(self, partition: int) -> Sequence[Message]:
        now_ns, mine = self.parts.clock.now_ns(), frozenset(self._of_partition(partition))
        return [
            ListInstrument(time_ns=now_ns, instrument=instrument)
            for instrument in self._instruments
            if instrument.symbol in mine
        ]

    def _changed(self, partitions: frozenset[int]) -> None:
        """Partitions came or went: books that came have to be had in full."""
        came, left, self._here = partitions - self._here, self._here - partitions, partitions
        if self._channels is not None:
            for symbol in (symbol for partition in left for symbol in self._of_partition(partition)):
                self._channels.forget(symbol)
        for partition in sorted(came):
            for symbol in self._of_partition(partition):
                self._start_book(symbol)

    def _start_book(self, symbol: str) -> None:
        if symbol in self._internal:
            self._internal_books.ask(symbol)
        else:
            self._resync.append(symbol)
            self._wanted.set()

    def _deliver(self, local: Sequence[Local]) -> None:
        for output in local:
            self._books.take(output.message)
            self.parts.storage.candles.take(output.message)
            if self._channels is not None:
                self._channels.take(output.message)
            if isinstance(output.message, ResyncNeeded) and output.message.symbol in self._internal:
                self._internal_books.ask(output.message.symbol)
        self.parts.bus.deliver(local)

    # --- what runs ---

    async def _follow_resyncs(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            symbols, self._resync = self._resync, []
            for symbol in symbols:
                await self._service.resync(symbol)

    async def _say_books(self) -> None:
        """Say each book in full now and then."""
        while True:
            await self.parts.clock.sleep(_BOOK_SECONDS)
            for instrument in self._instruments:
                book = self._book(instrument.symbol)
                if book is not None:
                    partition = partition_of(instrument.symbol, self._partitions)
                    self._host.say(partition, (book,), here=False)

    def _book(self, symbol: str) -> BookUpdated | None:
        view = self._books.get(symbol)
        if view is None or not view.sequence or not self._host.owns(symbol):
            return None
        bids, asks = view.book(self._core_settings.levels_max)
        return BookUpdated(
            time_ns=view.updated_ns,
            symbol=symbol,
            source=view.source,
            sequence=view.sequence,
            bids=bids,
            asks=asks,
            is_snapshot=True,
        )

    # --- see Service ---

    def app(self) -> ASGIApp:
        """See Service."""
        stored = self.parts.storage.read_models.candles
        return market_data_api.build_api(self._service, self.parts.clock, self.parts.registry, stored=stored)

    def checks(self) -> Checks:
        """See Service."""
        return self.parts.checks() | self._host.readiness() | {"books": self._check_books}

    def _check_books(self) -> str | None:
        """The books of the symbols here; what another process follows is its own to answer for."""
        fed = [one.symbol for one in self._instruments if one.symbol not in self._internal]
        mine = [symbol for symbol in fed if self._host.owns(symbol)]
        bad = [symbol for symbol in mine if (view := self._books.get(symbol)) is None or not view.healthy]
        return f"No healthy book of {', '.join(bad)}." if bad else None

    def order_port(self) -> OrderPort | None:
        """See Service."""
        return None

    def elsewhere(self, path: str, /) -> str:
        """See Service."""
        return ""

    def states(self) -> Sequence[PartitionState]:
        """See Service."""
        return self._host.states()

    def shells(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        """See Service."""
        candles = self.parts.storage.candles
        runs = (self._service.run, self._host.keep_time, self._follow_resyncs, self._say_books, candles.run)
        cache = self.parts.gateway.cache
        if cache is None or self._channels is None:
            return runs
        return (*runs, LastPricesWriter(cache, self.parts.clock, self._marks).run, self._channels.run)

    def _marks(self) -> list[Mark]:
        """The marks of the symbols here: of one that left, another process knows a newer one."""
        return [mark for mark in self._books.marks() if self._host.owns(mark.symbol)]

    def first_listeners(self) -> frozenset[str]:
        """See Service."""
        return frozenset({"market-data feed.commands"})

    def members(self) -> Sequence[Member]:
        """See Service."""
        return (self._host,)
