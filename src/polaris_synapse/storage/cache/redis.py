"""The cache in Redis 6.2 or later: a single server, a cluster, or one that Sentinel watches.

URLs: ``redis://:secret@host:6379/0`` (``rediss`` for TLS), ``redis+cluster://:secret@host:6379,host:6379`` and
``redis+sentinel://:secret@host:26379,host:26379/name``. Several hosts are several ways in; any of them may be gone.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import unquote, urlsplit

import anyio
import anyio.lowlevel

from polaris_synapse.storage.cache.port import CacheUnavailableError, ChannelListener, Revocation, RevocationPage
from polaris_synapse.storage.cache.redis_channels import RedisListener

T = TypeVar("T")

_PREFIX: Final = "polaris"
_ATTEMPTS_MAX: Final = 3
_COMMANDS_AT_ONCE_MAX: Final = 64
#: In a cluster, keys of one hash tag lie on one node, where a script may touch both.
_EPOCH_KEY: Final = f"{_PREFIX}:{{revoked}}:epoch"
_STREAM_KEY: Final = f"{_PREFIX}:{{revoked}}:stream"
_REVOCATIONS_MAX: Final = 200_000
_PAGE_ROWS_MAX: Final = 10_000
_PRICE_SECONDS: Final = 86_400
#: A bucket that nobody touched for this long is full again under any budget of the desk.
_BUCKET_SECONDS_MIN: Final = 60
_CLUSTER: Final = "redis+cluster"
_SENTINEL: Final = "redis+sentinel"

#: The arithmetic of order_gateway.limits.TokenBuckets, in one step on the server. Microseconds, since Lua's numbers are
#: doubles; nanoseconds since 1970 would not fit.
_FILL: Final = """
local tokens, counted = tonumber(ARGV[2]), tonumber(ARGV[3])
local now, rate, burst = tonumber(ARGV[3]), tonumber(ARGV[1]), tonumber(ARGV[2])
local found = redis.call('HMGET', KEYS[1], 't', 'c')
if found[1] then tokens, counted = tonumber(found[1]), tonumber(found[2]) end
if now < counted then now = counted end
tokens = math.min(burst, tokens + (now - counted) * rate / 1000000)
local wait = 0
"""
_KEEP: Final = """
redis.call('HSET', KEYS[1], 't', string.format('%.17g', tokens), 'c', string.format('%.0f', now))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return string.format('%.17g', wait)
"""
_TAKE: Final = f"{_FILL}if tokens >= 1 then tokens = tokens - 1 else wait = (1 - tokens) / rate end{_KEEP}"
_SPEND: Final = f"""{_FILL}
tokens = math.max(tokens - tonumber(ARGV[5]), -burst)
if tokens < 0 then wait = -tokens / rate end
{_KEEP}"""
_GIVE_BACK: Final = """
local tokens = redis.call('HGET', KEYS[1], 't')
if tokens then
  redis.call('HSET', KEYS[1], 't', string.format('%.17g', math.min(tonumber(ARGV[1]), tonumber(tokens) + 1)))
end
return 0
"""
#: Epoch, newest id and what came after the cursor, as they were at one moment.
_REVOKED_SINCE: Final = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[1]
  redis.call('SET', KEYS[1], epoch)
end
local newest = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
local last = '0-0'
if newest[1] then last = newest[1][1] end
return {epoch, last, redis.call('XRANGE', KEYS[2], ARGV[2], '+', 'COUNT', ARGV[3])}
"""


