"""The grounding checker: true theses pass, and every way of tampering with one is caught."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polaris_synapse.agents.core.grounding import THESIS_CHARACTERS_MAX, check_thesis
from polaris_synapse.domain.messages import Fact

FACTS = (
    Fact(fact_id="D0-7.1", name="mid", value="65123.5", unit="USDT"),
    Fact(fact_id="D0-7.2", name="gap", value="-0.12", unit="%"),
    Fact(fact_id="D0-7.3", name="ratio", value="2"),
    Fact(fact_id="D0-7.4", name="held", value="12", unit="1INCH"),
    Fact(fact_id="D0-7.5", name="word", value="calm"),
)
NAMES = ("BTCUSDT", "1INCHUSDT", "1INCH", "jarvis2")


@pytest.mark.parametrize(
    "thesis",
    [
        "",
        "No numbers at all.",
        "BTCUSDT trades at 65123.5 USDT [D0-7.1], with a gap of -0.12 % [D0-7.2].",
        "The mid is 65123.50 USDT [D0-7.1].",
        "It moved 2 [D0-7.3] times as much, and (2 [D0-7.3]) again.",
        "1INCHUSDT: jarvis2 holds 12 1INCH [D0-7.4].",
        "The mood [D0-7.3] is what it is.",
        "65123.5 USDT [D0-7.1]",
    ],
)
def test_grounded_theses_pass(thesis: str) -> None:
    """A number equal to the fact it cites, in value and unit, is fine; so are names and text without numbers."""
    assert check_thesis(thesis, FACTS, names=NAMES) == []


@pytest.mark.parametrize(
    "thesis",
    [
        "It trades at 65123.6 USDT [D0-7.1].",
        "It trades at 65,123.5 USDT [D0-7.1].",
        "It trades at 65123.5 BTC [D0-7.1].",
        "It trades at 65123.5 [D0-7.1].",
        "It trades at 65123.5 USDT [D0-7.2].",
        "It trades at 65123.5 USDT [D0-8.1].",
        "It trades at 65123.5 USDT.",
        "It trades at 65123.5 USDT[D0-7.1].",
        "The gap is 0.12 % [D0-7.2].",
        "The gap is \N{MINUS SIGN}0.12 % [D0-7.2].",
        "It went up by - 2 [D0-7.3].",
        "It went up by \N{EN DASH} 2 [D0-7.3].",
        "It went to minus 2 [D0-7.3].",
        "It moved x2 [D0-7.3].",
        "It moved 2k [D0-7.3].",
        "It moved 2e3 [D0-7.3].",
        "It moved 2 million [D0-7.3].",
        "It moved 2.000.000 [D0-7.3].",
        "It moved \N{FULLWIDTH DIGIT TWO} [D0-7.3].",
        "It moved by \N{VULGAR FRACTION ONE HALF}.",
        "It moved by \N{CIRCLED DIGIT NINE}.",
        "It moved by \N{ARABIC-INDIC DIGIT THREE}.",
        "The price will double and gain ninety percent.",
        "It is 12 2INCH [D0-7.4].",
        "XBTCUSDT9 is another name.",
        "It is sure [D0-7.9].",
        "It is sure [nothing].",
        "The mood is 3 [D0-7.5].",
        "2 [D0-7.3] of 5 days.",
        "x" * (THESIS_CHARACTERS_MAX + 1),
    ],
)
def test_tampered_theses_are_caught(thesis: str) -> None:
    """Changed digits, signs, units, scales, citations, scripts and numbers in words are all problems."""
    assert check_thesis(thesis, FACTS, names=NAMES) != []


def test_two_facts_with_one_id_are_caught() -> None:
    """An id that stands for two numbers grounds neither."""
    assert check_thesis("", (FACTS[0], FACTS[0])) == ["Two facts have the same id."]


@given(st.text(max_size=60), st.integers(-(10**6), 10**6))
def test_no_number_slips_in_beside_true_ones(text: str, number: int) -> None:
    """Whatever text stands around it, an uncited number that differs from every fact is a problem."""
    thesis = f"At 65123.5 USDT [D0-7.1] {text} {number}"
    assert check_thesis(thesis, FACTS, names=NAMES) != []


@given(st.decimals(min_value="-99999", max_value="99999", places=3))
def test_only_the_fact_itself_passes(value: object) -> None:
    """A cited number passes exactly when it is the fact's."""
    problems = check_thesis(f"The gap is {value} % [D0-7.2].", FACTS)
    assert (problems == []) == (str(value) == "-0.120")
