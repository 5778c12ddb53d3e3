"""Orders over REST: what is taken, what is refused and how, and what is waited for."""

from __future__ import annotations

from pathlib import Path

import anyio
import msgspec
import pytest
from tests.unit.order_gateway.fake_desk import buy, mark, running_gateway, until
from tests.unit.web.test_bodies import HOSTILE

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.orders import OrderState, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.entry import OrderKey
from polaris_synapse.order_gateway.order_params import OrderParams
from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

pytestmark = pytest.mark.anyio


async def test_an_order_becomes_ticks_and_lots(tmp_path: Path) -> None:
    """Decimal text is parsed exactly by the instrument, and the answer is decimal text again."""
    async with running_gateway(tmp_path) as gateway:
        response = await gateway.call("trader", "POST", "/orders", buy(client_order_id="a-1"))
        assert response.status_code == 201
        command = gateway.desk.commands[-1]
        assert isinstance(command, m.SubmitOrder)
        assert (command.order.quantity_lots, command.order.price_ticks) == (1_000, 6_000_000)
        assert command.order.account == "main"
        assert command.actor == "key:trader"
        order = response.json()["order"]
        assert (order["quantity"], order["price"], order["client_order_id"]) == ("0.01", "60000", "a-1")


async def test_a_market_order_does_not_rest_by_default(tmp_path: Path) -> None:
    """Without a time in force a MARKET order is IOC and any other GTC."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.call(
            "trader", "POST", "/orders", {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quote_amount": "100"}
        )
        await gateway.call("trader", "POST", "/orders", buy())
        market, limit = gateway.desk.commands[-2:]
        assert isinstance(market, m.SubmitOrder)
        assert isinstance(limit, m.SubmitOrder)
        assert market.order.time_in_force is TimeInForce.IOC
        assert market.order.quote_amount_units == 100 * 10**8
        assert limit.order.time_in_force is TimeInForce.GTC


async def test_the_same_client_order_id_answers_with_the_first_order(tmp_path: Path) -> None:
    """A repetition is 200 with duplicate true, and both answers name one order."""
    async with running_gateway(tmp_path) as gateway:
        first = await gateway.call("trader", "POST", "/orders", buy(client_order_id="a-1"))
        again = await gateway.call("trader", "POST", "/orders", buy(client_order_id="a-1"))
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json()["duplicate"] is True
        assert again.json()["order"]["order_id"] == first.json()["order"]["order_id"]


@pytest.mark.parametrize(
    "change, status, reason",
    [
        ({"price": 60000.5}, 400, "INVALID_VALUE"),
        ({"quantity": 1}, 400, "INVALID_VALUE"),
        ({"price": "60000.001"}, 422, "PRICE_NOT_ON_TICK"),
        ({"quantity": "0.000001"}, 422, "QUANTITY_NOT_ON_LOT"),
        ({"price": "0"}, 400, "INVALID_VALUE"),
        ({"price": "-1"}, 400, "INVALID_VALUE"),
        ({"price": "1e5"}, 400, "INVALID_VALUE"),
        ({"price": "NaN"}, 400, "INVALID_VALUE"),
        ({"price": "٣"}, 400, "INVALID_VALUE"),
        ({"price": "9" * 41}, 400, "INVALID_VALUE"),
        ({"quantity": "9" * 30}, 400, "INVALID_VALUE"),
        ({"price": None}, 400, "MISSING_FIELD"),
        ({"quantity": None}, 400, "MISSING_FIELD"),
        ({"quote_amount": "5"}, 400, "CONTRADICTORY_FIELDS"),
        ({"stop_price": "5"}, 400, "CONTRADICTORY_FIELDS"),
        ({"type": "STOP", "price": None}, 400, "MISSING_FIELD"),
        ({"type": "TRAILING_STOP", "price": None}, 400, "MISSING_FIELD"),
        ({"time_in_force": "GTD"}, 400, "MISSING_FIELD"),
        ({"expire_time": "2027-01-01T00:00:00Z"}, 400, "CONTRADICTORY_FIELDS"),
        ({"time_in_force": "GTD", "expire_time": "tomorrow"}, 400, "INVALID_VALUE"),
        ({"time_in_force": "GTD", "expire_time": "2027-13-01T00:00:00Z"}, 400, "INVALID_VALUE"),
        ({"display_quantity": "1"}, 400, "CONTRADICTORY_FIELDS"),
        ({"symbol": "DOGE"}, 404, "SYMBOL_NOT_FOUND"),
        ({"symbol": "BTCUSDT\n"}, 400, "INVALID_VALUE"),
        ({"side": "HOLD"}, 400, "INVALID_VALUE"),
        ({"client_order_id": "a b"}, 400, "INVALID_VALUE"),
        ({"client_order_id": ""}, 400, "INVALID_VALUE"),
        ({"account": "other"}, 403, "ACCOUNT_NOT_ALLOWED"),
        ({"account": "nobody"}, 403, "ACCOUNT_NOT_ALLOWED"),
        ({"__proto__": {}}, 400, "UNKNOWN_FIELD"),
        ({"order_id": 5}, 400, "UNKNOWN_FIELD"),
    ],
)
async def test_what_cannot_be_an_order_never_reaches_risk(
    tmp_path: Path, change: dict[str, object], status: int, reason: str
) -> None:
    """Malformed orders get a 4xx with a reason and one sentence, and no command is sent."""
    async with running_gateway(tmp_path) as gateway:
        body = {name: value for name, value in buy(**change).items() if value is not None}
        response = await gateway.call("trader", "POST", "/orders", body)
        answer = response.json()
        assert (response.status_code, answer["reason"]) == (status, reason), answer
        assert answer["message"].endswith(".")
        assert gateway.desk.commands == []


async def test_hostile_bodies_are_4xx_at_the_door(tmp_path: Path) -> None:
    """The whole corpus, signed rightly, gets a 4xx with the error body and reaches nobody."""
    async with running_gateway(tmp_path) as gateway:
        for name, (body, _) in HOSTILE.items():
            for target in ("/orders", "/orders/preview"):
                headers = gateway.headers("trader", "POST", target, body) | {"content-type": "application/json"}
                response = await gateway.client.post(target, content=body, headers=headers)
                assert 400 <= response.status_code < 500, name
                assert response.json()["reason"], name
        assert gateway.desk.commands == []


async def test_a_number_in_place_of_text_says_how_to_send_it(tmp_path: Path) -> None:
    """The refusal of a JSON number for a price shows the text form."""
    async with running_gateway(tmp_path) as gateway:
        response = await gateway.call("trader", "POST", "/orders", buy(price=1))
        assert response.json()["detail"].startswith("price: send numbers such as prices and quantities as text")


@pytest.mark.parametrize(
    "reason, status",
    [
        (Reason.INSUFFICIENT_FUNDS, 422),
        (Reason.KILL_SWITCH, 423),
        (Reason.CIRCUIT_BREAKER, 423),
        (Reason.COMPLIANCE_SANCTIONED, 403),
        (Reason.DUPLICATE_CLIENT_ORDER_ID, 409),
        (Reason.MESSAGE_THROTTLE, 429),
    ],
)
async def test_a_refusal_by_risk_is_passed_on(tmp_path: Path, reason: Reason, status: int) -> None:
    """Risk's reason, number, sentence and detail reach the client under the documented status."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.refuse = reason
        response = await gateway.call("trader", "POST", "/orders", buy())
        answer = response.json()
        assert (response.status_code, answer["code"], answer["reason"]) == (status, int(reason), reason.name)
        assert answer["detail"] == "because"


