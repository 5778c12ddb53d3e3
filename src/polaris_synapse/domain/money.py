"""Exact money: decimal text in, integers inside, decimal text out.

Every amount is an integer count of its asset's *minor unit* (``10 ** -decimals`` of the asset). Nothing here rounds:
text that does not fit an asset exactly is refused, never cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar

from msgspec import Struct

#: More digits than any real price or amount needs; a bound keeps hostile text from becoming huge integers.
DECIMAL_TEXT_CHARACTERS_MAX = 40
_TEXTS_KEPT_MAX = 8_192

_DECIMAL_TEXT = re.compile(r"(-?)(\d{1,30})(?:\.(\d{1,18}))?", re.ASCII)


P = ParamSpec("P")
T = TypeVar("T")


def _kept(function: Callable[P, T]) -> Callable[P, T]:
    """``lru_cache`` that keeps the types. Prices and quantities repeat, on the order path above all; it is bounded."""
    return lru_cache(maxsize=_TEXTS_KEPT_MAX)(function)  # type: ignore[return-value]  # typeshed has Hashable


class MoneyError(ValueError):
    """Decimal text that is not an exact amount of the asset; the message says why in one sentence."""


class Asset(Struct, frozen=True, gc=False):
    """A currency or token.

    ``code`` is its ticker (``"BTC"``); one minor unit is ``10 ** -decimals`` of it.
    """

    code: str
    decimals: int

    @property
    def unit_count(self) -> int:
        """Minor units in one whole unit."""
        return int(10**self.decimals)


@_kept
def parse_units(text: str, decimals: int) -> int:
    """Turn plain decimal text such as ``"0.015"`` into a whole number of ``10 ** -decimals`` units.

    Raises MoneyError for exponents, blanks, NaN, infinity, more digits than ``decimals`` can hold, or overlong text.
    """
    if len(text) > DECIMAL_TEXT_CHARACTERS_MAX:
        raise MoneyError(f"a number has at most {DECIMAL_TEXT_CHARACTERS_MAX} characters, this one has {len(text)}")
    match = _DECIMAL_TEXT.fullmatch(text)
    if match is None:
        raise MoneyError(f"{text!r} is not a plain decimal number such as 0.015")
    sign, whole, fraction = match.group(1), match.group(2), match.group(3) or ""
    if len(fraction) > decimals:
        surplus = fraction[decimals:]
        if surplus.strip("0"):
            raise MoneyError(f"{text} has more than {decimals} decimal places")
        fraction = fraction[:decimals]
    units = int(whole + fraction.ljust(decimals, "0"))
    return -units if sign else units


@_kept
def format_units(units: int, decimals: int) -> str:
    """Write ``units`` of ``10 ** -decimals`` as exact decimal text without trailing zeros: ``(1500, 3) -> "1.5"``."""
    sign = "-" if units < 0 else ""
    digits = str(abs(units)).rjust(decimals + 1, "0")
    if decimals == 0:
        return sign + digits
    whole, fraction = digits[:-decimals], digits[-decimals:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def parse_amount(text: str, asset: Asset) -> int:
    """Parse an amount of ``asset`` into its minor units. Raises MoneyError."""
    return parse_units(text, asset.decimals)


def format_amount(units: int, asset: Asset) -> str:
    """Write minor units of ``asset`` as exact decimal text."""
    return format_units(units, asset.decimals)


def divide_rounding_up(numerator: int, denominator: int) -> int:
    """Integer division towards positive infinity, for fees and reservations, which never round to the payer's gain."""
    return -(-numerator // denominator)
