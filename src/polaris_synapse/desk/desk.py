"""The life of a desk: recover, listen, seed, serve, and end without losing anything."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import structlog
import uvloop
from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.bus.clock import Clock, SystemClock
from polaris_synapse.bus.journal import JournalError
from polaris_synapse.bus.journal_sqlite import SqliteJournal
from polaris_synapse.bus.recovery import HostFailedError, RecoveryReport
from polaris_synapse.desk.credentials import open_credentials
from polaris_synapse.desk.first_start import prepare_directory
from polaris_synapse.desk.heartbeat import HeartbeatWriter
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.operator import ensure_operator_key
from polaris_synapse.desk.place import DeskPlace, default_data_directory, remove_place, write_place
from polaris_synapse.desk.room_settings import compliance_settings
from polaris_synapse.desk.rooms import Rooms
from polaris_synapse.desk.seed import Seeder, account_commands, market_commands
from polaris_synapse.desk.settings import DeskSettings
from polaris_synapse.monitoring.alerts.alert import Alert, Severity
from polaris_synapse.monitoring.logging import configure_logging
from polaris_synapse.order_gateway.credentials import why_not_bind
from polaris_synapse.storage.database import DatabaseUnavailableError, DatabaseUrlError
from polaris_synapse.storage.migrate import SchemaVersionError
from polaris_synapse.web.server import serve

_log = structlog.get_logger(__name__)
_SUBSCRIBE_SECONDS_MAX = 10.0
_FIRST_BOOK_SECONDS_MAX = 10.0
_LAST_WORD_SECONDS_MAX = 5.0
_COLLECT_AFTER_OBJECTS = 2_000
_THREAD_TURN_SECONDS = 0.0005
#: Those who must listen before the cores say their first word.
_FIRST_LISTENERS = frozenset({"execution", "agents-proposals"})


class ReadyDesk(Struct, frozen=True):
    """What a person wants to know when the desk is ready. ``problem``: why it cannot take orders yet, or empty."""

    place: DeskPlace
    directory: Path
    feed_sentence: str
    recovery_sentence: str
    command_prefix: str
    problem: str = ""


def run_desk(settings: DeskSettings, *, ready: Callable[[ReadyDesk], None]) -> None:
    """Run a desk until SIGINT or SIGTERM. Raises ConfigurationError or OSError where it cannot start."""
    directory = (settings.data_directory or default_data_directory()).absolute()
    prepare_directory(directory)
    logs = settings.logging.directory or directory / "logs"
    try:
        configure_logging(
            level=settings.logging.level,
            file=logs / "polaris.log",
            terminal=False,
            service="desk",
            secret_values=secrets_of(settings),
        )
    except OSError as error:
        raise ConfigurationError(f"The log directory {logs} cannot be written: {error.strerror}.") from None
    try:
        anyio.run(_run, settings, directory, ready, backend_options={"loop_factory": uvloop.new_event_loop})
    except* (JournalError, HostFailedError) as group:
        problem = group.exceptions[0]
        text = str(problem)
        raise ConfigurationError(f"{text[:1].upper()}{text[1:]}.") from problem
    except* (DatabaseUnavailableError, DatabaseUrlError, SchemaVersionError) as group:
        raise ConfigurationError(f"The desk cannot use its SQL database: {_first(group)}.") from None
    except* ConfigurationError as group:
        raise ConfigurationError(str(_first(group))) from None
    except* OSError as group:
        raise _first(group) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def secrets_of(settings: DeskSettings) -> list[str]:
    """The settings' secrets, for the log to hide."""
    from pydantic import SecretStr

    values = (getattr(settings, name) for name in type(settings).model_fields)
    return [value.get_secret_value() for value in values if isinstance(value, SecretStr)]


async def _run(settings: DeskSettings, directory: Path, ready: Callable[[ReadyDesk], None]) -> None:
    journal = SqliteJournal(directory / "journal", snapshots_kept=settings.journal.snapshots_kept)
    clock = SystemClock(not_before_ns=journal.last_time_ns)
    rooms = Rooms(settings, directory, journal, clock)
    await rooms.storage.prepare()
    open_credentials(rooms.gateway)
    ensure_operator_key(directory, rooms.gateway.credentials, clock)
    if refusal := why_not_bind(settings.host, rooms.gateway.credentials):
        raise ConfigurationError(f"{refusal}.")
    heart = HeartbeatWriter(directory, clock)
    async with anyio.create_task_group() as beating:
        beating.start_soon(heart.run)
        try:
            await _live(settings, directory, rooms, clock, ready)
        except Exception:
            await _tell_the_end(rooms, Severity.CRITICAL, "The desk has stopped because of an error")
            raise
        await _tell_the_end(rooms, Severity.WARNING, "The desk was stopped on purpose")
        beating.cancel_scope.cancel()
    # Only here, where nothing has failed: a desk that died leaves its last beat behind for the watchdog.
    heart.end()


