"""Latencies and errors of many requests, and what they say."""

from __future__ import annotations

import math
from collections import Counter

from msgspec import Struct


class Latencies(Struct, frozen=True, kw_only=True):
    """What a number of answers took, in milliseconds. All zero without answers."""

    count: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class Tally:
    """Answers by outcome. ``errors``: what should not have happened, by name; ``throttled``: told to slow down."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.errors: Counter[str] = Counter()
        self.throttled = 0

    @property
    def answered(self) -> int:
        """All requests with an outcome."""
        return len(self.seconds) + sum(self.errors.values()) + self.throttled

    def latencies(self) -> Latencies:
        """Those of the answers that were as they should be."""
        ordered = sorted(self.seconds)
        return Latencies(
            count=len(ordered),
            p50_ms=percentile(ordered, 0.5),
            p99_ms=percentile(ordered, 0.99),
            p999_ms=percentile(ordered, 0.999),
            max_ms=round(ordered[-1] * 1000, 3) if ordered else 0.0,
        )


def percentile(ordered: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of all are not above, from seconds to milliseconds."""
    if not ordered:
        return 0.0
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000, 3)
