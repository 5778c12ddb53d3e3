"""A bus in memory: subscribers hear what a test publishes, and what is sent is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.port import BusError, Subscription
from polaris_synapse.domain.messages import Answer, Command, Message
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import route_of

WAIT_SECONDS = 5


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another task does. Raises TimeoutError after WAIT_SECONDS."""
    with anyio.fail_after(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for sets no event
            await anyio.sleep(0.001)


class _FakeSubscription:
    def __init__(self, stream: MemoryObjectReceiveStream[Sequence[Envelope]]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[Sequence[Envelope]]:
        """Batches until the bus closes."""
        async for batch in self._stream:
            yield batch


class FakeBus:
    """Implements ``Bus``. ``refusals``: how many sends fail with OVERLOADED before one is taken."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.requests: list[Command] = []
        self.answer = Reason.NONE
        self.refusals = 0
        self.subscriptions = 0
        self._offset = 0
        self._listeners: list[tuple[frozenset[str], MemoryObjectSendStream[Sequence[Envelope]]]] = []

    @property
    def unread(self) -> int:
        """Batches that no subscriber has taken."""
        return sum(stream.statistics().current_buffer_used for _, stream in self._listeners)

    def publish(self, *messages: Message) -> None:
        """Let subscribers of the messages' topics hear them, as one batch."""
        for topics, stream in self._listeners:
            heard = []
            for message in messages:
                for topic in set(route_of(message).topics) & topics:
                    self._offset += 1
                    heard.append(
                        Envelope(topic=topic, core="test", partition=0, offset=self._offset, index=0, message=message)  # type: ignore[arg-type]  # every message is one of AnyMessage
                    )
            if heard:
                stream.send_nowait(heard)

    async def request(self, command: Command, /) -> Answer:
        """Answer with ``answer``."""
        self.requests.append(command)
        return Answer(time_ns=command.time_ns, request_id=command.request_id, reason=self.answer)

    def request_soon(self, command: Command, done: Callable[[Answer | BusError], None], /) -> None:
        """Answer with ``answer``."""
        self.requests.append(command)
        done(Answer(time_ns=command.time_ns, request_id=command.request_id, reason=self.answer))

    async def send(self, messages: Iterable[Message], /) -> int:
        """Keep the messages."""
        await anyio.lowlevel.checkpoint()
        if self.refusals:
            self.refusals -= 1
            raise BusError(Reason.OVERLOADED, "full")
        self.sent += messages
        return len(self.sent)

    def post(self, message: Message, /) -> None:
        """Keep the message."""
        self.sent.append(message)

    def subscribe(
        self, topics: Iterable[str], /, *, name: str, backlog_messages_max: int, droppable: bool
    ) -> AbstractAsyncContextManager[Subscription]:
        """Listen."""
        return self._subscribed(frozenset(topics), backlog_messages_max)

    @asynccontextmanager
    async def _subscribed(self, topics: frozenset[str], backlog_max: int) -> AsyncIterator[Subscription]:
        send, receive = anyio.create_memory_object_stream[Sequence[Envelope]](backlog_max)
        entry = (topics, send)
        self._listeners.append(entry)
        self.subscriptions += 1
        with send, receive:
            try:
                yield _FakeSubscription(receive)
            finally:
                self._listeners.remove(entry)
