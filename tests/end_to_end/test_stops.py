"""Stopping a real desk: breaker, kill switch and the emergency stop, and that they outlive a crash."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.end_to_end.support import CHECKOUT, WIDE_LIMITS, Person, account, price_near, until, write_config

from polaris_synapse.testing.desk_process import DeskProcess, decoded

NOBODY: dict[str, str] = {}


class Floor:
    """One desk, a trader of two accounts, and the officers."""

    def __init__(self, desk: DeskProcess) -> None:
        self.desk = desk
        self.trader = Person.added(desk, "trader", "TRADER", ["one", "two"])
        self.officer = Person.added(desk, "officer", "RISK_OFFICER", ["*"])

    def buy(self, name: str = "one", symbol: str = "BTCUSDT") -> httpx2.Response:
        """A small market order, whatever becomes of it."""
        body = {"account": name, "symbol": symbol, "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        return self.trader.request("POST", "/orders?wait_ms=3000", body)

    def resting(self, name: str = "one", symbol: str = "BTCUSDT") -> int:
        """The id of an open order."""
        price = price_near(self.desk, "-3", symbol)
        order = self.trader.order(symbol, "BUY", "LIMIT", account=name, quantity="0.1", price=price)["order"]
        assert order["state"] == "WORKING", order
        return int(order["order_id"])

    def level(self, level: int, name: str = "*", *, note: str = "a test") -> Any:
        """Set the kill switch as a risk officer."""
        body = {"level": level, "account": name, "note": note}
        return self.officer.call("POST", "/kill-switch", body, service="risk")

    def reset(self, scope: str = "*") -> Any:
        """Close a breaker as a risk officer."""
        return self.officer.call("POST", "/circuit-breaker/reset", {"scope": scope}, service="risk")

    def reopen(self) -> None:
        """Let trading go on, whatever a test has left behind."""
        for row in self.officer.get("/circuit-breaker", service="risk")["tripped"]:
            self.reset(row["scope"])
        levels = self.officer.get("/kill-switch", service="risk")
        for name in ("*", *levels["accounts"]):
            self.level(0, name)
        self.trader.call("DELETE", "/orders")
        until(lambda: not self.trader.get("/open-orders")["orders"], what="the end of all open orders")


@pytest.fixture(scope="module")
def trading_floor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    """The desk of this file."""
    folder = tmp_path_factory.mktemp("stops")
    config = write_config(folder, accounts=[account("one"), account("two")], limits={"*": WIDE_LIMITS})
    with DeskProcess(folder / "desk", config=str(config)) as desk:
        yield Floor(desk)


@pytest.fixture
def floor(trading_floor: Floor) -> Iterator[Floor]:
    """The desk, open for trading before and after each test."""
    yield trading_floor
    trading_floor.reopen()


def refused(response: httpx2.Response, reason: str, status: int = 423) -> dict[str, Any]:
    """The body of a refusal for that reason."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body.get("reason")) == (status, reason), body
    return body


def test_anybody_at_the_machine_may_trip_the_breaker(floor: Floor) -> None:
    """Without a login and without a body the breaker trips for the whole desk and blocks orders, not cancels."""
    order_id = floor.resting()
    tripped = floor.desk.request("risk", "POST", "/circuit-breaker/activate", headers=NOBODY)
    assert (tripped.status_code, tripped.json()["changed"]) == (200, True)
    body = refused(floor.buy(), "CIRCUIT_BREAKER")
    assert "the whole desk" in body["detail"]
    refused(floor.buy("two", "ETHUSDT"), "CIRCUIT_BREAKER")
    (row,) = floor.officer.get("/circuit-breaker", service="risk")["tripped"]
    assert (row["scope"], row["reason"], row["actor"]) == ("*", "CIRCUIT_BREAKER", "local:loopback")
    assert floor.trader.get("/status")["tripped_breakers"] == {"*": "CIRCUIT_BREAKER"}
    assert floor.trader.call("DELETE", f"/orders/{order_id}?wait_ms=3000")["order"]["state"] == "CANCELLED"


def test_resetting_the_breaker_takes_a_risk_officer(floor: Floor) -> None:
    """Nobody and no trader closes a breaker again; a risk officer does, and trading goes on."""
    floor.desk.request("risk", "POST", "/circuit-breaker/activate", headers=NOBODY)
    body = {"scope": "*", "note": "let me"}
    nobody = floor.desk.request("risk", "POST", "/circuit-breaker/reset", body, headers=NOBODY)
    refused(nobody, "NOT_AUTHENTICATED", 401)
    refused(floor.trader.request("POST", "/circuit-breaker/reset", body, service="risk"), "ROLE_NOT_ALLOWED", 403)
    refused(floor.buy(), "CIRCUIT_BREAKER")
    assert floor.reset()["changed"] is True
    assert floor.buy().json()["order"]["state"] == "FILLED"


def test_web_pages_of_other_sites_cannot_trip_the_breaker(floor: Floor) -> None:
    """A browser that posts for another site is refused: the login-free stop is for people at this machine."""
    headers = {"origin": "https://example.com"}
    refused(floor.desk.request("risk", "POST", "/circuit-breaker/activate", headers=headers), "HOST_NOT_ALLOWED", 421)
    assert floor.buy().status_code == 201


