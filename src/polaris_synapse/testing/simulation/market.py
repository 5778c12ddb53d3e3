"""Prices that wander and jump, and what the market data room says of them."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Final

from polaris_synapse.domain.messages import Mark, MarketSummary, Message
from polaris_synapse.testing.simulation.clients import PRICES
from polaris_synapse.testing.simulation.clock import SECOND_NS, SimulatedTime

_LOW_PRICE_SECONDS: Final = 120
_PRICE_TICKS_MIN: Final = 1_000


class SimulatedMarket:
    """One price a symbol, in ticks. ``stale``: the desk hears nothing of it."""

    def __init__(self, rng: Random, time: SimulatedTime) -> None:
        self._rng = rng
        self._time = time
        self.prices = dict(PRICES)
        self._recent: dict[str, deque[tuple[int, int]]] = {symbol: deque() for symbol in PRICES}
        self.stale = False

    def low_price(self, symbol: str) -> int:
        """The lowest price of a symbol, or of its reference, within the last two minutes."""
        symbol = symbol.removesuffix(".INT")
        return min((price for _, price in self._recent[symbol]), default=self.prices[symbol])

    def jump(self) -> str:
        """Move one price far at once; the symbol."""
        symbol = self._rng.choice(list(self.prices))
        self._set(symbol, self.prices[symbol] * self._rng.choice((80, 88, 94, 106, 113, 125)) // 100)
        return symbol

    def wander(self, symbol: str) -> None:
        """Move a price a little."""
        price = self.prices[symbol]
        self._set(symbol, max(price + price * self._rng.randint(-20, 20) // 10_000, _PRICE_TICKS_MIN))

    def _set(self, symbol: str, price_ticks: int) -> None:
        self.prices[symbol] = price_ticks
        recent = self._recent[symbol]
        recent.append((self._time.true_ns, price_ticks))
        while recent[0][0] < self._time.true_ns - _LOW_PRICE_SECONDS * SECOND_NS:
            recent.popleft()

    def words(self, symbol: str, now_ns: int, *, unhealthy: float) -> list[Message]:
        """The mark and the summary of a second; ``unhealthy`` is the rate of marks not to trade on."""
        rng, price = self._rng, self.prices[symbol]
        return [
            Mark(
                time_ns=now_ns,
                symbol=symbol,
                source="simulated",
                mark_ticks=price,
                bid_ticks=price - 1,
                ask_ticks=price + 1,
                last_ticks=price,
                healthy=rng.random() >= unhealthy,
            ),
            MarketSummary(
                time_ns=now_ns,
                symbol=symbol,
                source="simulated",
                bid_ticks=price - 1,
                ask_ticks=price + 1,
                last_ticks=price,
                bid_depth_lots=rng.randint(1, 10_000),
                ask_depth_lots=rng.randint(1, 10_000),
                bought_lots=rng.randint(0, 1_000),
                sold_lots=rng.randint(0, 1_000),
                trades=rng.randint(0, 20),
                healthy=True,
            ),
        ]
