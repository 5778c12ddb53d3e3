"""What was revoked anywhere, known everywhere: each process mirrors the cache, and tells it again should it forget.

Whoever asks gets an answer at once, from memory. A mirror that could not be compared with the cache for
``stale_seconds_max`` knows nothing for certain, and says so; then access is refused.
"""

from __future__ import annotations

from typing import Final

import anyio
import structlog

from polaris_synapse.bus.clock import Clock
from polaris_synapse.storage.cache.port import CacheUnavailableError, Revocation, SharedCache

_NS: Final = 1_000_000_000
_POLL_SECONDS: Final = 0.5
_STALE_SECONDS_MAX: Final = 5.0
_log = structlog.get_logger("polaris_synapse.cache")


class RevocationMirror:
    """The revocations of all processes. ``run`` keeps it up; ``add`` may be called from any thread."""

    def __init__(
        self,
        cache: SharedCache,
        clock: Clock,
        *,
        poll_seconds: float = _POLL_SECONDS,
        stale_seconds_max: float = _STALE_SECONDS_MAX,
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._stale_ns = round(stale_seconds_max * _NS)
        self._known: dict[str, Revocation] = {}
        self._waiting: dict[str, Revocation] = {}
        self._epoch = ""
        self._cursor = ""
        self._compared_ns: int | None = None
        self._said_stale = False
        self._lock = anyio.Lock()

    def is_current(self) -> bool:
        """Whether the mirror was compared with the cache a moment ago."""
        return self._compared_ns is not None and self._clock.now_ns() - self._compared_ns <= self._stale_ns

    def is_revoked(self, name: str) -> bool:
        """Whether something was revoked, as far as this process knows."""
        return name in self._known

    def add(self, name: str, expires_time_ns: int) -> None:
        """Revoke here and now; ``publish`` tells the others, else the next turn of ``run``."""
        revocation = Revocation(name, expires_time_ns)
        self._known[name] = revocation
        self._waiting[name] = revocation

    async def publish(self) -> bool:
        """Tell the others what waits; False where the cache does not take it, and it is tried again."""
        async with self._lock:
            return await self._push()

    async def _push(self) -> bool:
        waiting = list(self._waiting.values())
        try:
            await self._cache.revoke(waiting)
        except CacheUnavailableError:
            return False
        for one in waiting:
            if self._waiting.get(one.name) == one:
                del self._waiting[one.name]
        return True

    async def compare(self) -> bool:
        """Take what is new and give what the cache lacks; False where it does not answer."""
        async with self._lock:
            began_ns = self._clock.now_ns()
            try:
                while True:
                    page = await self._cache.revoked_since(self._cursor)
                    if self._epoch and page.epoch != self._epoch:
                        _log.warning("cache_forgot_revocations", known=len(self._known))
                        self._waiting.update(self._known)
                    self._epoch, self._cursor = page.cursor.partition("/")[0], page.cursor
                    for one in page.revocations:
                        self._known.setdefault(one.name, one)
                    if not page.revocations:
                        break
            except CacheUnavailableError as error:
                if not self._said_stale:
                    _log.error("cache_unavailable", problem=str(error))
                self._said_stale = True
                return False
            if not await self._push():
                return False
            self._forget_expired(began_ns)
            self._compared_ns = began_ns
            self._said_stale = False
            return True

    def _forget_expired(self, now_ns: int) -> None:
        over = [name for name, one in self._known.items() if 0 < one.expires_time_ns <= now_ns]
        for name in over:
            del self._known[name]
            self._waiting.pop(name, None)

    async def run(self) -> None:
        """Compare again and again until cancelled."""
        while True:
            await self.compare()
            await self._clock.sleep(self._poll_seconds)
