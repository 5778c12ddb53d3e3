"""One evaluation: the agent, its control arm, the baselines and the variants that were tried, and a plain verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import NormalDist, fmean
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.domain.messages import AgentSettings
from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.evaluation import statistics as st
from polaris_synapse.testing.evaluation.account import PPM
from polaris_synapse.testing.evaluation.agent import Advise, AgentRun, Costs, run_agent
from polaris_synapse.testing.evaluation.baselines import (
    Macd,
    RandomEntry,
    Rule,
    always,
    decisions_of,
    follow,
    momentum,
    moving_average_cross,
    never,
)
from polaris_synapse.testing.evaluation.paths import MarketPath

AGENT: Final = "agent"
CONTROL: Final = "control without a model"
RANDOM: Final = "random entry"
#: Returns that statistics are made from: enough to say something, few enough to resample.
RETURNS_MAX: Final = 1_000
#: Fewer trades than this prove nothing, whatever they earned.
TRADES_MIN: Final = 30
#: Points of a curve in the report.
POINTS_MAX: Final = 400
_SURE: Final = 0.95

#: What is going on, and how far it is: 0 to 1.
Progress = Callable[[str, float], None]


class Plan(Struct, frozen=True, kw_only=True):
    """What is evaluated. ``confidences_ppm``: variants of the agent that are tried beside it, and count as trials."""

    agent: AgentSettings
    costs: Costs = Costs()
    cash_units: int = 100_000 * 10**8
    seeds: int = 20
    confidences_ppm: tuple[int, ...] = (550_000, 650_000, 700_000)
    horizons: tuple[int, ...] = (2,)


class Arm(Struct, frozen=True, kw_only=True):
    """How one way to trade did. Shares are of 1; Sharpe ratios are annualised and have an interval of 95 %."""

    name: str
    total_return: float
    sharpe: float
    sharpe_low: float
    sharpe_high: float
    drawdown: float
    turnover: float
    trades: int
    fees_share: float
    curve: tuple[float, ...]


class Calibration(Struct, frozen=True, kw_only=True):
    """Whether stated confidence was true. ``brier`` None: no view's horizon passed."""

    views: int
    right: int
    brier: float | None
    bins: tuple[st.ReliabilityBin, ...]


class Evaluation(Struct, frozen=True, kw_only=True):
    """What one market showed. ``verdict`` is one plain sentence and ``reasons`` what it stands on."""

    market: str
    sentence: str
    days: float
    arms: tuple[Arm, ...]
    calibration: Calibration
    random_better: float
    deflated_sharpe: float
    overfitting: float | None
    trials: int
    decisions: int
    refused: int
    not_evidence: int
    cost_usd_per_decision: float
    has_edge: bool
    verdict: str
    reasons: tuple[str, ...]

    @property
    def length(self) -> str:
        """How long the market lasts, for people."""
        return f"{self.days:.1f} days" if self.days >= 1 else f"{self.days * 1_440:.0f} minutes"

    def figures(self) -> list[Figure]:
        """The numbers, for programs."""
        found = [Figure(f"{self.market}, days", round(self.days, 3), "days")]
        for arm in self.arms:
            where = f"{self.market}, {arm.name}"
            found += [
                Figure(f"{where}, return", round(100 * arm.total_return, 4), "%"),
                Figure(f"{where}, Sharpe ratio", round(arm.sharpe, 3), "a year"),
                Figure(f"{where}, Sharpe ratio, low", round(arm.sharpe_low, 3), "a year"),
                Figure(f"{where}, Sharpe ratio, high", round(arm.sharpe_high, 3), "a year"),
                Figure(f"{where}, drawdown", round(100 * arm.drawdown, 4), "%"),
                Figure(f"{where}, turnover", round(arm.turnover, 3), "times equity"),
                Figure(f"{where}, trades", arm.trades, "trades"),
            ]
        found += [
            Figure(f"{self.market}, random entries that did better", round(100 * self.random_better, 1), "%"),
            Figure(f"{self.market}, deflated Sharpe ratio", round(self.deflated_sharpe, 4), "probability"),
            Figure(f"{self.market}, decisions", self.decisions, "decisions"),
            Figure(f"{self.market}, cost a decision", self.cost_usd_per_decision, "USD"),
            Figure(f"{self.market}, edge shown", int(self.has_edge), "yes or no"),
        ]
        if self.overfitting is not None:
            found.append(Figure(f"{self.market}, backtest overfitting", round(self.overfitting, 4), "probability"))
        if self.calibration.brier is not None:
            found.append(Figure(f"{self.market}, Brier score", round(self.calibration.brier, 4), "0 best, 0.25 none"))
        return found


