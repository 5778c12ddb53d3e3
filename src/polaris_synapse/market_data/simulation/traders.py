"""The traders of one simulated symbol: makers around its value, and takers of several minds."""

from __future__ import annotations

import math
import random
from typing import Final

from polaris_synapse.domain.instruments import PARTS_PER_MILLION, Instrument
from polaris_synapse.market_data.simulation.settings import SECOND_NS, SimulationSettings
from polaris_synapse.market_data.simulation.values import LatentValue
from polaris_synapse.market_data.simulation.venue import SimulatedVenue
from polaris_synapse.matching.core.port import BUY, SELL

#: Accounts: takers, passive traders, then the makers.
_TAKERS, _PASSIVE, _FIRST_MAKER = 1, 2, 10
_INNER_LEVELS: Final = 4
_OUTER_LEVELS: Final = 9
_OUTER_GROWTH: Final = 1.55
_SEEDED_LEVELS: Final = 250
#: Order splitting: how often a taker trades the same way as the one before.
_SAME_SIDE: Final = 0.72
_EXCITEMENT_SECONDS: Final = 3.0
#: How much one trade excites others, and the most that excitement multiplies activity by.
_EXCITEMENT_PER_TRADE: Final = 0.12
_EXCITEMENT_MAX: Final = 6.0
_FAST_SECONDS, _SLOW_SECONDS = 2.0, 40.0


class _Maker:
    """Quotes a ladder around the value as it saw it last; sees it late and not quite right."""

    def __init__(self, account: int, chance: random.Random) -> None:
        self.account = account
        self.inner: list[int] = []
        self.outer: list[int] = []
        self.inner_fair = 0.0
        self.outer_fair = 0.0
        self.half_spread_ticks = chance.choice((1, 2, 3, 4, 6))
        self.bias = chance.gauss(0, 0.15)


