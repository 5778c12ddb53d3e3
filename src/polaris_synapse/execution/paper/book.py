"""The mirror of a live book, with the liquidity that paper orders have taken from it tracked level by level.

**Displayed** is what the real book shows at a price. **Consumed** is the part of it that paper orders took: the real
book does not know about it, so it is shown there still, and no paper order may take it again. **Visible** is displayed
less consumed. When the real level changes:

- it grows: what was added is new, visible liquidity; the consumed part stays consumed;
- it shrinks: what left is taken to be, first, the part that paper orders had consumed, so visible shrinks only by what
  is beyond that;
- it disappears: its consumed part is forgotten with it.

So what paper orders take at a price never exceeds what the level showed when it appeared plus all that was really
added to it. A resync of the whole book is folded as the changes it amounts to, and refreshes nothing by itself.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from polaris_synapse.domain.messages import BookUpdated
from polaris_synapse.domain.orders import Side

#: A trade explains a decrease of its level that is seen at most so much later.
TRADE_EXPLAINS_NS: Final = 1_000_000_000


class Level(Struct):
    """One price of one side, in lots. ``traded_lots`` is recent trade volume that no decrease has shown yet."""

    displayed_lots: int
    consumed_lots: int = 0
    traded_lots: int = 0
    traded_ns: int = 0

    @property
    def visible_lots(self) -> int:
        """What a paper order may take."""
        return self.displayed_lots - self.consumed_lots


class LevelChange(Struct, frozen=True):
    """How a level changed: displayed lots before and after, and how many left that no trade explains (cancels)."""

    side: Side
    price_ticks: int
    before_lots: int
    after_lots: int
    cancelled_lots: int


class Take(Struct, frozen=True):
    """A part of a taker's fill: lots at a price, with what the level displayed and had given to paper orders before."""

    price_ticks: int
    lots: int
    displayed_lots: int
    consumed_lots: int


class SideBook:
    """One side's levels, best first."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.levels: dict[int, Level] = {}
        # Prices are kept so that the best one is the last: as they are for bids, negated for asks.
        self._sign = 1 if side is Side.BUY else -1
        self._keys: list[int] = []

    def best_ticks(self) -> int:
        """The best displayed price, 0 when the side is empty."""
        return self._keys[-1] * self._sign if self._keys else 0

    def reaches(self, price_ticks: int, limit_ticks: int) -> bool:
        """Whether a taker with that limit (0: none) trades with this side at a price."""
        return not limit_ticks or (price_ticks - limit_ticks) * self._sign >= 0

    def best_first(self) -> Iterator[tuple[int, Level]]:
        """Prices and levels, best first."""
        for key in reversed(self._keys):
            price_ticks = key * self._sign
            yield price_ticks, self.levels[price_ticks]

    def displayed_lots(self, price_ticks: int) -> int:
        """What the real book shows at a price."""
        level = self.levels.get(price_ticks)
        return level.displayed_lots if level is not None else 0

    def set_level(self, price_ticks: int, lots: int, now_ns: int) -> LevelChange | None:
        """The real level shows ``lots`` now, 0 for gone; None when that is no change."""
        level = self.levels.get(price_ticks)
        if level is None:
            if lots <= 0:
                return None
            self.levels[price_ticks] = Level(lots)
            insort(self._keys, price_ticks * self._sign)
            return LevelChange(self.side, price_ticks, 0, lots, 0)
        before = level.displayed_lots
        decrease = before - lots
        if not decrease:
            return None
        cancelled = 0
        if decrease > 0:
            known = level.traded_lots if now_ns - level.traded_ns <= TRADE_EXPLAINS_NS else 0
            explained = min(decrease, known)
            level.traded_lots = known - explained
            cancelled = decrease - explained
            level.consumed_lots = max(level.consumed_lots - decrease, 0)
        if lots <= 0:
            del self.levels[price_ticks]
            del self._keys[bisect_left(self._keys, price_ticks * self._sign)]
        else:
            level.displayed_lots = lots
        return LevelChange(self.side, price_ticks, before, max(lots, 0), cancelled)

    def note_trade(self, price_ticks: int, lots: int, now_ns: int) -> None:
        """A real trade took ``lots`` from a level: the decrease that will show it is no cancel."""
        level = self.levels.get(price_ticks)
        if level is not None:
            known = level.traded_lots if now_ns - level.traded_ns <= TRADE_EXPLAINS_NS else 0
            level.traded_lots = known + lots
            level.traded_ns = now_ns

    def plan(self, limit_ticks: int, lots: int, budget_tick_lots: int) -> tuple[list[Take], bool]:
        """What a taker would get, best price first, and whether that completes it.

        ``lots`` or, when it is 0, at most ``budget_tick_lots`` in ticks times lots, which is complete when it does not
        buy another lot at the next price.
        """
        takes: list[Take] = []
        for price_ticks, level in self.best_first():
            if not self.reaches(price_ticks, limit_ticks):
                break
            visible = level.visible_lots
            if visible <= 0:
                continue
            wanted = lots or budget_tick_lots // price_ticks
            if not wanted:
                return takes, True
            taken = min(wanted, visible)
            takes.append(Take(price_ticks, taken, level.displayed_lots, level.consumed_lots))
            if lots:
                lots -= taken
                if not lots:
                    return takes, True
            else:
                budget_tick_lots -= taken * price_ticks
                if taken == wanted:
                    return takes, True
        return takes, False

    def consume(self, take: Take) -> None:
        """Mark what a plan took as consumed."""
        self.levels[take.price_ticks].consumed_lots += take.lots


class MirrorBook:
    """Both sides of one symbol, the last trade price, and whether the book may be traded on."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.bids = SideBook(Side.BUY)
        self.asks = SideBook(Side.SELL)
        self.has_snapshot = False
        self.healthy = True
        self.cause = ""
        self.last_price_ticks = 0

    def side(self, side: Side) -> SideBook:
        """The bids for BUY, the asks for SELL."""
        return self.bids if side is Side.BUY else self.asks

    @property
    def trouble(self) -> str:
        """Why the book may not be traded on, empty when it may."""
        if not self.has_snapshot:
            return f"no complete book has been received yet{self.cause and f' ({self.cause})'}"
        if not self.healthy:
            return f"the book is not usable: {self.cause or 'unhealthy'}"
        return ""

    def update(self, message: BookUpdated) -> list[LevelChange]:
        """Fold a change of the real book, or the whole of it; how the levels changed."""
        changes: list[LevelChange] = []
        for side, levels in ((self.bids, message.bids), (self.asks, message.asks)):
            if message.is_snapshot:
                shown = {price for price, _ in levels}
                gone = [price for price in side.levels if price not in shown]
                changes += [c for price in gone if (c := side.set_level(price, 0, message.time_ns)) is not None]
            changes += [c for price, lots in levels if (c := side.set_level(price, lots, message.time_ns)) is not None]
        self.has_snapshot = self.has_snapshot or message.is_snapshot
        return changes
