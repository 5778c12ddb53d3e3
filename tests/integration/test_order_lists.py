"""Order lists through risk and matching together: what they reserve, how they end, and what survives a restart."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from tests.integration.test_risk_with_matching import Pair
from tests.unit.risk.bench import ONE, of_type, usdt

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import (
    Answer,
    CancelAll,
    CancelOrder,
    CancelOrderList,
    KillLevel,
    OrderListUpdated,
    OrderUpdated,
    ReplaceOrder,
    SetInstrumentStatus,
    SubmitOrder,
    SubmitOrderList,
    Tick,
)
from polaris_synapse.domain.order_lists import ListKind, ListState, OrderList, OrderListRequest
from polaris_synapse.domain.orders import Order, OrderEvent, OrderRequest, OrderState, OrderType, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore

STOP: dict[str, Any] = {"type": OrderType.STOP, "price_ticks": 0, "stop_price_ticks": 5_900_000}


class Lists(Pair):
    """Two cores and short ways to place lists for bob, who owns one BTC."""

    def leg(self, **changes: Any) -> OrderRequest:
        """A leg of bob's, in lots of 0.00001 BTC."""
        values: dict[str, Any] = {"side": Side.SELL, "price": 61_000, "lots": 1_000, "account": "bob"} | changes
        return self.bench.request(symbol="BTCUSDT.INT", **values, client_list_id="L")

    def submission(self, **changes: Any) -> SubmitOrder:
        """An order of alice's."""
        return SubmitOrder(time_ns=self.bench.now, order=self.bench.request(symbol="BTCUSDT.INT", **changes))

    def place(self, kind: ListKind, *legs: OrderRequest, actor: str = "user:bob") -> Answer:
        """Submit a list; risk's answer."""
        request = OrderListRequest(account="bob", client_list_id="L", kind=kind, legs=legs)
        seen = self.send(SubmitOrderList(time_ns=self.bench.now, order_list=request, actor=actor))
        return of_type(seen, Answer)[0]

    def oco(self, **changes: Any) -> OrderList:
        """An OCO to sell 0.01 BTC at 61,000 or below 59,000."""
        answer = self.place(ListKind.OCO, self.leg(**changes), self.leg(**STOP, **changes))
        assert answer.reason is Reason.NONE, answer.detail
        assert answer.order_list is not None
        return answer.order_list

    def orders(self, order_list: OrderList) -> list[Order]:
        """Its orders as they are now."""
        return [self.bench.core._desk.orders[order_id].order for order_id in order_list.order_ids]

    def states(self, order_list: OrderList) -> list[OrderState]:
        """Their states."""
        return [order.state for order in self.orders(order_list)]

    def state(self, order_list: OrderList) -> ListState:
        """The list's."""
        return self.bench.core._desk.state.lists[str(order_list.list_id)].state

    def reserved(self, asset: str = "BTC", account: str = "bob") -> int:
        """What an account's orders hold."""
        balance = self.bench.core._desk.state.accounts[account].balances.get(asset)
        return balance.reserved_units if balance else 0


def test_an_oco_reserves_its_larger_order_and_not_the_sum() -> None:
    """Both orders sell the same BTC, so it is held once; of a buying OCO the dearer order counts."""
    lists = Lists()
    order_list = lists.oco()
    assert lists.states(order_list) == [OrderState.WORKING, OrderState.ARMED]
    assert lists.reserved() == 1_000 * 1_000
    lists.send(CancelOrderList(time_ns=lists.bench.now, account="bob", list_id=order_list.list_id))
    assert lists.reserved() == 0
    buying = lists.place(
        ListKind.OCO,
        lists.leg(side=Side.BUY, price=59_000),
        lists.leg(side=Side.BUY, type=OrderType.STOP_LIMIT, stop_price_ticks=6_100_000, price=61_200),
    )
    assert buying.reason is Reason.DUPLICATE_CLIENT_LIST_ID
    free = structs.replace(
        OrderListRequest(account="bob", client_list_id="L2", kind=ListKind.OCO, legs=()),
        legs=(
            lists.leg(side=Side.BUY, price=59_000),
            lists.leg(side=Side.BUY, type=OrderType.STOP_LIMIT, stop_price_ticks=6_100_000, price=61_200),
        ),
    )
    lists.send(SubmitOrderList(time_ns=lists.bench.now, order_list=free))
    assert lists.reserved("USDT") == usdt(612)


