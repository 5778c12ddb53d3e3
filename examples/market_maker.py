"""Quotes both sides of the desk's own book around the market price of the instrument it follows.

    python examples/market_maker.py --key bot.key.json [--spread-bps 10] [--quantity 0.001] [--seconds 60]

Everything goes over one WebSocket that logs in with cancel_on_disconnect: however this program ends, the desk cancels
what it left on the book. The quotes are post-only, so they never take; they lean against the position, and a side that
would make the position too large is not quoted.
"""

from __future__ import annotations

import argparse
import itertools
import json
import secrets
import time
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from polaris_synapse.web.signing import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SigningKey,
    read_key_file,
    signed_headers,
)

ONE_BPS = Decimal("0.0001")
TICK = Decimal("0.01")
LOT = Decimal("0.00001")
#: Quotes follow the market when it has moved by this share of the spread, and not oftener than this.
MOVE_SHARE = Decimal("0.2")
REQUOTE_SECONDS = 0.5


class Connection:
    """One logged-in WebSocket that keeps answers and events apart."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one request; the events that come before it wait in ``events``."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = self._receive(10.0)
            if message is None:
                raise SystemExit(f"The desk did not answer {method}.")
            if "channel" in message:
                self.events.append(message)
            elif message["id"] == number:
                return message

    def log_in(self, key: SigningKey) -> None:
        """Log in with a signature over GET, /ws and an empty body."""
        headers = signed_headers(key, "GET", "/ws")
        answer = self.call(
            "login",
            key=headers[KEY_HEADER],
            timestamp=headers[TIMESTAMP_HEADER],
            nonce=headers[NONCE_HEADER],
            signature=headers[SIGNATURE_HEADER],
            cancel_on_disconnect=True,
        )
        if "error" in answer:
            raise SystemExit(f"{answer['error']['reason']}: {answer['error']['detail']}")

    def next_events(self, seconds_max: float) -> list[dict[str, Any]]:
        """What has happened; waits for the first event."""
        if not self.events and (message := self._receive(seconds_max)) is not None:
            self.events.append(message)
        found, self.events = self.events, []
        return found

    def _receive(self, seconds_max: float) -> dict[str, Any] | None:
        try:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=seconds_max))
        except TimeoutError:
            return None
        return message


class MarketMaker:
    """Two quotes and the position they have led to."""

    def __init__(self, connection: Connection, options: argparse.Namespace) -> None:
        self._connection = connection
        self._options = options
        self._quotes: dict[str, tuple[int, Decimal]] = {}
        self._quoted_at = 0.0
        self.position = Decimal(0)
        self.fills = 0

    def take(self, event: dict[str, Any]) -> Decimal | None:
        """Note what an event says; the market's price if it says one that may be traded on."""
        data = event["data"]
        mine = (self._options.account, self._options.symbol)
        if event["event"] == "execution" and (data["account"], data["symbol"]) == mine:
            sign = 1 if data["side"] == "BUY" else -1
            self.position += sign * Decimal(data["quantity"])
            self.fills += 1
            print(f"{data['side']} {data['quantity']} at {data['price']}; position {self.position:f}", flush=True)
        elif event["event"] == "order" and not data["open"]:
            self._quotes = {side: quote for side, quote in self._quotes.items() if quote[0] != data["order_id"]}
        elif event["event"] == "mark" and data["healthy"]:
            return Decimal(data["mark"])
        return None

    def quote(self, market: Decimal) -> None:
        """Put the two quotes where they belong now."""
        if time.monotonic() - self._quoted_at < REQUOTE_SECONDS:
            return
        self._quoted_at = time.monotonic()
        half = market * Decimal(self._options.spread_bps) * ONE_BPS / 2
        quantity, position_max = Decimal(self._options.quantity), Decimal(self._options.position_max)
        # A long position moves both quotes down: selling becomes likelier than buying.
        centre = market - half * (self.position / position_max)
        bid = ((centre - half) / TICK).to_integral_value(ROUND_FLOOR) * TICK
        ask = ((centre + half) / TICK).to_integral_value(ROUND_CEILING) * TICK
        # The fee of a buyer is taken from what was bought, so positions end between two lots.
        self._side("BUY", bid, half, wanted=self.position + quantity <= position_max + LOT)
        self._side("SELL", ask, half, wanted=self.position - quantity >= -position_max - LOT)

    def _side(self, side: str, price: Decimal, half: Decimal, *, wanted: bool) -> None:
        standing = self._quotes.get(side)
        if standing is None:
            if wanted:
                self._place(side, price)
            return
        order_id, quoted = standing
        if not wanted:
            self._connection.call("cancel", order_id=order_id)
            self._quotes.pop(side, None)
        elif abs(price - quoted) > half * MOVE_SHARE:
            answer = self._connection.call("replace", order_id=order_id, price=f"{price:f}")
            if "result" in answer:
                self._quotes[side] = (order_id, price)
            else:
                # It has just filled or ended: its event is on the way, and the next quote is a new order.
                self._quotes.pop(side, None)

    def _place(self, side: str, price: Decimal) -> None:
        options = self._options
        answer = self._connection.call(
            "submit",
            account=options.account,
            symbol=options.symbol,
            side=side,
            type="LIMIT",
            price=f"{price:f}",
            quantity=options.quantity,
            post_only="REPRICE",
            client_order_id=f"maker-{secrets.token_hex(8)}",
        )
        if "result" in answer:
            order = answer["result"]["order"]
            self._quotes[side] = (order["order_id"], price)
            print(f"quoting {side} {options.quantity} at {price:f}", flush=True)
        else:
            print(f"no {side} quote: {answer['error']['reason']}: {answer['error']['detail']}", flush=True)


def main() -> None:
    """Quote until the time is up or Ctrl-C."""
    parser = argparse.ArgumentParser(description="Quote both sides of the desk's own book.")
    parser.add_argument("--key", type=Path, required=True, help="a key file made by: polaris user key")
    parser.add_argument("--url", default="http://127.0.0.1:8082")
    parser.add_argument("--account", default="main")
    parser.add_argument("--symbol", default="BTCUSDT.INT")
    parser.add_argument("--follow", default="BTCUSDT", help="the instrument whose price is quoted around")
    parser.add_argument("--spread-bps", default="10", help="distance between the two quotes")
    parser.add_argument("--quantity", default="0.001")
    parser.add_argument("--position-max", default="0.01")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()

    until = time.monotonic() + options.seconds
    with connect(options.url.replace("http", "ws", 1) + "/ws", proxy=None) as socket:
        connection = Connection(socket)
        connection.log_in(read_key_file(options.key))
        connection.call("subscribe", channels=["executions", "orders", f"market:{options.follow}"])
        maker = MarketMaker(connection, options)
        try:
            while (left := until - time.monotonic()) > 0:
                marks = [maker.take(event) for event in connection.next_events(left)]
                if known := [mark for mark in marks if mark is not None]:
                    maker.quote(known[-1])
        except KeyboardInterrupt:
            pass
    print(f"Done: {maker.fills} fills, position {maker.position:f}. The desk cancels what was still quoted.")


if __name__ == "__main__":
    main()
