"""The WebSocket stream of normalised facts: each fact is written once, and whoever reads too slowly is dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.websockets import WebSocket

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
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.streams import StreamClient, event_text, read_wish

CHANNELS: Final = ("top", "book", "trades", "candles", "marks", "health")

#: What a client hears that names no channels.
USUAL_CHANNELS: Final = ("top", "trades", "marks", "health")

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


class MarketStream:
    """All connections of ``/stream``. Listens to the service from its first client on."""

    def __init__(self, service: MarketDataService, authenticator: Authenticator | None) -> None:
        self._service = service
        self._authenticator = authenticator
        self._clients: set[StreamClient] = set()
        service.listen(self._publish)

    async def connect(self, websocket: WebSocket) -> None:
        """Serve one connection. Raises ApiError before it is accepted, for a wish that cannot be met."""
        if self._authenticator is not None:
            await self._authenticator.authenticate(websocket)
        settings = self._service.settings
        if len(self._clients) >= settings.stream_connections_max:
            raise ApiError(Reason.TOO_MANY_CONNECTIONS, f"At most {settings.stream_connections_max} can be open.")
        wish = read_wish(
            websocket,
            channels=CHANNELS,
            usual=USUAL_CHANNELS,
            symbols=self._service.instruments,
            unknown_symbol=lambda symbol: f"There is no instrument {symbol}.",
        )
        client = StreamClient(wish, settings.stream_backlog_messages_max)
        await websocket.accept()
        self._clients.add(client)
        self._service.metrics.stream_clients = len(self._clients)
        try:
            self._begin(client)
            await client.serve(websocket)
        finally:
            self._service.metrics.stream_clients_dropped += client.dropped
            self._clients.discard(client)
            client.close()
            self._service.metrics.stream_clients = len(self._clients)

    def _begin(self, client: StreamClient) -> None:
        """What a client needs before the first change: books, marks and health as they stand."""
        client.begun = True
        for view in self._service.views.symbols():
            instrument = self._service.instruments.get(view.symbol)
            if instrument is None:
                continue
            if view.sequence and client.hears("book", view.symbol):
                bids, asks = view.book(_FIRST_BOOK_LEVELS)
                data = {"sequence": view.sequence, "is_snapshot": True, "bids": level_texts(instrument, bids),
                        "asks": level_texts(instrument, asks)}  # fmt: skip
                client.push(event_text("book", view.symbol, view.updated_ns, data))
            if view.mark is not None and client.hears("marks", view.symbol):
                client.push(event_text("marks", view.symbol, view.mark.time_ns, mark_body(instrument, view.mark)))
            if client.hears("health", view.symbol):
                data = {"healthy": view.healthy, "cause": view.cause}
                client.push(event_text("health", view.symbol, view.updated_ns, data))

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
                data = event_text(channel, symbol, message.time_ns, self._data(message, symbol))
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
