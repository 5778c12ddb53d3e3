"""The MCP server against a real desk, with the official client: over standard input, over HTTP, and with malice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from tests.end_to_end.support import WIDE_LIMITS, account, polaris, write_config

from polaris_synapse.testing.desk_process import DeskProcess

pytestmark = pytest.mark.anyio

MANDATE = {
    "account": "claude",
    "agent": "claude",
    "symbols": ["BTCUSDT"],
    "order_value_max": "2000",
    "daily_value_max": "100000",
    "approval_above": "1000",
}
TOKEN = "a-token-for-tests-with-40-characters-0001"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskProcess]:
    """A desk with an account for an outside agent, and its key."""
    folder = tmp_path_factory.mktemp("mcp")
    accounts = [account("main"), account("claude", kind="AGENT")]
    config = write_config(folder, accounts=accounts, limits={"*": WIDE_LIMITS}, mandates=[MANDATE])
    with DeskProcess(folder / "desk", config=str(config)) as running:
        for name, role, owner in (("claude", "AGENT", "claude"), ("person", "TRADER", "")):
            arguments = ["user", "key", f"{name}-key", "--role", role, "--accounts", "claude"]
            arguments += ["--out", str(folder / f"{name}.key.json"), *(("--owner", owner) if owner else ())]
            made = polaris(running, *arguments)
            assert made.returncode == 0, made.stderr
        yield running


def key_file(desk: DeskProcess, name: str = "claude") -> str:
    """Where a key lies."""
    return str(desk.directory.parent / f"{name}.key.json")


@asynccontextmanager
async def over_stdio(desk: DeskProcess) -> AsyncIterator[Client]:
    """A client of `polaris mcp`."""
    arguments = ["-m", "polaris_synapse.cli.main", "mcp", "--key-file", key_file(desk)]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=desk.environment)
    async with Client(stdio_client(server)) as client:
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """A tool's envelope."""
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    envelope: dict[str, Any] = json.loads(found.content[0].text)  # type: ignore[union-attr]  # text, as it is made
    return envelope


async def test_reading_over_stdio_says_where_each_number_comes_from(desk: DeskProcess) -> None:
    """Every read tool answers in the trust envelope, which says that this market is simulated."""
    async with over_stdio(desk) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        reads = ("status", "instruments", "marks", "balances", "positions", "pnl", "orders", "fills", "decisions")
        assert tools >= {*reads, "book", "candles", "why", "mandate", "approvals", "preview_order", "submit_order"}
        for tool in (*reads, "mandate", "approvals"):
            envelope = await call(client, tool)
            assert envelope["ok"], envelope
            assert envelope["computed_by"] == "polaris-synapse desk"
            assert envelope["simulated"] is True
            assert envelope["at"]
        book = await call(client, "book", symbol="BTCUSDT", levels=3)
        assert len(book["result"]["bids"]) == 3
        assert (await call(client, "status"))["result"]["principal"] == "agent:claude"
        assert (await call(client, "mandate"))["result"]["mandates"][0]["mandate"]["agent"] == "claude"
        resource = await client.read_resource("polaris://mandate")
        assert "2000" in resource.contents[0].text  # type: ignore[union-attr]  # JSON text
        assert {prompt.name for prompt in (await client.list_prompts()).prompts} == {"review_desk", "propose_trade"}


async def test_orders_go_under_the_mandate_and_above_its_limit_to_a_person(desk: DeskProcess) -> None:
    """A small order fills; a larger one is held and placed once by a person; one beyond the mandate is refused."""
    async with over_stdio(desk) as client:
        preview = await call(client, "preview_order", symbol="BTCUSDT", side="BUY", quantity="0.001")
        assert preview["result"]["enough"] is True
        small = await call(client, "submit_order", symbol="BTCUSDT", side="BUY", quantity="0.001")
        assert small["result"]["order"]["state"] == "FILLED"
        given = {"symbol": "BTCUSDT", "side": "BUY", "quote_amount": "1500", "client_order_id": "mine-1"}
        held = (await call(client, "submit_order", **given))["result"]
        request_id = held["approval_id"]
        assert (request_id, held["reason"]) == (request_id, "MANDATE_REQUIRES_APPROVAL")
        again = (await call(client, "submit_order", **given))["result"]
        assert again["approval_id"] == request_id
        waiting = (await call(client, "approval", request_id=request_id))["result"]
        assert (waiting["state"], waiting["order_id"]) == ("PENDING", 0)
        shown = polaris(desk, "approvals", "approve", request_id, "--json")
        assert shown.returncode == 0, shown.stderr
        order_id = json.loads(shown.stdout)["order_id"]
        decided = (await call(client, "approval", request_id=request_id))["result"]
        assert (decided["state"], decided["order_id"]) == ("APPROVED", order_id)
        assert (await call(client, "order", order_id=order_id))["ok"]
        second = polaris(desk, "approvals", "approve", request_id)
        assert second.returncode == 1
        assert "APPROVAL_USED" in second.stderr
        beyond = await call(client, "submit_order", symbol="BTCUSDT", side="BUY", quote_amount="2500")
        assert beyond["refused"]["reason"] == "MANDATE_ORDER_VALUE"
        elsewhere = await call(client, "submit_order", symbol="ETHUSDT", side="BUY", quote_amount="50")
        assert elsewhere["refused"]["reason"] == "MANDATE_SYMBOL"
        foreign = await call(client, "submit_order", symbol="BTCUSDT", side="BUY", quote_amount="50", account="main")
        assert foreign["refused"]["reason"] == "ACCOUNT_NOT_ALLOWED"
        working = await call(
            client, "submit_order", symbol="BTCUSDT", side="BUY", order_type="LIMIT", quantity="0.001", price="58000"
        )
        cancelled = await call(client, "cancel_order", order_id=working["result"]["order"]["order_id"])
        assert cancelled["result"]["order"]["state"] == "CANCELLED"


