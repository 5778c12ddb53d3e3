"""What every message of the risk core passes through; ``RiskCore`` adds what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from polaris_synapse.bus.core import UnexpectedMessageError
from polaris_synapse.domain.messages import Message
from polaris_synapse.risk.core.losses import start_day
from polaris_synapse.risk.core.state import Desk

Handlers = Mapping[type[Message], Callable[[Desk, Any], None]]


class Folding:
    """A desk, and who takes which type of message."""

    __slots__ = ("_desk", "_handlers")

    def __init__(self, desk: Desk, handlers: Handlers) -> None:
        self._desk = desk
        self._handlers = handlers

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Fold one message. Raises UnexpectedMessageError for one that the inbox never carries."""
        handler = self._handlers.get(type(message))
        if handler is None:
            raise UnexpectedMessageError(f"risk does not take {type(message).__name__}")
        desk = self._desk
        out: list[Message] = []
        desk.out = out
        desk.time_ns = message.time_ns
        if message.time_ns >= desk.next_day_ns:
            start_day(desk)
        handler(desk, message)
        return out