def test_when_one_order_trades_the_other_ends() -> None:
    """A part of the profit order fills: the stop is gone, the rest goes on alone and keeps what it needs."""
    lists = Lists()
    order_list = lists.oco()
    lists.order(account="alice", price=61_000, lots=400)
    profit, stop = lists.orders(order_list)
    assert (profit.state, profit.filled_lots) == (OrderState.PARTIALLY_FILLED, 400)
    assert (stop.state, stop.reason) == (OrderState.EXPIRED, Reason.BOOK_ORDER_LIST)
    assert lists.reserved() == 600 * 1_000
    assert lists.state(order_list) is ListState.EXECUTING
    lists.order(account="alice", price=61_000, lots=600)
    assert lists.states(order_list) == [OrderState.FILLED, OrderState.EXPIRED]
    assert lists.state(order_list) is ListState.ALL_DONE
    assert lists.reserved() == 0
    assert not lists.book.markets["BTCUSDT.INT"].lists


def test_when_the_stop_triggers_the_profit_order_ends_before_it_sells() -> None:
    """A trade at the stop price: the limit order leaves the book, and the stop sells what is there."""
    lists = Lists()
    order_list = lists.oco()
    lists.order(account="alice", price=59_000, lots=100)
    lists.order(account="alice", price=58_900, lots=5_000)
    lists.order(account="bob", side=Side.SELL, price=59_000, lots=100)
    profit, stop = lists.orders(order_list)
    assert (profit.state, profit.reason) == (OrderState.EXPIRED, Reason.BOOK_ORDER_LIST)
    assert (stop.state, stop.filled_lots) == (OrderState.FILLED, 1_000)
    assert lists.state(order_list) is ListState.ALL_DONE


def test_a_stop_that_the_same_command_triggers_sells_nothing_after_the_profit_order_did() -> None:
    """One sweep buys at the profit price and sets off a stop that falls to the list's own: it sells once, not twice."""
    lists = Lists()
    lists.order(account="alice", price=58_900, lots=5_000)
    order_list = lists.oco()
    # Alice's stop sells as soon as 61,000 trades, down to 58,900, where bob's stop would fire.
    lists.bench.fund("BTC", ONE, "alice")
    lists.order(
        account="alice", side=Side.SELL, type=OrderType.TAKE_PROFIT, price_ticks=0, stop_price_ticks=6_100_000, lots=50
    )
    lists.bench.open_account("carol")
    lists.bench.fund("USDT", usdt(100_000), "carol")
    lists.order(account="carol", price=58_950, lots=50)
    lists.order(account="carol", price=61_000, lots=300)
    profit, stop = lists.orders(order_list)
    assert (profit.state, profit.filled_lots) == (OrderState.PARTIALLY_FILLED, 300)
    assert (stop.state, stop.filled_lots) == (OrderState.EXPIRED, 0)
    assert lists.book.markets["BTCUSDT.INT"].book.last_price == 5_895_000


def test_an_oco_whose_order_is_turned_away_leaves_nothing() -> None:
    """The stop would trigger at once: both orders are rejected, and nothing is reserved."""
    lists = Lists()
    lists.order(account="alice", price=59_000, lots=10)
    lists.order(account="bob", side=Side.SELL, price=59_000, lots=10)
    order_list = lists.oco(lots=500)
    assert lists.states(order_list) == [OrderState.REJECTED, OrderState.REJECTED]
    found = lists.bench.core._desk.state.lists[str(order_list.list_id)]
    assert (found.state, found.reason) == (ListState.REJECTED, Reason.BOOK_TRIGGER_IMMEDIATE)
    assert (lists.reserved(), len(lists.book.markets["BTCUSDT.INT"].book)) == (0, 0)


