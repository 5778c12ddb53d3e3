"""The life of an order in risk: idempotence, reservations, cancels, replacements, and reports that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from tests.unit.risk.bench import ONE, Bench, of_type, ready, usdt

from polaris_synapse.domain.messages import (
    AmendOrder,
    Answer,
    BalanceChanged,
    CancelAll,
    CancelOrder,
    ExecuteCancel,
    ExecuteOrder,
    ExecuteReplace,
    ExecutionRecorded,
    KillLevel,
    LedgerPosted,
    LimitBreached,
    OrderReport,
    OrderUpdated,
    PlaceOrder,
    RemoveOrder,
    ReplaceOrder,
)
from polaris_synapse.domain.orders import Order, OrderEvent, OrderState, OrderType, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import RiskCore


def reserved(bench: Bench, asset: str = "USDT", account: str = "alice") -> int:
    """What an account has reserved of an asset; the invariants hold as well."""
    assert bench.core.check() == []
    return bench.core._desk.state.accounts[account].balances[asset].reserved_units


def cancel(bench: Bench, order: Order, **changes: Any) -> Answer:
    """Cancel an order by id."""
    command = CancelOrder(time_ns=bench.now, account=order.request.account, order_id=order.order_id)
    return bench.ask(structs.replace(command, **changes))


def replace(bench: Bench, order: Order, **values: Any) -> Answer:
    """Replace an order by id."""
    return bench.ask(ReplaceOrder(time_ns=bench.now, account="alice", order_id=order.order_id, **values))


def state_of(bench: Bench, order: Order) -> OrderState:
    """The order's state now."""
    return bench.core._desk.orders[order.order_id].order.state


def test_the_same_order_again_is_answered_with_the_order_that_exists() -> None:
    """A repetition has no effect and says so, even while the kill switch is on; other content is refused."""
    bench = ready()
    request = bench.request()
    first = bench.submit(request)
    bench.kill(KillLevel.CANCEL_ALL)
    again = bench.submit(request)
    assert (again.reason, again.duplicate) == (Reason.NONE, True)
    assert again.order is not None
    assert first.order is not None
    assert again.order.order_id == first.order.order_id
    bench.kill(KillLevel.OFF)
    other = bench.submit(structs.replace(request, quantity_lots=999))
    assert (other.reason, other.duplicate) == (Reason.DUPLICATE_CLIENT_ORDER_ID, False)


def test_client_order_ids_are_unique_for_ever_also_after_the_order_left_memory() -> None:
    """Closed orders are forgotten but for their id and a digest, which still tell a repetition from another order."""
    bench = ready(RiskCore(closed_orders_max=2))
    request = bench.request(client_order_id="old")
    old = bench.accepted(request=request)
    bench.report(old, OrderEvent.CANCEL)
    for _ in range(5):
        bench.report(bench.accepted(), OrderEvent.CANCEL)
    again = bench.submit(request)
    assert (again.reason, again.duplicate, again.order, again.order_ids) == (Reason.NONE, True, None, (old.order_id,))
    assert bench.submit(structs.replace(request, quantity_lots=1)).reason is Reason.DUPLICATE_CLIENT_ORDER_ID
    found = bench.ask(CancelOrder(time_ns=bench.now, account="alice", client_order_id="old"))
    assert (found.reason, found.order_ids) == (Reason.ORDER_NOT_OPEN, (old.order_id,))
    late = bench.fill(old, 10, 60_000)
    assert [breach.reason for breach in of_type(late, LimitBreached)] == [Reason.ORDER_NOT_FOUND]
    assert of_type(late, LedgerPosted) == []


def test_orders_go_to_the_core_of_their_venue() -> None:
    """Internal orders go to matching, the others to execution, each with the proof of approval."""
    bench = ready()
    bench.submit(symbol="BTCUSDT.INT")
    (placed,) = of_type(bench.history, PlaceOrder)
    bench.submit()
    (executed,) = of_type(bench.history, ExecuteOrder)
    assert placed.approved.subject.order_id % 1024 == executed.approved.subject.order_id % 1024 == 0
    assert placed.approved.subject.state is OrderState.APPROVED


def test_order_ids_tell_their_partition() -> None:
    """Two partitions never give the same order id."""
    bench = ready(RiskCore(partition=7))
    assert bench.accepted().order_id == 1 * 1024 + 7
    assert bench.accepted().order_id == 2 * 1024 + 7


def test_a_reservation_shrinks_with_fills_and_ends_with_the_order() -> None:
    """A better price gives the difference back at once, and the end gives back the rest."""
    bench = ready()
    order = bench.accepted(lots=1_000, price=60_000)
    assert reserved(bench) == usdt(600)
    bench.fill(order, 400, 59_000)
    assert reserved(bench) == usdt(360)
    bench.report(order, OrderEvent.EXPIRE)
    assert reserved(bench) == 0
    assert state_of(bench, order) is OrderState.EXPIRED
    sell = bench.accepted(side=Side.SELL, lots=1_000)
    assert reserved(bench, "BTC") == ONE // 100
    bench.fill(sell, 1_000, 60_000)
    assert (reserved(bench, "BTC"), state_of(bench, sell)) == (0, OrderState.FILLED)