class SymbolTraders:
    """Everybody who trades one symbol. ``step`` is one moment of all of them; ``drift`` is where a burst pushes."""

    def __init__(
        self, instrument: Instrument, venue: SimulatedVenue, settings: SimulationSettings, chance: random.Random
    ) -> None:
        self._venue = venue
        self._settings = settings
        self._chance = chance
        self._tick_value = instrument.tick_units / instrument.quote.unit_count
        self._lot_size = instrument.lot_units / instrument.base.unit_count
        self._lots_min = instrument.min_quantity_lots
        self._makers = [_Maker(_FIRST_MAKER + number, chance) for number in range(settings.makers)]
        self._side = BUY
        self._excitement = 0.0
        self._burst_until_ns = 0
        self._burst_side = BUY
        self._fast = self._slow = 0.0
        self.drift = 0.0

    def seed_book(self, asset: LatentValue) -> None:
        """Resting orders far from the price, thicker further out, as old limit orders lie there."""
        chance = self._chance
        fair = self._ticks(asset.value)
        for side, sign in ((BUY, -1), (SELL, 1)):
            for _ in range(_SEEDED_LEVELS):
                distance = fair * 0.0002 * math.exp(chance.uniform(0, 5))
                price = round(fair + sign * distance)
                self._rest(side, price, self._settings.make_value * math.exp(chance.gauss(0, 1)), fair)
        for maker in self._makers:
            self._quote(maker, asset)

    def step(self, now_ns: int, seconds: float, asset: LatentValue) -> None:
        """Everybody decides once."""
        chance, settings, venue = self._chance, self._settings, self._venue
        self._excitement *= math.exp(-seconds / _EXCITEMENT_SECONDS)
        trades_before = venue.trades
        for maker in self._makers:
            if chance.random() < settings.maker_refreshes * (1 + self._excitement / 2) * seconds:
                self._quote(maker, asset)
        self._take_stale_quotes(asset)
        self._burst(now_ns, seconds)
        self._take_for_no_reason(now_ns, seconds)
        self._follow_or_fade(seconds, asset)
        if chance.random() < settings.passive_orders * seconds:
            self._rest_for_a_while(now_ns)
        made = venue.trades - trades_before
        self._excitement = min(_EXCITEMENT_MAX, self._excitement + made * _EXCITEMENT_PER_TRADE)

    def _quote(self, maker: _Maker, asset: LatentValue) -> None:
        chance = self._chance
        noise = asset.value * asset.volatility * (chance.gauss(0, 0.12) + maker.bias)
        fair = self._ticks(asset.value + noise)
        spacing = max(2.0, fair * asset.volatility * 0.2)
        if abs(fair - maker.inner_fair) >= max(maker.half_spread_ticks, spacing / 2):
            self._venue.cancel(maker.inner)
            maker.inner.clear()
            maker.inner_fair = fair
            for level in range(_INNER_LEVELS):
                ticks = maker.half_spread_ticks + level * spacing / _INNER_LEVELS * chance.uniform(0.2, 1.0)
                self._pair(maker, maker.inner, fair, ticks, 0.5 + level * 0.5)
        if not maker.outer or abs(fair - maker.outer_fair) > 3 * spacing:
            self._venue.cancel(maker.outer)
            maker.outer.clear()
            maker.outer_fair = fair
            for level in range(_OUTER_LEVELS):
                distance = spacing * _OUTER_GROWTH**level * chance.uniform(0.8, 1.2)
                self._pair(maker, maker.outer, fair, distance, 1.0 + level * 0.4)

    def _pair(self, maker: _Maker, orders: list[int], fair: float, distance: float, weight: float) -> None:
        # A maker who sees the value beyond the far side's quotes keeps its own distance from them.
        bid, ask = self._venue.book.best_bid(), self._venue.book.best_ask()
        buy = round(fair - distance)
        sell = round(fair + distance)
        if ask:
            buy = min(buy, ask - maker.half_spread_ticks)
        if bid:
            sell = max(sell, bid + maker.half_spread_ticks)
        for side, price in ((BUY, buy), (SELL, sell)):
            value = self._settings.make_value * weight * math.exp(self._chance.gauss(0, 0.9))
            if price > 0:
                orders.append(self._venue.place(side, price, self._lots(value, fair), account=maker.account))

    def _take_stale_quotes(self, asset: LatentValue) -> None:
        """Whoever knows the value takes quotes that are off by more than the noise, some of the time."""
        chance, book = self._chance, self._venue.book
        fair = self._ticks(asset.value)
        edge = max(3.0, fair * asset.volatility * 0.3)
        bid, ask = book.best_bid(), book.best_ask()
        if ask and fair - ask > edge and chance.random() < 0.5:
            self._take(BUY, self._value(8.0), limit=round(fair - edge / 2))
        elif bid and bid - fair > edge and chance.random() < 0.5:
            self._take(SELL, self._value(8.0), limit=round(fair + edge / 2))

    def _burst(self, now_ns: int, seconds: float) -> None:
        if now_ns >= self._burst_until_ns:
            self.drift = 0.0
            if self._chance.random() < self._settings.bursts_per_minute / 60 * seconds:
                self._burst_until_ns = now_ns + round(self._chance.uniform(1, 5) * SECOND_NS)
                self._burst_side = self._chance.choice((BUY, SELL))
                self.drift = (1 if self._burst_side == BUY else -1) * self._chance.uniform(0.2, 0.8)

    def _take_for_no_reason(self, now_ns: int, seconds: float) -> None:
        chance = self._chance
        bursting = now_ns < self._burst_until_ns
        rate = self._settings.noise_takes * (1 + self._excitement) * (8 if bursting else 1)
        for _ in range(4):
            # Up to four a step: a Poisson number would rarely be more.
            if chance.random() >= rate * seconds / 4:
                continue
            if bursting and chance.random() < 0.8:
                self._side = self._burst_side
            elif chance.random() >= _SAME_SIDE:
                self._side = 1 - self._side
            self._take(self._side, self._value(1.0))

    def _follow_or_fade(self, seconds: float, asset: LatentValue) -> None:
        """Momentum follows a fast move; others fade a move that went far from the slow average."""
        chance, book = self._chance, self._venue.book
        bid, ask = book.best_bid(), book.best_ask()
        if not (bid and ask):
            return
        mid = (bid + ask) / 2
        self._fast += ((mid - self._fast) * seconds / _FAST_SECONDS) if self._fast else mid
        self._slow += ((mid - self._slow) * seconds / _SLOW_SECONDS) if self._slow else mid
        sigma = mid * asset.volatility
        move = (mid - self._fast) / (sigma * math.sqrt(_FAST_SECONDS))
        stretch = (mid - self._slow) / (sigma * math.sqrt(_SLOW_SECONDS))
        if abs(move) > 0.8 and chance.random() < 1.5 * seconds:
            self._take(BUY if move > 0 else SELL, self._value(1.2))
        if abs(stretch) > 1.5 and chance.random() < 0.6 * seconds:
            self._take(SELL if stretch > 0 else BUY, self._value(1.5))

    def _rest_for_a_while(self, now_ns: int) -> None:
        chance, book = self._chance, self._venue.book
        bid, ask = book.best_bid(), book.best_ask()
        if not (bid and ask):
            return
        side = chance.choice((BUY, SELL))
        # A heavy tail: most near the price, some very far from it.
        distance = round((chance.paretovariate(0.8) - 1) * 20)
        price = (bid - distance) if side == BUY else (ask + distance)
        if abs(price - bid) > bid // 10:
            return
        expire_ns = now_ns + round(chance.expovariate(1 / 25) * SECOND_NS) + SECOND_NS
        self._rest(side, price, self._value(1.0), bid, expire_ns)

    def _rest(self, side: int, price: int, value: float, fair: float, expire_ns: int = 0) -> None:
        if price > 0:
            self._venue.place(side, price, self._lots(value, fair), account=_PASSIVE, expire_ns=expire_ns)

    def _take(self, side: int, value: float, limit: int = 0) -> None:
        book = self._venue.book
        far = book.best_ask() if side == BUY else book.best_bid()
        if not far:
            return
        slippage = far * 300 // PARTS_PER_MILLION + 1
        price = limit or (far + slippage if side == BUY else far - slippage)
        if price > 0:
            self._venue.place(side, price, self._lots(value, far), account=_TAKERS, take=True)

    def _value(self, scale: float) -> float:
        """What somebody trades, in quote units: heavy-tailed, as trade sizes are."""
        return self._settings.take_value * scale * math.exp(self._chance.gauss(0, 1.7))

    def _lots(self, value: float, price_ticks: float) -> int:
        """A value in lots; people like round numbers, so now and then it becomes one."""
        lots = max(self._lots_min, round(value / (price_ticks * self._tick_value * self._lot_size)))
        if lots > 10 and self._chance.random() < 0.2:
            step = 10 ** (len(str(lots)) - 1)
            lots = lots // step * step
        return int(lots)

    def _ticks(self, value: float) -> float:
        return value / self._tick_value
