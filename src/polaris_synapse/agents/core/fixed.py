"""Fixed-point arithmetic for indicators. Integers only; every rounding is to nearest, halves away from zero.

Units used throughout the room:

- *half ticks*: bid plus ask, which is twice the mid exactly, so a mid never needs rounding.
- *micro*: a value times 1,000,000. An average of half ticks is kept in micro half ticks.
- *ppm*: parts per million of one. A signal of -1 to 1 is -1,000,000 to 1,000,000 ppm.
- *ppb*: parts per billion of one, for returns over a minute, which a part per million would round too coarsely.

Rounding is symmetric about zero, so a mirrored market gives exactly mirrored numbers. Inputs are bounded by
PRICE_TICKS_MAX and LOTS_MAX, which keeps every value that is stored within 64 bits; only intermediate results are
larger.
"""

from __future__ import annotations

from math import isqrt
from typing import Final

PPM: Final = 1_000_000
PPB: Final = 1_000_000_000
MICRO: Final = 1_000_000

#: A price of more ticks than this is taken for an error and the market for unhealthy.
PRICE_TICKS_MAX: Final = 10**12
#: The same for lots in one second or in the best levels of a side.
LOTS_MAX: Final = 10**15


def divide_rounding(numerator: int, denominator: int) -> int:
    """The nearest integer to a quotient, halves away from zero. ``denominator`` must be positive."""
    if numerator < 0:
        return -((-2 * numerator + denominator) // (2 * denominator))
    return (2 * numerator + denominator) // (2 * denominator)


def clamp(value: int, bound: int) -> int:
    """``value`` brought within ``-bound..bound``."""
    return max(-bound, min(bound, value))


def squash(value_ppm: int) -> int:
    """Any ppm value into -1,000,000..1,000,000 ppm, smoothly: ``x / (1 + |x|)``. Keeps sign and order."""
    return divide_rounding(value_ppm * PPM, PPM + abs(value_ppm))


def root_of_mean(total: int, count: int) -> int:
    """The square root of ``total / count`` rounded down, for a sum of squares. 0 where there is nothing."""
    return isqrt(total // count) if count else 0


def share_ppm(first: int, second: int) -> int:
    """How much two amounts lean to the first: ``(a - b) / (a + b)`` in ppm; 0 where both are 0."""
    whole = first + second
    return divide_rounding((first - second) * PPM, whole) if whole else 0
