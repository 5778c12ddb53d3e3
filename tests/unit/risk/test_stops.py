"""Breakers, the kill switch, flattening, and what is set rather than traded."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from tests.unit.risk.bench import BTCUSDT, NOON, ONE, SECOND, Bench, of_type, ready, usdt

from polaris_synapse.bus.core import SnapshotError, UnexpectedMessageError
from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import (
    AccountMetrics,
    ActivateBreaker,
    AuditNote,
    BreakChanged,
    BreakerChanged,
    CancelAll,
    Command,
    ExecuteCancel,
    ExecuteOrder,
    HostStarted,
    KillLevel,
    KillLevelChanged,
    LimitBreached,
    ListInstrument,
    Mandate,
    OrderUpdated,
    ReenableAccount,
    RemoveOrder,
    ResetBreaker,
    RiskLimits,
    SetInstrumentStatus,
    SetKillLevel,
    SetLimits,
    SetMandate,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Order, OrderEvent, OrderState, OrderType, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.orders import CANCELS_AT_ONCE_MAX


def trip(bench: Bench, scope: str) -> Reason:
    """Trip a scope."""
    return bench.ask(ActivateBreaker(time_ns=bench.now, scope=scope, actor="user:officer", note="test")).reason


def reset(bench: Bench, scope: str) -> Reason:
    """Reset a scope."""
    return bench.ask(ResetBreaker(time_ns=bench.now, scope=scope, actor="user:officer")).reason


def holding(lots: int = 100_000) -> Bench:
    """A bench on which alice has bought ``lots`` of BTCUSDT at 60,000."""
    bench = ready()
    order = bench.accepted(lots=lots)
    bench.fill(order, lots, 60_000, event=OrderEvent.FILL)
    bench.history.clear()
    return bench


def flatten_orders(bench: Bench) -> list[Order]:
    """The kill switch's own orders so far."""
    return [message.approved.subject for message in of_type(bench.history, ExecuteOrder)]


@pytest.mark.parametrize(
    "scope, stopped, free",
    [
        ("*", {}, None),
        ("symbol:BTCUSDT", {}, {"symbol": "BTCUSDT.INT"}),
        ("account:alice", {"symbol": "BTCUSDT.INT"}, {"account": "bob"}),
    ],
)
def test_a_breaker_stops_its_scope_until_a_person_resets_it(
    scope: str, stopped: dict[str, Any], free: dict[str, Any] | None
) -> None:
    """No new orders in the scope, others go on, and time alone resets nothing."""
    bench = ready()
    bench.open_account("bob")
    bench.fund("USDT", usdt(1_000), "bob")
    assert trip(bench, scope) is Reason.NONE
    bench.tick(100_000)
    bench.mark(60_000)
    answer = bench.submit(bench.request(**stopped))
    assert answer.reason is Reason.CIRCUIT_BREAKER
    assert "test" in answer.detail
    if free is not None:
        assert bench.submit(bench.request(**free)).reason is Reason.NONE
    assert reset(bench, scope) is Reason.NONE
    assert bench.submit(bench.request(**stopped)).reason is Reason.NONE
    changes = [(change.scope, change.tripped, change.actor) for change in of_type(bench.history, BreakerChanged)]
    assert changes == [(scope, True, "user:officer"), (scope, False, "user:officer")]


def test_tripping_twice_and_resetting_nothing_change_nothing() -> None:
    """Repetitions are duplicates and publish no fact."""
    bench = ready()
    command = ActivateBreaker(time_ns=bench.now)
    assert [bench.ask(command).duplicate for _ in range(2)] == [False, True]
    back = ResetBreaker(time_ns=bench.now)
    assert [bench.ask(back).duplicate for _ in range(2)] == [False, True]
    assert len(of_type(bench.history, BreakerChanged)) == 2


@pytest.mark.parametrize(
    "scope, reason",
    [
        ("", Reason.INVALID_VALUE),
        ("everything", Reason.INVALID_VALUE),
        ("symbol:", Reason.INVALID_VALUE),
        ("symbol:NONE", Reason.SYMBOL_NOT_FOUND),
        ("account:nobody", Reason.ACCOUNT_NOT_FOUND),
    ],
)
def test_scopes_that_are_none(scope: str, reason: Reason) -> None:
    """A scope names something that exists."""
    assert trip(ready(), scope) is reason
    assert reset(ready(), scope) is reason


