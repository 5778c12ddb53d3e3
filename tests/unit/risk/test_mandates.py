"""Mandates: each rule refuses with a reason of its own, at its exact edge, and a restart changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.risk.bench import SECOND, Bench, of_type, ready, usdt

from polaris_synapse.domain.messages import (
    AccountMetrics,
    Autonomy,
    LimitsChanged,
    MandateChanged,
    SetHoldingLimit,
    Tick,
    TradingWindow,
)
from polaris_synapse.domain.orders import OrderEvent, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.mandates import is_open, window_text

#: 2024-08-08 is a Thursday; the bench begins at 12:00 UTC.
HOUR = 3_600 * SECOND
WEEKDAYS = (0, 1, 2, 3, 4)


def agent(bench: Bench, **changes: Any) -> Reason:
    """What becomes of an order of agent jarvis: 0.01 BTC at 60,000 USDT, worth 600."""
    return bench.submit(bench.request(**changes), actor="agent:jarvis").reason


@pytest.mark.parametrize(
    "windows, reason",
    [
        ((), Reason.NONE),
        ((TradingWindow(days=WEEKDAYS, start_minute=480, end_minute=1080),), Reason.NONE),
        ((TradingWindow(days=WEEKDAYS, start_minute=720, end_minute=721),), Reason.NONE),
        ((TradingWindow(days=WEEKDAYS, start_minute=480, end_minute=720),), Reason.MANDATE_HOURS),
        ((TradingWindow(days=(5, 6), start_minute=0, end_minute=1440),), Reason.MANDATE_HOURS),
        ((TradingWindow(days=(3,), start_minute=0, end_minute=1440),), Reason.NONE),
    ],
)
def test_an_agent_trades_only_in_its_hours(windows: tuple[TradingWindow, ...], reason: Reason) -> None:
    """The start of a window is inside, its end is not, and days count in UTC."""
    bench = ready()
    bench.mandate(windows=windows)
    assert agent(bench) is reason


def test_hours_open_and_close_by_the_messages_time() -> None:
    """The same mandate refuses before its window and takes orders within it."""
    window = TradingWindow(days=(3,), start_minute=780, end_minute=840)
    bench = ready()
    assert not is_open((window,), bench.now)
    assert is_open((window,), bench.now + HOUR)
    assert not is_open((window,), bench.now + 2 * HOUR)
    assert not is_open((window,), bench.now + 25 * HOUR)
    assert window_text(window) == "Thu 13:00-14:00"
    assert window_text(TradingWindow(days=WEEKDAYS, start_minute=480, end_minute=1440)) == "Mon-Fri 08:00-24:00"


def test_the_mandates_leverage_is_its_own() -> None:
    """An account of 160,000 with 60,000 in BTC: 40 % leverage leaves no room for 10,000 more, 50 % does."""
    bench = ready()
    bench.mandate(leverage_ppm_max=400_000)
    assert agent(bench, lots=16_000) is Reason.MANDATE_LEVERAGE
    assert bench.submit(bench.request(lots=16_000)).reason is Reason.NONE
    bench.mandate(leverage_ppm_max=500_000)
    assert agent(bench, lots=1_000) is Reason.NONE


def test_an_agent_that_lost_its_days_limit_may_only_reduce() -> None:
    """Its own trades are valued at marks: people's losses do not count, its fees do, and a new day starts anew."""
    bench = ready()
    bench.mandate(loss_units_max=usdt(50))
    bought = bench.submit(bench.request(lots=10_000), actor="agent:jarvis").order
    assert bought is not None
    bench.fill(bought, 10_000, 60_000, fee_units=usdt(1), event=OrderEvent.FILL)
    bench.mark(59_600)  # 0.1 BTC: 40 USDT less, and one of fees
    assert agent(bench, price=59_600) is Reason.NONE
    bench.mark(59_500)
    assert bench.core.mandate_use("alice", "jarvis")[1] == -usdt(51)
    assert agent(bench, price=59_500) is Reason.MANDATE_LOSS
    assert agent(bench, side=Side.SELL, lots=1_000, price=59_500) is Reason.NONE
    assert bench.submit(bench.request(price=59_500)).reason is Reason.NONE
    bench.now += 13 * HOUR
    bench.mark(59_500)
    bench.send(Tick(time_ns=bench.now))
    assert bench.core.mandate_use("alice", "jarvis")[1] == 0
    assert agent(bench, price=59_500) is Reason.NONE


@pytest.mark.parametrize(
    "changes",
    [
        {"approval_seconds_max": 0},
        {"leverage_ppm_max": -1},
        {"loss_units_max": -1},
        {"windows": (TradingWindow(days=(), start_minute=0, end_minute=1),)},
        {"windows": (TradingWindow(days=(7,), start_minute=0, end_minute=1),)},
        {"windows": (TradingWindow(days=(1,), start_minute=5, end_minute=5),)},
        {"windows": (TradingWindow(days=(1,), start_minute=0, end_minute=1441),)},
        {"windows": tuple(TradingWindow(days=(1,), start_minute=0, end_minute=1) for _ in range(51))},
    ],
)
def test_a_mandate_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """What could be read in two ways, or never be kept, is not set."""
    assert ready().mandate(**changes).reason is Reason.INVALID_VALUE


