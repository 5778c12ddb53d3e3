"""A network on loopback that can fail: TCP relays between one service and the brokers, which stop passing bytes on.

What was sent into a cut is not lost: as with TCP over a real cable it is sent again when the cable is back, late. That
is the dangerous half of a partition, since by then somebody else does the sender's work.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self

_CHUNK_BYTES: Final = 65_536
_CALL_SECONDS_MAX: Final = 10.0
#: An RST instead of a FIN, as a router sends that has forgotten the connection.
_LINGER_NONE: Final = struct.pack("ii", 1, 0)


class Cut(StrEnum):
    """What does not pass. Seen from the service: DEAF hears nothing, while what it says still arrives."""

    NOTHING = "nothing"
    BLACKHOLE = "blackhole"
    DEAF = "deaf"
    RESET = "reset"


#: For each cut whether bytes pass from the service to the brokers, and from the brokers to the service.
_PASSES: Final[dict[Cut, tuple[bool, bool]]] = {
    Cut.NOTHING: (True, True),
    Cut.BLACKHOLE: (False, False),
    Cut.DEAF: (True, False),
    Cut.RESET: (False, False),
}


class NetworkLink:
    """Relays from ports of this machine to others, in a thread of their own.

    ``routes``: the port that is reached behind each port. Established connections and new ones suffer alike.
    """

    def __init__(self, routes: Mapping[int, int]) -> None:
        self._routes = dict(routes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network link", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._connections: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cut = Cut.NOTHING
        self._forth = asyncio.Event()
        self._back = asyncio.Event()

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._call(self._listen())
        self.cut(Cut.NOTHING)

    def cut(self, cut: Cut) -> None:
        """From now on this does not pass; NOTHING heals."""
        self._call(self._apply(cut))

    def stop(self) -> None:
        """Close everything."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_SECONDS_MAX)

    # --- in the thread ---

    async def _listen(self) -> None:
        for port, target in self._routes.items():
            self._servers.append(await asyncio.start_server(self._accepting(target), "127.0.0.1", port))

    async def _apply(self, cut: Cut) -> None:
        self._cut = cut
        for gate, passes in zip((self._forth, self._back), _PASSES[cut], strict=True):
            if passes:
                gate.set()
            else:
                gate.clear()
        if cut is Cut.RESET:
            for near, far in tuple(self._connections):
                _reset(near)
                _reset(far)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepting(self, target: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._relay(target, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accepted

    async def _relay(self, target: int, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        far: asyncio.StreamWriter | None = None
        try:
            if self._cut is Cut.RESET:
                _reset(near)
                return
            # A connection that is asked for during a cut waits, like a SYN that is sent again until it is heard.
            await self._forth.wait()
            # A broker that is not there is one that breaks the connection.
            with suppress(OSError):
                from_broker, far = await asyncio.open_connection("127.0.0.1", target)
                self._connections.add((near, far))
                pumps = [
                    asyncio.create_task(self._pump(reader, far, self._forth)),
                    asyncio.create_task(self._pump(from_broker, near, self._back)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            if far is not None:
                self._connections.discard((near, far))
                far.close()
            near.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        """Pass bytes on in one direction until one side ends or breaks the connection; the relay then closes both."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await gate.wait()
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    writer.transport.abort()
