"""The matching core over random orders: its reports fit the order table, its levels add up, and replay is exact."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.matching.bench import NOON, SYMBOL, amend, core_with_book, place, remove

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import (
    AmendOrder,
    BookChanged,
    Message,
    OrderReport,
    PlaceOrder,
    RemoveOrder,
    SetInstrumentStatus,
    Tick,
)
from polaris_synapse.domain.orders import (
    LIMIT_PRICED,
    STOP_PRICED,
    TERMINAL_STATES,
    OrderEvent,
    OrderState,
    OrderType,
    PostOnly,
    SelfTradePrevention,
    Side,
    TimeInForce,
    next_state,
)
from polaris_synapse.matching.core import MatchingCore

_GUARDS = {"price_band_ppm": 100_000, "interruption_ppm": 40_000, "interruption_seconds": 3}


def _order(draw: random.Random, order_id: int) -> PlaceOrder:
    order_type = draw.choice([OrderType.LIMIT] * 5 + list(OrderType))
    force = draw.choice([TimeInForce.GTC] * 4 + list(TimeInForce))
    post = draw.choice([PostOnly.NO] * 4 + list(PostOnly))
    lots = draw.randint(1, 20)
    fields: dict[str, Any] = {
        "type": order_type,
        "account": draw.choice("abc"),
        "time_in_force": force,
        "post_only": post if order_type in LIMIT_PRICED and force is not TimeInForce.IOC else PostOnly.NO,
        "self_trade_prevention": draw.choice(list(SelfTradePrevention)),
        "display_lots": draw.choice([0, 0, 0, draw.randint(1, lots)]) if order_type in LIMIT_PRICED else 0,
        "min_quantity_lots": draw.choice([0] * 5 + [draw.randint(1, lots)]),
    }
    if force is TimeInForce.GTD:
        fields["expire_time_ns"] = NOON + draw.randint(1, 40) * 10**9
    if order_type in STOP_PRICED:
        fields["stop_price_ticks"] = 100 + draw.randint(-5, 5)
    if order_type is OrderType.TRAILING_STOP:
        fields[draw.choice(["trailing_offset_ticks", "trailing_offset_bps"])] = draw.randint(1, 5)
    if order_type is OrderType.MARKET and draw.random() < 0.3:
        lots, fields["quote_amount_units"], fields["min_quantity_lots"] = 0, draw.randint(1, 3000) * 1_000, 0
    price = 100 + draw.randint(-7, 7) if order_type in LIMIT_PRICED else 0
    return place(order_id, draw.choice([Side.BUY, Side.SELL]), lots, price, **fields)


def messages(seed: int, count: int) -> list[Message]:
    """What risk and the host could send."""
    draw = random.Random(seed)
    out: list[Message] = []
    next_id, seconds = 1, 0
    for _ in range(count):
        chance, recent = draw.random(), draw.randint(max(1, next_id - 20), next_id)
        if chance < 0.7:
            out.append(_order(draw, next_id))
            next_id += 1
        elif chance < 0.8:
            out.append(remove(recent))
        elif chance < 0.9:
            price = draw.choice([0, 100 + draw.randint(-7, 7)])
            out.append(amend(recent, draw.randint(1, 20), price, draw.choice([0, 100 + draw.randint(-5, 5)])))
        elif chance < 0.97:
            seconds += draw.randint(0, 3)
            out.append(Tick(time_ns=NOON + seconds * 10**9))
        else:
            status = draw.choice([InstrumentStatus.TRADING, *InstrumentStatus])
            out.append(SetInstrumentStatus(time_ns=NOON + seconds * 10**9, symbol=SYMBOL, status=status))
    return out


class Desk:
    """What risk would know: the state and the filled lots of each order, by the order table."""

    def __init__(self) -> None:
        self.states: dict[int, OrderState] = {}
        self.totals: dict[int, int] = {}
        self.filled: dict[int, int] = {}
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.sequence = 0

    def ask(self, message: Message) -> bool:
        """Move the order that risk's request concerns; False where risk would not have asked."""
        if isinstance(message, PlaceOrder):
            order = message.approved.subject
            self.states[order.order_id], self.filled[order.order_id] = OrderState.APPROVED, 0
            self.totals[order.order_id] = 0 if order.request.quote_amount_units else order.quantity_lots
        elif isinstance(message, RemoveOrder | AmendOrder):
            state = self.states.get(message.order_id)
            if state is None or state in TERMINAL_STATES:
                return False
            wish = OrderEvent.REQUEST_CANCEL if isinstance(message, RemoveOrder) else OrderEvent.REQUEST_REPLACE
            self.states[message.order_id] = next_state(state, wish, filled_lots=self.filled[message.order_id])
        return True

    def hear(self, out: Sequence[Message]) -> None:
        """Take reports and levels; raises OrderTransitionError for a report that the order table does not have."""
        for message in out:
            if isinstance(message, OrderReport):
                self._report(message)
            elif isinstance(message, BookChanged):
                assert message.sequence == self.sequence + 1
                self.sequence = message.sequence
                for side, levels in ((self.bids, message.bids), (self.asks, message.asks)):
                    side.update(levels)
                    for price, lots in levels:
                        if not lots:
                            del side[price]

    def _report(self, report: OrderReport) -> None:
        order_id = report.order_id
        assert self.states[order_id] not in TERMINAL_STATES
        if report.fill:
            self.filled[order_id] += report.fill.quantity_lots
        by_quote = not self.totals[order_id]
        if report.quantity_lots and not by_quote:
            self.totals[order_id] = report.quantity_lots
        self.states[order_id] = next_state(self.states[order_id], report.event, filled_lots=self.filled[order_id])
        if by_quote and self.states[order_id] in TERMINAL_STATES - {OrderState.REJECTED}:
            assert report.quantity_lots == self.filled[order_id]
        elif report.event is OrderEvent.FILL:
            assert self.filled[order_id] == self.totals[order_id]
        elif not by_quote:
            assert self.filled[order_id] < self.totals[order_id]


