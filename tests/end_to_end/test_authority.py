"""What lets agents act without doing harm, on a real desk: mandates, held orders, standing instructions, receipts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.end_to_end.support import WIDE_LIMITS, Person, account, mark_of, polaris, until, write_config

from polaris_synapse.testing.desk_process import DeskProcess, decoded
from polaris_synapse.web.signing import read_key_file, signed_headers

WORDS = "let claude trade BTC up to 2000 USDT an order, 100000 a day, ask me above 500"
MANDATE = {
    "account": "claude",
    "agent": "claude",
    "symbols": ["ETHUSDT"],
    "order_value_max": "1",
    "daily_value_max": "1",
    "approval_above": "1",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskProcess]:
    """A desk with an outside agent's account and key."""
    folder = tmp_path_factory.mktemp("authority")
    accounts = [account("main"), account("claude"), account("other")]
    config = write_config(folder, accounts=accounts, limits={"*": WIDE_LIMITS}, mandates=[MANDATE])
    with DeskProcess(folder / "desk", config=str(config)) as running:
        made = polaris(
            running, "user", "key", "claude-key", "--role", "AGENT", "--accounts", "claude", "--owner", "claude",
            "--out", str(folder / "claude.key.json"),
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        yield running


def run(desk: DeskProcess, *arguments: str) -> str:
    """What a command prints."""
    done = polaris(desk, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def order_of_the_agent(desk: DeskProcess, **changes: Any) -> Any:
    """An order of agent claude, worth 1,000 USDT unless ``changes`` says otherwise."""
    key = read_key_file(desk.directory.parent / "claude.key.json")
    body = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quote_amount": "1000"} | changes
    content = json.dumps(body).encode()
    headers = signed_headers(key, "POST", "/orders", content)
    return decoded(desk.request("gateway", "POST", "/orders", content=content, headers=headers))


def test_a_mandate_in_words_is_shown_then_in_force_and_survives_a_restart(desk: DeskProcess) -> None:
    """Compiled to YAML, set only with a yes, and the same after the desk was killed."""
    earlier = run(desk, "mandate", "show", "claude")
    shown = polaris(desk, "mandate", "write", WORDS.replace("2000", "2001"))
    assert shown.returncode == 1
    assert 'approval_above: "500"' in shown.stdout
    assert run(desk, "mandate", "show", "claude") == earlier
    run(desk, "mandate", "write", WORDS, "--yes")
    before = run(desk, "mandate", "show", "claude")
    assert "symbols: [BTCUSDT]" in before
    unclear = polaris(desk, "mandate", "write", "let claude trade BTC")
    assert unclear.returncode == 1
    assert "How much may one order be worth" in unclear.stdout
    desk.kill()
    desk.start()
    assert run(desk, "mandate", "show", "claude") == before


def test_a_held_order_outlives_the_desk_and_is_placed_once(desk: DeskProcess, tmp_path: Path) -> None:
    """Held, killed, started, approved, killed, started: one order, and a receipt that verifies without the desk."""
    run(desk, "mandate", "write", WORDS, "--yes")
    # The tests of this file share the desk: what others placed is no matter here.
    before = [order["order_id"] for order in desk.json("gateway", "GET", "/orders?account=claude")["orders"]]
    held = order_of_the_agent(desk)
    number = held["approval_id"]
    assert held["link"] == f"/approvals/{number}"
    desk.kill()
    desk.start()
    assert json.loads(run(desk, "approvals", "show", number, "--json"))["state"] == "PENDING"
    until(lambda: mark_of(desk, "BTCUSDT"), what="a price")
    approved = json.loads(run(desk, "approvals", "approve", number, "--json"))
    desk.kill()
    desk.start()
    again = polaris(desk, "approvals", "approve", number)
    assert again.returncode == 1
    assert "APPROVAL_USED" in again.stderr
    orders = desk.json("gateway", "GET", "/orders?account=claude")["orders"]
    assert [order["order_id"] for order in orders if order["order_id"] not in before] == [approved["order_id"]]
    file = tmp_path / "receipt.json"
    run(desk, "receipts", "show", f"A{number}", "--out", str(file))
    assert "signed by the desk's key" in run(desk, "receipts", "verify", str(file))
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"decided_role": "ADMIN"', '"decided_role": "TRADER"'), encoding="utf-8")
    changed = polaris(desk, "receipts", "verify", str(file))
    assert changed.returncode == 1
    assert "was changed" in changed.stdout


def test_a_token_decides_for_its_maker_and_only_once(desk: DeskProcess) -> None:
    """Without a login, as the person it was made for; nothing for strangers, and nothing when it is used again."""
    run(desk, "mandate", "write", WORDS, "--yes")
    number = order_of_the_agent(desk)["approval_id"]
    stranger = Person.added(desk, "stranger", "TRADER", ["other"])
    assert stranger.request("POST", f"/approvals/{number}/link", {}, service="llm_agents").status_code == 404
    owner = Person.added(desk, "owner", "TRADER", ["claude"])
    link = owner.call("POST", f"/approvals/{number}/link", {"approve": True}, service="llm_agents")
    meaning = desk.request("llm_agents", "POST", "/approvals/token/meaning", {"token": link["token"]}, headers={})
    assert decoded(meaning)["approval"]["state"] == "PENDING"
    used = desk.request("llm_agents", "POST", "/approvals/token", {"token": link["token"]}, headers={})
    assert decoded(used)["decided_by"] == "user:owner"
    again = desk.request("llm_agents", "POST", "/approvals/token", {"token": link["token"]}, headers={})
    assert again.json()["reason"] == "APPROVAL_USED"


def test_a_token_ends_with_its_makers_rights(desk: DeskProcess) -> None:
    """Somebody who was shut out approves nothing with a token from before."""
    run(desk, "mandate", "write", WORDS, "--yes")
    number = order_of_the_agent(desk)["approval_id"]
    leaver = Person.added(desk, "leaver", "TRADER", ["claude"])
    token = leaver.call("POST", f"/approvals/{number}/link", {}, service="llm_agents")["token"]
    desk.json("gateway", "DELETE", "/users/leaver")
    refused = desk.request("llm_agents", "POST", "/approvals/token", {"token": token}, headers={})
    assert refused.json()["reason"] == "APPROVER_NOT_ALLOWED"


def test_a_trader_narrows_a_mandate_and_does_not_widen_it(desk: DeskProcess) -> None:
    """Taking back is easier than giving."""
    run(desk, "mandate", "write", WORDS, "--yes")
    sheet = desk.json("llm_agents", "GET", "/mandates/claude/claude")["mandate"]
    trader = Person.added(desk, "tina", "TRADER", ["claude"])
    wider = trader.request("PUT", "/mandates/claude/claude", sheet | {"order_value_max": "3000"}, service="llm_agents")
    assert wider.json()["reason"] == "ROLE_NOT_ALLOWED"
    trader.call("PUT", "/mandates/claude/claude", sheet | {"enabled": False}, service="llm_agents")
    assert "no" in run(desk, "mandate", "list")


def test_a_standing_instruction_outlives_the_desk_and_orders_for_its_owner(desk: DeskProcess) -> None:
    """Set in words, kept over a kill, fired by the market, placed once through the normal path."""
    owner = Person.added(desk, "sam", "TRADER", ["main"])
    asleep = owner.call("POST", "/standing", _standing("PRICE_BELOW", "1"), service="llm_agents")["standing_id"]
    desk.kill()
    desk.start()
    owner = Person(desk, "sam")
    assert asleep in {row["standing_id"] for row in _alive(owner)}
    fired = owner.call("POST", "/standing", _standing("PRICE_ABOVE", "1"), service="llm_agents")["standing_id"]
    row = until(lambda: _ended(owner, fired), what="the order")
    assert row is not None
    assert (row["state"], row["shots"]) == ("DONE", 1)
    order = owner.call("GET", f"/orders/{row['order_id']}")["order"]
    assert (order["state"], order["client_order_id"]) == ("FILLED", f"standing-{fired}-1")
    text = run(desk, "standing", "list", "--all")
    assert fired in text
    run(desk, "standing", "cancel", asleep)
    assert _alive(owner) == []


def _standing(trigger: str, value: str) -> dict[str, str]:
    instruction = {"account": "main", "symbol": "BTCUSDT", "side": "BUY", "quantity": "0.01"}
    return instruction | {"trigger": trigger, "value": value}


def _alive(person: Person) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = person.call("GET", "/standing?alive_only=true", service="llm_agents")["standing"]
    return found


def _ended(person: Person, standing_id: str) -> dict[str, Any] | None:
    rows = person.call("GET", "/standing", service="llm_agents")["standing"]
    return next((row for row in rows if row["standing_id"] == standing_id and row["state"] in {"DONE", "FAILED"}), None)
