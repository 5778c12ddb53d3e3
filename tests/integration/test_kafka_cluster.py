"""A desk as seven processes on Kafka behaves as the desk in one process does: the same orders, the same refusals."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from polaris_synapse.testing.cluster import SERVICES, ClusterDesk
from polaris_synapse.testing.faults.cluster_checks import unbalanced_assets
from polaris_synapse.testing.servers.kafka import KafkaServer

pytestmark = pytest.mark.timeout(400)
WAIT_SECONDS_MAX = 45.0
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
POLARIS = (sys.executable, "-m", "polaris_synapse.cli.main")
#: How many partitions each service's inbox has, by the default settings.
PARTITIONS = {
    "compliance-gateway": 1,
    "risk-manager": 4,
    "order-matching-engine": 4,
    "market-data-handler": 4,
    "execution-engine": 4,
    "llm-agents": 1,
}


@pytest.fixture(scope="module")
def desk(kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterDesk]:
    """Seven services that all tests of this file share."""
    directory = tmp_path_factory.mktemp("cluster") / "desk"
    with ClusterDesk(directory, kafka_server.bootstrap, prefix=f"t-{secrets.token_hex(4)}.") as one:
        one.make_topics()
        one.start(seconds_max=200)
        yield one


def order(desk: ClusterDesk, **fields: Any) -> Any:
    """Send an order on the account ``main``."""
    body = {"account": "main", "client_order_id": secrets.token_hex(6), "side": "BUY", "type": "MARKET"} | fields
    return desk.request("order-gateway", "POST", "/orders", body)


def until(read: Callable[[], Any], condition: Callable[[Any], bool]) -> Any:
    """Read again until a condition holds; what was read. Services hear of each other's decisions a moment later."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        found = read()
        if condition(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def read_order(desk: ClusterDesk, order_id: int) -> Any:
    """One order as the read models have it."""
    return desk.json("order-gateway", "GET", f"/orders/{order_id}")


def state_of(desk: ClusterDesk, order_id: int) -> str:
    """An order's state."""
    found = read_order(desk, order_id)
    return str(found.get("order", found)["state"])


def resting(desk: ClusterDesk, symbol: str, price: str) -> int:
    """The id of an order that rests on a book."""
    answer = until(
        lambda: order(desk, symbol=symbol, type="LIMIT", price=price, quantity="0.01"), lambda found: found.is_success
    )
    order_id = int(answer.json()["order"]["order_id"])
    until(lambda: state_of(desk, order_id), lambda state: state == "WORKING")
    return order_id


def below_the_market(desk: ClusterDesk) -> str:
    """A price one percent under the best bid, which rests within any price collar."""
    book = desk.json("market-data-handler", "GET", "/book/BTCUSDT")
    return f"{float(book['bids'][0][0]) * 0.99:.2f}"


def test_an_order_is_filled_at_the_paper_venue(desk: ClusterDesk) -> None:
    """A market order goes through five services and back; its fills and the balance are there to read."""
    # The desk is ready; how fresh the prices are that risk has is the machine's to say.
    answer = until(
        lambda: order(desk, symbol="BTCUSDT", quantity="0.01"),
        lambda found: found.json().get("reason", "") not in {"MARKET_DATA_MISSING", "MARKET_DATA_STALE"},
    )
    assert answer.status_code == 201, answer.text
    order_id = answer.json()["order"]["order_id"]
    until(lambda: state_of(desk, order_id), lambda state: state == "FILLED")
    executions = desk.json("order-gateway", "GET", f"/executions?account=main&order_id={order_id}")["executions"]
    assert sum(float(one["quantity"]) for one in executions) == pytest.approx(0.01)
    assert all(one["simulated"] for one in executions)


def test_the_same_client_order_id_has_one_effect(desk: ClusterDesk) -> None:
    """Sent again, an order is answered with the one that exists; another order under its id is refused."""
    fields = {"symbol": "BTCUSDT", "quantity": "0.011", "client_order_id": secrets.token_hex(6)}
    first, again = order(desk, **fields), order(desk, **fields)
    assert first.json()["order"]["order_id"] == again.json()["order"]["order_id"]
    other = order(desk, **(fields | {"quantity": "0.012"}))
    assert other.json()["reason"] == "DUPLICATE_CLIENT_ORDER_ID"


def test_an_order_rests_on_the_desk_s_own_book_and_is_cancelled(desk: ClusterDesk) -> None:
    """The internal book takes an order, market data shows its level, and a cancel takes it off again."""
    answer = order(desk, symbol="BTCUSDT.INT", type="LIMIT", price="59000", quantity="0.01")
    assert answer.status_code == 201, answer.text
    order_id = answer.json()["order"]["order_id"]
    until(lambda: state_of(desk, order_id), lambda state: state == "WORKING")
    book = until(
        lambda: desk.json("market-data-handler", "GET", "/book/BTCUSDT.INT"),
        lambda found: any(float(price) == 59000 for price, _ in found["bids"]),
    )
    assert book["source"] == "internal"
    assert desk.request("order-gateway", "DELETE", f"/orders/{order_id}").status_code == 200
    until(lambda: state_of(desk, order_id), lambda state: state == "CANCELLED")


def test_a_tripped_breaker_refuses_orders(desk: ClusterDesk) -> None:
    """The breaker of the whole desk stops new orders wherever their accounts are, until a person resets it."""
    assert desk.json("risk-manager", "POST", "/circuit-breaker/activate", {"note": "test"})["changed"]
    assert order(desk, symbol="BTCUSDT", quantity="0.013").json()["reason"] == "CIRCUIT_BREAKER"
    assert desk.json("risk-manager", "POST", "/circuit-breaker/reset", {"note": "test"})["changed"]
    assert order(desk, symbol="BTCUSDT", quantity="0.014").status_code == 201


def test_the_kill_switch_cancels_and_stops(desk: ClusterDesk) -> None:
    """At CANCEL_ALL open orders end and new ones are refused; switched off, orders go through again."""
    resting = order(desk, symbol="BTCUSDT.INT", type="LIMIT", price="58500", quantity="0.01").json()["order"][
        "order_id"
    ]
    until(lambda: state_of(desk, resting), lambda state: state == "WORKING")
    pulled = desk.request("risk-manager", "POST", "/kill-switch", {"level": 2, "note": "test"})
    assert pulled.status_code == 200, pulled.text
    until(lambda: state_of(desk, resting), lambda state: state == "CANCELLED")
    assert order(desk, symbol="BTCUSDT", quantity="0.015").json()["reason"] == "KILL_SWITCH"
    assert desk.request("risk-manager", "POST", "/kill-switch", {"level": 0, "note": "test"}).status_code == 200
    assert order(desk, symbol="BTCUSDT", quantity="0.016").status_code == 201


def test_a_sanctions_hold_stops_an_account(desk: ClusterDesk) -> None:
    """Compliance's verdict reaches risk over the log, and so does its lifting."""
    held = desk.request("compliance-gateway", "POST", "/accounts/main/sanctions-hold", {"held": True, "note": "test"})
    assert held.status_code == 200, held.text
    sizes = iter(range(170, 999))
    until(
        lambda: order(desk, symbol="BTCUSDT", quantity=f"0.00{next(sizes)}").json().get("reason", ""),
        lambda reason: reason == "COMPLIANCE_SANCTIONED",
    )
    desk.request("compliance-gateway", "POST", "/accounts/main/sanctions-hold", {"held": False, "note": "test"})
    until(
        lambda: order(desk, symbol="BTCUSDT", quantity=f"0.00{next(sizes)}").status_code,
        lambda status: status == 201,
    )


def test_what_happened_is_in_the_audit_chain(desk: ClusterDesk) -> None:
    """The chain of the cluster verifies, and the order path is in it."""
    found = until(
        lambda: desk.json("compliance-gateway", "GET", "/audit/verify"), lambda verdict: verdict["entries"] > 10
    )
    assert found["valid"], found


def test_every_service_answers_for_itself(desk: ClusterDesk) -> None:
    """Health, readiness and metrics are served by each, which says what it has; no partition lags."""
    for name in SERVICES:
        url = desk.service(name).url
        assert desk.client.get(f"{url}/health").status_code == 200
        assert desk.client.get(f"{url}/ready").json() == {"ready": True, "service": name, "failing": {}}
        assert "polaris_" in desk.client.get(f"{url}/metrics").text
        partitions = desk.client.get(f"{url}/partitions").json()["partitions"]
        assert all(one["live"] for one in partitions)
        # Order entry has no core; everybody else has all there is, since nobody shares it here.
        assert [one["partition"] for one in partitions] == list(range(PARTITIONS.get(name, 0)))


def test_an_instrument_is_halted_and_its_book_streamed_at_the_matching_engine(desk: ClusterDesk) -> None:
    """The engine's own door halts an instrument for the whole desk; its stream begins with the book and says so."""
    url = desk.service("order-matching-engine").url.replace("http://", "ws://")
    target = "/stream?symbols=BTCUSDT.INT&channels=book,status"
    with connect(url + target, additional_headers=desk.signed("GET", target)) as stream:
        first = [json.loads(stream.recv(timeout=WAIT_SECONDS_MAX)) for _ in range(2)]
        assert [event["channel"] for event in first] == ["book", "status"]
        assert first[0]["data"]["is_snapshot"]
        assert first[1]["data"] == {"status": "TRADING"}
        for status in ("HALTED", "TRADING"):
            desk.json("order-matching-engine", "PUT", "/symbols/BTCUSDT.INT/status", {"status": status})
            event = json.loads(stream.recv(timeout=WAIT_SECONDS_MAX))
            assert (event["channel"], event["data"]["status"]) == ("status", status)


def test_services_log_json_lines_to_standard_output(desk: ClusterDesk) -> None:
    """What a container's log shows is one JSON object a line, with the service's name."""
    for name in SERVICES:
        printed = desk.service(name).printed().splitlines()
        events = [json.loads(line) for line in printed if line.startswith("{")]
        assert "service_listening" in {event["event"] for event in events}
        assert {event["service"] for event in events} == {name}


def run(desk: ClusterDesk, *command: str) -> subprocess.CompletedProcess[str]:
    """A script or command of an operator, who has nothing but the data directory."""
    environment = desk.environment | {"NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=150, check=False)


def test_the_quick_check_finds_the_services_and_passes(desk: ClusterDesk) -> None:
    """scripts/test-integration.sh quick, without an address: seven are ready and have figures."""
    done = run(desk, str(SCRIPTS / "test-integration.sh"), "quick", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["target"] == desk.service("order-gateway").url
    assert len([check for check in found["checks"] if check["name"].endswith("is ready")]) == len(SERVICES)


def test_a_short_stress_run_has_no_errors_and_clears_away(desk: ClusterDesk) -> None:
    """scripts/stress-test.sh places and cancels orders on an account of its own, and leaves none open."""
    arguments = ("--concurrent=5", "--duration=3", "--p99-ms-max=60000", "--json")
    done = run(desk, str(SCRIPTS / "stress-test.sh"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    load = json.loads(done.stdout)["load"]
    assert (load["errors"], load["orders"] > 0) == ({}, True)
    accounts = desk.json("compliance-gateway", "GET", "/accounts")["accounts"]
    assert [one["blocked"] for one in accounts if one["account"].startswith("check-")] == [True]
    until(
        lambda: desk.json("order-gateway", "GET", "/open-orders")["orders"],
        lambda found: not [one for one in found if one["account"].startswith("check-")],
    )


def test_the_emergency_stop_stops_the_cluster(desk: ClusterDesk) -> None:
    """scripts/emergency-stop.sh cancels what is open at both venues, says so, and nothing is taken until the resume."""
    places = (("BTCUSDT.INT", "58400"), ("BTCUSDT", below_the_market(desk)))
    ids = [resting(desk, symbol, price) for symbol, price in places]
    stopped = run(desk, str(SCRIPTS / "emergency-stop.sh"), "the market is on fire")
    try:
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        assert "Read back: no order is open." in stopped.stdout
        for order_id in ids:
            assert str(order_id) in stopped.stdout
            assert state_of(desk, order_id) == "CANCELLED"
        assert order(desk, symbol="BTCUSDT", quantity="0.017").json()["reason"] == "KILL_SWITCH"
        shown = run(desk, *POLARIS, "status")
        assert (shown.returncode, "Trading is stopped for every account" in shown.stdout) == (0, True), shown.stdout
    finally:
        resumed = run(desk, *POLARIS, "resume", "--note", "test")
    assert resumed.returncode == 0, resumed.stderr
    until(lambda: order(desk, symbol="BTCUSDT", quantity="0.018"), lambda answer: answer.status_code == 201)


def test_whichever_compliance_gateway_is_asked_the_audit_log_is_shown_and_verified(desk: ClusterDesk) -> None:
    """A second instance stands by: it is ready, and reads and verifies what the first one keeps."""
    standby = desk.add("compliance-gateway")
    try:
        desk.wait_ready(seconds_max=120)
        assert standby.place is not None
        newest = desk.json("compliance-gateway", "GET", "/audit?newest=true&limit=5", number=1)
        assert [one["sequence"] for one in newest["entries"]][-1] == newest["last_sequence"] > 5
        report = desk.json("compliance-gateway", "GET", "/audit/verify", number=1)
        assert (report["valid"], report["entries"] >= newest["last_sequence"]) == (True, True), report
        keys = [desk.json("compliance-gateway", "GET", "/audit/checkpoints", number=n)["public_key"] for n in (0, 1)]
        assert keys[0] == keys[1]
        # The command asks the instance that was started last, and compares the daily files too.
        verified = run(desk, *POLARIS, "audit", "verify", "--json")
        assert verified.returncode == 0, verified.stderr
        assert json.loads(verified.stdout)["files_checked"]
    finally:
        desk.instances["compliance-gateway"].pop().stop()


def test_two_gateways_answer_for_the_same_orders(desk: ClusterDesk) -> None:
    """A second order gateway takes orders at once, and each sees the other's."""
    desk.add("order-gateway")
    try:
        desk.wait_ready(seconds_max=120)
        body = {"account": "main", "symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.0091"}
        answer = desk.request("order-gateway", "POST", "/orders", body | {"client_order_id": "second"}, number=1)
        assert answer.status_code == 201, answer.text
        order_id = answer.json()["order"]["order_id"]
        until(lambda: state_of(desk, order_id), lambda state: state == "FILLED")
        again = desk.request("order-gateway", "POST", "/orders", body | {"client_order_id": "second"}, number=0)
        assert again.json()["order"]["order_id"] == order_id
    finally:
        desk.instances["order-gateway"].pop().stop()


def test_a_desk_stopped_in_order_goes_on_where_it_was(desk: ClusterDesk) -> None:
    """Every service ends with 0 on SIGTERM; started again, the open order is there and the ledger sums to zero."""
    resting = order(desk, symbol="BTCUSDT.INT", type="LIMIT", price="58700", quantity="0.01").json()["order"][
        "order_id"
    ]
    until(lambda: state_of(desk, resting), lambda state: state == "WORKING")
    assert set(desk.stop().values()) == {0}
    assert unbalanced_assets(desk.directory) == []
    desk.start(seconds_max=200)
    assert state_of(desk, resting) == "WORKING"
    until(
        lambda: desk.request("order-gateway", "DELETE", f"/orders/{resting}").status_code, lambda status: status == 200
    )
    until(lambda: state_of(desk, resting), lambda state: state == "CANCELLED")
