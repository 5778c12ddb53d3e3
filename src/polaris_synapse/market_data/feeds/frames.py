"""Binance's wire format to messages: prices and quantities go from text straight to ticks and lots.

Used by the live feed and by replay, so a recording is read exactly as the stream it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    BookSnapshotReceived,
    BookTickerReceived,
    DepthReceived,
    Message,
    TradeReceived,
)
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.money import MoneyError, parse_units
from polaris_synapse.domain.orders import Side

MILLISECOND_NS: Final = 1_000_000


class FrameError(ValueError):
    """A frame that is not what Binance sends, or whose numbers the instrument cannot represent; one sentence why."""


class _Stream(Struct):
    data: msgspec.Raw
    stream: str


class _Depth(Struct, gc=False):
    event_time_ms: int = msgspec.field(name="E")
    symbol: str = msgspec.field(name="s")
    first_update_id: int = msgspec.field(name="U")
    last_update_id: int = msgspec.field(name="u")
    bids: list[tuple[str, str]] = msgspec.field(name="b")
    asks: list[tuple[str, str]] = msgspec.field(name="a")


class _Trade(Struct, gc=False):
    symbol: str = msgspec.field(name="s")
    trade_id: int = msgspec.field(name="t")
    price: str = msgspec.field(name="p")
    quantity: str = msgspec.field(name="q")
    trade_time_ms: int = msgspec.field(name="T")
    buyer_is_maker: bool = msgspec.field(name="m")


class _BookTicker(Struct, gc=False):
    update_id: int = msgspec.field(name="u")
    symbol: str = msgspec.field(name="s")
    bid: str = msgspec.field(name="b")
    bid_quantity: str = msgspec.field(name="B")
    ask: str = msgspec.field(name="a")
    ask_quantity: str = msgspec.field(name="A")


class _Snapshot(Struct, gc=False):
    last_update_id: int = msgspec.field(name="lastUpdateId")
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


class _RestTrade(Struct, gc=False):
    trade_id: int = msgspec.field(name="id")
    price: str
    quantity: str = msgspec.field(name="qty")
    time_ms: int = msgspec.field(name="time")
    buyer_is_maker: bool = msgspec.field(name="isBuyerMaker")


_decode_stream = msgspec.json.Decoder(_Stream).decode
_decode_depth = msgspec.json.Decoder(_Depth).decode
_decode_trade = msgspec.json.Decoder(_Trade).decode
_decode_ticker = msgspec.json.Decoder(_BookTicker).decode
_decode_snapshot = msgspec.json.Decoder(_Snapshot).decode
_decode_rest_trades = msgspec.json.Decoder(list[_RestTrade]).decode


def _text_to_units(decimals: int) -> Callable[[str], int]:
    """Decimal text to minor units: fast for text with all its decimals, as Binance writes it, exact for the rest.

    Anything unusual (a sign, a blank, an exponent, other decimals) goes to ``parse_units``, which reads or refuses it.
    """

    def convert(text: str) -> int:
        whole, _, fraction = text.partition(".")
        digits = whole + fraction
        if len(fraction) == decimals and digits.isdigit() and digits.isascii() and len(digits) <= 30:
            return int(digits)
        return parse_units(text, decimals)

    return convert


class _SymbolParser:
    """One instrument's numbers."""

    def __init__(self, instrument: Instrument) -> None:
        self.symbol = instrument.symbol
        self.quantities_off_lot = 0
        self._price_units = _text_to_units(instrument.quote.decimals)
        self._quantity_units = _text_to_units(instrument.base.decimals)
        self._tick_units, self._lot_units = instrument.tick_units, instrument.lot_units

    def level(self, price: str, quantity: str) -> Level:
        """Ticks and lots. A price off the grid is refused; a quantity off it is rounded down, to one lot at least.

        Binance's own books hold such quantities now and then (25.426189 BTC where a lot is 0.00001).
        """
        price_units, quantity_units = self._price_units(price), self._quantity_units(quantity)
        ticks, price_rest = divmod(price_units, self._tick_units)
        if price_rest or ticks <= 0 or quantity_units < 0:
            raise FrameError(f"{self.symbol}: {quantity} at {price} is not on the price grid")
        lots, rest = divmod(quantity_units, self._lot_units)
        if rest:
            self.quantities_off_lot += 1
            return ticks, lots or 1
        return ticks, lots

    def levels(self, rows: list[tuple[str, str]]) -> tuple[Level, ...]:
        level = self.level
        return tuple([level(price, quantity) for price, quantity in rows])

    def positive(self, price: str, quantity: str) -> Level:
        ticks, lots = self.level(price, quantity)
        if not lots:
            raise FrameError(f"{self.symbol}: a trade or quote of nothing at {price}")
        return ticks, lots


