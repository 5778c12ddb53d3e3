"""The paper exchange, case by case, with the numbers that people see on its fills."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.execution.paper_market import BTCUSDT, SECOND_NS, PaperMarketByHand, events

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.orders import Liquidity, OrderEvent, OrderState, OrderType, PostOnly, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

E = OrderEvent
BUY, SELL = Side.BUY, Side.SELL


def test_a_market_order_takes_level_by_level() -> None:
    """A market order takes displayed liquidity best price first and says so on each fill."""
    market = PaperMarketByHand(asks=((102, 3), (103, 4), (105, 50)))
    reports = market.submit(1, BUY, 10)
    assert [(f.price_ticks, f.quantity_lots) for f in market.fills(1)] == [(102, 3), (103, 4), (105, 3)]
    assert events(reports) == [E.PARTIAL_FILL, E.PARTIAL_FILL, E.FILL]
    assert [fill.how for fill in market.fills(1)] == [
        "took 0.00003 at 1.02 of 0.00003 displayed",
        "took 0.00004 at 1.03 of 0.00004 displayed",
        "took 0.00003 at 1.05 of 0.0005 displayed",
    ]
    assert all(fill.simulated and fill.liquidity is Liquidity.TAKER for fill in market.fills(1))


def test_fees_are_taken_from_what_is_received_and_rounded_up() -> None:
    """A buyer pays in base, a seller in quote, each rounded up to a minor unit."""
    market = PaperMarketByHand()
    market.submit(1, BUY, 3)
    market.submit(2, SELL, 3)
    (bought,), (sold,) = market.fills(1), market.fills(2)
    assert (bought.fee_asset, bought.fee_units) == ("BTC", 3)
    assert (sold.fee_asset, sold.fee_units) == ("USDT", -(-BTCUSDT.notional_units(100, 3) * 1000 // 1_000_000))


def test_liquidity_is_taken_once() -> None:
    """What one paper order took is not there for the next, until the real level changes."""
    market = PaperMarketByHand(asks=((102, 10), (104, 10)))
    market.submit(1, BUY, 8)
    market.submit(2, BUY, 8)
    assert [(f.price_ticks, f.quantity_lots) for f in market.fills(2)] == [(102, 2), (104, 6)]
    assert market.fills(2)[0].how == ("took 0.00002 at 1.02 of 0.0001 displayed; 0.00008 already taken by paper orders")
    market.book(asks=((102, 13),))
    market.submit(3, BUY, 10)
    assert [(f.price_ticks, f.quantity_lots) for f in market.fills(3)] == [(102, 3), (104, 4)]


def test_a_decrease_is_first_of_what_was_taken() -> None:
    """When the real level shrinks, the consumed part is taken to have gone first."""
    market = PaperMarketByHand(asks=((102, 10),))
    market.submit(1, BUY, 4)
    market.book(asks=((102, 7),))
    market.submit(2, BUY, 10)
    assert market.filled(2) == 6


def test_a_level_that_went_and_came_is_new() -> None:
    """A level that disappears takes its consumed part with it; a resync alone refreshes nothing."""
    market = PaperMarketByHand(asks=((102, 10),))
    market.submit(1, BUY, 10)
    market.book(bids=((100, 50),), asks=((102, 10),), snapshot=True)
    market.submit(2, BUY, 10)
    assert market.filled(2) == 0
    market.book(asks=((102, 0),))
    market.book(asks=((102, 10),))
    market.submit(3, BUY, 10)
    assert market.filled(3) == 10


@pytest.mark.parametrize("type_, price", [(None, 0), (None, 101)], ids=["market", "limit"])
def test_nothing_to_take(type_: OrderType | None, price: int) -> None:
    """A market order without liquidity expires with BOOK_NO_LIQUIDITY; an IOC limit with its own reason."""
    market = PaperMarketByHand(asks=())
    (report,) = market.submit(1, BUY, 10, price, type_=type_, time_in_force=TimeInForce.IOC)
    expected = Reason.BOOK_IMMEDIATE_REMAINDER if price else Reason.BOOK_NO_LIQUIDITY
    assert (report.event, report.reason) == (E.EXPIRE, expected)


def test_immediate_or_cancel_ends_with_what_it_got() -> None:
    """IOC fills what it can and its rest expires."""
    market = PaperMarketByHand(asks=((102, 4), (103, 50)))
    reports = market.submit(1, BUY, 10, 102, time_in_force=TimeInForce.IOC)
    assert events(reports) == [E.PARTIAL_FILL, E.EXPIRE]
    assert market.filled(1) == 4


@pytest.mark.parametrize("lots, expected", [(54, [E.PARTIAL_FILL, E.FILL]), (55, [E.EXPIRE])])
def test_fill_or_kill(lots: int, expected: list[OrderEvent]) -> None:
    """FOK fills wholly within its limit or not at all, and takes nothing when not."""
    market = PaperMarketByHand(asks=((102, 4), (103, 50), (104, 50)))
    reports = market.submit(1, BUY, lots, 103, time_in_force=TimeInForce.FOK)
    assert events(reports) == expected
    if expected == [E.EXPIRE]:
        assert reports[0].reason is Reason.BOOK_FILL_OR_KILL_UNFILLABLE
        market.submit(2, BUY, 54, 103)
        assert market.filled(2) == 54


def test_a_minimum_quantity_must_fill_at_once() -> None:
    """An order whose minimum the book cannot give expires untouched."""
    market = PaperMarketByHand(asks=((102, 4),))
    (report,) = market.submit(1, BUY, 10, 102, min_quantity_lots=5)
    assert (report.event, report.reason) == (E.EXPIRE, Reason.BOOK_MIN_QUANTITY_UNMET)


@pytest.mark.parametrize("side", [BUY, SELL])
def test_a_quote_amount_is_spent_at_most(side: Side) -> None:
    """A market order by amount trades as many lots as the amount covers and never more."""
    market = PaperMarketByHand(bids=((100, 3), (90, 50)), asks=((102, 3), (110, 50)))
    amount = BTCUSDT.notional_units(102, 3) + BTCUSDT.notional_units(110, 2) + 5
    reports = market.submit(1, side, 0, quote_amount_units=amount)
    spent = sum(BTCUSDT.notional_units(f.price_ticks, f.quantity_lots) for f in market.fills(1))
    assert amount - BTCUSDT.notional_units(110, 1) < spent <= amount
    assert reports[-1].event is E.FILL
    assert reports[-1].quantity_lots == market.filled(1)


def test_a_quote_amount_that_the_book_cannot_use_up_expires() -> None:
    """What is left of the amount when the book is empty expires, with the total traded; too little is rejected."""
    market = PaperMarketByHand(asks=((102, 3),))
    reports = market.submit(1, BUY, 0, quote_amount_units=10**15)
    assert (reports[-1].event, reports[-1].reason, reports[-1].quantity_lots) == (E.EXPIRE, Reason.BOOK_NO_LIQUIDITY, 3)
    market.book(asks=((102, 9),))
    (report,) = market.submit(2, BUY, 0, quote_amount_units=1)
    assert (report.event, report.reason) == (E.REJECT, Reason.NOTIONAL_TOO_SMALL)


def test_a_resting_order_waits_for_its_turn() -> None:
    """What was displayed on arrival trades first; the note on the fill has the numbers."""
    market = PaperMarketByHand(bids=((100, 50),))
    assert events(market.submit(1, BUY, 10, 100)) == [E.ACKNOWLEDGE]
    assert market.trade(100, 30, SELL) == []
    market.book(bids=((100, 20),))
    assert market.filled(1) == 0
    market.trade(100, 24, SELL)
    assert market.filled(1) == 4
    (fill,) = market.fills(1)
    assert (fill.price_ticks, fill.liquidity) == (100, Liquidity.MAKER)
    assert fill.how == "queue: 0.0005 ahead on arrival, 0.00054 traded since"
    market.trade(100, 100, BUY)
    assert market.filled(1) == 4


def test_cancels_ahead_move_an_order_up_in_proportion() -> None:
    """A decrease that no trade explains takes from ahead only the share that was ahead."""
    market = PaperMarketByHand(bids=((100, 40),))
    market.submit(1, BUY, 10, 100)
    market.book(bids=((100, 80),))
    market.book(bids=((100, 40),))
    order = market.exchange.find("ps0-1")
    assert order is not None
    assert order.ahead_lots == 20


def test_one_trade_is_shared_among_paper_orders() -> None:
    """Two paper orders at a price get no more of a trade than it had, the earlier one first."""
    market = PaperMarketByHand(bids=())
    market.submit(1, BUY, 10, 100)
    market.submit(2, BUY, 10, 100)
    market.trade(100, 14, SELL)
    assert (market.filled(1), market.filled(2)) == (10, 4)


def test_a_trade_through_fills_up_to_its_size() -> None:
    """A trade beyond the order's price fills it at its own price, whatever was ahead, up to the trade's size."""
    market = PaperMarketByHand(bids=((100, 50), (99, 50)))
    market.submit(1, BUY, 10, 100)
    market.trade(99, 6, SELL)
    (fill,) = market.fills(1)
    assert (fill.price_ticks, fill.quantity_lots) == (100, 6)
    assert "0.00006 traded at 0.99, through this order's price" in fill.how


def test_the_other_side_coming_to_the_order_fills_it() -> None:
    """An ask that comes to a resting bid fills it at the bid's price, once, up to what is displayed."""
    market = PaperMarketByHand(asks=((105, 50),))
    market.submit(1, BUY, 10, 101)
    market.book(asks=((101, 4),))
    market.book(asks=((101, 4),))
    assert market.filled(1) == 4
    assert market.fills(1)[0].price_ticks == 101
    market.book(asks=((100, 50),))
    assert market.filled(1) == 10


