"""The paper exchange under random markets: nothing is filled that the market did not offer."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.execution.paper_market import PaperMarketByHand

from polaris_synapse.domain.orders import OrderEvent, OrderState, OrderType, PostOnly, Side, TimeInForce

STEPS = 80
BUY, SELL = Side.BUY, Side.SELL


class Run:
    """One random session, with what the market offered at each price of each side: levels shown and trades."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.market = PaperMarketByHand()
        self.displayed = {BUY: {100: 50}, SELL: {102: 50}}
        self.offered = Counter({(BUY, 100): 50, (SELL, 102): 50})
        self.traded_lots = 0
        self.sides: dict[int, Side] = {}
        self.limits: dict[int, list[int]] = {}
        self.least: dict[int, int] = {}
        self.ahead: dict[int, tuple[int, int, int, int]] = {}

    def step(self) -> None:
        """One thing happens."""
        rng, market = self.rng, self.market
        deed = rng.choice(("book", "book", "trade", "order", "order", "cancel", "replace", "wait"))
        if deed == "book":
            side = rng.choice((BUY, SELL))
            price = rng.randint(94, 101) if side is BUY else rng.randint(101, 108)
            lots = rng.choice((0, rng.randint(1, 60)))
            before = self.displayed[side].get(price, 0)
            self.displayed[side][price] = lots
            self.offered[side, price] += max(lots - before, 0)
            levels = ((price, lots),)
            market.book(bids=levels if side is BUY else (), asks=levels if side is SELL else ())
        elif deed == "trade":
            lots = rng.randint(1, 40)
            self.traded_lots += lots
            market.trade(rng.randint(96, 106), lots, rng.choice((BUY, SELL)))
        elif deed == "order":
            self._order()
        elif deed == "cancel" and self.sides:
            market.cancel(rng.choice(list(self.sides)))
        elif deed == "replace" and self.sides:
            order_id = rng.choice(list(self.sides))
            price = rng.randint(95, 107)
            self.limits[order_id].append(price)
            market.replace(order_id, rng.randint(1, 40), price)
        elif deed == "wait":
            market.wait(rng.randint(0, 3))
        self._queues_only_move_up()

    def _order(self) -> None:
        rng, number = self.rng, len(self.sides) + 1
        side = rng.choice((BUY, SELL))
        kind = rng.choice((OrderType.MARKET, OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP_LIMIT))
        price = rng.randint(95, 107) if kind is not OrderType.MARKET else 0
        lots, in_force = (
            rng.randint(1, 40),
            rng.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK)),
        )
        rests = kind is not OrderType.MARKET and in_force is TimeInForce.GTC
        post_only = rng.choice((PostOnly.NO, PostOnly.NO, PostOnly.REJECT, PostOnly.REPRICE)) if rests else PostOnly.NO
        least = rng.choice((0, 0, rng.randint(1, lots)))
        if post_only is not PostOnly.NO or in_force is TimeInForce.FOK:
            least = 0
        self.least[number] = least
        self.sides[number] = side
        self.limits[number] = [price]
        self.market.submit(
            number,
            side,
            lots,
            price,
            type_=kind,
            stop_price_ticks=rng.randint(96, 106) if kind is OrderType.STOP_LIMIT else 0,
            time_in_force=in_force,
            post_only=post_only,
            display_lots=rng.choice((0, rng.randint(1, lots))) if rests else 0,
            min_quantity_lots=least,
        )

    def _queues_only_move_up(self) -> None:
        """What is ahead of an order never grows while it stays where it is, and an iceberg shows one slice."""
        found: dict[int, tuple[int, int, int, int]] = {}
        for order in self.market.exchange.open_orders():
            if order.state is OrderState.ARMED:
                continue
            display, filled = order.request.display_lots, order.filled_lots
            assert 0 < order.shown_lots <= min(display or order.open_lots, order.open_lots)
            # An iceberg's next slice is at the back.
            found[order.order_id] = (order.price_ticks, order.quantity_lots, order.ahead_lots, filled if display else 0)
            before = self.ahead.get(order.order_id)
            stays = before is not None and before[0] == order.price_ticks and before[3] == found[order.order_id][3]
            if before is not None and stays and order.quantity_lots <= before[1]:
                assert order.ahead_lots <= before[2]
            assert order.ahead_lots >= 0
            assert 0 <= order.filled_lots <= order.quantity_lots
        self.ahead = found


@settings(max_examples=120)
@given(seed=st.integers(0, 2**32 - 1))
def test_nothing_is_filled_that_was_not_offered(seed: int) -> None:
    """Takers get at a price no more than was displayed there; all others no more than displayed there plus traded."""
    run = Run(seed)
    for _ in range(STEPS):
        run.step()
    taken: Counter[tuple[Side, int]] = Counter()
    made = 0
    for report in run.market.reports:
        fill = report.fill
        if fill is None:
            continue
        side = run.sides[report.order_id]
        limits = run.limits[report.order_id]
        if limits[0]:
            best, worst = min(limits), max(limits)
            assert fill.price_ticks <= worst if side is BUY else fill.price_ticks >= best
        if fill.liquidity == "TAKER":
            taken[side.opposite, fill.price_ticks] += fill.quantity_lots
        elif "other side came to" in fill.how:
            price = round(float(fill.how.split(" came to ")[1].split(" with")[0]) * 100)
            taken[side.opposite, price] += fill.quantity_lots
        else:
            made += fill.quantity_lots
    assert all(lots <= run.offered[key] for key, lots in taken.items())
    assert made <= run.traded_lots


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_orders_and_fills_add_up(seed: int) -> None:
    """Trade ids are unique, no order fills beyond its quantity or below its minimum, nothing follows an end."""
    run = Run(seed)
    for _ in range(STEPS):
        run.step()
    ids = [report.fill.trade_id for report in run.market.reports if report.fill is not None]
    assert len(ids) == len(set(ids))
    ends = {OrderEvent.FILL, OrderEvent.CANCEL, OrderEvent.EXPIRE, OrderEvent.REJECT}
    refusals = {OrderEvent.REJECT_CANCEL, OrderEvent.REJECT_REPLACE}
    ended: set[int] = set()
    for report in run.market.reports:
        if report.event not in refusals:
            assert report.order_id not in ended
        if report.event in ends:
            ended.add(report.order_id)
    for number in run.sides:
        stored = run.market.stored[f"ps0-{number}"]
        assert stored.filled_lots == run.market.filled(number) <= stored.quantity_lots
        assert stored.is_open == (number not in ended)
        assert not stored.filled_lots or stored.filled_lots >= run.least[number]


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_same_inputs_give_the_same_fills(seed: int) -> None:
    """Two exchanges fed the same way report the same and end in the same state."""
    first, second = Run(seed), Run(seed)
    for run in (first, second):
        for _ in range(STEPS):
            run.step()
    assert first.market.reports == second.market.reports
    assert first.market.exchange.state_hash() == second.market.exchange.state_hash()
