"""Several orders in one request: each has its own verdict, and what is malformed places nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.order_gateway.fake_desk import Gateway, buy, running_gateway
from tests.unit.web.test_bodies import HOSTILE

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.web.authentication import Role

pytestmark = pytest.mark.anyio

TARGET = "/orders/batch"


async def batch(gateway: Gateway, *orders: dict[str, Any], key: str = "trader") -> list[dict[str, Any]]:
    """The items of a batch that is taken."""
    response = await gateway.call(key, "POST", TARGET, {"orders": list(orders)})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["results"]
    return found


async def test_each_order_has_its_own_verdict_in_the_order_given(tmp_path: Path) -> None:
    """Taken, off the tick, unknown symbol, foreign account: four items, and only the first order reaches risk."""
    async with running_gateway(tmp_path) as gateway:
        items = await batch(
            gateway,
            buy(client_order_id="a-1"),
            buy(client_order_id="a-2", price="60000.001"),
            buy(client_order_id="a-3", symbol="DOGE"),
            buy(client_order_id="a-4", account="other"),
        )
        assert [item["status"] for item in items] == [201, 422, 404, 403]
        assert items[0]["result"]["order"]["client_order_id"] == "a-1"
        assert "error" not in items[0]
        assert [item["error"]["reason"] for item in items[1:]] == [
            "PRICE_NOT_ON_TICK", "SYMBOL_NOT_FOUND", "ACCOUNT_NOT_ALLOWED",
        ]  # fmt: skip
        assert all("result" not in item and item["error"]["request_id"] for item in items[1:])
        sent = [command for command in gateway.desk.commands if isinstance(command, m.SubmitOrder)]
        assert [command.order.client_order_id for command in sent] == ["a-1"]


async def test_every_order_is_answered_like_the_same_order_alone(tmp_path: Path) -> None:
    """An item's status and result are those of POST /orders, repetitions included."""
    async with running_gateway(tmp_path) as gateway:
        items = await batch(gateway, buy(client_order_id="a-1"), buy(client_order_id="a-2"))
        alone = await gateway.call("trader", "POST", "/orders", buy(client_order_id="a-2"))
        again = await batch(gateway, buy(client_order_id="a-2"))
        assert alone.status_code == again[0]["status"] == 200
        assert alone.json() == again[0]["result"]
        assert again[0]["result"]["order"]["order_id"] == items[1]["result"]["order"]["order_id"]


async def test_risks_refusals_and_unknown_outcomes_are_items(tmp_path: Path) -> None:
    """A refusal by risk carries its reason; an outcome that is not known yet is 202 with the link to ask at."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.refuse = Reason.INSUFFICIENT_FUNDS
        refused = (await batch(gateway, buy(client_order_id="a-1")))[0]
        assert (refused["status"], refused["error"]["reason"]) == (422, "INSUFFICIENT_FUNDS")
        gateway.desk.refuse, gateway.desk.hang = Reason.NONE, True
        unknown = (await batch(gateway, buy(client_order_id="a-2")))[0]
        assert unknown["status"] == 202
        assert unknown["pending"]["link"] == "/orders/by-client-id/a-2?account=main"


async def test_a_bus_that_takes_nothing_refuses_each_order(tmp_path: Path) -> None:
    """OVERLOADED is each order's verdict: none was taken."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.fail = Reason.OVERLOADED
        items = await batch(gateway, buy(client_order_id="a-1"), buy(client_order_id="a-2"))
        assert [(item["status"], item["error"]["reason"]) for item in items] == [(503, "OVERLOADED")] * 2


async def test_every_order_of_a_batch_counts_against_the_budget(tmp_path: Path) -> None:
    """With a burst of two, the third order of a batch is RATE_LIMITED and the first two are placed."""
    async with running_gateway(tmp_path, orders=Budget("orders", 1.0, 2)) as gateway:
        items = await batch(gateway, *(buy(client_order_id=f"a-{number}") for number in range(3)))
        assert [item["status"] for item in items] == [201, 201, 429]
        assert items[2]["error"]["reason"] == "RATE_LIMITED"


