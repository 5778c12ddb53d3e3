"""How agents are kept to their mandate, how approvals are kept to their order, and standing instructions to theirs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx2
from tests.end_to_end.refusal_world import Said, World, said
from tests.end_to_end.refusals_of_requests import Scenario
from tests.end_to_end.support import fresh_id, until

from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.testing.desk_process import decoded

_ACCOUNT: Final = "bot-hands"
_SHEET: Final = {
    "agent": "tester",
    "account": _ACCOUNT,
    "symbols": ["ETHUSDT"],
    "order_value_max": "2000",
    "daily_value_max": "1000000",
    "autonomy": "autopilot",
}
_STANDING: Final = {
    "account": _ACCOUNT,
    "symbol": "ETHUSDT",
    "side": "BUY",
    "trigger": "PRICE_BELOW",
    "value": "1",
    "quantity": "0.01",
}


def _mandate(world: World, **changes: Any) -> None:
    world.officer("llm_agents", "PUT", f"/mandates/{_ACCOUNT}/tester", _SHEET | changes)


def _order(world: World, **changes: Any) -> httpx2.Response:
    body = {"account": _ACCOUNT, "symbol": "ETHUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.1"} | changes
    return world.signed(world.agent, "POST", "/orders", body)


def _held(world: World, **changes: Any) -> dict[str, Any]:
    """An order of the agent that waits for a person."""
    _mandate(world, autonomy="propose", **changes)
    waiting = decoded(_order(world))
    found: dict[str, Any] = world.officer("llm_agents", "GET", f"/approvals/{waiting['approval_id']}")
    return found


def _decide(world: World, approval: dict[str, Any], verb: str = "approve", **changes: Any) -> httpx2.Response:
    body = {"order_hash": approval["order_hash"]} | changes
    path = f"/approvals/{approval['approval_id']}/{verb}"
    return world.trader.request("POST", path, body, service="llm_agents")


def holding_limit(world: World) -> Said:
    told = world.trader.call(
        "POST", "/chat", {"message": "never hold more than 1 % in ETH", "account": "capped"}, service="llm_agents"
    )
    yes = {"message": "yes", "session": told["session"], "account": "capped"}
    world.trader.call("POST", "/chat", yes, service="llm_agents")
    return said(world.try_order("capped", "ETHUSDT", "BUY", "MARKET", quantity="10"))


def mandate_hours(world: World) -> Said:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).strftime("%a").lower()
    _mandate(world, hours=[{"days": [tomorrow], "start": "00:00", "end": "24:00"}])
    return said(_order(world))


def mandate_leverage(world: World) -> Said:
    _mandate(world, leverage_max="0.000001")
    return said(_order(world))


def mandate_loss(world: World) -> Said:
    _mandate(world, daily_loss_max="0.00000001")

    # The taker's fee alone loses more than that, so the second order is refused at the latest.
    def refused() -> httpx2.Response | None:
        answer = _order(world)
        return answer if answer.status_code >= 400 else None

    lost = until(refused, what="the loss")
    assert lost is not None
    return said(lost)


def requires_approval(world: World) -> Said:
    """A held order that is sent again with its request's id is told to wait: the id is no approval."""
    _mandate(world, autonomy="propose")
    client_order_id = fresh_id("held")
    waiting = decoded(_order(world, client_order_id=client_order_id))
    assert waiting["reason"] == "MANDATE_REQUIRES_APPROVAL"
    other = _order(world, client_order_id=fresh_id("other"), approval_id=waiting["approval_id"])
    assert other.json()["reason"] == "APPROVAL_ORDER_CHANGED"
    return Said(waiting["reason_code"], waiting["reason"], explain(Reason.MANDATE_REQUIRES_APPROVAL))


def approval_not_found(world: World) -> Said:
    return said(world.trader.request("GET", "/approvals/999999", service="llm_agents"))


def approval_order_changed(world: World) -> Said:
    return said(_decide(world, _held(world), order_hash="0" * 64))


