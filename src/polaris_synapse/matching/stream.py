"""The WebSocket of the internal books: by price, by order, trades and statuses, numbered so that nothing goes unseen.

``/stream?symbols=A,B&channels=book,orders,trades,status``. A connection to ``book`` or ``orders`` begins with the whole
book as of a sequence number, and each change that follows carries the next one; the same numbers stand in
``GET /books/SYMBOL`` and ``GET /books/SYMBOL/orders``. Where the stream itself has missed something it sends the whole
book again. It listens to the bus only while somebody listens to it. Who reads too slowly is cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import anyio
import msgspec
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import Meta, Struct
from starlette.websockets import WebSocket, WebSocketDisconnect

from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BookChanged, BookStatusChanged, Message, TradePrinted
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import BOOKS, TRADES
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.port import BUY, SELL, SIDES, STATUSES
from polaris_synapse.matching.order_feed import OrderFeed
from polaris_synapse.matching.settings import MatchingSettings
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.bodies import convert_texts
from polaris_synapse.web.errors import ApiError

CHANNELS: Final = ("book", "orders", "trades", "status")

_TRY_AGAIN_LATER: Final = 1013
_POLICY: Final = 1008
_log = structlog.get_logger(__name__)


class StreamQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to hear, as lists with commas: ``symbols`` empty means all; ``channels`` are those of CHANNELS."""

    symbols: Annotated[str, Meta(max_length=4000)] = ""
    channels: Annotated[str, Meta(max_length=100)] = ",".join(CHANNELS)


class _Client:
    """One connection's wishes and its bounded queue."""

    def __init__(self, channels: frozenset[str], symbols: frozenset[str], backlog_max: int) -> None:
        self.channels = channels
        self.symbols = symbols
        self.dropped = False
        self.begun = False
        self.scope = anyio.CancelScope()
        streams: tuple[MemoryObjectSendStream[str], MemoryObjectReceiveStream[str]] = anyio.create_memory_object_stream(
            backlog_max
        )
        self.send, self.receive = streams

    def push(self, text: str) -> None:
        """Queue an event, or end the connection where the queue is full."""
        try:
            self.send.send_nowait(text)
        except anyio.WouldBlock:
            self.dropped = True
            self.scope.cancel()

    def hears(self, channel: str, symbol: str) -> bool:
        """Whether it asked for this, and has been given what comes before it."""
        wanted = channel in self.channels and (not self.symbols or symbol in self.symbols)
        return wanted and self.begun and not self.dropped


class BookStream:
    """All connections of ``/stream``. ``run`` follows the bus while there are any."""

    def __init__(self, core: MatchingCore, bus: Bus, authenticator: Authenticator, settings: MatchingSettings) -> None:
        self._core = core
        self._bus = bus
        self._authenticator = authenticator
        self._settings = settings
        self._clients: set[_Client] = set()
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
        client = self._client_of(websocket)
        await websocket.accept()
        self._clients.add(client)
        self._wanted.set()
        if self._listening:
            self._begin(client)
        try:
            async with anyio.create_task_group() as tasks:
                client.scope = tasks.cancel_scope
                tasks.start_soon(self._read, websocket, tasks.cancel_scope)
                tasks.start_soon(self._write, websocket, client)
            if client.dropped:
                # It reads slowly or not at all, so this may not get through; then the server cuts it off.
                with anyio.move_on_after(1):
                    await websocket.close(_TRY_AGAIN_LATER, Reason.SLOW_CONSUMER.name)
        finally:
            self._clients.discard(client)
            client.send.close()
            client.receive.close()
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

    def _begin(self, client: _Client) -> None:
        client.begun = True
        for market in self._core.markets.values():
            feed = self._feeds.get(market.symbol)
            if feed is None or feed.market is not market:
                # The book came here after the stream began: listed since, or with a partition that others had.
                feed = self._feeds[market.symbol] = OrderFeed(market)
                for other in self._clients - {client}:
                    self._send_whole(feed, other)
            self._send_whole(feed, client)

    def _send_whole(self, feed: OrderFeed, client: _Client) -> None:
        """The book, by price and by order, as of the feed's sequence."""
        market = feed.market
        price, quantity = feed.instrument.format_price, feed.instrument.format_quantity
        if client.hears("book", feed.symbol):
            sides = [[[price(ticks), quantity(lots)] for ticks, lots in feed.levels(side)] for side in (BUY, SELL)]
            data = {"sequence": feed.sequence, "is_snapshot": True, "bids": sides[0], "asks": sides[1]}
            client.push(_event("book", feed.symbol, market.book.now_ns, data))
        if client.hears("orders", feed.symbol):
            sides = [
                [[str(order_id), price(ticks), quantity(lots)] for order_id, ticks, lots in feed.orders(side)]
                for side in (BUY, SELL)
            ]
            data = {"sequence": feed.sequence, "is_snapshot": True, "bids": sides[0], "asks": sides[1]}
            client.push(_event("orders", feed.symbol, market.book.now_ns, data))
        if client.hears("status", feed.symbol):
            client.push(
                _event("status", feed.symbol, market.book.now_ns, {"status": STATUSES[market.book.status].value})
            )

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
            text = _event(channel, message.symbol, message.time_ns, data())
            for client in listeners:
                client.push(text)

    @staticmethod
    async def _write(websocket: WebSocket, client: _Client) -> None:
        try:
            async for text in client.receive:
                await websocket.send_text(text)
        except WebSocketDisconnect:
            client.scope.cancel()

    async def _read(self, websocket: WebSocket, scope: anyio.CancelScope) -> None:
        """The stream takes no messages; reading notices that the client has gone."""
        try:
            await websocket.receive_text()
            await websocket.close(_POLICY, "this stream takes no messages")
        except (WebSocketDisconnect, KeyError):
            _log.debug("a client of the books' stream has gone")
        scope.cancel()

    def _client_of(self, websocket: WebSocket) -> _Client:
        pairs = websocket.query_params.multi_items()
        if len(pairs) != len(dict(pairs)):
            raise ApiError(Reason.DUPLICATE_FIELD, "A query parameter is given twice.")
        query = convert_texts(dict(pairs), StreamQuery)
        channels = frozenset(filter(None, query.channels.split(",")))
        if not channels or not channels <= set(CHANNELS):
            raise ApiError(Reason.INVALID_VALUE, f"channels is a list of {', '.join(CHANNELS)}.")
        symbols = frozenset(filter(None, query.symbols.split(",")))
        for symbol in sorted(symbols):
            if symbol not in self._core.markets:
                raise ApiError(Reason.SYMBOL_NOT_FOUND, f"The desk's own venue has no book of {symbol[:40]}.")
        return _Client(channels, symbols, self._settings.stream_backlog_messages_max)


def _event(channel: str, symbol: str, time_ns: int, data: object) -> str:
    event = {"channel": channel, "symbol": symbol, "time_ns": time_ns, "data": data}
    return msgspec.json.encode(event).decode()
