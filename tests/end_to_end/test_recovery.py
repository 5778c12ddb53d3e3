"""Nothing that the desk has acknowledged is lost: not by SIGKILL in the middle of trading, nor by any other end."""

from __future__ import annotations

import random
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.support import (
    WIDE_LIMITS,
    Person,
    account,
    assert_adds_up,
    everything,
    executions_of,
    ledger,
    mark_of,
    orders_of,
    price_near,
    until,
    write_config,
)
from tests.end_to_end.traffic import Acknowledged, Traffic

from polaris_synapse.testing.desk_process import DeskProcess

NAMES = ("web", "stream")
DEPOSITS: dict[str, str] = account("any")["deposits"]
ROUNDS = 6
#: States in which the desk waits for a venue: none lasts once the venue was asked.
PASSING = {"APPROVED", "PENDING_CANCEL", "PENDING_REPLACE", "UNKNOWN"}
#: What an order is, as opposed to how far it has come.
FIXED = ("order_id", "client_order_id", "account", "symbol", "side", "type", "quantity", "price", "created_time_ns")


def new_desk(folder: Path) -> DeskProcess:
    """A desk for one test, with two accounts that trade freely."""
    limits = {"*": WIDE_LIMITS | {"leverage_ppm_max": 100_000_000}}
    journal = {"snapshot_interval_messages": 2_000}
    config = write_config(folder, accounts=[account(name) for name in NAMES], limits=limits, journal=journal)
    return DeskProcess(folder / "desk", config=str(config))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[DeskProcess]:
    """A running desk of the test's own."""
    with new_desk(tmp_path) as found:
        yield found


def trader_of(desk: DeskProcess) -> Person:
    """Somebody who trades both accounts."""
    return Person.added(desk, "trader", "TRADER", NAMES)


def settled(trader: Person) -> None:
    """Wait until no order waits for its venue's word."""

    def waiting() -> list[dict[str, Any]]:
        orders = everything(trader, "/open-orders", "orders", "before_order_id")
        return [order for order in orders if order["state"] in PASSING]

    until(lambda: not waiting(), what="an answer for every order", seconds_max=20)


def venue_orders(desk: DeskProcess) -> set[int]:
    """The ids of what is open at the paper venue."""
    rows = desk.json("execution", "GET", "/orders?venue=paper&limit=1000")
    assert rows["total"] == len(rows["orders"])
    return {row["order_id"] for row in rows["orders"]}


def check_nothing_was_lost(trader: Person, known: Acknowledged) -> None:
    """Every acknowledged order and fill is there as it was or further on, once, and nothing that nobody sent."""
    listed = [order for name in NAMES for order in orders_of(trader, name)]
    orders = {order["client_order_id"]: order for order in listed}
    assert len({order["order_id"] for order in listed}) == len(orders) == len(listed), "an order is there twice"
    for client_id, before in known.orders.items():
        after = orders[client_id]
        assert {field: after[field] for field in FIXED} == {field: before[field] for field in FIXED}
        assert Decimal(after["filled_quantity"]) >= Decimal(before["filled_quantity"]), (before, after)
        if not before["open"]:
            assert after == before, "an ended order changed"
    assert set(orders) <= set(known.sent), "there are orders that nobody sent"
    fills = {fill["execution_id"]: fill for name in NAMES for fill in executions_of(trader, name)}
    for execution_id, fill in known.fills.items():
        assert fills[execution_id] == fill


def check_sums(desk: DeskProcess, trader: Person) -> None:
    """Orders, fills, balances, positions, the ledger and the venue agree with each other. For a desk at rest."""
    orders = [order for name in NAMES for order in orders_of(trader, name)]
    filled: dict[int, Decimal] = defaultdict(Decimal)
    for name in NAMES:
        for fill in executions_of(trader, name):
            filled[fill["order_id"]] += Decimal(fill["quantity"])
    for order in orders:
        assert Decimal(order["filled_quantity"]) == filled[order["order_id"]], order
    for name in NAMES:
        assert_adds_up(trader, name, DEPOSITS)
    sums, held = ledger(desk)
    assert sums == dict.fromkeys(sums, 0)
    rows = desk.json("gateway", "GET", "/balances")["balances"]
    assert held == {(row["account"], row["asset"]): int(Decimal(row["total"]) * 10**8) for row in rows}
    open_on_paper = {order["order_id"] for order in orders if order["open"] and order["venue"] == "paper"}
    assert venue_orders(desk) == open_on_paper


def check_audit(desk: DeskProcess) -> None:
    """The audit chain verifies."""
    report = desk.json("compliance", "GET", "/audit/verify")
    assert report["valid"] is True, report
    assert report["entries"] > 0


@pytest.mark.timeout(180)
def test_kill_under_load_loses_nothing(desk: DeskProcess) -> None:
    """Killed again and again in the middle of trading, the desk comes back with all that it had acknowledged.

    Every other time it is killed again before it has settled what was on its way at the crash before.
    """
    trader = trader_of(desk)
    known = Acknowledged()
    chance = random.Random(20240808)
    for turn in range(ROUNDS):
        acknowledged = len(known.orders)
        with Traffic(trader, known, seed=turn, mark=mark_of(desk)):
            until(partial(_has_grown, known, acknowledged + 20), what="a flow of orders")
            time.sleep(chance.uniform(0.0, 0.5))  # the moment of the crash is chance, from a seed
            desk.kill()
        desk.start()
        check_nothing_was_lost(trader, known)
        again_is_no_new_order(trader, known, chance)
        check_audit(desk)
        if turn % 2:
            settled(trader)
            check_sums(desk, trader)
    assert desk.output().count("replayed in") == ROUNDS
    assert len(known.fills) > ROUNDS


