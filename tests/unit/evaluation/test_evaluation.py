"""Evaluations: costs to the unit, no trade at a price that was decided from, the same result twice, a plain verdict."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from polaris_synapse.domain.messages import AgentSettings, OpinionGiven, OpinionWanted
from polaris_synapse.testing.evaluation.account import PPM, PaperAccount
from polaris_synapse.testing.evaluation.agent import Costs, run_agent
from polaris_synapse.testing.evaluation.baselines import RandomEntry, always, follow
from polaris_synapse.testing.evaluation.evaluate import AGENT, CONTROL, RANDOM, TRADES_MIN, Plan, evaluate
from polaris_synapse.testing.evaluation.paths import MarketPath, PathError, candles_path, recording_path, simulated_path
from polaris_synapse.testing.evaluation.report import html_report

_CASH = 100_000 * 10**8
AGENT_SETTINGS = AgentSettings(
    agent="jarvis",
    account="x",
    symbols=(),
    interval_seconds=600,
    candle_seconds=600,
    horizon_seconds=1_800,
    cooldown_seconds=600,
    confidence_ppm_min=520_000,
)


def path_of(*mids: int, seconds: int = 60) -> MarketPath:
    """A market at these mids (in ticks), one tick on either side."""
    base = simulated_path(1, hours=1, seconds=seconds)
    first = base.steps[0]
    steps = tuple(
        replace(first, time_ns=first.time_ns + n * seconds * 10**9, bid_ticks=mid - 1, ask_ticks=mid + 1)
        for n, mid in enumerate(mids)
    )
    return replace(base, steps=steps)


def test_a_paper_account_pays_fee_spread_and_slippage() -> None:
    """Bought at the touch plus slippage, sold at the touch less slippage, the fee on both, to the minor unit."""
    path = path_of(1_000_000, 1_000_000)
    account = PaperAccount(path.instrument, _CASH, slippage_ppm=100)
    account.hold(PPM // 2, path.steps[0])
    unit = path.instrument.notional_multiplier
    bought = account.lots
    # 1,000,001 ticks and 100 ppm, rounded up: 1,000,102.
    spent = bought * 1_000_102 * unit
    fee = -(-spent * 1_000 // PPM)
    assert account.cash_units == _CASH - spent - fee
    account.hold(0, path.steps[1])
    got = bought * (999_999 * (PPM - 100) // PPM) * unit
    assert account.lots == 0
    assert account.cash_units == _CASH - spent - fee + got - -(-got * 1_000 // PPM)
    assert (account.trades, account.turnover_units) == (2, spent + got)


def test_nobody_spends_what_they_do_not_have() -> None:
    """Holding everything leaves room for the fee."""
    path = path_of(1_000_000)
    account = PaperAccount(path.instrument, _CASH, slippage_ppm=0)
    account.hold(PPM, path.steps[0])
    assert 0 <= account.cash_units < 2 * path.instrument.notional_units(1_000_001, 1) + 10**8


def test_a_wish_trades_at_the_next_step() -> None:
    """What is decided on one price is done at the one after it."""
    path = path_of(1_000_000, 2_000_000, 2_000_000)
    account, equity = follow(path, always, every_seconds=60, share_ppm=PPM, cash_units=_CASH, slippage_ppm=0)
    # Bought after the price had doubled, not before.
    assert account.lots == pytest.approx(_CASH / path.instrument.notional_units(2_000_001, 1), rel=0.002)
    assert equity[0] == _CASH
    assert equity[-1] < _CASH


def test_random_entries_change_their_mind_as_often_as_told() -> None:
    """The number of turns is exact and their moments are the seed's."""
    rule = RandomEntry(7, 10, 100)
    held = [rule([1.0]) for _ in range(100)]
    assert sum(a is not b for a, b in zip([False, *held], held, strict=False)) == 10
    again = RandomEntry(7, 10, 100)
    assert held == [again([1.0]) for _ in range(100)]


def test_the_agent_trades_through_the_real_cores_and_pays() -> None:
    """On a market that rises for hours it buys, is right, and the ledger's equity shows what its fills cost."""
    mids = [6_000_000 + 400 * n for n in range(600)]
    path = path_of(*mids)
    settings = replace(AGENT_SETTINGS, symbols=("BTCUSDT",))
    free = run_agent(path, settings, costs=Costs(fee_ppm=0, slippage_ppm=0), cash_units=_CASH)
    dear = run_agent(path, settings, costs=Costs(fee_ppm=2_000, slippage_ppm=200), cash_units=_CASH)
    assert free.trades >= 1
    assert free.fees_units == 0
    assert dear.fees_units > 0
    assert free.equity[-1] > _CASH
    assert dear.equity[-1] < free.equity[-1]
    assert len(free.equity) == len(path.steps)
    assert all(right for _, right in free.views)


