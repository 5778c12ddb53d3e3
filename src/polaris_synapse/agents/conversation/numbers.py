"""Numbers as people write them, to plain decimal text. What can be read in two ways is not read at all."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from msgspec import Struct

#: Digits in one number; more is no price and no amount.
NUMBER_CHARACTERS_MAX: Final = 24

_PLAIN: Final = re.compile(r"\d+(?:\.\d+)?|\.\d+", re.ASCII)
_THOUSANDS: Final = re.compile(r"[1-9]\d{0,2}(?:(?:,\d{3})+|(?:'\d{3})+|(?:_\d{3})+)(?:\.\d+)?", re.ASCII)
#: One comma and three digits: one thousand to some, one and no thousandths to others.
_ONE_COMMA: Final = re.compile(r"[1-9]\d{0,2},\d{3}", re.ASCII)
_DECIMAL_COMMA: Final = re.compile(r"(?:\d{1,3}(?:\.\d{3})+|\d+),\d+", re.ASCII)

WORDS: Final = {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
}
#: Shares of a whole, in percent. A third is none that decimals can say.
FRACTIONS: Final = {"half": "50", "1/2": "50", "quarter": "25", "1/4": "25", "3/4": "75"}
MULTIPLES: Final = {"k": 3, "thousand": 3, "grand": 3, "million": 6, "mil": 6}


class Number(Struct, frozen=True):
    """Decimal text, or an empty ``text`` where the writing is not clear; ``guess`` is what may be asked about then."""

    text: str
    guess: str = ""


def plain(value: Decimal) -> str:
    """A number without exponent and without needless zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def read_number(written: str, *, money: bool = False) -> Number:
    """The number that ``written`` says. ``money``: it has a currency sign, so three decimals cannot be meant."""
    digits = written.lstrip("+-")
    sign = "-" if written.startswith("-") else ""
    if len(written) > NUMBER_CHARACTERS_MAX:
        return Number("")
    if _PLAIN.fullmatch(digits):
        whole, dot, fraction = digits.partition(".")
        return Number(sign + (whole.lstrip("0") or "0") + dot + fraction)
    if _THOUSANDS.fullmatch(digits) and (money or not _ONE_COMMA.fullmatch(digits)):
        return Number(sign + re.sub(r"[,'_]", "", digits))
    if _ONE_COMMA.fullmatch(digits):
        return Number("", f"{digits.replace(',', '')} or {digits.replace(',', '.')}")
    if _DECIMAL_COMMA.fullmatch(digits):
        return Number("", digits.replace(".", "").replace(",", "."))
    return Number("")


def scaled(text: str, tens: int) -> str:
    """``text`` times ten to the power of ``tens``, exactly."""
    return plain(Decimal(text).scaleb(tens))


def negated(text: str) -> str:
    """The same number with the other sign."""
    return text[1:] if text.startswith("-") else f"-{text}"


def above_zero(text: str) -> bool:
    """Whether a number is more than nothing."""
    return Decimal(text) > 0


def at_most(text: str, most: str) -> bool:
    """Whether a number is no more than another."""
    return Decimal(text) <= Decimal(most)