@given(seed=st.integers(0, 2**32), guarded=st.booleans())
def test_reports_fit_the_order_table_and_levels_rebuild_the_book(seed: int, guarded: bool) -> None:
    """The order table allows each report, no order fills beyond its total, and the levels told are the book's."""
    core, desk = core_with_book(**(_GUARDS if guarded else {})), Desk()
    for message in messages(seed, 100):
        if not desk.ask(message):
            continue
        desk.hear(core.apply(message))
        market = core.markets[SYMBOL]
        market.book.check()
        bids, asks = market.book.levels()
        assert (dict(bids), dict(asks)) == (desk.bids, desk.asks)
        open_ids = {order_id for order_id, state in desk.states.items() if state not in TERMINAL_STATES}
        written = market.book.dump()
        assert open_ids == set(market.holdings) == {row[0] for row in written.orders}
        waiting = {order_id for order_id, state in desk.states.items() if state is OrderState.ARMED}
        assert waiting == {order_id for order_id, _ in written.triggers} | set(written.pending)


@given(seed=st.integers(0, 2**32), cut=st.integers(0, 99))
def test_replay_and_snapshot_give_the_same_state_and_the_same_words(seed: int, cut: int) -> None:
    """A second core that replays, or restores at any point and goes on, ends with the same hash and outputs."""
    log = messages(seed, 100)
    first, second = core_with_book(**_GUARDS), core_with_book(**_GUARDS)
    said = [first.apply(message) for message in log]
    assert [second.apply(message) for message in log[:cut]] == said[:cut]
    third = MatchingCore()
    third.restore(second.snapshot())
    assert third.state_hash() == second.state_hash()
    assert [third.apply(message) for message in log[cut:]] == said[cut:]
    assert third.state_hash() == first.state_hash()
