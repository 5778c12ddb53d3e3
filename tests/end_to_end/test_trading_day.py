"""A trader's day at a real desk: log in, trade over HTTP and WebSocket, and find that every number adds up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.end_to_end.support import (
    PASSWORD,
    WIDE_LIMITS,
    Person,
    Stream,
    account,
    assert_adds_up,
    executions_of,
    fresh_id,
    ledger,
    mark_of,
    polaris,
    price_near,
    until,
    write_config,
)

from polaris_synapse.testing.desk_process import DeskProcess

ACCOUNTS = ("alice", "bob", "carol", "dora")
DEPOSITS: dict[str, str] = account("any")["deposits"]
ONE = 10**8


class Day:
    """One desk with people who trade one account each; ``carol`` is kept for what happens over the WebSocket."""

    def __init__(self, desk: DeskProcess) -> None:
        self.desk = desk
        for name in ACCOUNTS:
            added = polaris(
                desk, "user", "add", name, "--role", "TRADER", "--accounts", name, "--password-stdin",
                given=PASSWORD + "\n",
            )  # fmt: skip
            assert added.returncode == 0, added.stderr
        # The desk looks about once a second for users that the command line added.
        until(lambda: {row["username"] for row in desk.json("gateway", "GET", "/users")["users"]} >= set(ACCOUNTS),
              what="the users that were added")  # fmt: skip
        self.alice, self.bob, self.carol, self.dora = (Person(desk, name) for name in ACCOUNTS)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The desk of this file, with its traders added by the command line and logged in."""
    folder = tmp_path_factory.mktemp("trading-day")
    config = write_config(folder, accounts=[account(name) for name in ACCOUNTS], limits={"*": WIDE_LIMITS})
    with DeskProcess(folder / "desk", config=str(config)) as desk:
        yield Day(desk)


def assert_simulated(fill: dict[str, Any]) -> None:
    """A paper fill says that no real market made it, and how it came about."""
    assert fill["simulated"] is True
    assert fill["how"], "a simulated fill says how it was made"
    assert fill["liquidity"] in {"MAKER", "TAKER"}


def is_order(field: str, value: object, state: str) -> Callable[[Any], bool]:
    """Whether an event is about that order in that state."""
    return lambda data: (data[field], data["state"]) == (value, state)


def test_market_order_fills_and_says_that_it_is_simulated(day: Day) -> None:
    """A market order is answered as filled, with fills that are marked as simulated and explain themselves."""
    before = mark_of(day.desk)
    answer = day.alice.order("BTCUSDT", "BUY", "MARKET", quantity="0.05")
    order = answer["order"]
    assert (order["state"], order["filled_quantity"], order["open"]) == ("FILLED", "0.05", False)
    assert abs(Decimal(order["average_price"]) / before - 1) < Decimal("0.01")
    assert sum(Decimal(fill["quantity"]) for fill in answer["fills"]) == Decimal("0.05")
    for fill in answer["fills"]:
        assert_simulated(fill)
        # Fees are taken from what is received, rounded up.
        assert (fill["fee_asset"], Decimal(fill["fee"])) == ("BTC", Decimal(fill["quantity"]) / 1000)
    assert_adds_up(day.alice, "alice", DEPOSITS)


def test_market_order_by_amount_spends_no_more_than_that(day: Day) -> None:
    """A market order for an amount of the quote asset never spends more than the amount."""
    answer = day.alice.order("ETHUSDT", "BUY", "MARKET", quote_amount="1000")
    assert answer["order"]["state"] == "FILLED", answer
    spent = sum(Decimal(fill["notional"]) for fill in answer["fills"])
    assert Decimal("990") < spent <= Decimal("1000")
    assert_adds_up(day.alice, "alice", DEPOSITS)


