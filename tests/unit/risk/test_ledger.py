"""Money: the ledger's chart, positions by average cost, funds, equity and its baselines."""

from __future__ import annotations

import pytest
from msgspec import structs
from tests.unit.risk.bench import BTCUSDT, ONE, SECOND, Bench, of_type, ready, usdt

from polaris_synapse.domain.messages import (
    AccountMetrics,
    ExecutionRecorded,
    LedgerPosted,
    MoveFunds,
    PositionChanged,
)
from polaris_synapse.domain.orders import OrderEvent, Side
from polaris_synapse.domain.reasons import Reason


def trade(bench: Bench, side: Side, lots: int, price: int, *, fee_units: int = 0, fee_asset: str = "USDT") -> None:
    """An order that fills at once."""
    order = bench.accepted(side=side, lots=lots, price=price)
    bench.fill(order, lots, price, fee_units=fee_units, fee_asset=fee_asset, event=OrderEvent.FILL)


def position(bench: Bench) -> PositionChanged:
    """The position as last published."""
    return of_type(bench.history, PositionChanged)[-1]


def test_a_fill_posts_both_sides_and_the_fee() -> None:
    """Client against venue in base and quote, client against the venue's fees; each asset sums to zero."""
    bench = ready()
    trade(bench, Side.BUY, 1_000, 60_000, fee_units=1_000, fee_asset="BTC")
    (entry,) = [entry for entry in of_type(bench.history, LedgerPosted) if entry.cause == "fill"]
    assert [(p.ledger_account, p.asset, p.units) for p in entry.postings] == [
        ("client:alice", "BTC", ONE // 100),
        ("venue:paper", "BTC", -ONE // 100),
        ("client:alice", "USDT", -usdt(600)),
        ("venue:paper", "USDT", usdt(600)),
        ("client:alice", "BTC", -1_000),
        ("fees:paper", "BTC", 1_000),
    ]
    assert bench.core.check() == []


def test_a_base_fee_lowers_the_position_and_is_a_loss_at_once() -> None:
    """Who pays 0.001 of 1 BTC as the fee holds 0.999 BTC at the price paid, and can sell all of it again."""
    bench = ready()
    trade(bench, Side.BUY, 100_000, 60_000, fee_units=ONE // 1_000, fee_asset="BTC")
    held = position(bench)
    assert (held.quantity_lots, held.cost_units) == (99_900, usdt(59_940))
    assert (held.realised_pnl_units, held.fees_units) == (-usdt(60), usdt(60))
    trade(bench, Side.SELL, 99_900, 61_000, fee_units=usdt(61))
    closed = position(bench)
    assert (closed.quantity_lots, closed.cost_units) == (0, 0)
    assert closed.realised_pnl_units == usdt(99_900 * 610 // 1_000) - usdt(60_000) - usdt(61)
    assert closed.traded_notional_units == usdt(60_000) + 99_900 * 61_000 * 100 * 10


def test_positions_turn_through_zero_at_the_price_of_the_trade() -> None:
    """Selling more than is held closes all of the cost and opens the rest short at the same price."""
    bench = ready()
    trade(bench, Side.BUY, 10_000, 60_000)
    trade(bench, Side.SELL, 25_000, 61_000)
    short = position(bench)
    assert (short.quantity_lots, short.cost_units) == (-15_000, -usdt(9_150))
    assert short.realised_pnl_units == usdt(100)
    trade(bench, Side.BUY, 15_000, 60_000)
    assert (position(bench).cost_units, position(bench).realised_pnl_units) == (0, usdt(250))


def test_partial_closes_round_towards_zero_and_lose_nothing() -> None:
    """The cost that leaves with a part is rounded, the rest stays, and the whole is exact in the end."""
    bench = ready()
    trade(bench, Side.BUY, 300, 60_001)
    trade(bench, Side.BUY, 100, 60_000)
    trade(bench, Side.SELL, 100, 60_000)
    trade(bench, Side.SELL, 200, 60_000)
    trade(bench, Side.SELL, 100, 60_000)
    assert (position(bench).cost_units, position(bench).quantity_lots) == (0, 0)
    assert position(bench).realised_pnl_units == -300 * 1_000  # 0.003 BTC at 1 USDT
    realised = sum(execution.realised_pnl_units for execution in of_type(bench.history, ExecutionRecorded))
    assert realised == position(bench).realised_pnl_units


def test_a_fee_in_a_third_asset_is_valued_at_its_mark() -> None:
    """It leaves its own balance and costs the position what it is worth."""
    bench = ready()
    bench.fund("ETH", ONE)
    trade(bench, Side.BUY, 1_000, 60_000, fee_units=ONE // 1_000, fee_asset="ETH")
    assert position(bench).fees_units == usdt(3)
    assert position(bench).realised_pnl_units == -usdt(3)
    assert bench.core._desk.state.accounts["alice"].balances["ETH"].total_units == ONE - ONE // 1_000


def test_execution_ids_are_unique_over_both_sides_of_a_trade() -> None:
    """One trade of the internal book fills two orders; each execution has its own id, and the clearing nets to zero."""
    bench = ready()
    bench.open_account("bob")
    bench.fund("USDT", usdt(10_000), "bob")
    sell = bench.accepted(side=Side.SELL, symbol="BTCUSDT.INT")
    buy = bench.accepted(account="bob", symbol="BTCUSDT.INT")
    for order in (sell, buy):
        bench.fill(order, 1_000, 60_000, trade_id="1", event=OrderEvent.FILL)
    ids = [execution.execution_id for execution in of_type(bench.history, ExecutionRecorded)]
    assert len(set(ids)) == 2
    ledger = bench.core._desk.state.ledger
    assert ledger["BTC"]["venue:internal"] == ledger["USDT"]["venue:internal"] == 0


def test_funds_move_once_for_each_reference() -> None:
    """The same movement again is a duplicate; the reference with another amount is refused."""
    bench = ready()
    deposit = MoveFunds(time_ns=bench.now, account="alice", asset="USDT", amount_units=5, reference="wire-1")
    first, again = bench.ask(deposit), bench.ask(deposit)
    assert (first.reason, first.duplicate, again.reason, again.duplicate) == (Reason.NONE, False, Reason.NONE, True)
    assert bench.ask(structs.replace(deposit, amount_units=6)).reason is Reason.AMOUNT_INVALID
    assert bench.core._desk.state.accounts["alice"].balances["USDT"].total_units == usdt(100_000) + 5


@pytest.mark.parametrize(
    "asset, units, account, reference, reason",
    [
        ("USDT", 0, "alice", "x", Reason.AMOUNT_INVALID),
        ("DOGE", 5, "alice", "x", Reason.AMOUNT_INVALID),
        ("USDT", 5, "alice", "", Reason.AMOUNT_INVALID),
        ("USDT", 5, "nobody", "x", Reason.ACCOUNT_NOT_FOUND),
        ("USDT", -usdt(100_001), "alice", "x", Reason.INSUFFICIENT_FUNDS),
    ],
)
def test_funds_that_cannot_move(asset: str, units: int, account: str, reference: str, reason: Reason) -> None:
    """Nothing, unknown assets and accounts, missing references, and more than is free."""
    bench = ready()
    command = MoveFunds(time_ns=bench.now, account=account, asset=asset, amount_units=units, reference=reference)
    assert bench.ask(command).reason is reason


def test_only_free_funds_of_an_account_in_good_standing_leave() -> None:
    """What open orders reserve stays, and a held or blocked account can receive but not withdraw."""
    bench = ready()
    bench.accepted(lots=100_000)
    assert bench.fund("USDT", -usdt(40_001)).reason is Reason.INSUFFICIENT_FUNDS
    assert bench.fund("USDT", -usdt(40_000)).reason is Reason.NONE
    bench.open_account(version=2, sanctions_hold=True)
    assert bench.fund("BTC", -1).reason is Reason.COMPLIANCE_SANCTIONED
    bench.open_account(version=3, blocked=True)
    assert bench.fund("BTC", -1).reason is Reason.COMPLIANCE_ACCOUNT_BLOCKED
    assert bench.fund("BTC", 1).reason is Reason.NONE


def metrics(bench: Bench) -> AccountMetrics:
    """The account's metrics after a tick."""
    bench.tick()
    return of_type(bench.history, AccountMetrics)[-1]


def test_metrics_follow_prices_and_are_said_only_when_they_change() -> None:
    """Equity, exposure and open orders at marks, once a tick at most."""
    bench = ready()
    bench.accepted(lots=1_000)
    said = metrics(bench)
    assert (said.equity_units, said.exposure_units, said.open_orders_units) == (usdt(160_000), usdt(60_000), usdt(600))
    assert (said.day_start_equity_units, said.peak_equity_units, said.open_orders) == (
        usdt(160_000),
        usdt(160_000),
        1,
    )
    assert of_type(bench.tick(), AccountMetrics) == []
    bench.mark(61_000)
    said = metrics(bench)
    assert (said.equity_units, said.day_start_equity_units) == (usdt(161_000), usdt(160_000))
    assert said.peak_equity_units == usdt(161_000)


def test_deposits_and_first_prices_are_no_profit_and_withdrawals_no_loss() -> None:
    """The baselines of the day and of the drawdown move with funds, and with an asset that gets its first price."""
    bench = Bench()
    bench.list(BTCUSDT)
    bench.open_account()
    bench.fund("USDT", usdt(1_000))
    bench.fund("BTC", ONE)
    assert metrics(bench).unpriced_assets == ("BTC",)
    bench.mark(60_000)
    said = metrics(bench)
    assert (said.equity_units, said.day_start_equity_units, said.peak_equity_units) == (usdt(61_000),) * 3
    bench.fund("BTC", -ONE // 2)
    said = metrics(bench)
    assert (said.equity_units, said.day_start_equity_units, said.peak_equity_units) == (usdt(31_000),) * 3


def test_the_day_starts_once() -> None:
    """At 00:00 UTC by message time the loss of the day begins afresh, and a clock set back does not begin it again."""
    bench = ready()
    bench.mark(59_000)
    assert metrics(bench).day_start_equity_units == usdt(160_000)
    bench.now += 12 * 3_600 * SECOND
    assert metrics(bench).day_start_equity_units == usdt(159_000)
    bench.mark(58_000)
    bench.now -= 3_600 * SECOND
    assert metrics(bench).day_start_equity_units == usdt(159_000)
    bench.now += 3_600 * SECOND
    assert metrics(bench).day_start_equity_units == usdt(159_000)
