"""Buys a little, waits, and sells it again, over REST with signed requests.

    python examples/trade.py --key bot.key.json [--url http://127.0.0.1:8082] [--symbol BTCUSDT] [--quantity 0.001]

A request whose answer was lost is simply sent again: the order carries a client_order_id, and the same order with the
same id answers with what it made the first time. It never orders twice.
"""

from __future__ import annotations

import argparse
import json
import secrets
import time
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import httpx2

from polaris_synapse.web.signing import SigningKey, read_key_file, signed_headers

ATTEMPTS_MAX = 5
#: Answers after which the outcome is not known, or the desk was busy: ask again.
ASK_AGAIN = {202, 429, 502, 503, 504}


class Desk:
    """Signed requests to a desk's gateway."""

    def __init__(self, url: str, key: SigningKey) -> None:
        self._key = key
        self._http = httpx2.Client(base_url=url, timeout=10)

    def call(self, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to one request, sent again where its outcome is not known. Raises RuntimeError when refused."""
        content = b"" if body is None else json.dumps(body).encode()
        problem = ""
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                time.sleep(0.2 * 2**attempt)
            # Each attempt is signed anew: a signature holds once, and for a few seconds only.
            headers = signed_headers(self._key, method, target, content)
            if content:
                headers["content-type"] = "application/json"
            try:
                response = self._http.request(method, target, content=content, headers=headers)
            except httpx2.TransportError as error:
                problem = f"no answer ({error})"
                continue
            answer = response.json()
            if response.status_code in ASK_AGAIN:
                problem = f"{answer['reason']}: {answer['message']}"
                continue
            if response.status_code >= 400:
                raise RuntimeError(f"{answer['reason']} ({answer['code']}): {answer['detail'] or answer['message']}")
            return answer
        raise RuntimeError(f"gave up after {ATTEMPTS_MAX} attempts: {problem}")


def show(answer: Any) -> None:
    """Print an order and its fills."""
    order = answer["order"]
    again = " (it existed already)" if answer["duplicate"] else ""
    print(
        f"{order['side']} {order['quantity']} {order['symbol']}: order {order['order_id']} is {order['state']}{again}"
    )
    for fill in answer["fills"]:
        kind = "simulated" if fill["simulated"] else "traded"
        print(f"  {kind}: {fill['quantity']} at {fill['price']}, fee {fill['fee']} {fill['fee_asset']}: {fill['how']}")


def main() -> None:
    """Trade once there and back."""
    parser = argparse.ArgumentParser(description="Buy, wait, sell.")
    parser.add_argument("--key", type=Path, required=True, help="a key file made by: polaris user key")
    parser.add_argument("--url", default="http://127.0.0.1:8082")
    parser.add_argument("--account", default="main")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--quantity", default="0.001")
    parser.add_argument("--hold", type=float, default=2.0, help="seconds between buying and selling")
    options = parser.parse_args()

    desk = Desk(options.url, read_key_file(options.key))
    run = secrets.token_hex(4)
    order = {"account": options.account, "symbol": options.symbol, "type": "MARKET"}
    buy = order | {"side": "BUY", "quantity": options.quantity, "client_order_id": f"trade-{run}-buy"}

    bought = desk.call("POST", "/orders?wait_ms=3000", buy)
    show(bought)
    # As after a lost answer: the very same order once more.
    show(desk.call("POST", "/orders?wait_ms=3000", buy))

    time.sleep(options.hold)

    # A buyer's fee is taken from what was bought, so there is a little less to sell: whole lots of the rest.
    base_fees = sum((Decimal(fill["fee"]) for fill in bought["fills"]), Decimal(0))
    instruments = {row["symbol"]: row for row in desk.call("GET", "/instruments")["instruments"]}
    lot = Decimal(instruments[options.symbol]["lot_size"])
    left = Decimal(bought["order"]["filled_quantity"]) - base_fees
    quantity = (left / lot).to_integral_value(ROUND_DOWN) * lot
    sell = order | {"side": "SELL", "quantity": f"{quantity:f}", "client_order_id": f"trade-{run}-sell"}
    sold = desk.call("POST", "/orders?wait_ms=3000", sell)
    show(sold)

    for position in desk.call("GET", f"/positions?account={options.account}")["positions"]:
        if position["symbol"] == options.symbol:
            print(f"Realised on {options.symbol} so far: {position['realised_pnl']}, fees {position['fees']}")


if __name__ == "__main__":
    main()