def approval_used(world: World) -> Said:
    approval = _held(world)
    decoded(_decide(world, approval))
    return said(_decide(world, approval))


def approval_expired(world: World) -> Said:
    approval = _held(world, approval_seconds_max=1)
    path = f"/approvals/{approval['approval_id']}"
    until(lambda: world.officer("llm_agents", "GET", path)["state"] == "EXPIRED", what="the request's end")
    return said(_decide(world, approval))


def approval_rejected(world: World) -> Said:
    approval = _held(world)
    decoded(_decide(world, approval, "reject"))
    return said(_decide(world, approval))


def approver_not_allowed(world: World) -> Said:
    approval = _held(world)
    path = f"/approvals/{approval['approval_id']}/approve"
    return said(world.viewer.request("POST", path, {"order_hash": approval["order_hash"]}, service="llm_agents"))


def approvals_full(world: World) -> Said:
    _mandate(world, autonomy="propose")

    def refused() -> httpx2.Response | None:
        answer = _order(world)
        return answer if answer.status_code >= 400 else None

    full = until(refused, what="the last place", seconds_max=30.0)
    assert full is not None
    for row in world.officer("llm_agents", "GET", "/approvals?state=PENDING&limit=500")["approvals"]:
        decoded(_decide(world, row, "reject"))
    return said(full)


def approval_token_invalid(world: World) -> Said:
    return said(world.trader.request("POST", "/approvals/token", {"token": "AAAA.BBBB"}, service="llm_agents"))


def standing_not_found(world: World) -> Said:
    return said(world.trader.request("DELETE", "/standing/S999999", service="llm_agents"))


def standing_full(world: World) -> Said:
    def refused() -> httpx2.Response | None:
        answer = world.trader.request("POST", "/standing", _STANDING, service="llm_agents")
        return answer if answer.status_code >= 400 else None

    full = until(refused, what="the last place", seconds_max=30.0)
    assert full is not None
    for row in world.trader.call("GET", "/standing?alive_only=true", service="llm_agents")["standing"]:
        world.trader.call("DELETE", f"/standing/{row['standing_id']}", service="llm_agents")
    return said(full)


def standing_expired(world: World) -> Said:
    body = _STANDING | {"account": "capped", "expires_seconds": 1}
    standing_id = world.trader.call("POST", "/standing", body, service="llm_agents")["standing_id"]

    def expired() -> dict[str, Any] | None:
        rows = world.trader.call("GET", "/standing", service="llm_agents")["standing"]
        return next((row for row in rows if row["standing_id"] == standing_id and row["state"] == "EXPIRED"), None)

    row = until(expired, what="the instruction's end")
    assert row is not None
    reason = Reason[row["reason"]]
    return Said(int(reason), reason.name, explain(reason))


SCENARIOS: Final[dict[Reason, Scenario]] = {
    Reason.HOLDING_LIMIT: holding_limit,
    Reason.MANDATE_HOURS: mandate_hours,
    Reason.MANDATE_LEVERAGE: mandate_leverage,
    Reason.MANDATE_LOSS: mandate_loss,
    Reason.MANDATE_REQUIRES_APPROVAL: requires_approval,
    Reason.APPROVAL_NOT_FOUND: approval_not_found,
    Reason.APPROVAL_ORDER_CHANGED: approval_order_changed,
    Reason.APPROVAL_USED: approval_used,
    Reason.APPROVAL_EXPIRED: approval_expired,
    Reason.APPROVAL_REJECTED: approval_rejected,
    Reason.APPROVER_NOT_ALLOWED: approver_not_allowed,
    Reason.APPROVALS_FULL: approvals_full,
    Reason.APPROVAL_TOKEN_INVALID: approval_token_invalid,
    Reason.STANDING_NOT_FOUND: standing_not_found,
    Reason.STANDING_FULL: standing_full,
    Reason.STANDING_EXPIRED: standing_expired,
}
