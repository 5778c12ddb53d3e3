"""Signed confidence to log-odds and back, in integers, so that a vote comes out the same on every machine.

A signed confidence ``s`` of -1 to 1 stands for a probability of ``(1 + s) / 2`` that the price rises. Its log-odds are
``ln((1 + s) / (1 - s))``. Log-odds of independent voices add up, which is Bayes' rule with even prior odds. Values are
kept in *nano*, a thousand-millionth; inside, 18 decimal places are carried.
"""

from __future__ import annotations

from typing import Final

from polaris_synapse.agents.core.fixed import PPM, clamp, divide_rounding

#: Nobody is surer than this: certainty would outvote every other voice for ever.
LEAN_PPM_MAX: Final = 990_000
#: Log-odds beyond this all mean the same bounded confidence.
LOG_ODDS_NANO_MAX: Final = 20_000_000_000

_ONE: Final = 10**18
_LN2: Final = 693_147_180_559_945_309
_NANO: Final = 10**9
_LOG_TERMS: Final = 60
_EXP_TERMS: Final = 30


def log_odds_nano(lean_ppm: int) -> int:
    """The log-odds of a signed confidence, which is first brought within ``LEAN_PPM_MAX``. Odd: f(-x) is -f(x)."""
    lean = clamp(lean_ppm, LEAN_PPM_MAX)
    size = _log(PPM + abs(lean), PPM - abs(lean))
    return divide_rounding(size, _NANO) * (1 if lean >= 0 else -1)


def lean_ppm(log_odds: int) -> int:
    """The signed confidence of log-odds in nano, within ``LEAN_PPM_MAX``. Odd, and never falling."""
    size = min(abs(log_odds), LOG_ODDS_NANO_MAX)
    odds = _exp(size * _NANO)
    lean = min(divide_rounding((odds - _ONE) * PPM, odds + _ONE), LEAN_PPM_MAX)
    return lean if log_odds >= 0 else -lean


def _log(numerator: int, denominator: int) -> int:
    """``ln(numerator / denominator)`` with 18 decimals, for a quotient of at least one."""
    halvings = 0
    while numerator > 2 * denominator:
        denominator *= 2
        halvings += 1
    # ln(x) = 2 artanh((x - 1) / (x + 1)), whose argument is at most a third here.
    argument = (numerator - denominator) * _ONE // (numerator + denominator)
    square = argument * argument // _ONE
    total, power = 0, argument
    for odd in range(1, 2 * _LOG_TERMS, 2):
        if not power:
            break
        total += power // odd
        power = power * square // _ONE
    return 2 * total + halvings * _LN2


def _exp(value: int) -> int:
    """``e`` to the power of a value with 18 decimals, which is not negative."""
    doublings, rest = divmod(value, _LN2)
    total = term = _ONE
    for number in range(1, _EXP_TERMS):
        term = term * rest // (_ONE * number)
        if not term:
            break
        total += term
    return total << doublings