def test_market_orders_reserve_for_the_worst_price_and_by_amount() -> None:
    """A BUY at the market reserves up to the collar, one by amount exactly the amount, a SELL by amount enough base."""
    bench = ready()
    market: dict[str, Any] = {"type": OrderType.MARKET, "price_ticks": 0}
    bench.accepted(lots=1_000, **market)
    assert reserved(bench) == usdt(630)
    amount = bench.accepted(quantity_lots=0, quote_amount_units=usdt(500), **market)
    assert reserved(bench) == usdt(1_130)
    bench.fill(amount, 800, 60_000)
    assert reserved(bench) == usdt(650)
    out = bench.report(amount, OrderEvent.CANCEL, quantity_lots=800)
    assert of_type(out, OrderUpdated)[0].order.quantity_lots == 800
    bench.accepted(side=Side.SELL, quantity_lots=0, quote_amount_units=usdt(570), **market)
    assert reserved(bench, "BTC") == ONE // 100


def test_an_unknown_outcome_keeps_its_reservation() -> None:
    """While nobody knows what became of an order its funds and lots stay held."""
    bench = ready()
    order = bench.accepted(lots=1_000)
    bench.report(order, OrderEvent.LOSE, reason=Reason.VENUE_UNKNOWN_OUTCOME)
    assert (reserved(bench), state_of(bench, order)) == (usdt(600), OrderState.UNKNOWN)
    assert bench.submit(lots=166_000).reason is Reason.INSUFFICIENT_FUNDS
    bench.report(order, OrderEvent.REJECT, reason=Reason.VENUE_ORDER_ABSENT)
    assert reserved(bench) == 0


def test_the_same_trade_twice_has_no_effect() -> None:
    """A repeated trade id on an order posts nothing and says nothing; the same id on another order is another side."""
    bench = ready()
    order = bench.accepted(lots=1_000)
    assert of_type(bench.fill(order, 100, 60_000, trade_id="t"), LedgerPosted)
    before = bench.core.state_hash()
    assert bench.fill(order, 100, 60_000, trade_id="t") == []
    assert bench.core.state_hash() == before
    assert of_type(bench.fill(bench.accepted(lots=1_000), 100, 60_000, trade_id="t"), LedgerPosted)


def test_fills_after_the_end_still_post() -> None:
    """Venues do report fills late; the money moved, so it is in the ledger and nothing is reserved again."""
    bench = ready()
    order = bench.accepted(lots=1_000)
    bench.report(order, OrderEvent.CANCEL)
    out = bench.fill(order, 300, 60_000)
    assert len(of_type(out, LedgerPosted)) == len(of_type(out, ExecutionRecorded)) == 1
    assert of_type(out, LimitBreached) == []
    assert (state_of(bench, order), reserved(bench)) == (OrderState.CANCELLED, 0)


def test_fills_that_overtake_each_other_end_the_order_once_all_are_there() -> None:
    """The last partial fill completes the order, whatever it was called, and a full order takes late partials."""
    bench = ready()
    order = bench.accepted(lots=1_000)
    bench.fill(order, 600, 60_000)
    bench.fill(order, 400, 60_000)
    assert state_of(bench, order) is OrderState.FILLED
    other = bench.accepted(lots=1_000)
    bench.fill(other, 400, 60_000, event=OrderEvent.FILL)
    out = bench.fill(other, 600, 60_000)
    assert of_type(out, LedgerPosted)
    assert of_type(out, LimitBreached) == []
    assert bench.core.check() == []


def test_more_filled_than_ordered_posts_and_stops_the_symbol() -> None:
    """Money that moved is posted; that the venue and the desk disagree trips the symbol's breaker."""
    bench = ready()
    order = bench.accepted(lots=1_000)
    out = bench.fill(order, 1_500, 60_000)
    assert of_type(out, LedgerPosted)[0].notional_units == usdt(900)
    assert [breach.reason for breach in of_type(out, LimitBreached)] == [Reason.VENUE_OVERFILL]
    assert bench.submit().reason is Reason.CIRCUIT_BREAKER
    assert reserved(bench) == 0


