"""What every service has: its place on the bus, the read models, and who may ask it."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import anyio
import structlog
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.core import Core
from polaris_synapse.bus.kafka.client import KafkaBus
from polaris_synapse.bus.kafka.host import KafkaCoreHost, PartitionState
from polaris_synapse.bus.kafka.metrics import KafkaMetrics
from polaris_synapse.bus.kafka.outlet import Outlet
from polaris_synapse.bus.kafka.routing import Destinations
from polaris_synapse.bus.kafka.topics import Topics, TopicsError, partition_counts
from polaris_synapse.desk.bus_settings import declared_topics, kafka_settings
from polaris_synapse.desk.credentials import kept_credentials, open_credentials
from polaris_synapse.desk.first_start import jwt_secret
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.operator import ensure_operator_key
from polaris_synapse.desk.room_settings import gateway_settings, shared_cache, storage_settings
from polaris_synapse.desk.services.app import Checks
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.monitoring.metrics import register_process_metrics
from polaris_synapse.order_gateway.credentials import why_not_bind
from polaris_synapse.order_gateway.order_port import OrderPort
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.storage.cluster_service import ClusterStorage

_FLUSH_SECONDS_MAX: Final = 5.0
_log = structlog.get_logger(__name__)


class Member(Protocol):
    """Something that belongs to a consumer group for as long as it runs."""

    async def run(self) -> None:
        """Be a member until ``stop``."""
        ...

    def stop(self) -> None:
        """Finish in order; ``run`` then returns."""
        ...


class Service(Protocol):
    """One of the seven, made of ``ServiceParts``. Nothing connects before ``run`` of its parts."""

    def app(self) -> ASGIApp:
        """Its HTTP surface."""
        ...

    def order_port(self) -> OrderPort | None:
        """Orders over plain TCP beside it, or None."""
        ...

    def checks(self) -> Checks:
        """What must hold for it to be ready."""
        ...

    def states(self) -> Sequence[PartitionState]:
        """Where its partitions stand."""
        ...

    def elsewhere(self, path: str, /) -> str:
        """Why another instance is to be asked about a path, in a sentence; empty where this one answers."""
        ...

    def shells(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside the cores, until cancelled."""
        ...

    def first_listeners(self) -> frozenset[str]:
        """The subscribers that must listen before a core says its first word."""
        ...

    def members(self) -> Sequence[Member]:
        """Its memberships, the cores' first."""
        ...


class ServiceParts:
    """What a service is made of. ``facts``: the topics that its shells hear; ``local_facts``: see KafkaBus."""

    def __init__(
        self,
        name: str,
        settings: DeskSettings,
        directory: Path,
        clock: Clock,
        *,
        facts: Iterable[str],
        local_facts: Iterable[str] = (),
    ) -> None:
        self.name = name
        self.settings = settings
        self.directory = directory
        self.clock = clock
        self.registry = CollectorRegistry()
        register_process_metrics(self.registry)
        self.kafka = kafka_settings(settings.bus.kafka)
        self._specs = declared_topics(settings.bus.kafka)
        self.destinations = Destinations(partition_counts(self._specs))
        self.client = f"{name}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.outlet = Outlet(self.kafka.durable_producer(), self.kafka.topic)
        self.requests = Outlet(self.kafka.request_producer(), self.kafka.topic)
        self.perishable = Outlet(self.kafka.perishable_producer(), self.kafka.topic)
        self.metrics = KafkaMetrics(self.registry)
        self.bus = KafkaBus(
            self.kafka,
            self.destinations,
            outlet=self.outlet,
            requests=self.requests,
            facts=facts,
            local_facts=local_facts,
            client=self.client,
        )
        self.storage = ClusterStorage(
            storage_settings(directory, settings),
            self.kafka,
            partition_counts(self._specs),
            clock,
            self.registry,
            self.client,
        )
        self.gateway = GatewayService(
            bus=self.bus,
            read_models=self.storage.read_models,
            clock=clock,
            registry=self.registry,
            settings=gateway_settings(settings),
            jwt_secret=jwt_secret(settings, directory).encode(),
            data_directory=directory,
            valuation_asset=settings.valuation_asset,
            cache=shared_cache(settings),
            markets_cached=True,
            credentials=kept_credentials(settings, directory, clock),
        )

    async def start(self) -> None:
        """Open everything that a service needs. Raises ConfigurationError where the topics are not as declared."""
        with alone(self.directory):
            # Users and keys may be in a database whose tables this makes.
            await self.storage.prepare()
            open_credentials(self.gateway)
            ensure_operator_key(self.directory, self.gateway.credentials, self.clock)
            if refusal := why_not_bind(self.settings.host, self.gateway.credentials):
                raise ConfigurationError(f"{refusal}.")
        await anyio.to_thread.run_sync(self._check_topics)
        for outlet in (self.outlet, self.requests, self.perishable):
            outlet.start()
        await self.bus.start()

    def _check_topics(self) -> None:
        try:
            changes = [change for change in Topics(self.kafka, self._specs).diff() if change.action != "configure"]
        except TopicsError as error:
            raise ConfigurationError(f"The bus cannot be used: {error}.") from None
        if changes:
            first = changes[0]
            raise ConfigurationError(
                f"The topic {first.topic} is not as the settings want it ({first.action}: {first.detail}); "
                "make the topics with: polaris topics apply"
            )

    async def stop(self) -> None:
        """Send what waits and close everything."""
        await self.bus.stop()
        for outlet in (self.outlet, self.requests, self.perishable):
            if left := await outlet.stop(_FLUSH_SECONDS_MAX):
                _log.warning("records_not_confirmed", records=left)
        await self.gateway.close()
        await self.storage.close()

    def checks(self) -> dict[str, Callable[[], str | None]]:
        """The bus's checks."""
        return self.bus.readiness()

    def host(
        self,
        room: str,
        make_core: Callable[[int], Core],
        *,
        changed: Callable[[Mapping[int, Core]], None] | None = None,
        leaves_in_order: bool = True,
        carries_on: bool = False,
    ) -> KafkaCoreHost:
        """The host of a room's cores in this process."""
        return KafkaCoreHost(
            room=room,
            group=f"{self.name}-group",
            make_core=make_core,
            settings=self.kafka,
            destinations=self.destinations,
            outlet=self.outlet,
            store=self.storage.snapshots,
            clock=self.clock,
            metrics=self.metrics,
            client=self.client,
            deliver=self.bus.deliver,
            leaves_in_order=leaves_in_order,
            carries_on=carries_on,
            changed=changed,
        )

    def authenticator_runs(self) -> Iterable[Callable[[], Coroutine[Any, Any, None]]]:
        """What a service's authenticator needs beside it: its notes are audited, and what was revoked is seen."""
        return self.gateway.authentication_runs()


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Of the processes that start at once over one directory, one makes what is missing and the others wait."""
    with (directory / "first-start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