@pytest.mark.parametrize("which", [0, 1])
def test_cancelling_one_order_of_an_oco_cancels_both(which: int) -> None:
    """The other follows in the same step."""
    lists = Lists()
    order_list = lists.oco()
    order_id = order_list.order_ids[which]
    lists.send(CancelOrder(time_ns=lists.bench.now, account="bob", order_id=order_id))
    assert lists.states(order_list) == [OrderState.CANCELLED] * 2
    assert (lists.state(order_list), lists.reserved()) == (ListState.ALL_DONE, 0)


def change(lists: Lists, order_id: int, **values: Any) -> Answer:
    """Ask for other values of one of bob's orders; risk's answer."""
    actor = values.pop("actor", "user:bob")
    command = ReplaceOrder(time_ns=lists.bench.now, account="bob", order_id=order_id, actor=actor, **values)
    return of_type(lists.send(command), Answer)[0]


def test_the_prices_of_an_open_oco_can_be_changed() -> None:
    """Each order takes its new price in its place in the list, which still ends as one."""
    lists = Lists()
    order_list = lists.oco()
    profit_id, stop_id = order_list.order_ids
    assert change(lists, profit_id, price_ticks=6_200_000).reason is Reason.NONE
    assert change(lists, stop_id, stop_price_ticks=5_950_000).reason is Reason.NONE
    profit, stop = lists.orders(order_list)
    assert (profit.state, profit.price_ticks) == (OrderState.WORKING, 6_200_000)
    assert (stop.state, stop.stop_price_ticks) == (OrderState.ARMED, 5_950_000)
    assert lists.reserved() == 1_000 * 1_000
    lists.order(account="alice", price=62_000, lots=1_000)
    assert lists.states(order_list) == [OrderState.FILLED, OrderState.EXPIRED]
    assert (lists.state(order_list), lists.reserved()) == (ListState.ALL_DONE, 0)


def test_a_changed_oco_holds_what_its_larger_order_needs() -> None:
    """Of a buying OCO either order may become the dearer one; what is free beside both is not counted twice."""
    lists = Lists()
    answer = lists.place(
        ListKind.OCO,
        lists.leg(side=Side.BUY, price=59_000, lots=160_000),
        lists.leg(side=Side.BUY, type=OrderType.STOP_LIMIT, stop_price_ticks=6_100_000, price=61_200, lots=160_000),
    )
    assert answer.order_list is not None, answer.detail
    profit_id, stop_id = answer.order_ids
    assert lists.reserved("USDT") == usdt(97_920)
    # The covered order alone would need more than is free beside the pair.
    assert change(lists, profit_id, price_ticks=5_950_000).reason is Reason.NONE
    assert lists.reserved("USDT") == usdt(97_920)
    assert change(lists, stop_id, price_ticks=6_240_000).reason is Reason.NONE
    assert lists.reserved("USDT") == usdt(99_840)
    too_dear = change(lists, stop_id, price_ticks=6_260_000)
    assert (too_dear.reason, lists.reserved("USDT")) == (Reason.INSUFFICIENT_FUNDS, usdt(99_840))
    assert change(lists, stop_id, price_ticks=5_940_000, stop_price_ticks=6_050_000).reason is Reason.NONE
    assert lists.reserved("USDT") == usdt(95_200)


