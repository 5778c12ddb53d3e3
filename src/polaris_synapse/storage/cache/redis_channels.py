"""One subscriber's connection to Redis: what is published on its channels, and whether the server still lives.

Not redis-py's PubSub: that connects again by itself, which hides that messages were lost, and where one task reads and
another joins both of them do, and leave a connection open.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, Final, TypeVar

import anyio

from polaris_synapse.storage.cache.port import CacheUnavailableError

T = TypeVar("T")

#: Joined from the beginning, so that the connection is a subscriber's, which may be asked whether it lives. Nobody
#: publishes on it.
_QUIET: Final = "quiet"
_LOST: Final = "the line to the cache is lost"


class RedisListener:
    """See ChannelListener. ``client`` is redis-py's, and this listener's alone."""

    def __init__(self, client: Any, prefix: str, silence_seconds: float) -> None:
        self._pool = client.connection_pool
        self._connection: Any = None
        self._prefix = f"{prefix}:"
        self._silence_seconds = silence_seconds
        self._joined: set[bytes] = set()
        self._confirmed = anyio.Event()
        self._is_lost = False

    async def open(self) -> None:
        """Connect. Raises what redis-py does."""
        self._connection = await self._pool.get_connection()
        await self._send("SUBSCRIBE", f"{self._prefix}{_QUIET}")

    async def close(self) -> None:
        """Let go of the connection."""
        self._is_lost = True
        if self._connection is not None:
            await self._connection.disconnect()
            await self._pool.release(self._connection)

    async def join(self, channels: Collection[str], /) -> None:
        """See ChannelListener."""
        names = self._names(channels)

        async def joined() -> None:
            await self._send("SUBSCRIBE", *names)
            while not names <= self._joined:
                self._confirmed = anyio.Event()
                await self._confirmed.wait()

        await self._unless_lost(joined)

    async def leave(self, channels: Collection[str], /) -> None:
        """See ChannelListener."""
        names = self._names(channels)
        # At once: who joins again soon has to wait for the confirmation of that.
        self._joined -= names
        await self._unless_lost(lambda: self._send("UNSUBSCRIBE", *names))

    def _names(self, channels: Collection[str]) -> set[bytes]:
        return {f"{self._prefix}{channel}".encode() for channel in channels}

    async def _send(self, *words: str | bytes) -> None:
        await self._connection.send_command(*words, check_health=False)

    async def _unless_lost(self, call: Callable[[], Awaitable[T]]) -> T:
        """What a call returns, unless the line was or is lost: then it stays so, whatever redis-py would do."""
        from redis.exceptions import RedisError

        if self._is_lost:
            raise CacheUnavailableError(_LOST)
        try:
            with anyio.fail_after(self._silence_seconds):
                return await call()
        except (RedisError, OSError, TimeoutError, RuntimeError, AttributeError) as error:
            # The last two are redis-py's where a connection ends while one task reads and another writes.
            self._is_lost = True
            raise CacheUnavailableError(f"{_LOST}: {type(error).__name__}") from error

    async def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        """See ChannelListener."""
        asked = False
        while True:
            said = await self._unless_lost(self._next)
            if said is None:
                if asked:
                    self._is_lost = True
                    raise CacheUnavailableError(f"{_LOST}: no answer")
                await self._unless_lost(lambda: self._send("PING"))
                asked = True
                continue
            asked = False
            # Besides lists there is only the answer to a ping, which some versions of the protocol send by itself.
            kind = said[0] if isinstance(said, list) else b"pong"
            if kind == b"message":
                yield said[1].decode().removeprefix(self._prefix), said[2]
            elif kind == b"subscribe":
                self._joined.add(said[1])
                self._confirmed.set()

    async def _next(self) -> Any:
        """The next answer or message, or None after a while without one: so long twice is a silence."""
        return await self._connection.read_response(
            timeout=self._silence_seconds / 2, disconnect_on_error=False, push_request=True
        )
