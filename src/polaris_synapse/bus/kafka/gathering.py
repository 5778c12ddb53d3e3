"""Answers to commands that several partitions answer: together they are one answer."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.reasons import Reason


class Gathering:
    """The answers to one command so far. ``places``: ``(core, partition)`` of everybody who will answer."""

    def __init__(self, places: Iterable[tuple[str, int]]) -> None:
        self._missing = set(places)
        self._answers: list[tuple[tuple[str, int], Answer]] = []

    def add(self, place: tuple[str, int], answer: Answer) -> Answer | None:
        """Take one answer; the whole answer once nobody is missing. A repetition changes nothing."""
        if place not in self._missing:
            return None
        self._missing.discard(place)
        self._answers.append((place, answer))
        return None if self._missing else merged([answer for _, answer in sorted(self._answers, key=_place)])


def _place(pair: tuple[tuple[str, int], Answer]) -> tuple[str, int]:
    return pair[0]


def merged(answers: list[Answer]) -> Answer:
    """One answer for several: a refusal where anybody refused, every order that was touched, no news if none had any.

    Where some did and some refused, the refusal says what is lacking; the command can be sent again.
    """
    refused = [answer for answer in answers if answer.reason is not Reason.NONE]
    first = (refused or answers)[0]
    order_ids = tuple(sorted({order_id for answer in answers for order_id in answer.order_ids}))
    return replace(first, order_ids=order_ids, duplicate=all(answer.duplicate for answer in answers))
