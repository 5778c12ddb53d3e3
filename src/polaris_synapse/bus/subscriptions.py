"""Who listens to what, and how far behind each listener is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence

from polaris_synapse.bus.cascade import fact_topics
from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.port import SlowConsumerError
from polaris_synapse.bus.publishing import Hearers, publish
from polaris_synapse.domain.messages import Answer, Command, Message
from polaris_synapse.domain.topics import INBOXES, ROUTES, VOLATILE_INBOXES


def is_volatile(envelope: Envelope) -> bool:
    """Whether an envelope's offset counts inputs that are not journaled, so that it says nothing about the journal."""
    return f"{envelope.core}.inbox" in VOLATILE_INBOXES


def accepted_envelope(offset: int, command: Message) -> Envelope:
    """The envelope of a command that was answered without a reason."""
    return Envelope(
        topic=ROUTES[type(command)].topics[0],
        core="input",
        partition=0,
        offset=offset,
        index=0,
        message=command,  # type: ignore[arg-type]  # AnyMessage is the union of every Message
    )


def is_accepted(command: Command, answers: Iterable[Message]) -> bool:
    """Whether no answer to ``command`` among ``answers`` names a reason."""
    return not any(
        isinstance(answer, Answer) and answer.reason and answer.request_id == command.request_id for answer in answers
    )


class BusSubscription:
    """A Subscription with a bounded backlog. Batches come as they were published.

    ``kinds`` narrows the topics to some message types. ``accepted_commands`` are command types to hear besides, once
    they were answered without a reason; their envelopes carry the inbox as topic and ``"input"`` as core.
    ``recorded_offset``: envelopes of the journal up to this offset are not wanted, since the subscriber has them;
    ``fact_offset`` is the newest offset of which it has a fact with consequences.
    """

    def __init__(
        self,
        topics: Iterable[str],
        *,
        name: str,
        backlog_messages_max: int,
        droppable: bool,
        kinds: Iterable[type[Message]] | None = None,
        accepted_commands: Iterable[type[Command]] = (),
        recorded_offset: int = 0,
        fact_offset: int = 0,
    ) -> None:
        self.topics = frozenset(topics)
        known = {topic for route in ROUTES.values() for topic in route.topics if topic not in INBOXES}
        if unknown := self.topics - known:
            raise ValueError(f"{name} subscribes to {', '.join(sorted(unknown))}, which no message is published on")
        self.kinds = None if kinds is None else frozenset(kinds)
        self.accepted_commands = frozenset(accepted_commands)
        self.name = name
        self.droppable = droppable
        self.backlog_messages_max = backlog_messages_max
        self.recorded_offset = recorded_offset
        self.fact_offset = fact_offset
        #: Envelopes ever published to this subscriber; with ``taken`` it tells how far behind it is.
        self.published = 0
        self.taken = 0
        #: Filled by the host while it releases one batch, handed over whole by ``flush``.
        self.pending: list[Envelope] = []
        self._batches: deque[Sequence[Envelope]] = deque()
        self._ready = asyncio.Event()
        self._closed = False
        self._dropped = False

    @property
    def backlog_messages(self) -> int:
        """How many envelopes wait."""
        return self.published - self.taken

    @property
    def is_full(self) -> bool:
        """Whether it has fallen too far behind."""
        return self.backlog_messages >= self.backlog_messages_max

    @property
    def is_closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    @property
    def is_dropped(self) -> bool:
        """Whether it was dropped for being slow."""
        return self._dropped

    def wants(self, kind: type[Message]) -> tuple[str, ...]:
        """The topics on which this subscriber hears a message type."""
        if self.kinds is not None and kind not in self.kinds:
            return ()
        return tuple(topic for topic in fact_topics(kind) if topic in self.topics)

    def flush(self) -> None:
        """Hand over what is in ``pending``; a droppable subscriber that is then too far behind is dropped."""
        if self._closed or self._dropped:
            self.pending = []
            return
        self.published += len(self.pending)
        self._batches.append(self.pending)
        self.pending = []
        if self.droppable and self.backlog_messages > self.backlog_messages_max:
            self._dropped = True
            self._batches.clear()
        self._ready.set()

    def close(self) -> None:
        """Let the iteration end after what is waiting."""
        self._closed = True
        self._ready.set()

    async def take(self, *, hold: bool = False) -> list[Envelope] | None:
        """Everything that waits, as one batch, waiting for the first; None once it is closed and empty.

        What is taken with ``hold`` counts as backlog until ``let_go``. Raises SlowConsumerError after the subscriber
        was dropped.
        """
        if not await self._wait():
            return None
        taken = self._whole()
        if not hold:
            self.taken += len(taken)
        return taken

    def _whole(self) -> list[Envelope]:
        """All that waits."""
        batches = tuple(self._batches)
        self._batches.clear()
        return list(batches[0]) if len(batches) == 1 else [envelope for batch in batches for envelope in batch]

    def let_go(self, count: int) -> None:
        """Say that ``count`` envelopes taken with ``hold`` are dealt with."""
        self.taken += count

    async def __aiter__(self) -> AsyncIterator[Sequence[Envelope]]:
        """Batches until the subscription closes. Raises SlowConsumerError after the subscriber was dropped.

        Whoever was busy while several came gets them as one.
        """
        while await self._wait():
            batch = self._whole()
            self.taken += len(batch)
            yield batch

    async def _wait(self) -> bool:
        while not self._batches:
            if self._dropped:
                raise SlowConsumerError(
                    f"{self.name} fell more than {self.backlog_messages_max} messages behind and was dropped"
                )
            if self._closed:
                return False
            self._ready.clear()
            await self._ready.wait()
        return True


