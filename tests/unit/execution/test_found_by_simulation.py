"""What the simulator found in execution, each reduced to its shortest form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.unit.execution.miniature import SECOND_NS, SYMBOL, Fault, Miniature

from polaris_synapse.domain.messages import VenueCancel, VenueQuery, VenueReport, VenueSubmit
from polaris_synapse.domain.orders import (
    Fill,
    Liquidity,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderType,
    Side,
)
from polaris_synapse.execution.service import ExecutionService, dated
from polaris_synapse.execution.settings import ExecutionSettings
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.venues import ScriptedVenue

S = OrderState
E = OrderEvent


def piece(trade_id: str, lots: int) -> Fill:
    """A trade of the venue."""
    return Fill(
        trade_id=trade_id,
        price_ticks=100,
        quantity_lots=lots,
        liquidity=Liquidity.TAKER,
        fee_units=0,
        fee_asset="USDT",
    )


def hear(desk: Miniature, event: OrderEvent, fill: Fill | None = None, *, quantity_lots: int = 0) -> None:
    """A report of order 1024 arrives."""
    desk.feed(
        VenueReport(
            time_ns=desk.now_ns,
            venue="scripted",
            symbol=SYMBOL,
            order_id=1024,
            event=event,
            fill=fill,
            quantity_lots=quantity_lots,
        )
    )


def amount_order() -> Miniature:
    """A desk with one order by quote amount at the venue, whose reports the test makes itself."""
    desk = Miniature()
    desk.place(type_=OrderType.MARKET, lots=0, price_ticks=0, quote_amount_units=10**6)
    desk.commands.clear()
    return desk


def test_the_last_trade_of_an_order_by_amount_does_not_end_it_alone() -> None:
    """A gap swallows the first trade: the order stays open, the venue is asked, and nothing is lost."""
    desk = amount_order()
    hear(desk, E.FILL, piece("t2", 6), quantity_lots=10)
    assert (desk.state(), desk.order().filled_lots) == (S.PARTIALLY_FILLED, 6)
    assert isinstance(desk.commands[-1], VenueQuery)
    hear(desk, E.PARTIAL_FILL, piece("t1", 4))
    assert (desk.state(), desk.order().filled_lots) == (S.FILLED, 10)


def test_an_older_count_of_the_venue_leaves_the_quantity_alone() -> None:
    """A late answer knows two trades, the stream a third: together they fill the order, with its quantity as it was."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 4, 100, heard=False)
    desk.venue.fill(client_id, 5, 100, heard=False)
    query = VenueQuery(time_ns=desk.now_ns, venue="scripted", symbol=SYMBOL, order_id=1024, venue_client_id=client_id)
    answer = desk.venue.query_now(query)
    desk.venue.fill(client_id, 1, 100)
    desk.feed(desk.venue.stream.popleft())
    desk.feed(answer)
    assert desk.state() is S.FILLED
    assert all(report.quantity_lots == 0 for report in desk.risk.reports)


def test_an_end_that_an_answer_told_is_looked_at_again() -> None:
    """The venue itself learns of a trade after it said that the order had ended; the last look comes late enough."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.end(client_id, S.EXPIRED, heard=False)
    desk.tick(61)
    assert desk.state() is S.EXPIRED
    desk.venue.fill(client_id, 4, 100, heard=False)
    desk.tick(6)
    assert desk.order().filled_lots == 4


def test_a_stop_whose_cancel_was_refused_still_waits() -> None:
    """The order table leads back to WORKING; the venue's answer says that the trigger has not come."""
    desk = Miniature()
    desk.place(type_=OrderType.STOP_LIMIT)
    desk.work_off()
    assert desk.state() is S.ARMED
    desk.venue.script("cancel", Fault.REFUSED)
    desk.cancel()
    desk.work_off()
    assert desk.state() is S.ARMED
    assert desk.events()[-2:] == [E.REJECT_CANCEL, E.ARM]


