"""Every command of `polaris` against a running desk: for people and as JSON, and mistakes in one sentence.

The desk is a process of its own; most commands run in this one, because a new process for each takes most of its time
to import. A few run as a person would run them.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.end_to_end.support import (
    PASSWORD,
    WIDE_LIMITS,
    account,
    fresh_id,
    polaris,
    price_near,
    until,
    write_config,
)

from polaris_synapse.cli.main import main
from polaris_synapse.desk.place import operator_key_file, place_file
from polaris_synapse.testing.desk_process import DeskProcess

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
AGENT = {"name": "jarvis", "account": "jarvis", "symbols": ["BTCUSDT", "ETHUSDT"], "interval_seconds": 5}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskProcess]:
    """A desk with something to show: fills, open orders, a decision."""
    folder = tmp_path_factory.mktemp("command-line")
    accounts = [account("main"), account("side"), account("jarvis")]
    config = write_config(folder, accounts=accounts, limits={"*": WIDE_LIMITS}, agent=AGENT)
    with DeskProcess(folder / "desk", config=str(config)) as desk:
        buy = {"account": "main", "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
        desk.json("gateway", "POST", "/orders?wait_ms=3000", buy)
        desk.json("llm_agents", "POST", "/agents/jarvis/analyse", {"symbol": "BTCUSDT"})
        until(lambda: desk.json("market_data", "GET", "/candles/BTCUSDT?interval=1s")["candles"], what="a candle")
        yield desk


@pytest.fixture
def desk(running: DeskProcess) -> Iterator[DeskProcess]:
    """The desk, open for trading before and after each test."""
    yield running
    running.json("risk", "POST", "/circuit-breaker/reset", {"scope": "*"})
    running.json("risk", "POST", "/kill-switch", {"level": 0, "account": "*"})
    running.json("gateway", "DELETE", "/orders")


def run(
    desk: DeskProcess, *arguments: str, given: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, and answer with what it would have printed and its exit code."""
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    variables = desk.environment | {"NO_COLOR": "1", "COLUMNS": "200"} | (environment or {})
    with (
        redirect_stdout(out),
        redirect_stderr(errors),
        mock.patch.dict(os.environ, variables, clear=True),
        mock.patch.object(sys, "argv", ["polaris", *arguments]),
        mock.patch.object(sys, "stdin", io.StringIO(given)),
    ):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    for stream in (out, errors):
        stream.seek(0)
    return subprocess.CompletedProcess(arguments, code, out.read(), errors.read())


def shown(desk: DeskProcess, *arguments: str, given: str = "") -> str:
    """What a command prints that must succeed."""
    done = run(desk, *arguments, given=given)
    assert done.returncode == 0, f"{arguments}: {done.stderr or done.stdout}"
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def as_json(desk: DeskProcess, *arguments: str) -> Any:
    """What a command prints with --json, which is one document."""
    return json.loads(shown(desk, *arguments, "--json"))


def resting(desk: DeskProcess, name: str = "main") -> int:
    """The id of a new open order."""
    order = {"account": name, "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.1"}
    order["price"] = price_near(desk, "-3")
    return int(desk.json("gateway", "POST", "/orders?wait_ms=3000", order)["order"]["order_id"])


#: Reads, with a word that a person finds in what they print and a key that a program finds in their JSON.
READS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "status": (("status",), "ready", "services"),
    "orders": (("orders",), "WORKING", "orders"),
    "orders --all": (("orders", "--all", "--symbol", "BTCUSDT"), "FILLED", "orders"),
    "positions": (("positions",), "BTCUSDT", "positions"),
    "pnl": (("pnl",), "main", "accounts"),
    "balances": (("balances", "--account", "main"), "USDT", "balances"),
    "fills": (("fills",), "simulated", "executions"),
    "instruments": (("instruments",), "0.01", "instruments"),
    "venues": (("venues",), "paper", "venues"),
    "fees": (("fees",), "30 days", "tiers"),
    "breaks": (("breaks", "list"), "", "breaks"),
    "book": (("book", "BTCUSDT"), "spread", "bids"),
    "candles": (("candles", "btcusdt", "--interval", "1s"), "BTCUSDT", "candles"),
    "decisions": (("decisions",), "jarvis", "decisions"),
    "why": (("why", "latest"), "jarvis", "explanation"),
    "audit show": (("audit", "show"), "actor", "entries"),
    "audit verify": (("audit", "verify"), "whole", "valid"),
    "breaker": (("breaker",), "No circuit breaker has tripped", "tripped"),
}


