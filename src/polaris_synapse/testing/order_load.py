"""Orders to measure a desk with: a seeded stream for the internal book, and settings of a desk that takes it all.

Four orders in five rest near the middle, every fifth takes what rests. Accounts take turns, so that they trade with
each other; a taker that meets its own order is cut short by self-trade prevention, as anybody's would be.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Final

import yaml

SYMBOL: Final = "BTCUSDT.INT"
REFERENCE: Final = "BTCUSDT"
PASSWORD: Final = "a password for benchmarks"  # noqa: S105  # of a desk that lives for one measurement
#: How far from the middle orders rest, in cents, and how much they ask for, in thousandths.
_SPREAD_CENTS: Final = 5_000
_QUANTITIES: Final = ("0.001", "0.002", "0.003", "0.005")
_TAKER_EVERY: Final = 5

_UNLIMITED: Final = 9_000_000_000


def account_names(count: int) -> tuple[str, ...]:
    """The accounts that take turns."""
    return tuple(f"bench-{number}" for number in range(1, count + 1))


def benchmark_settings(accounts: tuple[str, ...]) -> dict[str, Any]:
    """Settings of a desk whose limits and budgets never stand in the way; every check still runs."""
    coins = [{"code": code, "decimals": 8} for code in ("USDT", "BTC")]
    common = {"base": "BTC", "quote": "USDT", "tick_size": "0.01", "lot_size": "0.00001", "min_notional": "5"}
    limits = {
        "order_value_max": str(_UNLIMITED),
        "position_value_max": str(_UNLIMITED),
        "exposure_max": str(_UNLIMITED),
        "daily_loss_max": str(_UNLIMITED),
        "price_collar_ppm": 900_000,
        "market_data_age_seconds_max": 60,
        "messages_per_second_max": _UNLIMITED,
        "message_burst_max": 1_000_000,
        "repeated_orders_max": 10_000,
        "repeated_order_window_seconds": 1,
        "open_orders_max": _UNLIMITED,
        "breaker_mark_jump_ppm": 0,
    }
    return {
        "environment": "development",
        "host": "127.0.0.1",
        "order_port": {"enabled": True},
        "feed": {"mode": "simulated"},
        "assets": coins,
        "instruments": [
            {"symbol": REFERENCE, "venue": "paper"} | common,
            {"symbol": SYMBOL, "venue": "internal", "reference_symbol": REFERENCE} | common,
        ],
        "accounts": [
            {"name": name, "holder": "Benchmark", "deposits": {"USDT": "1000000000", "BTC": "10000"}}
            for name in accounts
        ],
        "limits": {"*": limits},
        "agent": {"enabled": False, "account": accounts[0]},
        "compliance": {
            "large_transaction": "0",
            "rapid_funds_count": 0,
            "rapid_trades_count": 0,
            "flow_through_min": "0",
            "structuring_below": "0",
            "structuring_count": 0,
            "new_account_activity": "0",
        },
        "gateway": {"orders_per_second_max": 1_000_000, "reads_per_second_max": 1_000_000},
    }


def write_settings(path: Path, accounts: tuple[str, ...]) -> None:
    """Write ``benchmark_settings`` as the YAML file that ``polaris up --config`` takes."""
    path.write_text(yaml.safe_dump(benchmark_settings(accounts), sort_keys=False), encoding="utf-8")


class OrderStream:
    """Orders one after the other, as JSON objects. The same seed and middle give the same orders.

    ``middle_cents``: the price that they are placed around. ``tag`` keeps client order ids apart between streams.
    """

    def __init__(self, accounts: tuple[str, ...], *, middle_cents: int, tag: str, seed: int = 1) -> None:
        self._random = random.Random(seed)  # noqa: S311  # a reproducible stream, nothing secret
        self._accounts = accounts
        self._middle_cents = middle_cents
        self._tag = tag
        self.made = 0

    def client_order_id(self, number: int) -> str:
        """The client's id of the order of this number, counted from 0."""
        return f"{self._tag}-{number}"

    def next(self, account: str = "") -> str:
        """The next order; for ``account``, or for the one whose turn it is."""
        number = self.made
        self.made += 1
        draw = self._random.random()
        buys = number % 2 == 0
        cents = int(draw * draw * _SPREAD_CENTS) + 1
        if number % _TAKER_EVERY == 0:
            buys, cents, force = draw < 0.5, -_SPREAD_CENTS, "IOC"
        else:
            force = "GTC"
        price = self._middle_cents - cents if buys else self._middle_cents + cents
        return (
            f'{{"symbol":"{SYMBOL}","side":"{"BUY" if buys else "SELL"}","type":"LIMIT",'
            f'"account":"{account or self._accounts[number % len(self._accounts)]}",'
            f'"client_order_id":"{self.client_order_id(number)}","quantity":"{_QUANTITIES[number % len(_QUANTITIES)]}",'
            f'"price":"{price // 100}.{price % 100:02d}","time_in_force":"{force}"}}'
        )
