"""Buys at the market and leaves an exit with the desk: a profit order and a stop, of which one cancels the other.

    polaris user key guard --algorithm HMAC_SHA256 --accounts main --out guard.key.json
    python examples/protect.py --key guard.key.json [--url http://127.0.0.1:8082] [--percent 1] [--cancel]

The exit is state of the desk: it holds when this program has ended, and after a restart of the desk. Requests are
signed with HMAC-SHA256 by nothing but Python's standard library, to show what another language has to do.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import secrets
import time
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

ANSWER_SECONDS_MAX = 10
LOOK_SECONDS = 0.1
LOOKS_MAX = 50


class Desk:
    """A desk's gateway, and a key of it."""

    def __init__(self, url: str, key_file: Path) -> None:
        key = json.loads(key_file.read_text(encoding="utf-8"))
        if key["algorithm"] != "HMAC_SHA256":
            raise SystemExit("This program signs with HMAC; make its key with --algorithm HMAC_SHA256.")
        self._url = url
        self._key_id, self._secret = key["key_id"], base64.b64decode(key["secret"])

    def call(self, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
        """The answer to a request. Raises SystemExit with the desk's own words where it refuses."""
        content = b"" if body is None else json.dumps(body).encode()
        stamp, nonce = str(time.time_ns() // 1_000_000), secrets.token_hex(16)
        signed = f"{method}\n{target}\n{stamp}\n{nonce}\n{hashlib.sha256(content).hexdigest()}"
        headers = {
            "content-type": "application/json",
            "x-polaris-key": self._key_id,
            "x-polaris-timestamp": stamp,
            "x-polaris-nonce": nonce,
            "x-polaris-signature": hmac.new(self._secret, signed.encode(), hashlib.sha256).hexdigest(),
        }
        request = Request(self._url + target, method=method, data=content or None, headers=headers)  # noqa: S310  # its user names the desk
        try:
            with urlopen(request, timeout=ANSWER_SECONDS_MAX) as response:  # noqa: S310
                return json.load(response)
        except HTTPError as error:
            answer = json.load(error)
            raise SystemExit(
                f"{answer['reason']} ({answer['code']}): {answer['detail'] or answer['message']}"
            ) from None


def on_grid(number: Decimal, step: str) -> Decimal:
    """The number, down to a whole number of steps."""
    return (number / Decimal(step)).to_integral_value(ROUND_DOWN) * Decimal(step)


def main() -> None:
    """Get in, and leave the way out with the desk."""
    parser = argparse.ArgumentParser(description="Buy, and leave an OCO behind.")
    parser.add_argument("--key", type=Path, required=True, help="a key file made with --algorithm HMAC_SHA256")
    parser.add_argument("--url", default="http://127.0.0.1:8082")
    parser.add_argument("--account", default="main")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--quantity", default="0.001")
    parser.add_argument("--percent", type=Decimal, default=Decimal(1), help="how far away profit and stop lie")
    parser.add_argument("--cancel", action="store_true", help="take the exit away again at the end")
    options = parser.parse_args()

    desk = Desk(options.url, options.key)
    run = secrets.token_hex(4)
    grid = next(row for row in desk.call("GET", "/instruments")["instruments"] if row["symbol"] == options.symbol)
    order = {"account": options.account, "symbol": options.symbol, "side": "BUY", "type": "MARKET"}
    wanted = {"quantity": options.quantity, "client_order_id": f"protect-{run}"}
    bought = desk.call("POST", "/orders?wait_ms=3000", order | wanted)
    if not bought["fills"]:
        raise SystemExit(f"Order {bought['order']['order_id']} is {bought['order']['state']}: nothing to protect.")
    price = Decimal(bought["fills"][0]["price"])
    # The fee is taken from what was bought.
    held = sum(Decimal(fill["quantity"]) - Decimal(fill["fee"]) for fill in bought["fills"])
    quantity = on_grid(Decimal(held), grid["lot_size"])
    print(f"Bought {held:f} at {price:f}.")

    step = price * options.percent / 100
    profit, stop = on_grid(price + step, grid["tick_size"]), on_grid(price - step, grid["tick_size"])
    leg = {"side": "SELL", "quantity": f"{quantity:f}"}
    placed = desk.call(
        "POST",
        "/order-lists?wait_ms=3000",
        {
            "kind": "OCO",
            "account": options.account,
            "symbol": options.symbol,
            "client_list_id": f"exit-{run}",
            "orders": [
                leg | {"type": "LIMIT", "price": f"{profit:f}"},
                leg | {"type": "STOP", "stop_price": f"{stop:f}"},
            ],
        },
    )
    made = placed["order_list"]
    print(f"Exit {made['list_id']} is {made['state']}: sells at {profit:f}, or when it falls to {stop:f}.")
    for one in placed["orders"]:
        print(f"  order {one['order_id']}: {one['side']} {one['quantity']} {one['type']} is {one['state']}")
    if options.cancel:
        desk.call("DELETE", f"/order-lists/{made['list_id']}")
        # The answer says that the desk has taken the cancel; the venue's own answers come a moment later.
        for _ in range(LOOKS_MAX):
            ended = desk.call("GET", f"/order-lists/{made['list_id']}")["order_list"]
            if not ended["open"]:
                break
            time.sleep(LOOK_SECONDS)
        print(f"Exit {ended['list_id']} is {ended['state']}.")


if __name__ == "__main__":
    main()