def test_answers_that_reports_have_overtaken_contradict_nothing() -> None:
    """The venue answers slowly while its stream is quick: however often, that opens no break."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    for _ in range(3):
        desk.clock.advance(3)
        query = VenueQuery(
            time_ns=desk.now_ns, venue="scripted", symbol=SYMBOL, order_id=1024, venue_client_id=client_id
        )
        answer = desk.venue.query_now(query)
        desk.clock.advance(1)
        desk.venue.fill(client_id, 2, 100)
        desk.feed(desk.venue.stream.popleft())
        # The host puts the time of what other messages have overtaken forward.
        desk.feed(replace(dated(answer), time_ns=desk.now_ns))
        desk.tick(3, work=False)
    assert desk.open_breaks() == []
    assert desk.order().filled_lots == 6


def test_a_repeated_report_answers_no_later_replacement() -> None:
    """The first replacement's report comes twice, late enough to meet the second one under way."""
    desk = Miniature()
    desk.place()
    desk.work_off()
    desk.replace(lots=8, price_ticks=99)
    desk.carry_out(desk.commands.popleft())
    first = desk.venue.stream.popleft()
    desk.feed(first)
    desk.replace(lots=20, price_ticks=98)
    desk.feed(first)
    assert desk.state() is S.PENDING_REPLACE
    desk.work_off()
    desk.tick(10)
    assert (desk.order().quantity_lots, desk.order().price_ticks) == (20, 98)
    assert desk.open_breaks() == []


def test_a_refused_cancel_leaves_a_replacement_in_doubt() -> None:
    """The order grew and was filled whole; the grown order's report is lost, and its cancel comes too late."""
    desk = Miniature()
    client_id = desk.place(lots=10)
    desk.work_off()
    desk.replace(lots=11, price_ticks=100)
    desk.carry_out(desk.commands.popleft())
    desk.venue.stream.clear()
    desk.cancel()
    cancel = desk.commands.popleft()
    desk.venue.fill(client_id, 11, 100)
    desk.carry_out(cancel)
    while desk.venue.stream:
        desk.feed(desk.venue.stream.popleft())
    desk.work_off()
    desk.tick(2)
    assert desk.open_breaks() == []
    assert (desk.state(), desk.order().filled_lots, desk.order().quantity_lots) == (S.FILLED, 11, 11)


def test_cancels_that_are_repeated_do_not_put_off_the_proof_that_an_order_is_absent() -> None:
    """The kill switch asks again each second for the cancel of an order that never left; it ends all the same."""
    desk = Miniature()
    desk.place()
    desk.crash()
    for _ in range(20):
        if desk.state() is not S.UNKNOWN:
            break
        desk.cancel()
        desk.work_off()
        desk.tick()
    assert desk.state() is S.REJECTED


class Bench:
    """The service's decision about a command whose turn has come."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.service = ExecutionService(
            bus=cast("Any", None),
            clock=self.clock,
            registry=CollectorRegistry(),
            settings=ExecutionSettings(),
            venues=[ScriptedVenue()],
        )
        self.dispatch = self.service.new_dispatch()

    def submit(self) -> VenueSubmit:
        """An order on its way to the venue."""
        request = OrderRequest(
            account="alice", client_order_id="c", symbol=SYMBOL, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=1
        )
        return VenueSubmit(
            time_ns=self.clock.now_ns(),
            venue="scripted",
            symbol=SYMBOL,
            order_id=1024,
            venue_client_id="ps0-1024",
            request=request,
            quantity_lots=1,
            price_ticks=1,
            stop_price_ticks=0,
        )

    def turn(self, command: VenueSubmit | VenueCancel) -> Sequence[Any] | None:
        """What is said instead of sending it."""
        return self.service.held_back(self.dispatch, command)


def test_an_order_does_not_leave_after_its_cancel_was_asked_for() -> None:
    """What waits for its turn when the kill switch is pressed ends here, and its cancel goes out to make sure."""
    bench = Bench()
    submit = bench.submit()
    cancel = VenueCancel(
        time_ns=submit.time_ns,
        venue="scripted",
        symbol=SYMBOL,
        order_id=1024,
        venue_client_id="ps0-1024",
        venue_order_id="",
    )
    bench.dispatch.put(submit)
    assert bench.turn(submit) is None
    bench.dispatch.put(cancel)
    first = bench.dispatch.take()
    assert first is submit
    said = bench.turn(submit)
    assert said is not None
    assert [report.event for report in said] == [E.CANCEL]
    bench.dispatch.done(1024)
    assert bench.dispatch.take() is cancel
    assert bench.turn(cancel) is None
    assert bench.turn(submit) is None


def test_an_order_that_waited_too_long_is_not_sent() -> None:
    """The core may be about to take its absence for proved."""
    bench = Bench()
    submit = bench.submit()
    bench.clock.advance(4)
    assert bench.turn(submit) is None
    bench.clock.advance_to_ns(bench.clock.now_ns() + SECOND_NS // 10)
    said = bench.turn(submit)
    assert said is not None
    assert [report.event for report in said] == [E.REJECT]