async def test_a_full_desk_is_503(tmp_path: Path) -> None:
    """What the bus cannot take is refused with its reason and when to try again."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.fail = Reason.OVERLOADED
        response = await gateway.call("trader", "POST", "/orders", buy())
        assert (response.status_code, response.json()["reason"]) == (503, "OVERLOADED")
        assert response.headers["retry-after"] == "1"


async def test_an_unknown_outcome_is_202_with_a_link(tmp_path: Path) -> None:
    """When the verdict does not come in time the client is told where to ask, also when we made the id up."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.hang = True
        response = await gateway.call("trader", "POST", "/orders", buy())
        answer = response.json()
        assert (response.status_code, answer["reason"]) == (202, "TIMED_OUT")
        assert answer["link"] == f"/orders/by-client-id/{answer['client_order_id']}?account=main"
        assert answer["client_order_id"].startswith("gw-")


async def test_waiting_answers_with_the_venues_word(tmp_path: Path) -> None:
    """With wait_ms the answer shows the order as its venue has it, fills and how they were made included."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.acknowledge = False

        async def fill_it() -> None:
            await until(lambda: bool(gateway.desk.orders_by_id))
            gateway.desk.fill(1024, 1_000)

        async with anyio.create_task_group() as group:
            group.start_soon(fill_it)
            response = await gateway.call("trader", "POST", "/orders?wait_ms=5000", buy())
        answer = response.json()
        assert answer["order"]["state"] == "FILLED"
        assert answer["fills"][0]["simulated"] is True
        assert answer["fills"][0]["how"] == "taken from the mirrored book"


async def test_without_waiting_the_verdict_is_enough(tmp_path: Path) -> None:
    """wait_ms 0 answers with the approved order, and a wait that runs out answers with what is known."""
    async with running_gateway(tmp_path) as gateway:
        gateway.desk.acknowledge = False
        at_once = await gateway.call("trader", "POST", "/orders", buy())
        waited = await gateway.call("trader", "POST", "/orders?wait_ms=20", buy())
        assert at_once.json()["order"]["state"] == waited.json()["order"]["state"] == "APPROVED"


@pytest.mark.parametrize("query", ["wait_ms=5001", "wait_ms=-1", "wait_ms=x", "wait_ms=1&wait_ms=2", "wait=1"])
async def test_a_query_is_as_strict_as_a_body(tmp_path: Path, query: str) -> None:
    """Unknown, repeated and impossible parameters are refused."""
    async with running_gateway(tmp_path) as gateway:
        response = await gateway.call("trader", "POST", f"/orders?{query}", buy())
        assert response.status_code == 400
        assert gateway.desk.commands == []


async def test_cancel_by_either_id(tmp_path: Path) -> None:
    """An order is cancelled by the desk's id or the client's, and a second cancel is told it is not open."""
    async with running_gateway(tmp_path) as gateway:
        for name in ("a", "b"):
            await gateway.call("trader", "POST", "/orders", buy(client_order_id=name))
        by_id = await gateway.call("trader", "DELETE", "/orders/1024?wait_ms=1000")
        by_name = await gateway.call("trader", "DELETE", "/orders/by-client-id/b?wait_ms=1000")
        assert (by_id.json()["order"]["state"], by_name.json()["order"]["state"]) == ("CANCELLED", "CANCELLED")
        again = await gateway.call("trader", "DELETE", "/orders/1024")
        assert (again.status_code, again.json()["reason"]) == (409, "ORDER_NOT_OPEN")


async def test_a_cancel_needs_no_read_models(tmp_path: Path) -> None:
    """Whoever has one account can cancel while reads are down."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.call("trader", "POST", "/orders", buy())
        gateway.desk.lag = True
        gateway.service.tracker.forget()
        assert (await gateway.call("trader", "DELETE", "/orders/1024")).status_code == 200


