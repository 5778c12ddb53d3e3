"""Runs the agents core over recorded messages without any shell: the same core, the same gate, the same decisions.

Whatever a desk journals can be fed to it: instruments, mandates, balances, market summaries, scored items and ticks, in
the order of their time. Language models are a function here: a stub in a test, stored answers in a replay, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from polaris_synapse.agents.core.agents import AgentsCore
from polaris_synapse.domain.messages import Message, OpinionGiven, OpinionWanted

#: Answers a question with what a model said, at the question's own time or later; nothing means that nobody answers.
Adviser = Callable[[OpinionWanted], Iterable[OpinionGiven]]


class OutOfOrderError(ValueError):
    """A recorded message is from before the one before it: such a record would let a decision see its own future."""


def drive(core: AgentsCore, messages: Iterable[Message], adviser: Adviser | None = None) -> Iterator[Message]:
    """All that the core says to the messages, as it says it.

    Answers are folded in as soon as the record has reached their time, so a model that took a second is a second late
    here too. Raises OutOfOrderError.
    """
    waiting: list[OpinionGiven] = []
    clock_ns = 0
    for message in messages:
        if message.time_ns < clock_ns:
            raise OutOfOrderError(
                f"{type(message).__name__} is from {clock_ns - message.time_ns} ns before the message that came first"
            )
        clock_ns = message.time_ns
        due = [given for given in waiting if given.time_ns <= clock_ns]
        waiting = [given for given in waiting if given.time_ns > clock_ns]
        for folded in (*sorted(due, key=lambda given: given.time_ns), message):
            for produced in core.apply(folded):
                if isinstance(produced, OpinionWanted) and adviser is not None:
                    waiting += adviser(produced)
                yield produced
