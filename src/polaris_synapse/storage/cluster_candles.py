"""Writes the candles of a cluster into SQL, from the process that makes them: each symbol has one.

Market data is far more than its candles, so no projector reads its topic for them. A candle is a row under its symbol,
interval and time: written twice it is there once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct
from sqlalchemy.engine import Connection

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import CandleClosed, Message
from polaris_synapse.storage.database import Database, DatabaseUnavailableError
from polaris_synapse.storage.fact_writing import write_facts
from polaris_synapse.storage.projections import ORDER_PROJECTIONS

_GATHER_SECONDS: Final = 1.0
_BATCH_MAX: Final = 5_000
#: An hour of a hundred symbols' candles of one second. Beyond that the oldest are lost, and the log says so.
_WAITING_MAX: Final = 400_000
_log = structlog.get_logger("polaris_synapse.storage")


class _Fact(Struct, frozen=True):
    """A candle as projections take it; its place in the log is of no use to them."""

    message: Message
    offset: int = 0
    index: int = 0


class CandleWriter:
    """``take`` what is published, in the event loop; ``run`` writes it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._waiting: deque[CandleClosed] = deque()
        self._problem = ""
        self._lost = False

    def take(self, message: Message) -> None:
        """Keep a closed candle for the next transaction; anything else is left alone."""
        if not isinstance(message, CandleClosed):
            return
        if len(self._waiting) >= _WAITING_MAX:
            if not self._lost:
                _log.error("candles_lost", waiting=len(self._waiting), problem=self._problem)
            self._lost = True
            self._waiting.popleft()
        self._waiting.append(message)

    async def write(self) -> None:
        """Write what waits. Where the database is away it is kept."""
        while self._waiting:
            batch = tuple(self._waiting)[:_BATCH_MAX]
            facts = [_Fact(message) for message in batch]
            try:
                await self._database.write(lambda connection, facts=facts: _write(connection, facts))  # type: ignore[misc]  # bound now
            except DatabaseUnavailableError as error:
                if not self._problem:
                    _log.warning("candles_wait", waiting=len(self._waiting), problem=str(error))
                self._problem = str(error)
                return
            self._problem, self._lost = "", False
            for candle in batch:
                # Those at the front may have been given up meanwhile.
                if self._waiting and self._waiting[0] is candle:
                    self._waiting.popleft()

    async def run(self) -> None:
        """Write once a second until cancelled."""
        while True:
            await self._clock.sleep(_GATHER_SECONDS)
            await self.write()


def _write(connection: Connection, facts: Sequence[_Fact]) -> None:
    write_facts(connection, ORDER_PROJECTIONS, facts)
