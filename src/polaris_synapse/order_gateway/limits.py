"""Rate limits behind a port. The shipped one counts in this process; one over Redis fits the same port."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Protocol

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.web.errors import ApiError

_NS = 1_000_000_000


class RateLimiter(Protocol):
    """Counts what clients use of their budgets."""

    async def take(self, budget: Budget, key: str, /) -> float:
        """Use one unit. 0.0 when granted, else the seconds to wait, and nothing is used."""
        ...

    def take_now(self, budget: Budget, key: str, /) -> float | None:
        """The same at once, or None where that takes waiting for somebody: then nothing is used, ``take`` does it."""
        ...

    async def give_back(self, budget: Budget, key: str, /) -> None:
        """Undo one ``take``."""
        ...


class TokenBuckets:
    """Token buckets in memory on the injected clock, at most ``keys_max`` of them.

    When there are too many, the least recently used goes: it has had the most time to fill up again.
    """

    def __init__(self, clock: Clock, *, keys_max: int) -> None:
        self._clock = clock
        self._keys_max = keys_max
        #: (budget, key) -> (tokens, time they were counted at)
        self._buckets: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    async def take(self, budget: Budget, key: str, /) -> float:
        """Use one unit. 0.0 when granted, else the seconds to wait."""
        return self.take_now(budget, key)

    def take_now(self, budget: Budget, key: str, /) -> float:
        """Use one unit. 0.0 when granted, else the seconds to wait."""
        now = self._clock.now_ns()
        place = (budget.name, key)
        tokens, counted = self._buckets.get(place, (float(budget.burst), now))
        tokens = min(float(budget.burst), tokens + (now - counted) * budget.per_second / _NS)
        granted = tokens >= 1.0
        self._buckets[place] = (tokens - 1.0 if granted else tokens, now)
        self._buckets.move_to_end(place)
        if len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1.0 - tokens) / budget.per_second

    async def give_back(self, budget: Budget, key: str, /) -> None:
        """Undo one ``take``."""
        place = (budget.name, key)
        if place in self._buckets:
            tokens, counted = self._buckets[place]
            self._buckets[place] = (min(float(budget.burst), tokens + 1.0), counted)


async def spend(limiter: RateLimiter, budget: Budget, key: str) -> None:
    """Use one unit of a budget or refuse with RATE_LIMITED and ``Retry-After``."""
    _refuse_when_used_up(budget, await limiter.take(budget, key))


def spend_now(limiter: RateLimiter, budget: Budget, key: str) -> bool:
    """``spend`` without waiting. False: the limiter cannot tell at once, and nothing is used."""
    wait = limiter.take_now(budget, key)
    if wait is None:
        return False
    _refuse_when_used_up(budget, wait)
    return True


def _refuse_when_used_up(budget: Budget, wait_seconds: float) -> None:
    if wait_seconds > 0.0:
        seconds = max(1, int(wait_seconds + 0.999))
        raise ApiError(
            Reason.RATE_LIMITED,
            f"The budget for {budget.name.replace('_', ' ')} is used up; try again in {seconds} s.",
            headers={"retry-after": str(seconds)},
        )


def address_key(address: str) -> str:
    """What an address is counted under: an IPv6 client owns a whole /64, so that is what counts."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
