"""The analyst at a running desk: it decides by itself, says why, trades under its mandate, and can be paused."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from tests.end_to_end.support import (
    WIDE_LIMITS,
    Person,
    Stream,
    account,
    assert_adds_up,
    executions_of,
    until,
    write_config,
)

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.desk_process import DeskProcess

DEPOSITS: dict[str, str] = {"USDT": "25000"}
#: Candles of a second and no doubts, so that it has a view and follows it within half a minute.
JARVIS: dict[str, Any] = {
    "name": "jarvis", "account": "jarvis", "symbols": ["BTCUSDT", "ETHUSDT"], "interval_seconds": 5,
    "candle_seconds": 1, "confidence_ppm_min": 0, "cooldown_seconds": 5, "horizon_seconds": 60,
    "slippage_ppm_max": 5_000,
}  # fmt: skip
MANDATE = {
    "account": "jarvis", "agent": "jarvis", "symbols": ["BTCUSDT", "ETHUSDT"], "order_value_max": "2500",
    "daily_value_max": "20000", "approval_above": "2500",
}  # fmt: skip


class Office:
    """A desk with the analyst, and a person who may use its account."""

    def __init__(self, desk: DeskProcess) -> None:
        self.desk = desk
        self.trader = Person.added(desk, "trader", "TRADER", ["jarvis"])
        self.outsider = Person.added(desk, "outsider", "TRADER", ["main"])

    def decisions(self) -> list[dict[str, Any]]:
        """The decisions as the gateway lists them."""
        found: list[dict[str, Any]] = self.trader.get("/decisions?limit=200")["decisions"]
        return found

    def why(self, decision_id: str) -> dict[str, Any]:
        """A decision as the agents' service explains it."""
        found: dict[str, Any] = self.trader.get(f"/decisions/{decision_id}", service="llm_agents")
        return found

    def analyse(self, symbol: str = "BTCUSDT") -> str:
        """Ask for a decision until the agent takes the time; its id."""

        def asked() -> str:
            response = self.trader.request("POST", "/agents/jarvis/analyse", {"symbol": symbol}, service="llm_agents")
            if response.status_code == 200:
                return str(response.json()["decision_id"])
            assert response.json()["reason"] == "AGENT_COOLING_DOWN", response.text
            return ""

        return until(asked, what="a decision")


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The desk of this file."""
    folder = tmp_path_factory.mktemp("decisions")
    accounts = [account("main"), account("jarvis", kind="AGENT", deposits=DEPOSITS)]
    config = write_config(folder, accounts=accounts, limits={"*": WIDE_LIMITS}, agent=JARVIS, mandates=[MANDATE])
    with DeskProcess(folder / "desk", config=str(config)) as desk:
        yield Office(desk)


def test_decisions_come_by_themselves_with_their_facts(office: Office) -> None:
    """Without being asked the agent decides, and each decision is stored with a thesis and the facts that it cites."""

    def with_a_citation() -> list[Any]:
        # A decision of the first second may say that nothing has been heard yet, and then cites nothing.
        return [decision for decision in office.decisions() if "[" in decision["thesis"]]

    first = until(with_a_citation, what="a decision", seconds_max=20)[-1]
    assert (first["agent"], first["account"]) == ("jarvis", "jarvis")
    assert first["symbol"] in JARVIS["symbols"]
    assert first["thesis"]
    why = office.why(first["decision_id"])
    assert first["decision_id"] in why["explanation"]
    assert first["thesis"].replace(f"[{first['decision_id']}.", "[F") in why["explanation"]
    assert why["decision"]["facts"], "a decision stands on facts"
    assert Reason[why["decision"]["reason"]] is not None


def test_asked_for_a_decision_it_decides_at_once(office: Office) -> None:
    """A forced analysis answers with the id of a decision that can be read at once, from either service."""
    decision_id = office.analyse("ETHUSDT")
    assert office.why(decision_id)["decision"]["symbol"] == "ETHUSDT"
    assert office.trader.get(f"/decisions/{decision_id}")["decision_id"] == decision_id
    assert decision_id in [row["decision_id"] for row in office.decisions()]


def test_decisions_are_seen_by_those_whose_account_it_is(office: Office) -> None:
    """Somebody of another account sees neither the decisions nor the agent, and may not ask it."""
    decision_id = office.analyse()
    assert office.outsider.get("/decisions")["decisions"] == []
    for service in ("gateway", "llm_agents"):
        hidden = office.outsider.request("GET", f"/decisions/{decision_id}", service=service)
        assert (hidden.status_code, hidden.json()["reason"]) == (404, "DECISION_NOT_FOUND")
    assert office.outsider.get("/agents", service="llm_agents")["agents"] == []
    body = {"symbol": "BTCUSDT"}
    refused = office.outsider.request("POST", "/agents/jarvis/analyse", body, service="llm_agents")
    assert (refused.status_code, refused.json()["reason"]) == (403, "ACCOUNT_NOT_ALLOWED")


def test_decisions_are_told_over_the_websocket(office: Office) -> None:
    """Whoever listens hears of a decision when it is made."""
    with Stream(office.desk, token=office.trader.token) as stream:
        stream.result("subscribe", channels=["decisions"])
        decision_id = office.analyse()
        told = stream.event("decisions", lambda data: data["decision_id"] == decision_id)
    assert told["symbol"] == "BTCUSDT"


@pytest.mark.timeout(150)
def test_decision_becomes_an_order_under_the_mandate(office: Office) -> None:
    """A view becomes an order that names its decision, within the mandate, and fills that add up in the ledger."""

    def placed() -> list[dict[str, Any]]:
        return [row for row in office.decisions() if row["action"] == "PLACED" and row.get("order_id")]

    decision = until(placed, what="a decision that was placed", seconds_max=120)[-1]
    order = office.trader.ends(decision["order_id"], seconds_max=30)
    assert order["decision_id"] == decision["decision_id"]
    assert order["account"] == "jarvis"
    assert Decimal(order["filled_notional"]) <= Decimal(MANDATE["order_value_max"])  # type: ignore[arg-type]
    fills = [fill for fill in executions_of(office.trader, "jarvis") if fill["order_id"] == order["order_id"]]
    assert all(fill["decision_id"] == decision["decision_id"] for fill in fills)
    assert sum(Decimal(fill["quantity"]) for fill in fills) == Decimal(order["filled_quantity"])
    body = office.why(decision["decision_id"])
    assert body["decision"]["order"]["symbol"] == order["symbol"]
    pause(office, paused=True)
    try:
        assert_adds_up(office.trader, "jarvis", DEPOSITS)
    finally:
        pause(office, paused=False)


def test_paused_agent_decides_nothing_by_itself(office: Office) -> None:
    """A paused agent is shown as paused and makes no decision of its own until it is resumed; asked, it answers."""
    until(office.decisions, what="a decision", seconds_max=20)
    pause(office, paused=True)
    try:
        (agent,) = office.trader.get("/agents", service="llm_agents")["agents"]
        assert agent["paused"] is True
        decision_id = office.analyse()
        decision = office.why(decision_id)["decision"]
        assert decision["action"] != "PLACED"
        assert decision["reason"] != "NONE"
        made = office.decisions()[0]["decision_id"]
        assert made == decision_id
    finally:
        pause(office, paused=False)
    until(lambda: office.decisions()[0]["decision_id"] != made, what="the next decision", seconds_max=20)


def pause(office: Office, *, paused: bool) -> None:
    """Pause the agent or let it go on, and wait until it has nothing under way."""
    verb = "pause" if paused else "resume"
    assert office.trader.call("POST", f"/agents/jarvis/{verb}", service="llm_agents")["paused"] is paused
    if paused:
        until(lambda: not office.trader.get("/open-orders")["orders"], what="the end of the agent's orders")
