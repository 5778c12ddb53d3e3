"""The matching core: reports, fills and fees, levels, and time."""

from __future__ import annotations

from itertools import product

import pytest
from tests.unit.matching.bench import NOON, SYMBOL, amend, core_with_book, instrument, only, place, remove, spoken

from polaris_synapse.bus.core import SnapshotError, UnexpectedMessageError
from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import (
    BookChanged,
    HostStarted,
    ListInstrument,
    OrderReport,
    SetInstrumentStatus,
    Tick,
    TopOfBook,
    TradePrinted,
)
from polaris_synapse.domain.orders import (
    Liquidity,
    Order,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderType,
    PostOnly,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.port import TRADING, BookOrder, CommandRow, EventRow

MIDNIGHT = NOON + 12 * 3600 * 10**9
BUY, SELL = Side.BUY, Side.SELL


class _Written:
    """A book that writes down the row it is given, and does nothing."""

    status = TRADING

    def __init__(self) -> None:
        self.row: CommandRow = ()

    def apply(self, row: CommandRow) -> list[EventRow]:
        """No events."""
        self.row = row
        return []


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("kind", list(OrderType))
@pytest.mark.parametrize("force", list(TimeInForce))
def test_an_order_becomes_the_row_that_its_fields_make(side: Side, kind: OrderType, force: TimeInForce) -> None:
    """Column by column what BookOrder packs; DAY ends at midnight, GTD when it says, and money is counted in steps."""
    core, written = core_with_book(), _Written()
    market = core.markets[SYMBOL]
    market.book = written  # type: ignore[assignment]  # it writes down what it is told
    for number, (post, prevention) in enumerate(product(PostOnly, SelfTradePrevention), start=1):
        amount = 10**18 + 7 if kind is OrderType.MARKET and number % 2 else 0
        request = OrderRequest(
            account=f"account-{number}", client_order_id="c", symbol=SYMBOL, side=side, type=kind, time_in_force=force,
            post_only=post, self_trade_prevention=prevention, quote_amount_units=amount, display_lots=3,
            min_quantity_lots=2, trailing_offset_ticks=70, trailing_offset_bps=number % 3, expire_time_ns=NOON + 5,
        )  # fmt: skip
        order = Order(
            order_id=number, request=request, venue="internal", state=OrderState.APPROVED, quantity_lots=11,
            price_ticks=101, stop_price_ticks=99,
        )  # fmt: skip
        ends = {TimeInForce.GTD: NOON + 5, TimeInForce.DAY: 0 if kind is OrderType.MARKET else MIDNIGHT}
        expected = BookOrder(
            order_id=number, side=side, type=kind, time_in_force=force, post_only=post,
            self_trade_prevention=prevention, account=number, quantity_lots=0 if amount else 11, price_ticks=101,
            stop_price_ticks=99, display_lots=3, minimum_lots=2, trailing_offset_ticks=70,
            trailing_offset_bps=number % 3, quote_budget=amount // market.instrument.notional_multiplier,
            expire_time_ns=ends.get(force, 0),
        )  # fmt: skip
        assert market.place(order, NOON) == []
        assert written.row == expected.pack()


def test_only_internal_instruments_get_a_book() -> None:
    """An order for any other symbol is rejected, and its cancel and replacement are refused."""
    core = MatchingCore()
    core.apply(ListInstrument(time_ns=NOON, instrument=instrument(venue="paper")))
    assert core.markets == {}
    assert spoken(core.apply(place(1, BUY, 5, 100))) == ["1 REJECT SYMBOL_NOT_FOUND"]
    assert spoken(core.apply(remove(1))) == ["1 REJECT_CANCEL SYMBOL_NOT_FOUND"]
    assert spoken(core.apply(amend(1, 5, 100))) == ["1 REJECT_REPLACE SYMBOL_NOT_FOUND"]
    assert core.apply(SetInstrumentStatus(time_ns=NOON, symbol=SYMBOL, status=InstrumentStatus.HALTED)) == ()


def test_a_message_of_another_room_is_a_bug() -> None:
    """The core raises for a type that its inbox never carries."""
    with pytest.raises(UnexpectedMessageError):
        MatchingCore().apply(
            TopOfBook(time_ns=1, symbol="X", source="", sequence=1, bid_ticks=0, bid_lots=0, ask_ticks=0, ask_lots=0)
        )


def test_a_trade_reports_fills_to_both_sides_with_fees_from_what_each_receives() -> None:
    """The buyer pays in base, the seller in quote, each by its own rate and rounded up to the minor unit."""
    core = core_with_book()
    core.apply(place(1, SELL, 3, 6_000_001, account="maker"))
    out = core.apply(place(2, BUY, 2, 6_000_001, account="taker", time_ns=NOON + 5))
    assert spoken(out) == ["2 ACKNOWLEDGE", "1 PARTIAL_FILL", "2 FILL"]
    maker, taker = (report.fill for report in only(OrderReport, out)[1:])
    assert maker is not None
    assert taker is not None
    assert (maker.trade_id, taker.trade_id) == (f"{SYMBOL}-1", f"{SYMBOL}-1")
    assert (maker.liquidity, maker.fee_asset) == (Liquidity.MAKER, "USDT")
    # 2 lots of 0.00001 BTC at 60000.01 are 1.2000002 USDT; 0.05 % of that is 0.0006000001 USDT, rounded up.
    assert maker.fee_units == 60_001
    assert (taker.liquidity, taker.fee_asset, taker.fee_units) == (Liquidity.TAKER, "BTC", 2)
    assert (taker.simulated, taker.how) == (False, "matched on the desk's own book")
    [trade] = only(TradePrinted, out)
    assert (trade.trade_id, trade.price_ticks, trade.quantity_lots, trade.aggressor) == (1, 6_000_001, 2, BUY)
    assert (trade.maker_order_id, trade.taker_order_id) == (1, 2)
    assert {message.time_ns for message in out} == {NOON + 5}
    assert [report.account for report in only(OrderReport, out)] == ["taker", "maker", "taker"]


def test_a_rebate_is_a_negative_fee() -> None:
    """A maker with a negative rate receives money, rounded against it."""
    core = core_with_book(maker_fee_ppm=-100)
    core.apply(place(1, SELL, 3, 6_000_001))
    maker = only(OrderReport, core.apply(place(2, BUY, 2, 6_000_001)))[1]
    assert maker.fill is not None
    assert maker.fill.fee_units == -12_000


def test_a_market_order_by_quote_amount_says_its_total_at_its_end() -> None:
    """It spends no more than its amount; the last report carries the lots in all, filled or not."""
    core = core_with_book()
    core.apply(place(1, SELL, 5, 100))
    core.apply(place(2, SELL, 5, 110))
    unit = instrument().notional_multiplier
    out = core.apply(place(3, BUY, quote_amount_units=730 * unit + unit - 1))
    assert spoken(out) == ["3 ACKNOWLEDGE", "1 FILL", "3 PARTIAL_FILL", "2 PARTIAL_FILL", "3 FILL"]
    assert only(OrderReport, out)[-1].quantity_lots == 7
    out = core.apply(place(4, BUY, quote_amount_units=10_000 * unit))
    assert spoken(out)[-1] == "4 EXPIRE BOOK_NO_LIQUIDITY"
    assert only(OrderReport, out)[-1].quantity_lots == 3
    assert spoken(core.apply(place(5, BUY, quote_amount_units=unit - 1))) == ["5 REJECT ORDER_FIELDS_INVALID"]


def test_a_market_order_that_runs_out_of_book_says_what_did_not_trade() -> None:
    """The rest ends with BOOK_NO_LIQUIDITY and the detail names it."""
    core = core_with_book()
    core.apply(place(1, SELL, 5, 100))
    last = only(OrderReport, core.apply(place(2, BUY, 8)))[-1]
    assert (last.event, last.reason) == (OrderEvent.EXPIRE, Reason.BOOK_NO_LIQUIDITY)
    assert last.detail == "0.00003 BTC did not trade."


def test_levels_are_published_after_each_command_with_a_running_sequence() -> None:
    """Changed levels carry what is displayed now, 0 where a level is gone."""
    core = core_with_book()
    [first] = only(BookChanged, core.apply(place(1, BUY, 5, 100, display_lots=2)))
    assert (first.sequence, first.bids, first.asks) == (1, ((100, 2),), ())
    [second] = only(BookChanged, core.apply(place(2, SELL, 6, 100)))
    assert (second.sequence, second.bids, second.asks) == (2, ((100, 0),), ((100, 1),))
    assert only(BookChanged, core.apply(place(3, SELL, 1, type=OrderType.STOP, stop_price_ticks=90))) == []
    [third] = only(BookChanged, core.apply(remove(2)))
    assert (third.sequence, third.bids, third.asks) == (3, (), ((100, 0),))


def test_the_whole_book_is_said_when_the_host_starts() -> None:
    """Market data begins with empty books, so every level comes again."""
    core = core_with_book()
    core.apply(place(1, BUY, 5, 100))
    core.apply(place(2, SELL, 6, 101))
    [changed] = core.apply(HostStarted(time_ns=NOON + 1))
    assert changed == BookChanged(time_ns=NOON + 1, symbol=SYMBOL, sequence=3, bids=((100, 5),), asks=((101, 6),))
    assert core.levels(SYMBOL, 1) == ([(100, 5)], [(101, 6)])
    assert core.levels("nothing") == ([], [])


def test_a_replaced_stop_says_that_it_still_waits() -> None:
    """REPLACE is followed by ARM, and so is a refused replacement."""
    core = core_with_book()
    assert spoken(core.apply(place(1, SELL, 3, type=OrderType.STOP, stop_price_ticks=90))) == ["1 ARM"]
    out = core.apply(amend(1, 4, 0, 91))
    assert spoken(out) == ["1 REPLACE", "1 ARM"]
    replaced = only(OrderReport, out)[0]
    assert (replaced.quantity_lots, replaced.stop_price_ticks) == (4, 91)
    assert spoken(core.apply(amend(1, 0, 0, 91))) == ["1 REJECT_REPLACE REPLACE_INVALID", "1 ARM"]
    assert only(BookChanged, out) == []


def test_a_partly_filled_order_is_amended_by_its_total() -> None:
    """The report carries the new total, filled lots included."""
    core = core_with_book()
    core.apply(place(1, BUY, 5, 100))
    core.apply(place(2, SELL, 2, 100))
    out = core.apply(amend(1, 4, 100))
    assert spoken(out) == ["1 REPLACE"]
    assert only(OrderReport, out)[0].quantity_lots == 4
    assert only(BookChanged, out)[0].bids == ((100, 2),)
    out = core.apply(amend(1, 9, 101))
    assert only(OrderReport, out)[0].quantity_lots == 9
    assert sorted(only(BookChanged, out)[0].bids) == [(100, 0), (101, 7)]


def test_a_cancel_that_comes_too_late_is_refused_to_the_right_account() -> None:
    """The core still names the account of an order that has just ended."""
    core = core_with_book()
    core.apply(place(1, BUY, 5, 100))
    assert spoken(core.apply(remove(1))) == ["1 CANCEL"]
    [report] = only(OrderReport, core.apply(remove(1)))
    assert (report.event, report.reason, report.account) == (
        OrderEvent.REJECT_CANCEL,
        Reason.BOOK_UNKNOWN_ORDER,
        "account-1",
    )


def test_the_same_order_twice_has_one_effect() -> None:
    """A repeated PlaceOrder says nothing, also after the order has ended."""
    core = core_with_book()
    core.apply(place(1, BUY, 5, 100))
    state = core.state_hash()
    assert core.apply(place(1, BUY, 5, 100)) == []
    assert core.state_hash() == state
    core.apply(remove(1))
    assert core.apply(place(1, BUY, 5, 100)) == []


def test_lots_taken_off_to_prevent_a_self_trade_are_reported_with_the_new_total() -> None:
    """DECREMENT lowers the total of the order that stays; the other one ends."""
    core = core_with_book()
    core.apply(place(1, SELL, 5, 100, account="a"))
    out = core.apply(place(2, BUY, 2, 100, account="a", self_trade_prevention=SelfTradePrevention.DECREMENT))
    assert spoken(out) == [
        "2 ACKNOWLEDGE",
        "1 ACKNOWLEDGE BOOK_SELF_TRADE_PREVENTED",
        "2 EXPIRE BOOK_SELF_TRADE_PREVENTED",
    ]
    assert only(OrderReport, out)[1].quantity_lots == 3


def test_a_repriced_order_reports_the_price_it_rests_at() -> None:
    """A post-only order that moved behind the far side says where it stands."""
    core = core_with_book()
    core.apply(place(1, SELL, 5, 100))
    out = core.apply(place(2, BUY, 2, 105, post_only=PostOnly.REPRICE))
    assert spoken(out) == ["2 ACKNOWLEDGE", "2 ACKNOWLEDGE"]
    last = only(OrderReport, out)[-1]
    assert (last.price_ticks, last.detail) == (99, "Asked for 1.05, rests at 0.99.")


def test_orders_end_by_date_and_at_midnight() -> None:
    """GTD ends at its time, DAY at the next 00:00 UTC, as a Tick says that it is so."""
    core = core_with_book()
    core.apply(place(1, BUY, 5, 100, time_in_force=TimeInForce.GTD, expire_time_ns=NOON + 10))
    core.apply(place(2, BUY, 5, 100, time_in_force=TimeInForce.DAY))
    core.apply(place(3, BUY, 5, 100, time_in_force=TimeInForce.DAY, time_ns=MIDNIGHT))
    assert core.apply(Tick(time_ns=NOON + 9)) == []
    out = core.apply(Tick(time_ns=NOON + 10))
    assert spoken(out) == ["1 EXPIRE BOOK_EXPIRED"]
    assert only(BookChanged, out)[0].bids == ((100, 10),)
    assert spoken(core.apply(Tick(time_ns=MIDNIGHT))) == ["2 EXPIRE BOOK_EXPIRED"]
    assert spoken(core.apply(place(4, BUY, 5, time_in_force=TimeInForce.DAY))) == [
        "4 ACKNOWLEDGE",
        "4 EXPIRE BOOK_NO_LIQUIDITY",
    ]


def test_an_auction_reports_fills_and_the_levels_that_it_took() -> None:
    """The call trades at one price and takes lots from levels at others."""
    core = core_with_book(status=InstrumentStatus.AUCTION)
    core.apply(place(1, BUY, 10, 103))
    core.apply(place(2, SELL, 4, 100))
    core.apply(place(3, SELL, 9, 104))
    out = core.apply(SetInstrumentStatus(time_ns=NOON, symbol=SYMBOL, status=InstrumentStatus.TRADING))
    assert spoken(out) == ["1 PARTIAL_FILL", "2 FILL"]
    [changed] = only(BookChanged, out)
    assert (changed.bids, changed.asks) == (((103, 6),), ((100, 0),))
    fill = only(OrderReport, out)[0].fill
    assert fill is not None
    assert (fill.price_ticks, fill.how) == (103, "matched in a call auction on the desk's own book")


def test_a_volatility_interruption_ends_by_time_or_by_hand() -> None:
    """The instrument's guard stops trading; a Tick after its time, or TRADING again, calls and goes on."""
    for reopen in (
        Tick(time_ns=NOON + 30 * 10**9),
        SetInstrumentStatus(time_ns=NOON, symbol=SYMBOL, status=InstrumentStatus.TRADING),
    ):
        core = core_with_book(interruption_ppm=10_000, interruption_seconds=30)
        core.apply(Tick(time_ns=NOON))
        core.apply(place(1, SELL, 1, 1000))
        core.apply(place(2, BUY, 1, 1000))
        core.apply(place(3, SELL, 5, 1100))
        assert spoken(core.apply(place(4, BUY, 5, 1100))) == ["4 ACKNOWLEDGE"]
        assert core.apply(Tick(time_ns=NOON + 29 * 10**9)) == []
        assert spoken(core.apply(reopen)) == ["3 FILL", "4 FILL"]


def test_the_price_band_moves_to_the_last_price_at_midnight() -> None:
    """An order outside the day's band is rejected; the next day's band lies around the last trade."""
    core = core_with_book(price_band_ppm=100_000)
    core.apply(Tick(time_ns=NOON))
    core.apply(place(1, SELL, 1, 1000))
    core.apply(place(2, BUY, 1, 1000))
    assert spoken(core.apply(place(3, SELL, 1, 1101))) == ["3 REJECT BOOK_PRICE_BAND"]
    core.apply(place(4, SELL, 1, 1100))
    core.apply(place(5, BUY, 1, 1100))
    core.apply(Tick(time_ns=MIDNIGHT))
    assert spoken(core.apply(place(6, SELL, 1, 1101))) == ["6 ACKNOWLEDGE"]


def test_an_instrument_listed_again_takes_new_fees_but_no_new_steps() -> None:
    """Fees, guards and status follow; a different tick, which risk refuses, changes nothing here."""
    core = core_with_book()
    core.apply(ListInstrument(time_ns=NOON, instrument=instrument(taker_fee_ppm=7, status=InstrumentStatus.HALTED)))
    assert core.markets[SYMBOL].instrument.taker_fee_ppm == 7
    assert spoken(core.apply(place(1, BUY, 1, 100))) == ["1 REJECT BOOK_NOT_OPEN"]
    before = core.state_hash()
    core.apply(ListInstrument(time_ns=NOON, instrument=instrument(tick_units=10_000_000)))
    assert core.state_hash() == before


def test_statistics_cover_24_hours() -> None:
    """A trade counts for a day and then no longer."""
    core = core_with_book()
    core.apply(place(1, SELL, 9, 100))
    core.apply(place(2, SELL, 9, 105))
    core.apply(place(3, BUY, 12, 105))
    day = core.markets[SYMBOL].statistics.summary()
    assert (day.open_ticks, day.high_ticks, day.low_ticks, day.close_ticks) == (100, 105, 100, 105)
    assert (day.volume_lots, day.turnover, day.trades) == (12, 900 + 315, 2)
    core.apply(Tick(time_ns=NOON + 86_400 * 10**9))
    assert core.markets[SYMBOL].statistics.summary().trades == 0


def test_bytes_that_are_no_snapshot_are_refused() -> None:
    """A core says so instead of starting with half a state."""
    with pytest.raises(SnapshotError):
        MatchingCore().restore(b"\x00nothing")
