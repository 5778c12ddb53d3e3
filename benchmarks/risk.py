"""How many orders a second the risk core takes: submit, acknowledge and fill cycles, and submits alone.

``python benchmarks/risk.py [--orders N] [--json]``. One core of the machine, no journal, no host; every account limit
that is on by default is on, plus a position limit and a daily loss limit. Figures are medians of five rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    AccountKind,
    AccountStanding,
    Answer,
    KycState,
    ListInstrument,
    Mark,
    Message,
    MoveFunds,
    OrderReport,
    RiskLimits,
    SetLimits,
    SubmitOrder,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Fill, Liquidity, OrderEvent, OrderRequest, OrderType, Side
from polaris_synapse.risk.core import RiskCore

ONE = 10**8
NOON = 1_723_118_400 * 10**9
ROUNDS = 5
ACCOUNTS = 100


def prepared() -> RiskCore:
    """A core with a hundred funded accounts and a price."""
    core = RiskCore()
    instrument = Instrument(
        symbol="BTCUSDT.INT",
        base=Asset("BTC", 8),
        quote=Asset("USDT", 8),
        tick_units=ONE // 100,
        lot_units=1_000,
        min_notional_units=5 * ONE,
        venue="internal",
    )
    limits = RiskLimits(
        messages_per_second_max=1_000_000,
        message_burst_max=1_000_000,
        repeated_orders_max=1_000,
        open_orders_max=1_000_000,
        position_value_units_max=10**18,
        daily_loss_units_max=10**17,
    )
    messages: list[Message] = [
        ListInstrument(time_ns=NOON, instrument=instrument),
        SetLimits(time_ns=NOON, account="*", limits=limits),
        Mark(
            time_ns=NOON,
            symbol=instrument.symbol,
            source="bench",
            mark_ticks=6_000_000,
            bid_ticks=5_999_999,
            ask_ticks=6_000_001,
            last_ticks=6_000_000,
            healthy=True,
        ),
    ]
    for number in range(ACCOUNTS):
        account = f"a{number}"
        messages.append(
            AccountStanding(
                time_ns=NOON,
                account=account,
                account_kind=AccountKind.PERSON,
                kyc=KycState.APPROVED,
                sanctions_hold=False,
                blocked=False,
                restricted_symbols=(),
                version=1,
            )
        )
        for asset, units in (("USDT", 10**16), ("BTC", 10**12)):
            messages.append(MoveFunds(time_ns=NOON, account=account, asset=asset, amount_units=units, reference=asset))
    for message in messages:
        core.apply(message)
    return core


def submits(count: int) -> list[SubmitOrder]:
    """Limit orders of all accounts on both sides near the mark, 10,000 a second of message time."""
    return [
        SubmitOrder(
            time_ns=NOON + number * 100,
            request_id=str(number),
            actor="user:bench",
            order=OrderRequest(
                account=f"a{number % ACCOUNTS}",
                client_order_id=f"c{number}",
                symbol="BTCUSDT.INT",
                side=Side.BUY if number % 2 else Side.SELL,
                type=OrderType.LIMIT,
                quantity_lots=1_000 + number % 50,
                price_ticks=6_000_000 + number % 997,
            ),
        )
        for number in range(count)
    ]


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def submit_only(count: int) -> float:
    """Orders a second through the checks and reservations."""
    core, commands = prepared(), submits(count)

    def work() -> None:
        for command in commands:
            core.apply(command)

    return count / timed(work)


def cycles(count: int) -> float:
    """Orders a second through submit, acknowledgement and a full fill with a fee."""
    core, commands = prepared(), submits(count)

    def work() -> None:
        for command in commands:
            request = command.order
            order_id = _order_id(core.apply(command))
            core.apply(
                OrderReport(
                    time_ns=command.time_ns,
                    order_id=order_id,
                    account=request.account,
                    symbol=request.symbol,
                    event=OrderEvent.ACKNOWLEDGE,
                )
            )
            core.apply(
                OrderReport(
                    time_ns=command.time_ns,
                    order_id=order_id,
                    account=request.account,
                    symbol=request.symbol,
                    event=OrderEvent.FILL,
                    fill=Fill(
                        trade_id=request.client_order_id,
                        price_ticks=request.price_ticks,
                        quantity_lots=request.quantity_lots,
                        liquidity=Liquidity.TAKER,
                        fee_units=1_000,
                        fee_asset="BTC" if request.side is Side.BUY else "USDT",
                    ),
                )
            )

    rate = count / timed(work)
    problems = core.check()
    if problems:
        raise SystemExit(f"the core is not sound after the run: {problems[:3]}")
    return rate


def _order_id(out: Sequence[Message]) -> int:
    answer = next(message for message in out if isinstance(message, Answer))
    if answer.order is None or not answer.order.order_id:
        raise SystemExit(f"an order was refused: {answer.reason.name} {answer.detail}")
    return answer.order.order_id


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=50_000, help="orders a round")
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    arguments = parser.parse_args()
    figures = {
        "orders": arguments.orders,
        "rounds": ROUNDS,
        "submits_per_second": round(statistics.median(submit_only(arguments.orders) for _ in range(ROUNDS))),
        "cycles_per_second": round(statistics.median(cycles(arguments.orders) for _ in range(ROUNDS))),
    }
    if arguments.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        for name, figure in figures.items():
            sys.stdout.write(f"{name:22} {figure:>12,}\n")


if __name__ == "__main__":
    main()
