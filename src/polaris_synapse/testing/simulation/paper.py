"""The desk's own paper exchange as a venue of the simulation: the real one, with its store in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

from polaris_synapse.domain.instruments import PAPER_VENUE, Instrument
from polaris_synapse.domain.messages import (
    BookUpdated,
    MarketTrade,
    VenueCancel,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import TERMINAL_STATES, Fill, Side
from polaris_synapse.execution.paper.exchange import PaperExchange
from polaris_synapse.execution.paper.orders import PaperOrder
from polaris_synapse.execution.venues.port import VenueError


class PaperTwin:
    """See Exchange. What the exchange did is stored before it is said, as the paper venue does."""

    def __init__(
        self, rng: Random, stamp: Callable[[], int], instruments: Sequence[Instrument], prices: dict[str, int]
    ) -> None:
        self.accepted: Counter[str] = Counter()
        self._rng = rng
        self._stamp = stamp
        self._instruments = instruments
        self._prices = dict(prices)
        self._sequence = 0
        self._stored: dict[str, PaperOrder] = {}
        self._fills: dict[str, list[Fill]] = {}
        self._next_trade = 1
        self._held: Counter[str] = Counter()
        self._reports: list[VenueReport] = []
        self._exchange = PaperExchange()
        self._open()

    def _open(self) -> None:
        for instrument in self._instruments:
            self._exchange.list_instrument(instrument)
        self._exchange.restore(order for order in self._stored.values() if order.is_open)
        for symbol, price_ticks in self._prices.items():
            self._show(symbol, price_ticks)
        self._store()

    def desk_stopped(self) -> None:
        """See Exchange: it lives in the desk's process, so it starts again from its store."""
        next_order = 1 + max((order.sequence for order in self._stored.values()), default=0)
        self._reports.clear()
        self._exchange = PaperExchange(next_order=next_order, next_trade=self._next_trade)
        self._open()

    def _store(self) -> None:
        outcome = self._exchange.drain()
        for order in outcome.orders:
            self._stored[order.client_id] = order
        for fill in outcome.fills:
            self._fills.setdefault(fill.client_id, []).append(fill.fill)
            self._next_trade = fill.number + 1
        self._reports += outcome.reports
        self._held.update(outcome.moved)

    def submit(self, command: VenueSubmit) -> None:
        """See Exchange."""
        if command.venue_client_id in self._stored:
            raise VenueError("the client id was used before")
        self.accepted[command.venue_client_id] += 1
        self._exchange.submit(command, self._stamp())
        self._store()

    def cancel(self, command: VenueCancel) -> None:
        """See Exchange."""
        self._exchange.cancel(command, self._stamp())
        self._store()

    def replace(self, command: VenueReplace) -> None:
        """See Exchange."""
        self._exchange.replace(command, self._stamp())
        self._store()

    def query(self, command: VenueQuery) -> VenueOrderStatus:
        """See Exchange."""
        order = self._stored.get(command.venue_client_id)
        if order is not None:
            return self._status(order)
        return VenueOrderStatus(
            time_ns=self._stamp(),
            venue=PAPER_VENUE,
            symbol=command.symbol,
            order_id=command.order_id,
            answered=True,
            trades_checked=True,
        )

    def open_orders(self) -> Sequence[VenueOrderStatus]:
        """See Exchange."""
        return [self._status(order) for order in self._stored.values() if order.state not in TERMINAL_STATES]

    def orders(self) -> Sequence[tuple[str, VenueOrderStatus]]:
        """See Exchange."""
        return [(client_id, self._status(order)) for client_id, order in self._stored.items()]

    def move_price(self, symbol: str, price_ticks: int) -> None:
        """See Exchange."""
        self._prices[symbol] = price_ticks
        self._show(symbol, price_ticks)
        self._exchange.on_market(
            MarketTrade(
                time_ns=self._stamp(),
                symbol=symbol,
                source="simulated",
                trade_id=self._sequence,
                price_ticks=price_ticks,
                quantity_lots=self._rng.randint(1, 3_000),
                aggressor=self._rng.choice((Side.BUY, Side.SELL)),
            )
        )
        self._store()

    def _show(self, symbol: str, price_ticks: int) -> None:
        """A book of five levels a side around the price."""
        self._sequence += 1
        step, lots = max(price_ticks // 10_000, 1), self._rng.randint(1_000, 40_000)
        self._exchange.on_market(
            BookUpdated(
                time_ns=self._stamp(),
                symbol=symbol,
                source="simulated",
                sequence=self._sequence,
                bids=tuple((price_ticks - step * level, lots * level) for level in range(1, 6)),
                asks=tuple((price_ticks + step * level, lots * level) for level in range(1, 6)),
                is_snapshot=True,
            )
        )

    def advance(self) -> None:
        """See Exchange."""
        self._exchange.advance(self._stamp())
        self._store()

    def balances(self) -> Counter[str]:
        """See Exchange."""
        return Counter(self._held)

    def take_reports(self) -> list[VenueReport]:
        """See Exchange."""
        reports, self._reports = self._reports, []
        return reports

    def _status(self, order: PaperOrder) -> VenueOrderStatus:
        return VenueOrderStatus(
            time_ns=self._stamp(),
            venue=PAPER_VENUE,
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
            fills=tuple(self._fills.get(order.client_id, ())),
            reason=order.reason,
            detail=order.detail,
        )