def test_a_mark_that_jumps_trips_its_symbol_and_is_not_believed() -> None:
    """A price a hundred times too high stops the symbol and what it measures, and never enters anybody's equity."""
    bench = ready()
    out = bench.mark(6_000_000)
    assert [change.scope for change in of_type(out, BreakerChanged)] == ["symbol:BTCUSDT", "symbol:BTCUSDT.INT"]
    assert bench.submit().reason is Reason.CIRCUIT_BREAKER
    assert of_type(bench.tick(), AccountMetrics)[0].equity_units == usdt(160_000)
    bench.mark(60_000)
    assert reset(bench, "symbol:BTCUSDT") is Reason.NONE
    assert bench.submit().reason is Reason.NONE


def test_a_jump_that_the_next_mark_confirms_becomes_the_price() -> None:
    """A real crash is believed at the second mark; the breaker stays open for a person."""
    bench = ready()
    bench.mark(50_000)
    assert of_type(bench.tick(), AccountMetrics)[0].equity_units == usdt(160_000)
    bench.mark(50_100)
    assert of_type(bench.tick(), AccountMetrics)[0].equity_units == usdt(150_100)
    assert "symbol:BTCUSDT" in bench.core.breakers()


def test_a_move_while_nobody_looked_is_no_jump() -> None:
    """Two marks more than a minute apart are not compared, and the limit is the desk's to set."""
    bench = ready()
    bench.now += 61 * SECOND
    assert of_type(bench.mark(50_000), BreakerChanged) == []
    bench.limits(breaker_mark_jump_ppm=10_000)
    assert of_type(bench.mark(50_500), BreakerChanged) == []
    assert len(of_type(bench.mark(51_006), BreakerChanged)) == 2


def test_a_drawdown_trips_the_account_and_a_reset_accepts_it() -> None:
    """The breach is said once; after a person reset the breaker the drawdown is measured from there."""
    bench = holding()
    bench.limits(drawdown_ppm_max=10_000)
    bench.mark(59_000)
    first = bench.tick()
    assert [breach.reason for breach in of_type(first, LimitBreached)] == [Reason.DRAWDOWN_LIMIT]
    assert of_type(bench.tick(), LimitBreached) == []
    bench.mark(59_000)
    assert bench.submit(price=59_000).reason is Reason.CIRCUIT_BREAKER
    assert bench.submit(side=Side.SELL, price=59_000).reason is Reason.NONE
    assert reset(bench, "account:alice") is Reason.NONE
    assert bench.submit(price=59_000).reason is Reason.NONE


def test_a_person_can_close_the_exit_that_a_loss_leaves_open() -> None:
    """A loss lets reducing orders through; a person's trip of the same scope does not."""
    bench = holding()
    bench.limits(daily_loss_units_max=usdt(100))
    bench.mark(59_000)
    bench.tick()
    bench.mark(59_000)
    assert bench.submit(side=Side.SELL, lots=10_000, price=59_000).reason is Reason.NONE
    assert trip(bench, "account:alice") is Reason.NONE
    assert bench.submit(side=Side.SELL, lots=10_000, price=59_000).reason is Reason.CIRCUIT_BREAKER


def test_no_new_risk_lets_only_reducing_orders_through() -> None:
    """What brings the position nearer to zero passes, with all open orders of that side counted."""
    bench = holding(10_000)
    bench.kill(KillLevel.NO_NEW_RISK)
    assert bench.submit().reason is Reason.KILL_SWITCH
    assert bench.submit(side=Side.SELL, lots=10_001).reason is Reason.KILL_SWITCH
    assert bench.submit(side=Side.SELL, lots=6_000).reason is Reason.NONE
    assert bench.submit(side=Side.SELL, lots=6_000).reason is Reason.KILL_SWITCH
    assert bench.submit(side=Side.SELL, lots=4_000).reason is Reason.NONE


