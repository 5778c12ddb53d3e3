"""Prints fills, orders and market data as they happen, from the gateway's WebSocket.

    python examples/stream.py --key bot.key.json [--url http://127.0.0.1:8082] [--symbol BTCUSDT] [--seconds 30]

Whoever reads too slowly is disconnected rather than served old news, and a desk may restart: so the program connects
again, and after a gap it reads what it may have missed over REST.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import ClientConnection, connect

from polaris_synapse.web.signing import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    SigningKey,
    read_key_file,
    signed_headers,
)

RECONNECT_SECONDS = 1.0


def login_params(key: SigningKey) -> dict[str, Any]:
    """What `login` takes: a signature over GET, /ws and an empty body, as for a request."""
    headers = signed_headers(key, "GET", "/ws")
    return {
        "key": headers[KEY_HEADER],
        "timestamp": headers[TIMESTAMP_HEADER],
        "nonce": headers[NONCE_HEADER],
        "signature": headers[SIGNATURE_HEADER],
    }


def ask(socket: ClientConnection, number: int, method: str, params: dict[str, Any]) -> None:
    """Send one request. Its answer comes back with the same id, between events."""
    socket.send(json.dumps({"id": number, "method": method, "params": params}))


def messages(url: str, key: SigningKey, channels: list[str], until: float) -> Iterator[dict[str, Any]]:
    """Everything the desk says, over as many connections as it takes, until that time of the monotonic clock."""
    address = url.replace("http", "ws", 1) + "/ws"
    while time.monotonic() < until:
        try:
            with connect(address, proxy=None) as socket:
                ask(socket, 1, "login", login_params(key))
                ask(socket, 2, "subscribe", {"channels": channels})
                while (left := until - time.monotonic()) > 0:
                    try:
                        yield json.loads(socket.recv(timeout=left))
                    except TimeoutError:
                        return
        except (ConnectionClosed, InvalidHandshake, OSError) as error:
            print(f"The connection is gone ({error}); connecting again.")
            time.sleep(RECONNECT_SECONDS)


def missed_fills(url: str, key: SigningKey) -> list[dict[str, Any]]:
    """The newest fills over REST: what a gap in the stream may have hidden."""
    target = "/executions?limit=20"
    response = httpx2.get(url + target, headers=signed_headers(key, "GET", target), timeout=10)
    response.raise_for_status()
    found: list[dict[str, Any]] = response.json()["executions"]
    return found


def line(message: dict[str, Any]) -> str:
    """An event in one line."""
    channel, event, data = message["channel"], message["event"], message["data"]
    if event == "execution":
        kind = "simulated" if data["simulated"] else "traded"
        return f"FILL   {data['side']} {data['quantity']} {data['symbol']} at {data['price']} ({kind}: {data['how']})"
    if event == "order":
        return f"ORDER  {data['order_id']} {data['side']} {data['symbol']} is {data['state']}"
    if event == "mark":
        return f"MARK   {channel.removeprefix('market:')} {data['mark']} ({data['bid']} / {data['ask']})"
    return f"{event.upper():<6} {json.dumps(data)}"


def main() -> None:
    """Listen and print."""
    parser = argparse.ArgumentParser(description="Print fills, orders and market data.")
    parser.add_argument("--key", type=Path, required=True, help="a key file made by: polaris user key")
    parser.add_argument("--url", default="http://127.0.0.1:8082")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--seconds", type=float, default=30.0)
    options = parser.parse_args()

    key = read_key_file(options.key)
    channels = ["executions", "orders", "status", f"market:{options.symbol}"]
    for message in messages(options.url, key, channels, time.monotonic() + options.seconds):
        if "error" in message:
            raise SystemExit(f"{message['error']['reason']}: {message['error']['detail']}")
        if "result" in message:
            continue
        if message["event"] == "gap":
            for fill in missed_fills(options.url, key):
                print(f"MISSED? {fill['execution_id']} {fill['side']} {fill['quantity']} at {fill['price']}")
        elif message["event"] in {"execution", "order", "mark", "breaker", "kill_level"}:
            print(line(message), flush=True)


if __name__ == "__main__":
    main()
