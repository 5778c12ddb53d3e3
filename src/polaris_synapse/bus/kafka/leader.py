"""One process of several does a piece of work: the one that a consumer group gives a topic's only partition.

For a moment after a process was thought dead there can be two. So what leaders write is guarded by itself: read models
move a version in the transaction of their rows, and the second's tick is told from the first's by its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from polaris_synapse.bus.kafka.reader import Committed, Fence, GroupReader
from polaris_synapse.bus.kafka.settings import KafkaHostSettings

_log = structlog.get_logger("polaris_synapse.bus.kafka")


class Leader:
    """Runs ``work`` while this process is the leader of ``group``. What ``work`` raises ends ``run``."""

    def __init__(
        self, settings: KafkaHostSettings, *, group: str, topic: str, client: str, work: Callable[[], Awaitable[None]]
    ) -> None:
        self.group = group
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self._reader = GroupReader(
            settings.group_consumer(group, client),
            settings.topic(topic),
            self,
            batch_max=settings.batch_messages_max,
            broker_seconds=settings.broker_seconds_max,
        )

    @property
    def leads(self) -> bool:
        """Whether this process is the leader now."""
        return self._task is not None

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """A check by name: until the group has answered once nobody knows whether the work is done by anybody."""
        return {self.group: self._check}

    def _check(self) -> str | None:
        return self._reader.problem()

    async def run(self) -> None:
        """Stand by and lead until cancelled or ``stop``."""
        try:
            await self._reader.run()
        finally:
            await self._end()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the work and leave the group; ``run`` then returns."""
        self._reader.stop()

    async def take_over(self, partitions: Mapping[int, Committed], /) -> Mapping[int, int]:
        """See reader.Owner: begin to lead."""
        if 0 in partitions and self._task is None:
            _log.info("leading", group=self.group)
            self._task = asyncio.create_task(self._lead(), name=f"leader of {self.group}")
        return {number: committed.log_end for number, committed in partitions.items()}

    async def let_go(self, partitions: Sequence[int], /) -> Mapping[int, int]:
        """See reader.Owner: stop leading."""
        if 0 in partitions:
            await self._end()
        return {}

    def lose(self, partitions: Sequence[int], /) -> None:
        """See reader.Owner: somebody else leads."""
        if 0 in partitions and self._task is not None:
            self._task.cancel()
            self._task = None

    def read(self, records: Sequence[Any], /) -> Fence | None:
        """See reader.Owner: what is written there is for others."""
        return None

    async def _lead(self) -> None:
        try:
            await self._work()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._failure = error
            self._reader.stop()

    async def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
