"""How an order takes: matching in price-time priority, what it may not do, and what becomes of its rest.

Triggers see each price that a taker traded at, in order, once it is done: nothing interrupts a match.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappush
from typing import Final

from polaris_synapse.domain.instruments import PARTS_PER_MILLION
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import port
from polaris_synapse.matching.core.ladder import SPARE_ENTRIES_MAX, Entry, Ladder
from polaris_synapse.matching.core.port import (
    AUCTION,
    FOK,
    FORCE_SHIFT,
    MARKET,
    POST_SHIFT,
    QUANTITY_MAX,
    TRADING,
    TYPE_SHIFT,
    BookSettings,
    EventKind,
    EventRow,
)
from polaris_synapse.matching.core.triggers import TriggerBook

# Plain integers compare faster than enum members, and this module compares a lot of them.
_RESTED: Final = int(EventKind.RESTED)
_TRADE: Final = int(EventKind.TRADE)
_REFILLED: Final = int(EventKind.REFILLED)
_EXPIRED: Final = int(EventKind.EXPIRED)
_REJECTED: Final = int(EventKind.REJECTED)
_DECREMENTED: Final = int(EventKind.DECREMENTED)
_STP_SHIFT: Final = port.STP_SHIFT
#: Type and time in force together: 0 for a limit order that may rest.
_RESTING_BITS: Final = 0b111110
_EXPIRY_ENTRIES_SPARE: Final = 1024
#: Why a taker stopped short in a match; 0: it did not.
_SELF_TRADE: Final = int(Reason.BOOK_SELF_TRADE_PREVENTED)
_INTERRUPTED: Final = int(Reason.BOOK_PRICE_BAND)
_TOO_MANY: Final = int(Reason.BOOK_COMMAND_LIMIT)


class TakingBook:
    """The state of a book and all that an order does once it is in. ``Book`` adds the commands."""

    def __init__(self, settings: BookSettings, status: int) -> None:
        self.settings = settings
        self.bids, self.asks = Ladder(1), Ladder(-1)
        #: Every order that rests, waits for its trigger, or has fired and waits for its turn; in order of arrival.
        self.entries: dict[int, Entry] = {}
        self.triggers = TriggerBook()
        self.pending: deque[int] = deque()
        self.expiries: list[tuple[int, int, int]] = []
        self.status = status
        self.now_ns = 0
        self.last_price = 0
        self.reference_price = 0
        self.interruption_end_ns = 0
        self.entered_lots = self.traded_lots = self.removed_lots = 0
        self._expiries_noted = 0
        self._seen: list[int] = []
        self._stopped = 0
        self._base = 0
        self._events_max = settings.command_events_max
        self._orders_max = settings.orders_max
        self._interruption_ppm = settings.interruption_ppm
        self._stepwise = settings.stepwise
        self._low, self._high = 1, port.PRICE_MAX
        self._plain = False
        self._refresh()

    def _refresh(self) -> None:
        """Compute what follows from the status, the settings and the reference price."""
        reference, ppm = self.reference_price, self.settings.price_band_ppm
        if reference and ppm:
            width = reference * ppm // PARTS_PER_MILLION
            self._low, self._high = max(reference - width, 1), reference + width
        else:
            self._low, self._high = 1, port.PRICE_MAX
        self._plain = self.status == TRADING and not ppm and not self._interruption_ppm

    def _hold(self, entry: Entry) -> None:
        """Keep an order that may stay, and note when its time runs out."""
        if entry.order_id in self.entries:
            self.entries[entry.order_id] = entry
            return
        self.entries[entry.order_id] = entry
        if entry.expire_ns:
            self._expiries_noted = entry.arrival = self._expiries_noted + 1
            heappush(self.expiries, (entry.expire_ns, self._expiries_noted, entry.order_id))
            if len(self.expiries) > 2 * len(self.entries) + _EXPIRY_ENTRIES_SPARE:
                # Orders that ended otherwise leave their note here until its time; too many are swept out.
                self.note_expiries()

    def note_expiries(self) -> None:
        """Note anew when each order's time runs out; equal times go by arrival."""
        ending = [entry for entry in self.entries.values() if entry.expire_ns]
        for number, entry in enumerate(ending, start=1):
            entry.arrival = number
        self.expiries = [(entry.expire_ns, entry.arrival, entry.order_id) for entry in ending]
        self._expiries_noted = len(self.expiries)
        heapify(self.expiries)

    def _expires(self, expiry: tuple[int, int, int]) -> bool:
        # An id may come again once its order has ended; the earlier order's note says nothing about the later one.
        entry = self.entries.get(expiry[2])
        return entry is not None and entry.arrival == expiry[1]

    def _crosses(self, entry: Entry) -> bool:
        """Whether a limit order would take at once."""
        if self.status != TRADING:
            return False
        if entry.flags & 1:
            return bool(self.bids.keys) and self.bids.keys[-1] >= entry.price
        return bool(self.asks.keys) and self.asks.keys[-1] >= -entry.price

    def _enter(self, events: list[EventRow], entry: Entry, budget: int, arrival: int) -> None:
        """Let an order take and rest. ``arrival``: the event that says it is in, 0 where one has said so."""
        flags, order_id, price = entry.flags, entry.order_id, entry.price
        side, force = flags & 1, flags >> FORCE_SHIFT & 3
        if not flags & _RESTING_BITS and not entry.minimum_lots and not self._crosses(entry):
            entry.shown_lots = entry.slice_lots()
            self._rest(entry)
            events.append((arrival or _RESTED, order_id, side, price, entry.shown_lots, entry.open_lots, 0, 0))
            return
        if arrival:
            events.append((arrival, order_id, side, price, 0, entry.open_lots, 0, 0))
        if flags >> POST_SHIFT & 3:
            self._enter_behind(events, entry)
            return
        self._base = self.last_price
        limit_key = self._limit_key(entry)
        if force == FOK or entry.minimum_lots:
            wanted = entry.open_lots if force == FOK else entry.minimum_lots
            if not self._can_fill(entry, limit_key, wanted, budget):
                unmet = Reason.BOOK_FILL_OR_KILL_UNFILLABLE if force == FOK else Reason.BOOK_MIN_QUANTITY_UNMET
                self._end(events, entry, entry.open_lots, unmet)
                return
        if budget:
            self._spend(events, entry, limit_key, budget)
        else:
            self._finish(events, entry, self._match(events, entry, entry.open_lots, limit_key))

    def _enter_behind(self, events: list[EventRow], entry: Entry) -> None:
        """A post-only order that would take: turned away, or put one tick behind the far side."""
        side, asked = entry.flags & 1, entry.price
        price = self.bids.best() + 1 if side else self.asks.best() - 1
        reprices = entry.flags >> POST_SHIFT & 3 == port.POST_REPRICE
        if not reprices or not max(self._low, 1) <= price <= self._high:
            self.entries.pop(entry.order_id, None)
            self.removed_lots += entry.open_lots
            reason = Reason.BOOK_PRICE_BAND if reprices and price > 0 else Reason.BOOK_POST_ONLY_WOULD_TAKE
            events.append((_REJECTED, entry.order_id, side, asked, 0, entry.open_lots, int(reason), 0))
            return
        entry.price, entry.shown_lots = price, entry.slice_lots()
        events.append((int(EventKind.REPRICED), entry.order_id, side, price, 0, entry.open_lots, 0, asked))
        self._rest(entry)
        events.append((_RESTED, entry.order_id, side, price, entry.shown_lots, entry.open_lots, 0, 0))

    def _rest(self, entry: Entry) -> None:
        self._hold(entry)
        (self.asks if entry.flags & 1 else self.bids).append(entry)

    def _limit_key(self, entry: Entry) -> int:
        """The worst key of the far side that an order may trade at."""
        side = entry.flags & 1
        band_key = self._low if side else -self._high
        if entry.flags >> TYPE_SHIFT & 7 == MARKET:
            return band_key
        return max(entry.price if side else -entry.price, band_key)

    def _can_fill(self, entry: Entry, limit_key: int, wanted: int, budget: int) -> bool:
        """Whether the far side could give ``wanted`` lots, or take all of ``budget``, in one command."""
        far = self.bids if entry.flags & 1 else self.asks
        prevention, events, left = entry.flags >> _STP_SHIFT & 7, 0, wanted
        for maker in far.entries():
            if maker.price * far.sign < limit_key or (self._interruption_ppm and self._interrupts(maker.price)):
                return False
            if prevention and maker.account == entry.account:
                if prevention == port.STP_MAKER:
                    continue
                return False
            hidden = maker.open_lots - maker.shown_lots
            events += 1 + (2 * -(-hidden // maker.display_lots) if hidden else 0)
            if events > self._events_max:
                return False
            if budget:
                left = budget // maker.price
                budget -= maker.open_lots * maker.price
            left -= maker.open_lots
            if left <= 0:
                return True
        return False

    def _spend(self, events: list[EventRow], entry: Entry, limit_key: int, budget: int) -> None:
        """Take for a quote budget: level by level, as many lots as it still buys. Done when it buys none at a price."""
        far = self.bids if entry.flags & 1 else self.asks
        reason = 0
        while not reason:
            if not far.keys:
                reason = int(Reason.BOOK_NO_LIQUIDITY)
                break
            key = far.keys[-1]
            if key < limit_key:
                reason = int(Reason.BOOK_PRICE_BAND)
                break
            price = key * far.sign
            lots = min(budget // price, QUANTITY_MAX)
            if not lots:
                reason = int(Reason.BOOK_IMMEDIATE_REMAINDER)
                break
            left = self._match(events, entry, lots, key)
            self.entered_lots += lots - left
            if not left:
                return
            budget -= (lots - left) * price
            reason = self._stopped
        interrupted, self._stopped = self._stopped == _INTERRUPTED, 0
        if interrupted:
            self._interrupt(events)
        self._end(events, entry, 0, reason)

    def _match(self, events: list[EventRow], taker: Entry, lots: int, limit_key: int) -> int:
        """Trade up to ``lots`` with the far side down to ``limit_key``; what is left (``_stopped`` set: cut short)."""
        order_id, account, flags = taker.order_id, taker.account, taker.flags
        side, prevention = flags & 1, flags >> _STP_SHIFT & 7
        far = self.bids if side else self.asks
        keys, levels, sign, entries = far.keys, far.levels, far.sign, self.entries
        watched, guarded, events_max = self.triggers.orders, self._interruption_ppm, self._events_max
        first, price, before, prevented = 0, 0, lots, 0
        while lots and keys:
            key = keys[-1]
            if key < limit_key:
                break
            here = key * sign
            if guarded and self._interrupts(here):
                self._stopped = _INTERRUPTED
                break
            level = levels[key]
            queue, head = level.queue, level.head
            while lots:
                maker = queue[head]
                open_lots = maker.open_lots
                if not open_lots:
                    head += 1
                    continue
                if maker.account == account and prevention:
                    level.head = head
                    left = self._prevent(events, taker, lots, maker, far)
                    head = level.head
                    prevented += lots - left
                    lots = left
                    if self._stopped or not level.live:
                        break
                    continue
                if len(events) >= events_max:
                    self._stopped = _TOO_MANY
                    break
                if price != here:
                    price = here
                    first = first or here
                    if watched:
                        self._seen.append(here)
                shown = maker.shown_lots
                if lots < shown:
                    maker.open_lots = open_lots = open_lots - lots
                    maker.shown_lots = shown - lots
                    level.lots -= lots
                    events.append((_TRADE, order_id, side, here, lots, 0, maker.order_id, open_lots))
                    lots = 0
                    break
                lots -= shown
                maker.open_lots = open_lots = open_lots - shown
                events.append((_TRADE, order_id, side, here, shown, lots, maker.order_id, open_lots))
                head += 1
                if open_lots:
                    # An iceberg shows its next slice and goes to the back of its level.
                    maker.shown_lots = refill = maker.slice_lots()
                    level.lots += refill - shown
                    queue.append(maker)
                    if len(queue) - head < head:
                        del queue[:head]
                        head = 0
                    events.append((_REFILLED, maker.order_id, side ^ 1, here, refill, open_lots, 0, 0))
                    continue
                del entries[maker.order_id]
                live = level.live - 1
                if not live:
                    del levels[key]
                    keys.pop()
                    break
                level.live = live
                level.lots -= shown
            level.head = head
            if head > SPARE_ENTRIES_MAX and len(queue) > 2 * level.live + SPARE_ENTRIES_MAX:
                level.tidy()
            if self._stopped:
                break
        if first:
            self.last_price = price
            self.traded_lots += before - lots - prevented
            if not self.reference_price:
                self.reference_price = first
                self._refresh()
        return lots

    def _interrupts(self, price: int) -> bool:
        """Whether a trade at ``price`` lies so far from the last before the taker that trading stops for an auction."""
        base = self._base
        return base > 0 and abs(price - base) * PARTS_PER_MILLION > base * self._interruption_ppm

    def _prevent(self, events: list[EventRow], taker: Entry, lots: int, maker: Entry, far: Ladder) -> int:
        """Keep an account from trading with itself; the lots left of the taker (``_stopped`` set if it must end)."""
        mode = taker.flags >> _STP_SHIFT & 7
        if mode == port.STP_TAKER:
            self._stopped = _SELF_TRADE
            return lots
        if mode == port.STP_DECREMENT:
            both = min(lots, maker.open_lots)
            if both < maker.open_lots:
                self._decrement_resting(events, maker, far, both)
            else:
                self._expire_resting(events, maker, far, _SELF_TRADE)
            if both == lots:
                self._stopped = _SELF_TRADE
                return lots
            taker.quantity_lots -= both
            self.removed_lots += both
            events.append(_decremented(taker, 0, 0, lots - both, both))
            return lots - both
        self._expire_resting(events, maker, far, _SELF_TRADE)
        if mode == port.STP_BOTH:
            self._stopped = _SELF_TRADE
        return lots

    def _decrement_resting(self, events: list[EventRow], entry: Entry, ladder: Ladder, lots: int) -> None:
        ladder.reduce(entry, entry.open_lots - lots)
        entry.quantity_lots -= lots
        self.removed_lots += lots
        events.append(_decremented(entry, entry.price, entry.shown_lots, entry.open_lots, lots))

    def _expire_resting(self, events: list[EventRow], entry: Entry, ladder: Ladder, reason: int) -> None:
        lots, shown = entry.open_lots, entry.shown_lots
        ladder.remove(entry)
        del self.entries[entry.order_id]
        self.removed_lots += lots
        events.append((_EXPIRED, entry.order_id, entry.flags & 1, entry.price, shown, lots, reason, 0))

    def _finish(self, events: list[EventRow], entry: Entry, left: int) -> None:
        """What becomes of a taker after its match: done, ended or resting."""
        stopped, self._stopped = self._stopped, 0
        entry.open_lots = left
        if not left:
            self.entries.pop(entry.order_id, None)
            return
        rests = not entry.flags & _RESTING_BITS
        if stopped == _INTERRUPTED:
            self._interrupt(events)
        elif stopped:
            rests = False
        if rests:
            entry.shown_lots = entry.slice_lots()
            self._rest(entry)
            events.append((_RESTED, entry.order_id, entry.flags & 1, entry.price, entry.shown_lots, left, 0, 0))
            return
        reason = stopped
        if not reason:
            if entry.flags >> TYPE_SHIFT & 7 != MARKET:
                reason = int(Reason.BOOK_IMMEDIATE_REMAINDER)
            elif (self.bids if entry.flags & 1 else self.asks).keys:
                reason = int(Reason.BOOK_PRICE_BAND)
            else:
                reason = int(Reason.BOOK_NO_LIQUIDITY)
        self._end(events, entry, left, reason)

    def _interrupt(self, events: list[EventRow]) -> None:
        """A volatility interruption: trading stops for a call auction."""
        events.append((int(EventKind.STATUS), 0, 0, 0, AUCTION, 0, _INTERRUPTED, self.status))
        self.status = AUCTION
        duration = self.settings.interruption_ns
        self.interruption_end_ns = self.now_ns + duration if duration else 0
        self._refresh()

    def _end(self, events: list[EventRow], entry: Entry, lots: int, reason: int) -> None:
        """End an order that is on no ladder."""
        self.entries.pop(entry.order_id, None)
        self.removed_lots += lots
        events.append((_EXPIRED, entry.order_id, entry.flags & 1, 0, 0, lots, int(reason), 0))


def _decremented(entry: Entry, price: int, shown: int, left: int, lots: int) -> EventRow:
    return (_DECREMENTED, entry.order_id, entry.flags & 1, price, shown, left, _SELF_TRADE, lots)
