"""Rules, dashboards and alerting: their own checkers accept them, and they speak of figures that a desk really has."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import CollectorRegistry
from tests.real_servers import program_or_skip, start_or_skip

from polaris_synapse.bus.kafka.metrics import KafkaMetrics
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.servers.prometheus import PrometheusServer

ROOT: Final = Path(__file__).resolve().parents[2]
MONITORING: Final = ROOT / "deployments" / "monitoring"
RULES: Final = sorted((MONITORING / "rules").glob("*.yml"))
DASHBOARDS: Final = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
#: What Prometheus itself says of every target.
OF_PROMETHEUS: Final = frozenset({"up"})
#: One that is filled, one on the internal book, and one that risk refuses.
ORDERS: Final = (("BTCUSDT", "0.001"), ("BTCUSDT.INT", "0.001"), ("BTCUSDT", "900"))
_WORDS: Final = frozenset({"or", "and", "unless", "offset", "bool", "on", "ignoring", "group_left", "by", "without"})
_SUFFIXES: Final = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
_JOBS: Final = {
    "gateway": "order-gateway", "compliance": "compliance-gateway", "llm_agents": "llm-agents",
    "market_data": "market-data-handler", "risk": "risk-manager", "matching": "order-matching-engine",
    "execution": "execution-engine",
}  # fmt: skip


def rule_expressions() -> Iterator[tuple[str, str]]:
    """Every rule's name and expression."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                yield f"{path.name}: {rule['alert']}", rule["expr"]


def panel_expressions() -> Iterator[tuple[str, str]]:
    """Every panel's title and expression, the length of a rate filled in as Grafana does."""
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"].replace("$__rate_interval", "30s")


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()", bare)) - _WORDS


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskProcess]:
    """A desk that runs, with an order of each kind behind it."""
    with DeskProcess(tmp_path_factory.mktemp("monitored") / "desk") as found:
        for number, (symbol, quantity) in enumerate(ORDERS):
            body = {
                "account": "main", "client_order_id": f"seen-{number}", "symbol": symbol, "side": "BUY",
                "type": "MARKET", "quantity": quantity,
            }  # fmt: skip
            found.request("gateway", "POST", "/orders?wait_ms=2000", body)
        # One without a signature, which the gateway itself refuses.
        found.request("gateway", "POST", "/orders", {}, headers={})
        yield found


@pytest.fixture(scope="module")
def exposed(desk: DeskProcess) -> set[str]:
    """The names of all series that a desk has, and those of the Kafka host beside them."""
    names: set[str] = set(OF_PROMETHEUS)
    for service in desk.place.ports:
        for line in desk.request(service, "GET", "/metrics", headers={}).text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                names |= {name} if kind not in _SUFFIXES else {name + suffix for suffix in _SUFFIXES[kind]}
    registry = CollectorRegistry()
    KafkaMetrics(registry)
    for metric in registry.collect():
        names.add(f"{metric.name}_total" if metric.type == "counter" else metric.name)
    return names


@pytest.mark.parametrize("where, expression", [*rule_expressions(), *panel_expressions()])
def test_every_expression_speaks_of_figures_that_exist(where: str, expression: str, exposed: set[str]) -> None:
    """A rule or panel on a figure that nothing has would be silent for ever."""
    found = metrics_of(expression)
    assert found, where
    assert found <= exposed, f"{where}: {sorted(found - exposed)}"


def test_the_reader_of_expressions_finds_names_and_nothing_else() -> None:
    """Labels, functions, ranges and keywords are no metrics."""
    text = 'histogram_quantile(0.99, sum by (le, a) (rate(x_bucket{b="c"}[5m]))) / y_total offset 5m unless z > 1e3'
    assert metrics_of(text) == {"x_bucket", "y_total", "z"}


def test_prometheus_understands_and_answers_every_expression(desk: DeskProcess) -> None:
    """Sent to a real Prometheus that scrapes a real desk, each expression parses and the essential ones have data."""
    jobs = {_JOBS[service]: port for service, port in desk.place.ports.items()}
    server = start_or_skip(lambda: PrometheusServer(jobs, [str(path) for path in RULES]))
    try:
        server.start()
        deadline = time.monotonic() + 30
        while len(server.query("up == 1")) < len(jobs) and time.monotonic() < deadline:
            pass
        assert {row["metric"]["job"] for row in server.query("up == 1")} == jobs.keys()
        empty = []
        for where, expression in panel_expressions():
            # A rate needs two scrapes; the series it is of need one.
            if not server.query(expression) and not any(server.query(name) for name in metrics_of(expression)):
                empty.append(where)
        for _, expression in rule_expressions():
            server.query(expression)
        # What a healthy, idle desk has no series of yet: failures, alerts and the cluster's own figures.
        expected = r"not known|transactions refused|Limits breached|Decisions|New alerts|Alerts ever|Inputs|Refused for"
        missing = [where for where in empty if not re.search(expected, where)]
        assert not missing, "; ".join(missing)
    finally:
        server.stop()


def test_the_four_dashboards_of_the_guide_are_there() -> None:
    """Trading Overview, System Health, Risk Management and Compliance, each with panels that fit the grid."""
    boards = [json.loads(path.read_text(encoding="utf-8")) for path in DASHBOARDS]
    assert {board["title"] for board in boards} == {
        "Trading Overview", "System Health", "Risk Management", "Compliance",
    }  # fmt: skip
    for board in boards:
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < 24
            assert not cells & taken, f"{board['title']}: {panel['title']} lies over another panel"
            taken |= cells


def test_every_rule_has_a_severity_and_says_what_happened() -> None:
    """A rule's severity is its file's, and its summary is a sentence."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                assert rule["labels"]["severity"] == path.stem
                assert rule["annotations"]["summary"].endswith(".")
                assert path.stem != "critical" or rule["annotations"]["action"]


def checked(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a checker in the folder of the monitoring files."""
    return subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False)


def test_prometheus_accepts_its_configuration_and_rules() -> None:
    """promtool has nothing against the files."""
    promtool = program_or_skip("promtool", "prometheus")
    done = checked(promtool, "check", "config", "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    done = checked(promtool, "check", "rules", *(str(path) for path in RULES))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """promtool plays made-up figures to the rules: what is wrong fires, what is well does not."""
    promtool = program_or_skip("promtool", "prometheus")
    tests: dict[str, Any] = yaml.safe_load((ROOT / "tests" / "data" / "alert_rules.yml").read_text(encoding="utf-8"))
    tests["rule_files"] = [str(path) for path in RULES]
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump(tests), encoding="utf-8")
    done = checked(promtool, "test", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr


def test_alertmanager_accepts_its_configuration() -> None:
    """amtool has nothing against the file."""
    amtool = program_or_skip("amtool", "prometheus-alertmanager")
    done = checked(amtool, "check-config", "alertmanager.yml")
    assert done.returncode == 0, done.stdout + done.stderr
