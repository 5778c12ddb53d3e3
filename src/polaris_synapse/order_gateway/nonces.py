"""The replay cache: a signed request works once.

A nonce is remembered for as long as its timestamp could still be accepted. That lives in memory, so after a restart
requests whose timestamp lies before the start are refused. The few that were signed ahead of our clock, and so could
outlive a restart, are written down where that costs nothing; elsewhere the first second refuses them all.

Several gateways claim each nonce in the cache that they share as well (see GatewayAuthenticator).
"""

from __future__ import annotations

from collections import deque

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import EarlyNonces
from polaris_synapse.web.errors import ApiError

_NS_PER_MS = 1_000_000


class ReplayCache:
    """Nonces seen, each until its request would be too old anyway. At most ``nonces_max``; then it refuses."""

    def __init__(self, *, window_ms: int, ahead_ms: int, nonces_max: int) -> None:
        self._window_ms = window_ms
        self._ahead_ms = ahead_ms
        self._nonces_max = nonces_max
        self._seen: dict[str, int] = {}
        self._order: deque[tuple[int, str]] = deque()
        self._started_ms = 0
        self._early: EarlyNonces | None = None

    @property
    def lifetime_seconds(self) -> float:
        """How long after it was first used a request could still be taken for a new one."""
        return (self._window_ms + self._ahead_ms + 1) / 1_000

    def start(self, now_ns: int, early: EarlyNonces | None) -> None:
        """Begin: nothing signed before now is taken any more, nor what may have been used ahead of time."""
        self._started_ms = now_ns // _NS_PER_MS
        self._early = early
        if early is None:
            self._started_ms += self._ahead_ms
            return
        self._seen = {name: expires for name, expires in early.kept_nonces().items() if expires >= now_ns}
        self._order = deque((now_ns, name) for name in self._seen)

    def check_time(self, timestamp_ms: int, now_ns: int) -> None:
        """Refuse a timestamp outside the window: ``timestamp < now + ahead`` and ``now - timestamp <= window``."""
        now_ms = now_ns // _NS_PER_MS
        if timestamp_ms >= now_ms + self._ahead_ms:
            raise ApiError(Reason.TIMESTAMP_OUTSIDE_WINDOW, f"It lies {timestamp_ms - now_ms} ms in the future.")
        if now_ms - timestamp_ms > self._window_ms:
            raise ApiError(
                Reason.TIMESTAMP_OUTSIDE_WINDOW,
                f"It is {now_ms - timestamp_ms} ms old, {self._window_ms} ms are allowed.",
            )
        if timestamp_ms < self._started_ms:
            raise ApiError(Reason.TIMESTAMP_OUTSIDE_WINDOW, "It was signed before the desk started; sign it again.")

    def use(self, key_id: str, nonce: str, timestamp_ms: int, now_ns: int) -> None:
        """Use a nonce up. Only for requests whose signature was right. Raises ApiError when it was used before."""
        self._forget(now_ns)
        name = f"{key_id}\n{nonce}"
        if name in self._seen:
            raise ApiError(Reason.NONCE_REUSED)
        if len(self._seen) >= self._nonces_max:
            raise ApiError(Reason.RATE_LIMITED, "Too many signed requests at once.", headers={"retry-after": "1"})
        expires = (timestamp_ms + self._window_ms + 1) * _NS_PER_MS
        self._seen[name] = expires
        self._order.append((now_ns, name))
        if timestamp_ms * _NS_PER_MS >= now_ns and self._early is not None:
            self._early.keep_nonce(name, expires)

    def _forget(self, now_ns: int) -> None:
        """Drop the expired. They were accepted in the order of ``_order``, and live at most window plus ahead."""
        longest = (self._window_ms + self._ahead_ms + 1) * _NS_PER_MS
        while self._order and now_ns - self._order[0][0] > longest:
            self._seen.pop(self._order.popleft()[1], None)
