"""Plain-language requests mean exactly what the table says; what is not clear is asked about; nothing is guessed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.conversation.plain_requests import FIRST, HELD_OUT, LATER
from tests.unit.conversation.talking import INSTRUMENTS, NAMES

from polaris_synapse.agents.conversation.grammar import complete_order, read_message
from polaris_synapse.agents.conversation.intents import (
    Ambiguous,
    AnyIntent,
    Ask,
    CancelOrders,
    ClosePosition,
    ControlTrading,
    Decline,
    NotUnderstood,
    PlaceOrder,
    Refused,
    ReplaceOrder,
    StandingInstruction,
    Topic,
    Unclear,
    WhatIfOrder,
)
from polaris_synapse.agents.conversation.line import Names
from polaris_synapse.agents.conversation.numbers import plain
from polaris_synapse.agents.conversation.words import distance, spelling
from polaris_synapse.domain.orders import OrderType, Side

#: What would change something.
COMMANDS = (PlaceOrder, CancelOrders, ReplaceOrder, ClosePosition, ControlTrading)
ALL = (*FIRST, *HELD_OUT, *LATER)


def read(text: str) -> AnyIntent:
    """What a message means, without the wording of the question that it leads to."""
    found = read_message(text, NAMES)
    return replace(found, question="", partial=None) if isinstance(found, Ambiguous) else found


@pytest.mark.parametrize("text, expected", ALL, ids=[text[:60] for text, _ in ALL])
def test_a_request_means_exactly_this(text: str, expected: AnyIntent) -> None:
    """Every request of the table is read as its intent, to the last field."""
    assert read(text) == expected


def test_the_table_is_large_and_varied() -> None:
    """There are well over 120 requests, none twice, with every kind of intent among them."""
    texts = [text for text, _ in ALL]
    assert len(texts) == len(set(texts)) >= 250
    kinds = {type(intent) for _, intent in ALL}
    assert len(kinds) == 19, kinds
    assert {intent.topic for _, intent in ALL if isinstance(intent, Ask)} == set(Topic)


def test_everything_asked_back_says_what_it_asks() -> None:
    """An ambiguous request always comes with a question in words."""
    for text, expected in ALL:
        if isinstance(expected, Ambiguous):
            found = read_message(text, NAMES)
            assert isinstance(found, Ambiguous)
            assert found.question, text


QUANTITIES = st.integers(1, 10**7).map(lambda units: plain(Decimal(units).scaleb(-4)))
PRICES = st.integers(1_000, 99_999).map(str)
BUYS = st.sampled_from(
    ["buy", "purchase", "get me", "i want to buy", "please buy", "could you buy", "grab", "BUY", "byu"]
)
SELLS = st.sampled_from(
    ["sell", "dump", "get rid of", "i'd like to sell", "pls sell", "offload", "Sell", "sel", "slel"]
)
COINS = st.sampled_from([
    ("btc", "BTCUSDT"), ("Bitcoin", "BTCUSDT"), ("BTC/USDT", "BTCUSDT"), ("bitcion", "BTCUSDT"), ("eth", "ETHUSDT"),
    ("ether", "ETHUSDT"), ("etherium", "ETHUSDT"), ("ETH-USD", "ETHUSDT"),
])  # fmt: skip
ENDINGS = st.sampled_from(["", " please", "!", " now", " at market", " thanks", ", pls"])
AT = st.sampled_from([" at ", " @ ", " limit ", " limit price ", " at a limit of "])


@given(st.booleans(), BUYS, SELLS, QUANTITIES, COINS, ENDINGS)
def test_paraphrases_of_market_orders_keep_their_numbers(
    buying: bool, buy: str, sell: str, quantity: str, coin: tuple[str, str], ending: str
) -> None:
    """However a market order is phrased, side, symbol and quantity come out exactly as written."""
    text = f"{buy if buying else sell} {quantity} {coin[0]}{ending}"
    expected = PlaceOrder(side=Side.BUY if buying else Side.SELL, symbol=coin[1], quantity=quantity)
    assert read(text) == expected, text


@given(BUYS, QUANTITIES, COINS, AT, PRICES)
def test_paraphrases_of_limit_orders_keep_their_prices(
    buy: str, quantity: str, coin: tuple[str, str], at: str, price: str
) -> None:
    """However a limit order is phrased, its price comes out exactly as written."""
    expected = PlaceOrder(side=Side.BUY, symbol=coin[1], type=OrderType.LIMIT, quantity=quantity, price=price)
    assert read(f"{buy} {quantity} {coin[0]}{at}{price}") == expected


@given(BUYS, COINS, st.integers(1, 99_999), st.sampled_from(["${} of {}", "{} usdt of {}", "{} dollars worth of {}"]))
def test_amounts_of_money_are_amounts_of_money(buy: str, coin: tuple[str, str], amount: int, form: str) -> None:
    """An amount of the quote currency is never taken for a quantity."""
    expected = PlaceOrder(side=Side.BUY, symbol=coin[1], quote_amount=str(amount))
    assert read(f"{buy} {form.format(amount, coin[0])}") == expected


QUESTION_FORMS = st.sampled_from([
    "{}?", "should i {}?", "what if i {}", "can i {}?", "what happens if i {}?", "would it be wise to {}",
    "why would i {}", "is it a good idea to {}", "how would i {}?", "do you think i should {}", "when should i {}",
    "what would it cost to {}", "did you {}?", "who told you to {}?", "may i {}?",
])  # fmt: skip


@given(QUESTION_FORMS, st.sampled_from(["buy", "sell"]), QUANTITIES, COINS)
def test_a_question_is_never_a_command(form: str, verb: str, quantity: str, coin: tuple[str, str]) -> None:
    """Whatever is asked about an order, the answer changes nothing."""
    found = read(form.format(f"{verb} {quantity} {coin[0]}"))
    assert not isinstance(found, COMMANDS), found


NEGATIONS = st.sampled_from([
    "don't {}", "do not {}", "never {}", "please don't {}", "i would never {}", "{}? no", "{}... no",
    "I said do not {}",
])  # fmt: skip


@given(NEGATIONS, st.sampled_from(["buy", "sell"]), QUANTITIES, COINS)
def test_a_negated_order_is_none(form: str, verb: str, quantity: str, coin: tuple[str, str]) -> None:
    """Not to do something is never taken for doing it."""
    assert isinstance(read(form.format(f"{verb} {quantity} {coin[0]}")), Decline)


@given(st.text(max_size=200))
def test_any_text_is_read_without_a_command_or_an_error(text: str) -> None:
    """Random text, in any script, never raises and never becomes an order."""
    assert not isinstance(read(text), PlaceOrder)


_SOUP = st.lists(
    st.sampled_from([
        "buy", "sell", "0.1", "1,000", "0,5", "$500", "btc", "eth", "half", "all", "at", "limit", "stop", "if", "not",
        "?", "no", "yes", "my", "50%", "60000", "cancel", "order", "#12", "every", "day", "close", "market", "for",
        "and", "the", "or", "take", "profit", "trailing", "-1", "1e9", "dollars", "euro", "confirm",
    ]),
    max_size=9,
).map(" ".join)  # fmt: skip


@given(_SOUP)
def test_word_soup_never_raises_and_never_invents_a_number(text: str) -> None:
    """Whatever the words, every number of an order was written in the message."""
    found = read(text)
    order = found.order if isinstance(found, WhatIfOrder | StandingInstruction) else found
    if isinstance(order, PlaceOrder):
        plain = text.replace("$", "").split()
        worded = {"half": "50", "all": "100"}
        written = {worded.get(word, word.rstrip("%?!")) for word in plain}
        for number in (order.quantity, order.quote_amount, order.percent, order.price, order.stop_price):
            assert number in written | {""}, (text, order)
        assert order.symbol[:3].lower() in text
        assert "or" not in plain or "buy" not in plain or "sell" not in plain


@given(
    st.sampled_from(["buy 0.1 btc", "sell 1 eth", "cancel everything", "buy 1 bitcoin"]),
    st.integers(0, 30),
    st.sampled_from(["\u200b", "\u202e", "\u00ad", "\ufeff", "\u2060", "\U000e0042"]),
)
def test_hidden_characters_are_never_acted_on(text: str, place: int, hidden: str) -> None:
    """A message with characters that cannot be seen is asked for again."""
    place = min(place, len(text))
    assert read(text[:place] + hidden + text[place:]) == Ambiguous(about=Unclear.LOOKALIKE)


LOOKALIKES = {"b": "\u0432", "c": "\u0441", "e": "\u0435", "o": "\u043e", "a": "\u0430", "t": "\u0442", "y": "\u0443"}


@given(st.sampled_from(["buy 0.1 btc", "sell 1 eth", "buy 2 ether"]), st.data())
def test_lookalike_letters_are_never_taken_for_the_real_ones(text: str, data: st.DataObject) -> None:
    """A letter of another script in a symbol or a verb makes the whole message unclear, never an order."""
    places = [index for index, letter in enumerate(text) if letter in LOOKALIKES]
    place = data.draw(st.sampled_from(places))
    faked = text[:place] + LOOKALIKES[text[place]] + text[place + 1 :]
    assert read(faked) == Ambiguous(about=Unclear.LOOKALIKE)


def test_a_base_with_two_instruments_is_asked_about() -> None:
    """Where two instruments share a base, its name alone chooses neither; the full name does."""
    other = replace(INSTRUMENTS[0], symbol="BTCUSDT.B")
    names = Names.of([*INSTRUMENTS, other])
    found = read_message("buy 0.1 btc", names)
    assert isinstance(found, Ambiguous)
    assert found.about is Unclear.SYMBOL
    assert read_message("buy 0.1 BTCUSDT.B", names) == PlaceOrder(side=Side.BUY, symbol="BTCUSDT.B", quantity="0.1")


def test_an_answer_completes_what_was_asked() -> None:
    """Quantity, symbol and side that were asked for complete the order; other words do not."""
    asked = read_message("buy btc", NAMES)
    assert isinstance(asked, Ambiguous)
    assert asked.partial is not None
    done = PlaceOrder(side=Side.BUY, symbol="BTCUSDT", quantity="0.2")
    assert complete_order(asked.partial, asked.about, "0.2", NAMES) == done
    assert complete_order(asked.partial, asked.about, "0.2 btc please", NAMES) == done
    money = complete_order(asked.partial, asked.about, "$300", NAMES)
    assert money == PlaceOrder(side=Side.BUY, symbol="BTCUSDT", quote_amount="300")
    for other in ("what is the price?", "sell 0.2", "0.2 eth", "nonsense", "0.2 at 60000"):
        assert not isinstance(complete_order(asked.partial, asked.about, other, NAMES), PlaceOrder), other
    side = read_message("0.1 btc", NAMES)
    assert isinstance(side, Ambiguous)
    assert side.partial is not None
    assert complete_order(side.partial, side.about, "sell", NAMES) == PlaceOrder(
        side=Side.SELL, symbol="BTCUSDT", quantity="0.1"
    )


def test_a_ticker_is_never_put_right() -> None:
    """One wrong letter in a ticker is another ticker, not a misspelling."""
    for text in ("buy 0.1 BTCUSDC", "buy 0.1 btt", "sell 1 etc", "buy 1 BTCEUR"):
        assert read(text) == Ambiguous(about=Unclear.SYMBOL), text


@pytest.mark.parametrize("word", ["but", "tell", "cell", "bay", "seal", "told", "clothes", "boy"])
def test_common_words_are_not_misspellings(word: str) -> None:
    """Plain English is left alone, however near it is to a word of trading."""
    assert spelling(word) == word


def test_distances_are_bounded() -> None:
    """Insertions, deletions, substitutions and swaps count one each, and far words cost no more than the bound."""
    assert [distance("buy", other, 2) for other in ("buy", "byu", "bu", "buuy", "sell")] == [0, 1, 1, 1, 3]


def test_a_long_message_is_refused_quickly() -> None:
    """Size is bounded before anything else looks at a message."""
    assert isinstance(read("buy 1 btc " * 200), Refused)
    assert isinstance(read("a" * 900), NotUnderstood)
