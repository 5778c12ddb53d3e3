"""Writes facts into SQL, each exactly once.

A projector's progress is a row of the same database and moves in the same transaction as the facts, so a crash at any
moment leaves the two agreeing; the host publishes again whatever lies beyond.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

import anyio
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.journal import WITHOUT_CONSEQUENCE
from polaris_synapse.bus.subscriptions import BusSubscription
from polaris_synapse.storage.database import DatabaseUnavailableError
from polaris_synapse.storage.fact_writing import PROJECTORS, FactWrite, FactWriter
from polaris_synapse.storage.projections import newest_only

_FIRST_PAUSE_SECONDS: Final = 0.05
_log = structlog.get_logger("polaris_synapse.storage")


class FactSource(Protocol):
    """The host, as a projector sees it."""

    @property
    def released_offset(self) -> int:
        """Everything up to this offset of the journal has been published."""
        ...

    def attach(self, subscription: BusSubscription, *, records: bool) -> None:
        """Publish to this subscription; before recovery where it records."""
        ...


class ProjectorMetrics:
    """What projectors tell Prometheus."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.facts: Final = Counter("polaris_storage_facts", "Facts written to SQL.", ["database"], registry=registry)
        self.failures: Final = Counter(
            "polaris_storage_write_failures", "Transactions that the database refused.", ["database"], registry=registry
        )
        self.offset: Final = Gauge(
            "polaris_storage_offset", "Journal offset up to which SQL has everything.", ["database"], registry=registry
        )


class Projector:
    """Keeps one database up with the facts of one subscription. ``name`` is one of ``PROJECTORS``."""

    def __init__(
        self,
        name: str,
        writer: FactWriter,
        subscription: BusSubscription,
        *,
        source: FactSource,
        clock: Clock,
        metrics: ProjectorMetrics,
        batch_messages_max: int,
        retry_seconds_max: float,
        gather_seconds: float = 0.0,
    ) -> None:
        self.name = name
        self.subscription = subscription
        #: Why the last write failed, empty while all is well.
        self.problem = ""
        self._writer = writer
        self._is_recorder = PROJECTORS[name].progress is not None
        self._source = source
        self._clock = clock
        self._metrics = metrics
        self._batch_messages_max = batch_messages_max
        self._retry_seconds_max = retry_seconds_max
        self._gather_seconds = gather_seconds
        self._hurry = asyncio.Event()
        self._fact_offset = subscription.fact_offset
        # Recovery may have set the subscription's progress back behind the database's.
        self._first_recorded: int | None = subscription.recorded_offset
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def run(self) -> None:
        """Write until the subscription closes and everything is written."""
        while (facts := await self.subscription.take(hold=True)) is not None:
            # Everything up to here has been published, so it is in these facts or was before.
            released = self._source.released_offset
            for chunk in chunks(facts, self._batch_messages_max):
                await self._write(chunk, released if chunk[-1] is facts[-1] else chunk[-1].offset)
                self.subscription.let_go(len(chunk))
                self._wake_waiting()
            await self._gather()
        await self.record_progress()

    async def _gather(self) -> None:
        """Let facts gather for a moment, unless somebody waits to read them.

        A transaction costs as much as dozens of rows, and a row that changes often is then written once.
        """
        self._hurry.clear()
        if self._gather_seconds and not self._waiting and not self.subscription.is_closed:
            with anyio.move_on_after(self._gather_seconds):
                await self._hurry.wait()

    async def record_progress(self) -> None:
        """Record that nothing is missing although nothing was written for a while, so that a restart replays less."""
        released = self._source.released_offset
        behind = released > self.subscription.recorded_offset
        if self._is_recorder and behind and not self.subscription.backlog_messages:
            await self._write((), released)

    async def caught_up(self) -> None:
        """Return once everything published before the call is written."""
        target = self.subscription.published
        if self.subscription.taken < target:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((target, future))
            self._hurry.set()
            await future

    def _wake_waiting(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.subscription.taken:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)

    async def _write(self, facts: Sequence[Envelope], offset: int) -> None:
        """One transaction, tried again until the database takes it: facts wait for it, they are never skipped."""
        pause = _FIRST_PAUSE_SECONDS
        fact_offset = self._newest_consequence(facts)
        write = FactWrite(
            projector=self.name,
            offset=offset,
            fact_offset=fact_offset,
            recorded_offset=self.subscription.recorded_offset,
            first_recorded=self._first_recorded,
        )
        newest = newest_only(facts)
        while True:
            try:
                await self._writer.write(write, newest)
            except DatabaseUnavailableError as error:
                if not self.problem:
                    _log.error("read_models_unwritable", database=self.name, error=str(error))
                self.problem = str(error)
                self._metrics.failures.labels(self.name).inc()
                await self._clock.sleep(pause)
                pause = min(pause * 2, self._retry_seconds_max)
            else:
                break
        if self.problem:
            _log.info("read_models_writable_again", database=self.name)
            self.problem = ""
        self._metrics.facts.labels(self.name).inc(len(facts))
        if self._is_recorder:
            self._first_recorded = None
            self._fact_offset = fact_offset
            self.subscription.recorded_offset = offset
            self._metrics.offset.labels(self.name).set(offset)

    def _newest_consequence(self, facts: Sequence[Envelope]) -> int:
        """Facts come in the order of their offsets, so that the first from behind is the newest."""
        newest = (fact.offset for fact in reversed(facts) if type(fact.message) not in WITHOUT_CONSEQUENCE)
        return next(newest, self._fact_offset)


def chunks(facts: Sequence[Envelope], size_max: int) -> list[Sequence[Envelope]]:
    """Parts of about ``size_max``, never split between two facts of one offset: progress counts whole inputs."""
    found: list[Sequence[Envelope]] = []
    start = 0
    while start < len(facts):
        end = min(start + size_max, len(facts))
        while end < len(facts) and facts[end].offset == facts[end - 1].offset:
            end += 1
        found.append(facts[start:end])
        start = end
    return found
