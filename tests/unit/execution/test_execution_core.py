"""The execution core, case by case: the life of an order at a venue that behaves and at one that does not."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.execution.miniature import SYMBOL, Fault, Miniature, sent

from polaris_synapse.bus.core import SnapshotError, UnexpectedMessageError
from polaris_synapse.domain.messages import (
    AuditNote,
    ExecuteCancel,
    ExecuteOrder,
    HostStarted,
    VenueCancel,
    VenueListing,
    VenueOrderStatus,
    VenueQuery,
    VenueReplace,
    VenueReport,
    VenueSubmit,
)
from polaris_synapse.domain.orders import OrderEvent, OrderState, OrderType, RiskApproved
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.execution.core import ExecutionCore, ExecutionRules

S, E = OrderState, OrderEvent


def test_an_order_is_sent_once_with_a_deterministic_id() -> None:
    """An approved order leads to one VenueSubmit whose client id is a function of partition and order id."""
    desk = Miniature()
    desk.place(5 * 1024)
    (submit,) = [m for m in desk.sent if isinstance(m, VenueSubmit)]
    assert submit.venue_client_id == "ps0-5120"
    assert len(submit.venue_client_id) <= 36
    assert submit.quantity_lots == 10


def test_an_intent_delivered_twice_is_sent_once() -> None:
    """The same ExecuteOrder again has no effect."""
    desk = Miniature()
    desk.place()
    (intent,) = [m for m in desk.inputs if isinstance(m, ExecuteOrder)]
    assert desk.feed(intent) == []


def test_only_approved_orders_are_taken() -> None:
    """An order without risk's proof is a bug and raises."""
    desk = Miniature()
    desk.place()
    (intent,) = [m for m in desk.inputs if isinstance(m, ExecuteOrder)]
    forged = msgspec.structs.replace(intent, approved=intent.approved.subject)
    with pytest.raises(TypeError, match="proof"):
        ExecutionCore().apply(forged)


def test_a_message_of_another_room_is_a_bug() -> None:
    """What the execution inbox never carries raises."""
    with pytest.raises(UnexpectedMessageError):
        ExecutionCore().apply(AuditNote(time_ns=1, actor="a", action="b"))


@pytest.mark.parametrize(
    "listing, real_trading, reason",
    [
        (None, False, Reason.VENUE_NOT_CONFIGURED),
        (VenueListing(name="binance", simulated=False), False, Reason.REAL_TRADING_DISABLED),
        (VenueListing(name="binance", simulated=False), True, None),
    ],
)
def test_real_venues_need_an_adapter_and_the_switch(
    listing: VenueListing | None, real_trading: bool, reason: Reason | None
) -> None:
    """Without an adapter, or with real trading off, an order is rejected with the reason and nothing is sent."""
    desk = Miniature(configured=False)
    if listing is not None:
        desk.configure(listing, real_trading=real_trading)
    desk.place(venue="binance")
    if reason is None:
        assert sent(desk.sent, VenueSubmit) == 1
    else:
        assert sent(desk.sent, VenueSubmit) == 0
        assert (desk.state(), desk.order().reason) == (S.REJECTED, reason)


def test_the_plain_life_of_an_order() -> None:
    """Acknowledged, filled in parts, filled: risk is told each step once."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 4, 100)
    desk.venue.fill(client_id, 6, 99)
    desk.work_off()
    assert desk.events() == [E.ACKNOWLEDGE, E.PARTIAL_FILL, E.FILL]
    assert desk.state() is S.FILLED
    desk.agrees_with_venue()


def test_a_fill_before_the_acknowledgement() -> None:
    """A fill that overtakes the acknowledgement is booked, and the late acknowledgement changes nothing."""
    desk = Miniature()
    client_id = desk.place()
    desk.carry_out(desk.commands.popleft())
    desk.venue.fill(client_id, 4, 100)
    desk.venue.stream.rotate(1)
    desk.work_off()
    assert desk.events() == [E.PARTIAL_FILL, E.ACKNOWLEDGE]
    assert desk.state() is S.PARTIALLY_FILLED


def test_the_same_trade_twice_has_one_effect() -> None:
    """A doubled fill report is booked once."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 4, 100)
    report = desk.venue.stream[0]
    desk.work_off()
    assert desk.feed(report) == []
    assert desk.order().filled_lots == 4


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
def test_a_lost_submit_is_unknown_and_never_sent_again(fault: Fault) -> None:
    """After a timeout the order is UNKNOWN until the venue has answered by id and trades; it is sent exactly once."""
    desk = Miniature()
    desk.venue.script("submit", fault)
    client_id = desk.place()
    desk.work_off()
    assert desk.events()[0] is E.LOSE
    desk.tick(30)
    assert sent(desk.sent, VenueSubmit) == 1
    assert desk.venue.accepted[client_id] <= 1
    if fault is Fault.LOST_BEFORE:
        assert (desk.state(), desk.order().reason) == (S.REJECTED, Reason.VENUE_ORDER_ABSENT)
    else:
        assert desk.state() is S.WORKING
    desk.agrees_with_venue()