def test_an_evaluation_repeats_itself_and_finds_no_edge_in_noise() -> None:
    """The same market and plan give the same numbers; on a random walk the verdict is that there is no edge."""
    path = simulated_path(4, hours=12)
    plan = Plan(agent=AGENT_SETTINGS, seeds=3, confidences_ppm=(600_000,), horizons=())
    first, second = evaluate(path, plan), evaluate(path, plan)
    assert first == second
    assert not first.has_edge
    assert first.verdict == "No edge is shown on this market."
    assert "The market is simulated: nothing on it can show an edge." in first.reasons
    assert {arm.name for arm in first.arms} >= {AGENT, RANDOM, "cash", "MACD", "momentum", "moving average cross"}
    assert first.trials == 2
    names = {figure.name for figure in first.figures()}
    assert f"{path.name}, agent, Sharpe ratio" in names
    report = html_report([first])
    assert first.verdict in report
    assert "<script" not in report


def test_an_adviser_runs_beside_its_control_arm() -> None:
    """A model that is asked before each order costs money, may hold it back, and is no evidence without a date."""

    def advise(wanted: OpinionWanted) -> list[OpinionGiven]:
        fact = next(fact for fact in wanted.facts if fact.name == "score")
        argument = f"The score is {fact.value} [{fact.fact_id}]."
        return [
            OpinionGiven(
                time_ns=wanted.time_ns,
                agent=wanted.agent,
                decision_id=wanted.decision_id,
                role=role,
                output=json.dumps({"view": "HOLD", "conviction": "high", "argument": argument}),
                model="stub",
                call_digest="0" * 64,
                cost_micro_usd=50_000,
            )
            for role in wanted.roles
        ]

    path = path_of(*[6_000_000 + 1_600 * n for n in range(360)])
    settings = replace(AGENT_SETTINGS, model_roles=("fact",))
    found = evaluate(path, Plan(agent=settings, seeds=2, confidences_ppm=(), horizons=()), advise=advise)
    agent, control = found.arms[:2]
    assert control.name == CONTROL
    assert control.trades >= agent.trades
    assert found.cost_usd_per_decision > 0
    assert found.not_evidence > 0
    assert any("within a model's training" in reason for reason in found.reasons)


def test_few_trades_are_no_edge_however_much_they_earn() -> None:
    """On a market that only rises the agent earns, and the verdict still says that a few trades show nothing."""
    path = path_of(*[6_000_000 + 1_600 * n for n in range(360)])
    found = evaluate(path, Plan(agent=AGENT_SETTINGS, seeds=2, confidences_ppm=(), horizons=()))
    assert found.arms[0].total_return > 0
    assert found.arms[0].trades < TRADES_MIN
    assert not found.has_edge
    assert any("fewer than 30 trades" in reason for reason in found.reasons)


def test_candles_are_read_exactly_or_refused(tmp_path: Path) -> None:
    """Prices reach the grid without rounding surprises; a line that is no candle is named."""
    good = tmp_path / "c.csv.gz"
    with gzip.open(good, "wt") as file:
        file.write("timestamp,open,high,low,close,volume\n")
        file.write("2022-01-01 00:00:00.000000,1,1,1,46377.0,1\n2022-01-01 00:01:00.000000,1,1,1,46411.25,1\n")
    path = candles_path(good)
    assert path.seconds == 60
    assert [step.bid_ticks + step.ask_ticks for step in path.steps] == [2 * 4_637_700, 2 * 4_641_125]
    bad = tmp_path / "bad.csv"
    bad.write_text("timestamp,close\n2022-01-01 00:00:00,12\n2022-01-01 00:01:00,many\n")
    with pytest.raises(PathError, match=r"bad\.csv, line 3"):
        candles_path(bad)
    bad.write_text("timestamp,close\n")
    with pytest.raises(PathError, match="no two candles"):
        candles_path(bad)


def test_recorded_frames_become_a_market(market_data_dir: Path) -> None:
    """A real capture gives a healthy second after the other, in order, with order flow."""
    path = recording_path(market_data_dir / "binance-spot" / "btcusdt_20240808.gz")
    assert len(path.steps) > 300
    assert all(a.time_ns < b.time_ns for a, b in zip(path.steps, path.steps[1:], strict=False))
    assert any(step.bought_lots for step in path.steps)
    assert all(step.bid_ticks < step.ask_ticks for step in path.steps)