@pytest.mark.parametrize(
    "which, values, why",
    [
        (0, {"quantity_lots": 500}, "Both orders of an OCO have the same quantity"),
        (0, {"price_ticks": 5_890_000}, "the profit order lies above the stop order"),
        (1, {"stop_price_ticks": 6_110_000}, "the profit order lies above the stop order"),
        (1, {"price_ticks": 5_890_000}, "A STOP order has no price to change"),
        (0, {"price_ticks": 6_100_000}, "The replacement changes nothing"),
    ],
)
def test_a_change_that_would_make_no_list_is_refused(which: int, values: dict[str, int], why: str) -> None:
    """What could not have been placed as a list cannot be made of one."""
    lists = Lists()
    order_list = lists.oco()
    answer = change(lists, order_list.order_ids[which], **values)
    assert answer.reason is Reason.REPLACE_INVALID
    assert why in answer.detail
    assert lists.states(order_list) == [OrderState.WORKING, OrderState.ARMED]


def test_a_change_under_way_counts_with_its_old_and_its_new_price() -> None:
    """Nobody knows yet which of them the book will keep, so the other order must fit to both."""
    lists = Lists()
    order_list = lists.oco()
    profit_id, stop_id = order_list.order_ids
    now = lists.bench.now
    # Not carried to the book: the change is under way.
    lists.bench.send(ReplaceOrder(time_ns=now, account="bob", order_id=profit_id, price_ticks=6_000_000))
    assert lists.orders(order_list)[0].state is OrderState.PENDING_REPLACE
    between = lists.bench.send(ReplaceOrder(time_ns=now, account="bob", order_id=stop_id, stop_price_ticks=6_050_000))
    assert of_type(between, Answer)[0].reason is Reason.REPLACE_INVALID
    below = lists.bench.send(ReplaceOrder(time_ns=now, account="bob", order_id=stop_id, stop_price_ticks=5_990_000))
    assert of_type(below, Answer)[0].reason is Reason.NONE


def test_what_is_left_of_a_list_is_changed_like_a_single_order() -> None:
    """After a part of the profit order has traded the stop is gone, and the rest may have any price and quantity."""
    lists = Lists()
    order_list = lists.oco()
    lists.order(account="alice", price=61_000, lots=400)
    assert change(lists, order_list.order_ids[0], price_ticks=5_800_000, quantity_lots=700).reason is Reason.NONE
    profit, _ = lists.orders(order_list)
    assert (profit.state, profit.quantity_lots, profit.price_ticks) == (
        OrderState.PARTIALLY_FILLED, 700, 5_800_000,
    )  # fmt: skip
    assert lists.reserved() == 300 * 1_000


def test_an_agent_changes_no_order_of_a_list() -> None:
    """It may not place lists, so it may not make another one of them either."""
    lists = Lists()
    answer = change(lists, lists.oco().order_ids[0], price_ticks=6_200_000, actor="agent:jarvis")
    assert answer.reason is Reason.FEATURE_NOT_SUPPORTED


def bracket(lists: Lists, **working: Any) -> Answer:
    """Buy 0.01 BTC at 60,000, then sell it at 61,000 or below 59,000."""
    return lists.place(
        ListKind.OTOCO, lists.leg(**{"side": Side.BUY, "price": 60_000} | working), lists.leg(), lists.leg(**STOP)
    )


def test_what_waits_holds_nothing_and_is_placed_when_the_working_order_has_filled() -> None:
    """A partial fill places nothing yet; the last one places the OCO, which from then on reserves."""
    lists = Lists()
    answer = bracket(lists)
    assert answer.order_list is not None
    order_list = answer.order_list
    assert lists.states(order_list) == [OrderState.WORKING, OrderState.APPROVED, OrderState.APPROVED]
    assert (lists.reserved(), lists.reserved("USDT")) == (0, usdt(600))
    lists.bench.fund("BTC", ONE, "alice")
    lists.order(account="alice", side=Side.SELL, price=60_000, lots=400)
    assert lists.states(order_list) == [OrderState.PARTIALLY_FILLED, OrderState.APPROVED, OrderState.APPROVED]
    lists.order(account="alice", side=Side.SELL, price=60_000, lots=600)
    assert lists.states(order_list) == [OrderState.FILLED, OrderState.WORKING, OrderState.ARMED]
    assert lists.reserved() == 1_000 * 1_000
    lists.order(account="alice", price=61_000, lots=1_000)
    assert lists.states(order_list) == [OrderState.FILLED, OrderState.FILLED, OrderState.EXPIRED]
    assert (lists.state(order_list), lists.reserved()) == (ListState.ALL_DONE, 0)


