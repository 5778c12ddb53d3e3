"""What WebSocket clients hear of markets, through the cache: a channel for each symbol, heard where somebody listens.

The process that follows a symbol gathers its tops, trades and candles for some tens of milliseconds and publishes them
as one *turn*. A gateway hears the symbols that its clients listen to now, and of the others nothing. Turns are
numbered, so a gateway sees that one is missing and says so to its clients. Nothing that money or safety depends on
comes this way: marks and the health of books come over the bus, and so does everything about orders and accounts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from typing import Final

import anyio
import msgspec
import structlog
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import CandleClosed, MarketTrade, Message, TopOfBook
from polaris_synapse.order_gateway.metrics import MarketChannelMetrics, MarketWriterMetrics
from polaris_synapse.storage.cache.port import CacheUnavailableError, ChannelListener, SharedCache

#: How long a turn gathers. It is what a top or a trade may come later for it.
GATHER_SECONDS: Final = 0.05
#: Trades and candles that wait for their turn, of all symbols of a process; what is more is dropped and told as a gap.
TURN_MESSAGES_MAX: Final = 5_000
#: A symbol of which there is nothing to say has an empty turn so often, by which gateways know that they hear it.
BEAT_SECONDS: Final = 2.0
#: A gateway that has heard no turn of a symbol for so long has lost it; one whose connection is silent so long, all.
SILENCE_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 1.0
#: How long a client's subscription waits until its market is heard.
JOIN_SECONDS_MAX: Final = 1.0
_PREFIX: Final = "market"
_log = structlog.get_logger(__name__)

Said = TopOfBook | MarketTrade | CandleClosed
#: Who said the last turn of a symbol, and its number.
_Place = tuple[str, int]


class MarketTurn(Struct, frozen=True, array_like=True):
    """What was said of one symbol since the last turn. A ``writer`` numbers its turns of a symbol from 1 on.

    Tops between the newest and the last turn's are left out; the newest is the last of the messages.
    """

    writer: str
    number: int
    messages: tuple[Said, ...] = ()


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(MarketTurn)


def channel_of(symbol: str) -> str:
    """The cache's channel of a market."""
    return f"{_PREFIX}:{symbol}"


class _Gathered:
    """What waits of one symbol."""

    __slots__ = ("lacks", "others", "top")

    def __init__(self) -> None:
        self.top: TopOfBook | None = None
        self.others: list[Said] = []
        #: Whether something had to be dropped.
        self.lacks = False


class MarketChannelsWriter:
    """Publishes what the markets that are followed here say. ``take`` never waits and never fails."""

    def __init__(self, cache: SharedCache, clock: Clock, metrics: MarketWriterMetrics) -> None:
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._name = secrets.token_hex(8)
        self._gathered: dict[str, _Gathered] = {}
        self._waiting = 0
        self._numbers: dict[str, int] = {}
        self._said_ns: dict[str, int] = {}
        self._is_lost = False

    def take(self, message: Message) -> None:
        """Keep what clients hear of a market for the next turn; anything else is passed over."""
        if isinstance(message, TopOfBook):
            self._of(message.symbol).top = message
        elif isinstance(message, MarketTrade):
            self._add(message.symbol, message)
        elif isinstance(message, CandleClosed):
            self._add(message.candle.symbol, message)

    def _of(self, symbol: str) -> _Gathered:
        found = self._gathered.get(symbol)
        if found is None:
            found = self._gathered[symbol] = _Gathered()
        return found

    def _add(self, symbol: str, message: Said) -> None:
        found = self._of(symbol)
        if self._waiting >= TURN_MESSAGES_MAX:
            found.lacks = True
            self._metrics.dropped.inc()
            return
        self._waiting += 1
        found.others.append(message)

    async def publish(self) -> bool:
        """Say what was gathered, and of quiet symbols that they are; False where the cache does not take it."""
        now_ns = self._clock.now_ns()
        for symbol, said_ns in self._said_ns.items():
            if now_ns - said_ns >= BEAT_SECONDS * 1e9:
                self._of(symbol)
        gathered, self._gathered, self._waiting = self._gathered, {}, 0
        payloads: dict[str, bytes] = {}
        messages = 0
        for symbol, one in gathered.items():
            # A number left out is a gap, which is what was dropped, and what the cache did not take.
            number = self._numbers[symbol] = self._numbers.get(symbol, 0) + (2 if one.lacks else 1)
            self._said_ns[symbol] = now_ns
            said = tuple(one.others) if one.top is None else (*one.others, one.top)
            messages += len(said)
            payloads[channel_of(symbol)] = _ENCODER.encode(MarketTurn(self._name, number, said))
        try:
            await self._cache.publish(payloads)
        except CacheUnavailableError as error:
            if not self._is_lost:
                _log.warning("markets_not_published", problem=str(error))
            self._is_lost = True
            self._metrics.dropped.inc(messages)
            return False
        self._is_lost = False
        self._metrics.turns.inc(len(payloads))
        self._metrics.messages.inc(messages)
        return True

    def forget(self, symbol: str) -> None:
        """Say nothing more of a symbol that is followed elsewhere now."""
        self._gathered.pop(symbol, None)
        self._said_ns.pop(symbol, None)

    async def run(self) -> None:
        """Publish turn by turn until cancelled."""
        while True:
            await self._clock.sleep(GATHER_SECONDS if await self.publish() else RETRY_SECONDS)


