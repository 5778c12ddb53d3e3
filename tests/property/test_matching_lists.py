"""Order lists in the matching core over random orders, and the public book by order that its changes rebuild."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from tests.property import test_matching_core as plain
from tests.unit.matching.bench import NOON, SYMBOL, amend, core_with_book, only, place, remove

from polaris_synapse.domain.messages import BookChanged, Message, OrderReport, PlaceOrderList
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderState, OrderType, Side
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.matching.core.port import BUY, HALTED, SELL
from polaris_synapse.matching.order_feed import OrderFeed

#: Orders of lists have ids that single ones never get.
_FIRST_ID = 100_000
_GUARDS = {"price_band_ppm": 100_000, "interruption_ppm": 40_000, "interruption_seconds": 3}


def _pair(draw: random.Random, list_id: int) -> PlaceOrderList:
    """An OCO near the market; now and then its stop would trigger at once or its limit order takes."""
    side, lots = draw.choice([Side.BUY, Side.SELL]), draw.randint(1, 20)
    towards = 1 if side is Side.SELL else -1
    middle, first = 100 + draw.randint(-3, 3), _FIRST_ID + 2 * list_id
    account, profit_at = draw.choice("abc"), middle + towards * draw.randint(1, 5)
    stop_at = middle - towards * draw.randint(0, 4)
    if draw.random() < 0.7:
        profit = place(first, side, lots, profit_at, account=account, display_lots=draw.choice([0, 0, 1]))
    else:
        profit = place(first, side, lots, 0, account=account, type=OrderType.TAKE_PROFIT, stop_price_ticks=profit_at)
    kind = draw.choice([OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP])
    stop = place(
        first + 1,
        side,
        lots,
        stop_at - towards * draw.randint(0, 2) if kind is OrderType.STOP_LIMIT else 0,
        account=account,
        type=kind,
        stop_price_ticks=0 if kind is OrderType.TRAILING_STOP else stop_at,
        trailing_offset_ticks=draw.randint(1, 4) if kind is OrderType.TRAILING_STOP else 0,
    )
    return PlaceOrderList(time_ns=NOON, symbol=SYMBOL, list_id=list_id, approved=(profit.approved, stop.approved))


def messages(seed: int, count: int) -> list[Message]:
    """Single orders and everything else that can happen to a book, with lists in between."""
    draw = random.Random(seed)
    log: list[Message] = []
    quantities: dict[int, int] = {}
    for number, message in enumerate(plain.messages(seed, count), start=1):
        if draw.random() < 0.2:
            pair = _pair(draw, number)
            log.append(pair)
            quantities[number] = pair.approved[0].subject.quantity_lots
        log.append(message)
        if draw.random() < 0.05:
            log.append(remove(_FIRST_ID + draw.randint(0, 2 * number)))
        if quantities and draw.random() < 0.2:
            # Risk lets prices change and never the quantity. The book's side of it holds for any prices.
            list_id = draw.choice(list(quantities)[-3:])
            price, stop = draw.choice([0, 100 + draw.randint(-7, 7)]), draw.choice([0, 100 + draw.randint(-5, 5)])
            log.append(amend(_FIRST_ID + 2 * list_id + draw.randint(0, 1), quantities[list_id], price, stop))
    return log


class Desk(plain.Desk):
    """The desk with lists: which orders belong together."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[int, int, int]] = []
        self.triggered: set[int] = set()

    def ask(self, message: Message) -> bool:
        """See plain.Desk; notes the orders of lists."""
        if isinstance(message, PlaceOrderList):
            orders = [approved.subject for approved in message.approved]
            for order in orders:
                self.states[order.order_id], self.filled[order.order_id] = OrderState.APPROVED, 0
                self.totals[order.order_id] = order.quantity_lots
            self.pairs.append((orders[0].order_id, orders[1].order_id, orders[0].quantity_lots))
            return True
        return super().ask(message)

    def hear(self, out: Sequence[Message]) -> None:
        """See plain.Desk; notes which orders have triggered."""
        super().hear(out)
        self.triggered |= {report.order_id for report in only(OrderReport, out) if report.event == "TRIGGER"}

    def check_pairs(self, halted: bool) -> None:
        """Together two orders never fill more than their quantity, and never both go on after one has acted."""
        for one, other, quantity in self.pairs:
            assert self.filled[one] + self.filled[other] <= quantity
            assert not (self.filled[one] and self.filled[other])
            for acted, left in ((one, other), (other, one)):
                done = self.filled[acted] or acted in self.triggered or self.states[acted] in TERMINAL_STATES
                if done and not halted:
                    assert self.states[left] in TERMINAL_STATES or left in self.triggered or self.filled[left]
            assert not {one, other} <= self.triggered


@given(seed=st.integers(0, 2**32), guarded=st.booleans())
def test_an_oco_never_fills_more_than_its_quantity(seed: int, guarded: bool) -> None:
    """Whatever happens: one order of a pair acts, the other ends before it can, and the book stays sound."""
    core, desk = core_with_book(**(_GUARDS if guarded else {})), Desk()
    for message in messages(seed, 80):
        if not desk.ask(message):
            continue
        desk.hear(core.apply(message))
        market = core.markets[SYMBOL]
        market.book.check()
        assert dict(market.book.levels()[0]) == desk.bids
        assert dict(market.book.levels()[1]) == desk.asks
        desk.check_pairs(halted=market.book.status == HALTED)
        open_ids = {order_id for order_id, state in desk.states.items() if state not in TERMINAL_STATES}
        assert open_ids == set(market.holdings)
        held = {order_id for order_ids in market.lists.orders.values() for order_id in order_ids}
        assert held <= open_ids
        assert market.book.settings.stepwise is bool(market.lists)


@given(seed=st.integers(0, 2**32), cut=st.integers(0, 79))
def test_lists_replay_and_restore_exactly(seed: int, cut: int) -> None:
    """A core restored at any point goes on as the first one did, lists included."""
    log = messages(seed, 80)
    first, second = core_with_book(**_GUARDS), core_with_book(**_GUARDS)
    said = [first.apply(message) for message in log]
    assert [second.apply(message) for message in log[:cut]] == said[:cut]
    third = MatchingCore()
    third.restore(second.snapshot())
    assert [third.apply(message) for message in log[cut:]] == said[cut:]
    assert third.state_hash() == first.state_hash()


@given(seed=st.integers(0, 2**32), start=st.integers(0, 40), guarded=st.booleans())
def test_the_published_changes_rebuild_the_book_by_order(seed: int, start: int, guarded: bool) -> None:
    """Begun at any moment and fed with what is published, the public book shows each order where the book has it."""
    core = core_with_book(**(_GUARDS if guarded else {}))
    log, published = messages(seed, 80), []
    for message in log[:start]:
        published += only(BookChanged, core.apply(message))
    market = core.markets[SYMBOL]
    feed = OrderFeed(market)
    # What was published before the feed began says nothing new.
    assert [feed.take(change) for change in published] == [None] * len(published)
    for message in log[start:]:
        for change in only(BookChanged, core.apply(message)):
            assert feed.take(change) is not None
        assert feed.sequence == market.sequence
        for side in (BUY, SELL):
            assert feed.orders(side) == market.book.queue(side)
            assert feed.levels(side) == market.book.levels()[side]
