"""From the bus to the gateway's clients: one subscription of each kind, fanned out to whoever listens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Protocol

import anyio
import msgspec
import structlog
from msgspec import Struct

from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.topics import (
    EXECUTIONS,
    MARKET_DATA_MARKS,
    MARKET_DATA_NORMALIZED,
    RISK_EVENTS,
    TRADING_DECISIONS,
)
from polaris_synapse.order_gateway.list_params import list_view
from polaris_synapse.order_gateway.market_channels import MarketChannels
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.metrics import GatewayMetrics
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.order_gateway.tracker import OrderTracker
from polaris_synapse.order_gateway.viewing import balance_view, execution_view, iso_time, order_view, position_view

_log = structlog.get_logger(__name__)
_ENCODER: Final = msgspec.json.Encoder()

#: Channels of a principal's own accounts, and channels that are the same for everybody.
ACCOUNT_CHANNELS: Final = frozenset({"orders", "lists", "executions", "balances", "positions"})
SHARED_CHANNELS: Final = frozenset({"status"})
#: A principal hears of decisions on accounts that are theirs.
DECISIONS: Final = "decisions"
MARKET_PREFIX: Final = "market:"


class Event(Struct, frozen=True, kw_only=True):
    """What a channel carries. ``event`` says what ``data`` is: ``order``, ``execution``, ``top``, ``trade``, ..."""

    channel: str
    event: str
    time_ns: int
    data: Any


_READ_AGAIN: Final = {"read_again": True}
_GAP: Final = _ENCODER.encode(Event(channel="status", event="gap", time_ns=0, data=_READ_AGAIN))


class Listener(Protocol):
    """A client that listens to channels."""

    def may_hear(self, account: str, /) -> bool:
        """Whether an account's facts are for it."""
        ...

    def push(self, payload: bytes, /) -> None:
        """Hand it an event; it decides itself when it cannot keep up."""
        ...


