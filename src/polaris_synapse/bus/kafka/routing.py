"""Which partitions of which topics a message goes to. Pure: a function of the message and of the partition counts.

A message goes to the partition that its key says (see domain.topics). One whose key is ``"*"`` or empty concerns
everybody and goes to every partition of an inbox; so does one whose key is not what the inbox is partitioned by, such
as a symbol's mark for the accounts of risk. The partition counts are part of what the log means: they never change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final
from zlib import crc32

from polaris_synapse.domain import messages as m
from polaris_synapse.domain import topics as t
from polaris_synapse.domain.messages import Command, Message
from polaris_synapse.domain.topics import ROUTES

#: Order ids are a counter times this plus the partition of risk that made them (see the risk core).
ORDER_ID_PARTITIONS: Final = 1024
ACCOUNT_SCOPE: Final = "account:"
#: Keys whose places are remembered, before all are forgotten: some hundred bytes each.
_KNOWN_MAX: Final = 200_000

#: The key by which one inbox takes one type of message, where it is not the route's own. ``"*"`` is everybody.
_KEYS: Final[dict[tuple[str, type[Message]], Callable[[Message], str]]] = {
    (t.RISK, m.Mark): lambda _: "*",
    (t.RISK, m.SetInstrumentStatus): lambda _: "*",
    (t.RISK, m.BreakChanged): lambda _: "*",
    (t.RISK, m.SetKillLevel): lambda message: message.account,  # type: ignore[attr-defined]  # SetKillLevel
    (t.RISK, m.ActivateBreaker): lambda message: _scope_key(message.scope),  # type: ignore[attr-defined]
    (t.RISK, m.ResetBreaker): lambda message: _scope_key(message.scope),  # type: ignore[attr-defined]
    (t.MATCHING, m.ListInstrument): lambda message: message.instrument.symbol,  # type: ignore[attr-defined]
    (t.MARKET_DATA, m.ListInstrument): lambda message: message.instrument.symbol,  # type: ignore[attr-defined]
    (t.COMPLIANCE, m.Mark): lambda _: "*",
    (t.COMPLIANCE, m.SetInstrumentStatus): lambda _: "*",
}


def _scope_key(scope: str) -> str:
    """A breaker of one account is that account's partition's; any other stops orders of every account."""
    return scope.removeprefix(ACCOUNT_SCOPE) if scope.startswith(ACCOUNT_SCOPE) else "*"


def _order_partition(message: Message) -> int:
    """Risk made the order id, so the id says where the order lives; a book may no longer know whose it was."""
    return int(message.order_id) % ORDER_ID_PARTITIONS  # type: ignore[attr-defined]  # OrderReport


def _break_partition(message: Message) -> int:
    """Break ids are ``break-PARTITION-NUMBER``; what a person typed wrong is refused by partition 0."""
    parts = str(message.break_id).split("-")  # type: ignore[attr-defined]  # ResolveBreak
    return int(parts[1]) if len(parts) == 3 and parts[1].isdecimal() else 0


#: Messages that carry their partition in an id.
_PARTITIONS: Final[dict[tuple[str, type[Message]], Callable[[Message], int]]] = {
    (t.RISK, m.OrderReport): _order_partition,
    (t.EXECUTION, m.ResolveBreak): _break_partition,
}


def _goes_by_key(kind: type[Message], topics: Sequence[str]) -> bool:
    """Whether two messages of a type with the same key of their route go to the same places."""
    return not any((topic, kind) in _PARTITIONS or (topic, kind) in _KEYS for topic in topics)


def partition_of(key: str, partitions: int) -> int:
    """The partition of a key: a CRC-32, the same in every process and version."""
    return crc32(key.encode("utf-8", "surrogatepass")) % partitions


class Destinations:
    """Where messages go, given how many partitions each topic has. Command topics never leave the process."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        self._partitions = dict(partitions)
        self._all = {topic: tuple((topic, p) for p in range(count)) for topic, count in partitions.items()}
        self._topics: dict[type[Message], tuple[str, ...]] = {
            kind: tuple(topic for topic in route.topics if topic in partitions and topic != t.ANSWERS)
            for kind, route in ROUTES.items()
        }
        self._local = frozenset(
            kind for kind, route in ROUTES.items() if any(topic in t.COMMAND_TOPICS for topic in route.topics)
        )
        #: The types whose places follow from their route's key alone, and the places of the keys that were met.
        self._by_key = frozenset(kind for kind, found in self._topics.items() if _goes_by_key(kind, found))
        self._known: dict[tuple[type[Message], str], tuple[tuple[str, int], ...]] = {}

    def is_local(self, kind: type[Message]) -> bool:
        """Whether a shell in the same process acts on this type."""
        return kind in self._local

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Raises KeyError for one that is not on the brokers."""
        return self._partitions[topic]

    def of(self, message: Message) -> tuple[tuple[str, int], ...]:
        """The topics and partitions of a message, answers left out: they go to who asked."""
        kind = type(message)
        if kind not in self._by_key:
            return self._find(kind, message)
        key = (kind, ROUTES[kind].key(message))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            found = self._known[key] = self._find(kind, message)
        return found

    def _find(self, kind: type[Message], message: Message) -> tuple[tuple[str, int], ...]:
        return tuple(place for topic in self._topics[kind] for place in self.in_topic(topic, message))

    def in_topic(self, topic: str, message: Message) -> tuple[tuple[str, int], ...]:
        """The partitions of one topic that a message goes to."""
        kind = type(message)
        count = self._partitions[topic]
        direct = _PARTITIONS.get((topic, kind))
        if direct is not None:
            return ((topic, direct(message) % count),)
        key = (_KEYS.get((topic, kind)) or ROUTES[kind].key)(message)
        if topic in t.INBOXES and key in ("*", ""):
            return self._all[topic]
        return ((topic, partition_of(key, count)),)

    def answering(self, command: Command) -> tuple[tuple[str, int], ...]:
        """Who answers a command: the partitions of its first inbox that it goes to."""
        topics = self._topics[type(command)]
        if not topics or topics[0] not in t.INBOXES:
            raise ValueError(f"{type(command).__name__} is in no inbox, so nobody would answer it")
        return self.in_topic(topics[0], command)