def test_limit_order_reserves_and_is_replaced_and_cancelled(day: Day) -> None:
    """A resting order reserves exactly what it may cost, follows a replacement, and lets go when it is cancelled."""
    price = price_near(day.desk, "-3")
    order = day.bob.order("BTCUSDT", "BUY", "LIMIT", quantity="0.2", price=price)["order"]
    assert (order["state"], order["open_quantity"]) == ("WORKING", "0.2")
    assert order["order_id"] in [row["order_id"] for row in day.bob.get("/open-orders")["orders"]]

    def reserved() -> Decimal:
        rows = day.bob.get("/balances")["balances"]
        return next(Decimal(row["reserved"]) for row in rows if row["asset"] == "USDT")

    assert reserved() == Decimal(price) * Decimal("0.2")
    lower = str(Decimal(price) - 100)
    changed = day.bob.call("PATCH", f"/orders/{order['order_id']}?wait_ms=3000", {"price": lower, "quantity": "0.1"})[
        "order"
    ]
    assert (changed["state"], Decimal(changed["price"]), changed["quantity"]) == ("WORKING", Decimal(lower), "0.1")
    assert reserved() == Decimal(lower) * Decimal("0.1")
    ended = day.bob.call("DELETE", f"/orders/{order['order_id']}?wait_ms=3000")["order"]
    assert (ended["state"], ended["reason"], ended["reason_code"]) == ("CANCELLED", "CANCELLED_BY_USER", 8000)
    assert ended["message"] == "Cancelled on request."
    assert reserved() == 0
    assert_adds_up(day.bob, "bob", DEPOSITS)


def test_immediate_orders_take_what_is_there(day: Day) -> None:
    """IOC and FOK orders through the other side fill at once and never rest."""
    through = price_near(day.desk, "1")
    for time_in_force in ("IOC", "FOK"):
        answer = day.alice.order("BTCUSDT", "BUY", "LIMIT", quantity="0.01", price=through, time_in_force=time_in_force)
        assert answer["order"]["state"] == "FILLED", answer
        assert all(Decimal(fill["price"]) <= Decimal(through) for fill in answer["fills"])
    sold = day.alice.order(
        "BTCUSDT", "SELL", "LIMIT", quantity="0.01", price=price_near(day.desk, "-1"), time_in_force="IOC"
    )
    assert sold["order"]["state"] == "FILLED", sold
    for fill in sold["fills"]:
        notional = Decimal(fill["notional"])
        assert fill["fee_asset"] == "USDT"
        assert 0 <= Decimal(fill["fee"]) - notional / 1000 < Decimal("0.00000001")
    assert_adds_up(day.alice, "alice", DEPOSITS)


def test_good_till_date_order_ends_at_its_time(day: Day) -> None:
    """A GTD order rests until its time and then expires by itself."""
    expires = (datetime.now(UTC) + timedelta(seconds=1.2)).isoformat(timespec="milliseconds")
    order = day.bob.order(
        "BTCUSDT", "BUY", "LIMIT", quantity="0.1", price=price_near(day.desk, "-3"), time_in_force="GTD",
        expire_time=expires.replace("+00:00", "Z"),
    )["order"]  # fmt: skip
    assert order["state"] == "WORKING"
    ended = day.bob.ends(order["order_id"])
    assert (ended["state"], ended["reason"]) == ("EXPIRED", "BOOK_EXPIRED")


