"""Counting requests: one set of series for all services of a process, cheap enough for the order path."""

from __future__ import annotations

import time
from typing import Final
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Histogram

_KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class HttpMetrics:
    """Requests by service, route, method and status, and how long they took."""

    _made: Final[WeakKeyDictionary[CollectorRegistry, HttpMetrics]] = WeakKeyDictionary()

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "polaris_http_requests",
            "HTTP requests by route and status.",
            ("service", "route", "method", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "polaris_http_request_seconds",
            "Time from a request's head to the end of its response.",
            ("service", "route"),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._children: dict[tuple[str, str, str, int], tuple[Counter, Histogram]] = {}

    @classmethod
    def of(cls, registry: CollectorRegistry) -> HttpMetrics:
        """The registry's metrics, made once: the services of one process share a registry."""
        found = cls._made.get(registry)
        if found is None:
            found = cls._made[registry] = cls(registry)
        return found

    @staticmethod
    def now() -> float:
        """Seconds on a clock that only measures."""
        return time.perf_counter()

    def count(self, service: str, route: str, method: str, status: int, begun: float) -> None:
        """One request is over. ``status`` 0: the client went away first."""
        key = (service, route, method if method in _KNOWN_METHODS else "other", status)
        children = self._children.get(key)
        if children is None:
            children = self._children[key] = (
                self._requests.labels(service, route, key[2], str(status or 499)),
                self._seconds.labels(service, route),
            )
        children[0].inc()
        children[1].observe(time.perf_counter() - begun)
