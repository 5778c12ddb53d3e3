"""The replay feed: recorded frames, read by the same parser as the live stream, as if they came now."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import anyio.lowlevel
import anyio.to_thread
from msgspec.structs import replace

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    BookSnapshotReceived,
    BookTickerReceived,
    DepthReceived,
    FeedStatusChanged,
    Message,
    TradeReceived,
)
from polaris_synapse.market_data.feeds.frames import FrameError, FrameParser
from polaris_synapse.market_data.feeds.pacing import Pacer
from polaris_synapse.market_data.feeds.port import FeedCounts, Sink
from polaris_synapse.market_data.recording import RecordedFrame, RecordingError, read_recording, symbol_of

NAME: Final = "replay"

#: After so many frames without a wait the event loop gets a turn.
_FRAMES_BETWEEN_TURNS: Final = 100


class _IdShift:
    """Keeps a symbol's ids growing when the recording starts over, so that nothing looks like a repetition."""

    def __init__(self) -> None:
        self.offset = 0
        self.first = -1
        self.last = -1

    def __call__(self, recorded_id: int) -> int:
        if self.first < 0:
            self.first = recorded_id
        self.first = min(self.first, recorded_id)
        self.last = max(self.last, recorded_id)
        return recorded_id + self.offset

    def start_over(self) -> None:
        """The next id of the recording is its first again."""
        if self.first >= 0:
            self.offset += self.last - self.first + 1


class ReplayFeed:
    """Plays recordings, merged by their receive times, onto the desk's clock.

    ``speed``: 1 is real time, 10 ten times as fast, 0 as fast as possible. All times of a message (received, traded,
    event) are mapped alike, so candles and staleness mean on the desk what they meant in the market, sped up. At full
    speed everything happens now. With ``loop`` the recording starts over when it ends, with ids that go on growing.
    Raises RecordingError from ``run`` where a file is damaged. ValueError for a symbol without an instrument.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        instruments: Iterable[Instrument],
        clock: Clock,
        *,
        speed: float = 1.0,
        loop: bool = False,
    ) -> None:
        if not paths:
            raise ValueError("a replay needs at least one recording")
        self._paths = tuple(paths)
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._clock = clock
        self._speed = Fraction(speed).limit_denominator(1000)
        if speed < 0 or (speed > 0 and not self._speed):
            raise ValueError(f"a replay cannot run at speed {speed}")
        self._loop = loop
        self._counts = FeedCounts()
        self._parser = FrameParser(self._instruments.values(), source=NAME)
        self._trade_ids: dict[str, _IdShift] = {}
        self._update_ids: dict[str, _IdShift] = {}

    @property
    def name(self) -> str:
        """``replay``."""
        return NAME

    @property
    def counts(self) -> FeedCounts:
        """What was played; ``progress`` is the share of the recording, 0 to 1."""
        return self._counts

    async def run(self, sink: Sink) -> None:
        """Play to the end, or for ever with ``loop``."""
        symbols = [await anyio.to_thread.run_sync(symbol_of, path) for path in self._paths]
        for symbol in symbols:
            if symbol not in self._instruments:
                raise ValueError(f"there is no instrument for the recorded symbol {symbol}")
            self._trade_ids.setdefault(symbol, _IdShift())
            self._update_ids.setdefault(symbol, _IdShift())
        first_ns, last_ns = await anyio.to_thread.run_sync(self._time_range)
        while True:
            self._say_status(sink, symbols, connected=True, detail="replaying a recording")
            await self._play(sink, first_ns, last_ns)
            detail = "the recording starts over" if self._loop else "the recording has ended"
            self._say_status(sink, symbols, connected=False, detail=detail)
            if not self._loop:
                return
            self._counts.reconnects += 1
            for shift in (*self._trade_ids.values(), *self._update_ids.values()):
                shift.start_over()
            await anyio.lowlevel.checkpoint()

    async def resync(self, symbol: str) -> None:
        """A recording cannot be asked again: the book waits for the recording's next snapshot, or for its restart."""
        self._counts.snapshots_requested += 1
        self._counts.snapshots_failed += 1

    def _frames(self) -> Iterator[RecordedFrame]:
        return heapq.merge(*(read_recording(path) for path in self._paths), key=lambda frame: frame.time_ns)

    def _time_range(self) -> tuple[int, int]:
        first_ns = last_ns = 0
        for frame in self._frames():
            first_ns = first_ns or frame.time_ns
            last_ns = frame.time_ns
        if not first_ns:
            raise RecordingError("the recording is empty")
        return first_ns, last_ns

    async def _play(self, sink: Sink, first_ns: int, last_ns: int) -> None:
        pacer = Pacer(self._clock, first_ns, speed=self._speed)
        span_ns = max(last_ns - first_ns, 1)
        for number, frame in enumerate(self._frames()):
            time_ns = await pacer.wait(frame.time_ns)
            message = self._read(frame, time_ns)
            if message is not None:
                sink(self._onto_the_desk(message, pacer))
            if number % _FRAMES_BETWEEN_TURNS == 0:
                self._counts.progress = (frame.time_ns - first_ns) / span_ns
                await anyio.lowlevel.checkpoint()
        self._counts.progress = 1.0

    def _read(self, frame: RecordedFrame, time_ns: int) -> Message | None:
        try:
            if frame.is_snapshot:
                message: Message = self._parser.snapshot(frame.frame, frame.symbol, time_ns)
            else:
                message = self._parser.stream_frame(frame.frame, time_ns)
        except FrameError as error:
            self._counts.malformed += 1
            self._counts.malformed_detail = str(error)[:200]
            return None
        self._counts.frames[type(message).__name__] += 1
        return message

    def _onto_the_desk(self, message: Message, pacer: Pacer) -> Message:
        """The message with its other times on the desk's clock and its ids past those of earlier rounds."""
        if isinstance(message, TradeReceived):
            return replace(
                message,
                trade_id=self._trade_ids[message.symbol](message.trade_id),
                trade_time_ns=pacer.desk_time(message.trade_time_ns),
            )
        if isinstance(message, DepthReceived):
            update_id = self._update_ids[message.symbol]
            return replace(
                message,
                first_update_id=update_id(message.first_update_id),
                last_update_id=update_id(message.last_update_id),
                event_time_ns=pacer.desk_time(message.event_time_ns),
            )
        if isinstance(message, BookTickerReceived):
            return replace(message, update_id=self._update_ids[message.symbol](message.update_id))
        if isinstance(message, BookSnapshotReceived):
            return replace(message, last_update_id=self._update_ids[message.symbol](message.last_update_id))
        return message

    def _say_status(self, sink: Sink, symbols: Iterable[str], *, connected: bool, detail: str) -> None:
        for symbol in dict.fromkeys(symbols):
            sink(
                FeedStatusChanged(
                    time_ns=self._clock.now_ns(), symbol=symbol, source=NAME, connected=connected, detail=detail
                )
            )
