"""The order gateway, wired: what stands behind its API and runs beside it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import anyio
import argon2
import structlog
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.answers import Answers
from polaris_synapse.order_gateway.audit import AuditTrail
from polaris_synapse.order_gateway.authentication import GatewayAuthenticator
from polaris_synapse.order_gateway.credentials import KeptCredentials
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.order_gateway.entry import OrderEntry
from polaris_synapse.order_gateway.hub import Hub
from polaris_synapse.order_gateway.last_prices import LastPrices
from polaris_synapse.order_gateway.limits import RateLimiter, TokenBuckets
from polaris_synapse.order_gateway.list_entry import ListEntry
from polaris_synapse.order_gateway.market_channels import MarketChannels
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.metrics import GatewayMetrics, MarketChannelMetrics
from polaris_synapse.order_gateway.nonces import ReplayCache
from polaris_synapse.order_gateway.passwords import Passwords
from polaris_synapse.order_gateway.reads import Reads
from polaris_synapse.order_gateway.session import Session
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.order_gateway.shared import (
    ASKED_BUDGETS,
    COUNTED_BUDGETS,
    SharedBudgets,
    SharedCredentials,
)
from polaris_synapse.order_gateway.tokens import Tokens
from polaris_synapse.order_gateway.tracker import OrderTracker
from polaris_synapse.storage.cache.port import SharedCache
from polaris_synapse.storage.cache.revocations import RevocationMirror
from polaris_synapse.storage.database import DatabaseUnavailableError
from polaris_synapse.storage.port import ReadModels, ReadModelsLagError

_log = structlog.get_logger(__name__)
_CREDENTIALS_CHECK_SECONDS = 1.0
_FORGET_EVERY_CHECKS = 600


class GatewayService:
    """Everything of the gateway that is not HTTP. Nothing connects before ``open`` and ``run``.

    ``jwt_secret`` signs log-ins, at least 32 bytes. ``notes`` adds lines to GET /status (the feed, say).
    ``credentials`` keeps users and keys, a file in the data directory unless given; as an attribute it is for the
    composition root, as ``entry`` is: order entry inside the process. ``cache`` is what several processes share;
    with ``markets_cached`` what clients hear of markets comes through it, instead of all markets over the bus.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        read_models: ReadModels,
        clock: Clock,
        registry: CollectorRegistry,
        settings: GatewaySettings,
        jwt_secret: bytes,
        data_directory: Path,
        valuation_asset: str = "USDT",
        limiter: RateLimiter | None = None,
        cache: SharedCache | None = None,
        markets_cached: bool = False,
        credentials: KeptCredentials | None = None,
        hasher: argon2.PasswordHasher | None = None,
        notes: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.registry = registry
        self.read_models = read_models
        self.notes = notes or dict
        mirror = None if cache is None else RevocationMirror(cache, clock)
        self.credentials = SharedCredentials(credentials or _credentials_file(settings, data_directory), mirror)
        self.metrics = GatewayMetrics(registry)
        buckets = TokenBuckets(clock, keys_max=settings.limiter_keys_max)
        self._budgets = None if cache is None else SharedBudgets(cache, clock, buckets, ASKED_BUDGETS, COUNTED_BUDGETS)
        self.limiter: RateLimiter = limiter or self._budgets or buckets
        self.cache = cache
        self.audit = AuditTrail(
            bus,
            clock,
            notes_max=settings.audit_notes_max,
            per_address_and_minute_max=settings.audit_notes_per_address_and_minute_max,
        )
        self.markets = Markets(read_models.instruments, clock)
        self.tracker = OrderTracker(settings.orders_remembered_max)
        self.passwords = Passwords(hasher)
        self._replays = ReplayCache(
            window_ms=settings.signature_window_ms,
            ahead_ms=settings.signature_ahead_ms,
            nonces_max=settings.nonces_max,
        )
        self.authenticator = GatewayAuthenticator(
            store=self.credentials,
            tokens=Tokens(
                jwt_secret,
                self.credentials,
                session_minutes=settings.session_minutes,
                cached_max=settings.tokens_cached_max,
            ),
            replays=self._replays,
            passwords=self.passwords,
            limiter=self.limiter,
            audit=self.audit,
            clock=clock,
            settings=settings,
            refused=self.metrics.refused,
            cache=cache,
        )
        self.entry = OrderEntry(
            bus=bus,
            read_models=read_models,
            clock=clock,
            markets=self.markets,
            tracker=self.tracker,
            limiter=self.limiter,
            metrics=self.metrics,
            settings=settings,
        )
        self.answers = Answers(self.entry, self.markets, self.tracker)
        self.lists = ListEntry(
            entry=self.entry,
            read_models=read_models,
            clock=clock,
            markets=self.markets,
            tracker=self.tracker,
            limiter=self.limiter,
            settings=settings,
        )
        self.reads = Reads(read_models, self.entry, self.markets, valuation_asset)
        channels = None
        if cache is not None and markets_cached:
            channels = MarketChannels(cache, clock, MarketChannelMetrics(registry))
        self.hub = Hub(bus, self.markets, self.tracker, self.metrics, settings, channels)
        self.sessions: set[Session] = set()
        self._opened = False
        self._markets_read = False
        self._stopping = False

    def open(self) -> None:
        """Open the credentials, so that they can be read and changed before the service runs. Repeats do nothing."""
        if not self._opened:
            now = self.clock.now_ns()
            self.credentials.open(now_ns=now)
            self._replays.start(now, self.credentials.early_nonces)
            self._opened = True

    async def run(self, *, started: Callable[[], None] | None = None) -> None:
        """Follow the bus and keep what requests need, until cancelled."""
        self.open()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.hub.run, started or _nothing)
                for run in self.authentication_runs():
                    group.start_soon(run)
                if self.cache is not None:
                    group.start_soon(LastPrices(self.cache, self.clock, self.markets).run)
                group.start_soon(self._keep_markets)
        finally:
            self._stopping = True
            for session in tuple(self.sessions):
                session.close(1001, Reason.SHUTTING_DOWN)
            await self.close()

    def authentication_runs(self) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
        """What telling who asks needs beside it, until cancelled: notes are audited, and what was revoked is seen.

        Part of ``run``; a service that authenticates without it runs these beside its API, after ``open``, and then
        calls ``close``.
        """
        shared = () if self.credentials.mirror is None else (self.credentials.mirror.run,)
        budgets = () if self._budgets is None else (self._budgets.run,)
        return (self.audit.run, self._keep_credentials, *shared, *budgets)

    async def close(self) -> None:
        """Let go of users and keys and of the cache. Repeats do nothing."""
        if not self._opened:
            return
        self._opened = False
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.credentials.close)
            if self.cache is not None:
                await self.cache.close()

    async def _keep_markets(self) -> None:
        while True:
            try:
                with anyio.fail_after(self.settings.read_seconds_max):
                    # An instrument listed a moment ago is one that orders may name already.
                    await self.read_models.caught_up()
            except (TimeoutError, ReadModelsLagError):
                _log.warning("the instruments may not be the newest")
            try:
                # Those that are known may be traded, however far behind the read models are.
                with anyio.fail_after(self.settings.read_seconds_max):
                    await self.markets.refresh()
                self._markets_read = True
            except (TimeoutError, DatabaseUnavailableError) as error:
                _log.warning("the instruments could not be read", problem=str(error) or "no answer in time")
            await self.clock.sleep(self.settings.instruments_refresh_seconds)

    async def _keep_credentials(self) -> None:
        """See what other processes changed, and end the connections whose token or key is void, until cancelled."""
        checks = 0
        while True:
            await self.clock.sleep(_CREDENTIALS_CHECK_SECONDS)
            checks += 1
            await anyio.to_thread.run_sync(self.credentials.refresh)
            if checks % _FORGET_EVERY_CHECKS == 0:
                await anyio.to_thread.run_sync(self.credentials.forget_expired, self.clock.now_ns())
            for session in tuple(self.sessions):
                session.end_if_void()

    def readiness(self) -> dict[str, Callable[[], str | None]]:
        """The checks of GET /ready."""
        return {
            "credentials": lambda: None if self._opened else "The credentials are not open.",
            "bus": lambda: None if self.hub.listening == 2 else "The gateway does not hear the bus.",
            "instruments": lambda: None if self._markets_read else "The instruments have not been read yet.",
            "accepting": lambda: "The desk is shutting down." if self._stopping else None,
        }


def _nothing() -> None:
    return None


def _credentials_file(settings: GatewaySettings, data_directory: Path) -> SqliteCredentials:
    memory = settings.auth_database == ":memory:"
    return SqliteCredentials(settings.auth_database if memory else data_directory / settings.auth_database)