def evaluate(
    path: MarketPath, plan: Plan, *, advise: Advise | None = None, progress: Progress | None = None
) -> Evaluation:
    """Evaluate one agent over one market. ``advise`` asks its language models; then a control arm runs without."""
    tell = progress or (lambda *_: None)
    settings = plan.agent
    agent = _agent(path, settings, plan, advise, "agent", tell)
    without = replace(settings, model_roles=())
    control = _agent(path, without, plan, None, "control without a model", tell) if settings.model_roles else None
    variants = [
        _agent(path, variant, plan, None, f"variant {number} of {len(_variants(without, plan))}", tell)
        for number, variant in enumerate(_variants(without, plan), 1)
    ]
    arms = [_arm(AGENT, path, plan, agent.equity, agent.trades, agent.turnover_units, agent.fees_units)]
    if control is not None:
        arms.append(
            _arm(CONTROL, path, plan, control.equity, control.trades, control.turnover_units, control.fees_units)
        )
    tell("baselines", 0.0)
    arms += _baselines(path, plan)
    randoms = _randoms(path, plan, agent, tell)
    arms.append(_middle(randoms))
    return _judged(path, plan, agent, arms, randoms, variants)


def _agent(
    path: MarketPath, settings: AgentSettings, plan: Plan, advise: Advise | None, what: str, tell: Progress
) -> AgentRun:
    count = len(path.steps)
    return run_agent(
        path,
        settings,
        costs=plan.costs,
        cash_units=plan.cash_units,
        advise=advise,
        progress=lambda step: tell(what, step / count),
    )


def _variants(settings: AgentSettings, plan: Plan) -> list[AgentSettings]:
    """The same agent with other thresholds and horizons: what somebody would have tried before showing the best."""
    found = [
        replace(settings, confidence_ppm_min=confidence)
        for confidence in plan.confidences_ppm
        if confidence != settings.confidence_ppm_min
    ]
    return found + [replace(settings, horizon_seconds=times * settings.horizon_seconds) for times in plan.horizons]


def _baselines(path: MarketPath, plan: Plan) -> list[Arm]:
    rules: list[tuple[str, Rule, int]] = [
        ("cash", never, 0),
        ("buy and hold, all of it", always, PPM),
        ("buy and hold, the agent's share", always, _share(plan)),
        ("moving average cross", moving_average_cross, _share(plan)),
        ("MACD", Macd(), _share(plan)),
        ("momentum", momentum, _share(plan)),
    ]
    return [_follow(name, path, plan, rule, share) for name, rule, share in rules]


def _follow(name: str, path: MarketPath, plan: Plan, rule: Rule, share_ppm: int) -> Arm:
    account, equity = follow(
        replace(path, instrument=replace(path.instrument, taker_fee_ppm=plan.costs.fee_ppm)),
        rule,
        every_seconds=plan.agent.interval_seconds,
        share_ppm=share_ppm,
        cash_units=plan.cash_units,
        slippage_ppm=plan.costs.slippage_ppm,
    )
    return _arm(name, path, plan, equity, account.trades, account.turnover_units, account.fees_units)


def _randoms(path: MarketPath, plan: Plan, agent: AgentRun, tell: Progress) -> list[Arm]:
    """Entries at random moments, as many and as large as the agent's trades: its turnover and costs without a view."""
    decisions = decisions_of(path, plan.agent.interval_seconds)
    share = agent.turnover_units * PPM // (agent.trades * plan.cash_units) if agent.trades else 0
    found = []
    for seed in range(plan.seeds):
        tell(f"random entry, seed {seed}", seed / plan.seeds)
        found.append(_follow(RANDOM, path, plan, RandomEntry(seed, agent.trades, decisions), min(share, PPM)))
    return found