def test_paper_orders_do_not_meet_each_other() -> None:
    """A paper bid and a paper ask that cross rest side by side: they trade with the real book only."""
    market = PaperMarketByHand(bids=(), asks=())
    market.submit(1, BUY, 10, 101)
    market.submit(2, SELL, 10, 100)
    assert events(market.reports) == [E.ACKNOWLEDGE, E.ACKNOWLEDGE]


@pytest.mark.parametrize("post_only, expected", [(PostOnly.REJECT, [E.REJECT]), (PostOnly.REPRICE, [E.ACKNOWLEDGE])])
def test_post_only(post_only: PostOnly, expected: list[OrderEvent]) -> None:
    """A post-only order that would take is turned away or put one tick behind the far side."""
    market = PaperMarketByHand()
    (report,) = market.submit(1, BUY, 10, 103, post_only=post_only)
    assert [report.event] == expected
    if post_only is PostOnly.REJECT:
        assert report.reason is Reason.BOOK_POST_ONLY_WOULD_TAKE
    else:
        assert report.price_ticks == 101


def test_a_reduction_keeps_the_place_and_everything_else_loses_it() -> None:
    """Less quantity keeps the queue position; more, or another price, goes to the back."""
    market = PaperMarketByHand(bids=((100, 50), (99, 7)))
    market.submit(1, BUY, 10, 100)
    market.trade(100, 30, SELL)
    assert events(market.replace(1, 8, 100)) == [E.REPLACE]
    order = market.exchange.find("ps0-1")
    assert order is not None
    assert order.ahead_lots == 20
    market.replace(1, 9, 100)
    assert order.ahead_lots == 50
    market.replace(1, 9, 99)
    assert order.ahead_lots == 7