def test_absence_needs_time_and_confirmation() -> None:
    """One early denial, or denials without a look at the trades, prove nothing."""
    desk = Miniature()
    desk.venue.script("submit", Fault.LOST_BEFORE)
    desk.place()
    desk.work_off()
    desk.tick(4)
    assert desk.venue.queries >= 2
    assert desk.state() is S.UNKNOWN
    desk.venue.checks_trades = False
    desk.tick(30)
    assert desk.state() is S.UNKNOWN
    desk.venue.checks_trades = True
    desk.tick(10)
    assert desk.state() is S.REJECTED


def test_repeated_answers_to_one_question_count_once() -> None:
    """The same denial delivered many times is one denial."""
    desk = Miniature()
    desk.venue.script("submit", Fault.LOST_BEFORE)
    desk.place()
    desk.venue.answers = False
    desk.work_off()
    desk.tick(8)
    status = VenueOrderStatus(
        time_ns=desk.now_ns, venue="scripted", symbol=SYMBOL, order_id=1024, answered=True, trades_checked=True
    )
    for _ in range(5):
        desk.feed(status)
    assert desk.state() is S.UNKNOWN


def test_a_silent_venue_is_asked_less_and_less_often() -> None:
    """While nothing is answered the order stays UNKNOWN, and queries back off to a bound."""
    desk = Miniature()
    desk.venue.answers = False
    desk.venue.script("submit", Fault.LOST_AFTER)
    desk.place()
    desk.work_off()
    desk.tick(600)
    assert desk.state() is S.UNKNOWN
    assert 10 <= desk.venue.queries <= 20
    desk.venue.answers = True
    desk.tick(61)
    assert desk.state() is S.WORKING


def test_an_acknowledgement_that_never_comes_is_a_lost_outcome() -> None:
    """Without any answer an order becomes UNKNOWN after the acknowledgement timeout, and is then asked about."""
    desk = Miniature()
    desk.place()
    desk.commands.clear()
    desk.tick(14)
    assert desk.state() is S.APPROVED
    desk.tick(1)
    assert desk.state() is S.UNKNOWN
    desk.tick(10)
    assert desk.state() is S.REJECTED


@pytest.mark.parametrize("sent_first", [False, True], ids=["between intent and send", "between send and answer"])
def test_a_crash_around_the_send(sent_first: bool) -> None:
    """A crash before or after the send leaves UNKNOWN, then the venue's truth; nothing is ever sent twice."""
    desk = Miniature()
    client_id = desk.place()
    if sent_first:
        desk.carry_out(desk.commands.popleft())
    desk.crash()
    assert desk.state() is S.UNKNOWN
    desk.tick(20)
    assert desk.venue.submits[client_id] == (1 if sent_first else 0)
    assert desk.state() is (S.WORKING if sent_first else S.REJECTED)
    desk.agrees_with_venue()


