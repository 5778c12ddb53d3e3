"""A desk that notes when each order passes each of its parts, and what else its event loop did meanwhile.

    python -m polaris_synapse.testing.traced_desk FILE up ...

The rest of the command line is that of `polaris`. What was noted is in FILE once the desk has ended. The notes cost
processor time, so the figures of such a desk say where time goes, not how fast a desk is.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import runpy
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from msgspec import Struct

from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.intake import Batch, Intake
from polaris_synapse.domain.messages import Message, SubmitOrder
from polaris_synapse.order_gateway.order_port import Connection
from polaris_synapse.web.protocols import HttpProtocol
from polaris_synapse.web.websockets import WebSocketProtocol

#: Work that is shorter explains no slow order.
_NOTED_SECONDS_MIN: Final = 0.0002


class OrderNote(Struct, array_like=True, gc=False):
    """One order, by moments of ``time.perf_counter``: its bytes were read, it was put before the journal.

    ``turn`` is the place of its batch among the desk's turns, -1 where there was none.
    """

    read: float
    queued: float
    turn: int = -1


class TurnNote(Struct, array_like=True, gc=False):
    """One batch: taken, committed, done (everything applied and every answer handed out); messages; processor time."""

    taken: float
    committed: float = 0.0
    done: float = 0.0
    messages: int = 0
    commit_used: float = 0.0
    rest_used: float = 0.0


class WorkNote(Struct, array_like=True, gc=False):
    """A piece of work of the event loop."""

    name: str
    began: float
    ended: float
    used: float


class DeskNotes(Struct):
    """Orders by their client's id."""

    orders: dict[str, OrderNote]
    turns: list[TurnNote]
    work: list[WorkNote]


class _Notes:
    """Where the wrapped parts of the desk put what they saw."""

    def __init__(self) -> None:
        self.orders: dict[str, OrderNote] = {}
        self.turns: list[TurnNote] = []
        self.work: list[WorkNote] = []
        self.read = 0.0
        self._collecting = (0.0, 0.0)

    def worked(self, name: str, began: float, used_before: float) -> None:
        """A piece of work is done."""
        now = time.perf_counter()
        if now - began >= _NOTED_SECONDS_MIN:
            self.work.append(WorkNote(name, began, now, time.thread_time() - used_before))

    def collected(self, phase: str, info: dict[str, int]) -> None:
        """For gc.callbacks."""
        if phase == "start":
            self._collecting = (time.perf_counter(), time.thread_time())
        else:
            self.worked(f"garbage collection {info['generation']}", *self._collecting)


class _TimedCoroutine:
    """A task's coroutine whose steps are noted."""

    def __init__(self, coroutine: Any, notes: _Notes) -> None:
        self._coroutine = coroutine
        self._notes = notes

    def send(self, value: Any) -> Any:
        began, used = time.perf_counter(), time.thread_time()
        try:
            return self._coroutine.send(value)
        finally:
            # Only now, since a task gets its name after it was made.
            task = asyncio.current_task()
            self._notes.worked(task.get_name().removeprefix("polaris_synapse.") if task else "", began, used)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)


Coroutine.register(_TimedCoroutine)


def _take_notes(notes: _Notes) -> None:
    """Wrap the parts of the desk that an order passes."""
    new_loop = uvloop.new_event_loop

    def noting_loop() -> asyncio.AbstractEventLoop:
        loop = new_loop()
        loop.set_task_factory(
            lambda loop, coroutine, **named: asyncio.Task(_TimedCoroutine(coroutine, notes), loop=loop, **named)
        )
        return loop

    _put(uvloop, new_event_loop=noting_loop)
    gc.callbacks.append(notes.collected)
    for protocol in (WebSocketProtocol, HttpProtocol, Connection):
        _note_reading(protocol, notes)

    add, take, committed, turn = Intake.add, Intake.take, Intake.committed, EmbeddedHost._turn

    def noting_add(self: Intake, message: Message) -> None:
        if type(message) is SubmitOrder:
            notes.orders[message.order.client_order_id] = OrderNote(notes.read, time.perf_counter())
        add(self, message)

    used = 0.0

    def noting_take(self: Intake) -> Batch:
        nonlocal used
        used = time.thread_time()
        taken = time.perf_counter()
        batch = take(self)
        for message in batch.messages:
            if type(message) is SubmitOrder:
                notes.orders[message.order.client_order_id].turn = len(notes.turns)
        notes.turns.append(TurnNote(taken, messages=len(batch.messages)))
        return batch

    def noting_committed(self: Intake, now: float) -> None:
        nonlocal used
        note = notes.turns[-1]
        note.committed = now
        before, used = used, time.thread_time()
        note.commit_used = used - before
        committed(self, now)

    def noting_turn(self: EmbeddedHost) -> None:
        turn(self)
        notes.turns[-1].done = time.perf_counter()
        notes.turns[-1].rest_used = time.thread_time() - used

    _put(Intake, add=noting_add, take=noting_take, committed=noting_committed)
    _put(EmbeddedHost, _turn=noting_turn)


def _note_reading(protocol: Any, notes: _Notes) -> None:
    received: Callable[[Any, bytes], None] = protocol.data_received

    def noting_received(self: Any, data: bytes) -> None:
        began, used = time.perf_counter(), time.thread_time()
        notes.read = began
        received(self, data)
        notes.worked("requests", began, used)

    _put(protocol, data_received=noting_received)


def _put(owner: Any, **wrapped: Callable[..., Any]) -> None:
    for name, function in wrapped.items():
        setattr(owner, name, function)


def main() -> None:
    """Run the desk."""
    path, notes = Path(sys.argv.pop(1)), _Notes()
    _take_notes(notes)
    atexit.register(lambda: path.write_bytes(msgspec.msgpack.encode(DeskNotes(notes.orders, notes.turns, notes.work))))
    runpy.run_module("polaris_synapse.cli.main", run_name="__main__")


if __name__ == "__main__":
    main()