def test_breaker_of_one_symbol_blocks_that_symbol(floor: Floor) -> None:
    """A breaker's scope is what it blocks."""
    body = {"scope": "symbol:BTCUSDT", "note": "too wild"}
    decoded(floor.desk.request("risk", "POST", "/circuit-breaker/activate", body, headers=NOBODY))
    assert "too wild" in refused(floor.buy(), "CIRCUIT_BREAKER")["detail"]
    assert floor.buy(symbol="ETHUSDT").json()["order"]["state"] == "FILLED"


def test_no_new_risk_lets_positions_be_reduced(floor: Floor) -> None:
    """Kill level 1 refuses what adds risk and takes what reduces a position; open orders stay."""
    assert floor.buy().json()["order"]["state"] == "FILLED"
    order_id = floor.resting(symbol="ETHUSDT")
    floor.level(1)
    refused(floor.buy(), "KILL_SWITCH")
    sold = floor.trader.order("BTCUSDT", "SELL", "MARKET", account="one", quantity="0.005")["order"]
    assert sold["state"] == "FILLED"
    assert floor.trader.placed(order_id)["state"] == "WORKING"
    floor.level(0)
    assert floor.buy().json()["order"]["state"] == "FILLED"


def test_cancel_all_level_cancels_and_says_what(floor: Floor) -> None:
    """Kill level 2 cancels every open order, names them, and refuses also what would reduce a position."""
    ids = sorted([floor.resting(), floor.resting("two"), floor.resting(symbol="ETHUSDT")])
    assert sorted(floor.level(2)["order_ids"]) == ids
    for order_id in ids:
        ended = floor.trader.ends(order_id)
        assert (ended["state"], ended["reason"]) == ("CANCELLED", "CANCELLED_BY_KILL_SWITCH")
    body = {"account": "one", "symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.001"}
    refused(floor.trader.request("POST", "/orders", body), "KILL_SWITCH")


def test_trader_stops_their_own_account_only(floor: Floor) -> None:
    """A trader raises the level of an account of theirs and does not lower it, nor stop the whole desk."""
    answer = floor.trader.call("POST", "/kill-switch", {"level": 2, "account": "two"}, service="risk")
    assert answer["changed"] is True
    refused(floor.buy("two"), "KILL_SWITCH")
    assert floor.buy("one").status_code == 201
    for body in ({"level": 0, "account": "two"}, {"level": 2, "account": "*"}):
        refused(floor.trader.request("POST", "/kill-switch", body, service="risk"), "ROLE_NOT_ALLOWED", 403)


def test_flatten_sells_what_is_held(floor: Floor) -> None:
    """Kill level 3 closes every position at the market."""
    assert floor.buy("two").json()["order"]["state"] == "FILLED"
    floor.level(3, "two")

    def flat() -> bool:
        rows = floor.trader.get("/positions?account=two")["positions"]
        return all(Decimal(row["quantity"]) == 0 for row in rows)

    assert until(flat, what="flat positions", seconds_max=20)
    refused(floor.buy("two"), "KILL_SWITCH")


def test_emergency_stop_says_what_it_cancelled(floor: Floor) -> None:
    """The script stops all trading of the running desk and lists the orders that it cancelled."""
    ids = [floor.resting(), floor.resting("two")]
    stopped = subprocess.run(
        [CHECKOUT / "scripts" / "emergency-stop.sh", "the market is on fire"],
        env=floor.desk.environment | {"NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert stopped.returncode == 0, stopped.stderr
    assert "Cancelled 2 open orders" in stopped.stdout
    for order_id in ids:
        assert str(order_id) in stopped.stdout
        assert floor.trader.placed(order_id)["state"] == "CANCELLED"
    refused(floor.buy(), "KILL_SWITCH")


def test_emergency_stop_without_a_desk_says_so(tmp_path: Path) -> None:
    """Where no desk runs the script says that there is nothing to stop, and fails."""
    desk = DeskProcess(tmp_path / "nothing")
    stopped = subprocess.run(
        [CHECKOUT / "scripts" / "emergency-stop.sh"],
        env=desk.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert stopped.returncode == 3
    assert "nothing to stop" in stopped.stderr


def test_stops_outlive_a_crash(floor: Floor) -> None:
    """A tripped breaker and the kill switch are as they were after SIGKILL and a restart."""
    decoded(floor.desk.request("risk", "POST", "/circuit-breaker/activate", {"note": "before"}, headers=NOBODY))
    floor.level(2, "two")
    before = floor.officer.get("/circuit-breaker", service="risk")
    floor.desk.kill()
    floor.desk.start()
    assert floor.officer.get("/circuit-breaker", service="risk") == before
    assert floor.officer.get("/kill-switch", service="risk") == {"level": 0, "accounts": {"two": 2}}
    refused(floor.buy("one"), "CIRCUIT_BREAKER")
    floor.reset()
    refused(floor.buy("two"), "KILL_SWITCH")
    assert floor.buy("one").json()["order"]["state"] == "FILLED"