class Hub:
    """Keeps the tracker and the marks up to date and hands events to listeners.

    With ``channels`` tops, trades and candles come through the cache, of those markets that somebody listens to, and
    the bus says no more of markets than their marks and the health of their books. Without, it says everything.
    """

    def __init__(
        self,
        bus: Bus,
        markets: Markets,
        tracker: OrderTracker,
        metrics: GatewayMetrics,
        settings: GatewaySettings,
        channels: MarketChannels | None = None,
    ) -> None:
        self._bus = bus
        self._markets = markets
        self._tracker = tracker
        self._metrics = metrics
        self._settings = settings
        self._channels = channels
        self._listeners: dict[str, set[Listener]] = defaultdict(set)
        self.listening = 0
        self._handlers: dict[type[m.Message], Callable[[Any], None]] = {
            m.OrderUpdated: self._order,
            m.OrderListUpdated: self._order_list,
            m.BookStatusChanged: self._book_status,
            m.ExecutionRecorded: self._execution,
            m.BalanceChanged: self._balance,
            m.PositionChanged: self._position,
            m.BreakerChanged: self._breaker,
            m.KillLevelChanged: self._kill_level,
            m.DecisionRecorded: self._decision,
            m.Mark: self._mark,
            m.TopOfBook: self._top,
            m.MarketTrade: self._trade,
            m.CandleClosed: self._candle,
            m.BookHealthChanged: self._health,
        }

    def listen(self, channel: str, listener: Listener) -> None:
        """Begin to hand events of a channel to a listener."""
        self._listeners[channel].add(listener)
        if self._channels is not None and channel.startswith(MARKET_PREFIX):
            self._channels.want(channel.removeprefix(MARKET_PREFIX))

    async def joined(self, channels: Collection[str], listener: Listener) -> None:
        """Return once a listener's channels are heard; where the cache keeps that from being so, tell it of a gap."""
        symbols = [one.removeprefix(MARKET_PREFIX) for one in channels if one.startswith(MARKET_PREFIX)]
        if self._channels is not None and symbols and not await self._channels.joined(symbols):
            listener.push(_GAP)

    def leave(self, channel: str, listener: Listener) -> None:
        """Stop that."""
        listeners = self._listeners.get(channel)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[channel]
                if self._channels is not None and channel.startswith(MARKET_PREFIX):
                    self._channels.unwant(channel.removeprefix(MARKET_PREFIX))

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen to the bus until cancelled. ``ready`` is called once both subscriptions stand."""

        def subscribed() -> None:
            self.listening += 1
            if self.listening == 2:
                ready()

        facts = (EXECUTIONS, RISK_EVENTS, TRADING_DECISIONS)
        async with anyio.create_task_group() as group:
            group.start_soon(
                self._follow, facts, "order-gateway-group", self._settings.facts_backlog_messages_max, subscribed
            )
            group.start_soon(
                self._follow,
                (MARKET_DATA_NORMALIZED if self._channels is None else MARKET_DATA_MARKS,),
                "order-gateway-market-group",
                self._settings.market_backlog_messages_max,
                subscribed,
            )
            if self._channels is not None:
                group.start_soon(self._channels.run, self.take, self._markets_lost, self._market_gap)

    async def _follow(self, topics: Iterable[str], name: str, backlog_max: int, subscribed: Callable[[], None]) -> None:
        """Follow topics; where we fell behind and were dropped, say so to the clients and begin anew."""
        while True:
            try:
                async with self._bus.subscribe(
                    topics, name=name, backlog_messages_max=backlog_max, droppable=True
                ) as subscription:
                    subscribed()
                    async for batch in subscription:
                        for envelope in batch:
                            self.take(envelope.message)
                    return
            except SlowConsumerError:
                self.listening -= 1
                self._metrics.gaps.inc()
                _log.warning("fell behind the bus and missed facts", group=name)
                self._tracker.forget()
                self._gap()

    def take(self, message: m.Message) -> None:
        """One published message."""
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(message)

    def _gap(self) -> None:
        """Tell every listener once that it may have missed something, and should read again."""
        for listener in {one for listeners in self._listeners.values() for one in listeners}:
            listener.push(_GAP)

    def _markets_lost(self) -> None:
        """Likewise those who listen to markets."""
        markets = (listeners for channel, listeners in self._listeners.items() if channel.startswith(MARKET_PREFIX))
        for listener in {one for listeners in markets for one in listeners}:
            listener.push(_GAP)

    def _market_gap(self, symbol: str) -> None:
        """Tell those who listen to a market that they missed something of it."""
        channel = MARKET_PREFIX + symbol
        payload = _ENCODER.encode(Event(channel=channel, event="gap", time_ns=0, data=_READ_AGAIN))
        for listener in tuple(self._listeners.get(channel, ())):
            listener.push(payload)

    def _send(self, channel: str, event: str, message: m.Message, data: object, account: str | None = None) -> None:
        payload = _ENCODER.encode(Event(channel=channel, event=event, time_ns=message.time_ns, data=data))
        for listener in tuple(self._listeners.get(channel, ())):
            if account is None or listener.may_hear(account):
                listener.push(payload)

    def _order(self, message: m.OrderUpdated) -> None:
        order = message.order
        self._tracker.take_order(order)
        instrument = self._markets.known(order.request.symbol)
        if "orders" in self._listeners and instrument is not None:
            self._send("orders", "order", message, order_view(order, instrument), order.request.account)

    def _order_list(self, message: m.OrderListUpdated) -> None:
        if "lists" in self._listeners:
            order_list = message.order_list
            self._send("lists", "order_list", message, list_view(order_list), order_list.request.account)

    def _book_status(self, message: m.BookStatusChanged) -> None:
        self._markets.take_status(message.symbol, message.status)
        data = {
            "symbol": message.symbol,
            "status": message.status,
            "reason": message.reason.name,
            "until": iso_time(message.until_ns),
        }
        self._send("status", "book", message, data)
        self._send(MARKET_PREFIX + message.symbol, "book_status", message, data)

    def _execution(self, message: m.ExecutionRecorded) -> None:
        self._tracker.take_execution(message)
        instrument = self._markets.known(message.symbol)
        if "executions" in self._listeners and instrument is not None:
            view = execution_view(message, instrument, self._markets.asset(message.fill.fee_asset))
            self._send("executions", "execution", message, view, message.account)

    def _balance(self, message: m.BalanceChanged) -> None:
        asset = self._markets.asset(message.asset)
        if "balances" in self._listeners and asset is not None:
            self._send("balances", "balance", message, balance_view(message, asset), message.account)

    def _position(self, message: m.PositionChanged) -> None:
        instrument = self._markets.known(message.symbol)
        if "positions" in self._listeners and instrument is not None:
            view = position_view(message, instrument, self._markets.mark(instrument))
            self._send("positions", "position", message, view, message.account)

    def _breaker(self, message: m.BreakerChanged) -> None:
        data = {"scope": message.scope, "tripped": message.tripped, "reason": message.reason.name}
        self._send("status", "breaker", message, data)

    def _kill_level(self, message: m.KillLevelChanged) -> None:
        data = {"account": message.account, "level": message.level.name}
        self._send("status", "kill_level", message, data)

    def _decision(self, message: m.DecisionRecorded) -> None:
        if DECISIONS in self._listeners:
            self._send(DECISIONS, "decision", message, message, message.account)

    def _market(self, symbol: str) -> tuple[str, Instrument] | None:
        """The channel and the instrument of a market that somebody listens to."""
        channel = MARKET_PREFIX + symbol
        instrument = self._markets.known(symbol) if channel in self._listeners else None
        return (channel, instrument) if instrument is not None else None

    def _mark(self, message: m.Mark) -> None:
        self._markets.take_mark(message)
        if found := self._market(message.symbol):
            channel, instrument = found
            price = instrument.format_price
            data = {
                "mark": price(message.mark_ticks),
                "bid": price(message.bid_ticks),
                "ask": price(message.ask_ticks),
                "last": price(message.last_ticks),
                "healthy": message.healthy,
            }
            self._send(channel, "mark", message, data)

    def _top(self, message: m.TopOfBook) -> None:
        if found := self._market(message.symbol):
            channel, instrument = found
            data = {
                "bid": instrument.format_price(message.bid_ticks),
                "bid_quantity": instrument.format_quantity(message.bid_lots),
                "ask": instrument.format_price(message.ask_ticks),
                "ask_quantity": instrument.format_quantity(message.ask_lots),
                "sequence": message.sequence,
            }
            self._send(channel, "top", message, data)

    def _trade(self, message: m.MarketTrade) -> None:
        if found := self._market(message.symbol):
            channel, instrument = found
            data = {
                "trade_id": message.trade_id,
                "price": instrument.format_price(message.price_ticks),
                "quantity": instrument.format_quantity(message.quantity_lots),
                "aggressor": message.aggressor,
            }
            self._send(channel, "trade", message, data)

    def _candle(self, message: m.CandleClosed) -> None:
        candle = message.candle
        if found := self._market(candle.symbol):
            channel, instrument = found
            price = instrument.format_price
            data = {
                "interval_seconds": candle.interval_seconds,
                "open_time": iso_time(candle.open_time_ns),
                "open": price(candle.open_ticks),
                "high": price(candle.high_ticks),
                "low": price(candle.low_ticks),
                "close": price(candle.close_ticks),
                "volume": instrument.format_quantity(candle.volume_lots),
                "trades": candle.trades,
            }
            self._send(channel, "candle", message, data)

    def _health(self, message: m.BookHealthChanged) -> None:
        data = {"symbol": message.symbol, "healthy": message.healthy, "cause": message.cause}
        self._send("status", "market", message, data)
        self._send(MARKET_PREFIX + message.symbol, "health", message, data)
