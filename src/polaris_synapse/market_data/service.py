"""The market data service: runs the feed, hands what it says to the bus, and keeps what the market looks like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import anyio
import structlog
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.port import Bus, SlowConsumerError, Subscription
from polaris_synapse.domain.instruments import INTERNAL_VENUE, Instrument
from polaris_synapse.domain.messages import BookHealthChanged, BookSnapshotReceived, Message, ResyncNeeded
from polaris_synapse.domain.messages.market_data import Level
from polaris_synapse.domain.topics import FEED_COMMANDS, MARKET_DATA_NORMALIZED
from polaris_synapse.market_data.feeds.choice import choose_feed
from polaris_synapse.market_data.feeds.port import Feed, FeedCounts
from polaris_synapse.market_data.metrics import MarketDataMetrics
from polaris_synapse.market_data.settings import MarketDataSettings
from polaris_synapse.market_data.views import MarketViews

_log = structlog.get_logger("polaris.market_data")

#: ``(sequence, bids, asks)`` of an internal symbol's book, best first.
InternalLevels = Callable[[str], tuple[int, Sequence[Level], Sequence[Level]]]
#: Called with each batch of published facts, after the views have followed them.
Listener = Callable[[Sequence[Envelope]], None]

_COMMANDS_BACKLOG_MAX = 10_000


class MarketDataService:
    """One feed for the fed instruments, the internal book for the internal ones.

    ``instruments`` are all that the desk lists; those of the internal venue get their book from ``internal_levels``
    (the matching core's current levels), asked for at start and after a gap. ``feed`` stands in for the one the
    settings would choose. Nothing happens before ``prepare`` or ``run``.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        registry: CollectorRegistry,
        settings: MarketDataSettings,
        instruments: Iterable[Instrument],
        *,
        internal_levels: InternalLevels | None = None,
        feed: Feed | None = None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._settings = settings
        known = tuple(instruments)
        self.instruments = {instrument.symbol: instrument for instrument in known}
        self._fed = tuple(i for i in known if i.venue != INTERNAL_VENUE)
        self._internal = tuple(i.symbol for i in known if i.venue == INTERNAL_VENUE)
        self._internal_levels = internal_levels
        self._feed = feed
        self._feed_ended = False
        self._listeners: list[Listener] = []
        self.sentence = f"Market data: {feed.name}." if feed is not None else ""
        self.views = MarketViews(trades_max=settings.recent_trades_max, candles_max=settings.candles_max)
        self.metrics = MarketDataMetrics(registry, clock, self.views, self.feed_counts)

    @property
    def settings(self) -> MarketDataSettings:
        """What it was made with."""
        return self._settings

    def feed_counts(self) -> tuple[str, FeedCounts] | None:
        """The feed's name and counts, None before it was chosen."""
        return None if self._feed is None else (self._feed.name, self._feed.counts)

    @property
    def feed_ended(self) -> bool:
        """Whether the feed has nothing more to say: a replay that is over."""
        return self._feed_ended

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Hear each batch of facts as it comes; returns how to stop. Listeners do not block and do not raise."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def prepare(self) -> str:
        """Choose the feed, and say which in one sentence. Raises ValueError for an impossible choice."""
        if self._feed is None:
            self._feed, self.sentence = await choose_feed(self._settings, self._fed, self._clock)
        return self.sentence

    def not_ready(self) -> str | None:
        """A readiness check: None when every fed symbol's book is healthy, else one sentence."""
        unhealthy = [
            f"{instrument.symbol} ({view.cause})" if (view := self.views.get(instrument.symbol)) else instrument.symbol
            for instrument in self._fed
            if (view := self.views.get(instrument.symbol)) is None or not view.healthy
        ]
        return f"No healthy book of {', '.join(unhealthy)}." if unhealthy else None

    async def run(self) -> None:
        """Run until cancelled."""
        await self.prepare()
        feed = self._feed
        assert feed is not None
        async with anyio.create_task_group() as tasks:
            # Listen first, so that nothing the feed causes is missed.
            await tasks.start(self._follow, FEED_COMMANDS, _COMMANDS_BACKLOG_MAX, self._obey)
            await tasks.start(
                self._follow, MARKET_DATA_NORMALIZED, self._settings.view_backlog_messages_max, self._mirror
            )
            for symbol in self._internal:
                self._post_internal(symbol)
            await feed.run(self._bus.post)
            self._feed_ended = True
            _log.info("feed_ended", feed=feed.name)

    async def resync(self, symbol: str) -> None:
        """Get a fresh snapshot of a symbol, from the feed or from the internal book."""
        if symbol in self._internal:
            self._post_internal(symbol)
        elif self._feed is not None:
            await self._feed.resync(symbol)

    async def _follow(
        self,
        topic: str,
        backlog_max: int,
        take: Callable[[Sequence[Envelope]], Awaitable[None]],
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Hand every batch of a topic to ``take``; where this fell too far behind, start over with fresh snapshots."""
        is_first = True
        while True:
            async with self._bus.subscribe(
                (topic,), name=f"market-data {topic}", backlog_messages_max=backlog_max, droppable=True
            ) as subscription:
                if is_first:
                    task_status.started()
                    is_first = False
                if await self._drain(subscription, take):
                    return
            _log.error("fell_behind", topic=topic)
            for symbol in self.views.forget_books():
                await self.resync(symbol)

    @staticmethod
    async def _drain(subscription: Subscription, take: Callable[[Sequence[Envelope]], Awaitable[None]]) -> bool:
        """True when the subscription ended, False when it was dropped for being slow."""
        try:
            async for batch in subscription:
                await take(batch)
        except SlowConsumerError:
            return False
        return True

    async def _obey(self, batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            message: Message = envelope.message
            if isinstance(message, ResyncNeeded):
                key = (message.symbol, message.cause)
                self.metrics.resyncs[key] = self.metrics.resyncs.get(key, 0) + 1
                _log.warning("resync", symbol=message.symbol, source=message.source, cause=message.cause)
                await self.resync(message.symbol)

    async def _mirror(self, batch: Sequence[Envelope]) -> None:
        for envelope in batch:
            message: Message = envelope.message
            if not self.views.take(message):
                await self.resync(message.symbol)  # type: ignore[attr-defined]  # only a BookUpdated says so
            if isinstance(message, BookHealthChanged):
                self._note_health(message)
        for listener in tuple(self._listeners):
            listener(batch)

    def _note_health(self, message: BookHealthChanged) -> None:
        if message.healthy:
            _log.info("book_healthy", symbol=message.symbol, source=message.source)
            return
        key = (message.symbol, message.cause)
        self.metrics.health_changes[key] = self.metrics.health_changes.get(key, 0) + 1
        _log.warning("book_unhealthy", symbol=message.symbol, source=message.source, cause=message.cause)

    def _post_internal(self, symbol: str) -> None:
        if self._internal_levels is None:
            return
        sequence, bids, asks = self._internal_levels(symbol)
        self._bus.post(
            BookSnapshotReceived(
                time_ns=self._clock.now_ns(),
                symbol=symbol,
                source=INTERNAL_VENUE,
                last_update_id=sequence,
                bids=tuple(bids),
                asks=tuple(asks),
            )
        )
