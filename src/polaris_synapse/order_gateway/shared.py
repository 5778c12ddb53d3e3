"""What several gateways share through the cache: budgets, and what was revoked.

Without the cache budgets go on with what this process counts by itself. Of revocations it then knows what the common
store says; where there is none either, nothing is certain (see CredentialStore.certain and the module stops).
"""

from __future__ import annotations

from typing import Final

import anyio.from_thread
import structlog
from msgspec.structs import replace

from polaris_synapse.bus.clock import Clock
from polaris_synapse.order_gateway.credentials import ApiKey, EarlyNonces, KeptCredentials, User
from polaris_synapse.order_gateway.limits import TokenBuckets
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.storage.cache.port import CacheUnavailableError, SharedCache
from polaris_synapse.storage.cache.revocations import RevocationMirror

#: Budgets that are asked for before each use, whichever process a client comes to: few requests, and each matters.
ASKED_BUDGETS: Final = frozenset(
    {"logins_of_user", "logins_of_user_and_address", "logins_of_address", "failures_of_address"}
)
#: Budgets that are granted here and now and counted together a moment later: an order waits for no cache.
COUNTED_BUDGETS: Final = frozenset({"orders", "cancels", "reads"})
_NS: Final = 1_000_000_000
_SHARE_SECONDS: Final = 0.1
_log = structlog.get_logger(__name__)


class SharedBudgets:
    """A RateLimiter whose budgets are one over all processes.

    ``asked`` ones are taken from the cache. ``counted`` ones are taken here; ``run`` tells the cache ten times a
    second what was used, and where all processes together used too much, none grants any more until that is made
    good. So a client at N processes has at most what N buckets grant in a tenth of a second on top, and pays it back.
    While the cache is gone, each process goes on by itself.
    """

    def __init__(
        self, cache: SharedCache, clock: Clock, own: TokenBuckets, asked: frozenset[str], counted: frozenset[str]
    ) -> None:
        self._cache = cache
        self._clock = clock
        self._own = own
        self._asked = asked
        self._counted = counted
        #: (budget's name, key) -> the budget and the units that the cache has not been told of
        self._used: dict[tuple[str, str], tuple[Budget, int]] = {}
        #: (budget's name, key) -> until when all processes together are in debt
        self._in_debt: dict[tuple[str, str], int] = {}

    async def take(self, budget: Budget, key: str, /) -> float:
        """See RateLimiter."""
        if budget.name not in self._asked:
            return self._take_here(budget, key)
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
        return None if budget.name in self._asked else self._take_here(budget, key)

    def _take_here(self, budget: Budget, key: str) -> float:
        if budget.name not in self._counted:
            return self._own.take_now(budget, key)
        place = (budget.name, key)
        until = self._in_debt.get(place)
        if until is not None:
            left = until - self._clock.now_ns()
            if left > 0:
                return left / _NS
            del self._in_debt[place]
        wait = self._own.take_now(budget, key)
        if wait == 0.0:
            _, units = self._used.get(place, (budget, 0))
            self._used[place] = (budget, units + 1)
        return wait

    async def give_back(self, budget: Budget, key: str, /) -> None:
        """See RateLimiter."""
        await self._own.give_back(budget, key)
        if budget.name in self._asked:
            try:
                await self._cache.give_back(budget.name, key, burst=budget.burst)
            except CacheUnavailableError as error:
                _log.warning("budget_not_given_back", budget=budget.name, problem=str(error))

    async def share(self) -> None:
        """Tell the cache what was used since the last time, and learn where that was too much."""
        used, self._used = self._used, {}
        now_ns = self._clock.now_ns()
        self._in_debt = {place: until for place, until in self._in_debt.items() if until > now_ns}
        for (name, key), (budget, units) in used.items():
            try:
                wait = await self._cache.spend(
                    name, key, units=units, per_second=budget.per_second, burst=budget.burst, now_ns=now_ns
                )
            except CacheUnavailableError:
                # What was used meanwhile is not made up for: by the time the cache is back, buckets are full again.
                return
            if wait > 0.0:
                self._in_debt[name, key] = now_ns + round(wait * _NS)

    async def run(self) -> None:
        """Share again and again until cancelled."""
        while True:
            await self._clock.sleep(_SHARE_SECONDS)
            await self.share()


class SharedCredentials:
    """A store that also knows, through the cache, what other processes revoked a moment ago."""

    def __init__(self, store: KeptCredentials, mirror: RevocationMirror | None = None) -> None:
        self._store = store
        self.mirror = mirror

    @property
    def early_nonces(self) -> EarlyNonces | None:
        """See KeptCredentials."""
        return self._store.early_nonces

    @property
    def shared(self) -> bool:
        """See KeptCredentials."""
        return self._store.shared

    def open(self, *, now_ns: int) -> None:
        """See KeptCredentials."""
        self._store.open(now_ns=now_ns)

    def close(self) -> None:
        """See KeptCredentials."""
        self._store.close()

    def refresh(self) -> bool:
        """See KeptCredentials."""
        return self._store.refresh()

    def forget_expired(self, now_ns: int, /) -> None:
        """See KeptCredentials."""
        self._store.forget_expired(now_ns)

    def certain(self) -> bool:
        """See CredentialStore: one of the two ways by which a revocation arrives has to work."""
        if self.mirror is None:
            return self._store.certain()
        return self.mirror.is_current() or (self._store.shared and self._store.certain())

    def user(self, name: str, /) -> User | None:
        """See CredentialStore. A user whose change is known of and not seen yet is as good as disabled."""
        found = self._store.user(name)
        if found is not None and self._elsewhere(_generation(found)):
            return replace(found, disabled=True)
        return found

    def all_users(self) -> list[User]:
        """See CredentialStore."""
        return self._store.all_users()

    def put_user(self, user: User, /) -> User:
        """See CredentialStore."""
        before = self._store.user(user.name)
        stored = self._store.put_user(user)
        if before is not None:
            self._tell(_generation(before), 0)
        return stored

    def key(self, key_id: str, /) -> ApiKey | None:
        """See CredentialStore."""
        found = self._store.key(key_id)
        if found is not None and not found.revoked and self._elsewhere(f"key:{key_id}"):
            return replace(found, revoked=True)
        return found

    def all_keys(self) -> list[ApiKey]:
        """See CredentialStore."""
        return self._store.all_keys()

    def put_key(self, key: ApiKey, /) -> None:
        """See CredentialStore."""
        if key.revoked:
            # First, so that it holds although the store may be away.
            self._tell(f"key:{key.key_id}", 0)
        self._store.put_key(key)

    def token_revoked(self, token_id: str, /) -> bool:
        """See CredentialStore."""
        return self._store.token_revoked(token_id) or self._elsewhere(f"token:{token_id}")

    def revoke_token(self, token_id: str, expires_time_ns: int, /) -> None:
        """See CredentialStore."""
        self._store.revoke_token(token_id, expires_time_ns)
        self._tell(f"token:{token_id}", expires_time_ns)

    def _elsewhere(self, name: str) -> bool:
        return self.mirror is not None and self.mirror.is_revoked(name)

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


def _generation(user: User) -> str:
    return f"user:{user.name}/{user.generation}"