def _has_grown(known: Acknowledged, count: int) -> bool:
    return len(known.orders) > count


def again_is_no_new_order(trader: Person, known: Acknowledged, chance: random.Random) -> None:
    """An acknowledged order that is sent again is answered with what it made before the crash."""
    for client_id in chance.sample(sorted(known.orders), 5):
        answer = trader.request("POST", "/orders", known.sent[client_id])
        assert (answer.status_code, answer.json()["duplicate"]) == (200, True)
        assert answer.json()["order"]["order_id"] == known.orders[client_id]["order_id"]


def snapshot_of(trader: Person) -> dict[str, Any]:
    """All that a trader can read of orders and money, and that does not move with the market."""
    reads: dict[str, Any] = {}
    for name in NAMES:
        reads[f"orders of {name}"] = orders_of(trader, name)
        reads[f"fills of {name}"] = executions_of(trader, name)
        reads[f"balances of {name}"] = trader.get(f"/balances?account={name}")
        reads[f"positions of {name}"] = [
            {field: row[field] for field in ("symbol", "quantity", "cost", "average_price", "realised_pnl", "fees")}
            for row in trader.get(f"/positions?account={name}")["positions"]
        ]
    reads["accounts"] = trader.get("/accounts")
    return reads


def trade_a_little(desk: DeskProcess, trader: Person) -> dict[str, int]:
    """Some fills on both venues, and open orders of several kinds; the ids of those."""
    for name in NAMES:
        trader.order("BTCUSDT", "BUY", "MARKET", account=name, quantity="0.02")
    price = price_near(desk, "0")
    trader.order("BTCUSDT.INT", "SELL", "LIMIT", account="web", quantity="0.03", price=price)
    trader.order("BTCUSDT.INT", "BUY", "LIMIT", account="stream", quantity="0.01", price=price)
    resting = {
        "limit": trader.order("BTCUSDT", "BUY", "LIMIT", account="web", quantity="0.05", price=price_near(desk, "-2")),
        "stop": trader.order(
            "ETHUSDT", "SELL", "STOP", account="web", quantity="0.5", stop_price=price_near(desk, "-3", "ETHUSDT")
        ),
        "internal": trader.order(
            "BTCUSDT.INT", "BUY", "LIMIT", account="stream", quantity="0.01", price=price_near(desk, "-2")
        ),
    }
    states = [answer["order"]["state"] for answer in resting.values()]
    assert states == ["WORKING", "ARMED", "WORKING"]
    return {kind: int(answer["order"]["order_id"]) for kind, answer in resting.items()}


@pytest.mark.parametrize("graceful", [False, True], ids=["SIGKILL", "SIGTERM"])
def test_everything_is_as_before(desk: DeskProcess, graceful: bool) -> None:
    """After a crash, and after a graceful stop, all reads are the same, and open orders are open and can fill."""
    trader = trader_of(desk)
    resting = trade_a_little(desk, trader)
    before = snapshot_of(trader)
    if graceful:
        assert desk.stop() == 0
    else:
        desk.kill()
    desk.start()
    assert snapshot_of(trader) == before
    assert venue_orders(desk) == {resting["limit"], resting["stop"]}
    check_audit(desk)
    until(lambda: "messages," in desk.output() and "replayed in" in desk.output(), what="the report of the recovery")
    # The resting orders live on: they can be moved to the market, where they fill.
    near = {"account": "web", "price": price_near(desk, "0.5")}
    trader.call("PATCH", f"/orders/{resting['limit']}", near)
    assert trader.ends(resting["limit"])["state"] == "FILLED"
    sold = trader.order("BTCUSDT.INT", "SELL", "LIMIT", account="web", quantity="0.01", price=price_near(desk, "-2.5"))[
        "order"
    ]
    assert sold["state"] == "FILLED"
    assert trader.placed(resting["internal"])["state"] == "FILLED"
    trader.call("DELETE", f"/orders/{resting['stop']}?account=web")
    assert trader.ends(resting["stop"])["state"] == "CANCELLED"
    for name in NAMES:
        assert_adds_up(trader, name, DEPOSITS)


def test_crash_during_start_is_harmless(desk: DeskProcess) -> None:
    """Killed at random moments of its start, the desk starts the next time with everything in place."""
    trader = trader_of(desk)
    trade_a_little(desk, trader)
    before = snapshot_of(trader)
    desk.kill()
    chance = random.Random(7)
    for _ in range(4):
        half_started = subprocess.Popen(
            desk.command, env=desk.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with pytest.raises(subprocess.TimeoutExpired):
            half_started.wait(timeout=chance.uniform(0.4, 2.0))
        half_started.kill()
        half_started.wait()
    desk.start()
    assert snapshot_of(trader) == before
    check_audit(desk)


def test_second_desk_on_the_same_directory_is_refused(desk: DeskProcess) -> None:
    """A second `polaris up` on the directory of a running desk ends with one sentence, and disturbs nothing."""
    second = subprocess.run(desk.command, env=desk.environment, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 2, second
    assert "Traceback" not in second.stderr
    (sentence,) = second.stderr.strip().splitlines()
    assert sentence.endswith(".")
    assert desk.json("gateway", "GET", "/status")["ready"] is True
    assert desk.stop() == 0
