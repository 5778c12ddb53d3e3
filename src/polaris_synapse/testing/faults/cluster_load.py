"""Orders against a desk of services, and what was promised about each of them.

A lane is a trader with an account of its own. It behaves as a careful client does: an order whose outcome it was not
told is sent again under its own id, to another gateway, until there is an answer; and now and then one that was
answered long ago is sent again too.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import httpx2
import msgspec
from msgspec import Struct

from polaris_synapse.testing.cluster import ClusterDesk, ServiceProcess

#: With two partitions of each inbox, each of them has two of these accounts, a venue's symbol and a book of the desk.
ACCOUNTS: Final = ("cluster-1", "cluster-2", "cluster-4", "cluster-5")
VENUE_SYMBOLS: Final = ("BTCUSDT", "ETHUSDT")
BOOK_SYMBOLS: Final = ("BTCUSDT.INT", "ETHUSDT.BOOK")
PARTITIONS: Final = 2
_BOOK_CENTS: Final = {"BTCUSDT.INT": 6_100_000, "ETHUSDT.BOOK": 265_000}
#: How far from the middle orders of the desk's own books lie, so that about half of them trade.
_SPREAD_CENTS: Final = 40
_PAUSE_SECONDS: Final = 0.1
_FAILED_PAUSE_SECONDS: Final = 0.2
_JOIN_SECONDS_MAX: Final = 120.0
_RECENT_MAX: Final = 20
_CANCEL_CHANCE: Final = 0.15
_REPEAT_CHANCE: Final = 0.04
_TAKEN: Final = (200, 201)
_OUTCOME_UNKNOWN: Final = (202, 504)


class Promise(Struct, frozen=True, kw_only=True):
    """An order that was acknowledged: what was asked for, what the client was told, and when by this process's clock.

    ``repeated``: it was answered as one that existed already, since an answer before was lost.
    """

    account: str
    client_order_id: str
    order_id: int
    symbol: str
    side: str
    quantity: str
    at: float
    repeated: bool = False


class _Lane:
    """One trader in a thread."""

    def __init__(self, load: OrderLoad, account: str, seed: int) -> None:
        self.load = load
        self.account = account
        self.chance = random.Random(f"{seed}/{account}")  # noqa: S311  # orders to be repeatable, not secret
        self.thread = threading.Thread(target=self._run, name=f"orders of {account}", daemon=True)
        self.promises: list[Promise] = []
        self._recent: deque[tuple[dict[str, str], Promise]] = deque(maxlen=_RECENT_MAX)
        self._number = 0
        self._turn = 0

    def _run(self) -> None:
        load = self.load
        while not load.stopping.is_set():
            draw = self.chance.random()
            if self._recent and draw < _CANCEL_CHANCE:
                self._ask("DELETE", f"/orders/{self.chance.choice(self._recent)[1].order_id}")
            elif self._recent and draw < _CANCEL_CHANCE + _REPEAT_CHANCE:
                self._repeat(*self.chance.choice(self._recent))
            else:
                self._number += 1
                self._place(self._order(f"{self.account}-{self._number}"))
            load.stopping.wait(_PAUSE_SECONDS)

    def _order(self, client_order_id: str) -> dict[str, str]:
        symbol = self.chance.choice((*VENUE_SYMBOLS, *BOOK_SYMBOLS))
        is_bitcoin = symbol.startswith("BTC")
        lots = self.chance.randrange(100, 999)
        order = {
            "account": self.account,
            "symbol": symbol,
            "client_order_id": client_order_id,
            "side": self.chance.choice(("BUY", "SELL")),
            "quantity": f"0.{lots:05d}" if is_bitcoin else f"0.{lots:04d}",
            "type": "MARKET",
        }
        if symbol in BOOK_SYMBOLS:
            cents = _BOOK_CENTS[symbol] + self.chance.randrange(-_SPREAD_CENTS, _SPREAD_CENTS + 1)
            order |= {"type": "LIMIT", "price": f"{cents // 100}.{cents % 100:02d}"}
        return order

    def _place(self, order: dict[str, str]) -> None:
        """Send an order until its outcome is known; sent again it is the same order, so that has one effect."""
        attempts = 0
        began = time.monotonic()
        while True:
            response = self._ask("POST", "/orders", order)
            attempts += 1
            if response is not None and response.status_code not in _OUTCOME_UNKNOWN:
                break
            self.load.count("unknown")
            if self.load.stopping.is_set() and attempts > 1:
                return
            time.sleep(_FAILED_PAUSE_SECONDS)
        if response.status_code in _TAKEN:
            now = time.monotonic()
            promise = Promise(
                account=self.account,
                client_order_id=order["client_order_id"],
                order_id=response.json()["order"]["order_id"],
                symbol=order["symbol"],
                side=order["side"],
                quantity=order["quantity"],
                at=now,
                repeated=response.status_code != _TAKEN[1],
            )
            self.promises.append(promise)
            self._recent.append((order, promise))
            if attempts == 1:
                self.load.seconds.append(now - began)
            return
        reason = _reason(response)
        self.load.count(reason)
        if attempts == 1:
            # Without a doubt before: this order must not exist.
            self.load.refused_for_good.append((self.account, order["client_order_id"]))
        self.load.stopping.wait(_FAILED_PAUSE_SECONDS)

    def _repeat(self, order: dict[str, str], promise: Promise) -> None:
        """Send an answered order again: the answer must be the same."""
        response = self._ask("POST", "/orders", order)
        if response is None or response.status_code not in _TAKEN:
            return
        told = response.json()["order"]["order_id"]
        if told != promise.order_id:
            self.load.contradictions.append(
                f"{promise.client_order_id} of {self.account} was order {promise.order_id}, and {told} when sent again"
            )

    def _ask(self, method: str, target: str, body: dict[str, str] | None = None) -> httpx2.Response | None:
        """One request at the next gateway; None where nothing came back."""
        gateway = self._next_gateway()
        if gateway is None:
            return None
        payload = b"" if body is None else msgspec.json.encode(body)
        headers = self.load.desk.signed(method, target, payload)
        if payload:
            headers = {"content-type": "application/json"} | headers
        try:
            return self.load.desk.client.request(method, gateway + target, content=payload, headers=headers)
        except httpx2.TransportError:
            return None

    def _next_gateway(self) -> str | None:
        urls = [url for one in tuple(self.load.desk.instances["order-gateway"]) if (url := _url(one)) is not None]
        self._turn += 1
        return urls[self._turn % len(urls)] if urls else None


def _url(service: ServiceProcess) -> str | None:
    """Where a gateway listens; None while it does not. It may be killed at any moment by another thread."""
    place = service.place
    return f"http://{place.host}:{place.port}" if place is not None and service.running else None


def _reason(response: httpx2.Response) -> str:
    try:
        body: Any = response.json()
    except ValueError:
        return f"HTTP {response.status_code}"
    return str(body.get("reason", f"HTTP {response.status_code}"))


class OrderLoad:
    """Lanes, and everything that they were told."""

    def __init__(self, desk: ClusterDesk, seed: int) -> None:
        self.desk = desk
        self.stopping = threading.Event()
        self.counts: dict[str, int] = {}
        self.contradictions: list[str] = []
        self.refused_for_good: list[tuple[str, str]] = []
        self.seconds: list[float] = []
        self._lock = threading.Lock()
        self._lanes = [_Lane(self, account, seed) for account in ACCOUNTS]

    def start(self) -> None:
        """Begin."""
        for lane in self._lanes:
            lane.thread.start()

    def stop(self) -> None:
        """Send no more; returns when the last answer is here. Raises TimeoutError where it does not come."""
        self.stopping.set()
        for lane in self._lanes:
            lane.thread.join(_JOIN_SECONDS_MAX)
            if lane.thread.is_alive():
                raise TimeoutError(f"{lane.account} waits for an answer that never comes")

    def count(self, what: str) -> None:
        """Note a refusal by its reason, or an outcome that is not known as ``unknown``."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    @property
    def promises(self) -> list[Promise]:
        """Every promise so far, account by account."""
        return [promise for lane in self._lanes for promise in tuple(lane.promises)]

    def wait_for_promises(self, after: float, seconds_max: float) -> None:
        """Return once every lane was promised something after a moment. Raises TimeoutError."""
        deadline = time.monotonic() + seconds_max
        while True:
            waiting = [lane.account for lane in self._lanes if not lane.promises or lane.promises[-1].at <= after]
            if not waiting:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{', '.join(waiting)} had no order acknowledged within {seconds_max:g} s; so far: {self.counts}"
                )
            time.sleep(_PAUSE_SECONDS)

    def longest_silence(self, begin: float, end: float) -> tuple[float, str]:
        """The longest time between two promises to one lane within a window, and whose it was."""
        moments = {lane.account: [promise.at for promise in tuple(lane.promises)] for lane in self._lanes}
        return longest_gap(moments, begin, end)


def longest_gap(moments: Mapping[str, Sequence[float]], begin: float, end: float) -> tuple[float, str]:
    """The longest time between two moments of one name within a window, and whose it was. Moments ascend."""
    worst = (0.0, "")
    for name, all_of_it in moments.items():
        inside = [begin, *(at for at in all_of_it if begin < at < end), end]
        worst = max(worst, (max(later - earlier for earlier, later in pairwise(inside)), name))
    return worst
