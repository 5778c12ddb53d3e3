"""Commands that somebody waits for, and the answers that end the wait."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from typing import Final

from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.reasons import Reason

_SWEEPS_PER_TIMEOUT: Final = 8

#: Called once, with the answer or with why there is none.
Done = Callable[[Answer | BusError], None]
#: When a wait ends unanswered, in the event loop's time, and who is told.
_Waiting = tuple[float, Done]


class WaitingRequests:
    """Who waits, by request id. Two that share an id are answered in the order in which they were asked."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        #: Who has waited longest for each id; ``_behind`` are those behind, of the few ids that several wait for.
        self._waiting: dict[str, _Waiting] = {}
        self._behind: dict[str, deque[_Waiting]] = {}
        self._sweep: asyncio.TimerHandle | None = None
        # A random start and a count are as unique as random ids, at a tenth of the price.
        self._id_prefix = secrets.token_hex(8)
        self._ids = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def new_id(self) -> str:
        """An id that no other request has, in this process or another."""
        self._ids += 1
        return f"{self._id_prefix}{self._ids:08x}"

    def wait_for(self, request_id: str) -> asyncio.Future[Answer]:
        """A future for the answer; it fails with TIMED_OUT when none comes in time."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def settle(result: Answer | BusError) -> None:
            if future.done():
                return
            if isinstance(result, BusError):
                future.set_exception(result)
            else:
                future.set_result(result)

        self.call_when_done(request_id, settle)
        return future

    def call_when_done(self, request_id: str, done: Done) -> None:
        """Have ``done`` called with the answer; with TIMED_OUT when none comes in time. It must not raise."""
        loop = asyncio.get_running_loop()
        waiting = (loop.time() + self._timeout_seconds, done)
        if self._waiting.setdefault(request_id, waiting) is not waiting:
            self._behind.setdefault(request_id, deque()).append(waiting)
        if self._sweep is None:
            self._sweep = loop.call_later(self._timeout_seconds / _SWEEPS_PER_TIMEOUT, self._sweep_expired)

    def answer(self, answer: Answer) -> None:
        """End the wait of the oldest request with the answer's id."""
        request_id = answer.request_id
        found = self._waiting.get(request_id)
        if found is None:
            return
        behind = self._behind.get(request_id) if self._behind else None
        if behind is None:
            del self._waiting[request_id]
        else:
            self._waiting[request_id] = behind.popleft()
            if not behind:
                del self._behind[request_id]
        found[1](answer)

    def refuse(self, request_id: str, reason: Reason, message: str) -> None:
        """End every wait for an id with a BusError."""
        found = self._waiting.pop(request_id, None)
        if found is None:
            return
        for _, done in (found, *self._behind.pop(request_id, ())):
            done(BusError(reason, message))

    def refuse_all(self, reason: Reason, message: str) -> None:
        """End all waits with a BusError."""
        for request_id in list(self._waiting):
            self.refuse(request_id, reason, message)
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def _sweep_expired(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        expired = []
        # In the order of asking, so the first one that still has time ends the search.
        for request_id, (deadline, _) in self._waiting.items():
            if deadline > now:
                break
            expired.append(request_id)
        for request_id in expired:
            self.refuse(
                request_id,
                Reason.TIMED_OUT,
                f"no answer within {self._timeout_seconds:g} s; the command may still take effect",
            )
        interval = self._timeout_seconds / _SWEEPS_PER_TIMEOUT
        self._sweep = loop.call_later(interval, self._sweep_expired) if self._waiting else None
