"""The cache behind a port. Every call may raise CacheUnavailableError, and each caller decides what that means.

Prices and budgets then go on with what the process knows by itself. Revocations and claims do not: who cannot know
whether a session still holds, or whether a request is a copy, lets through what only stops (see order_gateway.stops).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct


class CacheUnavailableError(RuntimeError):
    """The cache cannot be reached, or has no room; trying again later may work."""


class Revocation(Struct, frozen=True):
    """What is void, ``token:ID`` or ``key:ID``, until ``expires_time_ns`` when it ends anyway; 0: for ever."""

    name: str
    expires_time_ns: int


class RevocationPage(Struct, frozen=True):
    """What was revoked since a cursor. Another ``epoch`` than before: the cache lost everything in between."""

    epoch: str
    cursor: str
    revocations: tuple[Revocation, ...]


class ChannelListener(Protocol):
    """Hears what is published on some channels, which may change while it listens.

    Once any of this raised CacheUnavailableError it hears nothing more, and whoever goes on has to listen anew.
    """

    async def join(self, channels: Collection[str], /) -> None:
        """Hear these too; returns once whatever is published from now on is heard. Somebody has to be iterating."""
        ...

    async def leave(self, channels: Collection[str], /) -> None:
        """Hear these no more."""
        ...

    def __aiter__(self) -> AsyncIterator[tuple[str, bytes]]:
        """``(channel, payload)`` in the order of each channel. Raises CacheUnavailableError where the line is lost.

        That is also where the listener was too slow, and where the cache has not answered for ``silence_seconds``.
        """
        ...


class SharedCache(Protocol):
    """One cache, reached by every process of a desk."""

    async def put_prices(self, prices: Mapping[str, bytes], /) -> None:
        """Remember the last price of each symbol, in whatever form the writer gives it."""
        ...

    async def prices(self, symbols: Sequence[str], /) -> dict[str, bytes]:
        """The last prices that are known."""
        ...

    async def take(self, name: str, key: str, /, *, per_second: float, burst: int, now_ns: int) -> float:
        """Use one unit of a token bucket. 0.0 when granted, else the seconds to wait, and nothing is used."""
        ...

    async def give_back(self, name: str, key: str, /, *, burst: int) -> None:
        """Undo one ``take``."""
        ...

    async def spend(self, name: str, key: str, /, *, units: int, per_second: float, burst: int, now_ns: int) -> float:
        """Use what was granted already. The seconds until a bucket that went below zero is out of debt, else 0.0.

        A debt is never more than ``burst``. ``take`` and ``spend`` of one bucket go together.
        """
        ...

    async def claim(self, name: str, /, *, seconds: float) -> bool:
        """True for the first who asks for a name, False for everybody else until ``seconds`` have passed."""
        ...

    async def revoke(self, revocations: Sequence[Revocation], /) -> None:
        """Make revocations known to every process."""
        ...

    async def revoked_since(self, cursor: str, /) -> RevocationPage:
        """Revocations after a cursor; the empty one is the beginning."""
        ...

    async def publish(self, payloads: Mapping[str, bytes], /) -> None:
        """Send one payload to each channel: to whoever listens there now. Nobody hears it later."""
        ...

    def listen(self, *, silence_seconds: float) -> AbstractAsyncContextManager[ChannelListener]:
        """Listen, to no channel at first. Nothing is made up for: a line that is lost is never quietly replaced.

        The cache is asked whether it lives where no channel has anything to say, so quiet is no silence.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...
