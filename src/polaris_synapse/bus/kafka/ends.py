"""Where partitions' logs begin and end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Final

_ATTEMPT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.05
#: The time that brokers take for the end of the log when they are asked for the offset of a time.
_LATEST: Final = -1


def watermarks(consumer: Any, position: Any, seconds_max: float) -> tuple[int, int]:
    """The first offset and the one after the last. Blocking. Raises KafkaException where nobody answers in time.

    A partition whose leader has just changed, or that was just made, has nobody to ask for a moment.
    """
    from confluent_kafka import KafkaException

    deadline = time.monotonic() + seconds_max
    while True:
        try:
            found = consumer.get_watermark_offsets(position, timeout=min(_ATTEMPT_SECONDS, seconds_max), cached=False)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
            continue
        if found is not None:
            return int(found[0]), int(found[1])


class PartitionEnds:
    """Asks where some partitions end, ``(topic's name at the brokers, partition)``, with a consumer that reads nothing.

    Not with an administrator's ``list_offsets``: while a leader is away that keeps a core busy for each process that
    asks, and after an election it asks under the old leader's epoch for ever, which the new one refuses.
    """

    def __init__(self, config: dict[str, Any], places: Iterable[tuple[str, int]], seconds_max: float) -> None:
        self._config = config
        self._places = tuple(places)
        self._seconds_max = seconds_max
        self._consumer: Any = None
        self._running: asyncio.Task[dict[tuple[str, int], int]] | None = None
        self._next: asyncio.Task[dict[tuple[str, int], int]] | None = None

    async def now(self) -> dict[tuple[str, int], int]:
        """The offset after the last record of each. Raises KafkaException where nobody answers in time.

        Who asks while a question is under way shares the next one with all others who do: its answer is not older
        than any of them.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._running))
            self._next.add_done_callback(_look_at)
        return await asyncio.shield(self._next)

    async def _ask_after(self, running: asyncio.Task[dict[tuple[str, int], int]] | None) -> dict[tuple[str, int], int]:
        if running is not None:
            await asyncio.wait([running])
        self._running, self._next = self._next, None
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> dict[tuple[str, int], int]:
        from confluent_kafka import Consumer, KafkaException, TopicPartition

        if self._consumer is None:
            self._consumer = Consumer(self._config)
        asked = [TopicPartition(topic, partition, _LATEST) for topic, partition in self._places]
        found: dict[tuple[str, int], int] = {}
        for place in self._consumer.offsets_for_times(asked, timeout=self._seconds_max):
            if place.error is not None:
                raise KafkaException(place.error)
            found[place.topic, place.partition] = int(place.offset)
        return found

    async def close(self) -> None:
        """Wait for the questions under way, and let go of the brokers."""
        under_way = [task for task in (self._running, self._next) if task is not None]
        if under_way:
            await asyncio.wait(under_way)
        if self._consumer is not None:
            await asyncio.to_thread(self._consumer.close)


def _look_at(task: asyncio.Task[Any]) -> None:
    """Whoever asked may have gone meanwhile; then nobody else takes what came of it."""
    if not task.cancelled():
        task.exception()
