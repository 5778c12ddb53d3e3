"""The WebSocket of the internal books: by price, by order, trades, statuses and the last 24 hours, all numbered.

``/stream?symbols=A,B&channels=book,orders,trades,status,statistics``. A connection to ``book`` or ``orders`` begins
with the whole book as of a sequence number, and each change that follows carries the next one; the same numbers stand
in ``GET /books/SYMBOL`` and ``GET /books/SYMBOL/orders``. Where the stream itself has missed something it sends the
whole book again. ``statistics`` is the whole of the last 24 hours each time, at the beginning and then at most once a
second when it has changed, as of the trade whose ``trade_id`` is its sequence; ``GET /statistics/SYMBOL`` has the same
number. The stream listens to the bus only while somebody listens to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import anyio
import structlog
from starlette.websockets import WebSocket

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BookChanged, BookStatusChanged, Message, TradePrinted
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import BOOKS, TRADES
from polaris_synapse.matching.api_types import DayBody
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.port import BUY, SELL, SIDES, STATUSES
from polaris_synapse.matching.order_feed import OrderFeed
from polaris_synapse.matching.settings import MatchingSettings
from polaris_synapse.matching.views import day_of
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.streams import StreamClient, event_text, read_wish

CHANNELS: Final = ("book", "orders", "trades", "status", "statistics")

#: How often changed statistics are told.
_STATISTICS_SECONDS: Final = 1
_log = structlog.get_logger(__name__)


class BookStream:
    """All connections of ``/stream``. ``run`` follows the bus while there are any."""

    def __init__(
        self, core: MatchingCore, bus: Bus, clock: Clock, authenticator: Authenticator, settings: MatchingSettings
    ) -> None:
        self._core = core
        self._bus = bus
        self._clock = clock
        self._authenticator = authenticator
        self._settings = settings
        self._clients: set[StreamClient] = set()
        self._feeds: dict[str, OrderFeed] = {}
        self._wanted = anyio.Event()
        self._unwanted = anyio.Event()
        self._listening = False
        self._handlers: dict[type[Message], Callable[[Any], None]] = {
            BookChanged: self._book,
            TradePrinted: self._trade,
            BookStatusChanged: self._status,
        }

    async def connect(self, websocket: WebSocket) -> None:
        """Serve one connection. Raises ApiError before it is accepted, for a wish that cannot be met."""
        await self._authenticator.authenticate(websocket)
        if len(self._clients) >= self._settings.stream_connections_max:
            raise ApiError(Reason.TOO_MANY_CONNECTIONS, f"At most {self._settings.stream_connections_max} can be open.")
        wish = read_wish(
            websocket,
            channels=CHANNELS,
            usual=CHANNELS,
            symbols=self._core.markets,
            unknown_symbol=lambda symbol: f"The desk's own venue has no book of {symbol}.",
        )
        client = StreamClient(wish, self._settings.stream_backlog_messages_max)
        await websocket.accept()
        self._clients.add(client)
        self._wanted.set()
        if self._listening:
            self._begin(client)
        try:
            await client.serve(websocket)
        finally:
            self._clients.discard(client)
            client.close()
            if not self._clients:
                self._unwanted.set()

    async def run(self) -> None:
        """Until cancelled: follow the bus whenever somebody listens."""
        while True:
            await self._wanted.wait()
            self._wanted = anyio.Event()
            while self._clients:
                self._unwanted = anyio.Event()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._follow, tasks.cancel_scope)
                    tasks.start_soon(self._tell_statistics)
                    await self._unwanted.wait()
                    if not self._clients:
                        tasks.cancel_scope.cancel()
            self._listening = False

    async def _follow(self, scope: anyio.CancelScope) -> None:
        backlog = self._settings.facts_backlog_messages_max
        while True:
            try:
                async with self._bus.subscribe(
                    (BOOKS, TRADES), name="matching-stream", backlog_messages_max=backlog, droppable=True
                ) as subscription:
                    self._start_over()
                    async for batch in subscription:
                        for envelope in batch:
                            handler = self._handlers.get(type(envelope.message))
                            if handler is not None:
                                handler(envelope.message)
                self._unwanted.set()
                scope.cancel()
                return
            except SlowConsumerError:
                _log.warning("the stream of the books fell behind the bus and begins anew")

    def _start_over(self) -> None:
        """Begin every feed with its book as it stands, and every client with all of it."""
        self._feeds = {symbol: OrderFeed(market) for symbol, market in self._core.markets.items()}
        self._listening = True
        for client in self._clients:
            self._begin(client)

    def _begin(self, client: StreamClient) -> None:
        client.begun = True
        for market in self._core.markets.values():
            feed = self._feeds.get(market.symbol)
            if feed is None or feed.market is not market:
                # The book came here after the stream began: listed since, or with a partition that others had.
                feed = self._feeds[market.symbol] = OrderFeed(market)
                for other in self._clients - {client}:
                    self._send_whole(feed, other)
            self._send_whole(feed, client)

    def _send_whole(self, feed: OrderFeed, client: StreamClient) -> None:
        """The book, by price and by order, as of the feed's sequence."""
        market = feed.market
        price, quantity = feed.instrument.format_price, feed.instrument.format_quantity
        if client.hears("book", feed.symbol):
            sides = [[[price(ticks), quantity(lots)] for ticks, lots in feed.levels(side)] for side in (BUY, SELL)]
            data = {"sequence": feed.sequence, "is_snapshot": True, "bids": sides[0], "asks": sides[1]}
            client.push(event_text("book", feed.symbol, market.book.now_ns, data))
        if client.hears("orders", feed.symbol):
            sides = [
                [[str(order_id), price(ticks), quantity(lots)] for order_id, ticks, lots in feed.orders(side)]
                for side in (BUY, SELL)
            ]
            data = {"sequence": feed.sequence, "is_snapshot": True, "bids": sides[0], "asks": sides[1]}
            client.push(event_text("orders", feed.symbol, market.book.now_ns, data))
        if client.hears("status", feed.symbol):
            client.push(
                event_text("status", feed.symbol, market.book.now_ns, {"status": STATUSES[market.book.status].value})
            )
        if client.hears("statistics", feed.symbol):
            client.push(event_text("statistics", feed.symbol, market.book.now_ns, day_of(market)))

    async def _tell_statistics(self) -> None:
        """Tell the statistics that have changed, by trades or by time alone, from the core as it stands."""
        told: dict[str, DayBody] = {}
        while True:
            await self._clock.sleep(_STATISTICS_SECONDS)
            for symbol, market in self._core.markets.items():
                listeners = [client for client in self._clients if client.hears("statistics", symbol)]
                if not listeners:
                    continue
                day = day_of(market)
                if day == told.get(symbol):
                    continue
                told[symbol] = day
                text = event_text("statistics", symbol, market.book.now_ns, day)
                for client in listeners:
                    client.push(text)

    def _book(self, message: BookChanged) -> None:
        market, feed = self._core.markets.get(message.symbol), self._feeds.get(message.symbol)
        if market is None:
            return
        try:
            stale = feed is None or feed.market is not market
            operations = feed.take(message) if feed is not None and not stale else None
        except LookupError:
            stale = True
        if stale or feed is None:
            feed = self._feeds[message.symbol] = OrderFeed(market)
            for client in self._clients:
                self._send_whole(feed, client)
            return
        if operations is None:
            return
        instrument = feed.instrument
        price, quantity = instrument.format_price, instrument.format_quantity
        self._publish("book", message, lambda: {
            "sequence": message.sequence,
            "is_snapshot": False,
            "bids": [[price(ticks), quantity(lots)] for ticks, lots in message.bids],
            "asks": [[price(ticks), quantity(lots)] for ticks, lots in message.asks],
        })  # fmt: skip
        self._publish("orders", message, lambda: {
            "sequence": message.sequence,
            "is_snapshot": False,
            "operations": [
                {
                    "kind": operation.kind,
                    "order_id": str(operation.order_id),
                    "side": SIDES[operation.side],
                    "price": price(operation.price_ticks),
                    "quantity": quantity(operation.lots),
                }
                for operation in operations
            ],
        })  # fmt: skip

    def _trade(self, message: TradePrinted) -> None:
        instrument = self._instrument(message.symbol)
        if instrument is None:
            return
        self._publish("trades", message, lambda: {
            "trade_id": message.trade_id,
            "price": instrument.format_price(message.price_ticks),
            "quantity": instrument.format_quantity(message.quantity_lots),
            "aggressor": message.aggressor,
            "maker_order_id": str(message.maker_order_id),
            "taker_order_id": str(message.taker_order_id),
        })  # fmt: skip

    def _status(self, message: BookStatusChanged) -> None:
        instrument = self._instrument(message.symbol)
        if instrument is None:
            return
        self._publish("status", message, lambda: {
            "status": message.status,
            "before": message.before,
            "reason": message.reason.name,
            "until_ns": message.until_ns,
            "call_price": instrument.format_price(message.price_ticks),
            "call_quantity": instrument.format_quantity(message.quantity_lots),
        })  # fmt: skip

    def _instrument(self, symbol: str) -> Instrument | None:
        """None for a book that is not in this process: where there are several, each hears of all books."""
        market = self._core.markets.get(symbol)
        return market.instrument if market is not None else None

    def _publish(
        self, channel: str, message: BookChanged | TradePrinted | BookStatusChanged, data: Callable[[], object]
    ) -> None:
        """Write an event once and hand it to whoever hears it."""
        listeners = [client for client in self._clients if client.hears(channel, message.symbol)]
        if listeners:
            text = event_text(channel, message.symbol, message.time_ns, data())
            for client in listeners:
                client.push(text)