def test_fills_during_a_crash_are_caught_up() -> None:
    """Trades that happened while the desk was down are booked once each after the restart."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 3, 100)
    desk.work_off()
    desk.venue.fill(client_id, 2, 99, heard=False)
    desk.venue.fill(client_id, 5, 98, heard=False)
    desk.crash()
    desk.work_off()
    assert desk.events() == [E.ACKNOWLEDGE, E.PARTIAL_FILL, E.PARTIAL_FILL, E.FILL]
    desk.agrees_with_venue()


def test_a_resting_order_is_asked_about_after_a_restart() -> None:
    """An order that merely rested is queried too, and stays as it was."""
    desk = Miniature()
    desk.place()
    desk.work_off()
    desk.crash()
    desk.tick(1)
    assert desk.venue.queries == 1
    assert desk.state() is S.WORKING


def test_an_old_order_is_asked_about_by_its_deadline() -> None:
    """An open order that nothing was heard of for the freshness time is queried, and a silent end is found."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.end(client_id, S.EXPIRED, heard=False)
    desk.tick(59)
    assert desk.state() is S.WORKING
    desk.tick(2)
    assert desk.state() is S.EXPIRED


@pytest.mark.parametrize("end", [S.CANCELLED, S.EXPIRED, S.REJECTED])
def test_the_venue_may_end_an_order(end: OrderState) -> None:
    """Each end that a venue reports by itself reaches risk; after fills a rejection counts as a cancel."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 4, 100)
    desk.work_off()
    desk.venue.end(client_id, end)
    desk.work_off()
    assert desk.state() is (S.CANCELLED if end is S.REJECTED else end)
    desk.tick(10)
    assert not desk.open_breaks()


def test_a_cancel_is_answered() -> None:
    """A cancel ends the order."""
    desk = Miniature()
    desk.place()
    desk.work_off()
    desk.cancel()
    assert desk.state() is S.PENDING_CANCEL
    desk.work_off()
    assert desk.state() is S.CANCELLED


def test_cancel_and_fill_race() -> None:
    """The fill that beat the cancel is booked; the refused cancel does no harm."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.cancel()
    desk.venue.fill(client_id, 10, 100)
    desk.work_off()
    assert desk.state() is S.FILLED
    desk.tick(5)
    desk.agrees_with_venue()


def test_a_lost_cancel_is_repeated_once_the_venue_answered() -> None:
    """A cancel whose answer was lost before it had an effect is sent again, because it is still wanted."""
    desk = Miniature()
    desk.place()
    desk.work_off()
    desk.venue.script("cancel", Fault.LOST_BEFORE)
    desk.cancel()
    desk.work_off()
    assert desk.state() is S.UNKNOWN
    desk.tick(20)
    assert desk.state() is S.CANCELLED
    assert sent(desk.sent, VenueCancel) == 2


def test_a_cancel_survives_a_crash() -> None:
    """A cancel that was on its way when the desk died is carried out after the restart."""
    desk = Miniature()
    desk.place()
    desk.work_off()
    desk.cancel()
    desk.crash()
    desk.tick(20)
    assert desk.state() is S.CANCELLED
    desk.agrees_with_venue()


def test_a_cancel_of_an_unknown_order_waits_for_it() -> None:
    """The kill switch on an order of unknown outcome cancels it as soon as the venue shows it."""
    desk = Miniature()
    desk.venue.script("submit", Fault.LOST_AFTER)
    desk.venue.script("cancel", Fault.LOST_BEFORE)
    desk.place()
    desk.work_off()
    desk.cancel()
    desk.tick(30)
    assert desk.state() is S.CANCELLED


def test_pressing_cancel_many_times_sends_one() -> None:
    """Repeated cancel requests within the timeout reach the venue once."""
    desk = Miniature()
    desk.place()
    desk.work_off()
    for _ in range(5):
        desk.cancel()
    assert sent(desk.sent, VenueCancel) == 1