def test_autonomy_decides_what_waits_for_a_person() -> None:
    """PROPOSE holds every order, APPROVE_ABOVE those above its value, AUTOPILOT none."""
    bench = ready()
    bench.mandate(autonomy=Autonomy.PROPOSE, approval_above_units=usdt(10_000))
    assert agent(bench) is Reason.MANDATE_REQUIRES_APPROVAL
    bench.mandate(approval_above_units=usdt(600))
    assert agent(bench) is Reason.NONE
    assert agent(bench, lots=1_001) is Reason.MANDATE_REQUIRES_APPROVAL
    bench.mandate(autonomy=Autonomy.AUTOPILOT, approval_above_units=0)
    assert agent(bench, lots=10_000) is Reason.NONE


def test_a_restart_keeps_mandates_and_what_was_used_of_them() -> None:
    """A restored core refuses as the first one did."""
    bench = ready()
    bench.mandate(loss_units_max=usdt(50), windows=(TradingWindow(days=(3,), start_minute=0, end_minute=1440),))
    order = bench.submit(bench.request(lots=10_000), actor="agent:jarvis").order
    assert order is not None
    bench.fill(order, 10_000, 60_000, event=OrderEvent.FILL)
    restored = RiskCore()
    restored.restore(bench.core.snapshot())
    assert restored.state_hash() == bench.core.state_hash()
    assert restored.mandates() == bench.core.mandates()
    assert restored.mandate_use("alice", "jarvis") == bench.core.mandate_use("alice", "jarvis")


def test_an_accounts_own_limit_on_an_asset_is_enforced() -> None:
    """ "Never more than 40 % in BTC" refuses what could pass it, lets sales through, and survives a restart."""
    bench = ready()
    limit = SetHoldingLimit(time_ns=bench.now, account="alice", asset="BTC", share_ppm_max=400_000)
    assert bench.ask(limit).reason is Reason.NONE
    assert bench.core.holding_limits("alice") == {"BTC": 400_000}
    assert bench.submit(bench.request(lots=5_000)).reason is Reason.NONE  # 63,000 of 160,000, open orders counted
    refused = bench.submit(bench.request(lots=5_000))
    assert refused.reason is Reason.HOLDING_LIMIT
    assert "40 %" in refused.detail
    assert bench.submit(bench.request(side=Side.SELL, price=60_000)).reason is Reason.NONE
    assert bench.submit(bench.request(symbol="ETHUSDT", price=3_000)).reason is Reason.NONE
    restored = RiskCore()
    restored.restore(bench.core.snapshot())
    again = Bench(restored)
    again.now, again.count = bench.now, 1_000
    assert again.submit(again.request(lots=5_000)).reason is Reason.HOLDING_LIMIT
    assert (
        again.ask(SetHoldingLimit(time_ns=again.now, account="alice", asset="BTC", share_ppm_max=0)).reason
        is Reason.NONE
    )
    assert again.submit(again.request(lots=5_000)).reason is Reason.NONE
    unknown = SetHoldingLimit(time_ns=again.now, account="alice", asset="DOGE", share_ppm_max=1)
    assert again.ask(unknown).reason is Reason.INVALID_VALUE


def test_what_is_set_is_said_for_those_who_cannot_ask_the_core() -> None:
    """A mandate and limits that were accepted are facts; what was refused is none."""
    bench = ready()
    bench.history.clear()
    bench.mandate(order_value_units_max=usdt(77))
    bench.limits("alice", order_value_units_max=usdt(5))
    bench.limits("*", order_value_units_max=usdt(6))
    assert bench.mandate(account="nobody").reason is Reason.ACCOUNT_NOT_FOUND
    assert bench.limits("nobody").reason is Reason.ACCOUNT_NOT_FOUND
    (mandate,) = of_type(bench.history, MandateChanged)
    assert mandate.mandate == bench.core.mandates()[0]
    said = {one.account: one.limits for one in of_type(bench.history, LimitsChanged)}
    assert said == {name: bench.core.limits_of(name) for name in ("alice", "*")}


def test_what_is_used_of_a_mandate_is_said_with_the_accounts_value() -> None:
    """Every second with a change, for each agent of the account, and nothing where there is none."""
    bench = ready()
    bench.tick()
    assert of_type(bench.history, AccountMetrics)[-1].mandates == ()
    bench.mandate()
    bench.mandate(agent="other")
    bench.submit(actor="agent:jarvis")
    bench.tick()
    metrics = of_type(bench.history, AccountMetrics)[-1]
    assert [one.agent for one in metrics.mandates] == ["jarvis", "other"]
    for one in metrics.mandates:
        assert (one.used_units, one.profit_units) == bench.core.mandate_use("alice", one.agent)
    assert metrics.mandates[0].used_units > 0
