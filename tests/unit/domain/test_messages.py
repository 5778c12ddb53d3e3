"""Messages, reasons and routes agree with each other."""

from __future__ import annotations

import typing

import pytest

from polaris_synapse.bus.core import decode_message, encode_message
from polaris_synapse.domain import messages
from polaris_synapse.domain.messages import AnyMessage, BookHealthChanged, BookUpdated, Mark, MarketTrade, Message, Tick
from polaris_synapse.domain.reasons import EXPLANATIONS, Reason
from polaris_synapse.domain.topics import COMMAND_TOPICS, INBOXES, MARKET_DATA_MARKS, MARKET_DATA_NORMALIZED, ROUTES


def test_every_message_has_a_route_and_a_place_in_the_union() -> None:
    """Union, routes and exported names cover the same message types."""
    union: set[type[Message]] = set(typing.get_args(AnyMessage))
    assert union == set(ROUTES)
    assert {kind.__name__ for kind in union} <= set(messages.__all__)


def test_every_reason_has_a_sentence() -> None:
    """Each code explains itself in one sentence that ends with a full stop."""
    assert set(EXPLANATIONS) == set(Reason)
    assert all(text.endswith(".") and len(text) > 10 for text in EXPLANATIONS.values())


def test_numbers_of_reasons_are_unique() -> None:
    """No two names share a number, which an enum would allow silently."""
    assert len(Reason.__members__) == len({reason.value for reason in Reason})


@pytest.mark.parametrize("kind", sorted(ROUTES, key=str))
def test_topics_are_known_names(kind: type[Message]) -> None:
    """A route names inboxes, command topics or fact topics that exist, none twice."""
    topics = ROUTES[kind].topics
    assert topics
    assert len(set(topics)) == len(topics)
    inboxes = [topic for topic in topics if topic.endswith(".inbox")]
    assert set(inboxes) <= set(INBOXES)
    assert [topic for topic in topics if topic in COMMAND_TOPICS] == [] or len(topics) == 1


def test_the_topic_of_marks_repeats_what_whole_markets_say_in_order() -> None:
    """Who needs a book's health in its place among the book's changes finds all of it in one topic."""
    repeated = {kind for kind, route in ROUTES.items() if MARKET_DATA_MARKS in route.topics}
    assert repeated == {Mark, BookHealthChanged}
    whole: set[type[Message]] = repeated | {BookUpdated, MarketTrade}
    assert all(MARKET_DATA_NORMALIZED in ROUTES[kind].topics for kind in whole)


def test_a_message_survives_json() -> None:
    """What is encoded decodes to an equal message of the same type."""
    assert decode_message(encode_message(Tick(time_ns=7))) == Tick(time_ns=7)
