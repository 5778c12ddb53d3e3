"""The bus as shells see it, whichever host runs the cores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from polaris_synapse.bus.core import Envelope
from polaris_synapse.domain.messages import Answer, Command, Message
from polaris_synapse.domain.reasons import Reason


class BusError(RuntimeError):
    """The bus could not take a message.

    ``reason`` is NOT_READY, OVERLOADED, SHUTTING_DOWN, JOURNAL_UNAVAILABLE, TIMED_OUT, or INVALID_VALUE for text that
    is no valid Unicode.

    For TIMED_OUT the message may still have its effect; for the others it has none.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Subscription(Protocol):
    """Envelopes of some topics, in order, in batches: what was committed together, and what came while one was busy."""

    def __aiter__(self) -> AsyncIterator[Sequence[Envelope]]:
        """Batches until the subscription closes; ends with SlowConsumerError where it was dropped."""
        ...


class SlowConsumerError(RuntimeError):
    """A subscriber that may be dropped did not keep up and was."""


class Bus(Protocol):
    """What a shell may do with the bus."""

    async def request(self, command: Command, /) -> Answer:
        """Send a command and wait for its answer; returns after the command and its effects are durable.

        The bus fills in ``request_id`` where it is empty. Raises BusError.
        """
        ...

    def request_soon(self, command: Command, done: Callable[[Answer | BusError], None], /) -> None:
        """``request`` without a coroutine, for those who ask very often.

        ``done`` is called once from the event loop, with the answer or with why there is none; it must not raise.
        Commands given without an await between them share a commit where there is room. Raises BusError where the
        command cannot be taken at all; ``done`` is not called then.
        """
        ...

    async def send(self, messages: Iterable[Message], /) -> int:
        """Journal messages together and return the offset of the last once they are durable. Raises BusError."""
        ...

    def post(self, message: Message, /) -> None:
        """Apply a message of a volatile inbox (market data) at once. What it causes for durable inboxes is journaled.

        Never blocks and never raises for load: where the durable side is full, derived marks are dropped and counted.
        """
        ...

    def subscribe(
        self, topics: Iterable[str], /, *, name: str, backlog_messages_max: int, droppable: bool
    ) -> AbstractAsyncContextManager[Subscription]:
        """Listen to fact or command topics from now on.

        A droppable subscriber that falls ``backlog_messages_max`` behind is dropped; one that is not droppable makes
        the bus refuse new commands (OVERLOADED) until it has caught up.
        """
        ...
