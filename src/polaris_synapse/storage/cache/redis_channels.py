"""One subscriber's connection to Redis: what is published on its channels, and whether the server still lives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any, Final

import anyio

from polaris_synapse.storage.cache.port import CacheUnavailableError

#: Joined from the beginning, so that the connection is a subscriber's, which may be asked whether it lives. Nobody
#: publishes on it.
_QUIET: Final = "quiet"


class RedisListener:
    """See ChannelListener. ``pubsub`` is redis-py's, of a client that does not try again."""

    def __init__(self, pubsub: Any, prefix: str, silence_seconds: float) -> None:
        self._pubsub = pubsub
        self._prefix = f"{prefix}:"
        self._silence_seconds = silence_seconds
        self._joined: set[bytes] = set()
        self._confirmed = anyio.Event()

    async def open(self) -> None:
        """Connect. Raises what redis-py does."""
        await self._pubsub.subscribe(f"{self._prefix}{_QUIET}")

    async def close(self) -> None:
        """Let go of the connection."""
        await self._pubsub.aclose()

    async def join(self, channels: Collection[str], /) -> None:
        """See ChannelListener."""
        names = {f"{self._prefix}{channel}".encode() for channel in channels}

        async def joined() -> None:
            await self._pubsub.subscribe(*names)
            while not names <= self._joined:
                self._confirmed = anyio.Event()
                await self._confirmed.wait()

        await self._within_silence(joined)

    async def leave(self, channels: Collection[str], /) -> None:
        """See ChannelListener."""
        names = {f"{self._prefix}{channel}".encode() for channel in channels}
        # At once: who joins again soon has to wait for the confirmation of that.
        self._joined -= names
        await self._within_silence(lambda: self._pubsub.unsubscribe(*names))

    async def _within_silence(self, call: Any) -> Any:
        from redis.exceptions import RedisError

        try:
            with anyio.fail_after(self._silence_seconds):
                return await call()
        except (RedisError, OSError, TimeoutError, RuntimeError, AttributeError) as error:
            # The last two are redis-py's where a connection ends while one task reads and another writes.
            raise CacheUnavailableError(f"the line to the cache is lost: {type(error).__name__}") from error

    async def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        """See ChannelListener."""
        asked = False
        while True:
            message = await self._within_silence(self._next)
            if message is None:
                if asked:
                    raise CacheUnavailableError("the line to the cache is lost: no answer")
                await self._within_silence(self._pubsub.ping)
                asked = True
                continue
            asked = False
            if message["type"] == "message":
                yield message["channel"].decode().removeprefix(self._prefix), message["data"]
            elif message["type"] == "subscribe":
                self._joined.add(message["channel"])
                self._confirmed.set()

    async def _next(self) -> Any:
        """The next message, or None after a while without one: so long twice is a silence."""
        return await self._pubsub.get_message(timeout=self._silence_seconds / 2)
