"""A cluster with two gateways behind nginx, over PostgreSQL and Redis: any gateway answers for any order and user."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import httpx2
import msgspec
import pytest
from tests.integration.deployment_door import Door
from tests.real_servers import start_or_skip
from websockets.sync.client import connect

from polaris_synapse.desk.place import operator_key_file
from polaris_synapse.testing.cluster import SERVICES, ClusterDesk, ServiceProcess
from polaris_synapse.testing.order_port_client import OrderPortClient
from polaris_synapse.testing.servers.kafka import KafkaServer
from polaris_synapse.testing.servers.postgres import PostgresServer
from polaris_synapse.testing.servers.redis import NativeRedis
from polaris_synapse.web.signing import read_key_file

pytestmark = pytest.mark.timeout(900)

WAIT_SECONDS_MAX = 60.0
START_SECONDS_MAX = 600.0
PASSWORD = "a long password"  # of a user that lives for one test
#: A question of each service that asks who it is. The market data handler asks nobody.
QUESTIONS = {
    "compliance-gateway": "/accounts",
    "risk-manager": "/kill-switch",
    "order-matching-engine": "/books/BTCUSDT.INT",
    "execution-engine": "/venues",
    "order-gateway": "/instruments",
    "llm-agents": "/standing",
}


@pytest.fixture(scope="module")
def redis() -> Iterator[NativeRedis]:
    """A server that these tests may kill."""
    found = start_or_skip(NativeRedis.create)
    yield found
    found.stop()


@pytest.fixture(scope="module")
def desk(
    kafka_server: KafkaServer,
    postgres_server: PostgresServer,
    redis: NativeRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ClusterDesk]:
    """Seven services and one gateway more."""
    orders, compliance = (postgres_server.new_database(prefix) for prefix in ("orders", "compliance"))
    environment = {
        "POLARIS_DATABASES__ORDERS_URL": postgres_server.url(orders),
        "POLARIS_DATABASES__COMPLIANCE_URL": postgres_server.url(compliance),
        "POLARIS_DATABASES__CREDENTIALS": "orders",
        "POLARIS_CACHE__URL": redis.url,
        # A busy machine is no cache that has gone.
        "POLARIS_CACHE__OPERATION_SECONDS_MAX": "2",
        "POLARIS_ORDER_PORT__ENABLED": "true",
        "POLARIS_ORDER_PORT__PORT": "0",
    }
    directory = tmp_path_factory.mktemp("shared") / "desk"
    prefix = f"t-{secrets.token_hex(4)}."
    with ClusterDesk(directory, kafka_server.bootstrap, prefix=prefix, environment=environment) as one:
        one.make_topics()
        for name in (*SERVICES, "order-gateway"):
            one.add(name)
        one.wait_ready(seconds_max=START_SECONDS_MAX)
        yield one
    for name in (orders, compliance):
        postgres_server.drop_database(name)


@pytest.fixture
def door(desk: ClusterDesk) -> Iterator[Door]:
    """The deployment's nginx in front of both gateways."""
    ports = [one.place.port for one in desk.instances["order-gateway"] if one.place is not None]
    found = start_or_skip(lambda: Door({"order-gateway": ports}))
    found.nginx.start()
    yield found
    found.nginx.stop()


def until(read: Callable[[], Any], condition: Callable[[Any], bool]) -> Any:
    """Read again until a condition holds; what was read."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        found = read()
        if condition(found):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def resting(**fields: Any) -> dict[str, Any]:
    """An order that stays in the desk's own book."""
    body = {"account": "main", "client_order_id": secrets.token_hex(6), "symbol": "BTCUSDT.INT", "side": "BUY"}
    return body | {"type": "LIMIT", "price": "58000", "quantity": "0.01"} | fields


def place(desk: ClusterDesk, number: int, **fields: Any) -> int:
    """Place an order at one of the gateways; its id."""
    answer = until(
        lambda: desk.request("order-gateway", "POST", "/orders", resting(**fields), number=number),
        lambda found: found.json().get("reason", "") not in {"MARKET_DATA_MISSING", "MARKET_DATA_STALE"},
    )
    assert answer.status_code == 201, answer.text
    return int(answer.json()["order"]["order_id"])