class Subscriptions:
    """All subscribers, indexed by message type so that publishing costs one look-up."""

    def __init__(self) -> None:
        self._all: list[BusSubscription] = []
        #: ``{message type: ((subscription, topic), ...)}`` for types that somebody hears.
        self.listeners: dict[type[Message], Hearers] = {}
        #: The types that the host must look at: those in ``listeners``, and answers, which requests wait for.
        self.heard: frozenset[type[Message]] = frozenset({Answer})

        #: ``{command type: subscriptions}`` that hear it once it is accepted.
        self.accepted: dict[type[Message], tuple[BusSubscription, ...]] = {}

    @property
    def names(self) -> frozenset[str]:
        """Who listens at the moment."""
        return frozenset(subscription.name for subscription in self._all)

    def add(self, subscription: BusSubscription) -> None:
        """Let a subscriber hear what is published from now on."""
        self._all.append(subscription)
        self._index()

    def remove(self, subscription: BusSubscription) -> None:
        """Take a subscriber out; its iteration ends after what is waiting."""
        if subscription in self._all:
            self._all.remove(subscription)
            self._index()
        subscription.close()

    def _index(self) -> None:
        pairs = {
            kind: tuple((subscription, topic) for subscription in self._all for topic in subscription.wants(kind))
            for kind in ROUTES
        }
        self.listeners = {kind: found for kind, found in pairs.items() if found}
        self.heard = frozenset(self.listeners) | {Answer}
        commands = {kind for subscription in self._all for kind in subscription.accepted_commands}
        self.accepted = {
            kind: tuple(found for found in self._all if kind in found.accepted_commands) for kind in commands
        }

    def publish_accepted(self, offset: int, command: Message) -> None:
        """Put an accepted command before everybody who asked for its type."""
        for subscription in self.accepted.get(type(command), ()):
            subscription.pending.append(accepted_envelope(offset, command))

    def publish(self, core: str, offset: int, index: int, message: Message) -> None:
        """Put one message before everybody who hears its type; ``flush`` hands it over."""
        publish(self.listeners.get(type(message), ()), core, offset, index, message)

    def flush(self) -> None:
        """Hand every subscriber what was published to it since the last time, and forget the dropped ones."""
        dropped = False
        for subscription in self._all:
            if subscription.pending:
                subscription.flush()
                dropped |= subscription.is_dropped
        if dropped:
            self._all = [subscription for subscription in self._all if not subscription.is_dropped]
            self._index()

    def overloaded_by(self) -> str:
        """The name of a subscriber that must not be dropped and is too far behind, or an empty text."""
        for subscription in self._all:
            if not subscription.droppable and subscription.is_full:
                return subscription.name
        return ""

    def backlogs(self) -> dict[str, int]:
        """How far behind each is, in messages; subscribers of one name count together."""
        found: dict[str, int] = {}
        for subscription in self._all:
            found[subscription.name] = found.get(subscription.name, 0) + subscription.backlog_messages
        return found

    def close(self) -> None:
        """End every subscription."""
        for subscription in self._all:
            subscription.close()
