"""A naive order book: one list of orders, sorted anew for every question. Slow, and plain enough to be right."""

from __future__ import annotations

from dataclasses import dataclass

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core.entry_rules import fields_fit
from polaris_synapse.matching.core.port import BookSettings, BookState, CommandRow, EventKind, EventRow

BUY, SELL = 0, 1
TRADING, HALTED, CANCEL_ONLY, AUCTION = range(4)
LIMIT, MARKET, STOP, STOP_LIMIT, TAKE_PROFIT, TAKE_PROFIT_LIMIT, TRAILING = range(7)
GTC, IOC, FOK = range(3)
NONE, TAKER, MAKER, BOTH, DECREMENT = range(5)
E, R = EventKind, Reason


@dataclass
class NaiveOrder:
    """An order with every flag spelt out. ``place`` is its turn at its price, 0 where it is not on the book."""

    row: CommandRow
    id: int
    account: int
    side: int
    type: int
    force: int
    post: int
    prevention: int
    price: int
    open: int
    total: int
    stop: int
    trailing: int
    in_bps: bool
    display: int
    minimum: int
    expire: int
    shown: int = 0
    place: int = 0
    armed: int = 0
    watermark: int = 0

    @property
    def flags(self) -> int:
        """The packed flags."""
        return self.side | self.type << 1 | self.force << 4 | self.post << 6 | self.prevention << 8 | self.in_bps << 11

    @property
    def fires_above(self) -> bool:
        """A BUY stop and a SELL take-profit fire at or above."""
        take_profit = self.type in (TAKE_PROFIT, TAKE_PROFIT_LIMIT)
        return (self.side == BUY) != take_profit

    def stop_now(self) -> int:
        """Where the trigger stands."""
        if not self.trailing:
            return self.stop
        if not self.watermark:
            return 0
        distance = max(1, self.watermark * self.trailing // 10_000) if self.in_bps else self.trailing
        return max(1, self.watermark - distance) if self.side == SELL else self.watermark + distance


class NaiveBook:
    """The behaviour of the book, by brute force."""

    def __init__(self, settings: BookSettings | None = None) -> None:
        self.settings = settings or BookSettings()
        self.orders: list[NaiveOrder] = []
        self.pending: list[NaiveOrder] = []
        self.status, self.now, self.last, self.reference, self.interruption_end = TRADING, 0, 0, 0, 0
        self.entered = self.traded = self.removed = 0
        self.turns = 0
        self.edges = self.band()
        self.seen: list[int] = []
        self.events: list[EventRow] = []

    def apply(self, row: CommandRow) -> list[EventRow]:
        """One command."""
        self.events = []
        self.settle()
        earlier, self.events = self.events, []
        [
            self.submit, self.cancel, self.amend, self.cancel_all, self.set_status, self.advance, self.set_reference,
            self.step,
        ][row[0]](row)  # fmt: skip
        return earlier + self.events

    # -- helpers

    def say(
        self, kind: EventKind, order: NaiveOrder, price: int, shown: int, lots: int, reason: int = 0, extra: int = 0
    ) -> None:
        """Add an event."""
        self.events.append((int(kind), order.id, order.side, price, shown, lots, int(reason), extra))

    def side(self, side: int) -> list[NaiveOrder]:
        """The resting orders of a side, best price first, then by turn."""
        resting = [order for order in self.orders if order.place and order.side == side]
        return sorted(resting, key=lambda order: (order.price if side == SELL else -order.price, order.place))

    def find(self, order_id: int) -> NaiveOrder | None:
        """An order by id."""
        return next((order for order in self.orders if order.id == order_id), None)

    def band(self) -> tuple[int, int]:
        """The prices allowed."""
        if not self.settings.price_band_ppm or not self.reference:
            return 1, 2**40
        width = self.reference * self.settings.price_band_ppm // 1_000_000
        return max(1, self.reference - width), self.reference + width

    def crosses(self, side: int, price: int) -> bool:
        """Whether a limit price would take now."""
        far = self.side(1 - side)
        if not far or self.status != TRADING:
            return False
        return far[0].price <= price if side == BUY else far[0].price >= price

    def drop(self, order: NaiveOrder) -> None:
        """Forget an order."""
        order.place = order.armed = 0
        if order in self.pending:
            self.pending.remove(order)
        if order in self.orders:
            self.orders.remove(order)

    def expire(self, order: NaiveOrder, reason: Reason) -> None:
        """End an order."""
        on_book = bool(order.place)
        self.removed += order.open
        self.say(E.EXPIRED, order, order.price if on_book else 0, order.shown if on_book else 0, order.open, reason)
        self.drop(order)

    def rest(self, order: NaiveOrder) -> None:
        """Put an order at the back of its price."""
        if order not in self.orders:
            self.orders.append(order)
        self.turns += 1
        order.place = self.turns
        order.shown = order.display if 0 < order.display < order.open else order.open

    # -- submitting

    def submit(self, row: CommandRow) -> None:
        """Checks in their order, then arm, rest or take."""
        _, flags, order_id, account, price, quantity, stop, trailing, display, minimum, budget, expire = row
        order = NaiveOrder(
            row, order_id, account, flags & 1, flags >> 1 & 7, flags >> 4 & 3, flags >> 6 & 3, flags >> 8 & 7,
            price, quantity, quantity, stop, trailing, bool(flags & 1 << 11), display, minimum, expire,
        )  # fmt: skip
        refusal = self.refusal(order)
        if refusal:
            self.say(E.REJECTED, order, price, 0, quantity, refusal)
            return
        self.entered += quantity
        if order.type >= STOP:
            self.orders.append(order)
            self.arm(order)
            self.say(E.ARMED, order, order.stop_now(), 0, quantity)
        else:
            self.enter(order, budget, E.ACCEPTED)
            self.settle()

    def refusal(self, order: NaiveOrder) -> Reason:
        """The first check that fails."""
        low, high = self.band()
        may_rest = order.type >= STOP or (order.type == LIMIT and order.force == GTC)
        takes_now = order.type == MARKET or (order.type == LIMIT and bool(order.force or order.minimum))
        if self.find(order.id):
            return R.BOOK_DUPLICATE_ORDER
        if not fields_fit(order.row):
            return R.ORDER_FIELDS_INVALID
        if self.status in (HALTED, CANCEL_ONLY) or (self.status == AUCTION and takes_now):
            return R.BOOK_NOT_OPEN
        if order.expire and order.expire <= self.now:
            return R.BOOK_EXPIRED
        if order.price and not low <= order.price <= high:
            return R.BOOK_PRICE_BAND
        if may_rest and len(self.orders) >= self.settings.orders_max:
            return R.BOOK_FULL
        if order.stop and self.last and self.fires(order, self.last):
            return R.BOOK_TRIGGER_IMMEDIATE
        if order.type == LIMIT and order.post == 1 and self.crosses(order.side, order.price):
            return R.BOOK_POST_ONLY_WOULD_TAKE
        return R.NONE

    def arm(self, order: NaiveOrder) -> None:
        """Wait for the trigger."""
        self.turns += 1
        order.armed = self.turns
        order.watermark = self.last if order.trailing else 0

    def fires(self, order: NaiveOrder, price: int) -> bool:
        """Whether a trade price fires an order."""
        stop = order.stop_now()
        return bool(stop) and (price >= stop if order.fires_above else price <= stop)

    def enter(self, order: NaiveOrder, budget: int, arrival: EventKind | None) -> None:
        """Take, then rest or end."""
        crossing = order.type == LIMIT and self.crosses(order.side, order.price)
        if order.type == LIMIT and order.force == GTC and not order.minimum and not crossing:
            self.rest(order)
            self.say(arrival or E.RESTED, order, order.price, order.shown, order.open)
            return
        if arrival:
            self.say(arrival, order, order.price, 0, order.open)
        if order.post:
            self.enter_behind(order)
            return
        start = self.last
        self.edges = self.band()
        if order.force == FOK and not self.can_fill(order, order.open, budget, start):
            self.expire(order, R.BOOK_FILL_OR_KILL_UNFILLABLE)
        elif order.minimum and not self.can_fill(order, order.minimum, 0, start):
            self.expire(order, R.BOOK_MIN_QUANTITY_UNMET)
        elif budget:
            self.spend(order, budget, start)
        else:
            self.finish(order, self.match(order, start))

    def enter_behind(self, order: NaiveOrder) -> None:
        """Post-only that would take."""
        low, high = self.band()
        asked = order.price
        price = self.side(BUY)[0].price + 1 if order.side == SELL else self.side(SELL)[0].price - 1
        if order.post == 2 and price >= 1 and low <= price <= high:
            order.price = price
            self.say(E.REPRICED, order, price, 0, order.open, 0, asked)
            self.rest(order)
            self.say(E.RESTED, order, price, order.shown, order.open)
            return
        self.removed += order.open
        band = order.post == 2 and price >= 1
        self.say(E.REJECTED, order, asked, 0, order.open, R.BOOK_PRICE_BAND if band else R.BOOK_POST_ONLY_WOULD_TAKE)
        self.drop(order)

    def reach(self, order: NaiveOrder, price: int) -> bool:
        """Whether the order may trade at a price of the far side."""
        low, high = self.edges
        if order.type == MARKET:
            return price <= high if order.side == BUY else price >= low
        return price <= min(order.price, high) if order.side == BUY else price >= max(order.price, low)

    def interrupts(self, start: int, price: int) -> bool:
        """Whether a trade would jump too far."""
        ppm = self.settings.interruption_ppm
        return bool(ppm and start) and abs(price - start) * 1_000_000 > start * ppm

    def can_fill(self, order: NaiveOrder, wanted: int, budget: int, start: int) -> bool:
        """Whether it could trade that much."""
        events = 0
        for maker in self.side(1 - order.side):
            if not self.reach(order, maker.price) or self.interrupts(start, maker.price):
                return False
            if maker.account == order.account and order.prevention:
                if order.prevention == MAKER:
                    continue
                return False
            shown, hidden, events = maker.shown, maker.open - maker.shown, events + 1
            while hidden > 0:
                hidden, events = hidden - maker.display, events + 2
            if events > self.settings.command_events_max:
                return False
            del shown
            if budget:
                wanted = budget // maker.price
                budget -= maker.open * maker.price
            wanted -= maker.open
            if wanted <= 0:
                return True
        return False

    def spend(self, order: NaiveOrder, budget: int, start: int) -> None:
        """Take for a budget, level by level."""
        while True:
            far = self.side(1 - order.side)
            if not far:
                reason = R.BOOK_NO_LIQUIDITY
                break
            price = far[0].price
            if not self.reach(order, price):
                reason = R.BOOK_PRICE_BAND
                break
            lots = budget // price
            if not lots:
                reason = R.BOOK_IMMEDIATE_REMAINDER
                break
            order.open = lots
            stopped = self.match(order, start, only_price=price)
            self.entered += lots - order.open
            if not order.open:
                return
            budget -= (lots - order.open) * price
            if stopped:
                reason = stopped
                if stopped == R.BOOK_PRICE_BAND:
                    self.interrupt()
                break
        order.open = 0
        self.say(E.EXPIRED, order, 0, 0, 0, reason)

    def match(self, taker: NaiveOrder, start: int, only_price: int = 0) -> Reason:
        """Trade one maker after the other; why it stopped short."""
        prices = []
        stopped = R.NONE
        while taker.open and not stopped:
            far = self.side(1 - taker.side)
            if not far or not self.reach(taker, far[0].price) or (only_price and far[0].price != only_price):
                break
            maker = far[0]
            price = maker.price
            if self.interrupts(start, price):
                stopped = R.BOOK_PRICE_BAND
            elif maker.account == taker.account and taker.prevention:
                stopped = self.prevent(taker, maker)
            elif len(self.events) >= self.settings.command_events_max:
                stopped = R.BOOK_COMMAND_LIMIT
            else:
                lots = min(taker.open, maker.shown)
                taker.open, maker.open, maker.shown = taker.open - lots, maker.open - lots, maker.shown - lots
                if price not in prices:
                    prices.append(price)
                self.traded += lots
                self.events.append((int(E.TRADE), taker.id, taker.side, price, lots, taker.open, maker.id, maker.open))
                if not maker.open:
                    self.drop(maker)
                elif not maker.shown:
                    self.rest(maker)
                    self.say(E.REFILLED, maker, price, maker.shown, maker.open)
        if prices:
            self.printed(prices)
        return stopped

    def printed(self, prices: list[int]) -> None:
        """Remember trade prices."""
        self.last = prices[-1]
        self.reference = self.reference or prices[0]
        self.seen += prices

    def prevent(self, taker: NaiveOrder, maker: NaiveOrder) -> Reason:
        """Self-trade prevention."""
        if taker.prevention == TAKER:
            return R.BOOK_SELF_TRADE_PREVENTED
        if taker.prevention == DECREMENT:
            lots = min(taker.open, maker.open)
            whole = lots == taker.open
            self.decrement(maker, lots)
            if whole:
                return R.BOOK_SELF_TRADE_PREVENTED
            self.decrement(taker, lots)
            return R.NONE
        self.expire(maker, R.BOOK_SELF_TRADE_PREVENTED)
        return R.BOOK_SELF_TRADE_PREVENTED if taker.prevention == BOTH else R.NONE

    def decrement(self, order: NaiveOrder, lots: int) -> None:
        """Take lots off, or end it where none are left."""
        if lots == order.open:
            self.expire(order, R.BOOK_SELF_TRADE_PREVENTED)
            return
        order.open, order.total = order.open - lots, order.total - lots
        order.shown = min(order.shown, order.open)
        self.removed += lots
        price = order.price if order.place else 0
        shown = order.shown if order.place else 0
        self.say(E.DECREMENTED, order, price, shown, order.open, R.BOOK_SELF_TRADE_PREVENTED, lots)

    def finish(self, order: NaiveOrder, stopped: Reason) -> None:
        """What becomes of the rest."""
        if not order.open:
            self.drop(order)
            return
        if stopped == R.BOOK_PRICE_BAND:
            self.interrupt()
        if order.type == LIMIT and order.force == GTC and stopped in (R.NONE, R.BOOK_PRICE_BAND):
            self.rest(order)
            self.say(E.RESTED, order, order.price, order.shown, order.open)
        elif stopped:
            self.expire(order, stopped)
        elif order.type == LIMIT:
            self.expire(order, R.BOOK_IMMEDIATE_REMAINDER)
        else:
            self.expire(order, R.BOOK_PRICE_BAND if self.side(1 - order.side) else R.BOOK_NO_LIQUIDITY)

    def interrupt(self) -> None:
        """Volatility interruption."""
        self.events.append((int(E.STATUS), 0, 0, 0, AUCTION, 0, int(R.BOOK_PRICE_BAND), self.status))
        self.status = AUCTION
        self.interruption_end = self.now + self.settings.interruption_ns if self.settings.interruption_ns else 0

    def settle(self) -> None:
        """Triggers."""
        while True:
            for price in self.seen:
                armed = sorted((order for order in self.orders if order.armed), key=lambda order: order.armed)
                fixed = [order for order in armed if not order.trailing and self.fires(order, price)]
                fired = sorted((order for order in fixed if order.fires_above), key=lambda order: order.stop)
                fired += sorted((order for order in fixed if not order.fires_above), key=lambda order: -order.stop)
                for order in armed:
                    if order.trailing and self.fires(order, price):
                        fired.append(order)
                    elif order.trailing:
                        best = max if order.side == SELL else min
                        order.watermark = best(order.watermark or price, price)
                for order in fired:
                    order.armed = 0
                self.pending += fired
            self.seen = []
            if not self.pending or self.status != TRADING or len(self.events) >= self.settings.command_events_max:
                return
            if self.settings.stepwise:
                return
            self.fire_next()

    def fire_next(self) -> None:
        """The triggered order whose turn it is."""
        order = self.pending.pop(0)
        low, high = self.band()
        self.say(E.TRIGGERED, order, order.stop, 0, order.open)
        order.type = LIMIT if order.type in (STOP_LIMIT, TAKE_PROFIT_LIMIT) else MARKET
        order.in_bps = False
        if order.price and not low <= order.price <= high:
            self.removed += order.open
            self.say(E.REJECTED, order, order.price, 0, order.open, R.BOOK_PRICE_BAND)
            self.drop(order)
        else:
            self.enter(order, 0, None)

    def step(self, row: CommandRow) -> None:
        """One turn."""
        if self.pending and self.status == TRADING:
            self.fire_next()
        self.settle()

    # -- the other commands

    def cancel(self, row: CommandRow) -> None:
        """Cancel one."""
        order = self.find(row[2])
        if order is None:
            self.events.append((int(E.CANCEL_REFUSED), row[2], 0, 0, 0, 0, int(R.BOOK_UNKNOWN_ORDER), 0))
        elif self.status == HALTED:
            self.say(E.CANCEL_REFUSED, order, 0, 0, order.open, R.BOOK_NOT_OPEN)
        else:
            self.removed += order.open
            on_book = bool(order.place)
            shown = order.shown if on_book else 0
            self.say(E.CANCELLED, order, order.price if on_book else 0, shown, order.open, row[1])
            self.drop(order)

    def cancel_all(self, row: CommandRow) -> None:
        """Cancel those that match."""
        if self.status != HALTED:
            for order in list(self.orders):
                if row[3] in (0, order.account) and row[6] in (0, order.side + 1):
                    self.cancel((1, row[1], order.id))

    def amend(self, row: CommandRow) -> None:
        """Amend one."""
        _, _, order_id, _, price, quantity, stop = row[:7]
        order = self.find(order_id)
        refusal = self.amend_refusal(order, price, quantity, stop)
        if order is None or refusal:
            side, lots = (order.side, order.open) if order else (0, 0)
            self.events.append((int(E.AMEND_REFUSED), order_id, side, price, quantity, lots, int(refusal), 0))
            return
        before, left = order.price, quantity - (order.total - order.open)
        if order.place and price == before and quantity <= order.total:
            self.removed += order.open - left
            order.open, order.total, order.shown = left, quantity, min(order.shown, left)
            self.say(E.REDUCED, order, price, order.shown, left, 0, before)
            return
        self.removed += order.open
        self.entered += left
        order.price, order.open, order.total, order.stop = price, left, quantity, stop
        self.say(E.REPLACED, order, price, 0, left, 0, before)
        if order.armed:
            self.arm(order)
        else:
            order.place, order.shown, order.minimum = 0, 0, 0
            self.enter(order, 0, None)
            self.settle()

    def amend_refusal(self, order: NaiveOrder | None, price: int, quantity: int, stop: int) -> Reason:
        """The first check that fails."""
        low, high = self.band()
        if order is None:
            return R.BOOK_UNKNOWN_ORDER
        if self.status in (HALTED, CANCEL_ONLY) or order in self.pending:
            return R.BOOK_NOT_OPEN
        filled = order.total - order.open
        valid = filled < quantity < 2**42 and 0 <= price < 2**40 and (price > 0) == (order.price > 0)
        if stop != order.stop:
            valid = valid and bool(order.armed and order.stop and 0 < stop < 2**40)
        if order.armed:
            valid = valid and quantity >= max(order.display, order.minimum)
        if not valid:
            return R.REPLACE_INVALID
        if price and not low <= price <= high:
            return R.BOOK_PRICE_BAND
        if order.armed and order.stop and self.last:
            if self.last >= stop if order.fires_above else self.last <= stop:
                return R.BOOK_TRIGGER_IMMEDIATE
        elif not order.armed and order.post == 1 and self.crosses(order.side, price):
            return R.BOOK_POST_ONLY_WOULD_TAKE
        return R.NONE

    def set_status(self, row: CommandRow) -> None:
        """Change status; uncross on the way to TRADING."""
        self.interruption_end = 0
        if row[1] != self.status:
            self.change_status(row[1])

    def change_status(self, status: int) -> None:
        """The change itself."""
        price = volume = 0
        while status == TRADING and (call := self.call_price()):
            price = call
            volume += self.trade_at(call)
        if volume:
            self.traded += volume
            self.printed([price])
            self.reference = price
        self.events.append((int(E.STATUS), 0, 0, price, status, volume, 0, self.status))
        self.status = status
        self.settle()

    def call_price(self) -> int:
        """Try every tick between the best ask and the best bid."""
        bids, asks = self.side(BUY), self.side(SELL)
        if not bids or not asks or bids[0].price < asks[0].price:
            return 0
        table = []
        for price in range(asks[0].price, bids[0].price + 1):
            wanted = sum(order.open for order in bids if order.price >= price)
            offered = sum(order.open for order in asks if order.price <= price)
            table.append((price, min(wanted, offered), wanted - offered))
        most = max(volume for _, volume, _ in table)
        table = [line for line in table if line[1] == most]
        least = min(abs(surplus) for _, _, surplus in table)
        table = [line for line in table if abs(line[2]) == least]
        prices = [price for price, _, _ in table]
        if least and all(surplus > 0 for _, _, surplus in table):
            return max(prices)
        if least and all(surplus < 0 for _, _, surplus in table):
            return min(prices)
        reference = self.last or self.reference
        wish = reference or (min(prices) + max(prices)) // 2
        return min(max(wish, min(prices)), max(prices))

    def trade_at(self, price: int) -> int:
        """Pair the sides at one price."""
        volume = 0
        while True:
            bids = [order for order in self.side(BUY) if order.price >= price]
            asks = [order for order in self.side(SELL) if order.price <= price]
            if not bids or not asks:
                return volume
            maker, taker = sorted((bids[0], asks[0]), key=lambda order: order.id)
            lots = min(maker.open, taker.open)
            if maker.account == taker.account and taker.prevention:
                mode = taker.prevention
                if mode == DECREMENT:
                    self.decrement(maker, lots)
                    self.decrement(taker, lots)
                if mode in (MAKER, BOTH):
                    self.expire(maker, R.BOOK_SELF_TRADE_PREVENTED)
                if mode in (TAKER, BOTH):
                    self.expire(taker, R.BOOK_SELF_TRADE_PREVENTED)
                continue
            volume += lots
            for order in (maker, taker):
                order.open -= lots
                order.shown = min(order.shown, order.open)
            self.events.append(
                (int(E.AUCTION_TRADE), taker.id, taker.side, price, lots, taker.open, maker.id, maker.open)
            )
            for order in (maker, taker):
                if not order.open:
                    self.drop(order)

    def advance(self, row: CommandRow) -> None:
        """Time."""
        if row[1] <= self.now:
            return
        self.now = row[1]
        over = [order for order in self.orders if order.expire and order.expire <= self.now]
        for order in sorted(over, key=lambda order: order.expire):
            self.expire(order, R.BOOK_EXPIRED)
        if self.interruption_end and self.now >= self.interruption_end:
            self.interruption_end = 0
            self.change_status(TRADING)

    def set_reference(self, row: CommandRow) -> None:
        """The middle of the band."""
        self.reference = row[1]

    def dump(self) -> BookState:
        """The state in the canonical order."""
        armed = sorted((order for order in self.orders if order.armed), key=lambda order: order.armed)
        return BookState(
            status=self.status,
            now_ns=self.now,
            last_price=self.last,
            reference_price=self.reference,
            interruption_end_ns=self.interruption_end,
            entered_lots=self.entered,
            traded_lots=self.traded,
            removed_lots=self.removed,
            orders=[
                (
                    o.id,
                    o.account,
                    o.flags,
                    o.price,
                    o.open,
                    o.shown,
                    o.total,
                    o.stop,
                    o.trailing,
                    o.display,
                    o.minimum,
                    o.expire,
                )
                for o in self.orders
            ],
            bids=[order.id for order in self.side(BUY)],
            asks=[order.id for order in self.side(SELL)],
            triggers=[(order.id, order.watermark) for order in armed],
            pending=[order.id for order in self.pending],
        )
