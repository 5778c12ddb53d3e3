"""The cache in this process's memory: what a desk in one process uses, and the twin that tests compare with."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

import anyio

from polaris_synapse.storage.cache.port import CacheUnavailableError, ChannelListener, Revocation, RevocationPage

_BACKLOG_MESSAGES_MAX: Final = 10_000
_NS: Final = 1_000_000_000
_LOST: Final = "the listener was too slow, or the cache was switched off"


class _MemoryListener:
    """See ChannelListener."""

    def __init__(self, channels: dict[str, set[_MemoryListener]]) -> None:
        self._channels = channels
        self._is_cut = False
        self._send, self._receive = anyio.create_memory_object_stream[tuple[str, bytes]](_BACKLOG_MESSAGES_MAX)

    async def join(self, channels: Collection[str], /) -> None:
        """See ChannelListener."""
        if self._is_cut:
            raise CacheUnavailableError(_LOST)
        for channel in channels:
            self._channels[channel].add(self)

    async def leave(self, channels: Collection[str], /) -> None:
        """See ChannelListener."""
        for channel in channels:
            self._channels[channel].discard(self)

    async def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        """See ChannelListener."""
        async for heard in self._receive:
            yield heard
        raise CacheUnavailableError(_LOST)

    def hand(self, channel: str, payload: bytes) -> None:
        """What was published. Who is too slow is cut off, as a server does."""
        try:
            self._send.send_nowait((channel, payload))
        except anyio.WouldBlock:
            self.cut()

    def cut(self) -> None:
        """Let it hear nothing more than what waits."""
        self._is_cut = True
        for listeners in self._channels.values():
            listeners.discard(self)
        self._send.close()

    def close(self) -> None:
        """Forget what waits too."""
        self.cut()
        self._receive.close()


class MemoryCache:
    """See SharedCache. ``lose`` forgets everything, ``available = False`` makes every call fail, as a server's end."""

    def __init__(self) -> None:
        self._available = True
        self._channels: dict[str, set[_MemoryListener]] = defaultdict(set)
        self._listeners: set[_MemoryListener] = set()
        self._prices: dict[str, bytes] = {}
        self._buckets: dict[tuple[str, str], tuple[float, int]] = {}
        self._claims: dict[str, float] = {}
        self._epoch = secrets.token_hex(8)
        self._revocations: list[Revocation] = []

    @property
    def available(self) -> bool:
        """Whether it answers."""
        return self._available

    @available.setter
    def available(self, is_there: bool) -> None:
        self._available = is_there
        if not is_there:
            for listener in self._listeners:
                listener.cut()

    @property
    def channels(self) -> frozenset[str]:
        """The channels that somebody listens to."""
        return frozenset(channel for channel, listeners in self._channels.items() if listeners)

    def lose(self) -> None:
        """Forget everything, as a flush does. Who listens goes on listening."""
        self._prices.clear()
        self._buckets.clear()
        self._claims.clear()
        self._epoch = secrets.token_hex(8)
        self._revocations.clear()

    def _check(self) -> None:
        if not self.available:
            raise CacheUnavailableError("the cache was switched off")

    async def put_prices(self, prices: Mapping[str, bytes], /) -> None:
        """See SharedCache."""
        self._check()
        self._prices.update(prices)

    async def prices(self, symbols: Sequence[str], /) -> dict[str, bytes]:
        """See SharedCache."""
        self._check()
        return {symbol: self._prices[symbol] for symbol in symbols if symbol in self._prices}

    async def take(self, name: str, key: str, /, *, per_second: float, burst: int, now_ns: int) -> float:
        """See SharedCache."""
        self._check()
        tokens, now_ns = self._filled(name, key, per_second, burst, now_ns)
        granted = tokens >= 1.0
        self._buckets[name, key] = (tokens - 1.0 if granted else tokens, now_ns)
        return 0.0 if granted else (1.0 - tokens) / per_second

    async def give_back(self, name: str, key: str, /, *, burst: int) -> None:
        """See SharedCache."""
        self._check()
        if (name, key) in self._buckets:
            tokens, counted = self._buckets[name, key]
            self._buckets[name, key] = (min(float(burst), tokens + 1.0), counted)

    async def spend(self, name: str, key: str, /, *, units: int, per_second: float, burst: int, now_ns: int) -> float:
        """See SharedCache."""
        self._check()
        tokens, now_ns = self._filled(name, key, per_second, burst, now_ns)
        tokens = max(tokens - units, -float(burst))
        self._buckets[name, key] = (tokens, now_ns)
        return max(0.0, -tokens / per_second)

    def _filled(self, name: str, key: str, per_second: float, burst: int, now_ns: int) -> tuple[float, int]:
        """What is in a bucket now, and when now is: no clock takes the bucket back."""
        tokens, counted = self._buckets.get((name, key), (float(burst), now_ns))
        now_ns = max(now_ns, counted)
        return min(float(burst), tokens + (now_ns - counted) * per_second / _NS), now_ns

    async def claim(self, name: str, /, *, seconds: float) -> bool:
        """See SharedCache. Counted by the machine's time, as a server does."""
        self._check()
        now = monotonic()
        self._claims = {one: until for one, until in self._claims.items() if until > now}
        if name in self._claims:
            return False
        self._claims[name] = now + seconds
        return True

    async def revoke(self, revocations: Sequence[Revocation], /) -> None:
        """See SharedCache."""
        self._check()
        self._revocations.extend(revocations)

    async def revoked_since(self, cursor: str, /) -> RevocationPage:
        """See SharedCache."""
        self._check()
        epoch, _, position = cursor.partition("/")
        start = int(position) if epoch == self._epoch else 0
        found = tuple(self._revocations[start:])
        return RevocationPage(self._epoch, f"{self._epoch}/{len(self._revocations)}", found)

    async def publish(self, payloads: Mapping[str, bytes], /) -> None:
        """See SharedCache."""
        self._check()
        for channel, payload in payloads.items():
            for listener in tuple(self._channels.get(channel, ())):
                listener.hand(channel, payload)

    @asynccontextmanager
    async def listen(self, *, silence_seconds: float) -> AsyncIterator[ChannelListener]:
        """See SharedCache. Memory is never silent."""
        self._check()
        listener = _MemoryListener(self._channels)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            listener.close()

    async def close(self) -> None:
        """See SharedCache."""