def test_the_kill_switch_of_one_account_leaves_the_others_alone() -> None:
    """Levels are per account and for all; the higher one counts."""
    bench = ready()
    bench.open_account("bob")
    bench.fund("USDT", usdt(1_000), "bob")
    bench.kill(KillLevel.CANCEL_ALL, "alice")
    assert bench.submit().reason is Reason.KILL_SWITCH
    assert bench.submit(account="bob").reason is Reason.NONE
    assert bench.core.kill_levels() == {"*": KillLevel.OFF, "alice": KillLevel.CANCEL_ALL}
    missing = SetKillLevel(time_ns=bench.now, level=KillLevel.OFF, account="nobody")
    assert bench.ask(missing).reason is Reason.ACCOUNT_NOT_FOUND


def test_cancel_all_cancels_every_open_order_and_asks_again_where_it_is_refused() -> None:
    """Orders at every venue are asked to end, the fact lists them, and a refused cancel is repeated each tick."""
    bench = ready()
    paper, internal = bench.accepted(), bench.accepted(symbol="BTCUSDT.INT")
    out = bench.kill(KillLevel.CANCEL_ALL)
    assert [message.order_id for message in of_type(out, ExecuteCancel)] == [paper.order_id]
    assert [message.order_id for message in of_type(out, RemoveOrder)] == [internal.order_id]
    assert of_type(out, KillLevelChanged)[0].order_ids == (paper.order_id, internal.order_id)
    assert of_type(bench.tick(), ExecuteCancel) == []
    bench.report(paper, OrderEvent.REJECT_CANCEL)
    assert len(of_type(bench.tick(), ExecuteCancel)) == 1
    ended = of_type(bench.report(paper, OrderEvent.CANCEL), OrderUpdated)[0].order
    assert ended.reason is Reason.CANCELLED_BY_KILL_SWITCH
    assert bench.submit(side=Side.SELL).reason is Reason.KILL_SWITCH


def test_a_kill_switch_over_many_orders_is_in_force_at_once_and_cancels_in_steps() -> None:
    """One input cancels so many; the ticks and a CancelAll do the rest, orders at venues first, none of them twice."""
    bench = ready()
    bench.limits(open_orders_max=0, message_burst_max=10_000, messages_per_second_max=10_000, repeated_orders_max=0)
    bench.limits("alice", open_orders_max=0, message_burst_max=10_000, repeated_orders_max=0)
    internal = [bench.accepted(symbol="BTCUSDT.INT", lots=100).order_id for _ in range(CANCELS_AT_ONCE_MAX)]
    paper = [bench.accepted(lots=100).order_id for _ in range(CANCELS_AT_ONCE_MAX + 1)]
    out = bench.kill(KillLevel.CANCEL_ALL)
    assert of_type(out, KillLevelChanged)[0].order_ids == (*paper, *internal)
    assert bench.submit().reason is Reason.KILL_SWITCH
    assert [message.order_id for message in of_type(out, ExecuteCancel)] == paper[:-1]
    hurry = CancelAll(time_ns=bench.now, actor="desk", reason=Reason.CANCELLED_BY_KILL_SWITCH)
    assert bench.ask(hurry).order_ids == (paper[-1], *internal[:-1])
    assert [message.order_id for message in of_type(bench.tick(), RemoveOrder)] == internal[-1:]
    assert bench.ask(hurry).order_ids == ()


def test_cancel_all_says_what_it_left() -> None:
    """One that matches more than one input may cancel says how many are left for the next."""
    bench = ready()
    bench.limits("alice", open_orders_max=0, message_burst_max=10_000, repeated_orders_max=0)
    for _ in range(CANCELS_AT_ONCE_MAX + 2):
        bench.accepted(lots=100)
    answer = bench.ask(CancelAll(time_ns=bench.now, account="alice"))
    assert (len(answer.order_ids), answer.detail) == (
        CANCELS_AT_ONCE_MAX,
        "2 more orders are open; ask again for them.",
    )
    answer = bench.ask(CancelAll(time_ns=bench.now, account="alice"))
    assert (len(answer.order_ids), answer.detail) == (2, "")


