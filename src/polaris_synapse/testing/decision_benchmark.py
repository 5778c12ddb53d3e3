"""How long the agents core takes for a decision without a model: one symbol, and fifty symbols in a minute.

Every market is a noisy walk made by this desk. A measured decision is all of it: reading the market, the outside
evidence, the vote, the size, the thesis with its check, and the case with its digest.
"""

from __future__ import annotations

import time
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.monitoring.figures import Figure
from polaris_synapse.testing.core_benchmark import Progress
from polaris_synapse.testing.machine import Machine, this_machine

_SECOND: Final = 1_000_000_000
_START: Final = 1_767_225_600 * _SECOND
_USDT: Final = Asset(code="USDT", decimals=8)
_MIDDLE_TICKS: Final = 6_000_000
#: Candles of one second, so that a market has a full history after four minutes of it.
_HISTORY_SECONDS: Final = 260
_ITEMS_A_SYMBOL: Final = 40


class DecisionPlan(Struct, frozen=True, kw_only=True):
    """What to measure: ``symbols`` markets, each decided once a second for ``rounds`` seconds."""

    symbols: int = 50
    rounds: int = 60


class DecisionReport(Struct, frozen=True, kw_only=True):
    """``decisions`` in all, of which ``proposals`` came to an order."""

    figures: tuple[Figure, ...]
    machine: Machine
    decisions: int
    proposals: int


def run_decision_benchmark(plan: DecisionPlan, progress: Progress) -> DecisionReport:
    """Measure in this process, on one core."""
    core, symbols = AgentsCore(valuation=_USDT), [f"C{number:02}USDT" for number in range(plan.symbols)]
    _set_up(core, symbols)
    shocks = _Noise()
    walks = dict.fromkeys(symbols, _MIDDLE_TICKS)
    progress("history", 0.0)
    for second in range(_HISTORY_SECONDS):
        _one_second(core, walks, second, shocks)
    latencies: list[int] = []
    processor: list[int] = []
    proposals = 0
    folding_ns = 0
    for turn in range(plan.rounds):
        progress(f"{plan.symbols} decisions", turn / plan.rounds)
        second = _HISTORY_SECONDS + turn
        began = time.perf_counter_ns()
        _one_second(core, walks, second, shocks)
        folding_ns += time.perf_counter_ns() - began
        now_ns = _START + (second + 1) * _SECOND
        for symbol in symbols:
            asked = m.AnalyseNow(time_ns=now_ns, agent="bench", symbol=symbol)
            began, own_began = time.perf_counter_ns(), time.thread_time_ns()
            produced = core.apply(asked)
            # The processor's time too: on a busy machine the clock on the wall measures the others.
            processor.append(time.thread_time_ns() - own_began)
            latencies.append(time.perf_counter_ns() - began)
            proposals += sum(isinstance(message, m.ProposalMade) for message in produced)
    progress("done", 1.0)
    latencies.sort()
    processor.sort()
    deciding_ns = sum(latencies)
    minute_share = (deciding_ns / plan.rounds + folding_ns / plan.rounds * 60) / (60 * _SECOND)
    return DecisionReport(
        figures=(
            Figure("decision, p50", _milliseconds(latencies, 50), "ms"),
            Figure("decision, p99", _milliseconds(latencies, 99), "ms"),
            Figure("decision, p99, processor time", _milliseconds(processor, 99), "ms"),
            Figure("decision, longest", round(latencies[-1] / 1e6, 3), "ms"),
            Figure("decisions on one core", round(len(latencies) / (deciding_ns / _SECOND), 1), "decisions/s"),
            Figure(f"one core for {plan.symbols} symbols decided each minute", round(100 * minute_share, 2), "%"),
        ),
        machine=this_machine(),
        decisions=len(latencies),
        proposals=proposals,
    )


def _set_up(core: AgentsCore, symbols: list[str]) -> None:
    def tell(message: m.Message) -> None:
        core.apply(message)

    for symbol in symbols:
        base = Asset(code=symbol.removesuffix("USDT"), decimals=8)
        tell(
            m.ListInstrument(
                time_ns=_START,
                instrument=Instrument(symbol=symbol, base=base, quote=_USDT, tick_units=10**6, lot_units=10**3),
            )
        )
    settings = m.AgentSettings(
        agent="bench",
        account="bench",
        symbols=tuple(symbols),
        interval_seconds=86_400,
        candle_seconds=1,
        cooldown_seconds=0,
        horizon_seconds=60,
    )
    tell(m.SetAgents(time_ns=_START, settings=settings))
    tell(m.BalanceChanged(time_ns=_START, account="bench", asset="USDT", total_units=10**15, reserved_units=0))
    tell(
        m.AccountMetrics(
            time_ns=_START,
            account="bench",
            equity_units=10**15,
            day_start_equity_units=10**15,
            peak_equity_units=10**15,
            exposure_units=0,
            open_orders_units=0,
        )
    )
    mandate = m.Mandate(
        account="bench",
        agent="bench",
        symbols=tuple(symbols),
        order_value_units_max=10**12,
        daily_value_units_max=10**15,
        approval_above_units=10**12,
    )
    tell(m.SetMandate(time_ns=_START, mandate=mandate))
    kinds = (m.SourceKind.NEWS, m.SourceKind.SOCIAL, m.SourceKind.FUNDING)
    for symbol in symbols:
        for number in range(_ITEMS_A_SYMBOL):
            tell(
                m.SentimentScored(
                    time_ns=_START,
                    symbol=symbol,
                    source_kind=kinds[number % len(kinds)],
                    source="benchmark",
                    score_ppm=(number * 50_000) % 1_000_001 - 300_000,
                    confidence_ppm=500_000,
                    published_time_ns=_START - number * _SECOND,
                    seen_time_ns=_START,
                    item_digest=f"{number:064x}",
                )
            )


def _one_second(core: AgentsCore, walks: dict[str, int], second: int, shocks: _Noise) -> None:
    now_ns = _START + (second + 1) * _SECOND
    for symbol in walks:
        walks[symbol] += shocks.next() + 5
        mid = walks[symbol]
        core.apply(
            m.MarketSummary(
                time_ns=now_ns,
                symbol=symbol,
                source="benchmark",
                bid_ticks=mid - 1,
                ask_ticks=mid + 1,
                last_ticks=mid,
                bid_depth_lots=1_200,
                ask_depth_lots=1_000,
                bought_lots=600,
                sold_lots=400,
                trades=5,
                healthy=True,
            )
        )
    core.apply(m.Tick(time_ns=now_ns))


class _Noise:
    """Whole numbers from -50 to 50, the same in every run."""

    def __init__(self) -> None:
        self._value = 1

    def next(self) -> int:
        """The next one."""
        self._value = (self._value * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        return (self._value >> 33) % 101 - 50


def _milliseconds(ordered_ns: list[int], percent: int) -> float:
    return round(ordered_ns[min(len(ordered_ns) * percent // 100, len(ordered_ns) - 1)] / 1e6, 3)
