"""Recordings of raw frames: gzip text, a line = receive time in ns, a space, the raw frame.

A file holds one symbol. A line whose frame is a REST depth snapshot has no stream name; it belongs to the symbol of
the stream frames around it. What the recorder writes, the replay feed reads.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

_STREAM: Final = re.compile(rb'\A\{\s*"stream"\s*:\s*"([a-z0-9]{1,40})@')
_LINE_BYTES_MAX: Final = 4 * 1024 * 1024
_SYMBOL_LINES_MAX: Final = 1000
_NAME: Final = re.compile(r"[A-Z0-9]{1,40}")


class RecordingError(ValueError):
    """A file that is no recording, or is cut or damaged; the message says where."""


class RecordedFrame(Struct, frozen=True, gc=False):
    """One line of a recording."""

    time_ns: int
    symbol: str
    frame: bytes

    @property
    def is_snapshot(self) -> bool:
        """Whether it is a REST snapshot and not a stream's frame."""
        return not self.frame.startswith(b'{"stream"')


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """``(line number, time, frame)``; a torn last line of a recorder that was killed ends the file quietly."""
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(_LINE_BYTES_MAX):
                number += 1
                time_text, space, frame = line.rstrip(b"\n").partition(b" ")
                if not space or not time_text.isdigit() or len(time_text) > 20 or len(line) == _LINE_BYTES_MAX:
                    raise RecordingError(f"{path.name}, line {number}: not a receive time, a space and a frame")
                yield number, int(time_text), frame
    except EOFError:
        # The recorder was killed: every whole line before the end was read, and that is what a recording is.
        return
    except OSError as error:
        raise RecordingError(f"{path.name}, after line {number}: {error}") from error


def symbol_of(path: Path) -> str:
    """The symbol of a recording, from its first stream frame. Raises RecordingError when there is none."""
    for number, _, frame in _lines(path):
        match = _STREAM.match(frame)
        if match:
            return match.group(1).decode().upper()
        if number >= _SYMBOL_LINES_MAX:
            break
    raise RecordingError(f"{path.name}: no stream frame in the first {_SYMBOL_LINES_MAX} lines")


def read_recording(path: Path) -> Iterator[RecordedFrame]:
    """The frames of a recording in their order. Raises RecordingError for what is none."""
    symbol = symbol_of(path)
    return (RecordedFrame(time_ns, symbol, frame) for _, time_ns, frame in _lines(path))


class Recorder:
    """Writes raw frames, a file a symbol and period, and deletes the oldest files beyond a bound.

    Files are named ``btcusdt_<start time in ns>.gz``. A file is closed when ``file_bytes_max`` of text have gone into
    it; ``files_max`` bounds how many a symbol keeps. Synchronous: a frame costs microseconds, since gzip buffers.
    """

    def __init__(self, folder: Path, *, file_bytes_max: int = 256 * 1024 * 1024, files_max: int = 24) -> None:
        if file_bytes_max < 1 or files_max < 1:
            raise ValueError("a recording needs room for at least one file and one byte")
        self._folder = folder
        self._file_bytes_max = file_bytes_max
        self._files_max = files_max
        self._open: dict[str, tuple[gzip.GzipFile, int]] = {}

    def write(self, symbol: str, time_ns: int, frame: bytes) -> None:
        """Append a frame. Raises OSError when the disk does not take it, ValueError for a name that is no symbol."""
        file, written = self._open.pop(symbol) if symbol in self._open else (self._start(symbol, time_ns), 0)
        line = b"%d %s\n" % (time_ns, frame.replace(b"\n", b" "))
        file.write(line)
        written += len(line)
        if written >= self._file_bytes_max:
            file.close()
        else:
            self._open[symbol] = (file, written)

    def files(self, symbol: str) -> list[Path]:
        """The files of a symbol, oldest first."""
        return sorted(self._folder.glob(f"{symbol.lower()}_*.gz"))

    def close(self) -> None:
        """Finish all files."""
        for file, _ in self._open.values():
            file.close()
        self._open.clear()

    def _start(self, symbol: str, time_ns: int) -> gzip.GzipFile:
        if not _NAME.fullmatch(symbol):
            raise ValueError(f"{symbol!r} cannot name a recording")
        self._folder.mkdir(parents=True, exist_ok=True)
        existing = self.files(symbol)
        for old in existing[: max(0, len(existing) - self._files_max + 1)]:
            old.unlink()
        return gzip.GzipFile(self._folder / f"{symbol.lower()}_{time_ns:020d}.gz", "wb", compresslevel=6)
