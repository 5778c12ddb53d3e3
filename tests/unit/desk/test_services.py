"""The seven services before they meet a broker: what they run beside their cores."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from starlette.requests import Request
from tests.unit.execution.fake_bus import FakeBus
from tests.unit.execution.paper_market import BTCUSDT
from tests.unit.order_gateway.fake_desk import until

from polaris_synapse.desk.credentials import FILE_NAME
from polaris_synapse.desk.data_settings import CacheSection
from polaris_synapse.desk.first_start import prepare_directory
from polaris_synapse.desk.loading import load_settings
from polaris_synapse.desk.services.base import ServiceParts
from polaris_synapse.desk.services.paper import PartitionedPaper
from polaris_synapse.desk.services.roles import ROLES
from polaris_synapse.domain.messages import BookUpdated, VenueReport
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import MARKET_DATA_MARKS, MARKET_DATA_NORMALIZED
from polaris_synapse.order_gateway.credentials import ApiKey
from polaris_synapse.order_gateway.credentials_sqlite import SqliteCredentials
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.signing import Algorithm, SigningKey, new_key, signed_headers, verifier_of

pytestmark = pytest.mark.anyio

#: These run the whole of the gateway's service beside them, or have nothing to authenticate.
AUTHENTICATING = sorted(ROLES.keys() - {"market-data-handler", "order-gateway", "llm-agents"})


async def ask(parts: ServiceParts, key: SigningKey, clock: ManualClock) -> Principal:
    """Who a service takes a request with this key's signature for."""
    headers = signed_headers(key, "GET", "/", b"", timestamp_ms=clock.now_ns() // 1_000_000)
    scope = {
        "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "client": ("10.0.0.1", 1),
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    return await parts.gateway.authenticator.authenticate(Request(scope, receive))


@pytest.mark.parametrize("name", AUTHENTICATING)
async def test_what_is_revoked_elsewhere_ends_in_every_service(tmp_path: Path, name: str) -> None:
    """A key that another process revokes is refused a second later by a service that is not the gateway."""
    prepare_directory(tmp_path)
    clock, key = ManualClock(), new_key("laptop")
    parts, service = ROLES[name].make(load_settings("development"), tmp_path, clock)
    parts.gateway.open()
    elsewhere = SqliteCredentials(tmp_path / FILE_NAME)
    elsewhere.open(now_ns=clock.now_ns())
    try:
        stored = ApiKey(
            key_id="laptop",
            algorithm=Algorithm.ED25519,
            verifier=verifier_of(key),
            role=Role.VIEWER,
            accounts=("main",),
        )
        elsewhere.put_key(stored)
        assert (await ask(parts, key, clock)).role is Role.VIEWER
        elsewhere.put_key(replace(stored, revoked=True))
        shells = tuple(service.shells())
        async with anyio.create_task_group() as group:
            for run in parts.authenticator_runs():
                assert run in shells
            for run in parts.authenticator_runs():
                group.start_soon(run)
            await until(lambda: clock.sleepers == 1)
            clock.advance(1)
            # What looks at the file sleeps again when it has read it; what sends notes waits for some.
            await until(lambda: clock.sleepers == 1)
            with pytest.raises(ApiError) as refused:
                await ask(parts, key, clock)
            assert refused.value.reason is Reason.KEY_REVOKED
            group.cancel_scope.cancel()
    finally:
        elsewhere.close()
        parts.gateway.credentials.close()


class Deaf:
    """Hears of what the exchange reports, and does nothing with it."""

    async def deliver(self, reports: Sequence[VenueReport], /) -> None:
        """Reports."""

    def reconnected(self) -> None:
        """The venue is back."""


@pytest.mark.parametrize("url, reads_all", [("", True), ("redis://127.0.0.1:1/0", False)])
async def test_a_gateway_with_a_cache_does_not_read_whole_markets(tmp_path: Path, url: str, reads_all: bool) -> None:
    """Of markets the brokers then tell it marks and health alone; without a cache, everything."""
    prepare_directory(tmp_path)
    settings = load_settings("development")
    settings = settings.model_copy(update={"cache": CacheSection.model_validate({"url": url})})
    parts, _ = ROLES["order-gateway"].make(settings, tmp_path, ManualClock())
    parts.bus.subscribe((MARKET_DATA_MARKS,), name="marks", backlog_messages_max=1, droppable=True)
    with nullcontext() if reads_all else pytest.raises(ValueError, match=MARKET_DATA_NORMALIZED):
        parts.bus.subscribe((MARKET_DATA_NORMALIZED,), name="all", backlog_messages_max=1, droppable=True)
    agents = ROLES["llm-agents"].facts(settings)
    assert {MARKET_DATA_MARKS, MARKET_DATA_NORMALIZED} <= set(agents), "their books come from whole markets"
    await parts.gateway.close()


async def test_execution_is_ready_when_the_paper_venue_has_its_books(tmp_path: Path) -> None:
    """Not before: an order would be turned away. A book that breaks later changes nothing; a partition anew does."""
    bus, clock = FakeBus(), ManualClock()
    paper = PartitionedPaper(bus=bus, clock=clock, directory=tmp_path, partitions=1, instruments=[BTCUSDT])
    check = paper.readiness()["books"]
    assert check() is None
    book = BookUpdated(
        time_ns=clock.now_ns(), symbol="BTCUSDT", source="t", sequence=1, bids=((100, 5),), asks=((102, 5),),
        is_snapshot=True,
    )  # fmt: skip

    def listening(times: int) -> bool:
        return bus.subscriptions == times and paper.state.connected

    async with anyio.create_task_group() as group:
        group.start_soon(paper.run, Deaf())
        for times in (1, 2):
            paper.show([0])
            assert check() == "the paper venue has no book of BTCUSDT yet"
            await until(partial(listening, times))
            assert check() == "the paper venue has no book of BTCUSDT yet"
            bus.publish(book)
            await until(lambda: check() is None)
            paper.show([])
            await anyio.wait_all_tasks_blocked()
            assert check() is None
        group.cancel_scope.cancel()