def _middle(arms: Sequence[Arm]) -> Arm:
    """The run whose return is the median."""
    return sorted(arms, key=lambda arm: arm.total_return)[len(arms) // 2]


def _share(plan: Plan) -> int:
    return plan.agent.position_ppm_of_equity_max


def _arm(
    name: str, path: MarketPath, plan: Plan, equity: Sequence[int], trades: int, turnover_units: int, fees_units: int
) -> Arm:
    returns, a_year = _returns(path, equity)
    scale = math.sqrt(a_year)
    low, high = st.sharpe_interval(returns, seed=1)
    every = max(len(equity) // POINTS_MAX, 1)
    return Arm(
        name=name,
        total_return=equity[-1] / plan.cash_units - 1,
        sharpe=st.sharpe(returns) * scale,
        sharpe_low=low * scale,
        sharpe_high=high * scale,
        drawdown=st.drawdown([float(value) for value in equity]),
        turnover=turnover_units / plan.cash_units,
        trades=trades,
        fees_share=fees_units / plan.cash_units,
        curve=tuple(value / plan.cash_units for value in equity[::every]),
    )


def _returns(path: MarketPath, equity: Sequence[int]) -> tuple[list[float], float]:
    """At most RETURNS_MAX returns over equal numbers of steps, and how many of them make a year."""
    every = max(-(-len(equity) // RETURNS_MAX), 1)
    points = equity[::every]
    returns = [after / before - 1 for before, after in pairwise(points)]
    return returns, len(returns) / max(path.days / 365.25, 1e-9)


def _judged(
    path: MarketPath,
    plan: Plan,
    agent: AgentRun,
    arms: Sequence[Arm],
    randoms: Sequence[Arm],
    variants: Sequence[AgentRun],
) -> Evaluation:
    returns, _ = _returns(path, agent.equity)
    tried = [returns, *(_returns(path, variant.equity)[0] for variant in variants)]
    deflated = st.deflated_sharpe(returns, [st.sharpe(series) for series in tried])
    overfitting = st.backtest_overfitting(tried)
    better = fmean(arm.total_return >= arms[0].total_return for arm in randoms)
    right = sum(was_right for _, was_right in agent.views)
    calibration = Calibration(
        views=len(agent.views),
        right=right,
        brier=st.brier(agent.views),
        bins=tuple(st.reliability(agent.views)),
    )
    has_edge, reasons = _verdict(path, arms, agent, calibration, better, deflated, overfitting)
    verdict = (
        "On this market the agent did better than chance, costs and the baselines explain. One market proves no future."
        if has_edge
        else "No edge is shown on this market."
    )
    return Evaluation(
        market=path.name,
        sentence=path.sentence,
        days=path.days,
        arms=tuple(arms),
        calibration=calibration,
        random_better=better,
        deflated_sharpe=deflated,
        overfitting=overfitting,
        trials=len(tried),
        decisions=agent.decisions,
        refused=agent.refused,
        not_evidence=agent.not_evidence,
        cost_usd_per_decision=agent.cost_micro_usd / 1e6 / agent.decisions if agent.decisions else 0.0,
        has_edge=has_edge,
        verdict=verdict,
        reasons=tuple(reasons),
    )


def _verdict(
    path: MarketPath,
    arms: Sequence[Arm],
    agent: AgentRun,
    calibration: Calibration,
    better: float,
    deflated: float,
    overfitting: float | None,
) -> tuple[bool, list[str]]:
    """Every one of these has to hold; what does not is said."""
    first = arms[0]
    best = max((arm for arm in arms[1:] if arm.name != RANDOM), key=lambda arm: arm.sharpe)
    against: list[str] = []
    if agent.not_evidence:
        against.append(
            f"{agent.not_evidence} decisions lie within a model's training and are no evidence, whatever they earned."
        )
    if first.trades < TRADES_MIN:
        against.append(f"It traded {first.trades} times; fewer than {TRADES_MIN} trades show nothing.")
    if first.total_return <= 0:
        against.append(f"After costs it returned {first.total_return:.2%}.")
    if first.sharpe_low <= 0:
        against.append(
            f"The 95 % interval of its Sharpe ratio, {first.sharpe_low:.1f} to {first.sharpe_high:.1f}, holds zero."
        )
    if better > 1 - _SURE:
        against.append(f"{better:.0%} of the random entries with the same turnover did as well or better.")
    if deflated < _SURE:
        against.append(
            f"With the variants that were tried, the deflated Sharpe ratio is {deflated:.2f}, below {_SURE}."
        )
    if overfitting is not None and overfitting > 0.5:
        against.append(f"The best variant of one half fell behind in the other with probability {overfitting:.2f}.")
    if best.sharpe > first.sharpe:
        against.append(f"{best.name} had a better Sharpe ratio ({best.sharpe:.1f} against {first.sharpe:.1f}).")
    if path.is_simulated:
        against.append("The market is simulated: nothing on it can show an edge.")
    if calibration.views:
        chance = _hit_chance(calibration.right, calibration.views)
        if chance > 1 - _SURE:
            against.append(
                f"{calibration.right} of {calibration.views} directed views were right; guessing does as well with "
                f"probability {chance:.2f}."
            )
    else:
        against.append("No directed view has been scored.")
    return not against, against


def _hit_chance(right: int, views: int) -> float:
    """The probability of at least so many right out of fair guesses (normal approximation with continuity)."""
    spread = math.sqrt(views) / 2
    return 1 - NormalDist().cdf((right - 0.5 - views / 2) / spread)
