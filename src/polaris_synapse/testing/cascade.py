"""Run cores together without a host: no journal, no event loop, the same order of work as on the desk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from polaris_synapse.bus.cascade import Cascade, Output, VolatileCores
from polaris_synapse.bus.core import NOTHING, Core, SnapshotError, encode_message, hash_state
from polaris_synapse.domain.messages import Message
from polaris_synapse.domain.topics import ROUTES, VOLATILE_INBOXES

_EVERYTHING: Final = frozenset(ROUTES)


class CoreRunner:
    """Cores that are fed again and again; see ``run_cores``."""

    def __init__(self, cores: Iterable[Core]) -> None:
        cores = tuple(cores)
        self._volatile = VolatileCores(core for core in cores if f"{core.name}.inbox" in VOLATILE_INBOXES)
        self._cascade = Cascade({core.name: core for core in cores if f"{core.name}.inbox" not in VOLATILE_INBOXES})

    def run(self, messages: Iterable[Message]) -> list[Message]:
        """Feed ``messages`` and return everything that the cores put out, in order."""
        found: list[Message] = []
        waiting: deque[Message] = deque()
        for message in messages:
            waiting.append(message)
            while waiting:
                outputs: list[Output] = []
                for_volatile: list[Message] = []
                self._cascade.run(waiting.popleft(), _EVERYTHING, outputs, for_volatile)
                for item in for_volatile:
                    derived: list[Message] = []
                    self._volatile.apply(item, outputs, derived)
                    waiting.extend(derived)
                found.extend(output for _, _, output in outputs)
        return found


def run_cores(cores: Iterable[Core], messages: Iterable[Message]) -> list[Message]:
    """Feed ``messages`` to the cores and return everything they put out, in order.

    Each message goes to the cores whose inboxes it is addressed to, then all that follows is worked off as on the
    desk: durable inboxes first, then the volatile ones (market data), whose marks and summaries become the next
    inputs. Messages for rooms that are not among ``cores`` are returned and otherwise left alone.
    """
    return CoreRunner(cores).run(messages)


class FunctionCore:
    """A core made from one function, for tests that need a room to answer in a certain way.

    Its state is the list of messages it has seen (``seen``), so two of them agree when they saw the same.
    """

    def __init__(self, name: str, function: Callable[[Message], Sequence[Message]] = lambda _: NOTHING) -> None:
        self.name = name
        self.seen: list[bytes] = []
        self._function = function

    def apply(self, message: Message, /) -> Sequence[Message]:
        """Remember the message and return what the function makes of it."""
        self.seen.append(encode_message(message))
        return self._function(message)

    def snapshot(self) -> bytes:
        """The messages seen, a line each."""
        return b"\n".join(self.seen)

    def restore(self, snapshot: bytes, /) -> None:
        """Take over the messages seen by another. Raises SnapshotError where a line is no message."""
        lines = snapshot.split(b"\n") if snapshot else []
        if not all(line.startswith(b"{") for line in lines):
            raise SnapshotError("a line of the snapshot is no message")
        self.seen = lines

    def state_hash(self) -> str:
        """A hash of the messages seen."""
        return hash_state(self.snapshot())
