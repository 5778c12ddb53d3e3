"""A market for the paper exchange, moved by hand."""

from __future__ import annotations

from collections.abc import Sequence

from polaris_synapse.domain.instruments import PAPER_VENUE, Instrument
from polaris_synapse.domain.messages import (
    BookHealthChanged,
    BookUpdated,
    MarketTrade,
    VenueCancel,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import (
    LIMIT_PRICED,
    Fill,
    OrderEvent,
    OrderRequest,
    OrderType,
    PostOnly,
    Side,
    TimeInForce,
)
from polaris_synapse.execution.paper.exchange import PaperExchange
from polaris_synapse.execution.paper.orders import PaperOrder

SECOND_NS = 1_000_000_000
START_NS = 1_767_225_600 * SECOND_NS
BTCUSDT = Instrument(
    symbol="BTCUSDT",
    base=Asset("BTC", 8),
    quote=Asset("USDT", 8),
    tick_units=1_000_000,
    lot_units=1_000,
    maker_fee_ppm=1000,
    taker_fee_ppm=1000,
)

Levels = Sequence[tuple[int, int]]


class PaperMarketByHand:
    """The exchange with one symbol, bids 100 x 50 and asks 102 x 50, and short ways to say things."""

    def __init__(self, *, bids: Levels = ((100, 50),), asks: Levels = ((102, 50),), snapshot: bool = True) -> None:
        self.exchange = PaperExchange()
        self.exchange.list_instrument(BTCUSDT)
        self.now_ns = START_NS
        self.reports: list[VenueReport] = []
        self.stored: dict[str, PaperOrder] = {}
        self.trades = 0
        self.sequence = 0
        if snapshot:
            self.book(bids=bids, asks=asks, snapshot=True)

    def _step(self) -> list[VenueReport]:
        outcome = self.exchange.drain()
        self.reports += outcome.reports
        self.stored.update({order.client_id: order for order in outcome.orders})
        return outcome.reports

    def book(self, *, bids: Levels = (), asks: Levels = (), snapshot: bool = False) -> list[VenueReport]:
        """The real book changes."""
        self.sequence += 1
        self.exchange.on_market(
            BookUpdated(
                time_ns=self.now_ns,
                symbol="BTCUSDT",
                source="test",
                sequence=self.sequence,
                bids=tuple(bids),
                asks=tuple(asks),
                is_snapshot=snapshot,
            )
        )
        return self._step()

    def trade(self, price_ticks: int, lots: int, aggressor: Side) -> list[VenueReport]:
        """A real trade."""
        self.trades += 1
        self.exchange.on_market(
            MarketTrade(
                time_ns=self.now_ns,
                symbol="BTCUSDT",
                source="test",
                trade_id=self.trades,
                price_ticks=price_ticks,
                quantity_lots=lots,
                aggressor=aggressor,
            )
        )
        return self._step()

    def health(self, healthy: bool, cause: str = "stale") -> list[VenueReport]:
        """The book becomes usable or stops being so."""
        self.exchange.on_market(
            BookHealthChanged(time_ns=self.now_ns, symbol="BTCUSDT", source="test", healthy=healthy, cause=cause)
        )
        return self._step()

    def submit(
        self,
        order_id: int,
        side: Side = Side.BUY,
        lots: int = 10,
        price_ticks: int = 0,
        *,
        type_: OrderType | None = None,
        stop_price_ticks: int = 0,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: PostOnly = PostOnly.NO,
        quote_amount_units: int = 0,
        expire_time_ns: int = 0,
        display_lots: int = 0,
        min_quantity_lots: int = 0,
        trailing_offset_ticks: int = 0,
        symbol: str = "BTCUSDT",
    ) -> list[VenueReport]:
        """An order; LIMIT when a price is given, else MARKET."""
        kind = type_ or (OrderType.LIMIT if price_ticks else OrderType.MARKET)
        request = OrderRequest(
            account="alice",
            client_order_id=f"c{order_id}",
            symbol=symbol,
            side=side,
            type=kind,
            quantity_lots=lots,
            quote_amount_units=quote_amount_units,
            price_ticks=price_ticks if kind in LIMIT_PRICED else 0,
            stop_price_ticks=stop_price_ticks,
            time_in_force=time_in_force,
            expire_time_ns=expire_time_ns,
            post_only=post_only,
            display_lots=display_lots,
            min_quantity_lots=min_quantity_lots,
            trailing_offset_ticks=trailing_offset_ticks,
        )
        command = VenueSubmit(
            time_ns=self.now_ns,
            venue=PAPER_VENUE,
            symbol=symbol,
            order_id=order_id,
            venue_client_id=f"ps0-{order_id}",
            request=request,
            quantity_lots=lots,
            price_ticks=price_ticks,
            stop_price_ticks=stop_price_ticks,
        )
        self.exchange.submit(command, self.now_ns)
        return self._step()

    def cancel(self, order_id: int) -> list[VenueReport]:
        """Cancel."""
        command = VenueCancel(
            time_ns=self.now_ns,
            venue=PAPER_VENUE,
            symbol="BTCUSDT",
            order_id=order_id,
            venue_client_id=f"ps0-{order_id}",
            venue_order_id="",
        )
        self.exchange.cancel(command, self.now_ns)
        return self._step()

    def replace(self, order_id: int, lots: int, price_ticks: int, stop_price_ticks: int = 0) -> list[VenueReport]:
        """Replace."""
        command = VenueReplace(
            time_ns=self.now_ns,
            venue=PAPER_VENUE,
            symbol="BTCUSDT",
            order_id=order_id,
            venue_client_id=f"ps0-{order_id}",
            venue_order_id="",
            quantity_lots=lots,
            price_ticks=price_ticks,
            stop_price_ticks=stop_price_ticks,
        )
        self.exchange.replace(command, self.now_ns)
        return self._step()

    def wait(self, seconds: int) -> list[VenueReport]:
        """Let time pass."""
        self.now_ns += seconds * SECOND_NS
        self.exchange.advance(self.now_ns)
        return self._step()

    def fills(self, order_id: int) -> list[Fill]:
        """The fills of an order."""
        return [r.fill for r in self.reports if r.order_id == order_id and r.fill is not None]

    def filled(self, order_id: int) -> int:
        """Lots filled of an order."""
        return sum(fill.quantity_lots for fill in self.fills(order_id))


def events(reports: Sequence[VenueReport]) -> list[OrderEvent]:
    """The events of reports."""
    return [report.event for report in reports]
