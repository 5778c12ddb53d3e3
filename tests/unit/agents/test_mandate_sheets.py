"""Mandates as YAML and as words: exact both ways, nothing guessed, nothing repaired."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.conversation.talking import NAMES

from polaris_synapse.agents.mandates import MandateError, mandate_of, read_sheet, sheet_of, sheet_text, widens
from polaris_synapse.agents.mandates_language import MandateNames, compile_mandate
from polaris_synapse.domain.messages import Autonomy, Mandate, TradingWindow
from polaris_synapse.domain.money import Asset

USDT = Asset("USDT", 8)
SYMBOLS = ("BTCUSDT", "ETHUSDT")
DESK = MandateNames(NAMES, {"jarvis": "jarvis"})
TWO = MandateNames(NAMES, {"jarvis": "jarvis", "claude": "main"})
MANUAL = "let the analyst trade BTC and ETH up to 500 USDT an order, 2000 a day, ask me above 200, weekdays 8-18 utc"
SHEET = """
agent: jarvis
account: jarvis
symbols: [BTCUSDT, ETHUSDT]
order_value_max: "500"
daily_value_max: 2000.5
autonomy: approve_above
approval_above: "200"
leverage_max: 0.5
daily_loss_max: "100"
hours:
  - days: [mon, tue]
    start: 08:00
    end: "18:30"
  - days: [sun]
    start: "22:00"
    end: "02:00"
