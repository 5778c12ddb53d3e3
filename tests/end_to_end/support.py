"""What the end-to-end tests share: settings made for a test, people who log in, a WebSocket client, exact sums."""

from __future__ import annotations

import itertools
import json
import secrets
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx2
import yaml
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from polaris_synapse.testing.desk_process import DeskProcess, decoded

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PASSWORD: Final = "correct horse battery staple"
T = TypeVar("T")

#: The smallest tradable quantity of each base asset, as configs/development.yml has it.
LOTS: Final = {"BTC": Decimal("0.00001"), "ETH": Decimal("0.0001")}

#: Limits that get in nobody's way, for accounts that test something else.
WIDE_LIMITS: Final = {
    "price_collar_ppm": 50_000,
    "messages_per_second_max": 100_000,
    "message_burst_max": 100_000,
    "repeated_orders_max": 10_000,
    "open_orders_max": 5_000,
}


def write_config(folder: Path, **changes: Any) -> Path:
    """The settings of development with ``changes`` at the top level, as a file in ``folder``. No agent unless given."""
    settings = yaml.safe_load((CHECKOUT / "configs" / "development.yml").read_text(encoding="utf-8"))
    settings["agent"] = {"enabled": False}
    settings["mandates"] = []
    settings.update(changes)
    path = folder / "desk.yml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


def account(name: str, **changes: Any) -> dict[str, Any]:
    """An account in the settings, with paper money to trade with."""
    deposits = {"USDT": "1000000", "BTC": "10", "ETH": "100"}
    return {"name": name, "holder": name.title(), "country": "CH", "deposits": deposits} | changes