def test_reports_that_the_table_does_not_allow_change_no_state() -> None:
    """An impossible event is said and leaves the order alone; a repeated end says nothing at all."""
    bench = ready()
    order = bench.accepted()
    out = bench.report(order, OrderEvent.TRIGGER)
    assert [breach.reason for breach in of_type(out, LimitBreached)] == [Reason.INTERNAL_ERROR]
    assert state_of(bench, order) is OrderState.APPROVED
    bench.report(order, OrderEvent.CANCEL)
    assert bench.report(order, OrderEvent.CANCEL) == []
    unknown = OrderReport(time_ns=1, order_id=5, account="alice", symbol="BTCUSDT", event=OrderEvent.CANCEL)
    assert bench.send(unknown) == []


def test_fills_beyond_what_was_free_are_posted_and_said_once() -> None:
    """A market order far through its collar may overdraw; the ledger says so and the account is named once."""
    bench = ready()
    order = bench.accepted(lots=150_000, type=OrderType.MARKET, price_ticks=0)
    out = bench.fill(order, 50_000, 63_000)
    assert of_type(out, LimitBreached) == []
    out = bench.fill(order, 90_000, 99_000)
    assert [breach.reason for breach in of_type(out, LimitBreached)] == [Reason.INSUFFICIENT_FUNDS]
    assert of_type(bench.fill(order, 100, 99_000), LimitBreached) == []
    assert bench.submit(lots=100).reason is Reason.INSUFFICIENT_FUNDS
    assert bench.core.check() == []


@pytest.mark.parametrize("symbol, kind", [("BTCUSDT", ExecuteCancel), ("BTCUSDT.INT", RemoveOrder)])
def test_cancel_asks_the_venue_and_waits_for_its_word(symbol: str, kind: type[ExecuteCancel | RemoveOrder]) -> None:
    """A cancel passes under every kill level, keeps the reservation until confirmed, and asks only once."""
    bench = ready()
    order = bench.accepted(symbol=symbol)
    bench.kill(KillLevel.NO_NEW_RISK)
    answer = cancel(bench, order)
    assert (answer.reason, answer.duplicate) == (Reason.NONE, False)
    assert len(of_type(bench.history, kind)) == 1
    assert (state_of(bench, order), reserved(bench)) == (OrderState.PENDING_CANCEL, usdt(600))
    assert cancel(bench, order).duplicate
    assert len(of_type(bench.history, kind)) == 1
    updated = of_type(bench.report(order, OrderEvent.CANCEL), OrderUpdated)[0].order
    assert (updated.state, updated.reason) == (OrderState.CANCELLED, Reason.CANCELLED_BY_USER)
    assert reserved(bench) == 0
    again = cancel(bench, order)
    assert again.reason is Reason.ORDER_NOT_OPEN
    assert again.order == updated


def test_cancel_finds_only_the_accounts_own_orders() -> None:
    """By order id or client order id; another account's order does not exist for this one."""
    bench = ready()
    bench.open_account("bob")
    order = bench.accepted()
    assert cancel(bench, order, account="bob").reason is Reason.ORDER_NOT_FOUND
    assert cancel(bench, order, account="nobody").reason is Reason.ORDER_NOT_FOUND
    assert cancel(bench, order, order_id=99).reason is Reason.ORDER_NOT_FOUND
    assert cancel(bench, order, order_id=0, client_order_id="none").reason is Reason.ORDER_NOT_FOUND
    found = cancel(bench, order, order_id=0, client_order_id=order.request.client_order_id)
    assert found.order_ids == (order.order_id,)


def test_cancel_all_takes_what_matches() -> None:
    """Account, symbol and side filter; the answer lists the orders that were asked to end."""
    bench = ready()
    bench.open_account("bob")
    bench.fund("USDT", usdt(10_000), "bob")
    buy = bench.accepted()
    sell = bench.accepted(side=Side.SELL)
    internal = bench.accepted(symbol="BTCUSDT.INT")
    bobs = bench.accepted(account="bob")
    sells = CancelAll(time_ns=bench.now, account="alice", symbol="BTCUSDT", side=Side.SELL)
    assert bench.ask(sells).order_ids == (sell.order_id,)
    assert bench.ask(CancelAll(time_ns=bench.now, account="alice")).order_ids == (buy.order_id, internal.order_id)
    assert bench.ask(CancelAll(time_ns=bench.now)).order_ids == (bobs.order_id,)
    assert bench.ask(CancelAll(time_ns=bench.now)).order_ids == ()
    assert bench.ask(CancelAll(time_ns=bench.now, account="nobody")).reason is Reason.ACCOUNT_NOT_FOUND
    assert bench.ask(CancelAll(time_ns=bench.now, symbol="NONE")).reason is Reason.SYMBOL_NOT_FOUND