async def test_who_may_not_trade_sends_no_batch(tmp_path: Path) -> None:
    """A viewer's batch is refused as a whole, before anything is sent."""
    async with running_gateway(tmp_path) as gateway:
        gateway.add_key("looker", Role.VIEWER, "main")
        response = await gateway.call("looker", "POST", TARGET, {"orders": [buy()]})
        assert (response.status_code, response.json()["reason"]) == (403, "ROLE_NOT_ALLOWED")
        assert gateway.desk.commands == []


@pytest.mark.parametrize(
    "body, reason",
    [
        ({"orders": []}, "INVALID_VALUE"),
        ({"orders": [buy(client_order_id=f"a-{number}") for number in range(101)]}, "INVALID_VALUE"),
        ({"orders": [buy(), buy(side="HOLD")]}, "INVALID_VALUE"),
        ({"orders": [buy(), buy(price=60000)]}, "INVALID_VALUE"),
        ({"orders": [buy(), {}]}, "MISSING_FIELD"),
        ({"orders": [buy(), buy(__proto__={})]}, "UNKNOWN_FIELD"),
        ({"orders": [buy()], "atomic": True}, "UNKNOWN_FIELD"),
        ({"orders": buy()}, "INVALID_VALUE"),
        ({"orders": [None]}, "INVALID_VALUE"),
        ({}, "MISSING_FIELD"),
        ([buy()], "INVALID_VALUE"),
    ],
)
async def test_a_malformed_batch_places_nothing(tmp_path: Path, body: object, reason: str) -> None:
    """One malformed order refuses the whole batch with a 400, and no command is sent."""
    async with running_gateway(tmp_path) as gateway:
        response = await gateway.call("trader", "POST", TARGET, body)
        assert (response.status_code, response.json()["reason"]) == (400, reason), response.text
        assert gateway.desk.commands == []


async def test_a_key_that_comes_twice_inside_an_order_refuses_the_batch(tmp_path: Path) -> None:
    """A duplicate key in any order is found, however many orders there are."""
    async with running_gateway(tmp_path) as gateway:
        good = msgspec.json.encode(buy()).decode()
        twice = good[:-1] + ',"side":"SELL"}'
        body = f'{{"orders":[{",".join([good] * 40 + [twice])}]}}'.encode()
        headers = gateway.headers("trader", "POST", TARGET, body)
        response = await gateway.client.post(TARGET, content=body, headers=headers)
        assert (response.status_code, response.json()["reason"]) == (400, "DUPLICATE_FIELD")
        assert gateway.desk.commands == []


@pytest.mark.parametrize("body", [body for body, _ in HOSTILE.values()], ids=HOSTILE)
async def test_hostile_batches_are_refused(tmp_path: Path, body: bytes) -> None:
    """Whatever bytes come, the answer is a 4xx with a reason."""
    async with running_gateway(tmp_path) as gateway:
        headers = gateway.headers("trader", "POST", TARGET, body) | {"content-type": "application/json"}
        response = await gateway.client.post(TARGET, content=body, headers=headers)
        assert 400 <= response.status_code < 500, response.text
        assert response.json()["reason"]
        assert gateway.desk.commands == []


async def test_the_batch_is_documented(tmp_path: Path) -> None:
    """The OpenAPI document has the body, its bound, the answer and the refusals."""
    async with running_gateway(tmp_path) as gateway:
        document = (await gateway.client.get("/openapi.json")).json()
        operation = document["paths"][TARGET]["post"]
        schemas = document["components"]["schemas"]
        assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("BatchParams")
        assert schemas["BatchParams"]["properties"]["orders"]["maxItems"] == 100
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("BatchAnswer")
        assert {"400", "401", "403", "429"} <= operation["responses"].keys()
        assert schemas["BatchItem"]["required"] == ["status"]