class MarketChannels:
    """Hears the markets that somebody here listens to. ``run`` keeps it up, over every loss of the cache."""

    def __init__(self, cache: SharedCache, clock: Clock, metrics: MarketChannelMetrics) -> None:
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._wanted: set[str] = set()
        self._changed = anyio.Event()
        self._joined: set[str] = set()
        #: Set and replaced whenever ``_joined`` changed or the line was lost.
        self._settled = anyio.Event()
        self._connected = False
        self._last: dict[str, _Place] = {}
        self._heard_ns: dict[str, int] = {}
        #: Symbols whose clients were told that they listen, while it was not so: their first turn is a gap.
        self._late: set[str] = set()
        self._unread: set[str] = set()

    def want(self, symbol: str) -> None:
        """Somebody listens to a symbol."""
        if symbol not in self._wanted:
            self._wanted.add(symbol)
            self._changed.set()

    def unwant(self, symbol: str) -> None:
        """Nobody listens to it any more, so nobody will have missed anything of it."""
        self._wanted.discard(symbol)
        self._late.discard(symbol)
        self._unread.discard(symbol)
        self._last.pop(symbol, None)
        self._heard_ns.pop(symbol, None)
        self._changed.set()

    async def joined(self, symbols: Collection[str]) -> bool:
        """Return once wanted symbols are heard; False where that takes too long, and their first turn is a gap."""
        with anyio.move_on_after(JOIN_SECONDS_MAX):
            while self._connected and self._missing(symbols):
                await self._settled.wait()
        missing = self._missing(symbols)
        self._late |= missing
        return not missing

    def _missing(self, symbols: Collection[str]) -> set[str]:
        return (self._wanted - self._joined).intersection(symbols)

    async def run(self, take: Callable[[Message], None], lost: Callable[[], None], gap: Callable[[str], None]) -> None:
        """Hand every message to ``take`` until cancelled; ``lost``: nothing is heard, ``gap``: a symbol lacks some."""
        while True:
            problem = ""
            try:
                async with self._cache.listen(silence_seconds=SILENCE_SECONDS) as listener:
                    self._connected = True
                    async with anyio.create_task_group() as group:
                        group.start_soon(self._keep_joined, listener)
                        group.start_soon(self._watch, gap)
                        async for channel, payload in listener:
                            self._hear(channel.removeprefix(f"{_PREFIX}:"), payload, take, gap)
            except* CacheUnavailableError as errors:
                problem = "; ".join(str(one) for one in errors.exceptions)
            if self._connected:
                self._lose(problem, lost)
            await self._clock.sleep(RETRY_SECONDS)

    def _lose(self, problem: str, lost: Callable[[], None]) -> None:
        _log.warning("markets_not_heard", problem=problem)
        # What was heard before is compared with what comes next; what was not has nothing to be compared with.
        self._late |= self._wanted - self._last.keys()
        self._joined, self._connected = set(), False
        self._heard_ns.clear()
        self._tell_settled()
        if self._wanted:
            self._metrics.gaps.labels("lost").inc()
            lost()

    def _tell_settled(self) -> None:
        self._metrics.joined.set(len(self._joined))
        self._settled.set()
        self._settled = anyio.Event()

    async def _keep_joined(self, listener: ChannelListener) -> None:
        """Hear what is wanted and nothing else."""
        while True:
            self._changed = anyio.Event()
            left, joins = self._joined - self._wanted, self._wanted - self._joined
            if left:
                self._joined -= left
                await listener.leave([channel_of(symbol) for symbol in left])
            if joins:
                await listener.join([channel_of(symbol) for symbol in joins])
                self._joined |= joins
            if left or joins:
                self._tell_settled()
            else:
                await self._changed.wait()

    async def _watch(self, gap: Callable[[str], None]) -> None:
        """Tell of symbols that have fallen silent, once."""
        while True:
            await self._clock.sleep(RETRY_SECONDS)
            oldest_ns = self._clock.now_ns() - SILENCE_SECONDS * 1e9
            for symbol in [one for one, heard_ns in self._heard_ns.items() if heard_ns < oldest_ns]:
                del self._heard_ns[symbol]
                self._tell_gap(symbol, "silent", gap)

    def _tell_gap(self, symbol: str, cause: str, gap: Callable[[str], None]) -> None:
        self._metrics.gaps.labels(cause).inc()
        gap(symbol)

    def _hear(self, symbol: str, payload: bytes, take: Callable[[Message], None], gap: Callable[[str], None]) -> None:
        """One turn."""
        if symbol not in self._wanted:
            return
        try:
            turn = _DECODER.decode(payload)
        except msgspec.DecodeError as error:
            # Written by another version of the desk.
            if symbol not in self._unread:
                _log.warning("market_turn_not_read", symbol=symbol, problem=str(error))
            self._unread.add(symbol)
            return
        last = self._last.get(symbol)
        if last is not None and last[0] == turn.writer and turn.number <= last[1]:
            return
        self._last[symbol] = (turn.writer, turn.number)
        self._heard_ns[symbol] = self._clock.now_ns()
        self._unread.discard(symbol)
        if not _follows(turn, last) or symbol in self._late:
            self._late.discard(symbol)
            self._tell_gap(symbol, "missed", gap)
        self._metrics.turns.inc()
        for message in turn.messages:
            said_of = message.candle.symbol if isinstance(message, CandleClosed) else message.symbol
            if said_of == symbol:
                take(message)


def _follows(turn: MarketTurn, last: _Place | None) -> bool:
    """Whether nothing lies between what was heard last of a symbol and this turn."""
    if last is None:
        return True
    writer, number = last
    return turn.number == (number + 1 if turn.writer == writer else 1)