def until(read: Callable[[], T], *, what: str, seconds_max: float = 10.0) -> T:
    """Read again and again until there is something true. Raises AssertionError with the last thing read."""
    deadline = time.monotonic() + seconds_max
    while not (found := read()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come about within {seconds_max} s; last read: {found!r}")
        time.sleep(0.02)
    return found


def polaris(
    desk: DeskProcess, *arguments: str, given: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line against a desk."""
    return subprocess.run(
        [sys.executable, "-m", "polaris_synapse.cli.main", *arguments],
        input=given,
        env=desk.environment | {"NO_COLOR": "1", "COLUMNS": "200"} | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


_NUMBERS = itertools.count(1)


def fresh_id(prefix: str = "t") -> str:
    """A client order id that nobody used yet."""
    return f"{prefix}-{next(_NUMBERS)}-{secrets.token_hex(4)}"


class Person:
    """Somebody who logged in over HTTP and acts with their token."""

    def __init__(self, desk: DeskProcess, name: str, *, password: str = PASSWORD) -> None:
        self.desk = desk
        self.name = name
        self.token: str = decoded(
            desk.request("gateway", "POST", "/login", {"username": name, "password": password}, headers={})
        )["access_token"]

    @classmethod
    def added(cls, desk: DeskProcess, name: str, role: str = "TRADER", accounts: Iterable[str] = ()) -> Person:
        """Somebody the administrator has just added."""
        body = {"username": name, "password": PASSWORD, "role": role, "accounts": list(accounts)}
        desk.json("gateway", "POST", "/users", body)
        return cls(desk, name)

    @property
    def headers(self) -> dict[str, str]:
        """What proves who asks."""
        return {"authorization": f"Bearer {self.token}"}

    def request(
        self, method: str, target: str, body: object | None = None, *, service: str = "gateway"
    ) -> httpx2.Response:
        """One request."""
        return self.desk.request(service, method, target, body, headers=self.headers)

    def call(self, method: str, target: str, body: object | None = None, *, service: str = "gateway") -> Any:
        """One request that must succeed."""
        return decoded(self.request(method, target, body, service=service))

    def get(self, target: str, *, service: str = "gateway") -> Any:
        """One read that must succeed."""
        return self.call("GET", target, service=service)

    def order(self, symbol: str, side: str, kind: str, *, wait_ms: int = 3_000, **fields: Any) -> Any:
        """Place an order, and answer with what became of it once its venue has spoken."""
        body = {"symbol": symbol, "side": side, "type": kind} | fields
        return self.call("POST", f"/orders?wait_ms={wait_ms}", body)

    def placed(self, order_id: int) -> Any:
        """An order as it stands."""
        return self.get(f"/orders/{order_id}")["order"]

    def ends(self, order_id: int, *, seconds_max: float = 10.0) -> Any:
        """An order once it has ended."""

        def ended() -> Any:
            found = self.placed(order_id)
            return None if found["open"] else found

        return until(ended, what=f"the end of order {order_id}", seconds_max=seconds_max)


class Stream:
    """A WebSocket to the gateway that keeps answers and events apart."""

    def __init__(self, desk: DeskProcess, *, token: str = "", **login: Any) -> None:
        url = desk.place.url("gateway").replace("http://", "ws://") + "/ws"
        self.socket: ClientConnection = connect(url, compression=None, proxy=None, max_queue=None, legacy=True)
        self.events: list[dict[str, Any]] = []
        self.answers: dict[int, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        if token:
            self.result("login", token=token, **login)

    def send(self, method: str, **params: Any) -> int:
        """Send a request without waiting; its id."""
        number = next(self._ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        return number

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One request and its answer."""
        return self.answer(self.send(method, **params))

    def result(self, method: str, **params: Any) -> Any:
        """One request that must succeed."""
        answer = self.call(method, **params)
        assert "result" in answer, answer
        return answer["result"]

    def answer(self, number: int, *, seconds_max: float = 10.0) -> dict[str, Any]:
        """The answer to the request of that id."""
        deadline = time.monotonic() + seconds_max
        while number not in self.answers:
            self.receive(deadline)
        return self.answers.pop(number)

    def event(self, channel: str, is_it: Callable[[Any], bool], *, seconds_max: float = 10.0) -> Any:
        """The data of the first event on a channel that ``is_it`` accepts."""
        deadline = time.monotonic() + seconds_max
        seen = 0
        while True:
            for message in self.events[seen:]:
                if message["channel"] == channel and is_it(message["data"]):
                    return message["data"]
            seen = len(self.events)
            self.receive(deadline)

    def receive(self, deadline: float) -> None:
        """Take in one message, waiting for it until ``deadline`` of the monotonic clock."""
        message = json.loads(self.socket.recv(timeout=max(0.0, deadline - time.monotonic())))
        if "channel" in message:
            self.events.append(message)
        else:
            self.answers[message["id"]] = message

    def close_code(self) -> int:
        """The code that the desk closes the connection with; 1006 where it was cut without a word."""
        while True:
            try:
                self.socket.recv(timeout=10)
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd is not None else 1006

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()


def mark_of(desk: DeskProcess, symbol: str = "BTCUSDT") -> Decimal:
    """The price that decisions use now; 0 where there is none."""
    marks = decoded(desk.request("market_data", "GET", "/marks", headers={}))["marks"]
    return next((Decimal(mark["mark"] or 0) for mark in marks if mark["symbol"] == symbol), Decimal(0))


def price_near(desk: DeskProcess, percent: str, symbol: str = "BTCUSDT") -> str:
    """A price that many percent above (or below) the market, on the tick."""
    return str((mark_of(desk, symbol) * (1 + Decimal(percent) / 100)).quantize(Decimal("0.01")))


def everything(person: Person, target: str, key: str, cursor: str) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    found: list[dict[str, Any]] = []
    before = 0
    while True:
        page = person.get(f"{target}{'&' if '?' in target else '?'}limit=1000&{cursor}={before}")
        found += page[key]
        before = page[f"next_{cursor}"]
        if not before:
            return found


def executions_of(person: Person, name: str) -> list[dict[str, Any]]:
    """Every fill of an account, newest first."""
    return everything(person, f"/executions?account={name}", "executions", "before_time_ns")


def orders_of(person: Person, name: str) -> list[dict[str, Any]]:
    """Every accepted order of an account, newest first."""
    return everything(person, f"/orders?account={name}", "orders", "before_order_id")


def holdings_after(deposits: dict[str, str], executions: Iterable[dict[str, Any]]) -> dict[str, Decimal]:
    """What an account must hold by asset: what was paid in, and every fill with its fee, in exact decimals."""
    held: dict[str, Decimal] = defaultdict(Decimal) | {asset: Decimal(text) for asset, text in deposits.items()}
    for fill in executions:
        quantity, notional = Decimal(fill["quantity"]), Decimal(fill["price"]) * Decimal(fill["quantity"])
        assert Decimal(fill["notional"]) == notional, fill
        sign = 1 if fill["side"] == "BUY" else -1
        base = fill["symbol"].removesuffix(".INT").removesuffix("USDT")
        held[base] += sign * quantity
        held["USDT"] -= sign * notional
        held[fill["fee_asset"]] -= Decimal(fill["fee"])
    return dict(held)


def assert_adds_up(person: Person, name: str, deposits: dict[str, str]) -> None:
    """Balances, positions and profit of an account follow from its executions to the last decimal.

    Holds between two orders only: fills in between two of the reads would be in one and not in the other.
    """
    fills = executions_of(person, name)
    assert len({fill["execution_id"] for fill in fills}) == len(fills), "a fill is there twice"
    balances = {row["asset"]: row for row in person.get(f"/balances?account={name}")["balances"]}
    totals = {asset: Decimal(row["total"]) for asset, row in balances.items()}
    assert totals == holdings_after(deposits, fills)
    for row in balances.values():
        assert Decimal(row["free"]) + Decimal(row["reserved"]) == Decimal(row["total"])
    pnl = next((row for row in person.get(f"/pnl?account={name}")["accounts"] if row["account"] == name), None)
    positions = {row["symbol"]: row for row in person.get(f"/positions?account={name}")["positions"]}
    by_symbol: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fill in fills:
        by_symbol[fill["symbol"]].append(fill)
    assert set(by_symbol) <= set(positions)
    for symbol, row in positions.items():
        traded = holdings_after({}, by_symbol[symbol])
        base = symbol.removesuffix(".INT").removesuffix("USDT")
        # A position counts whole lots; what fees in the base asset leave beyond them is not tradable.
        assert Decimal(row["quantity"]) == traded.get(base, Decimal(0)).quantize(LOTS[base], ROUND_DOWN), row
        realised, cost = Decimal(row["realised_pnl"]), Decimal(row["cost"])
        # What was paid out and is not in the cost of what is held has been lost, or else earned.
        assert realised - cost == traded.get("USDT", Decimal(0)), row
        assert realised == sum(Decimal(fill["realised_pnl"]) for fill in by_symbol[symbol]), row
    if positions:
        assert pnl is not None
        for name_of_sum in ("realised_pnl", "fees"):
            assert Decimal(pnl[name_of_sum]) == sum(Decimal(row[name_of_sum]) for row in positions.values())
        listed = sum(Decimal(row["unrealised_pnl"]) for row in pnl["positions"])
        assert Decimal(pnl["unrealised_pnl"]) == listed


def ledger(desk: DeskProcess) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """From the desk's database, in minor units: the sum of all postings by asset, and what accounts hold of assets.

    The postings of a whole ledger sum to zero for each asset.
    """
    sums: dict[str, int] = defaultdict(int)
    held: dict[tuple[str, str], int] = defaultdict(int)
    database = sqlite3.connect(f"file:{desk.directory / 'orderdb.sqlite3'}?mode=ro", uri=True)
    try:
        for ledger_account, asset, units in database.execute(
            "SELECT ledger_account, asset, units FROM ledger_postings"
        ):
            sums[asset] += int(units)
            if ledger_account.startswith("client:"):
                held[ledger_account.removeprefix("client:"), asset] += int(units)
    finally:
        database.close()
    return dict(sums), dict(held)
