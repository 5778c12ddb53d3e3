"""The live feed: Binance's public combined stream, and REST for snapshots and for trades missed while it was down."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final

import anyio
import httpx2
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import BookSnapshotReceived, FeedStatusChanged, Message, TradeReceived
from polaris_synapse.market_data.feeds.binance_rest import BinanceRest, RestError
from polaris_synapse.market_data.feeds.binance_settings import BinanceFeedSettings
from polaris_synapse.market_data.feeds.frames import FrameError, FrameParser
from polaris_synapse.market_data.feeds.port import FeedCounts, Sink
from polaris_synapse.market_data.feeds.trade_gate import MissedTrades, TradeGate
from polaris_synapse.market_data.recording import Recorder

NAME: Final = "binance"
STREAMS: Final = ("depth@100ms", "trade", "bookTicker")

_log = structlog.get_logger("polaris.market_data.binance")

_SECOND_NS: Final = 1_000_000_000
#: How often the watchdog looks, as a share of the silence it looks for.
_LOOKS_A_SILENCE: Final = 4
#: Binance announces a restart of its stream servers with this event.
_SHUTDOWN_EVENT: Final = b'"serverShutdown"'


class _Work:
    """What the REST worker has to do, each thing at most once: snapshots before trades."""

    def __init__(self) -> None:
        self.snapshots: dict[str, None] = {}
        self.missed: dict[str, MissedTrades] = {}
        self._wake = anyio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def wait(self) -> None:
        await self._wake.wait()
        self._wake = anyio.Event()


class BinanceFeed:
    """Keeps one combined stream open for all instruments, whatever happens to it.

    The stream is opened first and the snapshots are asked for after it, so that no update falls between them. A lost,
    silent or ageing connection is replaced, with exponential backoff and jitter while that fails. ``resync`` replaces
    one symbol's book and disturbs no other. Trades missed meanwhile are fetched by id (``historicalTrades``, else the
    latest 1000 of ``trades``). ``recorder`` gets every good frame as it came.
    """

    def __init__(
        self,
        instruments: Iterable[Instrument],
        clock: Clock,
        *,
        settings: BinanceFeedSettings | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        if not 1 <= len(self._instruments) * len(STREAMS) <= 1024:
            raise ValueError("a Binance connection carries 1 to 341 instruments")
        self._clock = clock
        self._settings = settings or BinanceFeedSettings()
        self._recorder = recorder
        self._parser = FrameParser(self._instruments.values(), source=NAME)
        self._counts = FeedCounts()
        self._work = _Work()
        self._gates: dict[str, TradeGate] = {}
        self._last_frame_ns = 0
        self._connected = False
        self._snapshot_at_ns: dict[str, int] = {}

    @property
    def name(self) -> str:
        """``binance``."""
        return NAME

    @property
    def counts(self) -> FeedCounts:
        """What it has done so far."""
        return self._counts

    @property
    def quantities_off_lot(self) -> int:
        """Quantities of the venue that were no whole lots and were rounded down."""
        return self._parser.quantities_off_lot

    async def resync(self, symbol: str) -> None:
        """Ask for a snapshot of ``symbol``."""
        if symbol in self._instruments:
            self._work.snapshots[symbol] = None
            self._work.wake()

    async def run(self, sink: Sink) -> None:
        """Deliver until cancelled."""
        settings = self._settings
        self._gates = {
            symbol: TradeGate(symbol, sink, held_max=settings.held_trades_max) for symbol in self._instruments
        }
        try:
            async with (
                httpx2.AsyncClient(base_url=settings.rest_url, timeout=settings.request_seconds_max) as client,
                anyio.create_task_group() as tasks,
            ):
                rest = BinanceRest(client, self._clock, settings)
                tasks.start_soon(self._stream_for_ever, sink)
                tasks.start_soon(self._work_off, rest, sink)
                tasks.start_soon(self._watch_clock, rest)
                tasks.start_soon(self._check_instruments, rest)
        finally:
            if self._recorder is not None:
                self._recorder.close()

    async def _stream_for_ever(self, sink: Sink) -> None:
        settings = self._settings
        delay = settings.reconnect_seconds_min
        while True:
            reason = await self._stream_once(sink)
            if self._connected:
                self._connected = False
                delay = settings.reconnect_seconds_min
                self._say_status(sink, connected=False, detail=reason)
            self._counts.reconnects += 1
            _log.warning("stream_lost", reason=reason, next_try_seconds=round(delay, 2))
            # Half to all of the delay: desks that lost the same server do not come back in the same instant.
            await self._clock.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  # jitter is no secret
            delay = min(delay * 2, settings.reconnect_seconds_max)

    async def _stream_once(self, sink: Sink) -> str:
        """Connect and read until the connection ends; returns why it ended."""
        settings = self._settings
        names = "/".join(f"{symbol.lower()}@{stream}" for symbol in self._instruments for stream in STREAMS)
        try:
            async with connect(
                f"{settings.stream_url}/stream?streams={names}",
                open_timeout=settings.open_seconds_max,
                ping_interval=settings.ping_seconds,
                ping_timeout=settings.ping_seconds,
                close_timeout=1,
                max_size=settings.frame_bytes_max,
                max_queue=1024,
                compression=None,
            ) as connection:
                self._connected = True
                self._last_frame_ns = self._clock.now_ns()
                self._say_status(sink, connected=True, detail=settings.stream_url)
                self._work.snapshots.update(dict.fromkeys(self._instruments))
                self._work.wake()
                return await self._read(connection, sink)
        except (OSError, TimeoutError, WebSocketException) as error:
            return f"{type(error).__name__}: {error}"

    async def _read(self, connection: ClientConnection, sink: Sink) -> str:
        reason = "the stream ended"
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                nonlocal reason
                opened_ns = self._clock.now_ns()
                while True:
                    await self._clock.sleep(self._settings.silence_seconds_max / _LOOKS_A_SILENCE)
                    now = self._clock.now_ns()
                    if now - self._last_frame_ns > self._settings.silence_seconds_max * _SECOND_NS:
                        reason = f"silent for {self._settings.silence_seconds_max:g} s"
                    elif now - opened_ns > self._settings.connection_seconds_max * _SECOND_NS:
                        reason = "renewed before Binance ends it"
                    else:
                        continue
                    # Without a closing handshake: whoever is silent would not answer it.
                    connection.transport.abort()
                    return

            tasks.start_soon(watch)
            try:
                while True:
                    data = await connection.recv(decode=False)
                    self._last_frame_ns = now_ns = self._clock.now_ns()
                    if _SHUTDOWN_EVENT in data[:200]:
                        reason = "Binance announced a restart of its server"
                        break
                    self._deliver(data, now_ns, sink)
            except WebSocketException as error:
                if reason == "the stream ended":
                    reason = f"{type(error).__name__}: {error}"
            tasks.cancel_scope.cancel()
        return reason

    def _deliver(self, frame: bytes, now_ns: int, sink: Sink) -> None:
        try:
            message = self._parser.stream_frame(frame, now_ns)
        except FrameError as error:
            self._count_malformed(error)
            return
        self._counts.frames[type(message).__name__] += 1
        if isinstance(message, TradeReceived):
            missed = self._gates[message.symbol].live(message)
            if missed is not None:
                self._work.missed[message.symbol] = missed
                self._work.wake()
        else:
            sink(message)
        self._record(message, frame)

    def _record(self, message: Message, frame: bytes) -> None:
        if self._recorder is None:
            return
        try:
            self._recorder.write(message.symbol, message.time_ns, frame)  # type: ignore[attr-defined]  # all have one
        except OSError as error:
            # Prices matter more than their recording: stop recording and say so, once.
            self._recorder = None
            _log.error("recording_stopped", error=str(error))

    def _count_malformed(self, error: FrameError) -> None:
        self._counts.malformed += 1
        self._counts.malformed_detail = str(error)[:200]
        if self._counts.malformed & (self._counts.malformed - 1) == 0:
            # At 1, 2, 4, 8 …: a venue that changes its format must not fill the disk with our complaints.
            _log.warning("malformed_frame", count=self._counts.malformed, detail=self._counts.malformed_detail)

    def _say_status(self, sink: Sink, *, connected: bool, detail: str) -> None:
        now_ns = self._clock.now_ns()
        for symbol in self._instruments:
            sink(
                FeedStatusChanged(time_ns=now_ns, symbol=symbol, source=NAME, connected=connected, detail=detail[:200])
            )

    async def _work_off(self, rest: BinanceRest, sink: Sink) -> None:
        """One REST call after the other. What failed stays to be done, after a growing pause."""
        delay = self._settings.reconnect_seconds_min
        while True:
            await self._work.wait()
            while self._work.snapshots or self._work.missed:
                try:
                    await self._next_call(rest, sink)
                    delay = self._settings.reconnect_seconds_min
                except RestError as error:
                    self._counts.rate_limited = rest.rate_limited
                    _log.warning("request_failed", error=str(error), next_try_seconds=round(delay, 2))
                    await self._clock.sleep(max(delay, rest.banned_seconds))
                    delay = min(delay * 2, self._settings.reconnect_seconds_max)

    async def _next_call(self, rest: BinanceRest, sink: Sink) -> None:
        if self._work.snapshots and self._connected:
            symbol = next(iter(self._work.snapshots))
            await self._fetch_snapshot(rest, symbol, sink)
        elif self._work.missed:
            await self._fetch_missed(rest, next(iter(self._work.missed.values())))
        else:
            # No stream, so no snapshot now: the next connection asks for all of them.
            self._work.snapshots.clear()

    async def _fetch_snapshot(self, rest: BinanceRest, symbol: str, sink: Sink) -> None:
        since = (self._clock.now_ns() - self._snapshot_at_ns.get(symbol, 0)) / _SECOND_NS
        if since < self._settings.resync_seconds_min:
            await self._clock.sleep(self._settings.resync_seconds_min - since)
        self._snapshot_at_ns[symbol] = self._clock.now_ns()
        self._counts.snapshots_requested += 1
        self._work.snapshots.pop(symbol, None)
        try:
            body = await rest.depth(symbol, self._settings.snapshot_levels)
            snapshot = self._parser.snapshot(body, symbol, self._clock.now_ns())
        except (RestError, FrameError) as error:
            self._counts.snapshots_failed += 1
            if isinstance(error, RestError) and not error.retry:
                # The core asks again while the book is out of step; asking in a loop would not change the answer.
                _log.error("snapshot_refused", symbol=symbol, error=str(error))
                return
            self._work.snapshots[symbol] = None
            if isinstance(error, FrameError):
                self._count_malformed(error)
                raise RestError(f"snapshot of {symbol}: {error}", retry=True) from error
            raise
        self._deliver_snapshot(snapshot, body, sink)

    def _deliver_snapshot(self, snapshot: BookSnapshotReceived, body: bytes, sink: Sink) -> None:
        self._counts.frames[type(snapshot).__name__] += 1
        sink(snapshot)
        self._record(snapshot, body)

    async def _fetch_missed(self, rest: BinanceRest, missed: MissedTrades) -> None:
        """Fetch a range page by page and open the gate, also where the rest of it cannot be had."""
        gate = self._gates[missed.symbol]
        next_id = max(missed.first_id, missed.last_id - self._settings.backfill_trades_max + 1)
        try:
            while next_id <= missed.last_id:
                body = await rest.trades_from(missed.symbol, next_id)
                trades = self._parser.rest_trades(body, missed.symbol, self._clock.now_ns())
                wanted = [trade for trade in trades if next_id <= trade.trade_id <= missed.last_id]
                for trade in wanted:
                    gate.fetched(trade)
                self._counts.trades_backfilled += len(wanted)
                if not wanted or len(trades) < 1000:
                    break
                next_id = wanted[-1].trade_id + 1
        except (RestError, FrameError) as error:
            # The core knows which ids are missing and counts them; the tape goes on without.
            _log.warning("trades_lost", symbol=missed.symbol, first=next_id, last=missed.last_id, error=str(error))
            self._counts.rate_limited = rest.rate_limited
        further = gate.open()
        if further is None:
            self._work.missed.pop(missed.symbol, None)
        else:
            self._work.missed[missed.symbol] = further

    async def _watch_clock(self, rest: BinanceRest) -> None:
        while True:
            try:
                self._counts.clock_offset_ms = await rest.clock_offset_ms()
            except RestError as error:
                self._counts.rate_limited = rest.rate_limited
                _log.warning("clock_check_failed", error=str(error))
            await self._clock.sleep(self._settings.clock_check_seconds)

    async def _check_instruments(self, rest: BinanceRest) -> None:
        """Say once how the instruments differ from Binance's: a wrong tick would make every frame malformed."""
        try:
            self._counts.instrument_faults = tuple(await rest.instrument_faults(self._instruments.values()))
        except RestError as error:
            _log.warning("instruments_not_checked", error=str(error))
            return
        for fault in self._counts.instrument_faults:
            _log.error("instrument_differs", fault=fault)
