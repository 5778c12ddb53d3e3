"""Stops that were ordered while the journal could not be written: the first inputs once it can."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.messages import Answer, Command
from polaris_synapse.domain.reasons import Reason

HELD_COMMANDS_MAX: Final = 1_000


class HeldCommands:
    """Commands by request id, each until its answer shows that it is durable, in the order in which they came."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Command, Callable[[], None]]] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def hold(self, command: Command, done: Callable[[], None]) -> None:
        """Keep a command, which has a request id. ``done`` is called once it is durable. Raises BusError."""
        if len(self._held) >= HELD_COMMANDS_MAX:
            raise BusError(Reason.OVERLOADED, f"{HELD_COMMANDS_MAX} stops wait for the journal already")
        self._held[command.request_id] = (command, done)

    def commands(self) -> Iterable[Command]:
        """What is held; it stays held, since the journal may fail once more."""
        return [command for command, _ in self._held.values()]

    def answered(self, answer: Answer) -> None:
        """An answer is out, so its command is durable."""
        found = self._held.pop(answer.request_id, None)
        if found is not None:
            found[1]()
