"""The life of one service: connect, listen, serve, and let go of everything in order."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import msgspec
import structlog
import uvloop

from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.bus.kafka.host import KafkaHostError
from polaris_synapse.desk.desk import quieten_interpreter, secrets_of
from polaris_synapse.desk.first_start import prepare_directory
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.place import ServicePlace, default_data_directory, services_folder
from polaris_synapse.desk.services.app import ClusterApp
from polaris_synapse.desk.services.base import Service, ServiceParts, alone
from polaris_synapse.desk.services.roles import ROLES
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.monitoring.logging import configure_logging
from polaris_synapse.storage.cluster_progress import ProgressLostError
from polaris_synapse.storage.database import DatabaseUnavailableError, DatabaseUrlError
from polaris_synapse.storage.migrate import SchemaVersionError
from polaris_synapse.web.server import Listener, serve

_log = structlog.get_logger(__name__)
_SUBSCRIBE_SECONDS_MAX = 10.0


def run_service(
    name: str, settings: DeskSettings, *, ready: Callable[[ServicePlace], None], log_to_stdout: bool = True
) -> None:
    """Run a service until SIGINT or SIGTERM. Raises ConfigurationError or OSError where it cannot go on.

    Its log goes to a file, and unless ``log_to_stdout`` is false as JSON lines to standard output too.
    """
    from confluent_kafka import KafkaException

    directory = (settings.data_directory or default_data_directory()).absolute()
    prepare_directory(directory)
    logs = settings.logging.directory or directory / "logs"
    try:
        configure_logging(
            level=settings.logging.level,
            file=logs / f"{name}-{os.getpid()}.log",
            stream=sys.stdout,
            # Whoever runs containers reads their standard output.
            terminal=log_to_stdout,
            service=name,
            secret_values=[*secrets_of(settings), *_bus_secrets(settings)],
        )
    except OSError as error:
        raise ConfigurationError(f"The log directory {logs} cannot be written: {error.strerror}.") from None
    try:
        anyio.run(_run, name, settings, directory, ready, backend_options={"loop_factory": uvloop.new_event_loop})
    except* (KafkaException, KafkaHostError, ProgressLostError) as group:
        raise ConfigurationError(f"The service cannot go on: {first_of(group)}.") from first_of(group)
    except* (DatabaseUnavailableError, DatabaseUrlError, SchemaVersionError) as group:
        raise ConfigurationError(f"The service cannot use its SQL database: {first_of(group)}.") from None
    except* ConfigurationError as group:
        raise ConfigurationError(str(first_of(group))) from None
    except* OSError as group:
        raise first_of(group) from None


def first_of(group: BaseException) -> BaseException:
    """The first of what went wrong at once."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _bus_secrets(settings: DeskSettings) -> list[str]:
    """Values of librdkafka's options that a log must hide: passwords, and what else is not a plain choice."""
    options = settings.bus.kafka.options
    return [value.get_secret_value() for name, value in options.items() if "password" in name or "secret" in name]


async def _run(name: str, settings: DeskSettings, directory: Path, ready: Callable[[ServicePlace], None]) -> None:
    role = ROLES[name]
    with alone(directory):
        parts, service = role.make(settings, directory, SystemClock())
    try:
        await parts.start()
        await _live(parts, service, getattr(settings.ports, role.port), ready)
    finally:
        with anyio.CancelScope(shield=True):
            await parts.stop()
    _log.info("service_stopped", service=name)


async def _live(parts: ServiceParts, service: Service, port: int, ready: Callable[[ServicePlace], None]) -> None:
    async with anyio.create_task_group() as shells:
        for run in service.shells():
            shells.start_soon(run)
        await _wait_for_listeners(parts, service)
        members = service.members()
        async with anyio.create_task_group() as cores:
            for member in members:
                cores.start_soon(member.run)
            async with anyio.create_task_group() as web:
                web.start_soon(_serve, parts, service, port, ready)
                await _until_signal(parts.name)
                web.cancel_scope.cancel()
            # In order: what was read is finished and handed on before anybody else is given the partition.
            for member in members:
                member.stop()
        shells.cancel_scope.cancel()


async def _wait_for_listeners(parts: ServiceParts, service: Service) -> None:
    """Who acts on what cores say must listen before they say their first word."""
    with anyio.fail_after(_SUBSCRIBE_SECONDS_MAX):
        while not parts.bus.subscribers >= service.first_listeners():  # noqa: ASYNC110  # the bus has no event for it
            await anyio.sleep(0.005)


async def _serve(parts: ServiceParts, service: Service, port: int, ready: Callable[[ServicePlace], None]) -> None:
    app: Any = ClusterApp(
        service.app(),
        service=parts.name,
        client=parts.client,
        checks=service.checks,
        states=service.states,
        elsewhere=service.elsewhere,
    )
    path = services_folder(parts.directory) / f"{parts.client}.json"
    order_port = service.order_port()

    def started(ports: dict[str, int]) -> None:
        place = ServicePlace(
            service=parts.name,
            client=parts.client,
            host=parts.settings.host,
            port=ports[parts.name],
            process_id=os.getpid(),
            order_port=0 if order_port is None else order_port.port,
        )
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(place))
        temporary.replace(path)
        quieten_interpreter()
        _log.info("service_listening", port=place.port, order_port=place.order_port)
        ready(place)

    listener = Listener(
        app=app,
        host=parts.settings.host,
        port=port,
        name=parts.name,
        trusted_proxies=parts.settings.gateway.trusted_proxies,
    )
    try:
        async with anyio.create_task_group() as group:
            if order_port is not None:
                await group.start(order_port.run)
            await serve([listener], started=started)
    finally:
        path.unlink(missing_ok=True)


async def _until_signal(name: str) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            _log.info("service_stopping", service=name, signal=signal.Signals(number).name)
            return
