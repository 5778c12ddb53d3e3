"""What a series of returns is worth as evidence. Floats: nothing here is money.

Sources: A. W. Lo, "The Statistics of Sharpe Ratios" (2002); D. H. Bailey and M. López de Prado, "The Deflated Sharpe
Ratio" (2014); D. H. Bailey, J. Borwein, M. López de Prado and Q. J. Zhu, "The Probability of Backtest Overfitting"
(2017); D. N. Politis and J. P. Romano, "The Stationary Bootstrap" (1994); G. W. Brier (1950).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import combinations
from statistics import NormalDist, fmean

from msgspec import Struct

_NORMAL = NormalDist()
_EULER = 0.5772156649015329


class ReliabilityBin(Struct, frozen=True, kw_only=True):
    """Views whose stated confidence lay between ``low`` and ``high``, and the share of them that were right."""

    low: float
    high: float
    count: int
    stated: float
    right: float


def sharpe(returns: Sequence[float]) -> float:
    """Mean over standard deviation (sample) of the returns as they come, not annualised; 0 where nothing moves."""
    if len(returns) < 2:
        return 0.0
    mean = fmean(returns)
    variance = sum((value - mean) ** 2 for value in returns) / (len(returns) - 1)
    return mean / math.sqrt(variance) if variance > 0 else 0.0


def sharpe_interval(
    returns: Sequence[float], *, seed: int, rounds: int = 500, block: int | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """A confidence interval of ``sharpe`` by the stationary bootstrap, which keeps runs of returns together."""
    count = len(returns)
    if count < 3:
        return (0.0, 0.0)
    mean_block = block or max(1, round(count ** (1 / 3)))
    chance = random.Random(seed)  # noqa: S311  # a resampling that can be made again
    found = []
    for _ in range(rounds):
        sample = []
        at = chance.randrange(count)
        for _ in range(count):
            sample.append(returns[at])
            at = chance.randrange(count) if chance.random() * mean_block < 1 else (at + 1) % count
        found.append(sharpe(sample))
    found.sort()
    tail = (1 - confidence) / 2
    return found[int(tail * rounds)], found[min(int((1 - tail) * rounds), rounds - 1)]


def moments(returns: Sequence[float]) -> tuple[float, float]:
    """Skewness and (not excess) kurtosis; those of a normal distribution where nothing moves."""
    count = len(returns)
    if count < 3:
        return 0.0, 3.0
    mean = fmean(returns)
    second = sum((value - mean) ** 2 for value in returns) / count
    if second <= 0:
        return 0.0, 3.0
    third = sum((value - mean) ** 3 for value in returns) / count
    fourth = sum((value - mean) ** 4 for value in returns) / count
    return third / second**1.5, fourth / second**2


def probabilistic_sharpe(returns: Sequence[float], benchmark: float) -> float:
    """The probability that the true Sharpe ratio exceeds ``benchmark``, both per return."""
    count = len(returns)
    if count < 3:
        return 0.0
    found = sharpe(returns)
    skewness, kurtosis = moments(returns)
    spread = 1 - skewness * found + (kurtosis - 1) / 4 * found**2
    if spread <= 0:
        return 0.0
    return _NORMAL.cdf((found - benchmark) * math.sqrt(count - 1) / math.sqrt(spread))


def expected_best_sharpe(trials: Sequence[float]) -> float:
    """The Sharpe ratio that the best of so many trials would show if none of them had any skill."""
    count = len(trials)
    if count < 2:
        return 0.0
    mean = fmean(trials)
    spread = math.sqrt(sum((value - mean) ** 2 for value in trials) / (count - 1))
    return spread * ((1 - _EULER) * _NORMAL.inv_cdf(1 - 1 / count) + _EULER * _NORMAL.inv_cdf(1 - 1 / (count * math.e)))


def deflated_sharpe(returns: Sequence[float], trials: Sequence[float]) -> float:
    """The probability that the returns' Sharpe ratio is no mere best of ``trials`` Sharpe ratios that were tried."""
    return probabilistic_sharpe(returns, expected_best_sharpe(trials))


def backtest_overfitting(series: Sequence[Sequence[float]], *, parts: int = 10) -> float | None:
    """The probability that the configuration that looks best in one half does worse than the median in the other.

    ``series`` holds the returns of each configuration, all equally long; the time is cut into ``parts`` (even) and
    every choice of half of them is tried. None where there are fewer than two
    configurations or too few returns, or where none of them did anything.
    """
    if len(series) < 2 or len(series[0]) < 2 * parts or parts % 2:
        return None
    if all(len(set(returns)) == 1 for returns in series):
        # None of them did anything, so nothing was chosen.
        return None
    length = len(series[0]) // parts
    pieces = [[tuple(returns[n * length : (n + 1) * length]) for n in range(parts)] for returns in series]
    worse = total = 0
    for chosen in combinations(range(parts), parts // 2):
        inside = set(chosen)
        seen = [sharpe([v for n in chosen for v in pieces[c][n]]) for c in range(len(series))]
        unseen = [
            sharpe([v for n in range(parts) if n not in inside for v in pieces[c][n]]) for c in range(len(series))
        ]
        best = max(range(len(series)), key=lambda c: seen[c])
        rank = sum(value < unseen[best] for value in unseen) + 0.5 * sum(value == unseen[best] for value in unseen)
        worse += rank / len(series) <= 0.5
        total += 1
    return worse / total


def drawdown(equity: Sequence[float]) -> float:
    """The deepest fall from a peak, as a share of the peak."""
    peak, deepest = -math.inf, 0.0
    for value in equity:
        peak = max(peak, value)
        if peak > 0:
            deepest = max(deepest, (peak - value) / peak)
    return deepest


def brier(views: Sequence[tuple[float, bool]]) -> float | None:
    """The mean square of stated confidence less 1 where right. Whoever says 50 % always gets 0.25. None: no views."""
    return fmean((stated - right) ** 2 for stated, right in views) if views else None


def reliability(views: Sequence[tuple[float, bool]], *, bins: int = 10) -> list[ReliabilityBin]:
    """How often views were right, by the confidence that they stated; empty bins are left out."""
    found = []
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [view for view in views if low <= view[0] < high or (number == bins - 1 and view[0] == 1.0)]
        if inside:
            found.append(
                ReliabilityBin(
                    low=low,
                    high=high,
                    count=len(inside),
                    stated=fmean(stated for stated, _ in inside),
                    right=fmean(right for _, right in inside),
                )
            )
    return found