def test_a_replacement_may_take() -> None:
    """A price moved through the market takes at once."""
    market = PaperMarketByHand()
    market.submit(1, BUY, 10, 100)
    assert events(market.replace(1, 10, 102)) == [E.REPLACE, E.FILL]


def test_replacements_that_are_refused() -> None:
    """Nothing below what has filled, nothing post-only through the market, nothing of an unknown order."""
    market = PaperMarketByHand(bids=())
    market.submit(1, BUY, 10, 100, post_only=PostOnly.REJECT)
    market.trade(100, 4, SELL)
    assert market.replace(1, 4, 100)[0].reason is Reason.REPLACE_INVALID
    assert market.replace(1, 10, 102)[0].reason is Reason.BOOK_POST_ONLY_WOULD_TAKE
    assert market.replace(7, 10, 102)[0].reason is Reason.BOOK_UNKNOWN_ORDER
    order = market.exchange.find("ps0-1")
    assert order is not None
    assert (order.quantity_lots, order.price_ticks) == (10, 100)


@pytest.mark.parametrize(
    "type_, side, stop, quiet, fires",
    [
        (OrderType.STOP, BUY, 105, 104, 105),
        (OrderType.STOP, SELL, 95, 96, 95),
        (OrderType.TAKE_PROFIT, BUY, 95, 96, 95),
        (OrderType.TAKE_PROFIT, SELL, 105, 104, 105),
        (OrderType.STOP_LIMIT, BUY, 105, 104, 106),
        (OrderType.TAKE_PROFIT_LIMIT, SELL, 105, 104, 106),
    ],
)
def test_triggers(type_: OrderType, side: Side, stop: int, quiet: int, fires: int) -> None:
    """Stops and take-profits wait for the last trade to reach them, then take like other orders."""
    market = PaperMarketByHand()
    market.trade(100, 1, SELL)
    price = (102 if side is BUY else 100) if type_ in (OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT) else 0
    assert events(market.submit(1, side, 10, price, type_=type_, stop_price_ticks=stop)) == [E.ARM]
    assert market.trade(quiet, 1, BUY) == []
    assert events(market.trade(fires, 1, BUY)) == [E.TRIGGER, E.FILL]