def test_stop_orders_wait_for_their_price(day: Day) -> None:
    """Stop, take-profit and trailing orders arm, reserve, can be moved and cancelled, and do not trade meanwhile."""
    stop = day.bob.order("BTCUSDT", "SELL", "STOP", quantity="0.1", stop_price=price_near(day.desk, "-3"))["order"]
    limit = day.bob.order(
        "BTCUSDT", "SELL", "STOP_LIMIT", quantity="0.1", stop_price=price_near(day.desk, "-3"),
        price=price_near(day.desk, "-3.5"),
    )["order"]  # fmt: skip
    profit = day.bob.order("BTCUSDT", "SELL", "TAKE_PROFIT", quantity="0.1", stop_price=price_near(day.desk, "3"))[
        "order"
    ]
    trailing = day.bob.order("BTCUSDT", "SELL", "TRAILING_STOP", quantity="0.1", trailing_offset_bps=300)["order"]
    assert [order["state"] for order in (stop, limit, profit, trailing)] == ["ARMED"] * 4
    wanted = price_near(day.desk, "-4")
    day.bob.call("PATCH", f"/orders/{stop['order_id']}?wait_ms=3000", {"stop_price": wanted})

    def moved() -> bool:
        found = day.bob.placed(stop["order_id"])
        return found["state"] == "ARMED" and Decimal(found["stop_price"]) == Decimal(wanted)

    assert until(moved, what="the stop at its new price")
    for order in (stop, limit, profit, trailing):
        ended = day.bob.call("DELETE", f"/orders/{order['order_id']}?wait_ms=3000")["order"]
        assert (ended["state"], ended["filled_quantity"]) == ("CANCELLED", "0")
    assert_adds_up(day.bob, "bob", DEPOSITS)


def test_stop_order_fires_when_the_market_reaches_it(day: Day) -> None:
    """A stop a hair above the market triggers as the market moves, and fills like a market order."""
    body = {"symbol": "BTCUSDT", "side": "BUY", "type": "STOP", "quantity": "0.01"}
    for offset in ("0.5", "1", "2", "4", "8", "16"):
        # What triggers is the last trade, which may have been above the mark: then the stop is turned away.
        stop = {"stop_price": str(mark_of(day.desk) + Decimal(offset))}
        placed = day.dora.call("POST", "/orders?wait_ms=3000", body | stop)["order"]
        if placed["state"] == "ARMED":
            break
        assert (placed["state"], placed["reason"]) == ("REJECTED", "BOOK_TRIGGER_IMMEDIATE"), placed

    def filled() -> Any:
        # Where the market moves away, the stop is brought to it again, as a trader would.
        day.dora.request("PATCH", f"/orders/{placed['order_id']}", {"stop_price": price_near(day.desk, "0.002")})
        time.sleep(0.1)
        found = day.dora.placed(placed["order_id"])
        return None if found["open"] else found

    ended = until(filled, what="the stop's trigger", seconds_max=30)
    assert ended["state"] == "FILLED", ended
    assert_adds_up(day.dora, "dora", DEPOSITS)


def test_post_only_order_rests(day: Day) -> None:
    """A post-only order away from the market rests and never pays as a taker."""
    order = day.bob.order(
        "BTCUSDT", "SELL", "LIMIT", quantity="0.1", price=price_near(day.desk, "2"), post_only="REJECT"
    )["order"]
    assert order["state"] == "WORKING"
    assert day.bob.call("DELETE", f"/orders/{order['order_id']}?wait_ms=3000")["order"]["state"] == "CANCELLED"


