"""The port of every feed, and what feeds count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct, field

from polaris_synapse.domain.messages import Message

#: Takes what a feed delivers. Never blocks.
Sink = Callable[[Message], None]


class FeedCounts(Struct):
    """What a feed has done since it started. ``frames`` by kind; ``malformed_detail`` is the last one's fault."""

    frames: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    malformed_detail: str = ""
    reconnects: int = 0
    snapshots_requested: int = 0
    snapshots_failed: int = 0
    rate_limited: int = 0
    trades_backfilled: int = 0
    clock_offset_ms: float | None = None
    progress: float | None = None
    instrument_faults: tuple[str, ...] = ()


class Feed(Protocol):
    """A source of market data. Its name is the ``source`` of all its messages."""

    @property
    def name(self) -> str:
        """``binance``, ``replay``, ``simulated``."""
        ...

    @property
    def counts(self) -> FeedCounts:
        """What it has done so far, to look at."""
        ...

    async def run(self, sink: Sink, /) -> None:
        """Deliver until cancelled, or until there is nothing more. Connection faults are dealt with inside."""
        ...

    async def resync(self, symbol: str, /) -> None:
        """Deliver a fresh snapshot of ``symbol``, soon and within the source's limits; returns at once."""
        ...
