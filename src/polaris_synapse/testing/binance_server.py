"""A Binance for tests, on loopback: its market streams and REST calls over recorded frames, with faults on command.

Frames come from any iterable of ``RecordedFrame``: a recording, or a simulated market's frames. The server keeps its
own book from them, as text and without any of the desk's book code, so its REST snapshots are in step with its streams
and independent of what they test. Time stands still until ``play`` is called.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import anyio
import anyio.lowlevel
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.market_data.recording import RecordedFrame

_TRADES_KEPT_MAX: Final = 50_000
_SUBSCRIPTIONS_MAX: Final = 1024
_REASONS: Final = {200: "OK", 400: "Bad Request", 404: "Not Found", 418: "I'm a teapot", 429: "Too Many Requests"}


class _TextBook:
    """A price book of decimal texts, as Binance writes them."""

    def __init__(self) -> None:
        self.last_update_id = 0
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}

    def replace(self, snapshot: Mapping[str, Any]) -> None:
        self.last_update_id = snapshot["lastUpdateId"]
        self.bids = dict(snapshot["bids"])
        self.asks = dict(snapshot["asks"])

    def change(self, depth: Mapping[str, Any]) -> None:
        if depth["u"] <= self.last_update_id:
            return
        for side, changes in ((self.bids, depth["b"]), (self.asks, depth["a"])):
            for price, quantity in changes:
                if Decimal(quantity):
                    side[price] = quantity
                else:
                    side.pop(price, None)
        self.last_update_id = depth["u"]

    def body(self, limit: int) -> dict[str, Any]:
        def best(side: dict[str, str], *, reverse: bool) -> list[list[str]]:
            return [[p, side[p]] for p in sorted(side, key=Decimal, reverse=reverse)[:limit]]

        return {
            "lastUpdateId": self.last_update_id,
            "bids": best(self.bids, reverse=True),
            "asks": best(self.asks, reverse=False),
        }


class Faults:
    """What goes wrong next. Everything is off at first; counters count down as faults happen."""

    def __init__(self) -> None:
        self.skip_frames: dict[str, int] = {}  # kind ("depth", "trade", "bookTicker") -> frames that never arrive
        self.delay_seconds = 0.0  # every answer and frame is late by this
        self.old_snapshots = 0  # snapshots taken long before the stream began
        self.foreign_snapshots = 0  # snapshots whose prices are crossed nonsense
        self.refuse_rest: deque[tuple[int, int | None]] = deque()  # (status, Retry-After) for the next REST calls
        self.historical_trades_need_key = False

    def skips(self, kind: str) -> bool:
        """Whether this frame is to be lost."""
        left = self.skip_frames.get(kind, 0)
        if left:
            self.skip_frames[kind] = left - 1
        return bool(left)


class BinanceServer:
    """See the module. Use ``running_binance_server``; ``base_url`` and ``stream_url`` go into the feed's settings."""

    def __init__(self, frames: Iterable[RecordedFrame], instruments: Iterable[Instrument]) -> None:
        self._frames: Iterator[RecordedFrame] = iter(frames)
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._connections: dict[ServerConnection, tuple[set[str], bool]] = {}
        self._books: dict[str, _TextBook] = {}
        self._first_snapshots: dict[str, dict[str, Any]] = {}
        self._early_depths: dict[str, list[dict[str, Any]]] = {}
        self._trades: dict[str, deque[dict[str, Any]]] = {}
        self._server: Server | None = None
        self.faults = Faults()
        self.frames_published = 0
        self.requests: list[str] = []
        self.connections_accepted = 0

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._server is not None
        return int(next(iter(self._server.sockets)).getsockname()[1])

    @property
    def rest_url(self) -> str:
        """``http://127.0.0.1:…``."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        """``ws://127.0.0.1:…``."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def subscribers(self) -> int:
        """Connections that listen to at least one stream."""
        return sum(bool(streams) for streams, _ in self._connections.values())

    def book(self, symbol: str) -> dict[str, Any]:
        """The whole book as of now, as a REST body."""
        return self._books[symbol].body(1_000_000)

    def trade_ids(self, symbol: str) -> list[int]:
        """Ids of all trades so far."""
        return [trade["t"] for trade in self._trades.get(symbol, ())]

    async def play(self, count: int | None = None, *, speed: float = 0) -> int:
        """Publish the next ``count`` frames (None: all) at ``speed`` times their pace (0: at once), and count them."""
        played = 0
        before_ns = 0
        for frame in self._frames:
            if speed and before_ns:
                await anyio.sleep((frame.time_ns - before_ns) / 1e9 / speed)
            before_ns = frame.time_ns
            await self._publish(frame)
            played += 1
            if played % 50 == 0:
                await anyio.lowlevel.checkpoint()
            if played == count:
                break
        return played

    async def play_until_synced(self) -> None:
        """Play on until every symbol has a book, that is, until the recorded snapshots have come."""
        while len(self._books) < len(self._instruments):
            if not await self.play(1):
                raise RuntimeError("the frames ended before every symbol had a snapshot")

    async def send(self, text: str) -> None:
        """Send any text to every subscriber: a malformed frame, a shutdown event."""
        for connection in list(self._connections):
            await self._send(connection, text)

    def disconnect_all(self) -> None:
        """Cut every connection without a closing handshake."""
        for connection in list(self._connections):
            connection.transport.abort()

    def go_silent(self) -> None:
        """Half-open: the connections stay up, but nothing is sent or read on them any more, pings included."""
        for connection in list(self._connections):
            connection.transport.pause_reading()
            self._connections[connection] = (set(), False)

    async def _publish(self, frame: RecordedFrame) -> None:
        self.frames_published += 1
        if frame.is_snapshot:
            snapshot = json.loads(frame.frame)
            self._first_snapshots[frame.symbol] = snapshot
            book = self._books[frame.symbol] = _TextBook()
            book.replace(snapshot)
            for depth in self._early_depths.pop(frame.symbol, ()):
                book.change(depth)
            return
        wrapped = json.loads(frame.frame)
        kind = wrapped["stream"].split("@")[1]
        data = wrapped["data"]
        if kind == "depth" and frame.symbol in self._books:
            self._books[frame.symbol].change(data)
        elif kind == "depth":
            self._early_depths.setdefault(frame.symbol, []).append(data)
        elif kind == "trade":
            self._trades.setdefault(frame.symbol, deque(maxlen=_TRADES_KEPT_MAX)).append(data)
        if self.faults.skips(kind):
            return
        text = frame.frame.decode()
        for connection, (streams, wraps) in list(self._connections.items()):
            if wrapped["stream"] in streams:
                await self._send(connection, text if wraps else text.split('"data":', 1)[1][:-1])

    async def _send(self, connection: ServerConnection, text: str) -> None:
        if self.faults.delay_seconds:
            await anyio.sleep(self.faults.delay_seconds)
        try:
            await connection.send(text)
        except ConnectionClosed:
            self._connections.pop(connection, None)

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        url = urlsplit(connection.request.path)
        self.connections_accepted += 1
        if url.path == "/stream":
            streams = set(parse_qs(url.query).get("streams", [""])[0].split("/")) - {""}
            self._connections[connection] = (streams, True)
        else:
            # /ws/<stream>, a bare /ws, and /ws/<anything>, which some clients open before they subscribe.
            name = url.path.removeprefix("/ws").strip("/")
            self._connections[connection] = ({name} if "@" in name else set(), False)
        try:
            async for text in connection:
                await self._control(connection, text)
        except ConnectionClosed:
            return
        finally:
            self._connections.pop(connection, None)

    async def _control(self, connection: ServerConnection, text: str | bytes) -> None:
        streams, _ = self._connections[connection]
        try:
            request = json.loads(text)
            method, params = request["method"], request.get("params", [])
            request_id = request["id"]
        except (ValueError, KeyError, TypeError):
            await connection.send('{"error":{"code":3,"msg":"Invalid JSON"}}')
            return
        result: list[str] | None = None
        if method == "SUBSCRIBE" and len(streams | set(params)) <= _SUBSCRIPTIONS_MAX:
            streams.update(params)
        elif method == "UNSUBSCRIBE":
            streams.difference_update(params)
        elif method == "LIST_SUBSCRIPTIONS":
            result = sorted(streams)
        else:
            error = {"code": 2, "msg": f"Invalid request: {method}"}
            await connection.send(json.dumps({"error": error, "id": request_id}))
            return
        await connection.send(json.dumps({"result": result, "id": request_id}))

    async def _rest(self, connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if not url.path.startswith("/api/"):
            return None
        self.requests.append(request.path)
        if self.faults.delay_seconds:
            await anyio.sleep(self.faults.delay_seconds)
        if self.faults.refuse_rest:
            status, retry_after = self.faults.refuse_rest.popleft()
            extra = {"Retry-After": str(retry_after)} if retry_after is not None else {}
            return _response(status, {"code": -1003, "msg": "Too many requests."}, extra)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        handlers: dict[str, Callable[[dict[str, str]], Response]] = {
            "/api/v3/ping": lambda _: _response(200, {}),
            "/api/v3/time": lambda _: _response(200, {"serverTime": time.time_ns() // 1_000_000}),
            "/api/v3/exchangeInfo": self._exchange_info,
            "/api/v3/depth": self._depth,
            "/api/v3/trades": self._latest_trades,
            "/api/v3/historicalTrades": self._historical_trades,
        }
        handler = handlers.get(url.path)
        return handler(query) if handler else _response(404, {"code": -1000, "msg": "Not found."})

    def _depth(self, query: dict[str, str]) -> Response:
        symbol = query.get("symbol", "")
        if symbol not in self._books:
            return _response(400, {"code": -1121, "msg": "Invalid symbol."})
        if self.faults.old_snapshots:
            self.faults.old_snapshots -= 1
            return _response(200, self._first_snapshots[symbol])
        body = self._books[symbol].body(min(int(query.get("limit", "100")), 5000))
        if self.faults.foreign_snapshots:
            self.faults.foreign_snapshots -= 1
            body["bids"], body["asks"] = body["asks"], body["bids"]
        return _response(200, body)

    def _latest_trades(self, query: dict[str, str]) -> Response:
        trades = list(self._trades.get(query.get("symbol", ""), ()))
        return _response(200, [_rest_trade(t) for t in trades[-min(int(query.get("limit", "500")), 1000) :]])

    def _historical_trades(self, query: dict[str, str]) -> Response:
        if self.faults.historical_trades_need_key:
            return _response(401, {"code": -2014, "msg": "API-key format invalid."})
        if "fromId" not in query:
            return self._latest_trades(query)
        trades = [t for t in self._trades.get(query.get("symbol", ""), ()) if t["t"] >= int(query["fromId"])]
        return _response(200, [_rest_trade(t) for t in trades[: min(int(query.get("limit", "500")), 1000)]])

    def _exchange_info(self, query: dict[str, str]) -> Response:
        wanted = json.loads(query["symbols"]) if "symbols" in query else list(self._instruments)
        if not set(wanted) <= set(self._instruments):
            return _response(400, {"code": -1121, "msg": "Invalid symbol."})
        symbols = [_symbol_info(self._instruments[symbol]) for symbol in wanted]
        return _response(
            200,
            {
                "timezone": "UTC",
                "serverTime": time.time_ns() // 1_000_000,
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": symbols,
            },
        )


def _response(status: int, body: object, extra: Mapping[str, str] | None = None) -> Response:
    data = json.dumps(body).encode()
    headers = Headers(
        {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close", **(extra or {})}
    )
    return Response(status, _REASONS.get(status, "Error"), headers, data)


def _rest_trade(trade: Mapping[str, Any]) -> dict[str, Any]:
    quote = Decimal(trade["p"]) * Decimal(trade["q"])
    return {
        "id": trade["t"],
        "price": trade["p"],
        "qty": trade["q"],
        "quoteQty": f"{quote:.8f}",
        "time": trade["T"],
        "isBuyerMaker": trade["m"],
        "isBestMatch": True,
    }


def _symbol_info(instrument: Instrument) -> dict[str, Any]:
    return {
        "symbol": instrument.symbol,
        "status": "TRADING",
        "baseAsset": instrument.base.code,
        "quoteAsset": instrument.quote.code,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": instrument.tick_size},
            {"filterType": "LOT_SIZE", "stepSize": instrument.lot_size},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


@asynccontextmanager
async def running_binance_server(
    frames: Iterable[RecordedFrame], instruments: Iterable[Instrument], *, ping_seconds: float = 20
) -> AsyncIterator[BinanceServer]:
    """A server on an ephemeral port of 127.0.0.1 while the block runs."""
    binance = BinanceServer(frames, instruments)
    async with serve(
        binance._handle,
        "127.0.0.1",
        0,
        process_request=binance._rest,
        ping_interval=ping_seconds,
        compression=None,
        close_timeout=1,
    ) as server:
        binance._server = server
        try:
            yield binance
        finally:
            binance.disconnect_all()