def test_flatten_waits_for_cancels_and_then_sells_everything() -> None:
    """The base that a resting order holds is free only once its cancel is confirmed; then one market order closes."""
    bench = holding()
    resting = bench.accepted(side=Side.SELL, lots=60_000, price=61_000)
    bench.history.clear()
    bench.kill(KillLevel.FLATTEN)
    assert flatten_orders(bench) == []
    bench.report(resting, OrderEvent.CANCEL)
    (order,) = flatten_orders(bench)
    request = order.request
    assert (request.side, request.type, request.quantity_lots) == (Side.SELL, OrderType.MARKET, 100_000)
    assert (request.client_order_id.startswith("flatten-1-"), order.reason) == (True, Reason.FLATTENED)
    bench.fill(order, 100_000, 59_900, event=OrderEvent.FILL)
    for _ in range(20):
        bench.tick()
        bench.mark(60_000)
    assert len(flatten_orders(bench)) == 1
    updated = of_type(bench.history, OrderUpdated)[-1].order
    assert (updated.state, updated.reason) == (OrderState.FILLED, Reason.FLATTENED)


def test_flatten_goes_on_with_what_is_free_when_an_order_stays_unknown() -> None:
    """After its wait it sells what nothing reserves, and the rest once that is free."""
    bench = holding()
    stuck = bench.accepted(side=Side.SELL, lots=150_000, price=61_000)
    bench.report(stuck, OrderEvent.LOSE)
    bench.history.clear()
    bench.kill(KillLevel.FLATTEN)
    for _ in range(10):
        assert flatten_orders(bench) == []
        bench.tick()
        bench.mark(60_000)
    bench.tick()
    (first,) = flatten_orders(bench)
    assert first.quantity_lots == 50_000
    bench.fill(first, 50_000, 60_000, event=OrderEvent.FILL)
    bench.report(stuck, OrderEvent.REJECT)
    bench.tick()
    assert [order.quantity_lots for order in flatten_orders(bench)] == [50_000, 50_000]


def test_flatten_retries_at_a_bounded_rate_and_says_once_why_it_cannot() -> None:
    """A refused or unfilled attempt is repeated every few seconds, its reason is said once."""
    bench = holding()
    bench.now += 60 * SECOND  # the mark is old
    out = bench.kill(KillLevel.FLATTEN)
    assert [breach.reason for breach in of_type(out, LimitBreached)] == [Reason.MARKET_DATA_STALE]
    bench.history.clear()
    for _ in range(12):
        bench.tick()
    assert of_type(bench.history, LimitBreached) == []
    bench.mark(60_000)
    for _ in range(6):
        bench.tick()
        bench.mark(60_000)
    (order,) = flatten_orders(bench)
    bench.report(order, OrderEvent.EXPIRE, reason=Reason.BOOK_NO_LIQUIDITY)
    assert len(flatten_orders(bench)) == 1
    for _ in range(6):
        bench.tick()
        bench.mark(60_000)
    assert len(flatten_orders(bench)) == 2


def test_flatten_closes_a_large_position_in_steps_and_leaves_dust() -> None:
    """Each order keeps the limits on one order; what is too small to sell is said once and stays."""
    bench = holding(100_005)
    bench.limits(order_quantity_lots_max=50_000)
    bench.kill(KillLevel.FLATTEN)
    for _ in range(2):
        bench.fill(flatten_orders(bench)[-1], 50_000, 60_000, event=OrderEvent.FILL)
    assert [order.quantity_lots for order in flatten_orders(bench)] == [50_000, 50_000]
    dust = of_type(bench.history, LimitBreached)
    assert [breach.reason for breach in dust] == [Reason.QUANTITY_TOO_SMALL]
    bench.tick()
    assert of_type(bench.history, LimitBreached) == dust


def test_flatten_buys_a_short_position_back() -> None:
    """Who sold deposited base is short by it; flattening buys as much as the free quote covers."""
    bench = ready()
    order = bench.accepted(side=Side.SELL, lots=50_000)
    bench.fill(order, 50_000, 60_000, event=OrderEvent.FILL)
    bench.history.clear()
    bench.kill(KillLevel.FLATTEN)
    (order,) = flatten_orders(bench)
    assert (order.request.side, order.quantity_lots) == (Side.BUY, 50_000)


