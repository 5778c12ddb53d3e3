"""`polaris journal`, `venues` and `breaks` over a real desk, while it runs and after it was killed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.end_to_end.support import polaris

from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.load import ACCOUNTS, write_fault_settings


def test_the_journal_is_verified_exported_and_replayed(tmp_path: Path) -> None:
    """Of a running desk and of a killed one, the commands agree with each other and with the desk."""
    config = str(write_fault_settings(tmp_path / "desk.yml"))
    environment = {"POLARIS_CONFIG": config}
    with DeskProcess(tmp_path / "desk", config=config) as desk:
        order = {
            "account": ACCOUNTS[0], "client_order_id": "one", "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET",
            "quantity": "0.01",
        }  # fmt: skip
        placed = desk.json("gateway", "POST", "/orders?wait_ms=3000", order)["order"]
        assert placed["state"] == "FILLED"
        assert json.loads(polaris(desk, "venues", "--json").stdout)["venues"][0]["name"] == "paper"
        assert "agree" in polaris(desk, "breaks").stdout
        assert json.loads(polaris(desk, "breaks", "list", "--all", "--json").stdout) == {"breaks": []}
        unknown = polaris(desk, "breaks", "resolve", "break-0-9", "--note", "nothing")
        assert (unknown.returncode, "NOT_FOUND" in unknown.stderr) == (1, True)
        assert polaris(desk, "breaks", "resolve", "break-0-9").returncode == 2
        running = json.loads(polaris(desk, "journal", "verify", "--json").stdout)
        assert (running["whole"], running["desk_process"]) == (True, desk.process_id)
        balances = {
            row["asset"]: row["total"]
            for row in desk.json("gateway", "GET", f"/balances?account={ACCOUNTS[0]}")["balances"]
        }
        desk.kill()
        verified = json.loads(polaris(desk, "journal", "verify", "--json").stdout)
        assert (verified["whole"], verified["desk_process"]) == (True, None)
        assert verified["messages"] >= running["messages"]
        exported = polaris(desk, "journal", "export", "--kind", "SubmitOrder", "--account", ACCOUNTS[0]).stdout
        (line,) = exported.splitlines()
        offset = json.loads(line)["offset"]
        assert json.loads(line)["message"]["order"]["client_order_id"] == "one"
        before = polaris(
            desk, "journal", "replay", "--until", str(offset - 1), "--show", "orders", "--json", environment=environment
        )
        assert json.loads(before.stdout)["orders"] == []
        after = polaris(desk, "journal", "replay", "--show", "accounts", "--json", environment=environment)
        rows = [row for row in json.loads(after.stdout)["accounts"] if row["account"] == ACCOUNTS[0]]
        assert {row["asset"]: row["total"] for row in rows} == balances
        wrong = polaris(desk, "journal", "replay", "--until", "yesterday", environment=environment)
        assert (wrong.returncode, "neither an offset nor a time" in wrong.stderr) == (2, True)
        nowhere = polaris(desk, "journal", "verify", "--data-directory", str(tmp_path / "nowhere"))
        assert (nowhere.returncode, "There is no journal" in nowhere.stderr) == (3, True)