async def _live(
    settings: DeskSettings, directory: Path, rooms: Rooms, clock: Clock, ready: Callable[[ReadyDesk], None]
) -> None:
    async with anyio.create_task_group() as databases:
        databases.start_soon(rooms.storage.run)
        try:
            report = await rooms.host.recover()
            async with anyio.create_task_group() as services:
                services.start_soon(_until_signal, services.cancel_scope)
                services.start_soon(rooms.execution.run)
                services.start_soon(rooms.agents.service.run)
                await _wait_for_listeners(rooms)
                await rooms.host.open()
                services.start_soon(_watch_host, rooms)
                await _wait_for_venues(rooms)
                await _put_stops_in_force(rooms)
                seeder = Seeder(rooms.host, clock, directory)
                await seeder.send(market_commands(settings, compliance_settings(settings, directory).rules))
                sentence = await rooms.market_data.prepare()
                for run in (rooms.gateway.run, rooms.market_data.run, rooms.compliance.run, rooms.risk.run):
                    services.start_soon(run)
                services.start_soon(rooms.matching.run)
                services.start_soon(rooms.alerts.run, rooms.host)
                services.start_soon(rooms.agents.sources.run)
                await _wait_for_books(rooms)
                await seeder.send(account_commands(settings))
                seeder.remember()
                services.start_soon(_serve, rooms, settings, directory, sentence, report, ready)
        finally:
            remove_place(directory)
            with anyio.CancelScope(shield=True):
                await rooms.host.stop()


async def _serve(
    rooms: Rooms,
    settings: DeskSettings,
    directory: Path,
    sentence: str,
    report: RecoveryReport,
    ready: Callable[[ReadyDesk], None],
) -> None:
    def started(ports: dict[str, int]) -> None:
        if rooms.order_port is not None:
            ports = ports | {"order_port": rooms.order_port.port}
        place = DeskPlace(host=settings.host, ports=ports, process_id=os.getpid(), feed=sentence)
        write_place(directory, place)
        quieten_interpreter()
        _log.info("desk_ready", ports=ports, feed=sentence)
        rooms.alerts.tell(Alert(key="desk ready", severity=Severity.INFO, title="The desk is ready", body=sentence))
        ready(
            ReadyDesk(
                place=place,
                directory=directory,
                feed_sentence=sentence.removeprefix("Market data: "),
                recovery_sentence=_recovered(report),
                command_prefix="" if shutil.which("polaris") else ".venv/bin/",
                problem=rooms.market_data.not_ready() or "",
            )
        )

    async with anyio.create_task_group() as group:
        if rooms.order_port is not None:
            await group.start(rooms.order_port.run)
        await serve(list(rooms.listeners()), started=started)


def quieten_interpreter() -> None:
    """Keep the interpreter's own work off the order path."""
    # What lives now lives as long as the desk; collections need not look at it again.
    gc.collect()
    gc.freeze()
    # Messages hold no cycles, so a collection finds next to nothing, but it looks at each new object, and orders wait
    # meanwhile: 50,000 of them take 30 ms. So the first two generations are small, and all is looked at very seldom.
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, 5, 5_000)
    # Threads write SQL and files. Where the event loop comes back from a commit, it waits no longer than this for them.
    sys.setswitchinterval(_THREAD_TURN_SECONDS)


def _recovered(report: RecoveryReport) -> str:
    if not report.last_offset:
        return "new"
    text = f"{report.last_offset} messages, {report.replayed_messages} replayed in {report.seconds:.2f} s"
    if report.torn_tail is not None:
        text += f", a torn tail of {report.torn_tail.messages} messages cut"
    return text


async def _put_stops_in_force(rooms: Rooms) -> None:
    """Stops that the last process could not journal come before anybody can order."""
    stops = rooms.stop_file.recall()
    for command in stops:
        _log.warning("emergency_stop_recalled", command=type(command).__name__, actor=command.actor)
        await rooms.host.request(replace(command, request_id=""))
    if stops:
        rooms.stop_file.remember(())
    rooms.stop_file.set_aside()


async def _wait_for_listeners(rooms: Rooms) -> None:
    with anyio.fail_after(_SUBSCRIBE_SECONDS_MAX):
        while not rooms.host.subscribers >= _FIRST_LISTENERS:  # noqa: ASYNC110  # the host has no event for it
            await anyio.sleep(0.005)


async def _wait_for_venues(rooms: Rooms) -> None:
    """Until the core knows its venues it would turn every order away."""
    ready = rooms.execution.readiness()["execution"]
    with anyio.fail_after(_SUBSCRIBE_SECONDS_MAX):
        while ready() is not None:  # noqa: ASYNC110  # nor has this room
            await anyio.sleep(0.005)


async def _wait_for_books(rooms: Rooms) -> None:
    """A desk that says it is ready can be traded on; where the feed takes long it says so through /ready instead."""
    with anyio.move_on_after(_FIRST_BOOK_SECONDS_MAX):
        while rooms.market_data.not_ready() is not None:  # noqa: ASYNC110  # nor has the room
            await anyio.sleep(0.01)


async def _watch_host(rooms: Rooms) -> None:
    """A host that failed takes the desk down: starting again is the recovery."""
    await rooms.host.wait_stopped()


async def _tell_the_end(rooms: Rooms, severity: Severity, title: str) -> None:
    """Nobody else of this process can say it any more. A desk that is killed cannot either: `polaris watchdog` does."""
    body = f"Open orders stay at their venues; {rooms.host.last_offset} messages are kept. Start again with: polaris up"
    alert = Alert(key="desk stopped", severity=severity, title=title, body=body)
    with anyio.move_on_after(_LAST_WORD_SECONDS_MAX, shield=True):
        for problem in await rooms.alerts.tell_now(alert):
            _log.error("alert_not_sent", problem=problem)


async def _until_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            _log.info("desk_stopping", signal=signal.Signals(number).name)
            scope.cancel()
            return