def test_same_client_order_id_never_orders_twice(day: Day) -> None:
    """The same order again under its client order id answers with the first order and places nothing."""
    body = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01", "client_order_id": fresh_id()}
    first = day.alice.request("POST", "/orders?wait_ms=3000", body)
    again = day.alice.request("POST", "/orders?wait_ms=3000", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["duplicate"] is True
    assert again.json()["order"] == first.json()["order"]
    by_id = day.alice.get(f"/orders/by-client-id/{body['client_order_id']}")["order"]
    assert by_id == first.json()["order"]
    assert len([fill for fill in executions_of(day.alice, "alice") if fill["order_id"] == by_id["order_id"]]) == len(
        first.json()["fills"]
    )


def test_cancel_all_cancels_what_matches(day: Day) -> None:
    """Cancel all cancels the open orders of the symbol and side asked for, and leaves the rest."""
    buys = [
        day.dora.order("ETHUSDT", "BUY", "LIMIT", quantity="0.1", price=price_near(day.desk, f"-{n}", "ETHUSDT"))
        for n in (2, 3, 4)
    ]
    sell = day.dora.order("ETHUSDT", "SELL", "LIMIT", quantity="0.1", price=price_near(day.desk, "3", "ETHUSDT"))
    cancelled = day.dora.call("DELETE", "/orders?symbol=ETHUSDT&side=BUY")["order_ids"]
    assert sorted(cancelled) == sorted(answer["order"]["order_id"] for answer in buys)
    for order_id in cancelled:
        assert day.dora.ends(order_id)["state"] == "CANCELLED"
    assert day.dora.placed(sell["order"]["order_id"])["state"] == "WORKING"
    assert day.dora.call("DELETE", "/orders?symbol=ETHUSDT")["order_ids"] == [sell["order"]["order_id"]]


def test_two_accounts_trade_with_each_other(day: Day) -> None:
    """On the desk's own book two accounts meet at the maker's price, in price-time order, each with its own fee."""
    price = price_near(day.desk, "0")
    maker = day.alice.order("BTCUSDT.INT", "SELL", "LIMIT", quantity="0.3", price=price)
    assert maker["order"]["state"] == "WORKING"
    taker = day.bob.order("BTCUSDT.INT", "BUY", "LIMIT", quantity="0.1", price=price_near(day.desk, "1"))
    assert taker["order"]["state"] == "FILLED", taker
    (bought,) = taker["fills"]
    assert (bought["quantity"], Decimal(bought["price"]), bought["liquidity"]) == ("0.1", Decimal(price), "TAKER")
    first = day.alice.placed(maker["order"]["order_id"])
    assert (first["state"], first["filled_quantity"], first["open_quantity"]) == ("PARTIALLY_FILLED", "0.1", "0.2")
    sold = next(fill for fill in executions_of(day.alice, "alice") if fill["order_id"] == first["order_id"])
    assert (sold["trade_id"], sold["liquidity"], sold["fee_asset"]) == (bought["trade_id"], "MAKER", "USDT")
    book = day.bob.get("/books/BTCUSDT.INT", service="matching")
    assert book["asks"][0]["quantity"] == "0.2"
    rest = day.bob.order("BTCUSDT.INT", "BUY", "MARKET", quantity="0.2")
    assert rest["order"]["state"] == "FILLED", rest
    assert day.alice.placed(first["order_id"])["state"] == "FILLED"
    for person, name in ((day.alice, "alice"), (day.bob, "bob")):
        assert_adds_up(person, name, DEPOSITS)


def test_websocket_trades_and_tells(day: Day) -> None:
    """Over the WebSocket orders are pipelined, each is answered once, and its events come on the channels asked for."""
    with Stream(day.desk, token=day.carol.token) as stream:
        stream.result("subscribe", channels=["orders", "executions", "balances", "positions", "market:BTCUSDT"])
        ids = [fresh_id("ws") for _ in range(20)]
        sent = [
            stream.send(
                "submit", symbol="BTCUSDT", side="BUY", type="LIMIT", quantity="0.01", client_order_id=client_id,
                price=price_near(day.desk, "-3") if number else price_near(day.desk, "1"),
            )
            for number, client_id in enumerate(ids)
        ]  # fmt: skip
        answers = [stream.answer(number) for number in sent]
        assert [answer["result"]["order"]["client_order_id"] for answer in answers] == ids
        order_ids = [answer["result"]["order"]["order_id"] for answer in answers]
        assert len(set(order_ids)) == len(ids)
        filled = stream.event("executions", lambda data: data["order_id"] == order_ids[0])
        assert_simulated(filled)
        for client_id in ids[1:]:
            stream.event("orders", is_order("client_order_id", client_id, "WORKING"))
        replaced = stream.result("replace", order_id=order_ids[1], quantity="0.005", wait_ms=3000)["order"]
        assert (replaced["state"], replaced["quantity"]) == ("WORKING", "0.005")
        gone = stream.result("cancel", client_order_id=ids[2], wait_ms=3000)["order"]
        assert gone["state"] == "CANCELLED"
        rest = stream.result("cancel_all", symbol="BTCUSDT")["order_ids"]
        assert sorted(rest) == sorted(order_ids[i] for i in range(1, 20) if i != 2)
        for order_id in rest:
            stream.event("orders", is_order("order_id", order_id, "CANCELLED"))
        stream.event("market:BTCUSDT", lambda data: True)
        stream.event("balances", lambda data: data["asset"] == "BTC")
        stream.event("positions", lambda data: data["symbol"] == "BTCUSDT")
    assert_adds_up(day.carol, "carol", DEPOSITS)


def test_lost_connection_cancels_its_orders(day: Day) -> None:
    """With cancel_on_disconnect the open orders of a connection end with it, and say why."""
    with Stream(day.desk, token=day.carol.token, cancel_on_disconnect=True) as stream:
        order = stream.result(
            "submit", symbol="ETHUSDT", side="BUY", type="LIMIT", quantity="0.1", wait_ms=3000,
            price=price_near(day.desk, "-3", "ETHUSDT"),
        )["order"]  # fmt: skip
        assert order["state"] == "WORKING"
        # The client is gone without a word.
        stream.socket.socket.close()
        ended = day.carol.ends(order["order_id"])
    assert (ended["state"], ended["reason"]) == ("CANCELLED", "CANCELLED_ON_DISCONNECT")


def test_pages_of_fills_miss_nothing(day: Day) -> None:
    """Fills of one moment that lie on two pages are all on the pages, once."""
    maker = [
        day.alice.order("BTCUSDT.INT", "SELL", "LIMIT", quantity="0.001", price=price_near(day.desk, "0.5"))
        for _ in range(4)
    ]
    sweep = day.dora.order("BTCUSDT.INT", "BUY", "LIMIT", quantity="0.004", price=price_near(day.desk, "2"))
    assert len(sweep["fills"]) == len(maker)
    found: list[str] = []
    before = 0
    for _ in range(10):
        page = day.dora.get(f"/executions?order_id={sweep['order']['order_id']}&limit=3&before_time_ns={before}")
        found += [fill["execution_id"] for fill in page["executions"]]
        before = page["next_before_time_ns"]
        if not before:
            break
    assert sorted(found) == sorted(fill["execution_id"] for fill in sweep["fills"])


def test_account_is_valued_at_the_market(day: Day) -> None:
    """Equity is what the account holds at the marks, and is brought up to date by itself."""
    began = time.time_ns()
    day.dora.order("BTCUSDT", "BUY", "MARKET", quantity="0.01")

    def valued() -> Any:
        row = next(row for row in day.dora.get("/pnl")["accounts"] if row["account"] == "dora")
        moment = datetime.fromisoformat(row["valued_time"].replace("Z", "+00:00")) if row["valued_time"] else None
        return row if moment is not None and moment.timestamp() > began / 1e9 else None

    row = until(valued, what="a valuation after the trade")
    held = {entry["asset"]: Decimal(entry["total"]) for entry in day.dora.get("/balances")["balances"]}
    worth = held["USDT"] + held["BTC"] * mark_of(day.desk) + held["ETH"] * mark_of(day.desk, "ETHUSDT")
    assert abs(Decimal(row["equity"]) / worth - 1) < Decimal("0.01")
    assert row["unpriced_assets"] == []


def test_ledger_sums_to_zero(day: Day) -> None:
    """All postings of an asset sum to zero, and what the ledger holds for accounts is what their balances say."""
    day.alice.order("BTCUSDT", "BUY", "MARKET", quantity="0.01")
    rows = day.desk.json("gateway", "GET", "/balances")["balances"]
    sums, held = ledger(day.desk)
    assert set(sums) == {"USDT", "BTC", "ETH"}
    assert sums == dict.fromkeys(sums, 0)
    # Every asset of these tests counts in 10**-8.
    assert held == {(row["account"], row["asset"]): int(Decimal(row["total"]) * ONE) for row in rows}