def test_a_cancel_for_a_filled_order_is_refused() -> None:
    """A cancel that arrives after the fill is answered with REJECT_CANCEL; one for a cancelled order with nothing."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 10, 100)
    desk.work_off()
    desk.feed(ExecuteCancel(time_ns=desk.now_ns, symbol=SYMBOL, order_id=1024))
    assert desk.events()[-1] is E.REJECT_CANCEL
    assert desk.feed(ExecuteCancel(time_ns=desk.now_ns, symbol=SYMBOL, order_id=999)) == []


@pytest.mark.parametrize("fault", list(Fault))
def test_a_replacement_ends_where_the_venue_stands(fault: Fault) -> None:
    """Whatever happens to a replacement, quantity and price end as the venue has them."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.script("replace", fault)
    desk.replace(lots=6, price_ticks=101)
    desk.work_off()
    desk.tick(30)
    theirs = desk.venue.orders[client_id]
    ours = desk.order()
    assert (ours.quantity_lots, ours.price_ticks) == (theirs.quantity_lots, theirs.price_ticks)
    assert ours.state is S.WORKING
    assert sent(desk.sent, VenueReplace) == 1
    assert not desk.open_breaks()


def test_a_replacement_of_a_cancelling_order_is_refused() -> None:
    """An order that is being cancelled takes no replacement."""
    desk = Miniature()
    desk.place()
    desk.work_off()
    desk.cancel()
    desk.replace(lots=6, price_ticks=101)
    assert sent(desk.sent, VenueReplace) == 0


def test_a_fill_of_the_larger_quantity_before_the_replacement_is_heard() -> None:
    """A fill beyond the old quantity, explained by a replacement under way, is booked after a query and is no break."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.script("replace", Fault.LOST_AFTER)
    desk.replace(lots=20, price_ticks=100)
    desk.carry_out(desk.commands.popleft())
    desk.venue.fill(client_id, 15, 100)
    desk.work_off()
    desk.tick(10)
    assert desk.order().filled_lots == 15
    assert not desk.open_breaks()
    desk.agrees_with_venue()


@pytest.mark.parametrize("end", [S.CANCELLED, S.EXPIRED])
def test_late_fills_are_booked(end: OrderState) -> None:
    """Fills that a venue reports after the end of an order are booked; a complete one makes it FILLED."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.end(client_id, end)
    desk.work_off()
    desk.venue.fill(client_id, 4, 100)
    desk.work_off()
    assert (desk.state(), desk.order().filled_lots) == (end, 4)
    desk.venue.fill(client_id, 6, 100)
    desk.work_off()
    assert desk.state() is S.FILLED


def test_a_fill_that_the_stream_dropped_before_the_end_is_found() -> None:
    """After a cancel the venue is asked once more, so a fill whose report was lost is not."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 4, 100, heard=False)
    desk.cancel()
    desk.work_off()
    assert desk.order().filled_lots == 0
    desk.tick(15)
    assert desk.order().filled_lots == 4
    queries = desk.venue.queries
    desk.tick(120)
    assert desk.venue.queries == queries


def test_a_fill_report_that_claims_the_end_too_early_asks_for_the_rest() -> None:
    """FILL with trades missing is not believed: the missing ones are fetched."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 4, 100, heard=False)
    desk.venue.fill(client_id, 6, 100)
    desk.work_off()
    assert desk.state() is S.FILLED
    assert desk.events() == [E.ACKNOWLEDGE, E.PARTIAL_FILL, E.FILL]


def test_an_overfill_opens_a_break_and_is_not_booked() -> None:
    """More than was ordered is never booked; the break names the trade, and a person closes it."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 12, 100)
    desk.work_off()
    assert desk.order().filled_lots == 0
    (found,) = desk.open_breaks()
    assert "t1" in found.detail
    assert found.account == "alice"
    answer = desk.resolve(found.break_id)
    assert (answer.reason, answer.request_id, answer.duplicate) == (Reason.NONE, "r1", False)
    assert not desk.open_breaks()
    desk.tick(200)
    assert not desk.open_breaks()
    assert desk.state() is S.CANCELLED


def test_resolving_twice_and_resolving_nothing() -> None:
    """A second resolution is a duplicate; a break that never was is NOT_FOUND."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.fill(client_id, 12, 100)
    desk.work_off()
    (found,) = desk.open_breaks()
    desk.resolve(found.break_id)
    assert desk.resolve(found.break_id).duplicate
    assert desk.resolve("break-0-99").reason is Reason.NOT_FOUND


