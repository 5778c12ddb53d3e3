"""What waits for the journal: stops first, inputs in the order of their arrival, derived messages of volatile cores."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import anyio.lowlevel
from msgspec.structs import replace

from polaris_synapse.domain.messages import ActivateBreaker, Message, ResetBreaker, SetKillLevel

#: Commands that stand in front of all that waits. Those that let go are among them: none overtakes a later stop.
URGENT: Final[frozenset[type[Message]]] = frozenset({SetKillLevel, ActivateBreaker, ResetBreaker})
#: At most this part of a batch is marks and summaries, so that orders never wait behind a burst of them.
_DERIVED_SHARE: Final = 4
#: A batch takes about so long beside its commit, however many wait: who stops the desk stands behind one at most.
_TURN_SECONDS: Final = 0.015
#: A batch may always be this large: below it the commits would cost more than they carry.
_PACED_MESSAGES_MIN: Final = 64
#: How much of the mean cost of a message the last batch is.
_PACE_SHARE: Final = 0.2
#: Rounds of the event loop for which a commit waits at most while inputs keep coming.
_GATHER_ROUNDS_MAX: Final = 8


class Together:
    """Messages of one send: they share a commit. ``future`` gets the offset of the last."""

    __slots__ = ("future", "last_index", "messages")

    def __init__(self, messages: tuple[Message, ...], future: asyncio.Future[int]) -> None:
        self.messages = messages
        self.future = future
        self.last_index = 0

    def succeed(self, first_offset: int) -> None:
        """Tell the sender; ``first_offset`` is that of the batch."""
        if not self.future.done():
            self.future.set_result(first_offset + self.last_index)

    def fail(self, error: Exception) -> None:
        """Tell the sender that nothing of it happened."""
        if not self.future.done():
            self.future.set_exception(error)


class Batch:
    """What shares the next commit: derived messages first, then inputs; and who sent some of them together."""

    __slots__ = ("derived", "messages", "sends")

    def __init__(self, messages: list[Message], derived: int, sends: list[Together]) -> None:
        self.messages = messages
        self.derived = derived
        self.sends = sends

    def items(self) -> Iterator[Message | Together]:
        """The inputs as they were queued, without the derived messages."""
        sends = iter(self.sends)
        send = next(sends, None)
        position = self.derived
        while position < len(self.messages):
            if send is not None and send.last_index == position + len(send.messages) - 1:
                yield send
                position += len(send.messages)
                send = next(sends, None)
            else:
                yield self.messages[position]
                position += 1


class Intake:
    """A bounded queue in front of the journal; the host decides who may still enter.

    ``messages`` counts the inputs that wait. Derived messages have a bound of their own, ``derived_messages_max``:
    the oldest goes when a new one comes.
    """

    def __init__(self, batch_messages_max: int, derived_messages_max: int) -> None:
        self._batch_messages_max = batch_messages_max
        self._derived_messages_max = derived_messages_max
        self._urgent: deque[Message] = deque()
        self._inputs: deque[Message | Together] = deque()
        self._derived: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._message_seconds = 0.0
        #: How many messages were taken last, and when.
        self._taken = (0, 0.0)
        self.messages = 0
        #: The logical time of the newest message taken.
        self.last_time_ns = 0

    def __bool__(self) -> bool:
        return bool(self._urgent or self._inputs or self._derived)

    @property
    def derived_messages(self) -> int:
        """How many derived messages wait."""
        return len(self._derived)

    def add(self, message: Message) -> None:
        """Queue one input."""
        (self._urgent if type(message) in URGENT else self._inputs).append(message)
        self.messages += 1
        self._arrived.set()

    def add_together(self, together: Together) -> None:
        """Queue inputs that share a commit."""
        self._inputs.append(together)
        self.messages += len(together.messages)
        self._arrived.set()

    def put_back(self, items: Sequence[Message | Together]) -> None:
        """Queue what was taken once more, in front of everything else."""
        self._inputs.extendleft(reversed(items))
        self.messages += sum(len(item.messages) if isinstance(item, Together) else 1 for item in items)
        self._arrived.set()

    def add_derived(self, messages: Iterable[Message]) -> int:
        """Queue derived messages and return how many old ones had to go."""
        self._derived.extend(messages)
        surplus = max(len(self._derived) - self._derived_messages_max, 0)
        for _ in range(surplus):
            self._derived.popleft()
        self._arrived.set()
        return surplus

    def wake(self) -> None:
        """Let ``wait`` return although nothing has arrived."""
        self._arrived.set()

    async def wait(self) -> None:
        """Wait until something arrives after this call, or ``wake``."""
        self._arrived.clear()
        await self._arrived.wait()

    async def gather(self) -> None:
        """Let those who are about to send join the next batch, while more come: a commit costs like several orders."""
        before = 0
        for _ in range(_GATHER_ROUNDS_MAX):
            if self._urgent or not before < self.messages < self._batch_messages_max:
                return
            before = self.messages
            await anyio.lowlevel.checkpoint()

    def take(self) -> Batch:
        """The next batch, with times that never run backwards, whatever clocks the messages were stamped by.

        Stops make a batch of their own, so that neither their commit nor their answer waits for anything else.
        """
        if self._urgent:
            stops, self._urgent = list(self._urgent), deque()
            self.messages -= len(stops)
            return self._dated(Batch(stops, 0, []))
        size_max = self._size_max()
        messages: list[Message] = []
        inputs, derived = self._inputs, self._derived
        while derived and len(messages) < max(size_max // _DERIVED_SHARE, 1):
            messages.append(derived.popleft())
        derived_count = len(messages)
        sends: list[Together] = []
        while inputs and len(messages) < size_max:
            item = inputs.popleft()
            if isinstance(item, Together):
                messages.extend(item.messages)
                item.last_index = len(messages) - 1
                sends.append(item)
            else:
                messages.append(item)
        self.messages -= len(messages) - derived_count
        return self._dated(Batch(messages, derived_count, sends))

    def committed(self, now: float) -> None:
        """The batch that was taken last is on the disk. ``now`` is ``time.perf_counter()``.

        What that took is left out of a message's cost: it hardly grows with the batch, and counting it would make
        batches smaller the slower the disk is, and so a message dearer still.
        """
        self._taken = (self._taken[0], now)

    def pace(self, now: float) -> None:
        """The batch that was taken last is done: learn what a message costs, so that the next ones are not too long.

        ``now`` is ``time.perf_counter()``.
        """
        messages, began = self._taken
        if messages:
            seconds = (now - began) / messages
            known = self._message_seconds or seconds
            self._message_seconds = known + (seconds - known) * _PACE_SHARE

    def _size_max(self) -> int:
        if not self._message_seconds:
            return self._batch_messages_max
        return min(self._batch_messages_max, max(_PACED_MESSAGES_MIN, int(_TURN_SECONDS / self._message_seconds)))

    def _dated(self, batch: Batch) -> Batch:
        last, messages = self.last_time_ns, batch.messages
        for position, message in enumerate(messages):
            if message.time_ns < last:
                messages[position] = replace(message, time_ns=last)
            else:
                last = message.time_ns
        self.last_time_ns = last
        self._taken = (len(messages), time.perf_counter())
        return batch

    def clear(self) -> tuple[Sequence[Message | Together], int]:
        """Empty the queue: the inputs that waited, and how many derived messages did."""
        inputs, derived = (*self._urgent, *self._inputs), len(self._derived)
        self._urgent.clear()
        self._inputs.clear()
        self._derived.clear()
        self.messages = 0
        return inputs, derived
