"""One instrument of the internal venue: its book, whose orders they are, and the messages that its events become."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from polaris_synapse.domain.instruments import PARTS_PER_MILLION, Instrument, InstrumentStatus
from polaris_synapse.domain.messages import BookChanged, BookStatusChanged, Message, OrderReport, TradePrinted
from polaris_synapse.domain.orders import Fill, Liquidity, Order, OrderEvent, OrderRequest, OrderType, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core.books import new_book
from polaris_synapse.matching.core.holdings import Holding, MarketState
from polaris_synapse.matching.core.order_lists import Lists, settle_owed, steps
from polaris_synapse.matching.core.port import (
    COLUMN_MAX,
    HALTED,
    SIDES,
    STATUS_CODES,
    STATUSES,
    TRADES,
    TRADING,
    BookSettings,
    CommandRow,
    EventKind,
    EventRow,
    Operation,
    order_flags,
)
from polaris_synapse.matching.core.statistics import RollingDay

DAY_NS: Final = 86_400 * 10**9
#: How many orders a book holds, how many events one command may make, and how many ended orders it can still name.
BOOK_ORDERS_MAX: Final = 1_000_000
COMMAND_EVENTS_MAX: Final = 20_000
ENDED_ORDERS_MAX: Final = 10_000

HOW_MATCHED: Final = "matched on the desk's own book"
HOW_CALLED: Final = "matched in a call auction on the desk's own book"

_K = EventKind
# A member read from its enumeration costs ten times what a name of the module does, before Python 3.12; these are read
# several times an order.
_NO_REASON: Final = Reason.NONE
_ACKNOWLEDGE, _REPLACE = OrderEvent.ACKNOWLEDGE, OrderEvent.REPLACE
_EXPIRE, _REJECT = OrderEvent.EXPIRE, OrderEvent.REJECT
_FILL, _PARTIAL_FILL = OrderEvent.FILL, OrderEvent.PARTIAL_FILL
_MAKER, _TAKER = Liquidity.MAKER, Liquidity.TAKER
_DAY, _GTD = TimeInForce.DAY, TimeInForce.GTD
_TRADE, _STATUS, _REJECTED, _REPLACED = int(_K.TRADE), int(_K.STATUS), int(_K.REJECTED), int(_K.REPLACED)
_DECREMENTED, _REPRICED = int(_K.DECREMENTED), int(_K.REPRICED)
_SET_STATUS: Final = int(Operation.SET_STATUS)
_REASONS: Final = {int(reason): reason for reason in Reason}

#: What an event says to the order's owner. TRADE and AUCTION_TRADE are apart: they concern two orders and carry fills.
_REPORTS: Final[dict[int, OrderEvent]] = {
    int(_K.ACCEPTED): OrderEvent.ACKNOWLEDGE,
    int(_K.ARMED): OrderEvent.ARM,
    int(_K.TRIGGERED): OrderEvent.TRIGGER,
    int(_K.CANCELLED): OrderEvent.CANCEL,
    int(_K.EXPIRED): OrderEvent.EXPIRE,
    int(_K.REJECTED): OrderEvent.REJECT,
    int(_K.REPLACED): OrderEvent.REPLACE,
    int(_K.REDUCED): OrderEvent.REPLACE,
    int(_K.CANCEL_REFUSED): OrderEvent.REJECT_CANCEL,
    int(_K.AMEND_REFUSED): OrderEvent.REJECT_REPLACE,
    # The order table knows no event for these two: a repeated acknowledgement carries the values now in force.
    int(_K.DECREMENTED): OrderEvent.ACKNOWLEDGE,
    int(_K.REPRICED): OrderEvent.ACKNOWLEDGE,
}
_ENDS: Final = frozenset({OrderEvent.CANCEL, OrderEvent.EXPIRE, OrderEvent.REJECT, OrderEvent.FILL})
#: After these an order that waits for its trigger says so again, because the order table leads them to WORKING.
_BACK_TO_WAITING: Final = frozenset({int(_K.REPLACED), int(_K.CANCEL_REFUSED), int(_K.AMEND_REFUSED)})
#: After these an order has another quantity in all.
_RESIZED: Final = frozenset({int(_K.REPLACED), int(_K.REDUCED), int(_K.DECREMENTED)})
#: Kinds whose own price and displayed lots changed a level.
_ON_LEVEL: Final = frozenset(
    int(kind) for kind in (_K.ACCEPTED, _K.RESTED, _K.REFILLED, _K.CANCELLED, _K.EXPIRED, _K.DECREMENTED, _K.REDUCED)
)


def book_settings(instrument: Instrument, *, stepwise: bool = False) -> BookSettings:
    """The guards that an instrument asks of its book. ``stepwise``: it holds orders of lists."""
    return BookSettings(
        orders_max=BOOK_ORDERS_MAX,
        command_events_max=COMMAND_EVENTS_MAX,
        price_band_ppm=instrument.price_band_ppm,
        interruption_ppm=instrument.interruption_ppm,
        interruption_ns=instrument.interruption_seconds * 10**9,
        stepwise=stepwise,
    )


class Market:
    """A book with names on it: takes commands, gives messages."""

    __slots__ = (
        "_multiplier",
        "_received",
        "accounts",
        "book",
        "day",
        "ended",
        "holdings",
        "instrument",
        "lists",
        "owed",
        "placed",
        "rejected",
        "sequence",
        "statistics",
        "symbol",
        "trades",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._adopt(instrument)
        self.book = new_book(book_settings(instrument), status=STATUS_CODES[instrument.status])
        self.accounts: dict[str, int] = {}
        self.holdings: dict[int, Holding] = {}
        #: Oldest first. A plain dict would look at every entry that has left before it finds the oldest one.
        self.ended: OrderedDict[int, str] = OrderedDict()
        self.lists: Lists = Lists()
        self.owed: list[int] = []
        self.sequence = 0
        self.placed = 0
        self.rejected = 0
        self.trades = 0
        self.day = 0
        self.statistics = RollingDay()

    def _adopt(self, instrument: Instrument) -> None:
        """Trade by ``instrument`` from now on. What each fill needs of it is worked out once."""
        self.instrument = instrument
        self.symbol = instrument.symbol
        self._multiplier = instrument.notional_multiplier
        #: The asset that a side receives, by the side's code.
        self._received = (instrument.base.code, instrument.quote.code)

    def place(self, order: Order, time_ns: int) -> list[Message]:
        """Put an approved order on the book."""
        request = order.request
        account = self.accounts.setdefault(request.account, len(self.accounts) + 1)
        amount = request.quote_amount_units
        order_id = order.order_id
        if order_id in self.holdings or order_id in self.ended:
            # Delivery is at least once, and an order has one effect.
            return []
        quantity = 0 if amount else order.quantity_lots
        self.placed += 1
        self.holdings[order_id] = Holding(order_id, request.account, quantity, bool(amount))
        force = request.time_in_force
        row = (
            0,
            order_flags(request),
            order_id,
            account,
            order.price_ticks,
            quantity,
            order.stop_price_ticks,
            request.trailing_offset_bps or request.trailing_offset_ticks,
            request.display_lots,
            request.min_quantity_lots,
            # The book counts money in ticks times lots; what is less than one of them cannot be spent.
            min(amount // self._multiplier, COLUMN_MAX - 1) if amount else 0,
            _expire_ns(request, time_ns) if force is _GTD or force is _DAY else 0,
        )
        return self.apply(row, time_ns)

    def apply(self, row: CommandRow, time_ns: int) -> list[Message]:
        """Carry out a command: reports to the owners in order, each trade, and at the end the levels that changed."""
        book = self.book
        before = book.levels() if row[0] >= _SET_STATUS and book.status != TRADING else None
        out: list[Message] = []
        touched: dict[tuple[int, int], None] = {}
        events: Iterable[EventRow]
        if self.lists.orders:
            seen: list[EventRow] = []
            events = steps(self, row, seen, COMMAND_EVENTS_MAX)
        else:
            events = seen = book.apply(row)
        self._take_in(events, before, touched, time_ns, out)
        if touched:
            out.append(self._book_changed(touched, seen, time_ns))
        return out

    def _take_in(
        self,
        events: Iterable[EventRow],
        before: tuple[list[tuple[int, int]], list[tuple[int, int]]] | None,
        touched: dict[tuple[int, int], None],
        time_ns: int,
        out: list[Message],
    ) -> None:
        """What events mean to owners and to the public; notes the levels that they touched."""
        for event in events:
            kind, order_id, side, price, quantity, _, _, extra = event
            if kind in TRADES:
                self._trade(event, time_ns, out)
                if kind == _TRADE:
                    touched[side ^ 1, price] = None
                elif before:
                    # A call trades at one price, and takes from levels at others.
                    self._touch_changed(before, touched)
                    before = None
                continue
            report = _REPORTS.get(kind)
            if report is not None:
                self._own_report(report, event, time_ns, out)
            if price and quantity and kind in _ON_LEVEL:
                touched[side, price] = None
            elif kind == _REPLACED and extra and not self.book.waits(order_id):
                touched[side, extra] = None
            elif kind == _STATUS:
                out.append(self._status_changed(event, time_ns))

    def _status_changed(self, event: EventRow, time_ns: int) -> BookStatusChanged:
        _, _, _, price, status, lots, reason, before = event
        seconds = self.instrument.interruption_seconds if reason else 0
        return BookStatusChanged(
            time_ns=time_ns,
            symbol=self.symbol,
            status=STATUSES[status],
            before=STATUSES[before],
            reason=Reason(reason),
            until_ns=self.book.now_ns + seconds * 10**9 if seconds else 0,
            price_ticks=price,
            quantity_lots=lots,
        )

    def _touch_changed(
        self, before: tuple[list[tuple[int, int]], list[tuple[int, int]]], touched: dict[tuple[int, int], None]
    ) -> None:
        """Add the levels that differ from those before the command."""
        for side, (old, new) in enumerate(zip(before, self.book.levels(), strict=True)):
            for price, _ in sorted(set(old) ^ set(new)):
                touched[side, price] = None

    def _own_report(self, report: OrderEvent, event: EventRow, time_ns: int, out: list[Message]) -> None:
        """What happened to one order, told to its owner."""
        kind, order_id, _, price, _, left, reason, _ = event
        holding = self.holdings.get(order_id)
        total = price_ticks = stop_price = 0
        if holding is None:
            account = self.ended.get(order_id, "")
        else:
            account = holding.account
            if kind == _REJECTED and holding.acknowledged:
                # Only an order that never was on the book is rejected; one that was ends.
                report = _EXPIRE
            holding.acknowledged = True
            if kind in _RESIZED:
                holding.quantity_lots = holding.traded_lots + left
            if report is _ACKNOWLEDGE or report is _REPLACE:
                price_ticks = price if kind != _DECREMENTED else 0
                total = 0 if holding.by_quote else holding.quantity_lots
                stop_price = self.book.stop_price(order_id) if report is _REPLACE else 0
            elif holding.by_quote and report in _ENDS:
                total = holding.traded_lots
        out.append(
            OrderReport(
                time_ns=time_ns,
                order_id=order_id,
                account=account,
                symbol=self.symbol,
                event=report,
                quantity_lots=total,
                price_ticks=price_ticks,
                stop_price_ticks=stop_price,
                reason=_REASONS[reason] if reason else _NO_REASON,
                detail=self._detail(report, event),
            )
        )
        if report in _ENDS:
            self.rejected += report is _REJECT
            self._forget(order_id)
        elif kind in _BACK_TO_WAITING and self.book.waits(order_id):
            out.append(
                OrderReport(
                    time_ns=time_ns, order_id=order_id, account=account, symbol=self.symbol, event=OrderEvent.ARM
                )
            )

    def _detail(self, report: OrderEvent, event: EventRow) -> str:
        """The numbers behind an end or a refusal."""
        kind, _, _, price, _, left, _, extra = event
        instrument = self.instrument
        if (report is _EXPIRE or report is _REJECT) and left:
            return f"{instrument.format_quantity(left)} {instrument.base.code} did not trade."
        if kind == _REPRICED:
            return f"Asked for {instrument.format_price(extra)}, rests at {instrument.format_price(price)}."
        if kind == _DECREMENTED:
            return f"{instrument.format_quantity(extra)} were taken off to prevent a self-trade."
        return ""

    def _trade(self, event: EventRow, time_ns: int, out: list[Message]) -> None:
        """A trade: a report to each side, the maker first, and the public print."""
        kind, taker_id, side, price, lots, taker_open, maker_id, maker_open = event
        self.trades += 1
        how = HOW_MATCHED if kind == _TRADE else HOW_CALLED
        trade_id = f"{self.symbol}-{self.trades}"
        for order_id, own_side, left, liquidity in (
            (maker_id, side ^ 1, maker_open, _MAKER),
            (taker_id, side, taker_open, _TAKER),
        ):
            out.append(self._fill(order_id, own_side, price, lots, left, liquidity, how, trade_id, time_ns))
        self.statistics.trade(time_ns, price, lots)
        out.append(
            TradePrinted(
                time_ns=time_ns,
                symbol=self.symbol,
                trade_id=self.trades,
                price_ticks=price,
                quantity_lots=lots,
                aggressor=SIDES[side],
                maker_order_id=maker_id,
                taker_order_id=taker_id,
            )
        )

    def _fill(
        self,
        order_id: int,
        side: int,
        price: int,
        lots: int,
        left: int,
        liquidity: Liquidity,
        how: str,
        trade_id: str,
        time_ns: int,
    ) -> OrderReport:
        """What one side of a trade is told; an order of which nothing is left has ended."""
        instrument, holding = self.instrument, self.holdings[order_id]
        holding.traded_lots += lots
        # The fee comes off what is received, so that nobody needs an asset that the trade does not bring. It is
        # rounded up, as ``fee_units`` does.
        received = price * lots * self._multiplier if side else lots * instrument.lot_units
        rate = instrument.maker_fee_ppm if liquidity is _MAKER else instrument.taker_fee_ppm
        report = OrderReport(
            time_ns=time_ns,
            order_id=order_id,
            account=holding.account,
            symbol=self.symbol,
            event=_PARTIAL_FILL if left else _FILL,
            fill=Fill(
                trade_id=trade_id,
                price_ticks=price,
                quantity_lots=lots,
                liquidity=liquidity,
                fee_units=-(-received * rate // PARTS_PER_MILLION),
                fee_asset=self._received[side],
                how=how,
            ),
            quantity_lots=holding.traded_lots if holding.by_quote and not left else 0,
        )
        if not left:
            self._forget(order_id)
        return report

    def _forget(self, order_id: int) -> None:
        """An order has ended; its account stays known for a while, for requests that come too late."""
        self.note_ended(order_id, self.holdings.pop(order_id).account)

    def note_ended(self, order_id: int, account: str) -> None:
        """Remember whose an ended order was."""
        self.ended[order_id] = account
        if len(self.ended) > ENDED_ORDERS_MAX:
            self.ended.popitem(last=False)

    def _book_changed(self, touched: dict[tuple[int, int], None], events: list[EventRow], time_ns: int) -> BookChanged:
        self.sequence += 1
        changed = ([], [])  # type: tuple[list[tuple[int, int]], list[tuple[int, int]]]
        for side, price in touched:
            changed[side].append((price, self.book.level_lots(side, price)))
        return BookChanged(
            time_ns=time_ns,
            symbol=self.symbol,
            sequence=self.sequence,
            bids=tuple(changed[0]),
            asks=tuple(changed[1]),
            events=tuple(events),
        )

    def restate(self, time_ns: int) -> BookChanged:
        """Every level as one change, for market data that starts with an empty book."""
        bids, asks = self.book.levels()
        self.sequence += 1
        return BookChanged(
            time_ns=time_ns, symbol=self.symbol, sequence=self.sequence, bids=tuple(bids), asks=tuple(asks)
        )

    def tick(self, time_ns: int) -> list[Message]:
        """Time passes: orders end, interruptions end, and at midnight UTC the price band moves to the last price."""
        self.statistics.advance(time_ns)
        out = self.apply((int(Operation.ADVANCE_TIME), time_ns), time_ns)
        day = time_ns // DAY_NS
        if day > self.day:
            self.day = day
            if self.book.last_price:
                self.book.apply((int(Operation.SET_REFERENCE), self.book.last_price))
        return out

    def relist(self, instrument: Instrument, time_ns: int) -> list[Message]:
        """Take an instrument's new fees, guards and status."""
        former = self.instrument
        self._adopt(instrument)
        self.book.configure(book_settings(instrument, stepwise=bool(self.lists)))
        return [] if instrument.status is former.status else self.set_status(instrument.status, time_ns)

    def set_status(self, status: InstrumentStatus, time_ns: int) -> list[Message]:
        """Open, halt or restrict the book; also what ends a volatility interruption early."""
        self._adopt(replace(self.instrument, status=status))
        owed: list[Message] = []
        if self.owed and self.book.status == HALTED and status is not InstrumentStatus.HALTED:
            seen: list[EventRow] = []
            touched: dict[tuple[int, int], None] = {}
            self._take_in(settle_owed(self, seen), None, touched, time_ns, owed)
            if touched:
                owed.append(self._book_changed(touched, seen, time_ns))
        return owed + self.apply((_SET_STATUS, STATUS_CODES[status]), time_ns)

    def refresh_guards(self) -> None:
        """Let the book run stepwise exactly while it holds lists."""
        if self.book.settings.stepwise is not bool(self.lists):
            self.book.configure(book_settings(self.instrument, stepwise=bool(self.lists)))

    def dump(self) -> MarketState:
        """The whole state."""
        return MarketState(
            instrument=self.instrument,
            book=self.book.dump(),
            accounts=list(self.accounts),
            holdings=list(self.holdings.values()),
            ended=list(self.ended.items()),
            sequence=self.sequence,
            placed=self.placed,
            rejected=self.rejected,
            trades=self.trades,
            day=self.day,
            minutes=list(self.statistics.minutes),
            lists=self.lists.dump(),
            owed=list(self.owed),
        )

    @classmethod
    def of(cls, state: MarketState) -> Market:
        """The market that ``dump`` wrote down."""
        market = cls(state.instrument)
        market.book.load(state.book)
        market.accounts = {account: number for number, account in enumerate(state.accounts, start=1)}
        market.holdings = {holding.order_id: holding for holding in state.holdings}
        market.ended = OrderedDict(state.ended)
        market.sequence, market.trades, market.day = state.sequence, state.trades, state.day
        market.placed, market.rejected = state.placed, state.rejected
        market.statistics = RollingDay(state.minutes)
        market.lists, market.owed = Lists(state.lists), list(state.owed)
        market.refresh_guards()
        return market


def _expire_ns(request: OrderRequest, time_ns: int) -> int:
    """When the time of a GTD or DAY order runs out, 0 for never. A DAY order ends at the next midnight UTC."""
    if request.time_in_force is _GTD:
        return request.expire_time_ns
    return 0 if request.type is OrderType.MARKET else (time_ns // DAY_NS + 1) * DAY_NS
