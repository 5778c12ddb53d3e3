"""Orders from several threads at a real desk, and an account of what it acknowledged."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
import yaml
from msgspec import Struct

from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.order_load import REFERENCE, SYMBOL, account_names, benchmark_settings

ACCOUNTS: Final = account_names(4)
#: Orders that each thread keeps to cancel one of.
_RECENT_ORDERS_MAX: Final = 20


class Acknowledged(Struct, frozen=True):
    """An order whose acknowledgement reached the client."""

    account: str
    client_order_id: str
    order_id: int


def write_fault_settings(path: Path, **changes: Any) -> Path:
    """Settings of a desk that takes every order and snapshots often; ``changes`` at the top level."""
    settings = benchmark_settings(ACCOUNTS) | {"journal": {"snapshot_interval_messages": 400}} | changes
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


class Load:
    """Traders in threads: market orders, resting orders and cancels at the paper venue and on the internal book.

    ``acknowledged`` and ``refused`` may be read at any time; an order whose answer never came is in neither.
    """

    def __init__(self, desk: DeskProcess, *, tag: str, seed: int, middle_cents: int) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.cancelled: list[int] = []
        self.refused: dict[str, int] = {}
        self._desk = desk
        self._tag = tag
        self._seed = seed
        self._middle_cents = middle_cents
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        self._threads = [
            threading.Thread(target=self._trade, args=(number,), name=f"trader {number}", daemon=True)
            for number in range(len(ACCOUNTS))
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, *, seconds_max: float = 35.0) -> None:
        """Stop and wait for the last answers, or for the connection to break."""
        self._stop.set()
        for thread in self._threads:
            thread.join(seconds_max)
            if thread.is_alive():
                raise TimeoutError(f"{thread.name} waits for an answer that never comes")

    def _trade(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{self._tag}/{number}")  # noqa: S311  # a reproducible stream
        account, made = ACCOUNTS[number], 0
        recent: list[int] = []
        try:
            while not self._stop.is_set():
                if recent and chance.random() < 0.25:
                    order_id = recent.pop(chance.randrange(len(recent)))
                    answer = self._desk.request("gateway", "DELETE", f"/orders/{order_id}")
                    if answer.status_code < 300:
                        self.cancelled.append(order_id)
                    continue
                client_order_id = f"{self._tag}-{number}-{made}"
                made += 1
                order = self._order(chance, account, client_order_id)
                answer = self._desk.request("gateway", "POST", "/orders", order)
                body = msgspec.json.decode(answer.content)
                if answer.status_code < 300:
                    order_id = body["order"]["order_id"]
                    self.acknowledged.append(Acknowledged(account, client_order_id, order_id))
                    recent = [*recent[-_RECENT_ORDERS_MAX:], order_id]
                else:
                    reason = body.get("reason", "UNREADABLE")
                    self.refused[reason] = self.refused.get(reason, 0) + 1
        except (httpx2.TransportError, OSError):
            return  # the desk is gone: what it did not answer is not acknowledged

    def _order(self, chance: random.Random, account: str, client_order_id: str) -> dict[str, object]:
        buys = chance.random() < 0.5
        order: dict[str, object] = {
            "account": account,
            "client_order_id": client_order_id,
            "symbol": chance.choice((REFERENCE, SYMBOL)),
            "side": "BUY" if buys else "SELL",
            "quantity": chance.choice(("0.001", "0.002", "0.005")),
        }
        if order["symbol"] == REFERENCE and chance.random() < 0.4:
            return order | {"type": "MARKET"}
        # A little through the middle at times, so that the internal book trades.
        cents = chance.randrange(-300, 3_000)
        price = self._middle_cents - cents if buys else self._middle_cents + cents
        return order | {"type": "LIMIT", "price": f"{price // 100}.{price % 100:02d}"}


def middle_cents(desk: DeskProcess) -> int:
    """The simulated market's best bid in cents."""
    book = desk.json("market_data", "GET", f"/book/{REFERENCE}")
    return round(float(book["bids"][0][0]) * 100)
