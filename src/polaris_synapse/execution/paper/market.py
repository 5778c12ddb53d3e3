"""One symbol of the paper exchange: how orders take from the mirrored book, wait in its queues and get filled.

**Queue position.** An order that rests joins its price behind everything that the real book displays there. What is
ahead of it falls by each real trade at its price that hits its side; by real cancels, in proportion to the part of the
level that is ahead (rounded against the order); and never rises. A decrease of the level counts as a cancel only as far
as no trade of the last second explains it. Real orders that join later are behind.

**Fills of resting orders** come from three things, each bounded by real volume that is given out once, in price-time
order of the paper orders: a trade at the price, beyond what was ahead; a trade through the price, up to its size; and
the other side of the book coming to the price or through it, up to its visible lots, which are then consumed.

Paper orders meet the real book only, never each other, so an account cannot trade with itself here.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BookHealthChanged, BookUpdated, MarketTrade
from polaris_synapse.domain.orders import (
    TRIGGERED,
    Liquidity,
    OrderEvent,
    OrderState,
    PostOnly,
    Side,
    TimeInForce,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.paper.book import LevelChange, MirrorBook, Take
from polaris_synapse.execution.paper.orders import PaperOrder, price_text
from polaris_synapse.execution.paper.outbox import Outbox
from polaris_synapse.matching.core.triggers import TriggerBook, fires_above, is_triggered

#: Ahead of an order that was restored before the book was there: everything, until the book says how much that is.
AHEAD_NOT_KNOWN_LOTS: Final = 1 << 62


class Queues:
    """The resting paper orders of one side, by price and then by arrival; best price first."""

    def __init__(self, side: Side) -> None:
        self._sign = 1 if side is Side.BUY else -1
        self._keys: list[int] = []
        self._levels: dict[int, list[PaperOrder]] = {}

    def add(self, order: PaperOrder) -> None:
        """Put an order at the back of its price."""
        level = self._levels.get(order.price_ticks)
        if level is None:
            level = self._levels[order.price_ticks] = []
            insort(self._keys, order.price_ticks * self._sign)
        level.append(order)

    def remove(self, order: PaperOrder) -> None:
        """Take an order out."""
        level = self._levels[order.price_ticks]
        level.remove(order)
        if not level:
            del self._levels[order.price_ticks]
            del self._keys[bisect_left(self._keys, order.price_ticks * self._sign)]

    def at(self, price_ticks: int) -> tuple[PaperOrder, ...]:
        """The orders at a price, earliest first."""
        return tuple(self._levels.get(price_ticks, ()))

    def reached_by(self, price_ticks: int) -> list[PaperOrder]:
        """The orders that would trade with somebody willing to trade at a price, in priority order."""
        reach = price_ticks * self._sign
        found: list[PaperOrder] = []
        for key in reversed(self._keys):
            if key < reach:
                break
            found += self._levels[key * self._sign]
        return found

    def __len__(self) -> int:
        return len(self._keys)


class PaperMarket:
    """The book, queues and triggers of one symbol. Orders that end are handed to nobody: their state says it."""

    def __init__(self, instrument: Instrument, outbox: Outbox) -> None:
        self.instrument = instrument
        self.book = MirrorBook(instrument.symbol)
        self.triggers = TriggerBook()
        self.orders: dict[int, PaperOrder] = {}
        self._queues = {side: Queues(side) for side in Side}
        self._outbox = outbox

    # -- orders -------------------------------------------------------------------------------------------------

    def arrive(self, order: PaperOrder) -> None:
        """A new order: it waits for its trigger, takes, rests, or is turned away."""
        if order.request.type in TRIGGERED and not order.triggered:
            self._arm(order)
        else:
            self._enter(order)

    def restore(self, order: PaperOrder) -> None:
        """An order that was open when the exchange stopped: it waits again, at the back of its queue."""
        self.orders[order.order_id] = order
        if order.state is OrderState.ARMED:
            self._watch(order)
            return
        order.shown_lots = self._slice(order)
        self._join_queue(order)
        order.restored = True
        if not self.book.has_snapshot:
            order.ahead_lots = order.arrival_ahead_lots = AHEAD_NOT_KNOWN_LOTS

    def clear(self) -> None:
        """Forget every order."""
        self.orders = {}
        self.triggers = TriggerBook()
        self._queues = {side: Queues(side) for side in Side}

    def leave(self, order: PaperOrder) -> None:
        """Take an order out of the market; the caller says why."""
        self.orders.pop(order.order_id, None)
        # An order that has fired in this very step is in neither place.
        if self.triggers.disarm(order.order_id) is None and order.state is not OrderState.ARMED:
            self._queues[order.request.side].remove(order)

    def replace(self, order: PaperOrder, *, quantity_lots: int, price_ticks: int, stop_price_ticks: int) -> None:
        """Change an order. Less of it at the same price keeps its place, everything else goes to the back."""
        outbox = self._outbox
        if order.state is OrderState.ARMED:
            self.triggers.disarm(order.order_id)
            order.quantity_lots, order.price_ticks = quantity_lots, price_ticks
            order.stop_price_ticks = stop_price_ticks
            outbox.say(order, OrderEvent.REPLACE)
            # A replaced order is back at the book; this one still waits for its trigger.
            outbox.say(order, OrderEvent.ARM)
            self._watch(order)
            return
        if order.request.post_only is PostOnly.REPRICE and self.would_take(order.request.side, price_ticks):
            price_ticks = self._behind_the_far_side(order.request.side)
        if price_ticks == order.price_ticks and quantity_lots <= order.quantity_lots:
            order.quantity_lots = quantity_lots
            order.shown_lots = min(order.shown_lots, order.open_lots)
            outbox.say(order, OrderEvent.REPLACE)
            return
        self._queues[order.request.side].remove(order)
        self.orders.pop(order.order_id)
        order.quantity_lots, order.price_ticks = quantity_lots, price_ticks
        outbox.say(order, OrderEvent.REPLACE)
        self._enter(order, arrives=False)

    def would_take(self, side: Side, price_ticks: int) -> bool:
        """Whether a limit order at that price would meet what the real book displays."""
        far = self.book.side(side.opposite)
        best = far.best_ticks()
        return bool(best) and far.reaches(best, price_ticks)

    def fires_at_once(self, order: PaperOrder, stop_price_ticks: int) -> bool:
        """Whether a fixed stop price is reached by the last trade already."""
        above = fires_above(order.request.type, order.request.side)
        return bool(stop_price_ticks) and is_triggered(above, stop_price_ticks, self.book.last_price_ticks)

    def _arm(self, order: PaperOrder) -> None:
        if self.fires_at_once(order, order.stop_price_ticks):
            last = price_text(self.instrument, self.book.last_price_ticks)
            self._outbox.say(
                order, OrderEvent.REJECT, reason=Reason.BOOK_TRIGGER_IMMEDIATE, detail=f"the last trade was at {last}"
            )
            return
        order.state = OrderState.ARMED
        order.watermark_ticks = self.book.last_price_ticks
        self.orders[order.order_id] = order
        self._outbox.say(order, OrderEvent.ARM)
        self._watch(order)

    def _watch(self, order: PaperOrder) -> None:
        self.triggers.arm(
            order.order_id,
            order.request.side,
            order.request.type,
            stop_price_ticks=order.stop_price_ticks,
            trailing_ticks=order.request.trailing_offset_ticks,
            trailing_bps=order.request.trailing_offset_bps,
            watermark_ticks=order.watermark_ticks,
        )

    def _enter(self, order: PaperOrder, *, arrives: bool = True) -> None:
        """Take what may be taken, rest or end with the rest. ``arrives``: the order has not been acknowledged yet."""
        say, side = self._outbox.say, order.request.side
        takes_now = not order.may_rest or self.would_take(side, order.limit_ticks)
        trouble = self.book.trouble
        if trouble and (takes_now or not self.book.has_snapshot):
            self._turn_away(order, Reason.VENUE_UNAVAILABLE, f"{order.symbol}: {trouble}")
            return
        if takes_now and order.request.post_only is not PostOnly.NO and not self._step_back(order):
            return
        limit_ticks = order.limit_ticks
        budget = order.request.quote_amount_units // self.instrument.notional_multiplier
        takes, complete = self.book.side(side.opposite).plan(limit_ticks, order.open_lots, budget)
        taken_lots = sum(take.lots for take in takes)
        if not taken_lots and complete:
            say(order, OrderEvent.REJECT, reason=Reason.NOTIONAL_TOO_SMALL, detail="the amount does not buy one lot")
            return
        if order.request.time_in_force is TimeInForce.FOK and not complete:
            say(order, OrderEvent.EXPIRE, reason=Reason.BOOK_FILL_OR_KILL_UNFILLABLE, detail=self._offer(taken_lots))
            return
        if taken_lots < order.request.min_quantity_lots and not order.filled_lots:
            say(order, OrderEvent.EXPIRE, reason=Reason.BOOK_MIN_QUANTITY_UNMET, detail=self._offer(taken_lots))
            return
        if order.may_rest and not complete and arrives:
            order.state = OrderState.WORKING
            say(order, OrderEvent.ACKNOWLEDGE)
        for number, take in enumerate(takes, start=1):
            self._take(order, take, completes=complete and number == len(takes))
        if complete:
            return
        if order.may_rest:
            order.state = OrderState.PARTIALLY_FILLED if order.filled_lots else OrderState.WORKING
            order.shown_lots = self._slice(order)
            self.orders[order.order_id] = order
            self._join_queue(order)
            self._outbox.changed(order)
            return
        limited = bool(limit_ticks)
        reason = Reason.BOOK_IMMEDIATE_REMAINDER if limited else Reason.BOOK_NO_LIQUIDITY
        total = order.filled_lots if order.request.quote_amount_units else 0
        detail = "nothing displayed that paper orders have not taken already" if not taken_lots else ""
        say(order, OrderEvent.EXPIRE, reason=reason, detail=detail, total=total)

    def _step_back(self, order: PaperOrder) -> bool:
        """A post-only order that would take: one tick behind the far side, or turned away (False)."""
        side = order.request.side
        best = self.book.side(side.opposite).best_ticks()
        price_ticks = self._behind_the_far_side(side)
        if order.request.post_only is PostOnly.REPRICE and price_ticks > 0:
            order.price_ticks = price_ticks
            return True
        detail = f"the other side's best price is {price_text(self.instrument, best)}"
        self._turn_away(order, Reason.BOOK_POST_ONLY_WOULD_TAKE, detail)
        return False

    def _behind_the_far_side(self, side: Side) -> int:
        best = self.book.side(side.opposite).best_ticks()
        return best - 1 if side is Side.BUY else best + 1

    def _turn_away(self, order: PaperOrder, reason: Reason, detail: str) -> None:
        """Reject an order, or end what is left of one that has traded."""
        event = OrderEvent.EXPIRE if order.filled_lots else OrderEvent.REJECT
        self._outbox.say(order, event, reason=reason, detail=detail)

    def _offer(self, lots: int) -> str:
        return f"the book would give {self._quantity(lots)}"

    def _quantity(self, lots: int) -> str:
        return self.instrument.format_quantity(lots)

    def _slice(self, order: PaperOrder) -> int:
        display = order.request.display_lots
        return min(display, order.open_lots) if display else order.open_lots

    def _join_queue(self, order: PaperOrder) -> None:
        own = self.book.side(order.request.side)
        order.ahead_lots = order.arrival_ahead_lots = own.displayed_lots(order.price_ticks)
        order.traded_lots = 0
        order.restored = False
        self._queues[order.request.side].add(order)

    def _take(self, order: PaperOrder, take: Take, *, completes: bool) -> None:
        self.book.side(order.request.side.opposite).consume(take)
        how = (
            f"took {self._quantity(take.lots)} at {price_text(self.instrument, take.price_ticks)} "
            f"of {self._quantity(take.displayed_lots)} displayed"
        )
        if take.consumed_lots:
            how += f"; {self._quantity(take.consumed_lots)} already taken by paper orders"
        self._outbox.fill(
            order,
            self.instrument,
            price_ticks=take.price_ticks,
            lots=take.lots,
            liquidity=Liquidity.TAKER,
            how=how,
            completes=completes,
        )

    def _make(self, order: PaperOrder, lots: int, how: str) -> None:
        """Fill a resting order at its own price; a full slice of an iceberg is followed by the next, at the back."""
        if order.restored:
            how += "; queued again behind the whole level after a restart"
        self._outbox.fill(
            order,
            self.instrument,
            price_ticks=order.price_ticks,
            lots=lots,
            liquidity=Liquidity.MAKER,
            how=how,
        )
        order.shown_lots -= lots
        if not order.open_lots:
            self._queues[order.request.side].remove(order)
            del self.orders[order.order_id]
        elif not order.shown_lots:
            self._queues[order.request.side].remove(order)
            order.shown_lots = self._slice(order)
            self._join_queue(order)

    # -- the real market ----------------------------------------------------------------------------------------

    def on_health(self, message: BookHealthChanged) -> None:
        """The book became usable or stopped being so."""
        self.book.healthy, self.book.cause = message.healthy, message.cause
        if message.healthy:
            self._meet_the_other_side()

    def on_book(self, message: BookUpdated) -> None:
        """Levels of the real book changed."""
        changes = self.book.update(message)
        if not self._queues[Side.BUY] and not self._queues[Side.SELL]:
            return
        for change in changes:
            self._move_up(change)
        if message.is_snapshot:
            self._look_at_the_whole_book()
        self._meet_the_other_side()

    def _move_up(self, change: LevelChange) -> None:
        """Cancels at a level move its paper orders up, in proportion; never beyond what is displayed."""
        cancelled = change.cancelled_lots
        # What trades explain was taken from the front and is accounted for by the trades themselves.
        base = change.after_lots + cancelled
        for order in self._queues[change.side].at(change.price_ticks):
            ahead = order.ahead_lots
            if cancelled and base:
                ahead -= min(ahead, base) * cancelled // base
            order.ahead_lots = min(ahead, change.after_lots)

    def _look_at_the_whole_book(self) -> None:
        """With all levels known, no more can be ahead of an order than its level displays."""
        for order in self.orders.values():
            if order.state is not OrderState.ARMED:
                displayed = self.book.side(order.request.side).displayed_lots(order.price_ticks)
                order.ahead_lots = min(order.ahead_lots, displayed)
                order.arrival_ahead_lots = min(order.arrival_ahead_lots, displayed)

    def _meet_the_other_side(self) -> None:
        """The other side came to resting orders or through them: they trade at their own price with what it shows."""
        if self.book.trouble:
            return
        for side in Side:
            queues, far = self._queues[side], self.book.side(side.opposite)
            best = far.best_ticks()
            if not best or not queues:
                continue
            for order in queues.reached_by(best):
                takes, _ = far.plan(order.price_ticks, order.shown_lots, 0)
                for take in takes:
                    far.consume(take)
                    self._make(
                        order,
                        take.lots,
                        f"the other side came to {price_text(self.instrument, take.price_ticks)} with "
                        f"{self._quantity(take.displayed_lots)} displayed"
                        + (f"; {self._quantity(take.consumed_lots)} already taken" if take.consumed_lots else ""),
                    )

    def on_trade(self, message: MarketTrade) -> None:
        """A real trade: it fills what was in its way, then moves stops."""
        price_ticks, lots = message.price_ticks, message.quantity_lots
        hit = message.aggressor.opposite
        self.book.side(hit).note_trade(price_ticks, lots, message.time_ns)
        self._trade_against(hit, price_ticks, lots)
        self.book.last_price_ticks = price_ticks
        for trigger in self.triggers.observe(price_ticks):
            order = self.orders.pop(trigger.order_id, None)
            if order is None:
                continue  # another order of its list fired before it
            order.triggered = True
            order.watermark_ticks = trigger.watermark_ticks
            order.state = OrderState.WORKING
            self._outbox.say(order, OrderEvent.TRIGGER, detail=f"traded at {price_text(self.instrument, price_ticks)}")
            self._enter(order, arrives=False)

    def _trade_against(self, hit: Side, price_ticks: int, lots: int) -> None:
        """Share one trade's lots among the paper orders that it went through or that queue at its price."""
        used = 0
        at = price_text(self.instrument, price_ticks)
        for side in (hit, hit.opposite):
            for order in self._queues[side].reached_by(price_ticks):
                if order.price_ticks != price_ticks:
                    # Whoever traded here would have met this better price first.
                    order.ahead_lots = 0
                    filled = min(order.shown_lots, lots - used)
                    how = f"{self._quantity(lots)} traded at {at}, through this order's price"
                elif side is hit:
                    ahead = order.ahead_lots
                    order.ahead_lots = max(ahead - lots, 0)
                    order.traded_lots += lots
                    filled = min(order.shown_lots, max(lots - ahead - used, 0))
                    how = (
                        f"queue: {self._quantity(order.arrival_ahead_lots)} ahead on arrival, "
                        f"{self._quantity(order.traded_lots)} traded since"
                    )
                else:
                    continue
                if filled:
                    used += filled
                    self._make(order, filled, how)
