"""How long the deterministic analyst takes to decide on a symbol, and how much it can keep up with.

    python benchmarks/agent_decisions.py --symbols 50 --decisions 2000

Folds a made-up market until every indicator is full, then times decisions one by one, the message in and the decision
out. The goal is a p99 below 50 ms a symbol and 50 symbols a minute on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator

from msgspec.structs import replace

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    AccountMetrics,
    AgentSettings,
    AnalyseNow,
    ListInstrument,
    Mandate,
    MarketSummary,
    SetAgents,
    SetMandate,
)
from polaris_synapse.domain.money import Asset

SECOND = 1_000_000_000
USDT, BASE = Asset(code="USDT", decimals=8), Asset(code="BTC", decimals=8)
INSTRUMENT = Instrument(
    symbol="S", base=BASE, quote=USDT, tick_units=10**6, lot_units=10**3, min_notional_units=5 * 10**8
)


def summaries(symbol: str, seconds: int) -> Iterator[MarketSummary]:
    """A wave with noise, one summary a second."""
    noise = 1
    for second in range(seconds):
        noise = (noise * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        mid = 6_000_000 + abs(second % 3_600 - 1_800) * 20 + (noise >> 33) % 600
        yield MarketSummary(
            time_ns=second * SECOND, symbol=symbol, source="simulated", bid_ticks=mid - 1, ask_ticks=mid + 1,
            last_ticks=mid, bid_depth_lots=900 + noise % 200, ask_depth_lots=1_000, bought_lots=(noise >> 20) % 900,
            sold_lots=(noise >> 40) % 900, trades=5, healthy=True,
        )  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Latency of the deterministic analyst's decisions.")
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--decisions", type=int, default=2_000)
    parser.add_argument("--minutes", type=int, default=300, help="market folded before the first decision")
    options = parser.parse_args()
    names = tuple(f"S{number}USDT" for number in range(options.symbols))
    core = AgentsCore(valuation=USDT)
    agent = AgentSettings(agent="jarvis", account="jarvis", symbols=names, cooldown_seconds=0)
    huge = 10**15
    for name in names:
        core.apply(ListInstrument(time_ns=0, instrument=replace(INSTRUMENT, symbol=name)))
    core.apply(SetAgents(time_ns=0, settings=agent))
    core.apply(
        SetMandate(
            time_ns=0,
            mandate=Mandate(
                account="jarvis", agent="jarvis", symbols=names, order_value_units_max=huge,
                daily_value_units_max=huge, approval_above_units=huge,
            ),
        )
    )  # fmt: skip
    core.apply(
        AccountMetrics(
            time_ns=0, account="jarvis", equity_units=huge, day_start_equity_units=huge, peak_equity_units=huge,
            exposure_units=0, open_orders_units=0,
        )
    )  # fmt: skip
    seconds = options.minutes * 60
    rounds = -(-options.decisions // len(names))
    markets = [list(summaries(name, seconds + rounds)) for name in names]
    begun = time.perf_counter_ns()
    for market in markets:
        for message in market[:seconds]:
            core.apply(message)
    fold_ns = (time.perf_counter_ns() - begun) // (len(names) * seconds)
    taken = []
    for second in range(seconds, seconds + rounds):
        for market in markets:
            core.apply(market[second])
        for name in names:
            asked = AnalyseNow(time_ns=second * SECOND, agent="jarvis", symbol=name)
            begun = time.perf_counter_ns()
            answer = core.apply(asked)
            taken.append(time.perf_counter_ns() - begun)
            assert len(answer) > 1, "a decision was expected"
    decided = sorted(taken)
    share = {name: decided[min(int(len(decided) * rank), len(decided) - 1)] for name, rank in
             (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))}  # fmt: skip
    lines = [f"{options.symbols} symbols, {len(taken)} decisions, {options.minutes} minutes of market each"]
    lines += [f"request to decision {name:>6}: {value / 1e6:8.3f} ms" for name, value in share.items()]
    lines.append(f"fold of one summary      : {fold_ns / 1e3:8.2f} us")
    lines.append(f"snapshot                 : {len(core.snapshot()) / 1024:8.0f} KiB")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
