"""The order book in plain Python: it reads like the specification, and it is the oracle of every faster one.

A submitted order is checked in this order: known already (BOOK_DUPLICATE_ORDER), fields that do not fit its type
(ORDER_FIELDS_INVALID), a book that is not open for it (BOOK_NOT_OPEN), over already (BOOK_EXPIRED), priced outside the
band (BOOK_PRICE_BAND), no room (BOOK_FULL), a stop that would fire at once (BOOK_TRIGGER_IMMEDIATE), a post-only order
that would take (BOOK_POST_ONLY_WOULD_TAKE). What passes is accepted; a fill-or-kill order or a minimum quantity that
cannot be met then ends without a trade.

An amendment is checked so: BOOK_UNKNOWN_ORDER, BOOK_NOT_OPEN, REPLACE_INVALID, BOOK_PRICE_BAND, BOOK_TRIGGER_IMMEDIATE,
BOOK_POST_ONLY_WOULD_TAKE; a cancellation: BOOK_UNKNOWN_ORDER, BOOK_NOT_OPEN (HALTED only).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop
from itertools import islice
from typing import Final

from msgspec.structs import replace

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import port, state
from polaris_synapse.matching.core.auction import call_price, open_lots_by_price
from polaris_synapse.matching.core.entry_rules import fields_fit, triggered_flags
from polaris_synapse.matching.core.ladder import Entry
from polaris_synapse.matching.core.packed import no_command, pack_events, require_command, unpack_commands
from polaris_synapse.matching.core.port import (
    AUCTION,
    CANCEL_ONLY,
    COLUMN_MAX,
    HALTED,
    LIMIT,
    MARKET,
    PRICE_MAX,
    QUANTITY_MAX,
    TRADING,
    TYPE_SHIFT,
    BookOrder,
    BookSettings,
    BookState,
    CommandRow,
    EventKind,
    EventRow,
    Operation,
    PackedRows,
    PriceLevel,
)
from polaris_synapse.matching.core.taking import TakingBook
from polaris_synapse.matching.core.triggers import fires_above, is_triggered

# Plain integers: an enum member in a row would be slower to make and to compare.
_ACCEPTED: Final = int(EventKind.ACCEPTED)
_CANCELLED: Final = int(EventKind.CANCELLED)
_CANCEL_REFUSED: Final = int(EventKind.CANCEL_REFUSED)
_REJECTED: Final = int(EventKind.REJECTED)
_TRIGGERED: Final = int(EventKind.TRIGGERED)
_REPLACED: Final = int(EventKind.REPLACED)
_REDUCED: Final = int(EventKind.REDUCED)
_AUCTION_TRADE: Final = int(EventKind.AUCTION_TRADE)
_UNKNOWN_ORDER: Final = int(Reason.BOOK_UNKNOWN_ORDER)
_OVER: Final = int(Reason.BOOK_EXPIRED)
_MARKET_BIT: Final = MARKET << TYPE_SHIFT
_IOC_BIT: Final = port.IOC << port.FORCE_SHIFT
#: The flags of plain limit and market orders, which say nothing but side and self-trade prevention beside, and whether
#: such an order takes without ever resting.
_QUICK_FLAGS: Final = {
    side | takes | prevention << port.STP_SHIFT: bool(takes)
    for side in (port.BUY, port.SELL)
    for takes in (0, _MARKET_BIT, _IOC_BIT, _MARKET_BIT | _IOC_BIT)
    for prevention in range(port.STP_DECREMENT + 1)
}
#: Columns of more bits go the long way, as does what is negative. Prices and quantities of no more are in range.
_QUICK_BITS: Final = PRICE_MAX.bit_length() - 1


class Book(TakingBook):
    """An order book (port.OrderBook). Attributes are its state, for the modules beside this one to read."""

    def __init__(self, settings: BookSettings | None = None, *, status: int = TRADING) -> None:
        super().__init__(settings or BookSettings(), status)
        operations: dict[int, Callable[[CommandRow], list[EventRow]]] = {
            Operation.SUBMIT: self._submit,
            Operation.CANCEL: self._cancel,
            Operation.AMEND: self._amend,
            Operation.CANCEL_ALL: self._cancel_all,
            Operation.SET_STATUS: self._set_status,
            Operation.ADVANCE_TIME: self._advance_time,
            Operation.SET_REFERENCE: self._set_reference,
            Operation.STEP: self._step,
        }
        # By plain integers, which a look-up with a row's number finds without comparing.
        self._operations = {int(operation): carry_out for operation, carry_out in operations.items()}

    def apply(self, row: CommandRow, /) -> list[EventRow]:
        """Carry out one command row and return its event rows. Raises ValueError for a row that is no command."""
        try:
            operation = row[0]
        except IndexError:
            raise no_command(row) from None
        if self.pending:
            return self._apply_while_pending(row)
        if operation == 1:
            return self._cancel(row)
        if operation:
            return self._carry_out(row)
        # Nearly all others are plain limit and market orders on a book without guards: the same as in _submit, sooner.
        try:
            _, flags, order_id, account, price, quantity, stop, trailing, display, minimum, budget, expire = row
            takes = _QUICK_FLAGS[flags]
        except (KeyError, ValueError):
            return self._submit(row)
        entries = self.entries
        if (
            stop
            or trailing
            or display
            or minimum
            or budget
            or expire
            or not self._plain
            or (order_id | account | price | quantity) >> _QUICK_BITS
            or not order_id
            or not quantity
            or not (price or flags & _MARKET_BIT)
            or order_id in entries
            or len(entries) >= self._orders_max
        ):
            return self._submit(row)
        side = flags & 1
        if side:
            ladder, key, facing, limit_key = self.asks, -price, self.bids.keys, price
        else:
            ladder, key, facing, limit_key = self.bids, price, self.asks.keys, -price
        self.entered_lots += quantity
        if takes or (facing and facing[-1] >= limit_key):
            if flags & _MARKET_BIT:
                if price:
                    self.entered_lots -= quantity
                    return self._submit(row)
                limit_key = -COLUMN_MAX
            events: list[EventRow] = [(_ACCEPTED, order_id, side, price, 0, quantity, 0, 0)]
            entry = Entry(order_id, account, flags, price, quantity, 0, quantity)
            left = self._match(events, entry, quantity, limit_key)
            if left or self._stopped:
                self._finish(events, entry, left)
            return self._settle(events) if self._seen else events
        entries[order_id] = entry = Entry(order_id, account, flags, price, quantity, quantity, quantity)
        level = ladder.levels.get(key)
        if level is None:
            ladder.append(entry)
        else:
            level.lots += quantity
            level.live += 1
            level.queue.append(entry)
        return [(_ACCEPTED, order_id, side, price, quantity, quantity, 0, 0)]

    def _apply_while_pending(self, row: CommandRow) -> list[EventRow]:
        """Orders that have fired go before the command, unless they are told one by one when it is their turn."""
        if self.status != TRADING or self._stepwise:
            return self._carry_out(row)
        require_command(row)
        return self._settle([]) + self._carry_out(row)

    def _carry_out(self, row: CommandRow) -> list[EventRow]:
        try:
            operation = self._operations[row[0]]
        except KeyError:
            raise no_command(row) from None
        return operation(row)

    def apply_batch(self, rows: Iterable[CommandRow], /) -> list[EventRow]:
        """Carry out command rows one after the other and return all their event rows."""
        apply, events = self.apply, []
        for row in rows:
            events += apply(row)
        return events

    def apply_packed(self, commands: PackedRows, /) -> memoryview[int]:
        """Carry out packed commands and return their packed events; see port.OrderBook."""
        return pack_events(self.apply_batch(unpack_commands(commands)))

    def submit(self, order: BookOrder) -> list[EventRow]:
        """Place an order."""
        return self.apply(order.pack())

    def cancel(self, order_id: int, reason: Reason = Reason.CANCELLED_BY_USER) -> list[EventRow]:
        """Cancel an order."""
        return self.apply((1, int(reason), order_id))

    def amend(
        self, order_id: int, *, quantity_lots: int, price_ticks: int, stop_price_ticks: int = 0
    ) -> list[EventRow]:
        """Change an order to these values; ``quantity_lots`` is the new total, filled lots included."""
        return self.apply((2, 0, order_id, 0, price_ticks, quantity_lots, stop_price_ticks))

    def cancel_all(
        self, *, account: int = 0, side: int | None = None, reason: Reason = Reason.CANCELLED_BY_USER
    ) -> list[EventRow]:
        """Cancel every order of an account (0: of all) and side (None: both), in order of arrival."""
        return self.apply((3, int(reason), 0, account, 0, 0, 0 if side is None else side + 1))

    def set_status(self, status: int) -> list[EventRow]:
        """Open, halt or restrict the book. Coming to TRADING, a crossed book is uncrossed by a call auction first."""
        return self.apply((4, status))

    def advance_time(self, now_ns: int) -> list[EventRow]:
        """Time passes: orders end, a volatility interruption ends. Time that runs backwards is ignored."""
        return self.apply((5, now_ns))

    def configure(self, settings: BookSettings) -> None:
        """Change the bounds and guards; what the book holds already stays."""
        self.settings = settings
        self._events_max, self._orders_max = settings.command_events_max, settings.orders_max
        self._interruption_ppm, self._stepwise = settings.interruption_ppm, settings.stepwise
        self._refresh()

    def best_bid(self) -> int:
        """The best bid in ticks, 0 where there is none."""
        return self.bids.best()

    def best_ask(self) -> int:
        """The best ask in ticks, 0 where there is none."""
        return self.asks.best()

    def levels(self, depth: int = 0) -> tuple[list[PriceLevel], list[PriceLevel]]:
        """Bids and asks as ``(price, displayed lots)``, best first; ``depth`` 0 means all."""
        return self.bids.depth(depth), self.asks.depth(depth)

    def level_lots(self, side: int, price: int) -> int:
        """Displayed lots at a price, 0 where there is no level."""
        level = self.asks.levels.get(-price) if side else self.bids.levels.get(price)
        return level.lots if level else 0

    def queue(self, side: int, limit: int = 0) -> list[tuple[int, int, int]]:
        """``(order_id, price, displayed lots)`` of a side in priority order, ``limit`` 0 for all."""
        entries = islice((self.asks if side else self.bids).entries(), limit or None)
        return [(entry.order_id, entry.price, entry.shown_lots) for entry in entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, order_id: object) -> bool:
        return order_id in self.entries

    def waits(self, order_id: int) -> bool:
        """Whether an order waits for its trigger, or has fired and waits for its turn."""
        entry = self.entries.get(order_id)
        return entry is not None and not entry.shown_lots

    def waiting_orders(self) -> int:
        """How many wait for their trigger, or have fired and wait for their turn."""
        return len(self.triggers) + len(self.pending)

    def stop_price(self, order_id: int) -> int:
        """An order's stop price in ticks, 0 for one without and for an order that the book does not hold."""
        entry = self.entries.get(order_id)
        return entry.stop_price if entry is not None else 0

    def level_count(self, side: int) -> int:
        """How many prices a side has."""
        return len((self.asks if side else self.bids).keys)

    def dump(self) -> BookState:
        """The whole state."""
        return state.dump(self)

    def load(self, book_state: BookState, /) -> None:
        """Replace the state."""
        state.load(self, book_state)
        self._refresh()

    def state_hash(self) -> str:
        """A hash of the state."""
        return state.hash_of(state.dump(self))

    def check(self) -> None:
        """Raise BookInvariantError where an invariant does not hold."""
        state.check(self)

    def _submit(self, row: CommandRow) -> list[EventRow]:
        try:
            _, flags, order_id, account, price, quantity, stop, trailing, display, minimum, budget, expire = row
        except ValueError:
            raise no_command(row) from None
        refusal = self._refusal(row)
        if refusal:
            return [(_REJECTED, order_id, flags & 1, price, 0, quantity, int(refusal), 0)]
        entry = Entry(order_id, account, flags, price, quantity, 0, quantity, stop, trailing, display, minimum, expire)
        events: list[EventRow] = []
        self.entered_lots += quantity
        if flags >> TYPE_SHIFT & 7 > MARKET:
            self._hold(entry)
            stop_now = self.arm(entry, self.last_price)
            events.append((int(EventKind.ARMED), order_id, flags & 1, stop_now, 0, quantity, 0, 0))
            return events
        post_only = flags >> port.POST_SHIFT & 3
        if post_only == port.POST_REJECT and self._crosses(entry):
            self.entered_lots -= quantity
            return [(_REJECTED, order_id, flags & 1, price, 0, quantity, int(Reason.BOOK_POST_ONLY_WOULD_TAKE), 0)]
        self._enter(events, entry, budget, _ACCEPTED)
        return self._settle(events)

    def _refusal(self, row: CommandRow) -> Reason:
        """Why an order cannot come in; NONE when it can."""
        _, flags, order_id, _, price, _, stop, _, _, minimum, _, expire = row
        type_, force = flags >> TYPE_SHIFT & 7, flags >> port.FORCE_SHIFT & 3
        if order_id in self.entries:
            return Reason.BOOK_DUPLICATE_ORDER
        if not fields_fit(row):
            return Reason.ORDER_FIELDS_INVALID
        if self.status in (HALTED, CANCEL_ONLY):
            return Reason.BOOK_NOT_OPEN
        # Before the call an order can only rest or wait: what must trade at once has nothing to trade with.
        if self.status == AUCTION and (type_ == MARKET or (type_ == LIMIT and (force or minimum))):
            return Reason.BOOK_NOT_OPEN
        if expire and expire <= self.now_ns:
            return Reason.BOOK_EXPIRED
        if price and not self._low <= price <= self._high:
            return Reason.BOOK_PRICE_BAND
        if len(self.entries) >= self._orders_max and (type_ > MARKET or (type_ == LIMIT and force == port.GTC)):
            return Reason.BOOK_FULL
        if stop and is_triggered(fires_above(port.TYPES[type_], port.SIDES[flags & 1]), stop, self.last_price):
            return Reason.BOOK_TRIGGER_IMMEDIATE
        return Reason.NONE

    def arm(self, entry: Entry, watermark: int) -> int:
        """Let an order wait for its trigger; where that is now (0: no market yet)."""
        flags = entry.flags
        in_bps = flags & port.TRAILING_BPS
        return self.triggers.arm(
            entry.order_id,
            port.SIDES[flags & 1],
            port.TYPES[flags >> TYPE_SHIFT & 7],
            stop_price_ticks=entry.stop_price,
            trailing_ticks=0 if in_bps else entry.trailing,
            trailing_bps=entry.trailing if in_bps else 0,
            watermark_ticks=watermark if entry.trailing else 0,
        ).price_ticks

    def _settle(self, events: list[EventRow]) -> list[EventRow]:
        """Show the triggers the trades, and let what fires enter, until all is quiet or the bound is reached."""
        while True:
            for price in self._seen:
                self.pending.extend(trigger.order_id for trigger in self.triggers.observe(price))
            self._seen.clear()
            if not self.pending or self.status != TRADING or len(events) >= self._events_max or self._stepwise:
                return events
            self._fire_next(events)

    def _fire_next(self, events: list[EventRow]) -> None:
        """Let the triggered order whose turn it is enter."""
        entry = self.entries[self.pending.popleft()]
        events.append((_TRIGGERED, entry.order_id, entry.flags & 1, entry.stop_price, 0, entry.open_lots, 0, 0))
        entry.flags = triggered_flags(entry.flags)
        if entry.price and not self._low <= entry.price <= self._high:
            del self.entries[entry.order_id]
            self.removed_lots += entry.open_lots
            reason = int(Reason.BOOK_PRICE_BAND)
            lots = entry.open_lots
            events.append((_REJECTED, entry.order_id, entry.flags & 1, entry.price, 0, lots, reason, 0))
        else:
            self._enter(events, entry, 0, 0)

    def _step(self, row: CommandRow) -> list[EventRow]:
        require_command(row)
        events: list[EventRow] = []
        if self.pending and self.status == TRADING:
            self._fire_next(events)
        return self._settle(events)

    def _cancel(self, row: CommandRow) -> list[EventRow]:
        try:
            order_id = row[2]
        except IndexError:
            raise no_command(row) from None
        if self.status == HALTED:
            return [self._keep_halted(order_id)]
        entry = self.entries.pop(order_id, None)
        if entry is None:
            return [(_CANCEL_REFUSED, order_id, 0, 0, 0, 0, _UNKNOWN_ORDER, 0)]
        side, lots, shown = entry.flags & 1, entry.open_lots, entry.shown_lots
        self.removed_lots += lots
        if shown:
            (self.asks if side else self.bids).remove(entry)
            return [(_CANCELLED, order_id, side, entry.price, shown, lots, row[1], 0)]
        self._stop_waiting(order_id)
        return [(_CANCELLED, order_id, side, 0, 0, lots, row[1], 0)]

    def _keep_halted(self, order_id: int) -> EventRow:
        """What a cancellation is told while the book is halted."""
        entry = self.entries.get(order_id)
        if entry is None:
            return (_CANCEL_REFUSED, order_id, 0, 0, 0, 0, _UNKNOWN_ORDER, 0)
        return (_CANCEL_REFUSED, order_id, entry.flags & 1, 0, 0, entry.open_lots, int(Reason.BOOK_NOT_OPEN), 0)

    def _stop_waiting(self, order_id: int) -> None:
        if self.triggers.disarm(order_id) is None:
            self.pending.remove(order_id)

    def _cancel_all(self, row: CommandRow) -> list[EventRow]:
        require_command(row)
        reason, account, side = row[1], *(row[3:4] or (0,)), *(row[6:7] or (0,))
        if self.status == HALTED:
            return []
        chosen = [
            entry.order_id
            for entry in self.entries.values()
            if (not account or entry.account == account) and (not side or entry.flags & 1 == side - 1)
        ]
        return [event for order_id in chosen for event in self._cancel((1, reason, order_id))]

    def _amend(self, row: CommandRow) -> list[EventRow]:
        require_command(row)
        _, _, order_id, _, price, quantity, stop = row[:7]
        entry = self.entries.get(order_id)
        refusal = self._amend_refusal(entry, price, quantity, stop)
        if entry is None or refusal:
            side = entry.flags & 1 if entry else 0
            lots = entry.open_lots if entry else 0
            return [(int(EventKind.AMEND_REFUSED), order_id, side, price, quantity, lots, int(refusal), 0)]
        side, before, filled = entry.flags & 1, entry.price, entry.quantity_lots - entry.open_lots
        left = quantity - filled
        ladder = self.asks if side else self.bids
        if entry.shown_lots and price == before and quantity <= entry.quantity_lots:
            # Less at the same price takes nothing from those behind, so the order keeps its place.
            self.removed_lots += entry.open_lots - left
            ladder.reduce(entry, left)
            entry.quantity_lots = quantity
            return [(_REDUCED, order_id, side, price, entry.shown_lots, left, 0, before)]
        self.entered_lots += left
        self.removed_lots += entry.open_lots
        if not entry.shown_lots:
            self.triggers.disarm(order_id)
            entry.price, entry.quantity_lots, entry.open_lots, entry.stop_price = price, quantity, left, stop
            self.arm(entry, self.last_price)
            return [(_REPLACED, order_id, side, price, 0, left, 0, before)]
        events: list[EventRow] = [(_REPLACED, order_id, side, price, 0, left, 0, before)]
        # The queue may keep the old entry until it comes to the front, so the amended order is a new one.
        moved = replace(entry, price=price, quantity_lots=quantity, open_lots=left, shown_lots=0, minimum_lots=0)
        ladder.remove(entry)
        self.entries[order_id] = moved
        self._enter(events, moved, 0, 0)
        return self._settle(events)

    def _amend_refusal(self, entry: Entry | None, price: int, quantity: int, stop: int) -> Reason:
        """Why an order cannot be changed to these values; NONE when it can."""
        if entry is None:
            return Reason.BOOK_UNKNOWN_ORDER
        waits = entry.order_id in self.triggers
        if self.status in (HALTED, CANCEL_ONLY) or not (entry.shown_lots or waits):
            return Reason.BOOK_NOT_OPEN
        filled = entry.quantity_lots - entry.open_lots
        if not filled < quantity < QUANTITY_MAX or bool(price) != bool(entry.price) or not 0 <= price < PRICE_MAX:
            return Reason.REPLACE_INVALID
        if stop != entry.stop_price and not (waits and entry.stop_price and 0 < stop < PRICE_MAX):
            return Reason.REPLACE_INVALID
        if waits and quantity < max(entry.display_lots, entry.minimum_lots):
            return Reason.REPLACE_INVALID
        if price and not self._low <= price <= self._high:
            return Reason.BOOK_PRICE_BAND
        if waits:
            trigger = self.triggers.get(entry.order_id)
            if trigger and entry.stop_price and is_triggered(trigger.above, stop, self.last_price):
                return Reason.BOOK_TRIGGER_IMMEDIATE
        elif entry.flags >> port.POST_SHIFT & 3 == port.POST_REJECT and self._crosses(replace(entry, price=price)):
            return Reason.BOOK_POST_ONLY_WOULD_TAKE
        return Reason.NONE

    def _set_status(self, row: CommandRow) -> list[EventRow]:
        require_command(row)
        status = row[1]
        self.interruption_end_ns = 0
        return [] if status == self.status else self._change_status(status)

    def _change_status(self, status: int) -> list[EventRow]:
        events: list[EventRow] = []
        price = volume = 0
        if status == TRADING:
            price, volume = self._call(events)
        events.append((int(EventKind.STATUS), 0, 0, price, status, volume, 0, self.status))
        self.status = status
        self._refresh()
        return self._settle(events)

    def _call(self, events: list[EventRow]) -> tuple[int, int]:
        """Uncross the book at one price, again while self-trade prevention left it crossed; price and volume."""
        price = volume = 0
        while call := call_price(
            open_lots_by_price(self.bids), open_lots_by_price(self.asks), self.last_price or self.reference_price
        ):
            price = call
            volume += self._trade_at(events, call)
        if volume:
            self.last_price = self.reference_price = price
            self.traded_lots += volume
            if self.triggers.orders:
                self._seen.append(price)
        return price, volume

    def _trade_at(self, events: list[EventRow], price: int) -> int:
        """Pair both sides by priority at ``price``, hidden lots included; the lots traded."""
        volume = 0
        while (bid := self.bids.front()) and (ask := self.asks.front()) and bid.price >= price >= ask.price:
            taker, maker = (bid, ask) if bid.order_id > ask.order_id else (ask, bid)
            if bid.account == ask.account and taker.flags >> port.STP_SHIFT & 7:
                self._prevent_in_call(events, taker, maker)
                continue
            lots = min(bid.open_lots, ask.open_lots)
            volume += lots
            taken, made = taker.open_lots - lots, maker.open_lots - lots
            row = (_AUCTION_TRADE, taker.order_id, taker.flags & 1, price, lots, taken, maker.order_id, made)
            events.append(row)
            for entry, ladder in ((bid, self.bids), (ask, self.asks)):
                if entry.open_lots > lots:
                    ladder.reduce(entry, entry.open_lots - lots)
                else:
                    ladder.remove(entry)
                    del self.entries[entry.order_id]
        return volume

    def _prevent_in_call(self, events: list[EventRow], taker: Entry, maker: Entry) -> None:
        """Keep an account from trading with itself in a call auction, by the later order's mode."""
        mode = taker.flags >> port.STP_SHIFT & 7
        lots = min(taker.open_lots, maker.open_lots)
        ending = {port.STP_TAKER: (taker,), port.STP_MAKER: (maker,)}.get(mode, (maker, taker))
        for entry in ending:
            ladder = self.asks if entry.flags & 1 else self.bids
            if mode == port.STP_DECREMENT and entry.open_lots > lots:
                self._decrement_resting(events, entry, ladder, lots)
            else:
                self._expire_resting(events, entry, ladder, int(Reason.BOOK_SELF_TRADE_PREVENTED))

    def _advance_time(self, row: CommandRow) -> list[EventRow]:
        require_command(row)
        now_ns = row[1]
        if now_ns <= self.now_ns:
            return []
        self.now_ns = now_ns
        events: list[EventRow] = []
        while self.expiries and self.expiries[0][0] <= now_ns:
            expiry = heappop(self.expiries)
            if not self._expires(expiry):
                continue
            entry = self.entries[expiry[2]]
            if entry.shown_lots:
                self._expire_resting(events, entry, self.asks if entry.flags & 1 else self.bids, _OVER)
            else:
                self._stop_waiting(entry.order_id)
                self._end(events, entry, entry.open_lots, _OVER)
        if self.interruption_end_ns and now_ns >= self.interruption_end_ns:
            self.interruption_end_ns = 0
            events += self._change_status(TRADING)
        return events

    def _set_reference(self, row: CommandRow) -> list[EventRow]:
        require_command(row)
        self.reference_price = row[1]
        self._refresh()
        return []