@pytest.mark.parametrize("name", READS)
def test_reads_print_for_people_and_as_json(desk: DeskProcess, name: str) -> None:
    """A read prints something readable, and with --json one document that has what it is about."""
    arguments, word, key = READS[name]
    resting(desk)
    assert word in shown(desk, *arguments)
    assert key in as_json(desk, *arguments)


@pytest.mark.parametrize("arguments", [("status",), ("orders", "--json")])
def test_command_of_its_own_process(desk: DeskProcess, arguments: tuple[str, ...]) -> None:
    """As a person runs it, a command finds the desk, prints, and ends with exit code 0."""
    done = polaris(desk, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_audit_verify_reads_the_daily_files_too(desk: DeskProcess) -> None:
    """The record in SQL and the files beside it are the same chain; a file that somebody edited is found."""
    resting(desk)
    found = as_json(desk, "audit", "verify")
    assert (found["valid"], found["files_checked"]) == (True, True)
    file = min((desk.directory / "audit").glob("audit-*.jsonl"))
    before = file.read_bytes()
    edited = before.replace(b'"actor":"', b'"actor":"not ', 1)
    assert edited != before
    file.write_bytes(edited)
    try:
        done = polaris(desk, "audit", "verify")
    finally:
        # What was written meanwhile is kept.
        grown = file.read_bytes()
        file.write_bytes(before + grown[len(edited) :])
    assert done.returncode == 1
    assert "in the daily files" in done.stdout


def test_status_says_what_is_stopped(desk: DeskProcess) -> None:
    """Status shows a tripped breaker and a raised kill switch, not only that all services are ready."""
    desk.json("risk", "POST", "/circuit-breaker/activate", {"scope": "symbol:ETHUSDT", "note": "a wild market"})
    desk.json("risk", "POST", "/kill-switch", {"level": 1, "account": "side"})
    try:
        text = shown(desk, "status")
        assert re.search(r"circuit breaker symbol:ETHUSDT has tripped", text), text
        assert re.search(r"stopped for account side \(NO_NEW_RISK\)", text), text
    finally:
        desk.json("risk", "POST", "/circuit-breaker/reset", {"scope": "symbol:ETHUSDT"})
        desk.json("risk", "POST", "/kill-switch", {"level": 0, "account": "side"})


def test_status_ends_with_1_while_a_service_is_not_ready(desk: DeskProcess, tmp_path: Path) -> None:
    """A script can wait for a desk: one service that does not answer is enough for exit code 1, none at all for 3."""
    place = json.loads(place_file(desk.directory).read_bytes())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for silent, code in ((["matching"], 1), (list(place["ports"]), 3)):
        ports = place["ports"] | dict.fromkeys(silent, 1)
        place_file(elsewhere).write_text(json.dumps(place | {"ports": ports}), encoding="utf-8")
        environment = desk.environment | {
            "POLARIS_DATA_DIRECTORY": str(elsewhere),
            "POLARIS_KEY_FILE": str(operator_key_file(desk.directory)),
        }
        for arguments in (["status"], ["status", "--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "polaris_synapse.cli.main", *arguments],
                env=environment, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == code, done.stdout + done.stderr


def test_order_cancel_and_replace(desk: DeskProcess) -> None:
    """Orders of all the shapes that the command line offers, previews, changes and cancels."""
    near, far = price_near(desk, "1"), price_near(desk, "-3")
    text = shown(desk, "order", "buy", "0.01", "BTCUSDT", "--account", "main")
    assert "FILLED" in text
    assert "simulated" in text
    preview = as_json(desk, "order", "buy", "0.01", "BTCUSDT", "--limit", near, "-a", "main", "--preview")
    assert preview["enough"] is True
    spent = as_json(desk, "order", "buy", "ETHUSDT", "--spend", "100", "-a", "main")
    assert spent["order"]["state"] == "FILLED"
    for options, state in (
        (("--limit", far, "--post-only"), "WORKING"),
        (("--limit", far, "--tif", "day"), "WORKING"),
        (("--limit", far, "--tif", "GTD", "--expires", "2099-01-01T00:00:00Z"), "WORKING"),
        (("--stop", price_near(desk, "3")), "ARMED"),
        (("--take-profit", price_near(desk, "-3")), "ARMED"),
        (("--trailing", "0.5%"), "ARMED"),
    ):
        answer = as_json(desk, "order", "buy", "0.01", "BTCUSDT", "-a", "main", *options)
        assert answer["order"]["state"] == state, options
    last = answer["order"]["order_id"]
    assert "CANCELLED" in shown(desk, "cancel", str(last))
    client_id = fresh_id("cli")
    shown(desk, "order", "buy", "0.01", "BTCUSDT", "--limit", far, "-a", "main", "--client-id", client_id)
    again = shown(desk, "order", "buy", "0.01", "BTCUSDT", "--limit", far, "-a", "main", "--client-id", client_id)
    assert "existed already" in again
    found = desk.json("gateway", "GET", f"/orders/by-client-id/{client_id}?account=main")["order"]
    assert "0.02" in shown(desk, "replace", str(found["order_id"]), "--quantity", "0.02")
    assert "CANCELLED" in shown(desk, "cancel", "--client-id", client_id, "-a", "main")
    assert len(as_json(desk, "cancel", "--all", "--symbol", "btcusdt", "-a", "main")["order_ids"]) == 5


def test_breaker_trips_and_resets(desk: DeskProcess) -> None:
    """The breaker can be tripped, shown and reset."""
    assert "tripped" in shown(desk, "breaker", "trip", "--note", "a test")
    assert "a test" in shown(desk, "breaker")
    refused = run(desk, "order", "buy", "0.01", "BTCUSDT", "-a", "main")
    assert (refused.returncode, refused.stderr.splitlines()[0].split()[0]) == (1, "CIRCUIT_BREAKER")
    assert as_json(desk, "breaker", "reset")["changed"] is True
    assert "No circuit breaker" in shown(desk, "breaker")


def test_halt_flatten_and_resume(desk: DeskProcess) -> None:
    """Halt cancels and says what, flatten closes positions, resume lets trading go on."""
    order_id = resting(desk)
    text = shown(desk, "halt", "--note", "a test")
    assert f"Cancelled 1 open orders: {order_id}" in text
    assert "Read back: no order is open" in text
    assert run(desk, "order", "buy", "0.01", "BTCUSDT", "-a", "main").returncode == 1
    assert "goes on" in shown(desk, "resume")
    shown(desk, "order", "buy", "0.01", "BTCUSDT", "-a", "side")
    assert as_json(desk, "flatten", "--account", "side", "--yes")["still_open"] == []

    def flat() -> bool:
        rows = desk.json("gateway", "GET", "/positions?account=side")["positions"]
        return all(row["quantity"] == "0" for row in rows)

    assert until(flat, what="a flat account")
    assert as_json(desk, "resume", "-a", "side")["changed"] is True


def test_doctor_examines_the_running_desk(desk: DeskProcess) -> None:
    """Doctor finds the desk's services ready, without needing a network."""
    findings = as_json(desk, "doctor", "--offline")
    verdicts = {finding["subject"]: finding["verdict"] for finding in findings}
    assert verdicts["gateway"] == verdicts["risk"] == "good"
    assert "Python" in shown(desk, "doctor", "--offline")


def test_funds_move_once(desk: DeskProcess) -> None:
    """Paper money is paid in and out; the same reference again moves nothing."""
    reference = fresh_id("cli")
    assert as_json(desk, "funds", "5000", "USDT", "-a", "side", "--reference", reference)["duplicate"] is False
    assert as_json(desk, "funds", "5000", "USDT", "-a", "side", "--reference", reference)["duplicate"] is True
    assert "Moved -0.5 BTC" in shown(desk, "funds", "-a", "side", "--", "-0.5", "BTC")


def test_limits_are_shown_and_changed(desk: DeskProcess) -> None:
    """A limit is set in the valuation asset's own digits, and the others stay as they were."""
    before = as_json(desk, "limits", "show", "-a", "side")["limits"]
    after = as_json(desk, "limits", "set", "order_value_max=1234.5", "open_orders_max=20", "-a", "side")
    units = 12345 * 10 ** (after["valuation_decimals"] - 1)
    assert after["limits"] == before | {"order_value_units_max": units, "open_orders_max": 20}
    assert "1,234.50 USDT" in shown(desk, "limits", "show", "-a", "side")
    shown(
        desk,
        "limits",
        "set",
        f"order_value_max={before['order_value_units_max'] // 10 ** after['valuation_decimals']}",
        f"open_orders_max={before['open_orders_max']}",
        "-a",
        "side",
    )
    assert as_json(desk, "limits", "show", "-a", "side")["limits"] == before


def test_fee_tiers_are_shown_and_set(desk: DeskProcess) -> None:
    """An account's own tiers and everybody's, volumes in the valuation asset's own digits; each setting is audited."""
    assert "No fee tiers are set" in shown(desk, "fees", "-a", "side")
    own = as_json(desk, "fees", "set", "0:-50:400", "1234.5:-60:300", "-a", "side")
    scale = 10 ** (own["valuation_decimals"] - 1)
    assert (own["tier"], own["maker_ppm"], own["taker_ppm"]) == (1, -50, 400)
    assert [tier["volume_units_min"] for tier in own["tiers"]] == [0, 12345 * scale]
    assert "1234.5 USDT" in shown(desk, "fees", "-a", "side")
    everybody = as_json(desk, "fees", "set", "0:900:1000")
    assert (everybody["account"], everybody["tiers"][0]["taker_ppm"]) == ("*", 1000)
    assert as_json(desk, "fees")["taker_ppm"] == 1000
    assert as_json(desk, "fees", "set", "--none", "-a", "side")["taker_ppm"] == 1000
    assert as_json(desk, "fees", "set", "--none")["tiers"] == []
    entries = [row for row in as_json(desk, "audit", "show")["entries"] if row["action"] == "fees.set"]
    assert {row["subject"] for row in entries} == {"account:side", "account:*"}
    assert any('"volume_units_min":' + str(12345 * scale) in row["detail"] for row in entries)


@pytest.mark.parametrize("algorithm", ["ED25519", "hmac_sha256"])
def test_a_program_signs_with_either_algorithm(desk: DeskProcess, tmp_path: Path, algorithm: str) -> None:
    """A key of either algorithm is made by a command and its signatures are taken at once, from its networks only."""
    for network, exit_code in (("127.0.0.0/8", 0), ("10.0.0.0/8", 1)):
        name = fresh_id("bot")
        key_file = tmp_path / f"{name}.key.json"
        shown(desk, "user", "key", name, "--algorithm", algorithm, "--address", network, "--out", str(key_file))
        assert {row["name"]: row for row in as_json(desk, "user", "list")}[name]["algorithm"] == algorithm.upper()
        done = run(desk, "orders", environment={"POLARIS_KEY_FILE": str(key_file)})
        assert done.returncode == exit_code, done.stderr


def test_keys_are_exchanged_before_they_end(desk: DeskProcess, tmp_path: Path) -> None:
    """scripts/rotate-keys.sh makes a successor of each key that ends soon; it may do the same, and both hold."""
    for days, name in ((5, fresh_id("soon")), (80, fresh_id("late"))):
        shown(desk, "user", "key", name, "--days", str(days), "--out", str(tmp_path / f"{name}.key.json"))
    soon = next(path.name.removesuffix(".key.json") for path in tmp_path.glob("soon*"))
    done = subprocess.run(
        [str(SCRIPTS / "rotate-keys.sh"), "--out", str(tmp_path / "new")],
        env=desk.environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"polaris user revoke {soon}" in " ".join(done.stdout.split())
    (made,) = (tmp_path / "new").iterdir()
    assert made.name == f"{soon}.successor.key.json"
    assert made.stat().st_mode & 0o777 == 0o600
    listed = {row["name"]: row for row in as_json(desk, "user", "list")}
    assert listed[f"{soon}-2"]["accounts"] == listed[soon]["accounts"]
    for file in (made, tmp_path / f"{soon}.key.json"):
        assert run(desk, "orders", environment={"POLARIS_KEY_FILE": str(file)}).returncode == 0
    again = run(desk, "user", "rotate", soon, "--out", str(made))
    assert (again.returncode, "exists" in again.stderr) == (2, True)


def test_users_and_keys(desk: DeskProcess, tmp_path: Path) -> None:
    """People and keys are added, listed and removed."""
    shown(desk, "user", "add", "eve", "--role", "viewer", "--accounts", "main", "--password-stdin", given=PASSWORD)
    key_file = tmp_path / "bot.key.json"
    shown(desk, "user", "key", "my-bot", "--accounts", "main", "--out", str(key_file))
    assert key_file.stat().st_mode & 0o777 == 0o600
    listed = {row["name"]: row for row in as_json(desk, "user", "list")}
    assert (listed["eve"]["role"], listed["my-bot"]["kind"]) == ("VIEWER", "key")
    until(
        lambda: run(desk, "orders", environment={"POLARIS_KEY_FILE": str(key_file)}).returncode == 0,
        what="the new key",
    )
    shown(desk, "user", "revoke", "my-bot")
    shown(desk, "user", "remove", "eve")
    listed = {row["name"]: row["state"] for row in as_json(desk, "user", "list")}
    assert (listed["eve"], listed["my-bot"]) == ("disabled", "revoked")


MISTAKES: dict[str, tuple[tuple[str, ...], int]] = {
    "two quantities": (("order", "buy", "1", "2", "BTCUSDT"), 2),
    "no side": (("order", "hold", "1", "BTCUSDT"), 2),
    "quantity and amount": (("order", "buy", "1", "BTCUSDT", "--spend", "5"), 2),
    "no change": (("replace", "1024"), 2),
    "nothing to cancel": (("cancel",), 2),
    "unknown option": (("orders", "--colour", "red"), 2),
    "unknown command": (("trade",), 2),
    "no such market file": (("evaluate", "agents", "--candles", "nowhere.csv"), 2),
    "nobody to tell": (("alerts", "test"), 1),
    "unknown limit": (("limits", "set", "patience_max=5"), 2),
    "limit without a value": (("limits", "set", "open_orders_max=many"), 2),
    "limits of nobody": (("limits", "show", "-a", "nobody"), 1),
    "no fee tiers": (("fees", "set"), 2),
    "a fee tier without rates": (("fees", "set", "1000"), 2),
    "a fee in percent": (("fees", "set", "0:0.1:0.1"), 2),
    "fee tiers that fall": (("fees", "set", "0:1:1", "5:1:1", "5:1:1"), 1),
    "fees of nobody": (("fees", "set", "--none", "-a", "nobody"), 1),
    "unknown algorithm": (("user", "key", "x", "--algorithm", "ROT13", "--out", "x.json"), 2),
    "no network": (("user", "key", "x", "--address", "home", "--out", "x.json"), 2),
    "unknown role": (("user", "add", "x", "--role", "KING", "--password-stdin"), 2),
    "unknown interval": (("candles", "BTCUSDT", "--interval", "2m"), 1),
    "unknown symbol": (("book", "XYZ"), 1),
    "unknown order": (("cancel", "99999999"), 1),
    "unknown decision": (("why", "D9-9"), 1),
    "unknown account": (("funds", "1", "USDT", "-a", "nobody"), 1),
    "no number": (("funds", "much", "USDT", "-a", "main"), 1),
    "unknown settings": (("up", "--config", "nowhere.yml"), 2),
    "unknown feed": (("up", "--feed", "oracle"), 2),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_answered_with_a_sentence(desk: DeskProcess, name: str) -> None:
    """A mistake ends with its exit code and a sentence on standard error, never with a traceback."""
    arguments, code = MISTAKES[name]
    done = run(desk, *arguments, given=PASSWORD)
    assert done.returncode == code, done
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.strip(), done


@pytest.mark.parametrize("arguments", [("status",), ("order", "buy", "1", "BTCUSDT"), ("orders", "--json"), ("halt",)])
def test_without_a_desk_commands_say_how_to_start_one(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Where no desk runs a command says so in one sentence, with exit code 3."""
    done = polaris(DeskProcess(tmp_path / "nothing"), *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines() == ["No desk is running here.", "Start one with: polaris up"]
