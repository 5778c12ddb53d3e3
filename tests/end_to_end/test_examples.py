"""The programs in examples/ do what they say, at a real desk."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest
from tests.documents import CHECKOUT
from tests.end_to_end.support import polaris, until, write_config

from polaris_synapse.testing.desk_process import DeskProcess, decoded
from polaris_synapse.web.signing import read_key_file, signed_headers

_EXAMPLES: Final = CHECKOUT / "examples"
_PROGRAM_SECONDS_MAX: Final = 60
#: An agent from outside that has to ask before nearly every order.
_MANDATE: Final = {
    "account": "jarvis",
    "agent": "helper",
    "symbols": ["BTCUSDT"],
    "order_value_max": "1000",
    "daily_value_max": "5000",
    "approval_above": "10",
}


class ExampleDesk:
    """A desk, and a key for the programs."""

    def __init__(self, desk: DeskProcess, key: Path) -> None:
        self.desk = desk
        self.key = key

    def new_key(self, name: str, *arguments: str) -> Path:
        """Another key, made as the examples say."""
        path = self.key.parent / f"{name}.key.json"
        made = polaris(self.desk, "user", "key", name, "--out", str(path), *arguments)
        assert made.returncode == 0, made.stderr
        return path

    def command(self, name: str, *arguments: str, key: Path | None = None, service: str = "gateway") -> list[str]:
        """The command line of a program that trades here."""
        where = ["--key", str(key or self.key), "--url", self.desk.place.url(service)]
        return [sys.executable, str(_EXAMPLES / name), *where, *arguments]

    def run(self, name: str, *arguments: str) -> str:
        """What a program prints that must succeed."""
        return _output(self.command(name, *arguments))


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_PROGRAM_SECONDS_MAX, check=False, cwd=CHECKOUT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExampleDesk]:
    """A desk without an agent, so that only the programs trade."""
    folder = tmp_path_factory.mktemp("examples")
    key = folder / "bot.key.json"
    with DeskProcess(folder / "desk", config=str(write_config(folder, mandates=[_MANDATE]))) as desk:
        made = polaris(desk, "user", "key", "bot", "--role", "TRADER", "--accounts", "main", "--out", str(key))
        assert made.returncode == 0, made.stderr
        yield ExampleDesk(desk, key)


def test_trade_buys_once_and_sells_what_it_bought(here: ExampleDesk) -> None:
    """The repeated order is recognised, and the position ends within one lot of where it began."""
    orders_before, held_before = _orders(here), _held(here)
    printed = here.run("trade.py", "--hold", "0.2", "--quantity", "0.01")
    bought, again, sold = re.findall(r"(?:BUY|SELL) \S+ BTCUSDT: order (\d+) is FILLED", printed)
    assert bought == again
    assert "(it existed already)" in printed
    assert "simulated: 0.0" in printed
    assert _orders(here) - orders_before == {int(bought), int(sold)}
    assert 0 <= _held(here) - held_before < Decimal("0.00001")


def _orders(here: ExampleDesk) -> set[int]:
    listed = here.desk.json("gateway", "GET", "/orders?account=main&symbol=BTCUSDT")["orders"]
    return {order["order_id"] for order in listed}


def _held(here: ExampleDesk) -> Decimal:
    """What the account has of the position that the programs trade."""
    positions = here.desk.json("gateway", "GET", "/positions?account=main")["positions"]
    return sum((Decimal(row["quantity"]) for row in positions if row["symbol"] == "BTCUSDT"), Decimal(0))


def test_trade_says_why_it_was_refused(here: ExampleDesk) -> None:
    """A refusal ends the program with the desk's own words."""
    done = subprocess.run(
        here.command("trade.py", "--quantity", "50"), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "ORDER_VALUE_LIMIT (2061)" in done.stderr


def test_stream_shows_fills_and_prices(here: ExampleDesk) -> None:
    """What happens while it listens is printed: marks, an order, its fill."""
    with subprocess.Popen(
        here.command("stream.py", "--seconds", "20"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as program:
        try:
            assert program.stdout is not None
            lines = iter(program.stdout.readline, "")
            assert next(line for line in lines if line.startswith("MARK   BTCUSDT "))
            assert polaris(here.desk, "order", "buy", "0.001", "BTCUSDT").returncode == 0
            fill = next(line for line in lines if line.startswith("FILL "))
            assert re.match(r"FILL   BUY 0\.001 BTCUSDT at [\d.]+ \(simulated: took ", fill)
        finally:
            program.kill()


def test_market_maker_quotes_trades_and_leaves_nothing(here: ExampleDesk) -> None:
    """It quotes both sides; killed without a goodbye, its orders are cancelled by the desk."""
    symbol = "BTCUSDT.INT"

    def book() -> list[list[str]]:
        found = here.desk.json("market_data", "GET", f"/book/{symbol}")
        return [*found["bids"][:1], *found["asks"][:1]] if found["bids"] and found["asks"] else []

    def working() -> list[int]:
        listed = here.desk.json("gateway", "GET", f"/open-orders?symbol={symbol}")["orders"]
        return [order["order_id"] for order in listed]

    with subprocess.Popen(here.command("market_maker.py", "--seconds", "60"), stdout=subprocess.DEVNULL) as program:
        try:
            (bid, _), (ask, _) = until(book, what="two quotes")
            assert Decimal(bid) < Decimal(ask)
            taken = polaris(here.desk, "order", "buy", "0.0005", symbol, "--account", "jarvis", "--json")
            assert json.loads(taken.stdout)["fills"][0]["how"] == "matched on the desk's own book"
            assert working()
        finally:
            program.kill()
    until(lambda: not working(), what="the cancels on disconnect")
    newest = here.desk.json("gateway", "GET", f"/orders?symbol={symbol}&account=main")["orders"][0]
    assert newest["state"] == "FILLED" or newest["reason"] == "CANCELLED_ON_DISCONNECT"


def test_protect_leaves_an_exit_that_the_desk_keeps(here: ExampleDesk) -> None:
    """With an HMAC key and the standard library alone: two orders of one list stand, and go together when asked."""
    key = here.new_key("guard", "--algorithm", "HMAC_SHA256")
    printed = _output(here.command("protect.py", key=key))
    found = re.search(r"Exit (\d+) is EXECUTING: sells at ([\d.]+), or when it falls to ([\d.]+)\.", printed)
    assert found is not None, printed
    listed = here.desk.json("gateway", "GET", f"/order-lists/{found[1]}")
    assert {order["state"] for order in listed["orders"]} == {"WORKING", "ARMED"}
    # The desk leaves out zeros at the end, which the example's own arithmetic keeps.
    kept = {Decimal(order["price"] or order["stop_price"]) for order in listed["orders"]}
    assert kept == {Decimal(found[2]), Decimal(found[3])}
    assert polaris(here.desk, "order-list", "cancel", found[1]).returncode == 0
    again = _output(here.command("protect.py", "--cancel", key=key))
    ended = re.search(r"Exit (\d+) is (?!EXECUTING)[A-Z_]+\.", again)
    assert ended is not None, again
    assert here.desk.json("gateway", "GET", "/open-orders?account=main&symbol=BTCUSDT")["orders"] == []


def test_approve_decides_by_its_rule(here: ExampleDesk) -> None:
    """A small purchase of an agent is approved and placed, a large one rejected; each as it was shown."""
    agent = here.new_key("helper", "--role", "AGENT", "--accounts", "jarvis", "--owner", "helper")
    approver = here.new_key("approver", "--role", "TRADER", "--accounts", "jarvis")
    with subprocess.Popen(
        here.command("approve.py", key=approver, service="llm_agents"), stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            lines = iter(program.stdout.readline, "")
            for amount, outcome in (("200", "APPROVED"), ("500", "REJECTED")):
                content = json.dumps(
                    {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quote_amount": amount, "account": "jarvis"}
                ).encode()
                headers = signed_headers(read_key_file(agent), "POST", "/orders", content)
                held = decoded(here.desk.request("gateway", "POST", "/orders", content=content, headers=headers))
                line = next(lines)
                assert line.startswith(f"Request {held['approval_id']} of helper: ")
                assert f": {outcome} (" in line
        finally:
            program.kill()
    orders = here.desk.json("gateway", "GET", "/orders?account=jarvis&symbol=BTCUSDT")["orders"]
    assert len(orders) == 1


def test_embedded_cores_repeat_themselves() -> None:
    """Without a desk: the trade happens, the order that nobody can pay is refused, and a second run is the same."""
    printed = _output([sys.executable, str(_EXAMPLES / "embed.py")])
    assert "fill      bob BUY 0.2 at 60010" in printed
    assert "refused   INSUFFICIENT_FUNDS" in printed
    assert printed.count("  the same after a second run") == 3
    assert "NOT" not in printed
