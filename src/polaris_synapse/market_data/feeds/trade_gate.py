"""Live trades in order of their ids, waiting where ids were jumped over until the missed trades have been fetched."""

from __future__ import annotations

from msgspec import Struct

from polaris_synapse.domain.messages import TradeReceived
from polaris_synapse.market_data.feeds.port import Sink


class MissedTrades(Struct, frozen=True):
    """A range of trade ids to fetch, both ends included."""

    symbol: str
    first_id: int
    last_id: int


class TradeGate:
    """One symbol's trades on their way to the core.

    A jump of ids (after a reconnect, or a lost frame) closes the gate: trades wait, at most ``held_max`` of them, so
    that the fetched ones come first. The core accepts trades in any order; the gate keeps candles and tape in order.
    """

    def __init__(self, symbol: str, sink: Sink, *, held_max: int) -> None:
        self._symbol = symbol
        self._sink = sink
        self._held_max = held_max
        self._held: list[TradeReceived] | None = None
        self._last_id = -1

    def live(self, trade: TradeReceived) -> MissedTrades | None:
        """A trade from the stream; returns what has to be fetched where it shows that some were missed."""
        if self._held is not None:
            self._held.append(trade)
            if len(self._held) >= self._held_max:
                held, self._held = self._held, None
                for waited in held:
                    self._pass(waited)
            return None
        last = self._last_id
        if last >= 0 and trade.trade_id > last + 1:
            self._held = [trade]
            return MissedTrades(self._symbol, last + 1, trade.trade_id - 1)
        self._pass(trade)
        return None

    def fetched(self, trade: TradeReceived) -> None:
        """A missed trade, ahead of those that wait."""
        self._pass(trade)

    def open(self) -> MissedTrades | None:
        """Let through what waited: everything was fetched, or cannot be. Stops at a further jump, and returns it."""
        held, self._held = self._held or [], None
        missed: MissedTrades | None = None
        for number, trade in enumerate(held):
            if number == 0:
                self._pass(trade)
            else:
                missed = self.live(trade) or missed
        return missed

    def _pass(self, trade: TradeReceived) -> None:
        self._last_id = max(self._last_id, trade.trade_id)
        self._sink(trade)