@pytest.mark.parametrize("symbol, kind", [("BTCUSDT", ExecuteReplace), ("BTCUSDT.INT", AmendOrder)])
def test_replace_holds_the_larger_need_until_it_is_confirmed(
    symbol: str, kind: type[ExecuteReplace | AmendOrder]
) -> None:
    """Between request and answer an order reserves the maximum of old and new; then what is in force."""
    bench = ready()
    order = bench.accepted(lots=1_000, symbol=symbol)
    bench.report(order, OrderEvent.ACKNOWLEDGE)
    assert replace(bench, order, quantity_lots=500).reason is Reason.NONE
    assert reserved(bench) == usdt(600)
    wanted = of_type(bench.history, kind)[0]
    assert (wanted.quantity_lots, wanted.price_ticks) == (500, 6_000_000)
    bench.report(order, OrderEvent.REPLACE, quantity_lots=500, price_ticks=6_000_000)
    assert (reserved(bench), state_of(bench, order)) == (usdt(300), OrderState.WORKING)
    assert replace(bench, order, quantity_lots=2_000, price_ticks=6_100_000).reason is Reason.NONE
    assert reserved(bench) == usdt(1_220)
    bench.fill(order, 100, 60_000)
    assert reserved(bench) == usdt(1_159)
    bench.report(order, OrderEvent.REJECT_REPLACE, reason=Reason.REPLACE_INVALID)
    assert (reserved(bench), state_of(bench, order)) == (usdt(240), OrderState.PARTIALLY_FILLED)


def test_replace_is_checked_like_a_new_order() -> None:
    """Value, collar and funds count; only the difference to what is held needs to be free."""
    bench = ready()
    order = bench.accepted(lots=100_000)
    bench.report(order, OrderEvent.ACKNOWLEDGE)
    assert replace(bench, order, quantity_lots=160_000).reason is Reason.NONE
    bench.report(order, OrderEvent.REPLACE, quantity_lots=160_000)
    assert replace(bench, order, quantity_lots=170_000).reason is Reason.INSUFFICIENT_FUNDS
    assert replace(bench, order, price_ticks=7_000_000).reason is Reason.PRICE_OUTSIDE_COLLAR
    bench.limits(order_value_units_max=usdt(50_000))
    assert replace(bench, order, quantity_lots=150_000).reason is Reason.ORDER_VALUE_LIMIT
    bench.kill(KillLevel.NO_NEW_RISK)
    assert replace(bench, order, quantity_lots=170_000).reason is Reason.KILL_SWITCH
    bench.limits()
    assert replace(bench, order, quantity_lots=150_000).reason is Reason.NONE
    assert reserved(bench) == usdt(96_000)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"quantity_lots": 1_000},
        {"quantity_lots": 100},
        {"quantity_lots": -1},
        {"stop_price_ticks": 6_000_000},
    ],
)
def test_replacements_that_make_no_sense(values: dict[str, Any]) -> None:
    """Nothing to change, less than has filled, negative numbers and fields of other types are refused."""
    bench = ready()
    order = bench.accepted(lots=1_000)
    bench.fill(order, 100, 60_000)
    assert replace(bench, order, **values).reason is Reason.REPLACE_INVALID


def test_replace_needs_an_acknowledged_open_order() -> None:
    """On its way, unknown, ended or not there: each is said."""
    bench = ready()
    order = bench.accepted()
    assert replace(bench, order, quantity_lots=500).reason is Reason.REPLACE_INVALID
    bench.report(order, OrderEvent.LOSE)
    assert replace(bench, order, quantity_lots=500).reason is Reason.REPLACE_INVALID
    bench.report(order, OrderEvent.CANCEL)
    assert replace(bench, order, quantity_lots=500).reason is Reason.ORDER_NOT_OPEN
    missing = ReplaceOrder(time_ns=bench.now, account="alice", order_id=1, quantity_lots=5)
    assert bench.ask(missing).reason is Reason.ORDER_NOT_FOUND


def test_lots_that_self_trade_prevention_takes_off_are_released() -> None:
    """A report with a lower total without a fill lowers the order and what it holds."""
    bench = ready()
    order = bench.accepted(lots=1_000, symbol="BTCUSDT.INT")
    bench.report(order, OrderEvent.ACKNOWLEDGE, quantity_lots=700)
    assert reserved(bench) == usdt(420)
    bench.fill(order, 700, 60_000, event=OrderEvent.FILL)
    assert (reserved(bench), state_of(bench, order)) == (0, OrderState.FILLED)


def test_balances_are_published_when_they_change() -> None:
    """Reserving, filling and releasing each say the balances that changed, complete."""
    bench = ready()
    bench.history.clear()
    order = bench.accepted(lots=1_000)
    bench.fill(order, 1_000, 60_000, fee_units=1_000, fee_asset="BTC", event=OrderEvent.FILL)
    said = [(b.asset, b.total_units, b.reserved_units) for b in of_type(bench.history, BalanceChanged)]
    assert said == [
        ("USDT", usdt(100_000), usdt(600)),
        ("BTC", ONE + ONE // 100 - 1_000, 0),
        ("USDT", usdt(99_400), 0),
    ]