def test_a_trailing_stop_follows_the_market() -> None:
    """A SELL trailing stop fires at its distance below the highest trade since it was armed."""
    market = PaperMarketByHand()
    market.trade(100, 1, BUY)
    market.submit(1, SELL, 10, type_=OrderType.TRAILING_STOP, trailing_offset_ticks=5)
    for price in (103, 110, 106):
        assert market.trade(price, 1, BUY) == []
    assert events(market.trade(105, 1, SELL)) == [E.TRIGGER, E.FILL]


def test_a_stop_that_would_fire_at_once_is_rejected() -> None:
    """A stop price that the last trade has reached already is refused."""
    market = PaperMarketByHand()
    market.trade(100, 1, BUY)
    (report,) = market.submit(1, BUY, 10, type_=OrderType.STOP, stop_price_ticks=99)
    assert (report.event, report.reason) == (E.REJECT, Reason.BOOK_TRIGGER_IMMEDIATE)


def test_an_armed_order_can_be_replaced_and_cancelled() -> None:
    """A waiting order takes a new stop price, and leaves when cancelled."""
    market = PaperMarketByHand()
    market.trade(100, 1, BUY)
    market.submit(1, BUY, 10, type_=OrderType.STOP, stop_price_ticks=105)
    assert events(market.replace(1, 5, 0, 110)) == [E.REPLACE, E.ARM]
    assert market.trade(106, 1, BUY) == []
    assert market.replace(1, 5, 0, 90)[0].reason is Reason.BOOK_TRIGGER_IMMEDIATE
    assert events(market.cancel(1)) == [E.CANCEL]
    assert market.trade(111, 1, BUY) == []


def test_time_runs_out() -> None:
    """GTD ends at its time, DAY at the next midnight UTC, and a time already past is refused."""
    market = PaperMarketByHand()
    market.submit(1, BUY, 10, 100, time_in_force=TimeInForce.GTD, expire_time_ns=market.now_ns + 5 * SECOND_NS)
    market.submit(2, BUY, 10, 100, time_in_force=TimeInForce.DAY)
    assert market.wait(4) == []
    (report,) = market.wait(1)
    assert (report.order_id, report.event, report.reason) == (1, E.EXPIRE, Reason.BOOK_EXPIRED)
    (report,) = market.wait(86_400)
    assert report.order_id == 2
    (report,) = market.submit(3, BUY, 10, 100, time_in_force=TimeInForce.GTD, expire_time_ns=market.now_ns)
    assert (report.event, report.reason) == (E.REJECT, Reason.BOOK_EXPIRED)


@pytest.mark.parametrize("price", [0, 102])
def test_an_unusable_book_takes_no_marketable_orders(price: int) -> None:
    """While the book is not healthy, what would take is rejected with the cause; what rests may rest."""
    market = PaperMarketByHand()
    market.health(False)
    (report,) = market.submit(1, BUY, 10, price)
    assert (report.event, report.reason) == (E.REJECT, Reason.VENUE_UNAVAILABLE)
    assert "stale" in report.detail
    assert events(market.submit(2, BUY, 10, 99)) == [E.ACKNOWLEDGE]
    market.book(asks=((99, 10),))
    assert market.filled(2) == 0
    market.health(True)
    assert market.filled(2) == 10


