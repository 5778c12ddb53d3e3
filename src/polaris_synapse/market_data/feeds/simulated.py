"""The simulated feed: a seeded market on the desk's own order book, paced by the desk's clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

import anyio.to_thread
from msgspec.structs import replace

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import FeedStatusChanged, Message
from polaris_synapse.market_data.feeds.pacing import Pacer
from polaris_synapse.market_data.feeds.port import FeedCounts, Sink
from polaris_synapse.market_data.feeds.wire import encode_frame
from polaris_synapse.market_data.recording import RecordedFrame
from polaris_synapse.market_data.simulation.exchange import SimulatedExchange
from polaris_synapse.market_data.simulation.settings import SECOND_NS, SimulationSettings
from polaris_synapse.market_data.simulation.venue import SOURCE

#: 2026-01-01T00:00:00Z: when simulations begin that nobody gave another start.
DEFAULT_START_NS: Final = 1_767_225_600 * SECOND_NS


class SimulatedFeed:
    """Runs a simulated exchange in real time. The same seed gives the same market, moved to whenever it starts."""

    def __init__(
        self,
        instruments: Iterable[Instrument],
        clock: Clock,
        *,
        seed: int,
        settings: SimulationSettings | None = None,
    ) -> None:
        self._instruments = tuple(instruments)
        self._clock = clock
        self._seed = seed
        self._settings = settings
        self._counts = FeedCounts()
        self._wanted: dict[str, None] = {}

    @property
    def name(self) -> str:
        """``simulated``."""
        return SOURCE

    @property
    def counts(self) -> FeedCounts:
        """What it has said."""
        return self._counts

    async def resync(self, symbol: str) -> None:
        """The book of ``symbol`` comes with the next step."""
        self._wanted[symbol] = None

    async def run(self, sink: Sink) -> None:
        """Trade until cancelled."""
        exchange = await anyio.to_thread.run_sync(self._build)
        for symbol in exchange.symbols:
            self._wanted[symbol] = None
            sink(
                FeedStatusChanged(
                    time_ns=self._clock.now_ns(),
                    symbol=symbol,
                    source=SOURCE,
                    connected=True,
                    detail=f"a simulated market, seed {self._seed}",
                )
            )
        pacer = Pacer(self._clock, exchange.now_ns, speed=Fraction(1))
        while True:
            time_ns = await pacer.wait(exchange.now_ns + exchange.step_ns)
            messages = exchange.step()
            for symbol in self._wanted:
                if symbol in exchange.symbols:
                    messages.append(exchange.snapshot(symbol))
                    self._counts.snapshots_requested += 1
            self._wanted.clear()
            for message in messages:
                self._counts.frames[type(message).__name__] += 1
                sink(at_time(message, time_ns))

    def _build(self) -> SimulatedExchange:
        return SimulatedExchange(
            self._instruments, seed=self._seed, start_ns=self._clock.now_ns(), settings=self._settings
        )


def at_time(message: Message, time_ns: int) -> Message:
    """The message with all its times set to ``time_ns``: in a simulation nothing takes time to arrive."""
    times = {field: time_ns for field in ("time_ns", "event_time_ns", "trade_time_ns") if hasattr(message, field)}
    return replace(message, **times)


def simulated_frames(
    instruments: Iterable[Instrument],
    *,
    seed: int,
    seconds: float,
    start_ns: int = DEFAULT_START_NS,
    settings: SimulationSettings | None = None,
) -> Iterator[RecordedFrame]:
    """A simulated market as the raw frames that a recording of it would hold, snapshots first."""
    known = {instrument.symbol: instrument for instrument in instruments}
    exchange = SimulatedExchange(known.values(), seed=seed, start_ns=start_ns, settings=settings)
    messages: list[Message] = list(exchange.snapshots())
    while True:
        for message in messages:
            symbol: str = message.symbol  # type: ignore[attr-defined]  # every market data message has one
            yield RecordedFrame(message.time_ns, symbol, encode_frame(message, known[symbol]))
        if exchange.now_ns - start_ns >= seconds * SECOND_NS:
            return
        messages = exchange.step()