def test_orders_that_work_and_orders_that_wait_can_be_changed() -> None:
    """What waits takes its new prices without a book, holds nothing, and is placed with them."""
    lists = Lists()
    answer = bracket(lists)
    assert answer.order_list is not None
    order_list = answer.order_list
    working_id, profit_id, stop_id = order_list.order_ids
    for order_id, values in (
        (working_id, {"price_ticks": 6_010_000}),
        (profit_id, {"price_ticks": 6_150_000}),
        (stop_id, {"stop_price_ticks": 5_880_000}),
    ):
        changed = change(lists, order_id, **values)
        assert changed.reason is Reason.NONE, changed.detail
    assert change(lists, stop_id, stop_price_ticks=6_160_000).reason is Reason.REPLACE_INVALID
    assert change(lists, profit_id, quantity_lots=900).reason is Reason.REPLACE_INVALID
    assert lists.states(order_list) == [OrderState.WORKING, OrderState.APPROVED, OrderState.APPROVED]
    assert (lists.reserved(), lists.reserved("USDT")) == (0, usdt(601))
    restored = RiskCore()
    restored.restore(lists.bench.core.snapshot())
    lists.bench.core = restored
    lists.bench.fund("BTC", ONE, "alice")
    lists.order(account="alice", side=Side.SELL, price=60_100, lots=1_000)
    _, profit, stop = lists.orders(order_list)
    assert (profit.state, profit.price_ticks) == (OrderState.WORKING, 6_150_000)
    assert (stop.state, stop.stop_price_ticks) == (OrderState.ARMED, 5_880_000)
    assert lists.reserved() == 1_000 * 1_000


def test_a_change_of_what_waits_passes_the_checks_that_do_not_wait() -> None:
    """A kill switch stops it like an order, money that is not there yet does not."""
    lists = Lists()
    answer = lists.place(ListKind.OTO, lists.leg(price=60_000), lists.leg(side=Side.BUY, price=59_000))
    waiting_id = answer.order_ids[1]
    assert change(lists, waiting_id, quantity_lots=500_000).reason is Reason.NONE
    lists.work_off(lists.bench.kill(KillLevel.NO_NEW_RISK))
    assert change(lists, waiting_id, quantity_lots=400_000).reason is Reason.KILL_SWITCH


def test_the_waiting_order_of_an_oto_takes_another_quantity() -> None:
    """It is in no OCO, so its quantity is its own."""
    lists = Lists()
    answer = lists.place(ListKind.OTO, lists.leg(side=Side.BUY, price=60_000), lists.leg())
    assert answer.order_list is not None
    working_id, waiting_id = answer.order_list.order_ids
    told = lists.send(ReplaceOrder(time_ns=lists.bench.now, account="bob", order_id=waiting_id, quantity_lots=300))
    assert [update.event for update in of_type(told, OrderUpdated)] == [OrderEvent.REPLACE]
    assert change(lists, working_id, quantity_lots=600).reason is Reason.NONE
    lists.bench.fund("BTC", ONE, "alice")
    lists.order(account="alice", side=Side.SELL, price=60_000, lots=600)
    working, waiting = lists.orders(answer.order_list)
    assert (working.state, waiting.state, waiting.quantity_lots) == (OrderState.FILLED, OrderState.WORKING, 300)
    assert lists.reserved() == 300 * 1_000