def test_a_trade_id_of_another_order_opens_a_break() -> None:
    """Trade ids are unique per venue and symbol: one that comes back on another order is not booked."""
    desk = Miniature()
    first, second = desk.place(1024), desk.place(2048)
    desk.work_off()
    desk.venue.fill(first, 4, 100, trade_id="T")
    desk.venue.fill(second, 4, 100, trade_id="T")
    desk.work_off()
    assert desk.order(2048).filled_lots == 0
    assert len(desk.open_breaks()) == 1


def test_fills_without_trades_open_a_break_that_closes_by_itself() -> None:
    """A filled quantity that no trade explains opens a break once confirmed; when the trades turn up it closes."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()

    def answer(filled_lots: int) -> None:
        desk.feed(
            VenueOrderStatus(
                time_ns=desk.now_ns,
                venue="scripted",
                symbol=SYMBOL,
                order_id=1024,
                answered=True,
                found=True,
                trades_checked=True,
                state=S.PARTIALLY_FILLED,
                quantity_lots=10,
                price_ticks=100,
                filled_lots=filled_lots,
            )
        )

    desk.tick(60, work=False)
    answer(4)
    assert not desk.open_breaks()
    desk.tick(2, work=False)
    answer(4)
    (found,) = desk.open_breaks()
    assert "0.00004 BTC" in found.detail
    assert desk.order().filled_lots == 0
    desk.venue.fill(client_id, 4, 100)
    desk.work_off()
    desk.tick(61)
    assert not desk.open_breaks()
    assert "explained" in desk.breaks[found.break_id].detail


def test_an_answer_that_was_overtaken_by_a_report_opens_nothing() -> None:
    """A status from before the last fill contradicts the books once, and is forgiven."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    query = VenueQuery(time_ns=0, venue="scripted", symbol=SYMBOL, order_id=1024, venue_client_id=client_id)
    old = desk.venue.query_now(query)
    desk.venue.fill(client_id, 10, 100)
    desk.work_off()
    for _ in range(3):
        desk.feed(old)
        desk.tick(3)
    assert not desk.open_breaks()
    assert desk.state() is S.FILLED


def test_an_order_that_the_venue_lost_is_a_break() -> None:
    """An acknowledged order that the venue denies opens a break; resolved, it ends as cancelled."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    del desk.venue.orders[client_id]
    desk.tick(70)
    assert desk.state() is S.WORKING
    (found,) = desk.open_breaks()
    desk.resolve(found.break_id)
    assert (desk.state(), desk.order().reason) == (S.CANCELLED, Reason.VENUE_ORDER_ABSENT)


def test_an_order_that_turns_up_after_it_was_given_up_is_cancelled() -> None:
    """An order proved absent that lives after all opens a break and is cancelled at the venue."""
    desk = Miniature()
    desk.venue.script("submit", Fault.LOST_BEFORE)
    client_id = desk.place()
    (submit,) = [m for m in desk.sent if isinstance(m, VenueSubmit)]
    desk.work_off()
    desk.tick(20)
    assert desk.state() is S.REJECTED
    desk.venue.submit_now(submit)
    desk.venue.stream.clear()
    desk.feed(
        desk.venue.query_now(
            VenueQuery(time_ns=0, venue="scripted", symbol=SYMBOL, order_id=1024, venue_client_id=client_id)
        )
    )
    desk.tick(70)
    assert desk.breaks
    assert desk.venue.orders[client_id].state is S.CANCELLED
    assert not desk.open_breaks()


def test_terms_that_nobody_asked_for_are_a_break() -> None:
    """A quantity changed at the venue by somebody else opens a break; a person may accept it."""
    desk = Miniature()
    client_id = desk.place()
    desk.work_off()
    desk.venue.orders[client_id].quantity_lots = 7
    desk.tick(70)
    (found,) = desk.open_breaks()
    desk.resolve(found.break_id)
    desk.tick(130)
    assert not desk.open_breaks()


def test_an_order_that_the_desk_did_not_send_is_a_break() -> None:
    """A stranger at the venue opens one break; once a person has looked at it, it opens no other."""
    desk = Miniature()
    status = VenueOrderStatus(
        time_ns=desk.now_ns,
        venue="scripted",
        symbol=SYMBOL,
        order_id=0,
        answered=True,
        found=True,
        state=S.WORKING,
        venue_order_id="by-hand",
    )
    desk.feed(status)
    desk.feed(status)
    (found,) = desk.open_breaks()
    desk.resolve(found.break_id)
    desk.feed(status)
    assert not desk.open_breaks()


def test_a_stop_order_arms_and_triggers() -> None:
    """A waiting order is ARMED, triggers, and fills; a trigger found by a query counts as well."""
    desk = Miniature()
    client_id = desk.place(type_=OrderType.STOP_LIMIT)
    desk.work_off()
    assert desk.state() is S.ARMED
    desk.venue.trigger(client_id, heard=False)
    desk.tick(61)
    assert desk.state() is S.WORKING
    desk.venue.fill(client_id, 10, 100)
    desk.work_off()
    assert desk.events() == [E.ARM, E.TRIGGER, E.FILL]


def test_an_order_by_quote_amount_is_filled_when_the_venue_says_so() -> None:
    """Such an order has no quantity of its own: the venue's FILL carries the total."""
    desk = Miniature()
    desk.place(lots=0, price_ticks=0, type_=OrderType.MARKET, quote_amount_units=10**9)
    desk.commands.clear()

    def report(event: OrderEvent, trade_id: str, total: int = 0) -> VenueReport:
        venue = Miniature().venue
        submit = next(m for m in desk.sent if isinstance(m, VenueSubmit))
        venue.submit_now(submit)
        fill = venue.fill(submit.venue_client_id, 3, 100, trade_id=trade_id)
        return VenueReport(
            time_ns=desk.now_ns,
            venue="scripted",
            symbol=SYMBOL,
            order_id=1024,
            event=event,
            fill=fill,
            quantity_lots=total,
        )

    desk.feed(report(E.PARTIAL_FILL, "a"))
    desk.feed(report(E.FILL, "b", total=6))
    assert desk.state() is S.FILLED
    assert desk.risk.reports[-1].quantity_lots == 6