"""


def test_a_sheet_is_read_exactly() -> None:
    """Amounts never pass through a float, and hours over midnight become two windows."""
    mandate = mandate_of(read_sheet(SHEET), USDT, SYMBOLS)
    assert mandate == Mandate(
        account="jarvis",
        agent="jarvis",
        symbols=SYMBOLS,
        order_value_units_max=500 * 10**8,
        daily_value_units_max=200_050_000_000,
        approval_above_units=200 * 10**8,
        leverage_ppm_max=500_000,
        loss_units_max=100 * 10**8,
        windows=(
            TradingWindow(days=(0, 1), start_minute=480, end_minute=1_110),
            TradingWindow(days=(6,), start_minute=1_320, end_minute=1_440),
            TradingWindow(days=(0,), start_minute=0, end_minute=120),
        ),
    )


@pytest.mark.parametrize(
    "before, after, words",
    [
        ("agent: jarvis", "agent: jarvis\nagent: other", "given twice"),
        ("agent: jarvis", "agent: &a jarvis\nextra: *a", "references"),
        ("agent: jarvis", "", "agent"),
        ("leverage_max: 0.5", "leverage_max: much", "leverage_max"),
        ("leverage_max: 0.5", "leverage_max: -1", "leverage_max"),
        ("leverage_max: 0.5", "leverage_max: NaN", "leverage_max"),
        ("leverage_max: 0.5", "withdraw: true", "withdraw"),
        ('order_value_max: "500"', "order_value_max: 1e3", "order_value_max"),
        ('order_value_max: "500"', "order_value_max: 0.000000001", "order_value_max"),
        ('order_value_max: "500"', "order_value_max: 5000", "which of them"),
        ("autonomy: approve_above", "autonomy: autopilot", "approval_above"),
        ("autonomy: approve_above", "autonomy: always", "autonomy"),
        ("ETHUSDT]", "DOGEUSDT]", "DOGEUSDT"),
        ("[mon, tue]", "[mon, caturday]", "caturday"),
        ("start: 08:00", "start: 8 o'clock", "08:00"),
        ("start: 08:00", "start: 24:00", "24:00"),
        ('daily_loss_max: "100"', 'daily_loss_max: "0"', "daily_loss_max"),
    ],
)
def test_what_is_wrong_with_a_sheet_is_named(before: str, after: str, words: str) -> None:
    """A doubled key, a reference, a missing or unknown field, an inexact amount, a contradiction: one sentence each."""
    with pytest.raises(MandateError, match=words):
        mandate_of(read_sheet(SHEET.replace(before, after)), USDT, SYMBOLS)


@pytest.mark.parametrize("text", ["", "[]", "a: [", "!!python/object/apply:os.system [ls]", "- a", "x" * 20_000])
def test_what_is_no_sheet_is_refused(text: str) -> None:
    """Nothing but a mapping of texts is read, and nothing is ever executed."""
    with pytest.raises(MandateError):
        read_sheet(text)


@given(
    st.builds(
        Mandate,
        account=st.just("main"),
        agent=st.just("jarvis"),
        symbols=st.just(SYMBOLS),
        order_value_units_max=st.integers(0, 10**15),
        daily_value_units_max=st.integers(10**15, 10**18),
        approval_above_units=st.just(0),
        enabled=st.booleans(),
        autonomy=st.sampled_from(Autonomy),
        leverage_ppm_max=st.integers(0, 10**8),
        loss_units_max=st.integers(0, 10**15),
        windows=st.lists(
            st.builds(
                TradingWindow, days=st.just((0, 6)), start_minute=st.integers(0, 700), end_minute=st.integers(701, 1440)
            ),
            max_size=3,
        ).map(tuple),
        approval_seconds_max=st.integers(1, 10**5),
    )
)
def test_every_mandate_survives_its_sheet(mandate: Mandate) -> None:
    """Mandate to sheet to YAML and back is the same mandate."""
    assert mandate_of(read_sheet(sheet_text(sheet_of(mandate, USDT))), USDT, SYMBOLS) == mandate


@pytest.mark.parametrize(
    "words, expected",
    [
        (
            MANUAL,
            Mandate(
                account="jarvis", agent="jarvis", symbols=SYMBOLS, order_value_units_max=500 * 10**8,
                daily_value_units_max=2_000 * 10**8, approval_above_units=200 * 10**8,
                windows=(TradingWindow(days=(0, 1, 2, 3, 4), start_minute=480, end_minute=1_080),),
            ),
        ),
        (
            "allow jarvis to trade btc, $1k per order, 5k per day, without asking, stop if it loses 100, leverage 0.5",
            Mandate(
                account="jarvis", agent="jarvis", symbols=("BTCUSDT",), order_value_units_max=1_000 * 10**8,
                daily_value_units_max=5_000 * 10**8, approval_above_units=0, autonomy=Autonomy.AUTOPILOT,
                loss_units_max=100 * 10**8, leverage_ppm_max=500_000,
            ),
        ),
        (
            "let the agent trade ETH up to 50 an order, 100 a day, ask me before each order, mon-wed 9am-5pm utc",
            Mandate(
                account="jarvis", agent="jarvis", symbols=("ETHUSDT",), order_value_units_max=50 * 10**8,
                daily_value_units_max=100 * 10**8, approval_above_units=0, autonomy=Autonomy.PROPOSE,
                windows=(TradingWindow(days=(0, 1, 2), start_minute=540, end_minute=1_020),),
            ),
        ),
    ],
)  # fmt: skip
def test_words_become_exactly_this_mandate(words: str, expected: Mandate) -> None:
    """The words of the manual, and others."""
    compiled = compile_mandate(words, DESK)
    assert compiled.sheet is not None, compiled.questions
    assert mandate_of(compiled.sheet, USDT, SYMBOLS) == expected


@pytest.mark.parametrize(
    "words, asked",
    [
        ("let the analyst trade BTC", "How much may one order be worth"),
        ("let the analyst trade BTC up to 500 an order, 2000 a day", "When should it ask you"),
        ("let the analyst trade up to 500 an order, 2000 a day, ask me above 200", "What may it trade"),
        ("let the analyst trade BTC up to 500 an order, 2000 a day, ask me above 200, 8-18", "in UTC"),
        ("let the analyst trade BTC up to 1,500 an order, 2000 a day, never ask me", "1500 or 1.500"),
        ("let the analyst trade BTC up to 500 an order, 200 a day, never ask me", "Which is meant"),
        ("let the analyst trade BTC up to 500 an order, 2000 a day, never ask me, ask me above 5", "Only one of them"),
        ("let the analyst trade BTC and gold up to 500 an order, 2000 a day, never ask me", "gold"),
        ("let the analyst trade BTC up to 500 an order, 2000 a day, never ask me, be careful", "be careful"),
        ("let bob trade BTC up to 500 an order, 2000 a day, never ask me", "Which agent"),
        ("let the analyst trade BTC up to 500 an order or 600 an order, 2000 a day, never ask me", "Which"),
        ("let the analyst trade BTC up to 500 an order, 2000 a day, never ask me, 25-26 utc", "span of hours"),
        ("let the an\u0430lyst trade BTC up to 500 an order, 2000 a day, never ask me", "Latin"),
        ("let the analyst trade BTC\u200b up to 500 an order, 2000 a day, never ask me", "cannot be seen"),
        ("let the analyst withdraw 5 BTC to my wallet", "not a mandate"),
    ],
)
def test_what_is_unclear_is_asked_and_never_guessed(words: str, asked: str) -> None:
    """Missing, doubled, contradictory, unknown or disguised: there is a question and no sheet."""
    compiled = compile_mandate(words, DESK)
    assert compiled.sheet is None
    assert any(asked in question for question in compiled.questions), compiled.questions


def test_the_analyst_is_nobody_in_particular_where_there_are_two() -> None:
    """With two agents a name is needed."""
    words = "let the {} trade BTC up to 5 an order, 9 a day, never ask me"
    assert compile_mandate(words.format("analyst"), TWO).sheet is None
    named = compile_mandate(words.format("claude"), TWO).sheet
    assert named is not None
    assert (named.agent, named.account) == ("claude", "main")


@pytest.mark.parametrize(
    "changes, wider",
    [
        ({}, False),
        ({"order_value_units_max": 1}, False),
        ({"enabled": False, "order_value_units_max": 10**18}, False),
        ({"autonomy": Autonomy.PROPOSE}, False),
        ({"leverage_ppm_max": 1}, False),
        ({"order_value_units_max": 10**17}, True),
        ({"symbols": (*SYMBOLS, "XUSDT")}, True),
        ({"autonomy": Autonomy.AUTOPILOT}, True),
        ({"approval_above_units": 10**17}, True),
        ({"loss_units_max": 0}, True),
        ({"windows": ()}, True),
        ({"approval_seconds_max": 10**5}, True),
    ],
)
def test_what_widens_a_mandate(changes: dict[str, object], wider: bool) -> None:
    """A trader may narrow; whatever lets an agent do more is wider."""
    before = mandate_of(read_sheet(SHEET), USDT, SYMBOLS)
    assert widens(before, replace(before, **changes)) is wider
    assert widens(None, before)
    assert widens(replace(before, enabled=False), before)
