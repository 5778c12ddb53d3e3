"""What follows from one input: the cores' outputs worked off in one fixed order. Synchronous and deterministic.

The embedded host and the tests' ``run_cores`` share this, so what a test sees is what the desk does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from polaris_synapse.bus.core import Core
from polaris_synapse.domain.messages import Message
from polaris_synapse.domain.topics import INBOXES, ROUTES, VOLATILE_INBOXES

#: An input that causes more than this many messages goes round in circles: two cores answer each other for ever.
CASCADE_MESSAGES_MAX: Final = 100_000

Apply = Callable[[Message], Sequence[Message]]
#: A core that takes a message: its name and its apply.
Target = tuple[str, Apply]
#: A core's output on its way out: the core's name, its number among the outputs of this input, the message.
Output = tuple[str, int, Message]
#: Where a type of message goes: whether it leaves the cascade at all, because it is heard, because it is volatile, and
#: who takes it. One look-up a message.
Way = tuple[bool, bool, bool, tuple[Target, ...]]


class CascadeError(RuntimeError):
    """The consequences of one input did not come to an end within CASCADE_MESSAGES_MAX: a bug in the cores."""


class CoreFailedError(RuntimeError):
    """A core raised, which only a bug makes it do. The cause is chained."""

    def __init__(self, core: str, message: Message) -> None:
        super().__init__(f"the core {core} failed on {type(message).__name__}")
        self.core = core
        self.bus_message = message


def fact_topics(message_type: type[Message]) -> tuple[str, ...]:
    """The topics of a message type that are not inboxes."""
    return tuple(topic for topic in ROUTES[message_type].topics if topic not in INBOXES)


def durable_inboxes(message_type: type[Message]) -> tuple[str, ...]:
    """The inboxes of a message type whose inputs are journaled, in the order in which they are served."""
    topics = ROUTES[message_type].topics
    return tuple(inbox for inbox in INBOXES if inbox in topics and inbox not in VOLATILE_INBOXES)


def volatile_inboxes(message_type: type[Message]) -> tuple[str, ...]:
    """The inboxes of a message type whose inputs are not journaled."""
    topics = ROUTES[message_type].topics
    return tuple(inbox for inbox in INBOXES if inbox in topics and inbox in VOLATILE_INBOXES)


class Cascade:
    """Folds inputs into the durable cores and collects what they say.

    One input is applied to the core of each of its durable inboxes in the order of INBOXES; outputs for inboxes join
    one first-in first-out queue until it is empty. An inbox whose core is not here is left out.
    """

    __slots__ = ("_heard", "_targets", "_ways")

    def __init__(self, cores: Mapping[str, Core]) -> None:
        self._targets: dict[type[Message], tuple[Target, ...]] = {}
        by_inbox = {f"{core.name}.inbox": core for core in cores.values()}
        for kind in ROUTES:
            named = ((inbox, by_inbox.get(inbox)) for inbox in durable_inboxes(kind))
            self._targets[kind] = tuple((core.name, core.apply) for _, core in named if core is not None)
        self._heard: frozenset[type[Message]] = frozenset()
        self._ways: dict[type[Message], Way] = self._ways_for(self._heard)

    def _ways_for(self, heard: frozenset[type[Message]]) -> dict[type[Message], Way]:
        ways: dict[type[Message], Way] = {}
        for kind, targets in self._targets.items():
            is_heard, is_volatile = kind in heard, bool(volatile_inboxes(kind))
            ways[kind] = (is_heard or is_volatile, is_heard, is_volatile, targets)
        return ways

    def takes(self, message_type: type[Message]) -> bool:
        """Whether any durable core here has this type in its inbox."""
        return bool(self._targets[message_type])

    def run(
        self, message: Message, heard: frozenset[type[Message]], outputs: list[Output], volatile: list[Message]
    ) -> int:
        """Apply one input and all that follows from it; returns how many messages the cores put out.

        Outputs whose type is in ``heard`` are appended to ``outputs``; those for a volatile inbox, and the input where
        it is addressed to one, to ``volatile``. Raises CoreFailedError or CascadeError, both bugs.
        """
        if heard is not self._heard:
            self._heard, self._ways = heard, self._ways_for(heard)
        ways = self._ways
        _, _, is_volatile, targets = ways[type(message)]
        if is_volatile:
            volatile.append(message)
        # A list that grows while it is walked through is the quickest first-in first-out queue there is, and one item
        # at a time is the quickest way to add one or two.
        work: list[tuple[Target, Message]] = []
        for target in targets:
            work.append((target, message))  # noqa: PERF401  # one or two: less than a comprehension costs
        index = 0
        for (name, apply), current in work:
            try:
                produced = apply(current)
            except Exception as error:
                raise CoreFailedError(name, current) from error
            if not produced:
                continue
            for output in produced:
                leaves, is_heard, is_volatile, targets = ways[type(output)]
                if leaves:
                    if is_heard:
                        outputs.append((name, index, output))
                    if is_volatile:
                        volatile.append(output)
                index += 1
                for target in targets:
                    work.append((target, output))  # noqa: PERF401  # as above
            if index > CASCADE_MESSAGES_MAX:
                raise CascadeError(f"{type(message).__name__} caused more than {CASCADE_MESSAGES_MAX} messages")
        return index


class VolatileCores:
    """The cores whose inputs are not journaled, and what their outputs mean for the others."""

    def __init__(self, cores: Iterable[Core]) -> None:
        by_inbox = {f"{core.name}.inbox": core for core in cores}
        self._targets: dict[type[Message], tuple[tuple[str, Apply], ...]] = {}
        for kind in ROUTES:
            found = ((inbox, by_inbox.get(inbox)) for inbox in volatile_inboxes(kind))
            self._targets[kind] = tuple((core.name, core.apply) for _, core in found if core is not None)
        self._durable = frozenset(kind for kind in ROUTES if durable_inboxes(kind))

    def takes(self, message_type: type[Message]) -> bool:
        """Whether any volatile core here has this type in its inbox."""
        return bool(self._targets[message_type])

    def apply(self, message: Message, outputs: list[Output], for_durable: list[Message]) -> None:
        """Apply a message; every output goes to ``outputs``, those that a durable inbox needs to ``for_durable`` too.

        Raises CoreFailedError.
        """
        for name, apply in self._targets[type(message)]:
            try:
                produced = apply(message)
            except Exception as error:
                raise CoreFailedError(name, message) from error
            for index, output in enumerate(produced, start=len(outputs)):
                outputs.append((name, index, output))
                if type(output) in self._durable:
                    for_durable.append(output)
