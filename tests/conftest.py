"""What every test shares: Hypothesis profiles, the async backend, and where recorded market data lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from tests.real_servers import start_or_skip

from polaris_synapse.testing.servers import kafka, postgres, redis
from polaris_synapse.testing.servers.kafka import KafkaServer
from polaris_synapse.testing.servers.postgres import PostgresServer
from polaris_synapse.testing.servers.redis import RedisServer

CHECKOUT = Path(__file__).resolve().parent.parent
MARKET_DATA = "recorded market data (set POLARIS_TEST_DATA)"

# How long an example takes says more about the machine than about the code, so no profile has a deadline; pytest's
# timeout bounds the whole test.
#
# dev: new random examples at each run, which is how new failures are found.
settings.register_profile("dev", deadline=None, print_blob=True)
# ci: the same examples for the same code, so that a change is only ever blamed for what it did.
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
# thorough: dev with twenty times the examples, for a long look at one property.
settings.register_profile("thorough", settings.get_profile("dev"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The desk runs on asyncio, so its tests do too."""
    return "asyncio"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A test that configures logging, as commands do, leaves no trace in the next test's."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def market_data_dir() -> Path:
    """The folder of recorded market data, or a skip that the terminal summary counts.

    Looked for in the environment variable POLARIS_TEST_DATA, else in a folder ``shared/data`` beside the checkout.
    A variable that names no folder is an error, not a skip.
    """
    given = os.environ.get("POLARIS_TEST_DATA")
    if given:
        folder = Path(given).resolve()
        if not folder.is_dir():
            raise NotADirectoryError(f"POLARIS_TEST_DATA names {folder}, which is no folder")
        return folder
    folder = CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs {MARKET_DATA}")
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL that all tests share; each makes databases of its own in it."""
    server = start_or_skip(postgres.find_or_start)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A single Redis that all tests share; each keeps to keys of its own."""
    server = start_or_skip(redis.find_or_start)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[KafkaServer]:
    """One Kafka broker that all tests share; each makes topics with a prefix of its own."""
    server = start_or_skip(kafka.find_or_start)
    yield server
    server.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were left out for want of data: a green run should not hide them."""
    left_out = sum(
        isinstance(report.longrepr, tuple) and MARKET_DATA in report.longrepr[2]
        for report in terminalreporter.stats.get("skipped", [])
    )
    if left_out:
        terminalreporter.write_line(f"left out: {left_out} tests need {MARKET_DATA}")
