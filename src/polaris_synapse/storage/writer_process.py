"""A FactWriter in a process of its own, so that SQL is written on another core than the one that takes orders.

Rows, statements and the checks of a SQLite transaction cost more than the facts' way through a socket, and in the
desk's own process a thread that does them takes turns with the event loop under the interpreter's lock. PostgreSQL
needs none of this: its server is a process already.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import anyio
import msgspec
import structlog

from polaris_synapse.storage.database import DatabaseUnavailableError
from polaris_synapse.storage.fact_writing import FactWrite
from polaris_synapse.storage.projections import PlacedFact
from polaris_synapse.storage.writer_child import HEAD_BYTES, WriteHead, WriterReady, Written

T = TypeVar("T")

#: Facts in one frame: encoding them keeps the event loop for about a millisecond.
_PIECE_FACTS: Final = 500
#: Longer than the writer itself waits for the lock on its file.
_START_SECONDS_MAX: Final = 60.0
#: A last transaction is over by then.
_END_SECONDS_MAX: Final = 20.0
_ENCODER: Final = msgspec.json.Encoder()
_READY: Final = msgspec.json.Decoder(WriterReady)
_WRITTEN: Final = msgspec.json.Decoder(Written)
_log = structlog.get_logger("polaris_synapse.storage")


class WriterProcess:
    """Writes facts into one SQLite file through a process that it starts, and starts again where that has died.

    Any number of projectors may share it; their transactions come one after the other.
    """

    def __init__(self, path: str, *, synchronous: str = "NORMAL") -> None:
        self._path = path
        self._synchronous = synchronous
        self._process: subprocess.Popen[bytes] | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    @property
    def process_id(self) -> int | None:
        """The operating system's id of the process, None while there is none."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it has the file. Raises DatabaseUnavailableError."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "polaris_synapse.storage.writer_child"]
        try:
            with theirs:
                self._process = await anyio.to_thread.run_sync(
                    lambda: subprocess.Popen(  # noqa: S603  # our own module, no shell
                        [*command, str(theirs.fileno()), self._path, self._synchronous],
                        pass_fds=(theirs.fileno(),),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                    )
                )
        except OSError as error:
            ours.close()
            raise DatabaseUnavailableError(f"the writer of {self._path} cannot be started: {error}") from error
        self._streams = await asyncio.open_unix_connection(sock=ours)
        try:
            with anyio.fail_after(_START_SECONDS_MAX):
                ready = await self._answer(_READY)
        except TimeoutError:
            await self._end()
            raise DatabaseUnavailableError(f"the writer of {self._path} does not answer") from None
        if ready.problem:
            await self._end()
            raise DatabaseUnavailableError(ready.problem)

    async def write(self, write: FactWrite, facts: Sequence[PlacedFact], /) -> None:
        """See FactWriter. Raises RuntimeError for a bug in what facts become."""
        async with self._turn:
            if self._streams is None:
                await self.start()
            written = await self._exchange(write, facts)
        if written.bug:
            raise RuntimeError(f"the {write.projector} facts could not be written: {written.bug}")
        if written.problem:
            raise DatabaseUnavailableError(written.problem)

    async def _exchange(self, write: FactWrite, facts: Sequence[PlacedFact]) -> Written:
        assert self._streams is not None, "started by write"
        _, out = self._streams
        starts = range(0, len(facts), _PIECE_FACTS)
        try:
            out.write(_framed(WriteHead(write, len(starts))))
            for start in starts:
                piece = facts[start : start + _PIECE_FACTS]
                out.write(_framed([(fact.offset, fact.index, fact.message) for fact in piece]))
                # Orders go first.
                await asyncio.sleep(0)
                await out.drain()
            return await self._answer(_WRITTEN)
        except (DatabaseUnavailableError, OSError) as error:
            await self._end()
            raise DatabaseUnavailableError(str(error)) from error
        except BaseException:
            # Half a write is under way, and nobody will read its answer.
            with anyio.CancelScope(shield=True):
                await self._end()
            raise

    async def _answer(self, decoder: msgspec.json.Decoder[T]) -> T:
        assert self._streams is not None, "started by write"
        reader, _ = self._streams
        try:
            size = int.from_bytes(await reader.readexactly(HEAD_BYTES), "big")
            return decoder.decode(await reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            await self._end()
            raise DatabaseUnavailableError(f"the process that writes {self._path} has ended") from None

    async def close(self) -> None:
        """See FactWriter."""
        async with self._turn:
            await self._end()

    async def _end(self) -> None:
        """Close the socket, which ends the process after its transaction, and see it off."""
        streams, self._streams = self._streams, None
        process, self._process = self._process, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError):  # the other end had gone before
                await streams[1].wait_closed()
        if process is None:
            return
        try:
            await anyio.to_thread.run_sync(process.wait, _END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            _log.error("writer_process_stuck", path=self._path, process=process.pid)
            process.kill()
            await anyio.to_thread.run_sync(process.wait)


def _framed(body: Any) -> bytes:
    payload = _ENCODER.encode(body)
    return len(payload).to_bytes(HEAD_BYTES, "big") + payload
