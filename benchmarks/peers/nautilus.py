"""NautilusTrader's simulated venue on the stream's orders, through a strategy: another and a heavier path.

Its venue matches orders against market data and not with each other, keeps accounts and positions, and sends every
order through a strategy, a risk engine and an execution engine. So this says what an order costs there, not how fast a
book is: one quote a command round the stream's mid, and the command carried out when the quote arrives. Cancels of
orders that are done are left out, since it logs them as errors.
"""

from __future__ import annotations

import time
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, RiskEngineConfig
from nautilus_trader.model.currencies import BTC, USDT
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, TimeInForce
from nautilus_trader.model.identifiers import Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

MID = 100_000


class Replay(Strategy):  # type: ignore[misc]
    """Carries out one command with each quote."""

    def __init__(self, instrument: Any, rows: list[tuple[int, ...]]) -> None:
        super().__init__()
        self._instrument, self._rows = instrument, iter(rows)
        self._orders: dict[int, Any] = {}
        self.trades = self.skipped = 0

    def on_start(self) -> None:
        self.subscribe_quote_ticks(self._instrument.id)

    def on_order_filled(self, event: Any) -> None:
        self.trades += 1

    def on_quote_tick(self, tick: Any) -> None:
        row = next(self._rows, None)
        if row is None:
            return
        if row[0] == 1:
            order = self._orders.get(row[2])
            if order is not None and order.is_open:
                self.cancel_order(order)
            else:
                self.skipped += 1
            return
        side = OrderSide.SELL if row[1] & 1 else OrderSide.BUY
        lots = Quantity(row[5] / 1000, 6)
        if row[1] >> 1 & 7:
            order = self.order_factory.market(self._instrument.id, side, lots)
        else:
            force = TimeInForce.IOC if row[1] >> 4 & 3 else TimeInForce.GTC
            order = self.order_factory.limit(
                self._instrument.id, side, lots, Price(row[4] / 100, 2), time_in_force=force
            )
            self._orders[row[2]] = order
        self.submit_order(order)


def run(rows: list[tuple[int, ...]]) -> dict[str, Any]:
    """Carry out the rows."""
    engine = BacktestEngine(
        BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True))
    )
    venue = Venue("BINANCE")
    engine.add_venue(
        venue=venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        frozen_account=True,
        base_currency=None,
        starting_balances=[Money(1_000_000_000, USDT), Money(1_000_000, BTC)],
    )
    instrument = TestInstrumentProvider.btcusdt_binance()
    engine.add_instrument(instrument)
    size = Quantity(1000, 6)
    engine.add_data(
        [
            QuoteTick(instrument.id, Price((MID - 1) / 100, 2), Price((MID + 1) / 100, 2), size, size, number, number)
            for number in range(1, len(rows) + 1)
        ]
    )
    strategy = Replay(instrument, rows)
    engine.add_strategy(strategy)
    start = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - start
    result = {
        "seconds": seconds,
        "applied": len(rows) - strategy.skipped,
        "skipped": strategy.skipped,
        "trades": strategy.trades,
    }
    engine.dispose()
    return result
