"""Seeded command streams for order books: the same seed gives the same rows on every machine.

Rows are those of ``polaris_synapse.matching.core.port``. A stream is made before it is timed, so that a figure holds
the book's work alone.
"""

from __future__ import annotations

import random
from typing import Final

from polaris_synapse.matching.core.port import (
    FORCE_SHIFT,
    IOC,
    MARKET,
    STP_SHIFT,
    STP_TAKER,
    TYPE_SHIFT,
    CommandRow,
)

MID_START: Final = 100_000
_STP: Final = STP_TAKER << STP_SHIFT
_ACCOUNTS: Final = 1_000
#: The mid moves a tick once in 32 commands.
_STEPS: Final = (-1, *[0] * 62, 1)


def limit_row(order_id: int, side: int, price: int, lots: int, account: int) -> CommandRow:
    """A limit order that may rest."""
    return (0, side | _STP, order_id, account, price, lots, 0, 0, 0, 0, 0, 0)


def ioc_row(order_id: int, side: int, price: int, lots: int, account: int) -> CommandRow:
    """A limit order that takes what it can at once."""
    return (0, side | IOC << FORCE_SHIFT | _STP, order_id, account, price, lots, 0, 0, 0, 0, 0, 0)


def market_row(order_id: int, side: int, lots: int, account: int) -> CommandRow:
    """A market order."""
    return (0, side | MARKET << TYPE_SHIFT | _STP, order_id, account, 0, lots, 0, 0, 0, 0, 0, 0)


def cancel_row(order_id: int) -> CommandRow:
    """A cancellation, reason 8000 (on request)."""
    return (1, 8000, order_id)


class _Stream:
    """What the generators share: the random walk, ids, and which orders to cancel."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311  # a reproducible stream, nothing secret
        self.rows: list[CommandRow] = []
        self.mid = MID_START
        self.placed: list[int] = []
        self.next_id = 1

    def walk(self) -> None:
        self.mid += self.random.choice(_STEPS)

    def take_id(self) -> int:
        self.next_id += 1
        return self.next_id - 1

    def add(self, distance_max: int) -> None:
        draw = self.random
        side, distance = draw.randrange(2), 1 + int(distance_max * draw.random() ** 2)
        price = self.mid + distance if side else self.mid - distance
        order_id = self.take_id()
        self.rows.append(limit_row(order_id, side, price, draw.randint(1, 100), draw.randint(1, _ACCOUNTS)))
        self.placed.append(order_id)

    def cancel(self) -> None:
        """Cancel an order placed before, which may be gone already, as with real order flow."""
        placed = self.placed
        index = self.random.randrange(len(placed))
        placed[index], placed[-1] = placed[-1], placed[index]
        self.rows.append(cancel_row(placed.pop()))

    def take(self, *, market: bool) -> None:
        draw = self.random
        side, lots, account = draw.randrange(2), draw.randint(1, 120), draw.randint(1, _ACCOUNTS)
        if market:
            self.rows.append(market_row(self.take_id(), side, lots, account))
        else:
            price = self.mid - 8 if side else self.mid + 8
            self.rows.append(ioc_row(self.take_id(), side, price, lots, account))


def mixed(commands: int, seed: int = 1) -> list[CommandRow]:
    """60 % limit adds round a random-walking mid, 25 % cancels, 10 % marketable IOC, 5 % market."""
    stream = _Stream(seed)
    while len(stream.rows) < commands:
        stream.walk()
        chance = stream.random.random()
        if chance < 0.60 or not stream.placed:
            stream.add(30)
        elif chance < 0.85:
            stream.cancel()
        else:
            stream.take(market=chance >= 0.95)
    return stream.rows


def deep_fill(orders: int, seed: int = 1) -> list[CommandRow]:
    """Only resting orders, spread over a fiftieth as many prices: to fill a deep book with before it is timed."""
    stream = _Stream(seed)
    stream.mid = max(MID_START, orders)
    for _ in range(orders):
        stream.add(max(orders // 100, 1))
    return stream.rows


def deep(orders: int, commands: int, seed: int = 1) -> list[CommandRow]:
    """Commands for a book that ``deep_fill(orders, seed)`` has filled: the mixed stream's shares, spread as wide."""
    stream = _Stream(seed + 1)
    stream.mid = max(MID_START, orders)
    stream.next_id = orders + 1
    stream.placed = list(range(1, orders + 1))
    while len(stream.rows) < commands:
        chance = stream.random.random()
        if chance < 0.60:
            stream.add(max(orders // 100, 1))
        elif chance < 0.85:
            stream.cancel()
        else:
            stream.take(market=chance >= 0.95)
    return stream.rows


def cancels(commands: int, seed: int = 1) -> list[CommandRow]:
    """Real order flow: of the orders placed, 95 % are cancelled, most of them young, and 5 % meet a taker."""
    stream = _Stream(seed)
    draw = stream.random
    while len(stream.rows) < commands:
        stream.walk()
        stream.add(10)
        if draw.random() < 0.95:
            placed = stream.placed
            index = max(len(placed) - 1 - int(draw.expovariate(1 / 20)), 0)
            placed[index], placed[-1] = placed[-1], placed[index]
            stream.rows.append(cancel_row(placed.pop()))
        else:
            stream.take(market=draw.random() < 0.3)
    return stream.rows[:commands]
