"""The WebSocket stream of normalised facts: each fact is written once, and whoever reads too slowly is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import anyio
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import Meta, Struct
from starlette.websockets import WebSocket, WebSocketDisconnect

from polaris_synapse.bus.core import Envelope
from polaris_synapse.domain.messages import (
    BookHealthChanged,
    BookUpdated,
    CandleClosed,
    Mark,
    MarketTrade,
    Message,
    TopOfBook,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.market_data.bodies import INTERVAL_NAMES, candle_body, level_texts, mark_body, trade_body
from polaris_synapse.market_data.service import MarketDataService
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.bodies import convert_texts
from polaris_synapse.web.errors import ApiError

CHANNELS: Final = ("top", "book", "trades", "candles", "marks", "health")

_TRY_AGAIN_LATER: Final = 1013
_POLICY: Final = 1008
_KINDS: Final[dict[type[Message], str]] = {
    TopOfBook: "top",
    BookUpdated: "book",
    MarketTrade: "trades",
    CandleClosed: "candles",
    Mark: "marks",
    BookHealthChanged: "health",
}
#: Levels a side of the book that a client of the book channel begins with.
_FIRST_BOOK_LEVELS: Final = 5000


class StreamQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to hear, as lists with commas: ``symbols`` empty means all; ``channels`` are those of CHANNELS."""

    symbols: Annotated[str, Meta(max_length=4000)] = ""
    channels: Annotated[str, Meta(max_length=100)] = "top,trades,marks,health"


class _Client:
    """One connection's wishes and its bounded queue."""

    def __init__(self, channels: frozenset[str], symbols: frozenset[str], backlog_max: int) -> None:
        self.channels = channels
        self.symbols = symbols
        self.dropped = False
        self.scope = anyio.CancelScope()
        streams: tuple[MemoryObjectSendStream[bytes], MemoryObjectReceiveStream[bytes]] = (
            anyio.create_memory_object_stream(backlog_max)
        )
        self.send, self.receive = streams

    def push(self, data: bytes) -> None:
        """Queue an event, or end the connection where the queue is full."""
        try:
            self.send.send_nowait(data)
        except anyio.WouldBlock:
            self.dropped = True
            self.scope.cancel()

    def hears(self, channel: str, symbol: str) -> bool:
        """Whether it asked for this."""
        return not self.dropped and channel in self.channels and (not self.symbols or symbol in self.symbols)


class MarketStream:
    """All connections of ``/stream``. Listens to the service from its first client on."""

    def __init__(self, service: MarketDataService, authenticator: Authenticator | None) -> None:
        self._service = service
        self._authenticator = authenticator
        self._clients: set[_Client] = set()
        service.listen(self._publish)

    async def connect(self, websocket: WebSocket) -> None:
        """Serve one connection. Raises ApiError before it is accepted, for a wish that cannot be met."""
        if self._authenticator is not None:
            await self._authenticator.authenticate(websocket)
        settings = self._service.settings
        if len(self._clients) >= settings.stream_connections_max:
            raise ApiError(Reason.TOO_MANY_CONNECTIONS, f"At most {settings.stream_connections_max} can be open.")
        client = self._client_of(websocket)
        await websocket.accept()
        self._clients.add(client)
        self._service.metrics.stream_clients = len(self._clients)
        try:
            self._begin(client)
            async with anyio.create_task_group() as tasks:
                client.scope = tasks.cancel_scope
                tasks.start_soon(self._read, websocket, tasks.cancel_scope)
                tasks.start_soon(self._write, websocket, client)
            if client.dropped:
                self._service.metrics.stream_clients_dropped += 1
                # It reads slowly or not at all, so this may not get through; then the server cuts it off.
                with anyio.move_on_after(1):
                    await websocket.close(_TRY_AGAIN_LATER, Reason.SLOW_CONSUMER.name)
        finally:
            self._clients.discard(client)
            client.send.close()
            client.receive.close()
            self._service.metrics.stream_clients = len(self._clients)

    @staticmethod
    async def _write(websocket: WebSocket, client: _Client) -> None:
        try:
            async for data in client.receive:
                await websocket.send_text(data.decode())
        except WebSocketDisconnect:
            client.scope.cancel()

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
            if symbol not in self._service.instruments:
                raise ApiError(Reason.SYMBOL_NOT_FOUND, f"There is no instrument {symbol[:40]}.")
        return _Client(channels, symbols, self._service.settings.stream_backlog_messages_max)

    async def _read(self, websocket: WebSocket, scope: anyio.CancelScope) -> None:
        """The stream takes no messages; reading notices that the client has gone."""
        try:
            await websocket.receive_text()
            await websocket.close(_POLICY, "this stream takes no messages")
        except (WebSocketDisconnect, KeyError):
            pass
        scope.cancel()

    def _begin(self, client: _Client) -> None:
        """What a client needs before the first change: books, marks and health as they stand."""
        for view in self._service.views.symbols():
            instrument = self._service.instruments.get(view.symbol)
            if instrument is None:
                continue
            if view.sequence and client.hears("book", view.symbol):
                bids, asks = view.book(_FIRST_BOOK_LEVELS)
                data = {"sequence": view.sequence, "is_snapshot": True, "bids": level_texts(instrument, bids),
                        "asks": level_texts(instrument, asks)}  # fmt: skip
                client.push(_event("book", view.symbol, view.updated_ns, data))
            if view.mark is not None and client.hears("marks", view.symbol):
                client.push(_event("marks", view.symbol, view.mark.time_ns, mark_body(instrument, view.mark)))
            if client.hears("health", view.symbol):
                data = {"healthy": view.healthy, "cause": view.cause}
                client.push(_event("health", view.symbol, view.updated_ns, data))

    def _publish(self, batch: Sequence[Envelope]) -> None:
        if not self._clients:
            return
        for envelope in batch:
            message: Message = envelope.message
            channel = _KINDS.get(type(message))
            if channel is None:
                continue
            symbol: str = message.candle.symbol if isinstance(message, CandleClosed) else message.symbol  # type: ignore[attr-defined]  # the kinds above have one
            listeners = [client for client in self._clients if client.hears(channel, symbol)]
            if listeners and symbol in self._service.instruments:
                data = _event(channel, symbol, message.time_ns, self._data(message, symbol))
                for client in listeners:
                    client.push(data)

    def _data(self, message: Message, symbol: str) -> object:
        instrument = self._service.instruments[symbol]
        if isinstance(message, TopOfBook):
            (bid,), (ask,) = (
                level_texts(instrument, ((message.bid_ticks, message.bid_lots),)),
                level_texts(instrument, ((message.ask_ticks, message.ask_lots),)),
            )
            return {"sequence": message.sequence, "bid": bid, "ask": ask}
        if isinstance(message, BookUpdated):
            return {
                "sequence": message.sequence,
                "is_snapshot": message.is_snapshot,
                "bids": level_texts(instrument, message.bids),
                "asks": level_texts(instrument, message.asks),
            }
        if isinstance(message, MarketTrade):
            return trade_body(instrument, message)
        if isinstance(message, CandleClosed):
            interval = INTERVAL_NAMES[message.candle.interval_seconds]
            return {"interval": interval, "candle": candle_body(instrument, message.candle)}
        if isinstance(message, Mark):
            return mark_body(instrument, message)
        assert isinstance(message, BookHealthChanged)
        return {"healthy": message.healthy, "cause": message.cause}


def _event(channel: str, symbol: str, time_ns: int, data: object) -> bytes:
    return msgspec.json.encode({"channel": channel, "symbol": symbol, "time_ns": time_ns, "data": data})