class FrameParser:
    """Reads the frames of one source. Streams of symbols that are not ours are refused like any other bad frame."""

    def __init__(self, instruments: Iterable[Instrument], *, source: str) -> None:
        self._source = source
        self._parsers: Mapping[str, _SymbolParser] = {i.symbol: _SymbolParser(i) for i in instruments}
        self._kinds: dict[str, Callable[[msgspec.Raw, int], Message]] = {}

    @property
    def quantities_off_lot(self) -> int:
        """Quantities that were rounded down to the instrument's lots."""
        return sum(parser.quantities_off_lot for parser in self._parsers.values())

    def stream_frame(self, frame: bytes | str, time_ns: int) -> Message:
        """One frame of a combined stream, received at ``time_ns``. Raises FrameError."""
        try:
            outer = _decode_stream(frame)
            read = self._kinds.get(outer.stream) or self._reader_of(outer.stream)
            return read(outer.data, time_ns)
        except (msgspec.MsgspecError, MoneyError, UnicodeError, KeyError) as error:
            raise FrameError(f"{type(error).__name__}: {error}") from None

    def snapshot(self, body: bytes | str, symbol: str, time_ns: int) -> BookSnapshotReceived:
        """A REST ``/api/v3/depth`` body. Raises FrameError."""
        try:
            parser = self._parsers[symbol]
            snapshot = _decode_snapshot(body)
            return BookSnapshotReceived(
                time_ns=time_ns,
                symbol=symbol,
                source=self._source,
                last_update_id=snapshot.last_update_id,
                bids=parser.levels(snapshot.bids),
                asks=parser.levels(snapshot.asks),
            )
        except (msgspec.MsgspecError, MoneyError, UnicodeError, KeyError) as error:
            raise FrameError(f"{type(error).__name__}: {error}") from None

    def rest_trades(self, body: bytes | str, symbol: str, time_ns: int) -> list[TradeReceived]:
        """A REST ``/api/v3/trades`` or ``/historicalTrades`` body, oldest first. Raises FrameError."""
        try:
            parser = self._parsers[symbol]
            return [
                self._trade_message(
                    parser, row.trade_id, row.price, row.quantity, row.time_ms, row.buyer_is_maker, time_ns
                )
                for row in sorted(_decode_rest_trades(body), key=lambda row: row.trade_id)
            ]
        except (msgspec.MsgspecError, MoneyError, UnicodeError, KeyError) as error:
            raise FrameError(f"{type(error).__name__}: {error}") from None

    def _reader_of(self, stream: str) -> Callable[[msgspec.Raw, int], Message]:
        symbol, _, kind = stream.partition("@")
        if symbol.upper() not in self._parsers:
            raise FrameError(f"a stream that nobody asked for: {stream[:64]!r}")
        readers = {"depth": self._depth, "trade": self._trade, "bookTicker": self._ticker}
        read = readers.get(kind.partition("@")[0])
        if read is None:
            raise FrameError(f"a stream of an unknown kind: {stream[:64]!r}")
        self._kinds[stream] = read
        return read

    def _depth(self, data: msgspec.Raw, time_ns: int) -> Message:
        depth = _decode_depth(data)
        parser = self._parsers[depth.symbol]
        if depth.first_update_id > depth.last_update_id:
            raise FrameError(f"{depth.symbol}: update ids {depth.first_update_id} to {depth.last_update_id}")
        return DepthReceived(
            time_ns=time_ns,
            symbol=depth.symbol,
            source=self._source,
            first_update_id=depth.first_update_id,
            last_update_id=depth.last_update_id,
            bids=parser.levels(depth.bids),
            asks=parser.levels(depth.asks),
            event_time_ns=depth.event_time_ms * MILLISECOND_NS,
        )

    def _trade(self, data: msgspec.Raw, time_ns: int) -> Message:
        trade = _decode_trade(data)
        return self._trade_message(
            self._parsers[trade.symbol],
            trade.trade_id,
            trade.price,
            trade.quantity,
            trade.trade_time_ms,
            trade.buyer_is_maker,
            time_ns,
        )

    def _trade_message(
        self,
        parser: _SymbolParser,
        trade_id: int,
        price: str,
        quantity: str,
        trade_time_ms: int,
        buyer_is_maker: bool,
        time_ns: int,
    ) -> TradeReceived:
        ticks, lots = parser.positive(price, quantity)
        if trade_id < 0:
            raise FrameError(f"{parser.symbol}: trade id {trade_id}")
        return TradeReceived(
            time_ns=time_ns,
            symbol=parser.symbol,
            source=self._source,
            trade_id=trade_id,
            price_ticks=ticks,
            quantity_lots=lots,
            aggressor=Side.SELL if buyer_is_maker else Side.BUY,
            trade_time_ns=trade_time_ms * MILLISECOND_NS,
        )

    def _ticker(self, data: msgspec.Raw, time_ns: int) -> Message:
        ticker = _decode_ticker(data)
        parser = self._parsers[ticker.symbol]
        bid_ticks, bid_lots = parser.positive(ticker.bid, ticker.bid_quantity)
        ask_ticks, ask_lots = parser.positive(ticker.ask, ticker.ask_quantity)
        return BookTickerReceived(
            time_ns=time_ns,
            symbol=ticker.symbol,
            source=self._source,
            update_id=ticker.update_id,
            bid_ticks=bid_ticks,
            bid_lots=bid_lots,
            ask_ticks=ask_ticks,
            ask_lots=ask_lots,
        )
