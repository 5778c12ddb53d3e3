"""Reads a room's inbox as a member of its consumer group: one thread owns the consumer, the event loop does the work.

A thread of its own, because librdkafka's waits release the interpreter, while its asyncio consumer costs a hop to a
pool's thread a call. The thread hands over what has come and waits until it is dealt with, so nothing piles up in
between, and asks for partitions to be taken over or let go at the moments when the group says so.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol, TypeVar

import structlog
from msgspec import Struct

from polaris_synapse.bus.kafka.ends import watermarks
from polaris_synapse.bus.kafka.turns import turns

_POLL_SECONDS: Final = 0.05
#: Taking a partition over may mean a long replay of state; the group waits max.poll.interval.ms, five minutes.
_TAKE_OVER_SECONDS_MAX: Final = 240.0
#: A commit may meet a rebalance or a coordinator that moves; what it guards waits so often and so long.
_FENCE_ATTEMPTS_MAX: Final = 5
_FENCE_PAUSE_SECONDS: Final = 0.1
#: Between two questions what the group has committed, each of which waits for ``broker_seconds`` by itself.
_PROGRESS_PAUSE_SECONDS: Final = 1.0
_log = structlog.get_logger("polaris_synapse.bus.kafka")
T = TypeVar("T")


class Committed(Struct, frozen=True):
    """What a group has committed of a partition, and between which offsets its log lies.

    ``offset``: the next to be read, -1 where nothing was ever committed. ``note``: what was left with the commit.
    """

    offset: int
    note: str
    log_start: int
    log_end: int


class Fence(Struct, frozen=True):
    """What must be committed before something may leave this process. ``positions``: offset and note by partition.

    The group takes a commit from the owner of a partition only, so a process that has lost one without knowing it is
    stopped here. ``then`` is called on the event loop once it is committed, and never where it cannot be.
    """

    positions: Mapping[int, tuple[int, str]]
    then: Callable[[], None]


class Owner(Protocol):
    """Who deals with the partitions, on the event loop."""

    async def take_over(self, partitions: Mapping[int, Committed], /) -> Mapping[int, int]:
        """Get ready for these partitions; returns the offset at which to begin to read each."""
        ...

    async def let_go(self, partitions: Sequence[int], /) -> Mapping[int, int]:
        """Finish these partitions; returns the offsets to commit, each final: nothing of it is left undone."""
        ...

    def lose(self, partitions: Sequence[int], /) -> None:
        """These partitions belong to somebody else already."""
        ...

    def read(self, records: Sequence[Any], /) -> Fence | None:
        """Deal with records, in order; what must be committed before more follows. What it raises ends the reader."""
        ...


#: The note of a commit after which nothing of the partition was left undone.
FINAL_NOTE: Final = "final"


class GroupReader:
    """A member of a group on one topic. ``run`` lives as long as the membership."""

    def __init__(self, config: dict[str, Any], topic: str, owner: Owner, *, batch_max: int, broker_seconds: float):
        self._config = config
        self._topic = topic
        self._owner = owner
        self._batch_max = batch_max
        self._broker_seconds = broker_seconds
        self._consumer: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self._callback_failure: BaseException | None = None
        self._owner_failed = False
        self.trouble = ""
        #: The ends of the partitions' logs as the brokers last said.
        self.ends: dict[int, int] = {}
        #: Whether the group has answered, since this process joined it or was last thought dead by it.
        self._joined = False
        #: Why partitions that the group gave to this process cannot be taken over yet.
        self._held_up = ""

    # --- for the event loop ---

    async def run(self) -> None:
        """Be a member until ``stop``. Raises what the owner raised."""
        self._loop = asyncio.get_running_loop()
        ended = self._loop.create_future()
        thread = threading.Thread(
            target=self._live, args=(lambda: self._post(_settle, ended),), name=f"kafka-{self._topic}", daemon=True
        )
        thread.start()
        try:
            await asyncio.shield(ended)
        except asyncio.CancelledError:
            self._stopping.set()
            await ended
            raise
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let go of everything in order and leave the group; ``run`` then returns."""
        self._stopping.set()

    def problem(self) -> str | None:
        """Why nobody knows yet what this member has to do, in one sentence, or None."""
        if not self._joined:
            return f"the group has not answered yet: {self.trouble or 'joining'}"
        return self._held_up or None

    def commit(self, positions: Mapping[int, tuple[int, str]]) -> None:
        """Commit progress, an offset and a note by partition, when the thread comes by."""
        self._requests.put(lambda: self._commit(self._noted(positions)))

    def look_at_ends(self) -> None:
        """Bring ``ends`` up to date when the thread comes by."""
        self._requests.put(self._look_at_ends)

    def pause(self, partitions: Sequence[int]) -> None:
        """Read no more of these partitions for now."""
        positions = self._positions(dict.fromkeys(partitions, -1001))
        self._requests.put(lambda: self._quietly(lambda: self._consumer.pause(positions)))

    def resume(self, partitions: Sequence[int]) -> None:
        """Read on."""
        positions = self._positions(dict.fromkeys(partitions, -1001))
        self._requests.put(lambda: self._quietly(lambda: self._consumer.resume(positions)))

    # --- in the thread ---

    def _live(self, done: Callable[[], None]) -> None:
        from confluent_kafka import Consumer

        try:
            self._consumer = Consumer(self._config | {"error_cb": self._on_error})
            self._consumer.subscribe(
                [self._topic],
                on_assign=self._guarded(self._on_assign),
                on_revoke=self._guarded(self._on_revoke),
                on_lost=self._guarded(self._on_lost),
            )
            while not self._stopping.is_set():
                self._work_off_requests()
                self._turn()
            # Lets go of every partition through _on_revoke, commits, and leaves the group at once.
            self._consumer.close()
        except BaseException as error:  # whatever ends the thread ends `run`
            self._failure = error
            self._abandon()
        finally:
            done()

    def _abandon(self) -> None:
        """After a failure: leave without a word about progress; the group gives the partitions to others."""
        if self._consumer is None:
            return
        self._owner_failed = True
        try:
            self._consumer.close()
        except Exception as error:  # the first failure is the one to tell
            _log.warning("kafka_close_failed", error=str(error))

    def _guarded(self, callback: Callable[[Any, list[Any]], None]) -> Callable[[Any, list[Any]], None]:
        """A callback that keeps what it raises for ``_turn``: the library does not hand it on as it was."""

        def guarded(consumer: Any, positions: list[Any]) -> None:
            try:
                callback(consumer, positions)
            except BaseException as error:  # whatever it is, it ends the reader
                self._callback_failure = self._callback_failure or error

        return guarded

    def _turn(self) -> None:
        first = self._consumer.poll(_POLL_SECONDS)
        if self._callback_failure is not None:
            raise self._callback_failure
        if first is None:
            return
        records = [first, *self._consumer.consume(self._batch_max - 1, 0)]
        good = [record for record in records if not self._is_error(record)]
        if good:
            self.trouble = ""
        for group in turns(good):
            fence = self._on_loop(partial(self._owner.read, group))
            if fence is not None and self._has_passed(fence):
                self._on_loop(fence.then)

    def _has_passed(self, fence: Fence) -> bool:
        """Commit what a fence asks for; False where the group does not take it from here."""
        from confluent_kafka import KafkaException

        positions = self._noted(fence.positions)
        for attempt in range(_FENCE_ATTEMPTS_MAX):
            try:
                committed = self._consumer.commit(offsets=positions, asynchronous=False)
            except KafkaException as error:
                problem = str(error)
            else:
                refused = [position.error for position in committed or () if position.error is not None]
                if not refused:
                    return True
                problem = refused[0].str()
            _log.warning("kafka_fence_refused", topic=self._topic, attempt=attempt, error=problem)
            if self._stopping.wait(_FENCE_PAUSE_SECONDS):
                break
        return False

    def _is_error(self, record: Any) -> bool:
        from confluent_kafka import KafkaError, KafkaException

        error = record.error()
        if error is None:
            return False
        if error.code() in (KafkaError._PARTITION_EOF,):  # the library's own name
            return True
        if error.code() == KafkaError._AUTO_OFFSET_RESET or error.fatal():
            # The log does not hold what comes next: going on elsewhere would lose inputs silently.
            raise KafkaException(error)
        self.trouble = error.str()
        return True

    def _on_error(self, error: Any) -> None:
        self.trouble = error.str()
        _log.warning("kafka_consumer_trouble", topic=self._topic, error=error.str())

    def _on_assign(self, consumer: Any, positions: list[Any]) -> None:
        self._joined = True
        if not positions:
            return
        found = self._ask_progress(consumer, positions)
        if found is None:
            return
        starts = self._await(self._owner.take_over(found), _TAKE_OVER_SECONDS_MAX)
        consumer.incremental_assign(self._positions(starts))

    def _ask_progress(self, consumer: Any, positions: list[Any]) -> dict[int, Committed] | None:
        """What the group has committed of each, asked until it answers; None where the reader is stopped before.

        The group's coordinator may be away for longer than a question waits. To end would not bring it back, and a
        process that starts again would have to ask the same.
        """
        from confluent_kafka import KafkaException

        while not self._stopping.is_set():
            try:
                found = self._progress(consumer, positions)
            except KafkaException as error:
                problem = error.args[0]
                if problem.fatal():
                    raise
                if not self._held_up:
                    partitions = [position.partition for position in positions]
                    _log.warning("kafka_group_is_silent", topic=self._topic, partitions=partitions, error=problem.str())
                self._held_up = f"the group does not say where to begin in {self._topic}: {problem.str()}"
                self._stopping.wait(_PROGRESS_PAUSE_SECONDS)
                continue
            if self._held_up:
                self._held_up = ""
                _log.info("kafka_group_answers_again", topic=self._topic)
            return found
        return None

    def _progress(self, consumer: Any, positions: list[Any]) -> dict[int, Committed]:
        from confluent_kafka import KafkaException

        found: dict[int, Committed] = {}
        for position in consumer.committed(positions, timeout=self._broker_seconds):
            if position.error is not None:
                raise KafkaException(position.error)
            start, end = watermarks(consumer, position, self._broker_seconds)
            offset = position.offset if position.offset >= 0 else -1
            found[position.partition] = Committed(offset, position.metadata or "", start, end)
        return found

    def _on_revoke(self, consumer: Any, positions: list[Any]) -> None:
        if self._owner_failed:
            consumer.incremental_unassign(positions)
            return
        partitions = [position.partition for position in positions]
        final = self._await(self._owner.let_go(partitions), _TAKE_OVER_SECONDS_MAX)
        if final:
            self._quietly(lambda: consumer.commit(offsets=self._positions(final, FINAL_NOTE), asynchronous=False))
        consumer.incremental_unassign(positions)

    def _on_lost(self, consumer: Any, positions: list[Any]) -> None:
        # Whoever was thought dead is no member until the group has answered again.
        self._joined = False
        partitions = [position.partition for position in positions]
        _log.warning("kafka_partitions_lost", topic=self._topic, partitions=partitions)
        self._on_loop(lambda: self._owner.lose(partitions))
        consumer.incremental_unassign(positions)

    def _work_off_requests(self) -> None:
        while True:
            try:
                request = self._requests.get_nowait()
            except Empty:
                return
            request()

    def _commit(self, positions: list[Any]) -> None:
        self._quietly(lambda: self._consumer.commit(offsets=positions, asynchronous=True))
        self._look_at_ends()

    def _look_at_ends(self) -> None:
        ends: dict[int, int] = {}
        for position in self._consumer.assignment():
            _, end = self._consumer.get_watermark_offsets(position, cached=True)
            ends[position.partition] = end
        self.ends = ends

    def _quietly(self, action: Callable[[], Any]) -> None:
        """A commit or a pause that comes too late changes nothing: the partition is with somebody else by then."""
        from confluent_kafka import KafkaException

        try:
            action()
        except KafkaException as error:
            _log.info("kafka_request_in_vain", topic=self._topic, error=str(error))

    def _noted(self, positions: Mapping[int, tuple[int, str]]) -> list[Any]:
        from confluent_kafka import TopicPartition

        return [TopicPartition(self._topic, p, offset, metadata=note) for p, (offset, note) in positions.items()]

    def _positions(self, offsets: Mapping[int, int], note: str = "") -> list[Any]:
        from confluent_kafka import TopicPartition

        return [TopicPartition(self._topic, p, offset, metadata=note) for p, offset in offsets.items()]

    # --- between the two ---

    def _on_loop(self, action: Callable[[], T]) -> T:
        """Run something on the event loop and wait for it; what it raises is raised here."""
        done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

        def run() -> None:
            try:
                done.put((action(), None))
            except Exception as error:  # it is raised in the thread that waits
                done.put((None, error))

        self._post(run)
        result, error = done.get(timeout=_TAKE_OVER_SECONDS_MAX)
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only where the action returns it

    def _await(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        assert self._loop is not None
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)
        except FutureCancelledError:
            raise RuntimeError("the event loop ended before the reader") from None

    def _post(self, action: Callable[..., None], *arguments: Any) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(action, *arguments)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
