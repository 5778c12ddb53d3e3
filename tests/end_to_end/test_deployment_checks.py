"""The scripts that check and stress a deployment, against a desk that runs: figures, verdicts, exit codes, clean-up."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from polaris_synapse.testing.deployment.latencies import percentile
from polaris_synapse.testing.desk_process import DeskProcess

SCRIPTS: Final = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskProcess]:
    """A desk that runs on paper."""
    with DeskProcess(tmp_path_factory.mktemp("checked") / "desk") as found:
        yield found


def run(script: str, *arguments: str, environment: dict[str, str]) -> tuple[int, Any, str]:
    """The script's exit code, its JSON, and what it said on the way."""
    done = subprocess.run(
        [str(SCRIPTS / script), *arguments], env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    return done.returncode, msgspec.json.decode(done.stdout) if done.stdout.startswith("{") else None, done.stderr


def leftovers(desk: DeskProcess) -> list[str]:
    """Users of checks that are still there, and check accounts that are not blocked."""
    users = [user["username"] for user in desk.json("gateway", "GET", "/users")["users"] if not user["disabled"]]
    accounts = desk.json("compliance", "GET", "/accounts")["accounts"]
    left = [name for name in users if name.startswith("check-")]
    return left + [row["account"] for row in accounts if row["account"].startswith("check-") and not row["blocked"]]


def test_a_healthy_desk_passes_every_check(desk: DeskProcess) -> None:
    """Without arguments every service and the life of an order are checked, and the account is cleared away."""
    code, figures, said = run("test-integration.sh", "--json", environment=desk.environment)
    assert (code, figures["problems"]) == (0, []), said
    names = {check["name"] for check in figures["checks"]}
    assert {"gateway is ready", "the audit log verifies", "it is cancelled"} <= names
    assert figures["load"] is None
    assert leftovers(desk) == []


def test_the_quick_check_leaves_no_trace(desk: DeskProcess) -> None:
    """`quick` only reads: no account, no user, no order comes of it."""
    before = desk.json("compliance", "GET", "/accounts")["accounts"]
    code, figures, _ = run("test-integration.sh", "quick", "--json", environment=desk.environment)
    assert code == 0
    assert not [check for check in figures["checks"] if "order" in check["name"] and "placed" in check["name"]]
    assert desk.json("compliance", "GET", "/accounts")["accounts"] == before


def test_a_stress_run_reports_latencies_and_clears_away(desk: DeskProcess) -> None:
    """Orders flow for the given time, percentiles are in order, nothing fails, and no order stays open."""
    arguments = ("--concurrent=5", "--duration=2", "--p99-ms-max=60000", "--json")
    code, figures, said = run("stress-test.sh", *arguments, environment=desk.environment)
    load = figures["load"]
    assert code == 0, said + str(figures["problems"])
    assert load["orders"] == load["place"]["count"] > 0
    assert 0 < load["place"]["p50_ms"] <= load["place"]["p99_ms"] <= load["place"]["p999_ms"] <= load["place"]["max_ms"]
    assert load["errors"] == {}
    assert leftovers(desk) == []
    still_open = desk.json("gateway", "GET", "/orders?open_only=true")["orders"]
    assert not [order for order in still_open if order["account"].startswith("check-")]


def test_a_slow_deployment_fails(desk: DeskProcess) -> None:
    """Beyond the allowed p99 the verdict is a failure with its reason, also in the exit code."""
    arguments = ("--concurrent=2", "--duration=1", "--p99-ms-max=0.0001", "--json")
    code, figures, _ = run("stress-test.sh", *arguments, environment=desk.environment)
    assert code == 1
    assert "the p99 of placing an order" in figures["problems"][0]


def test_without_a_deployment_there_is_a_sentence_and_an_exit_code(tmp_path: Path, desk: DeskProcess) -> None:
    """No desk here, nobody at a URL, and nonsense as an option are three different sentences."""
    nowhere = desk.environment | {"POLARIS_DATA_DIRECTORY": str(tmp_path)}
    code, _, said = run("test-integration.sh", environment=nowhere)
    assert (code, "No desk runs here" in said) == (3, True)
    key = str(desk.directory / "keys" / "operator.key.json")
    code, _, said = run("stress-test.sh", "--url", "http://127.0.0.1:1", "--key-file", key, environment=nowhere)
    assert (code, "does not answer" in said) == (3, True)
    code, _, said = run("stress-test.sh", "--concurrent=none", environment=nowhere)
    assert (code, "a number from 1 to 2000" in said) == (2, True)


@pytest.mark.parametrize("share, expected", [(0.5, 2000.0), (0.99, 4000.0), (0.75, 3000.0), (0.0, 1000.0)])
def test_percentiles_are_values_that_were_measured(share: float, expected: float) -> None:
    """A percentile is the smallest value that enough of the others do not exceed; without values it is zero."""
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected
    assert percentile([], share) == 0.0