async def test_reads_that_lag_say_so(tmp_path: Path) -> None:
    """A read that cannot show everything durable is 503, not an old answer."""
    async with running_gateway(tmp_path, read_seconds_max=0.05) as gateway:
        gateway.desk.lag = True
        response = await gateway.call("trader", "GET", "/orders")
        assert (response.status_code, response.json()["reason"]) == (503, "NOT_READY")


async def test_cancel_all_covers_only_ones_own_accounts(tmp_path: Path) -> None:
    """Cancel-all without an account cancels on each of the principal's accounts and on no other."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.call("trader", "POST", "/orders", buy())
        await gateway.call("stranger", "POST", "/orders", buy())
        response = await gateway.call("trader", "DELETE", "/orders")
        assert response.json() == {"order_ids": [1024]}
        assert gateway.desk.orders_by_id[2048].state is OrderState.WORKING


async def test_replace_sends_only_what_changes(tmp_path: Path) -> None:
    """A replace carries 0 for what stays, in the order's own ticks."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.call("trader", "POST", "/orders", buy())
        response = await gateway.call("trader", "PATCH", "/orders/1024", {"price": "59000.01"})
        assert response.json()["order"]["price"] == "59000.01"
        command = gateway.desk.commands[-1]
        assert isinstance(command, m.ReplaceOrder)
        assert (command.price_ticks, command.quantity_lots, command.stop_price_ticks) == (5_900_001, 0, 0)
        empty = await gateway.call("trader", "PATCH", "/orders/1024", {})
        assert empty.json()["reason"] == "MISSING_FIELD"


async def test_a_preview_places_nothing(tmp_path: Path) -> None:
    """A preview tells cost, fee and whether the funds suffice, and sends no command."""
    async with running_gateway(tmp_path) as gateway:
        gateway.service.markets.take_mark(mark())
        response = await gateway.call("trader", "POST", "/orders/preview", buy(quantity="0.02"))
        answer = response.json()
        assert (answer["notional"], answer["fee"], answer["fee_asset"]) == ("1200", "0.00002", "BTC")
        assert (answer["free"], answer["enough"]) == ("900", False)
        small = await gateway.call("trader", "POST", "/orders/preview", buy(quantity="0.00001"))
        assert small.json()["problems"] == ["The order's value is below the instrument's minimum."]
        market = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.01"}
        assert (await gateway.call("trader", "POST", "/orders/preview", market)).json()["price"] == "60999.99"
        assert gateway.desk.commands == []