@pytest.mark.parametrize(
    "tool, arguments",
    [
        ("book", {"symbol": "../../users"}),
        ("book", {"symbol": "BTCUSDT?levels=1000"}),
        ("book", {"symbol": "BTCUSDT", "levels": 10**9}),
        ("candles", {"symbol": "BTCUSDT", "interval": "1s; drop table"}),
        ("why", {"decision_id": "D0-1/../../keys"}),
        ("approval", {"request_id": "1/approve"}),
        ("order", {"order_id": -1}),
        ("order", {"order_id": "1 or 1=1"}),
        ("submit_order", {"symbol": "BTCUSDT", "side": "BUY", "quantity": "1e5"}),
        ("submit_order", {"symbol": "BTCUSDT", "side": "BUY", "quantity": "-1"}),
        ("submit_order", {"symbol": "BTCUSDT", "side": "buy", "quantity": "1"}),
        ("submit_order", {"symbol": "BTCUSDT", "side": "BUY", "quantity": "1" * 500}),
        ("submit_order", {"symbol": "BTCUSDT", "side": "BUY", "quantity": "1", "client_order_id": "a\nb"}),
        ("balances", {"account": "main&account=claude"}),
    ],
)
async def test_hostile_arguments_never_reach_the_desk(desk: DeskProcess, tool: str, arguments: dict[str, Any]) -> None:
    """What does not fit a tool's schema is an error of the call; nothing of it becomes a request."""
    async with over_stdio(desk) as client:
        before = (await call(client, "orders"))["result"]["orders"]
        found = await client.call_tool(tool, arguments)
        assert found.is_error
        assert (await call(client, "orders"))["result"]["orders"] == before


async def test_an_agent_can_approve_nothing_and_read_no_other_account(desk: DeskProcess) -> None:
    """There is no tool that approves, the desk refuses the agent's own key, and other accounts stay closed."""
    async with over_stdio(desk) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert not {name for name in names if "approve" in name or "mandate_set" in name}
        refused = await call(client, "balances", account="main")
        assert refused["refused"]["reason"] == "ACCOUNT_NOT_ALLOWED"
        with pytest.raises(MCPError):
            await client.read_resource("polaris://decisions/..%2F..%2Fkeys")


async def test_http_takes_the_token_and_this_machines_name(desk: DeskProcess) -> None:
    """Over HTTP the same tools; without the token, with another or under another host name nothing at all."""
    arguments = ["-m", "polaris_synapse.cli.main", "mcp", "--http", "--port", "0", "--key-file", key_file(desk)]
    with subprocess.Popen(  # noqa: ASYNC220  # it is read line by line, and ends with the test
        [sys.executable, *arguments],
        env=desk.environment | {"POLARIS_MCP_TOKEN": TOKEN},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            url = line.split()[2].rstrip(";")
            assert TOKEN not in line
            good = {"authorization": f"Bearer {TOKEN}"}
            async with httpx2.AsyncClient(headers=good, trust_env=False) as http:
                async with Client(streamable_http_client(url, http_client=http)) as client:
                    assert (await call(client, "status"))["result"]["principal"] == "agent:claude"
                body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
                for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {TOKEN}x"}):
                    async with httpx2.AsyncClient(trust_env=False) as stranger:
                        assert (await stranger.post(url, json=body, headers=headers)).status_code == 401
                rebound = await http.post(url, json=body, headers={"host": "evil.example"})
                assert rebound.status_code in {403, 421}
                crossed = await http.post(url, json=body, headers={"origin": "https://evil.example"})
                assert crossed.status_code == 403
        finally:
            process.terminate()
            process.wait(timeout=20)


def test_only_an_agents_key_is_served(desk: DeskProcess, tmp_path: Path) -> None:
    """A trader's key has no mandate that bounds it, so the server does not start with one; nor without a key."""
    refused = polaris(desk, "mcp", "--key-file", key_file(desk, "person"))
    assert refused.returncode == 2
    assert "role TRADER" in refused.stderr
    missing = polaris(desk, "mcp", "--key-file", str(tmp_path / "none.json"))
    assert missing.returncode == 2