def test_flatten_bypasses_the_kill_switch_and_the_clients_throttles_only() -> None:
    """A stopped account can be flattened; a breaker still holds everything until a person resets it."""
    bench = holding()
    bench.limits(repeated_orders_max=1)
    bench.submit(lots=1_000)
    bench.submit(lots=1_000)
    assert bench.core.stopped_accounts() == ("alice",)
    trip(bench, "*")
    bench.kill(KillLevel.FLATTEN)
    bench.history.clear()
    bench.kill(KillLevel.FLATTEN)
    for order_id in sorted(bench.core._desk.state.accounts["alice"].open_orders):
        bench.report(bench.core._desk.orders[order_id].order, OrderEvent.CANCEL)
    assert flatten_orders(bench) == []
    assert Reason.CIRCUIT_BREAKER in [breach.reason for breach in of_type(bench.history, LimitBreached)]
    reset(bench, "*")
    bench.now += 5 * SECOND
    bench.mark(60_000)
    bench.tick()
    assert len(flatten_orders(bench)) == 1


def test_the_kill_switch_survives_a_restart() -> None:
    """A restored core goes on cancelling and flattening where the first one stopped."""
    bench = holding()
    resting = bench.accepted(side=Side.SELL, lots=60_000, price=61_000)
    bench.kill(KillLevel.FLATTEN)
    restored = RiskCore()
    restored.restore(bench.core.snapshot())
    assert restored.state_hash() == bench.core.state_hash()
    bench.core = restored
    bench.history.clear()
    assert bench.submit().reason is Reason.KILL_SWITCH
    bench.report(resting, OrderEvent.CANCEL)
    assert len(flatten_orders(bench)) == 1


def test_after_a_restart_no_old_price_counts() -> None:
    """However recent the last mark was, the first order after HostStarted waits for a new one."""
    bench = ready()
    bench.send(HostStarted(time_ns=bench.now))
    assert bench.submit().reason is Reason.MARKET_DATA_STALE
    bench.mark(60_000)
    assert bench.submit().reason is Reason.NONE


def test_breaks_stop_the_accounts_they_concern() -> None:
    """A break of one account leaves others alone, one of the venue stops all, and resolved it stops nobody."""
    bench = ready()
    bench.open_account("bob")
    bench.fund("USDT", usdt(1_000), "bob")
    change = BreakChanged(
        time_ns=bench.now, break_id="b", venue="paper", symbol="BTCUSDT", account="alice", is_open=True, detail=""
    )
    bench.send(change)
    assert bench.submit().reason is Reason.POSITION_BREAK_OPEN
    assert bench.submit(account="bob").reason is Reason.NONE
    bench.send(structs.replace(change, is_open=False))
    bench.send(structs.replace(change, break_id="c", account=""))
    assert bench.submit(account="bob", lots=500).reason is Reason.POSITION_BREAK_OPEN
    bench.send(structs.replace(change, symbol="NONE"))


def test_an_older_standing_is_ignored() -> None:
    """Delivery is at least once and may repeat: only a newer version counts."""
    bench = ready()
    bench.open_account(version=3, blocked=True)
    bench.open_account(version=2)
    assert bench.submit().reason is Reason.COMPLIANCE_ACCOUNT_BLOCKED


def test_an_account_has_its_own_limits_or_the_desks() -> None:
    """The default reaches every account without its own, those of later ones too."""
    bench = ready()
    bench.limits("alice", order_value_units_max=usdt(100))
    bench.limits(order_value_units_max=usdt(50))
    bench.open_account("bob")
    assert bench.core.limits_of("alice") == RiskLimits(order_value_units_max=usdt(100))
    assert bench.core.limits_of("bob") == bench.core.limits_of("*") == RiskLimits(order_value_units_max=usdt(50))
    assert bench.core.limits_of("nobody") is None


GOOD = Mandate(
    account="alice", agent="a", symbols=(), order_value_units_max=1, daily_value_units_max=1, approval_above_units=1
)