class RedisCache:
    """See SharedCache. Connects when first used; no call takes longer than ``operation_seconds_max``."""

    def __init__(self, url: str, *, operation_seconds_max: float = 0.25) -> None:
        self._url = url
        self._seconds_max = operation_seconds_max
        #: The client, and whatever else must be closed with it.
        self._client, self._others = _clients(url, operation_seconds_max)
        #: In a cluster the node that we publish at, by a client of its own.
        self._speaker: Any = None
        # A cluster's client (redis-py 8.1) lets commands that run at once take each other's connections, which hang or
        # count twice: there one follows the other.
        self._is_cluster = urlsplit(url).scheme == _CLUSTER
        self._turns: AbstractAsyncContextManager[Any] = anyio.Semaphore(
            1 if self._is_cluster else _COMMANDS_AT_ONCE_MAX
        )

    async def put_prices(self, prices: Mapping[str, bytes], /) -> None:
        """See SharedCache."""
        if not prices:
            return
        pipeline = self._client.pipeline(transaction=False)
        for symbol, price in prices.items():
            pipeline.set(f"{_PREFIX}:price:{symbol}", price, ex=_PRICE_SECONDS)
        await self._within(pipeline.execute())

    async def prices(self, symbols: Sequence[str], /) -> dict[str, bytes]:
        """See SharedCache."""
        if not symbols:
            return {}
        pipeline = self._client.pipeline(transaction=False)
        for symbol in symbols:
            pipeline.get(f"{_PREFIX}:price:{symbol}")
        found = await self._within(pipeline.execute())
        return {symbol: price for symbol, price in zip(symbols, found, strict=True) if price is not None}

    async def take(self, name: str, key: str, /, *, per_second: float, burst: int, now_ns: int) -> float:
        """See SharedCache."""
        expire = _BUCKET_SECONDS_MIN + int(burst / per_second)
        arguments = (repr(per_second), burst, now_ns // 1000, expire)
        answer = await self._eval(_TAKE, (f"{_PREFIX}:budget:{name}:{key}",), *arguments)
        return float(answer)

    async def give_back(self, name: str, key: str, /, *, burst: int) -> None:
        """See SharedCache."""
        await self._eval(_GIVE_BACK, (f"{_PREFIX}:budget:{name}:{key}",), burst)

    async def spend(self, name: str, key: str, /, *, units: int, per_second: float, burst: int, now_ns: int) -> float:
        """See SharedCache."""
        # From the deepest debt to a full bucket is twice the way.
        expire = _BUCKET_SECONDS_MIN + int(2 * burst / per_second)
        arguments = (repr(per_second), burst, now_ns // 1000, expire, units)
        return float(await self._eval(_SPEND, (f"{_PREFIX}:budget:{name}:{key}",), *arguments))

    async def claim(self, name: str, /, *, seconds: float) -> bool:
        """See SharedCache."""
        key, milliseconds = f"{_PREFIX}:claim:{name}", max(1, round(seconds * 1000))
        return await self._within(self._client.set(key, b"1", nx=True, px=milliseconds)) is not None

    async def revoke(self, revocations: Sequence[Revocation], /) -> None:
        """See SharedCache."""
        if not revocations:
            return
        pipeline = self._client.pipeline(transaction=False)
        for one in revocations:
            fields = {"n": one.name, "e": str(one.expires_time_ns)}
            pipeline.xadd(_STREAM_KEY, fields, maxlen=_REVOCATIONS_MAX, approximate=True)
        await self._within(pipeline.execute())

    async def revoked_since(self, cursor: str, /) -> RevocationPage:
        """See SharedCache. A stream that ends before the cursor lost its end, which makes it another epoch."""
        epoch, _, position = cursor.partition("/")
        start = f"({position}" if position else "-"
        keys = (_EPOCH_KEY, _STREAM_KEY)
        answer = await self._eval(_REVOKED_SINCE, keys, secrets.token_hex(8), start, _PAGE_ROWS_MAX)
        found_epoch, last, rows = answer
        now_epoch = found_epoch.decode()
        if position and (now_epoch != epoch or _stream_id(last.decode()) < _stream_id(position)):
            page = await self.revoked_since("")
            lost = f"{now_epoch}-{secrets.token_hex(4)}" if now_epoch == epoch else now_epoch
            return RevocationPage(lost, page.cursor, page.revocations)
        found = tuple(_revocation(fields) for _, fields in rows)
        end = rows[-1][0].decode() if rows else position or "0-0"
        return RevocationPage(now_epoch, f"{now_epoch}/{end}", found)

    async def publish(self, payloads: Mapping[str, bytes], /) -> None:
        """See SharedCache. A plain PUBLISH: a cluster hands it on to every node."""
        if not payloads:
            return
        if self._is_cluster and self._speaker is None:
            self._speaker = await self._node()
        speaker = self._speaker or self._client
        pipeline = speaker.pipeline(transaction=False)
        for channel, payload in payloads.items():
            pipeline.publish(f"{_PREFIX}:{channel}", payload)
        try:
            await _bounded(pipeline.execute(), self._seconds_max)
        except CacheUnavailableError:
            if speaker is self._speaker:
                # Another node the next time.
                self._speaker = None
                await speaker.aclose()
            raise

    @asynccontextmanager
    async def listen(self, *, silence_seconds: float) -> AsyncIterator[ChannelListener]:
        """See SharedCache."""
        client, others = (await self._node(), ()) if self._is_cluster else _clients(self._url, self._seconds_max)
        listener = RedisListener(client, _PREFIX, silence_seconds)
        try:
            await _bounded(listener.open(), self._seconds_max)
            yield listener
        finally:
            with anyio.move_on_after(self._seconds_max, shield=True):
                await listener.close()
                for one in (client, *others):
                    await one.aclose()

    async def _node(self) -> Any:
        """A client of one node of the cluster, any of them: each hears and says what all do.

        Where that node does not answer the next attempt is to be at another one, and soon.
        """
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        try:
            await self._within(self._client.initialize())
            node = self._client.get_random_node()
        except AttributeError as error:
            raise CacheUnavailableError("the cache's nodes are changing their roles") from error
        kept = {"password", "username", "socket_timeout", "socket_connect_timeout"}
        found = {name: value for name, value in self._client.connection_kwargs.items() if name in kept}
        return Redis(host=node.host, port=node.port, retry=Retry(NoBackoff(), 0), **found)

    async def close(self) -> None:
        """See SharedCache."""
        for client in (self._client, *self._others, *(() if self._speaker is None else (self._speaker,))):
            await client.aclose()

    async def _eval(self, script: str, keys: Sequence[str], *arguments: object) -> Any:
        """Run a script. Tried again where the client took a connection away before anything was sent on it.

        A cluster's client does that while it learns of a failover; it shows as an AttributeError.
        """
        for _ in range(_ATTEMPTS_MAX - 1):
            try:
                return await self._within(self._client.eval(script, len(keys), *keys, *arguments))
            except AttributeError:
                await anyio.lowlevel.checkpoint()
        try:
            return await self._within(self._client.eval(script, len(keys), *keys, *arguments))
        except AttributeError as error:
            raise CacheUnavailableError("the cache's nodes are changing their roles") from error

    async def _within(self, call: Awaitable[T]) -> T:
        async with self._turns:
            return await _bounded(call, self._seconds_max)


async def _bounded(call: Awaitable[T], seconds_max: float) -> T:
    from redis.exceptions import RedisError

    try:
        with anyio.fail_after(seconds_max):
            return await call
    except (RedisError, OSError, TimeoutError) as error:
        # The kind of the error and never its text, which may hold what was sent.
        raise CacheUnavailableError(f"the cache does not answer: {type(error).__name__}") from error


def _revocation(fields: Sequence[bytes]) -> Revocation:
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return Revocation(values[b"n"].decode(), int(values[b"e"]))


def _stream_id(text: str) -> tuple[int, int]:
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number or 0)


def _clients(url: str, seconds_max: float) -> tuple[Any, tuple[Any, ...]]:
    from redis.asyncio import Redis, RedisCluster
    from redis.asyncio.cluster import ClusterNode
    from redis.asyncio.sentinel import Sentinel

    parts = urlsplit(url)
    limits: dict[str, Any] = {"socket_timeout": seconds_max, "socket_connect_timeout": seconds_max}
    if parts.scheme not in {_CLUSTER, _SENTINEL}:
        return Redis.from_url(url, **limits), ()
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    if password:
        limits["password"] = unquote(password)
    if user:
        limits["username"] = unquote(user)
    places = [_host_and_port(text, 6379 if parts.scheme == _CLUSTER else 26_379) for text in hosts.split(",")]
    if parts.scheme == _CLUSTER:
        return RedisCluster(startup_nodes=[ClusterNode(host, port) for host, port in places], **limits), ()
    sentinel: Any = Sentinel(places, sentinel_kwargs=limits, **limits)  # type: ignore[no-untyped-call]  # redis-py's
    return sentinel.master_for(parts.path.strip("/") or _PREFIX), tuple(sentinel.sentinels)


def _host_and_port(text: str, default: int) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, int(port) if port else default
