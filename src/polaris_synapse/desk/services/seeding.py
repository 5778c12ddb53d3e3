"""Puts the settings' instruments, accounts and agent into the desk, once, from one of all the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import anyio
import structlog

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.desk.room_settings import compliance_settings
from polaris_synapse.desk.seed import Seeder, account_commands, market_commands
from polaris_synapse.desk.services.base import ServiceParts
from polaris_synapse.domain.messages import Answer, Command, Message
from polaris_synapse.domain.reasons import Reason

_PAUSE_SECONDS: Final = 0.2
_SECONDS_MAX: Final = 120.0
#: Refusals that pass: what the command names is still on its way from another service.
_PASSING: Final = frozenset({Reason.ACCOUNT_NOT_FOUND, Reason.SYMBOL_NOT_FOUND})
_log = structlog.get_logger(__name__)


class PatientBus:
    """A Bus whose requests are made again while services start and what they name is on its way."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def request(self, command: Command, /) -> Answer:
        """See Bus.request. Commands of the settings may be repeated: each has its effect once."""
        last: Answer | BusError | None = None
        with anyio.move_on_after(_SECONDS_MAX):
            while True:
                try:
                    last = await self._bus.request(command)
                except BusError as error:
                    last = error
                else:
                    if last.reason not in _PASSING:
                        return last
                await self._clock.sleep(_PAUSE_SECONDS)
        if isinstance(last, Answer):
            return last
        raise last or BusError(Reason.TIMED_OUT, "no service answered the settings")

    def request_soon(self, command: Command, done: Callable[[Answer | BusError], None], /) -> None:
        """See Bus."""
        self._bus.request_soon(command, done)

    async def send(self, messages: Iterable[Message], /) -> int:
        """See Bus."""
        return await self._bus.send(messages)

    def post(self, message: Message, /) -> None:
        """See Bus."""
        self._bus.post(message)

    def subscribe(
        self, topics: Iterable[str], /, *, name: str, backlog_messages_max: int, droppable: bool
    ) -> AbstractAsyncContextManager[Any]:
        """See Bus."""
        return self._bus.subscribe(topics, name=name, backlog_messages_max=backlog_messages_max, droppable=droppable)


class ClusterSeeder:
    """A leader's work: send what the settings ask for and has not been sent, then do nothing."""

    def __init__(self, parts: ServiceParts) -> None:
        self._parts = parts
        self.done = False

    async def run(self) -> None:
        """Send it. Raises ConfigurationError where the desk refuses a setting."""
        parts = self._parts
        rules = compliance_settings(parts.settings, parts.directory).rules
        seeder = Seeder(PatientBus(parts.bus, parts.clock), parts.clock, parts.directory)
        await seeder.send(market_commands(parts.settings, rules))
        await seeder.send(account_commands(parts.settings))
        seeder.remember()
        self.done = True
        _log.info("settings_in_force")
        await anyio.sleep_forever()
