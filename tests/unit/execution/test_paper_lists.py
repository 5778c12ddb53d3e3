"""OCO lists at the paper exchange: taken whole or not at all, one ends the other, and both survive a restart."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from tests.unit.execution.paper_market import SECOND_NS, PaperMarketByHand

from polaris_synapse.domain.instruments import PAPER_VENUE
from polaris_synapse.domain.messages import VenueCancel, VenueReport, VenueSubmit
from polaris_synapse.domain.orders import OrderEvent, OrderRequest, OrderType, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.dispatch import Dispatch

E = OrderEvent
PROFIT, STOP = 1, 2


def submission(order_id: int, kind: OrderType, *, price: int = 0, stop: int = 0, **options: Any) -> VenueSubmit:
    """An order to sell ten lots."""
    request = OrderRequest(
        account="alice",
        client_order_id=f"c{order_id}",
        symbol="BTCUSDT",
        side=Side.SELL,
        type=kind,
        quantity_lots=10,
        price_ticks=price,
        stop_price_ticks=stop,
        **options,
    )
    return VenueSubmit(
        time_ns=1,
        venue=PAPER_VENUE,
        symbol="BTCUSDT",
        order_id=order_id,
        venue_client_id=f"ps0-{order_id}",
        request=request,
        quantity_lots=10,
        price_ticks=price,
        stop_price_ticks=stop,
    )


def oco(*, price: int = 102, stop: int = 99, **options: Any) -> VenueSubmit:
    """Sell ten lots at 102, or at the market when 99 trades."""
    other = submission(STOP, OrderType.STOP, stop=stop)
    profit = submission(PROFIT, OrderType.LIMIT, price=price, **options)
    return structs.replace(profit, list_id=7, also=(other,))


class Market(PaperMarketByHand):
    """The market with a list on it."""

    def __init__(self, command: VenueSubmit, *, last: int = 101) -> None:
        super().__init__()
        self.trade(last, 1, Side.BUY)
        self.exchange.submit(command, self.now_ns)
        self._step()

    def told(self, order_id: int) -> list[tuple[OrderEvent, Reason]]:
        """What was reported of an order."""
        return [(report.event, report.reason) for report in self.reports if report.order_id == order_id]


def ends(reports: list[VenueReport]) -> list[tuple[int, OrderEvent]]:
    """Orders and what happened to them."""
    return [(report.order_id, report.event) for report in reports]


def test_a_fill_of_one_order_ends_the_other() -> None:
    """A part of the profit order trades: the stop is gone in the same step, the rest stays."""
    market = Market(oco())
    reports = market.trade(102, 54, Side.BUY)
    assert ends(reports) == [(PROFIT, E.PARTIAL_FILL), (STOP, E.EXPIRE)]
    assert reports[1].reason is Reason.BOOK_ORDER_LIST
    assert market.exchange.open_order_count == 1
    assert market.trade(98, 5, Side.SELL) == []


def test_a_trigger_ends_the_other_before_it_takes() -> None:
    """The stop price trades: the limit order leaves its queue, then the stop takes what is there."""
    market = Market(oco())
    reports = market.trade(99, 1, Side.SELL)
    assert ends(reports) == [(STOP, E.TRIGGER), (PROFIT, E.EXPIRE), (STOP, E.FILL)]
    assert market.filled(STOP) == 10
    assert market.exchange.open_order_count == 0


def test_a_trade_through_both_fills_the_quantity_once() -> None:
    """The profit order fills in a trade whose price is then seen by the triggers: nothing is left to trigger."""
    market = Market(oco(price=102, stop=99))
    market.trade(102, 1_000, Side.BUY)
    market.trade(99, 1_000, Side.SELL)
    assert market.filled(PROFIT) + market.filled(STOP) == 10


@pytest.mark.parametrize("which", [PROFIT, STOP])
def test_cancelling_one_cancels_both(which: int) -> None:
    """The other one is reported as cancelled with it."""
    market = Market(oco())
    reports = market.cancel(which)
    assert ends(reports) == [(which, E.CANCEL), (3 - which, E.CANCEL)]
    assert market.exchange.open_order_count == 0


def test_an_order_that_runs_out_takes_the_other_with_it() -> None:
    """The profit order's time is over."""
    market = Market(oco())
    expiring = Market(
        oco(time_in_force=TimeInForce.GTD, expire_time_ns=market.now_ns + 5 * SECOND_NS),
    )
    assert ends(expiring.wait(6)) == [(PROFIT, E.EXPIRE), (STOP, E.EXPIRE)]


def test_a_list_is_taken_whole_or_not_at_all() -> None:
    """A stop that would trigger at once, an order without a price: both orders are rejected."""
    market = Market(oco(stop=101))
    assert market.told(STOP) == [(E.REJECT, Reason.BOOK_TRIGGER_IMMEDIATE)]
    assert market.told(PROFIT) == [(E.REJECT, Reason.BOOK_ORDER_LIST)]
    priceless = Market(oco(price=0))
    assert priceless.told(PROFIT)[-1] == (E.REJECT, Reason.ORDER_FIELDS_INVALID)
    assert priceless.told(STOP)[-1] == (E.EXPIRE, Reason.BOOK_ORDER_LIST)
    assert market.exchange.open_order_count == priceless.exchange.open_order_count == 0


def test_a_changed_order_still_ends_its_list() -> None:
    """The stop takes another price and waits on; the profit order moves to where the market is, and ends the stop."""
    market = Market(oco())
    assert ends(market.replace(STOP, 10, 0, 98)) == [(STOP, E.REPLACE), (STOP, E.ARM)]
    assert market.trade(99, 1, Side.SELL) == []
    reports = market.replace(PROFIT, 10, 100)
    assert ends(reports) == [(PROFIT, E.REPLACE), (PROFIT, E.FILL), (STOP, E.EXPIRE)]
    assert (market.filled(PROFIT), market.exchange.open_order_count) == (10, 0)


def test_lists_are_there_after_a_restart() -> None:
    """From its store the exchange still knows that the two end each other."""
    market = Market(oco())
    again = PaperMarketByHand()
    again.trade(101, 1, Side.BUY)
    again.exchange.restore(market.stored.values())
    reports = again.trade(99, 1, Side.SELL)
    assert ends(reports) == [(STOP, E.TRIGGER), (PROFIT, E.EXPIRE), (STOP, E.FILL)]


def test_a_cancel_of_either_order_waits_for_the_whole_request() -> None:
    """Requests of an order stand behind the submission that it is a part of, so no cancel arrives before its order."""
    dispatch = Dispatch(at_once=4, cancels_at_once=4, waiting_max=10)
    command = oco()
    assert dispatch.put(command)
    assert dispatch.take() is command
    cancel = VenueCancel(
        time_ns=1, venue=PAPER_VENUE, symbol="BTCUSDT", order_id=STOP, venue_client_id="ps0-2", venue_order_id=""
    )
    assert dispatch.put(cancel)
    assert dispatch.take() is None
    dispatch.done(PROFIT)
    assert dispatch.take() is cancel
    dispatch.done(STOP)
    assert dispatch.is_idle
    # A list that was cancelled before it left never leaves.
    dispatch.put(command)
    dispatch.put(cancel)
    assert dispatch.is_cancelled(PROFIT)