@pytest.mark.parametrize(
    "command, reason",
    [
        (SetLimits(time_ns=NOON, account="nobody", limits=RiskLimits()), Reason.ACCOUNT_NOT_FOUND),
        (SetLimits(time_ns=NOON, account="*", limits=RiskLimits(open_orders_max=-1)), Reason.INVALID_VALUE),
        (SetLimits(time_ns=NOON, account="*", limits=RiskLimits(price_collar_ppm=10**6)), Reason.INVALID_VALUE),
        (SetLimits(time_ns=NOON, account="*", limits=RiskLimits(repeated_orders_max=10**5)), Reason.INVALID_VALUE),
        (
            SetLimits(time_ns=NOON, account="*", limits=RiskLimits(repeated_order_window_seconds=0)),
            Reason.INVALID_VALUE,
        ),
        (SetMandate(time_ns=NOON, mandate=structs.replace(GOOD, account="x")), Reason.ACCOUNT_NOT_FOUND),
        (SetMandate(time_ns=NOON, mandate=structs.replace(GOOD, agent="")), Reason.INVALID_VALUE),
        (SetMandate(time_ns=NOON, mandate=structs.replace(GOOD, approval_above_units=-1)), Reason.INVALID_VALUE),
        (ReenableAccount(time_ns=NOON, account="nobody"), Reason.ACCOUNT_NOT_FOUND),
        (
            SetInstrumentStatus(time_ns=NOON, symbol="NONE", status=InstrumentStatus.HALTED),
            Reason.SYMBOL_NOT_FOUND,
        ),
        (ListInstrument(time_ns=NOON, instrument=structs.replace(BTCUSDT, tick_units=ONE)), Reason.INVALID_VALUE),
        (
            ListInstrument(
                time_ns=NOON, instrument=structs.replace(BTCUSDT, symbol="X", base=Asset("BTC", 6), lot_units=10**4)
            ),
            Reason.INVALID_VALUE,
        ),
        (
            ListInstrument(time_ns=NOON, instrument=structs.replace(BTCUSDT, reference_symbol="BTCUSDT")),
            Reason.INVALID_VALUE,
        ),
        (ListInstrument(time_ns=NOON, instrument=structs.replace(BTCUSDT, min_quantity_lots=0)), Reason.INVALID_VALUE),
        (ActivateBreaker(time_ns=NOON, note="x" * 1_001), Reason.INVALID_VALUE),
        (SetKillLevel(time_ns=NOON, level=KillLevel.OFF, note="x" * 1_001), Reason.INVALID_VALUE),
    ],
)
def test_settings_that_make_no_sense_change_nothing(command: Command, reason: Reason) -> None:
    """Each is refused with its reason and leaves the state as it was."""
    bench = ready()
    before = bench.core.state_hash()
    answer = bench.ask(command)
    assert answer.reason is reason
    assert answer.detail
    assert bench.core.state_hash() == before


def test_listing_again_changes_what_may_change() -> None:
    """Fees, filters and status follow a new listing; the same listing again is a duplicate."""
    bench = ready()
    assert bench.ask(ListInstrument(time_ns=bench.now, instrument=BTCUSDT)).duplicate
    tighter = structs.replace(BTCUSDT, min_quantity_lots=2_000)
    assert not bench.ask(ListInstrument(time_ns=bench.now, instrument=tighter)).duplicate
    assert bench.submit(lots=1_000).reason is Reason.QUANTITY_TOO_SMALL


def test_a_mark_of_an_unknown_symbol_is_ignored() -> None:
    """The feed may know more than the desk lists."""
    assert ready().mark(5, "DOGEUSDT") == []


def test_the_core_refuses_what_is_not_for_it() -> None:
    """A message that the inbox never carries is a routing bug, and foreign bytes are no snapshot."""
    core = RiskCore()
    with pytest.raises(UnexpectedMessageError):
        core.apply(AuditNote(time_ns=1, actor="a", action="b"))
    with pytest.raises(SnapshotError):
        core.restore(b"nonsense")
    with pytest.raises(ValueError, match="partition"):
        RiskCore(partition=1024)