def submitted(desk: ClusterDesk, number: int) -> float:
    """How many orders one of the gateways has had an answer for."""
    text = desk.client.get(f"{desk.service('order-gateway', number).url}/metrics").text
    found = re.search(r'^polaris_gateway_orders_total\{kind="submit",outcome="taken"\} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_any_gateway_behind_the_door_answers_for_any_order(desk: ClusterDesk, door: Door) -> None:
    """Orders placed through nginx get risk's verdict, are shared out, and are found and cancelled anywhere."""
    place(desk, 0)
    before = [submitted(desk, number) for number in range(2)]
    url = f"http://127.0.0.1:{door.ports[8082]}"
    placed: list[int] = []
    for _ in range(12):
        body = msgspec.json.encode(resting())
        headers = desk.signed("POST", "/orders", body) | {"content-type": "application/json"}
        answer = desk.client.post(f"{url}/orders", content=body, headers=headers)
        assert answer.status_code == 201, answer.text
        placed.append(answer.json()["order"]["order_id"])
    for order_id in placed:
        for number in range(2):
            found = desk.json("order-gateway", "GET", f"/orders/{order_id}", number=number)
            assert found["order"]["order_id"] == order_id
    assert all(submitted(desk, number) > before[number] for number in range(2))
    for number, order_id in enumerate(placed):
        assert desk.request("order-gateway", "DELETE", f"/orders/{order_id}", number=number % 2).status_code == 200


def test_a_gateway_tells_of_orders_that_another_took(desk: ClusterDesk) -> None:
    """Who listens at one gateway hears of an order placed at the other, from its approval to its cancel."""
    url = desk.service("order-gateway", 1).url.replace("http://", "ws://") + "/ws"
    with connect(url, additional_headers=desk.signed("GET", "/ws"), proxy=None) as stream:
        stream.send(json.dumps({"id": 1, "method": "subscribe", "params": {"channels": ["orders"]}}))
        order_id = place(desk, 0)
        desk.json("order-gateway", "DELETE", f"/orders/{order_id}")
        states: list[str] = []
        while "CANCELLED" not in states:
            message = json.loads(stream.recv(timeout=WAIT_SECONDS_MAX))
            if message.get("channel") == "orders" and message["data"]["order_id"] == order_id:
                states.append(message["data"]["state"])
        assert states[0] == "APPROVED"


def test_users_and_log_outs_hold_at_every_service(desk: ClusterDesk) -> None:
    """A user added at one gateway logs in at the other; logged out there, their token is void everywhere."""
    name = f"u{secrets.token_hex(4)}"
    user = {"username": name, "password": PASSWORD, "role": "TRADER", "accounts": ["main"]}
    assert desk.request("order-gateway", "POST", "/users", user).status_code == 200
    other = desk.service("order-gateway", 1).url
    body = {"username": name, "password": PASSWORD}
    answer = until(lambda: desk.client.post(f"{other}/login", json=body), lambda found: found.status_code == 200)
    token = {"authorization": f"Bearer {answer.json()['access_token']}"}

    def asks(service: str) -> int:
        return desk.client.get(desk.service(service).url + QUESTIONS[service], headers=token).status_code

    for service in QUESTIONS:
        until(lambda service=service: asks(service), lambda status: status == 200)  # type: ignore[misc]  # bound now
    assert desk.client.post(f"{other}/logout", headers=token).status_code == 200
    for service in QUESTIONS:
        until(lambda service=service: asks(service), lambda status: status == 401)  # type: ignore[misc]  # bound now
    assert not (desk.directory / "auth.sqlite3").exists()


def test_a_signed_request_is_no_good_at_the_other_gateway(desk: ClusterDesk) -> None:
    """A copy of a request that one gateway answered is refused by the other."""
    headers = desk.signed("GET", "/instruments")
    answers = [
        desk.client.get(f"{desk.service('order-gateway', number).url}/instruments", headers=headers)
        for number in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 401]
    assert answers[1].json()["reason"] == "NONCE_REUSED"


def test_the_order_port_takes_orders(desk: ClusterDesk) -> None:
    """Over plain TCP at either gateway: an order is answered, and the other gateway cancels it."""
    for number in range(2):
        where = desk.service("order-gateway", number).place
        assert where is not None
        assert where.order_port > 0

        async def order(host: str = where.host, port: int = where.order_port) -> int:
            client = OrderPortClient(host, port)
            await client.connect()
            await client.log_in(key=read_key_file(operator_key_file(desk.directory)))
            answer = await client.call("submit", resting())
            client.close()
            return int(answer["order"]["order_id"])

        order_id = asyncio.run(order())
        assert desk.request("order-gateway", "DELETE", f"/orders/{order_id}", number=1 - number).status_code == 200


def test_candles_come_from_sql(desk: ClusterDesk) -> None:
    """The market data handler keeps closed candles in the database; one that has just started, quietly, has them."""
    target = "/candles/BTCUSDT?interval=1s&limit=500"

    def times() -> list[str]:
        return [one["open_time_ns"] for one in desk.json("market-data-handler", "GET", target)["candles"]]

    before = until(times, lambda found: len(found) > 5)
    assert desk.instances["market-data-handler"].pop().stop() == 0
    quiet = ServiceProcess("market-data-handler", desk.directory, desk.environment, ("--feed", "simulated", "--quiet"))
    desk.instances["market-data-handler"].append(quiet)
    said = len(quiet.printed())
    quiet.launch()
    desk.wait_ready(seconds_max=START_SECONDS_MAX)
    # Its log is in the file alone.
    assert quiet.printed()[said:] == ""
    assert "service_listening" in quiet.story()
    after = until(times, lambda found: bool(found) and found[-1] > before[-1])
    # The newest may have been open, or not written yet, when its process ended.
    assert set(before[:-3]) <= set(after)


def test_what_is_not_known_in_time_is_answered_with_a_link(desk: ClusterDesk, door: Door) -> None:
    """While risk hangs, an order is answered 202 with the place to ask at; afterwards that has the order."""
    risk = desk.service("risk-manager")
    body = msgspec.json.encode(resting())
    headers = desk.signed("POST", "/orders", body) | {"content-type": "application/json"}
    risk.signal(signal.SIGSTOP)
    try:
        answer = desk.client.post(f"http://127.0.0.1:{door.ports[8082]}/orders", content=body, headers=headers)
    finally:
        risk.signal(signal.SIGCONT)
    assert answer.status_code == 202, answer.text
    pending = answer.json()
    assert pending["reason"] == "TIMED_OUT"
    for number in range(2):
        found = until(
            lambda number=number: desk.request("order-gateway", "GET", pending["link"], number=number),  # type: ignore[misc]  # bound now
            lambda found: found.status_code == 200,
        )
        assert found.json()["order"]["client_order_id"] == pending["client_order_id"]


def test_without_redis_the_cluster_goes_on(desk: ClusterDesk, redis: NativeRedis) -> None:
    """Signed reads, cancels and stops pass, and orders with a token; signed orders wait until it is back, empty."""
    order_id = place(desk, 0)
    name = f"u{secrets.token_hex(4)}"
    user = {"username": name, "password": PASSWORD, "role": "TRADER", "accounts": ["main"]}
    desk.request("order-gateway", "POST", "/users", user)
    gateway = desk.service("order-gateway").url
    answer = desk.client.post(f"{gateway}/login", json={"username": name, "password": PASSWORD})
    token = {"authorization": f"Bearer {answer.json()['access_token']}"}
    redis.kill()
    # Longer than a mirror of revocations holds: what is known now, the database says.
    time.sleep(6)
    try:
        refused = desk.request("order-gateway", "POST", "/orders", resting())
        assert (refused.status_code, refused.json()["reason"]) == (503, "CACHE_UNAVAILABLE")
        assert desk.request("order-gateway", "GET", f"/orders/{order_id}", number=1).status_code == 200
        assert desk.request("order-gateway", "DELETE", f"/orders/{order_id}", number=1).status_code == 200
        assert desk.client.post(f"{gateway}/orders", json=resting(), headers=token).status_code == 201
        pulled = desk.request("risk-manager", "POST", "/kill-switch", {"level": 1, "note": "test"})
        assert pulled.status_code == 200, pulled.text
        released = desk.request("risk-manager", "POST", "/kill-switch", {"level": 0, "note": "test"})
        assert released.status_code == 503
        assert desk.client.post(f"{gateway}/logout", headers=token).status_code == 200
        other = desk.service("order-gateway", 1).url
        until(lambda: desk.client.get(f"{other}/orders", headers=token).status_code, lambda status: status == 401)
    finally:
        redis.start()
    until(
        lambda: desk.request("risk-manager", "POST", "/kill-switch", {"level": 0, "note": "test"}).status_code,
        lambda status: status == 200,
    )
    until(lambda: desk.request("order-gateway", "POST", "/orders", resting()).status_code, lambda status: status == 201)


def test_a_gateway_that_starts_knows_the_last_prices(desk: ClusterDesk, redis: NativeRedis) -> None:
    """The market data handler writes each mark to the cache, where a gateway finds it before it hears one."""
    until(lambda: redis.command("EXISTS", "polaris:price:BTCUSDT").strip(), lambda found: found.endswith("1"))


def figure(desk: ClusterDesk, name: str, metric: str, number: int = 0) -> float:
    """One figure of an instance, 0.0 where it has none yet."""
    text = desk.client.get(f"{desk.service(name, number).url}/metrics").text
    found = re.search(rf"^{metric} (\S+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_client_hears_a_market_through_redis(desk: ClusterDesk, redis: NativeRedis) -> None:
    """Its gateway alone asks for the market. Redis dies: a gap, marks go on; it comes back: so do tops and trades."""
    url = desk.service("order-gateway", 1).url.replace("http://", "ws://") + "/ws"
    with connect(url, additional_headers=desk.signed("GET", "/ws"), proxy=None) as stream:

        def hear(*wanted: tuple[str, str]) -> None:
            left, deadline = set(wanted), time.monotonic() + WAIT_SECONDS_MAX
            while left:
                assert time.monotonic() < deadline, left
                message = json.loads(stream.recv(timeout=WAIT_SECONDS_MAX))
                left.discard((message.get("channel", ""), message.get("event", "")))

        top, trade = ("market:BTCUSDT", "top"), ("market:BTCUSDT", "trade")
        stream.send(json.dumps({"id": 1, "method": "subscribe", "params": {"channels": ["market:BTCUSDT"]}}))
        hear(top, trade, ("market:BTCUSDT", "mark"))
        assert "polaris:market:BTCUSDT" in redis.command("PUBSUB", "CHANNELS", "polaris:market:*")
        assert [figure(desk, "order-gateway", "polaris_gateway_markets_heard", number) for number in (0, 1)] == [0, 1]
        assert figure(desk, "order-gateway", "polaris_gateway_market_turns_total", 1) > 0
        assert figure(desk, "order-gateway", "polaris_gateway_market_turns_total") == 0
        assert figure(desk, "market-data-handler", "polaris_market_data_turns_published_total") > 0
        redis.kill()
        try:
            hear(("status", "gap"))
            hear(("market:BTCUSDT", "mark"))
        finally:
            redis.start()
        hear(top, trade)
        stream.send(json.dumps({"id": 2, "method": "unsubscribe", "params": {"channels": ["market:BTCUSDT"]}}))
        until(lambda: redis.command("PUBSUB", "CHANNELS", "polaris:market:*"), lambda found: "BTCUSDT" not in found)


def under_way(url: str, target: str, headers: dict[str, str], body: bytes) -> socket.socket:
    """A connection on which half a request has been sent."""
    host, _, port = url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS_MAX)
    lines = [f"GET {target} HTTP/1.1", f"host: {host}:{port}", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body[:1])
    return connection


def test_every_service_answers_what_is_under_way_and_ends(desk: ClusterDesk) -> None:
    """On SIGTERM a request that was half sent is answered, nobody new is let in, and the exit code is 0."""
    body = b"{}"
    codes = {"market-data-handler": desk.instances["market-data-handler"].pop().stop()}
    for name, target in QUESTIONS.items():
        service = desk.instances[name].pop()
        url = service.url
        with closing(under_way(url, target, desk.signed("GET", target, body), body)) as connection:
            # The service has begun with it before it is asked to end.
            time.sleep(0.5)
            service.signal(signal.SIGTERM)
            until(lambda url=url: is_closed(url), bool)  # type: ignore[misc]  # bound now
            connection.sendall(body[1:])
            answer = b""
            while part := connection.recv(65_536):
                answer += part
        assert answer.startswith(b"HTTP/1.1 200"), (name, answer[:300])
        until(lambda service=service: service.running, lambda running: not running)  # type: ignore[misc]  # bound now
        codes[name] = service.stop()
    assert codes == dict.fromkeys(SERVICES, 0)
    for name in SERVICES:
        desk.add(name)
    desk.wait_ready(seconds_max=START_SECONDS_MAX)


def is_closed(url: str) -> bool:
    """Whether nobody listens there any more."""
    try:
        with httpx2.Client(trust_env=False, timeout=2) as client:
            client.get(f"{url}/health")
    except httpx2.TransportError:
        return True
    return False