def test_a_request_that_was_certainly_not_sent_is_rejected() -> None:
    """When nothing left the desk the order is rejected at once, without a query."""
    desk = Miniature()
    desk.venue.script("submit", Fault.NOT_SENT)
    desk.place()
    desk.work_off()
    assert (desk.state(), desk.order().reason) == (S.REJECTED, Reason.VENUE_UNAVAILABLE)
    assert desk.venue.queries == 0


def test_closed_orders_are_forgotten_beyond_the_limit() -> None:
    """Memory of ended orders is bounded, with their trades."""
    desk = Miniature(core=ExecutionCore(rules=ExecutionRules(closed_orders_max=10)))
    for number in range(1, 31):
        client_id = desk.place(number * 1024)
        desk.work_off()
        desk.venue.fill(client_id, 10, 100)
        desk.work_off()
    state = desk.core._state
    assert len(state.orders) <= 11
    assert len(state.trades) <= 11


def test_queries_after_a_restart_are_spread() -> None:
    """A restart with many open orders asks about a bounded number a tick, and about all in the end."""
    desk = Miniature(core=ExecutionCore(rules=ExecutionRules(queries_per_tick_max=5)))
    for number in range(1, 24):
        desk.place(number * 1024)
    desk.work_off()
    desk.venue.queries = 0
    rules = ExecutionRules(queries_per_tick_max=5)
    core = ExecutionCore(rules=rules)
    core.restore(desk.core.snapshot())
    desk.core = core
    desk.feed(HostStarted(time_ns=desk.now_ns))
    assert sent(list(desk.commands), VenueQuery) == 5
    desk.tick(5)
    assert desk.venue.queries == 23


def test_a_foreign_snapshot_is_refused() -> None:
    """Bytes that are no snapshot of this core are not taken over."""
    with pytest.raises(SnapshotError):
        ExecutionCore().restore(b"\x92\x07\x80")


def test_an_approved_order_is_the_only_way_in() -> None:
    """The proof type is what carries the order."""
    desk = Miniature()
    desk.place()
    (intent,) = [m for m in desk.inputs if isinstance(m, ExecuteOrder)]
    assert isinstance(intent.approved, RiskApproved)
