"""The process that writes one SQLite file of read models for a desk.

    python -m polaris_synapse.storage.writer_child DESCRIPTOR FILE SYNCHRONOUS

It is started by ``storage.writer_process`` and speaks with it over an inherited socket: frames of JSON with their
length in front. It says ``WriterReady``; then each ``WriteHead``, followed by its pieces of facts, is answered with
``Written``. It ends when the socket does, which is also how it notices that the desk was killed: the transaction under
way is committed or not, and the next desk finds in the file how far it has come. A lock beside the file keeps the next
one's writer waiting until then.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import time
from contextlib import closing
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.engine import Engine

from polaris_synapse.domain.messages import AnyMessage
from polaris_synapse.storage.database import sqlite_engine
from polaris_synapse.storage.fact_writing import FactWrite, apply_write

#: Bytes of a frame that say how long it is.
HEAD_BYTES: Final = 4
#: How long the writer of a desk that was killed may still be at its last transaction.
_LOCK_SECONDS_MAX: Final = 20.0
_LOCK_POLL_SECONDS: Final = 0.01


class SentFact(Struct, frozen=True, array_like=True, gc=False):
    """A fact and its place in the journal."""

    offset: int
    index: int
    message: AnyMessage


class WriteHead(Struct, frozen=True):
    """What is to be written; ``pieces`` frames with the facts follow."""

    write: FactWrite
    pieces: int


class WriterReady(Struct, frozen=True):
    """The writer has the file, unless there is a ``problem``."""

    problem: str = ""


class Written(Struct, frozen=True):
    """What came of a transaction. ``problem``: the database refused it, it may be tried again. ``bug``: it may not."""

    problem: str = ""
    bug: str = ""


_HEADS: Final = msgspec.json.Decoder(WriteHead)
#: JSON and not MessagePack, since amounts may pass 64 bits.
_FACTS: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(list[SentFact])
_ENCODER: Final = msgspec.json.Encoder()


class _DeskGoneError(Exception):
    """The other end of the socket was closed."""


def main(arguments: list[str]) -> None:
    """Serve until the socket ends."""
    descriptor, path, synchronous = arguments
    # Ctrl-C in a terminal reaches every process of it. What ends this one is the desk, after its last facts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with closing(socket.socket(fileno=int(descriptor))) as desk:
        try:
            problem = _lock(path)
            _send(desk, WriterReady(problem))
            if not problem:
                _serve(desk, sqlite_engine(path, synchronous=synchronous, connections_max=1))
        except (_DeskGoneError, ConnectionError):
            return


def _lock(path: str) -> str:
    """Take the file for this process until it ends; what is in the way, where that cannot be done."""
    descriptor = os.open(f"{path}-writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + _LOCK_SECONDS_MAX
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return f"another process still writes {path}; end it, then start the desk again"
            time.sleep(_LOCK_POLL_SECONDS)
        else:
            return ""


def _serve(desk: socket.socket, engine: Engine) -> None:
    while True:
        head = _HEADS.decode(_receive(desk))
        facts: list[SentFact] = []
        for _ in range(head.pieces):
            facts += _FACTS.decode(_receive(desk))
        _send(desk, _written(engine, head.write, facts))


def _written(engine: Engine, write: FactWrite, facts: list[SentFact]) -> Written:
    try:
        with engine.begin() as connection:
            apply_write(connection, write, facts)
    except sa.exc.OperationalError as error:
        return Written(problem=str(error.orig))
    except Exception as error:  # the desk has the log, and stops
        return Written(bug=f"{type(error).__name__}: {error}")
    return Written()


def _send(desk: socket.socket, body: Struct) -> None:
    payload = _ENCODER.encode(body)
    desk.sendall(len(payload).to_bytes(HEAD_BYTES, "big") + payload)


def _receive(desk: socket.socket) -> bytearray:
    return _exactly(desk, int.from_bytes(_exactly(desk, HEAD_BYTES), "big"))


def _exactly(desk: socket.socket, size: int) -> bytearray:
    """So many bytes. Raises _DeskGoneError where they never come."""
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        got = desk.recv_into(view[done:])
        if not got:
            raise _DeskGoneError
        done += got
    return data


if __name__ == "__main__":
    main(sys.argv[1:])
