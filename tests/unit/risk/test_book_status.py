"""A volatility interruption: the book stops by itself, risk knows, and it opens again after its call."""

from __future__ import annotations

from msgspec import structs
from tests.integration.test_risk_with_matching import Pair
from tests.unit.risk.bench import INTERNAL, SECOND, of_type

from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import Answer, BookStatusChanged, ListInstrument, SubmitOrder, Tick
from polaris_synapse.domain.orders import OrderState, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason


def test_an_interruption_stops_what_cannot_rest_until_the_call() -> None:
    """A taker that would move the price too far starts an auction: risk refuses IOC orders, and the call reopens."""
    pair = Pair()
    guarded = structs.replace(INTERNAL, interruption_ppm=10_000, interruption_seconds=30)
    pair.work_off([ListInstrument(time_ns=pair.bench.now, instrument=guarded)])
    pair.work_off([Tick(time_ns=pair.bench.now)])
    for price in (60_000, 61_000):
        pair.order(side=Side.SELL, price=price, account="bob", lots=100)
    pair.order(price=60_000, lots=100)
    sweep = pair.bench.request(symbol="BTCUSDT.INT", price=61_500, lots=100)
    seen = pair.send(SubmitOrder(time_ns=pair.bench.now, order=sweep))
    (stopped,) = of_type(seen, BookStatusChanged)
    assert (stopped.status, stopped.reason) == (InstrumentStatus.AUCTION, Reason.BOOK_PRICE_BAND)
    assert stopped.until_ns == pair.bench.now + 30 * SECOND
    immediate = pair.bench.request(symbol="BTCUSDT.INT", time_in_force=TimeInForce.IOC)
    refused = of_type(pair.send(SubmitOrder(time_ns=pair.bench.now, order=immediate)), Answer)[0]
    assert refused.reason is Reason.INSTRUMENT_NOT_TRADING
    assert pair.order(price=59_000).state is OrderState.WORKING
    pair.bench.now += 30 * SECOND
    (opened,) = of_type(pair.work_off([Tick(time_ns=pair.bench.now)]), BookStatusChanged)
    assert (opened.status, opened.before) == (InstrumentStatus.TRADING, InstrumentStatus.AUCTION)
    assert (opened.price_ticks, opened.quantity_lots) == (6_100_000, 100)
    pair.bench.mark(60_000)
    assert pair.order(price=61_000, time_in_force=TimeInForce.IOC).state is OrderState.EXPIRED
