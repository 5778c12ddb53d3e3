"""Money: exact text in, integers inside, exact text out."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_synapse.domain.instruments import fee_units
from polaris_synapse.domain.money import MoneyError, divide_rounding_up, format_units, parse_units


@given(units=st.integers(-(10**30) + 1, 10**30 - 1), decimals=st.integers(0, 18))
def test_formatting_and_parsing_are_inverse(units: int, decimals: int) -> None:
    """Any amount survives the way to text and back without a change."""
    assert parse_units(format_units(units, decimals), decimals) == units


@given(units=st.integers(-(10**30) + 1, 10**30 - 1), decimals=st.integers(0, 18))
def test_text_means_the_exact_fraction(units: int, decimals: int) -> None:
    """The text of an amount is the number of minor units over the units in a whole."""
    assert Fraction(format_units(units, decimals)) == Fraction(units, 10**decimals)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "+1",
        "1.",
        ".5",
        "1e5",
        "NaN",
        "Infinity",
        "1,000",
        "1_000",
        "٣",  # an Arabic digit three
        "--1",
        "0x10",
        "1.123456789",
        "9" * 41,
    ],
)
def test_anything_but_a_plain_exact_number_is_refused(text: str) -> None:
    """Text that is not a plain decimal of the asset's precision raises, never rounds."""
    with pytest.raises(MoneyError):
        parse_units(text, 8)


def test_trailing_zeros_beyond_the_precision_are_fine() -> None:
    """Exchanges send "1.00000000" for assets with fewer decimals."""
    assert parse_units("1.50000000", 2) == 150


@given(st.integers(-(10**12), 10**12), st.integers(1, 10**6))
def test_division_rounds_towards_the_payee(numerator: int, denominator: int) -> None:
    """Rounding up is never below the exact quotient and never a whole unit above it."""
    result = divide_rounding_up(numerator, denominator)
    assert numerator <= result * denominator < numerator + denominator


def test_a_fee_is_never_rounded_to_nothing() -> None:
    """One minor unit received at any positive rate costs one minor unit."""
    assert fee_units(1, 1) == 1
    assert fee_units(1_000_000, 1000) == 1000
    assert fee_units(1_000_000, -100) == -100
