"""The market data core: what feeds deliver goes in, what may be relied on comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from polaris_synapse.bus.core import NOTHING, Handler, decode_state, dispatch, encode_state, hash_state
from polaris_synapse.domain.instruments import INTERNAL_VENUE
from polaris_synapse.domain.messages import (
    BookChanged,
    BookSnapshotReceived,
    BookTickerReceived,
    DepthReceived,
    FeedStatusChanged,
    ListInstrument,
    Message,
    Tick,
    TradePrinted,
    TradeReceived,
)
from polaris_synapse.market_data.core.market import SymbolMarket
from polaris_synapse.market_data.core.settings import MarketDataCoreSettings

_VERSION = 1


class _State(Struct):
    markets: dict[str, SymbolMarket] = {}
    symbols_refused: int = 0


class MarketDataCore:
    """Folds feeds, the internal book and time into normalised books, trades, candles, marks and health.

    A market exists from the listing of its instrument or from its first message on; symbols beyond ``symbols_max``
    are refused and counted. The internal venue's book starts empty and in step; its messages count from 1.
    """

    name = "market_data"

    def __init__(self, settings: MarketDataCoreSettings | None = None) -> None:
        self._settings = settings or MarketDataCoreSettings()
        self._state = _State()
        self._handlers: dict[type[Message], Handler] = {
            DepthReceived: self._depth,
            BookTickerReceived: self._ticker,
            TradeReceived: self._trade,
            BookSnapshotReceived: self._snapshot,
            FeedStatusChanged: self._feed_status,
            BookChanged: self._book_changed,
            TradePrinted: self._trade_printed,
            Tick: self._tick,
            ListInstrument: self._list_instrument,
        }

    @property
    def markets(self) -> Mapping[str, SymbolMarket]:
        """The markets by symbol, to look at."""
        return self._state.markets

    @property
    def symbols_refused(self) -> int:
        """Messages of symbols beyond the bound."""
        return self._state.symbols_refused

    def apply(self, message: Message) -> Sequence[Message]:
        """Fold one message."""
        return dispatch(self._handlers, message, self.name)

    def snapshot(self) -> bytes:
        """The whole state, versioned."""
        return encode_state(_VERSION, self._state)

    def restore(self, snapshot: bytes) -> None:
        """Replace the state. Raises SnapshotError."""
        self._state = decode_state(_VERSION, _State, snapshot)

    def state_hash(self) -> str:
        """A hash of the state."""
        return hash_state(self.snapshot())

    def _market(self, symbol: str) -> SymbolMarket | None:
        market = self._state.markets.get(symbol)
        if market is None:
            if len(self._state.markets) >= self._settings.symbols_max:
                self._state.symbols_refused += 1
                return None
            market = self._state.markets[symbol] = SymbolMarket(symbol)
        return market

    def _internal_market(self, symbol: str) -> SymbolMarket | None:
        market = self._market(symbol)
        if market is not None and not market.source:
            market.source = INTERNAL_VENUE
            market.book.synced = True
        return market

    def _list_instrument(self, message: ListInstrument) -> Sequence[Message]:
        if message.instrument.venue == INTERNAL_VENUE:
            self._internal_market(message.instrument.symbol)
        else:
            self._market(message.instrument.symbol)
        return NOTHING

    def _depth(self, message: DepthReceived) -> Sequence[Message]:
        out: list[Message] = []
        market = self._market(message.symbol)
        if market is not None:
            market.depth(message, self._settings, out)
        return out

    def _ticker(self, message: BookTickerReceived) -> Sequence[Message]:
        out: list[Message] = []
        market = self._market(message.symbol)
        if market is not None:
            market.ticker(message, self._settings, out)
        return out

    def _trade(self, message: TradeReceived) -> Sequence[Message]:
        out: list[Message] = []
        market = self._market(message.symbol)
        if market is not None:
            market.trade(message, self._settings, out)
        return out

    def _snapshot(self, message: BookSnapshotReceived) -> Sequence[Message]:
        out: list[Message] = []
        market = self._market(message.symbol)
        if market is not None:
            market.snapshot(message, self._settings, out)
        return out

    def _feed_status(self, message: FeedStatusChanged) -> Sequence[Message]:
        out: list[Message] = []
        market = self._market(message.symbol)
        if market is not None:
            market.feed_status(message, self._settings, out)
        return out

    def _book_changed(self, message: BookChanged) -> Sequence[Message]:
        out: list[Message] = []
        market = self._internal_market(message.symbol)
        if market is not None:
            depth = DepthReceived(
                time_ns=message.time_ns,
                symbol=message.symbol,
                source=INTERNAL_VENUE,
                first_update_id=message.sequence,
                last_update_id=message.sequence,
                bids=message.bids,
                asks=message.asks,
            )
            market.depth(depth, self._settings, out)
        return out

    def _trade_printed(self, message: TradePrinted) -> Sequence[Message]:
        out: list[Message] = []
        market = self._internal_market(message.symbol)
        if market is not None:
            trade = TradeReceived(
                time_ns=message.time_ns,
                symbol=message.symbol,
                source=INTERNAL_VENUE,
                trade_id=message.trade_id,
                price_ticks=message.price_ticks,
                quantity_lots=message.quantity_lots,
                aggressor=message.aggressor,
            )
            market.trade(trade, self._settings, out)
        return out

    def _tick(self, message: Tick) -> Sequence[Message]:
        out: list[Message] = []
        # In the order of the symbols, which a restored snapshot keeps; the order of listing it does not.
        for symbol in sorted(self._state.markets):
            self._state.markets[symbol].tick(message.time_ns, self._settings, out)
        return out
