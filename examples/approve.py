"""Decides on the orders of agents that wait for a person, by a rule of yours, for as long as it runs.

    polaris user key approver --role TRADER --accounts jarvis --out approver.key.json
    python examples/approve.py --key approver.key.json [--url http://127.0.0.1:8000] [--value-max 300] [--seconds 60]

The desk holds what an agent may not place alone. This program approves a request that is worth at most --value-max and
buys, and rejects the others. Every decision is bound to the hash of the order that was looked at, so an order that is
another one by then is refused; and every check of the desk looks at the order again. An approver's key acts for you:
give it the accounts that it needs, and no agent may have it.
"""

from __future__ import annotations

import argparse
import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

from polaris_synapse.web.signing import SigningKey, read_key_file, signed_headers

LOOK_SECONDS = 0.5


class Desk:
    """Signed requests to the agents' service."""

    def __init__(self, url: str, key: SigningKey) -> None:
        self._key = key
        self._http = httpx2.Client(base_url=url, timeout=10)

    def call(self, method: str, target: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        """The status and the answer of one request."""
        content = b"" if body is None else json.dumps(body).encode()
        headers = signed_headers(self._key, method, target, content) | {"content-type": "application/json"}
        response = self._http.request(method, target, content=content, headers=headers)
        return response.status_code, response.json()


def verdict(request: dict[str, Any], value_max: Decimal) -> tuple[str, str]:
    """What to do with a request, and why. Put your own rule here."""
    if request["order"]["side"] != "BUY":
        return "reject", "only purchases are approved here"
    if Decimal(request["value"]) > value_max:
        return "reject", f"worth more than {value_max:f}"
    return "approve", f"worth at most {value_max:f}"


def main() -> None:
    """Look for requests and decide on each once."""
    parser = argparse.ArgumentParser(description="Approve or reject what agents ask for.")
    parser.add_argument("--key", type=Path, required=True, help="a key file made by: polaris user key")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the agents' service")
    parser.add_argument("--value-max", type=Decimal, default=Decimal(300), help="in the valuation asset")
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()

    desk = Desk(options.url, read_key_file(options.key))
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        status, answer = desk.call("GET", "/approvals?state=PENDING")
        if status >= 400:
            raise SystemExit(f"{answer['reason']} ({answer['code']}): {answer['detail'] or answer['message']}")
        for request in answer["approvals"]:
            verb, because = verdict(request, options.value_max)
            number = request["approval_id"]
            body = {"order_hash": request["order_hash"], "note": because}
            status, decided = desk.call("POST", f"/approvals/{number}/{verb}", body)
            # Somebody else was quicker, its time ran out, or a check stands against the order by now.
            outcome = decided["state"] if status < 400 else f"not decided: {decided['reason']}"
            print(f"Request {number} of {request['agent']}: {request['words']}: {outcome} ({because})", flush=True)
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main()
