"""What several gateways share through the cache: budgets of addresses, and what was revoked.

Without the cache budgets go on with what this process counts by itself. Revocations do not: a gateway that cannot know
what the others revoked lets nobody in (RevocationMirror says when).
"""

from __future__ import annotations

from typing import Final

import anyio.from_thread
import structlog
from msgspec.structs import replace

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import ApiKey
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.order_gateway.limits import TokenBuckets
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.storage.cache.port import CacheUnavailableError, SharedCache
from polaris_synapse.storage.cache.revocations import RevocationMirror
from polaris_synapse.web.errors import ApiError

#: Budgets that count by the address a client comes from, whichever gateway it comes to.
SHARED_BUDGETS: Final = frozenset(
    {"logins_of_user", "logins_of_user_and_address", "logins_of_address", "failures_of_address"}
)
_log = structlog.get_logger(__name__)


class SharedBudgets:
    """A RateLimiter that counts the named budgets in the cache, and the rest, and those while it is gone, in here."""

    def __init__(self, cache: SharedCache, clock: Clock, own: TokenBuckets, shared: frozenset[str]) -> None:
        self._cache = cache
        self._clock = clock
        self._own = own
        self._shared = shared

    async def take(self, budget: Budget, key: str, /) -> float:
        """See RateLimiter."""
        if budget.name not in self._shared:
            return self._own.take_now(budget, key)
        # Counted here as well, so that what is known when the cache goes is not nothing.
        own = self._own.take_now(budget, key)
        try:
            return await self._cache.take(
                budget.name, key, per_second=budget.per_second, burst=budget.burst, now_ns=self._clock.now_ns()
            )
        except CacheUnavailableError:
            return own

    def take_now(self, budget: Budget, key: str, /) -> float | None:
        """See RateLimiter."""
        return None if budget.name in self._shared else self._own.take_now(budget, key)

    async def give_back(self, budget: Budget, key: str, /) -> None:
        """See RateLimiter."""
        await self._own.give_back(budget, key)
        if budget.name in self._shared:
            try:
                await self._cache.give_back(budget.name, key, burst=budget.burst)
            except CacheUnavailableError as error:
                _log.warning("budget_not_given_back", budget=budget.name, problem=str(error))


class SharedCredentials(SqliteCredentials):
    """Credentials that also know what other gateways revoked. Raises ApiError where that cannot be known."""

    mirror: RevocationMirror | None = None

    def token_revoked(self, token_id: str, /) -> bool:
        """See CredentialStore."""
        return super().token_revoked(token_id) or self._elsewhere(f"token:{token_id}")

    def revoke_token(self, token_id: str, expires_time_ns: int, /) -> None:
        """See CredentialStore."""
        super().revoke_token(token_id, expires_time_ns)
        self._tell(f"token:{token_id}", expires_time_ns)

    def key(self, key_id: str, /) -> ApiKey | None:
        """See CredentialStore."""
        found = super().key(key_id)
        if found is not None and not found.revoked and self._elsewhere(f"key:{key_id}"):
            return replace(found, revoked=True)
        return found

    def put_key(self, key: ApiKey, /) -> None:
        """See CredentialStore."""
        super().put_key(key)
        if key.revoked:
            self._tell(f"key:{key.key_id}", 0)

    def _elsewhere(self, name: str) -> bool:
        if self.mirror is None:
            return False
        if not self.mirror.is_current():
            raise ApiError(
                Reason.CACHE_UNAVAILABLE,
                "The desk cannot tell now whether this log-in or key was revoked; try again in a moment.",
            )
        return self.mirror.is_revoked(name)

    def _tell(self, name: str, expires_time_ns: int) -> None:
        """Make a revocation known before it is answered; the mirror tries again where the cache is gone."""
        if self.mirror is None:
            return
        self.mirror.add(name, expires_time_ns)
        try:
            anyio.from_thread.run(self.mirror.publish)
        except RuntimeError:
            # Not in a worker thread of the gateway (at its start, say): the mirror's next turn does it.
            _log.info("revocation_published_later")
