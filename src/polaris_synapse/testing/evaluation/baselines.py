"""What anybody could have done without an agent. Each rule sees mids up to its step and says which share to hold."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

from polaris_synapse.testing.evaluation.account import PaperAccount
from polaris_synapse.testing.evaluation.paths import MarketPath

#: A rule is called once a decision step with the mids so far (newest last) and answers: hold, or do not hold.
Rule = Callable[[Sequence[float]], bool]

FAST, SLOW, SIGNAL, MOMENTUM = 12, 26, 9, 20


def moving_average_cross(mids: Sequence[float]) -> bool:
    """Hold while the average of the last twelve is above that of the last twenty-six."""
    return len(mids) >= SLOW and _mean(mids[-FAST:]) > _mean(mids[-SLOW:])


class Macd:
    """Hold while the MACD line (exponential averages of 12 and 26) is above its own average of 9."""

    def __init__(self) -> None:
        self._seen = 0
        self._fast = self._slow = self._signal = 0.0

    def __call__(self, mids: Sequence[float]) -> bool:
        """Take the newest mid in."""
        price = mids[-1]
        if not self._seen:
            self._fast = self._slow = price
        self._seen += 1
        self._fast += (price - self._fast) * 2 / (FAST + 1)
        self._slow += (price - self._slow) * 2 / (SLOW + 1)
        line = self._fast - self._slow
        self._signal += (line - self._signal) * 2 / (SIGNAL + 1)
        return self._seen >= SLOW + SIGNAL and line > self._signal


def momentum(mids: Sequence[float]) -> bool:
    """Hold while the price is above that of twenty decisions ago."""
    return len(mids) > MOMENTUM and mids[-1] > mids[-1 - MOMENTUM]


class RandomEntry:
    """Changes its mind as often as it is told to, at random moments: the same turnover without any view."""

    def __init__(self, seed: int, changes: int, decisions: int) -> None:
        chance = random.Random(seed)  # noqa: S311  # a baseline that can be made again
        moments = sorted(chance.sample(range(decisions), min(changes, decisions)))
        self._moments: Final = frozenset(moments)
        self._step = 0
        self._holds = False

    def __call__(self, mids: Sequence[float]) -> bool:
        """Turn round where chance has said so."""
        if self._step in self._moments:
            self._holds = not self._holds
        self._step += 1
        return self._holds


def always(_: Sequence[float]) -> bool:
    """Buy once and hold."""
    return True


def never(_: Sequence[float]) -> bool:
    """Stay in cash."""
    return False


def follow(
    path: MarketPath, rule: Rule, *, every_seconds: int, share_ppm: int, cash_units: int, slippage_ppm: int
) -> tuple[PaperAccount, list[int]]:
    """Run a rule over a market; the account and its equity at every step.

    The rule decides on what a step shows and trades at the prices of the next one. It trades only where it changes its
    mind, so a holding is not rebalanced for free.
    """
    account = PaperAccount(path.instrument, cash_units, slippage_ppm)
    equity: list[int] = []
    mids: list[float] = []
    wish: bool | None = None
    holds = False
    next_ns = path.steps[0].time_ns
    for step in path.steps:
        if wish is not None and wish is not holds:
            account.hold(share_ppm if wish else 0, step)
            holds = wish
        wish = None
        half = step.bid_ticks + step.ask_ticks
        if step.time_ns >= next_ns:
            mids.append(half / 2)
            wish = rule(mids)
            next_ns = step.time_ns + every_seconds * 10**9
        equity.append(account.equity_units(half))
    return account, equity


def decisions_of(path: MarketPath, every_seconds: int) -> int:
    """How often a rule is asked on a market."""
    count, next_ns = 0, path.steps[0].time_ns
    for step in path.steps:
        if step.time_ns >= next_ns:
            count += 1
            next_ns = step.time_ns + every_seconds * 10**9
    return count


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