def test_without_a_book_nothing_is_taken() -> None:
    """Before the first snapshot every order is rejected."""
    market = PaperMarketByHand(snapshot=False)
    (report,) = market.submit(1, BUY, 10, 50)
    assert (report.event, report.reason) == (E.REJECT, Reason.VENUE_UNAVAILABLE)
    market.book(bids=((100, 5),), asks=((102, 5),), snapshot=True)
    market.exchange.distrust_books("market data was missed")
    (report,) = market.submit(2, BUY, 10, 50)
    assert "market data was missed" in report.detail


def test_requests_that_do_not_fit_are_refused() -> None:
    """Unknown symbols, halted instruments and fields that do not fit have their reasons."""
    market = PaperMarketByHand()
    assert market.submit(1, symbol="NONE")[0].reason is Reason.SYMBOL_NOT_FOUND
    assert market.submit(2, BUY, 0)[0].reason is Reason.ORDER_FIELDS_INVALID
    assert market.submit(3, BUY, 5, type_=OrderType.TRAILING_STOP)[0].reason is Reason.ORDER_FIELDS_INVALID
    market.exchange.list_instrument(msgspec.structs.replace(BTCUSDT, status=InstrumentStatus.HALTED))
    assert market.submit(4)[0].reason is Reason.BOOK_NOT_OPEN


def test_an_iceberg_shows_its_slices() -> None:
    """An iceberg fills a slice at a time; after each the next joins at the back of the level."""
    market = PaperMarketByHand(bids=())
    market.submit(1, BUY, 10, 100, display_lots=4)
    market.trade(100, 9, SELL)
    assert market.filled(1) == 4
    market.book(bids=((100, 20),))
    market.trade(100, 4, SELL)
    assert market.filled(1) == 8


def test_a_cancel_of_an_unknown_order_is_refused() -> None:
    """A second cancel finds nothing."""
    market = PaperMarketByHand()
    market.submit(1, BUY, 10, 100)
    assert events(market.cancel(1)) == [E.CANCEL]
    (report,) = market.cancel(1)
    assert (report.event, report.reason) == (E.REJECT_CANCEL, Reason.BOOK_UNKNOWN_ORDER)


def test_restored_orders_wait_at_the_back_and_say_so() -> None:
    """After a restart an order queues behind the whole level, and its fills mention it."""
    before = PaperMarketByHand(bids=((100, 2),))
    before.submit(1, BUY, 10, 100)
    before.submit(2, BUY, 10, type_=OrderType.STOP, stop_price_ticks=105)
    after = PaperMarketByHand(snapshot=False)
    after.exchange.restore(before.stored.values())
    after.trade(100, 50, SELL)
    assert after.filled(1) == 0
    after.book(bids=((100, 30),), asks=((102, 30),), snapshot=True)
    after.trade(100, 33, SELL)
    (fill,) = after.fills(1)
    assert fill.quantity_lots == 3
    assert "restart" in fill.how
    assert "0.0003 ahead" in fill.how
    assert events(after.trade(105, 1, BUY)) == [E.TRIGGER, E.FILL]


def test_a_used_id_of_an_open_order_is_a_bug_of_the_caller() -> None:
    """The venue keeps ids apart before it calls; the exchange does not guess."""
    market = PaperMarketByHand()
    market.submit(1, BUY, 10, 100)
    with pytest.raises(ValueError, match="in use"):
        market.submit(1, BUY, 10, 100)


def test_the_stored_order_is_the_reported_one() -> None:
    """What is handed to the store has the state, the quantity and the fills that were reported."""
    market = PaperMarketByHand(asks=((102, 4),))
    market.submit(1, BUY, 10, 102)
    stored = market.stored["ps0-1"]
    assert (stored.state, stored.filled_lots, stored.open_lots) == (OrderState.PARTIALLY_FILLED, 4, 6)
