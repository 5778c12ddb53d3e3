"""Reads topics from their ends on, without a group: answers to this process, and facts for whoever listens in it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from polaris_synapse.bus.kafka.ends import watermarks
from polaris_synapse.bus.kafka.turns import turns

_POLL_SECONDS: Final = 0.1
_FULL_SECONDS: Final = 0.02
_PROBE_SECONDS: Final = 1.0
_BATCH_MAX: Final = 1_000
_log = structlog.get_logger("polaris_synapse.bus.kafka")


class TailReader:
    """A consumer of fixed partitions. ``take`` is called on the loop with ``(topic, record)`` pairs, in order.

    ``start`` returns once everything that is written from then on will be read.
    """

    def __init__(
        self,
        config: dict[str, Any],
        partitions: Mapping[str, Iterable[int]],
        topic_name: Callable[[str], str],
        take: Callable[[Sequence[tuple[str, Any]]], None],
        *,
        broker_seconds: float,
        from_start: bool = False,
        starts: Mapping[tuple[str, int], int] | None = None,
        is_full: Callable[[], bool] | None = None,
    ) -> None:
        self._config = config
        self._names = {topic_name(topic): topic for topic in partitions}
        self._positions = [(topic_name(topic), topic, p) for topic, found in partitions.items() for p in found]
        self._take = take
        self._broker_seconds = broker_seconds
        self._from_start = from_start
        self._starts = dict(starts or {})
        self._is_full = is_full or (lambda: False)
        self._consumer: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self.trouble = ""
        self.failure = ""

    async def start(self) -> None:
        """Find the ends and begin to read. Raises KafkaException where no broker answers in time."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._assign)
        self._thread = threading.Thread(target=self._live, name="kafka-tail", daemon=True)
        self._thread.start()

    def _assign(self) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self._consumer = Consumer(self._config | {"error_cb": self._on_error})
        positions = []
        for name, topic, partition in self._positions:
            place = TopicPartition(name, partition)
            start, end = watermarks(self._consumer, place, self._broker_seconds)
            wanted = self._starts.get((topic, partition))
            if wanted is None:
                wanted = start if self._from_start else end
            elif wanted < start:
                _log.error("kafka_records_missing", topic=topic, partition=partition, wanted=wanted, first=start)
            positions.append(TopicPartition(name, partition, max(wanted, start)))
        self._consumer.assign(positions)

    def _live(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._is_full():
                    # Without a group nobody minds when this does not poll; the brokers keep what is not read.
                    self._stopping.wait(_FULL_SECONDS)
                    continue
                if self.trouble:
                    self._probe()
                first = self._consumer.poll(_POLL_SECONDS)
                if first is not None:
                    for batch in turns([first, *self._consumer.consume(_BATCH_MAX, 0)]):
                        self._hand_over(batch)
        except Exception as error:  # whatever ends the thread is told through readiness
            self.failure = str(error)
            _log.critical("kafka_tail_failed", error=str(error), exc_info=error)
        finally:
            self._consumer.close()

    def _probe(self) -> None:
        """See whether any broker answers: on a quiet topic nothing else would say that the trouble is over."""
        from confluent_kafka import KafkaException

        try:
            self._consumer.list_topics(self._positions[0][0], timeout=_PROBE_SECONDS)
        except KafkaException as error:
            self.trouble = str(error.args[0].str())
        else:
            self.trouble = ""

    def _hand_over(self, records: list[Any]) -> None:
        good = []
        for record in records:
            error = record.error()
            if error is None:
                good.append((self._names[record.topic()], record))
            elif error.fatal():
                raise RuntimeError(error.str())
            else:
                self.trouble = error.str()
        if not good:
            return
        self.trouble = ""
        taken = threading.Event()

        def take() -> None:
            try:
                self._take(good)
            finally:
                taken.set()

        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(take)
        except RuntimeError:
            self._stopping.set()
            return
        # One batch at a time: what is not read yet waits with the brokers, not in this process.
        while not taken.wait(_POLL_SECONDS) and not self._stopping.is_set():
            continue

    def _on_error(self, error: Any) -> None:
        self.trouble = error.str()
        _log.warning("kafka_tail_trouble", error=error.str())

    async def stop(self) -> None:
        """End the reading."""
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
