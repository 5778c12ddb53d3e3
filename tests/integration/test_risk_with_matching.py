"""Risk and matching together, wired by the routing table: what the book does is what the ledger says."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from tests.unit.risk.bench import INTERNAL, ONE, Bench, of_type, ready, usdt

from polaris_synapse.domain.messages import (
    Answer,
    CancelAll,
    KillLevel,
    LimitBreached,
    ListInstrument,
    Message,
    ReplaceOrder,
    SubmitOrder,
)
from polaris_synapse.domain.orders import Order, OrderState, OrderType, PostOnly, SelfTradePrevention, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import MATCHING, RISK, route_of
from polaris_synapse.matching.core import MatchingCore


class Pair:
    """Two cores whose messages go to each other until none is left."""

    def __init__(self) -> None:
        self.bench: Bench = ready()
        self.bench.open_account("bob")
        self.bench.fund("USDT", usdt(100_000), "bob")
        self.bench.fund("BTC", ONE, "bob")
        self.book = MatchingCore()
        self.book.apply(ListInstrument(time_ns=self.bench.now, instrument=INTERNAL))

    def send(self, message: Message) -> list[Message]:
        """Everything that a message leads to."""
        return self.work_off(self.bench.send(message))

    def work_off(self, messages: Iterable[Message]) -> list[Message]:
        """Deliver messages and what they cause, in order."""
        waiting, seen = deque(messages), []
        while waiting:
            message = waiting.popleft()
            seen.append(message)
            topics = route_of(message).topics
            if MATCHING in topics:
                waiting.extend(self.book.apply(message))
            if RISK in topics:
                waiting.extend(self.bench.core.apply(message))
        assert self.bench.core.check() == []
        return seen

    def order(self, **changes: Any) -> Order:
        """Submit an order that risk accepts, and return it as it is afterwards."""
        request = self.bench.request(symbol="BTCUSDT.INT", **changes)
        seen = self.send(SubmitOrder(time_ns=self.bench.now, order=request, actor="user:x"))
        assert of_type(seen, LimitBreached) == []
        accepted = of_type(seen, Answer)[0].order
        assert accepted is not None
        assert accepted.order_id
        return self.now(accepted)

    def now(self, order: Order) -> Order:
        """An order as it is now."""
        return self.bench.core._desk.orders[order.order_id].order


def test_trades_settle_between_two_accounts() -> None:
    """Both sides post, the clearing account returns to zero, and only fees leave the clients."""
    pair = Pair()
    sell = pair.order(side=Side.SELL, price=60_100, account="bob")
    assert sell.state is OrderState.WORKING
    assert pair.order(price=60_100, lots=400).state is OrderState.FILLED
    amount = pair.order(type=OrderType.MARKET, price_ticks=0, quantity_lots=0, quote_amount_units=usdt(100))
    assert (amount.state, amount.quantity_lots) == (OrderState.FILLED, 166)
    assert (pair.now(sell).state, pair.now(sell).filled_lots) == (OrderState.PARTIALLY_FILLED, 566)
    ledger = pair.bench.core._desk.state.ledger
    assert ledger["BTC"]["venue:internal"] == ledger["USDT"]["venue:internal"] == 0
    assert ledger["BTC"]["fees:internal"] > 0
    assert ledger["USDT"]["fees:internal"] > 0


def test_values_that_the_book_changes_reach_the_reservation() -> None:
    """Repricing, decrement self-trade prevention and replaced stops end in what the book holds."""
    pair = Pair()
    pair.order(side=Side.SELL, price=60_100, account="bob")
    posted = pair.order(price=60_200, lots=400, post_only=PostOnly.REPRICE)
    assert (posted.state, posted.price_ticks) == (OrderState.WORKING, 6_009_999)
    pair.order(side=Side.SELL, price=60_000, lots=100, self_trade_prevention=SelfTradePrevention.DECREMENT)
    assert pair.now(posted).quantity_lots == 300
    stop = pair.order(type=OrderType.STOP, price_ticks=0, stop_price_ticks=6_100_000, lots=100)
    replace = ReplaceOrder(time_ns=pair.bench.now, account="alice", order_id=stop.order_id, stop_price_ticks=6_110_000)
    assert of_type(pair.send(replace), LimitBreached) == []
    assert (pair.now(stop).state, pair.now(stop).stop_price_ticks) == (OrderState.ARMED, 6_110_000)
    pair.send(CancelAll(time_ns=pair.bench.now))
    for account in pair.bench.core._desk.state.accounts.values():
        assert not account.open_orders
        assert not any(balance.reserved_units for balance in account.balances.values())


def test_the_kill_switch_flattens_on_the_book() -> None:
    """Open orders end, then one market order closes the position against what rests there."""
    pair = Pair()
    pair.order(side=Side.SELL, price=60_000, lots=50_000, account="bob")
    pair.order(price=60_000, lots=20_000)
    resting = pair.order(side=Side.SELL, price=61_000, lots=10_000)
    pair.order(price=59_900, lots=50_000, account="bob")
    pair.work_off(pair.bench.kill(KillLevel.FLATTEN, "alice"))
    assert pair.now(resting).reason is Reason.CANCELLED_BY_KILL_SWITCH
    position = pair.bench.core._desk.state.accounts["alice"].positions["BTCUSDT.INT"]
    assert 0 <= position.base_units < INTERNAL.lot_units