def test_a_waiting_sell_is_cut_to_what_the_fee_left() -> None:
    """Whoever owns no other BTC sells what the buy brought, less its fee, and not one lot more than that."""
    lists = Lists()
    lists.bench.fund("BTC", -ONE, "bob")
    lists.bench.fund("BTC", ONE, "alice")
    answer = bracket(lists)
    assert answer.order_list is not None
    lists.order(account="alice", side=Side.SELL, price=60_000, lots=1_000)
    _, profit, stop = lists.orders(answer.order_list)
    assert (profit.state, profit.quantity_lots) == (OrderState.WORKING, 999)
    assert (stop.state, stop.quantity_lots) == (OrderState.ARMED, 999)
    assert lists.reserved() == 999 * 1_000


@pytest.mark.parametrize("how", ["working", "waiting", "list", "all", "kill"])
def test_however_a_list_is_cancelled_all_of_it_ends(how: str) -> None:
    """One of its orders, the list by its id, everything of the account, the kill switch: nothing is left."""
    lists = Lists()
    answer = bracket(lists)
    assert answer.order_list is not None
    order_list, now = answer.order_list, lists.bench.now
    if how == "kill":
        lists.work_off(lists.bench.kill(KillLevel.CANCEL_ALL))
    else:
        lists.send(
            {
                "working": CancelOrder(time_ns=now, account="bob", order_id=order_list.order_ids[0]),
                "waiting": CancelOrder(time_ns=now, account="bob", order_id=order_list.order_ids[2]),
                "list": CancelOrderList(time_ns=now, account="bob", client_list_id="L"),
                "all": CancelAll(time_ns=now, account="bob"),
            }[how]
        )
    assert set(lists.states(order_list)) == {OrderState.CANCELLED}
    assert lists.state(order_list) is ListState.ALL_DONE
    assert (lists.reserved(), lists.reserved("USDT")) == (0, 0)


def test_what_waits_ends_with_a_working_order_that_expires() -> None:
    """An immediate working order that finds nothing: what waited for it expires."""
    lists = Lists()
    answer = bracket(lists, time_in_force=TimeInForce.IOC)
    assert answer.order_list is not None
    assert lists.states(answer.order_list) == [OrderState.EXPIRED] * 3
    assert lists.state(answer.order_list) is ListState.ALL_DONE


def test_what_waits_is_checked_when_it_is_placed() -> None:
    """The second order buys with money that is gone by then: it is rejected with the reason, and the list ends."""
    lists = Lists()
    answer = lists.place(
        ListKind.OTO,
        lists.leg(price=60_000),
        lists.leg(side=Side.BUY, price=59_000, lots=170_000),
    )
    assert answer.reason is Reason.NONE, answer.detail
    assert answer.order_list is not None
    lists.bench.fund("USDT", -usdt(50_000), "bob")
    lists.order(account="alice", price=60_000, lots=1_000)
    working, waiting = lists.orders(answer.order_list)
    assert working.state is OrderState.FILLED
    assert (waiting.state, waiting.reason) == (OrderState.REJECTED, Reason.INSUFFICIENT_FUNDS)
    found = lists.bench.core._desk.state.lists[str(answer.order_list.list_id)]
    assert (found.state, found.reason) == (ListState.ALL_DONE, Reason.INSUFFICIENT_FUNDS)


def test_the_same_list_again_is_the_same_list() -> None:
    """Repeated word for word it is answered with what exists; with other content its id is taken."""
    lists = Lists()
    legs = (lists.leg(), lists.leg(**STOP))
    first, again = (lists.place(ListKind.OCO, *legs) for _ in range(2))
    assert (first.duplicate, again.duplicate) == (False, True)
    assert first.order_ids == again.order_ids
    assert lists.place(ListKind.OCO, legs[0], lists.leg(**STOP)).reason is Reason.DUPLICATE_CLIENT_LIST_ID


