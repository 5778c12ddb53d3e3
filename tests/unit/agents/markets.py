"""Made-up markets and accounts for the agents' tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    AccountMetrics,
    AgentSettings,
    BalanceChanged,
    ListInstrument,
    Mandate,
    MarketSummary,
    Message,
    SetAgents,
    SetMandate,
    Tick,
)
from polaris_synapse.domain.money import Asset

SECOND: Final = 1_000_000_000
#: 2026-01-01T00:00:00Z.
START: Final = 1_767_225_600 * SECOND

USDT: Final = Asset(code="USDT", decimals=8)
BTC: Final = Asset(code="BTC", decimals=8)
BTCUSDT: Final = Instrument(
    symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3, min_notional_units=5 * 10**8
)
SETTINGS: Final = AgentSettings(agent="jarvis", account="jarvis", symbols=("BTCUSDT",))
MANDATE: Final = Mandate(
    account="jarvis",
    agent="jarvis",
    symbols=("BTCUSDT",),
    order_value_units_max=2_500 * 10**8,
    daily_value_units_max=20_000 * 10**8,
    approval_above_units=2_500 * 10**8,
)


def new_core() -> AgentsCore:
    """A core that values in USDT."""
    return AgentsCore(valuation=USDT)


def set_up(
    *,
    settings: AgentSettings = SETTINGS,
    mandate: Mandate | None = MANDATE,
    cash: int = 25_000,
    held: str = "0",
    instrument: Instrument = BTCUSDT,
    time_ns: int = START,
) -> list[Message]:
    """An instrument, an agent with its mandate, and what its account holds."""
    base_units = instrument.parse_quantity(held) * instrument.lot_units
    found: list[Message] = [
        ListInstrument(time_ns=time_ns, instrument=instrument),
        SetAgents(time_ns=time_ns, settings=settings, request_id="set"),
        BalanceChanged(
            time_ns=time_ns, account=settings.account, asset="USDT", total_units=cash * 10**8, reserved_units=0
        ),
        BalanceChanged(
            time_ns=time_ns, account=settings.account, asset="BTC", total_units=base_units, reserved_units=0
        ),
        AccountMetrics(
            time_ns=time_ns,
            account=settings.account,
            equity_units=25_000 * 10**8,
            day_start_equity_units=25_000 * 10**8,
            peak_equity_units=25_000 * 10**8,
            exposure_units=0,
            open_orders_units=0,
        ),
    ]
    if mandate is not None:
        found.append(SetMandate(time_ns=time_ns, mandate=mandate))
    return found


def noise(seed: int) -> Iterator[int]:
    """Whole numbers from -50 to 50, the same for the same seed."""
    value = seed
    while True:
        value = (value * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % 2**64
        yield (value >> 33) % 101 - 50


def summary(
    time_ns: int,
    mid_ticks: int,
    *,
    bought: int = 500,
    sold: int = 500,
    bids: int = 1_000,
    asks: int = 1_000,
    trades: int = 5,
    symbol: str = "BTCUSDT",
    source: str = "simulated",
    healthy: bool = True,
) -> MarketSummary:
    """One second of a market with a spread of two ticks."""
    return MarketSummary(
        time_ns=time_ns,
        symbol=symbol,
        source=source,
        bid_ticks=mid_ticks - 1,
        ask_ticks=mid_ticks + 1,
        last_ticks=mid_ticks,
        bid_depth_lots=bids,
        ask_depth_lots=asks,
        bought_lots=bought,
        sold_lots=sold,
        trades=trades,
        healthy=healthy,
    )


def trending(
    minutes: int,
    ticks_a_minute: int,
    *,
    lean: int = 0,
    start_ns: int = START,
    seed: int = 1,
    mid_ticks: int = 6_000_000,
    source: str = "simulated",
    ticks: bool = True,
) -> list[Message]:
    """A noisy market with a drift, and with takers and book leaning by ``lean`` percent; a Tick after each second."""
    found: list[Message] = []
    shocks = noise(seed)
    walk = 0
    for second in range(minutes * 60):
        time_ns = start_ns + (second + 1) * SECOND
        walk += next(shocks) * 4
        mid = mid_ticks + second * ticks_a_minute // 60 + walk // 8
        found.append(
            summary(
                time_ns, mid, bought=500 + 5 * lean, sold=500 - 5 * lean, bids=1_000 + 5 * lean,
                asks=1_000 - 5 * lean, source=source,
            )
        )  # fmt: skip
        if ticks:
            found.append(Tick(time_ns=time_ns))
    return found


def run(core: AgentsCore, messages: Sequence[Message]) -> list[Message]:
    """All that the core says to the messages."""
    return [output for message in messages for output in core.apply(message)]