async def test_anothers_order_does_not_exist(tmp_path: Path) -> None:
    """Reading, changing and cancelling somebody else's order answer as if there were none."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.call("stranger", "POST", "/orders", buy(client_order_id="secret"))
        for method, target, body in (
            ("GET", "/orders/1024", None),
            ("DELETE", "/orders/1024", None),
            ("PATCH", "/orders/1024", {"price": "1.00"}),
            ("GET", "/orders/by-client-id/secret", None),
            ("DELETE", "/orders/by-client-id/secret", None),
            ("PATCH", "/orders/by-client-id/secret", {"price": "1.00"}),
            ("GET", "/orders/77", None),
        ):
            response = await gateway.call("trader", method, target, body)
            assert (response.status_code, response.json()["reason"]) == (404, "ORDER_NOT_FOUND"), (method, target)
        for target in ("/orders", "/executions", "/balances", "/positions", "/pnl", "/orders/1024"):
            response = await gateway.call("trader", "GET", f"{target}?account=other")
            assert (response.status_code, response.json()["reason"]) == (403, "ACCOUNT_NOT_ALLOWED"), target
        assert (await gateway.call("trader", "GET", "/orders")).json()["orders"] == []
        assert gateway.desk.orders_by_id[1024].state is OrderState.WORKING


async def test_whoever_has_several_accounts_names_one(tmp_path: Path) -> None:
    """Without an account an order of somebody with many accounts is refused, not guessed at."""
    async with running_gateway(tmp_path) as gateway:
        response = await gateway.call("everybody", "POST", "/orders", buy())
        assert (response.status_code, response.json()["reason"]) == (400, "MISSING_FIELD")
        assert (await gateway.call("everybody", "POST", "/orders", buy(account="other"))).status_code == 201
        assert (await gateway.call("everybody", "DELETE", "/orders/1024")).status_code == 200


async def test_cancels_have_a_budget_of_their_own(tmp_path: Path) -> None:
    """A client whose order budget is spent gets 429 with Retry-After, and can still cancel."""
    async with running_gateway(tmp_path, orders=Budget("orders", 0.1, 2)) as gateway:
        statuses = [(await gateway.call("trader", "POST", "/orders", buy())).status_code for _ in range(3)]
        assert statuses == [201, 201, 429]
        refused = await gateway.call("trader", "POST", "/orders", buy())
        assert int(refused.headers["retry-after"]) >= 1
        assert (await gateway.call("trader", "DELETE", "/orders/1024")).status_code == 200
        gateway.clock.advance(10)
        assert (await gateway.call("trader", "POST", "/orders", buy())).status_code == 201


async def test_agents_in_this_process_take_the_same_path(tmp_path: Path) -> None:
    """Order entry inside the process checks role, account, budget and parsing like any request."""
    async with running_gateway(tmp_path) as gateway:
        entry = gateway.service.entry
        agent = Principal("jarvis", Role.AGENT, ("main",), "agent")
        params = msgspec.convert(buy(decision_id="D1", approval_id="A1"), OrderParams)
        answer = await entry.submit(agent, params)
        assert answer.order is not None
        command = gateway.desk.commands[-1]
        assert isinstance(command, m.SubmitOrder)
        assert (command.actor, command.approval_id, command.order.decision_id) == ("agent:jarvis", "A1", "D1")
        with pytest.raises(ApiError) as refused:
            await entry.submit(Principal("v", Role.VIEWER, ("main",)), params)
        assert refused.value.reason is Reason.ROLE_NOT_ALLOWED
        with pytest.raises(ApiError) as refused:
            await entry.submit(Principal("x", Role.AGENT, ("other",)), answer.order.request)
        assert refused.value.reason is Reason.ACCOUNT_NOT_ALLOWED
        with pytest.raises(ApiError) as refused:
            await entry.find(Principal("x", Role.AGENT, ("other",)), OrderKey(order_id=answer.order.order_id))
        assert refused.value.reason is Reason.ORDER_NOT_FOUND


async def test_latency_and_refusals_are_measured(tmp_path: Path) -> None:
    """The metrics name order latency by entry and refusals by reason."""
    async with running_gateway(tmp_path) as gateway:
        await gateway.call("trader", "POST", "/orders", buy())
        gateway.desk.refuse = Reason.POSITION_LIMIT
        await gateway.call("trader", "POST", "/orders", buy())
        text = (await gateway.client.get("/metrics")).text
        assert 'polaris_order_ack_seconds_count{entry="rest"} 2.0' in text
        assert 'polaris_gateway_refusals_total{reason="POSITION_LIMIT"} 1.0' in text
