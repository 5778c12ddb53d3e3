"""Orders against a desk of services, and what was promised about each of them."""

from __future__ import annotations

import random
import threading
import time
from itertools import pairwise
from typing import Final

import httpx2
from msgspec import Struct

from polaris_synapse.testing.cluster import ClusterDesk

_PAUSE_SECONDS: Final = 0.05
_FAILED_PAUSE_SECONDS: Final = 0.1
_ACCOUNT: Final = "main"
_CREATED: Final = 201
_OUTCOME_UNKNOWN: Final = (202, 504)


class Promise(Struct, frozen=True, kw_only=True):
    """An order that was acknowledged: what the client was told, and when by this process's monotonic clock."""

    client_order_id: str
    order_id: int
    symbol: str
    at: float


class OrderLoad:
    """Sends market and limit orders, one after the other, in a thread, and remembers every answer."""

    def __init__(self, desk: ClusterDesk, seed: int) -> None:
        self._desk = desk
        self._random = random.Random(seed)  # noqa: S311  # orders to be repeatable, not secret
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
        self._number = 0
        self.promises: list[Promise] = []
        self.refused: dict[str, int] = {}
        self.unknown: list[str] = []
        self.seconds: list[float] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; returns when the last answer is here."""
        self._stopping.set()
        self._thread.join()

    def wait_for_promise(self, after: float, seconds_max: float) -> float | None:
        """The moment of the first promise after a moment; None where none comes in time."""
        deadline = time.monotonic() + seconds_max
        while time.monotonic() < deadline:
            if self.promises and self.promises[-1].at > after:
                return next(promise.at for promise in self.promises if promise.at > after)
            time.sleep(_PAUSE_SECONDS)
        return None

    def longest_silence(self, begin: float, end: float) -> float:
        """The longest time between two promises that lies in a window."""
        moments = [begin, *(promise.at for promise in self.promises if begin < promise.at < end), end]
        return max(later - earlier for earlier, later in pairwise(moments))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._number += 1
            pause = _PAUSE_SECONDS if self._send(f"load-{self._number}") else _FAILED_PAUSE_SECONDS
            self._stopping.wait(pause)

    def _order(self, client_order_id: str) -> dict[str, object]:
        chance = self._random
        symbol = chance.choice(("BTCUSDT", "BTCUSDT", "ETHUSDT", "BTCUSDT.INT"))
        # Quantities differ, or the throttle on repeated orders would stop the account, as it should.
        quantity = (
            f"0.{chance.randrange(100, 999):05d}" if symbol != "ETHUSDT" else f"0.{chance.randrange(30, 999):04d}"
        )
        order: dict[str, object] = {
            "account": _ACCOUNT,
            "symbol": symbol,
            "client_order_id": client_order_id,
            "side": chance.choice(("BUY", "SELL")),
            "quantity": quantity,
            "type": "MARKET",
        }
        if symbol == "BTCUSDT.INT":
            order |= {"type": "LIMIT", "price": str(chance.randrange(59_000, 62_000)), "time_in_force": "IOC"}
        return order

    def _send(self, client_order_id: str) -> bool:
        order = self._order(client_order_id)
        began = time.monotonic()
        try:
            response = self._desk.request("order-gateway", "POST", "/orders", order)
        except (httpx2.TransportError, AssertionError):
            self.unknown.append(client_order_id)
            return False
        if response.status_code == _CREATED:
            found = response.json()["order"]
            now = time.monotonic()
            self.seconds.append(now - began)
            self.promises.append(
                Promise(
                    client_order_id=client_order_id, order_id=found["order_id"], symbol=str(order["symbol"]), at=now
                )
            )
            return True
        if response.status_code in _OUTCOME_UNKNOWN:
            self.unknown.append(client_order_id)
        else:
            reason = str(response.json().get("reason", response.status_code))
            self.refused[reason] = self.refused.get(reason, 0) + 1
        return False