def test_a_list_is_refused_as_a_whole() -> None:
    """One order that fails a check, a wrong shape, an agent: nothing is placed, and the answer says why."""
    lists = Lists()
    assert lists.place(ListKind.OCO, lists.leg()).reason is Reason.ORDER_LIST_INVALID
    assert lists.place(ListKind.OCO, lists.leg(), lists.leg()).reason is Reason.ORDER_LIST_INVALID
    too_much = lists.place(ListKind.OCO, lists.leg(lots=200_000), lists.leg(**STOP, lots=200_000))
    assert (too_much.reason, too_much.detail[:24]) == (Reason.INSUFFICIENT_FUNDS, "Order 1 of the list: The")
    agent = lists.place(ListKind.OCO, lists.leg(), lists.leg(**STOP), actor="agent:jarvis")
    assert agent.reason is Reason.FEATURE_NOT_SUPPORTED
    assert agent.order_list is not None
    assert agent.order_list.state is ListState.REFUSED
    assert (len(lists.bench.core._desk.orders), lists.reserved()) == (0, 0)


def test_an_order_that_runs_out_in_a_halt_ends_its_list_when_the_book_opens() -> None:
    """A halted book cancels nothing, so the other order goes before anything can trade again."""
    lists = Lists()
    now = lists.bench.now
    answer = lists.place(
        ListKind.OCO, lists.leg(time_in_force=TimeInForce.GTD, expire_time_ns=now + 10**9), lists.leg(**STOP)
    )
    assert answer.order_list is not None

    def say(status: InstrumentStatus) -> None:
        lists.work_off([SetInstrumentStatus(time_ns=now, symbol="BTCUSDT.INT", status=status)])

    say(InstrumentStatus.HALTED)
    lists.work_off([Tick(time_ns=now + 2 * 10**9)])
    assert lists.states(answer.order_list) == [OrderState.EXPIRED, OrderState.ARMED]
    restored = MatchingCore()
    restored.restore(lists.book.snapshot())
    assert restored.state_hash() == lists.book.state_hash()
    lists.book = restored
    say(InstrumentStatus.TRADING)
    assert lists.states(answer.order_list) == [OrderState.EXPIRED] * 2
    assert lists.state(answer.order_list) is ListState.ALL_DONE


def test_lists_survive_a_restart() -> None:
    """Both cores from their snapshots: the OCO still ends as one, the bracket still places what waits."""
    lists = Lists()
    order_list = lists.oco()
    risk, matching = RiskCore(), MatchingCore()
    risk.restore(lists.bench.core.snapshot())
    matching.restore(lists.book.snapshot())
    assert (risk.state_hash(), matching.state_hash()) == (lists.bench.core.state_hash(), lists.book.state_hash())
    lists.bench.core, lists.book = risk, matching
    seen = lists.order(account="alice", price=61_000, lots=1_000)
    assert seen.state is OrderState.FILLED
    assert lists.states(order_list) == [OrderState.FILLED, OrderState.EXPIRED]
    assert lists.state(order_list) is ListState.ALL_DONE


def test_a_list_is_told_of_when_it_changes() -> None:
    """It is published when it is taken, when what waited is placed, and when it is done."""
    lists = Lists()
    told: list[tuple[ListState, int]] = []
    request = OrderListRequest(
        account="bob",
        client_list_id="L",
        kind=ListKind.OTO,
        legs=(lists.leg(side=Side.BUY, price=60_000), lists.leg()),
    )
    lists.bench.fund("BTC", ONE, "alice")
    for command in (
        SubmitOrderList(time_ns=lists.bench.now, order_list=request),
        lists.submission(side=Side.SELL, price=60_000),
        lists.submission(price=61_000),
    ):
        told += [
            (one.order_list.state, one.order_list.version) for one in of_type(lists.send(command), OrderListUpdated)
        ]
    assert told == [(ListState.EXECUTING, 0), (ListState.EXECUTING, 1), (ListState.ALL_DONE, 2)]
