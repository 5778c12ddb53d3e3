"""The OpenAPI document against the gateway that it describes: generated requests, right and wrong ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.from_thread
import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from tests.unit.order_gateway.fake_desk import FakeDesk, mark, running_gateway

from polaris_synapse.order_gateway.settings import Budget
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.server import Listener, serve

_FREE = 1e6


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A gateway on a real port with an administrator's token: base URL and token."""
    directory: Path = tmp_path_factory.mktemp("gateway")
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        addresses: list[tuple[str, str]] = []
        up = portal.call(asyncio.Event)
        stop = portal.call(asyncio.Event)

        async def run() -> None:
            free: dict[str, Any] = {name: Budget(name, _FREE, 1_000_000) for name in ("orders", "cancels", "reads")}
            desk = FakeDesk()
            async with running_gateway(directory, desk=desk, **free) as gateway, anyio.create_task_group() as group:
                gateway.add_user("tester", Role.ADMIN, "main")
                gateway.service.markets.take_mark(mark())
                token = (await gateway.log_in("tester"))["authorization"]

                def started(ports: dict[str, int]) -> None:
                    addresses.append((f"http://127.0.0.1:{ports['gateway']}", token))
                    up.set()

                async def listen() -> None:
                    await serve([Listener(gateway.app, "127.0.0.1", 0, "gateway")], started=started)

                group.start_soon(listen)
                await stop.wait()
                group.cancel_scope.cancel()

        future = portal.start_task_soon(run)
        portal.call(up.wait)
        yield addresses[0]
        portal.call(stop.set)
        future.result(timeout=10)


def test_generated_requests_find_what_is_documented(served: tuple[str, str]) -> None:
    """For every operation, valid and invalid requests get documented statuses and bodies, and never a 5xx."""
    base, token = served
    document = httpx2.get(f"{base}/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.base_url = base

    def check(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(
            headers={"authorization": token},
            checks=[not_a_server_error, status_code_conformance, response_schema_conformance],
            timeout=10,
        )

    bounded = settings(
        max_examples=4, database=None, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if operation.path in {"/logout", "/users/{username}"}:
            continue  # these would end the tester's own log-in
        for mode in schemathesis.GenerationMode:
            # Where everything is right there is nothing to generate in the negative mode.
            with contextlib.suppress(Unsatisfiable):
                bounded(given(case=operation.as_strategy(generation_mode=mode))(check))()
                tried += 1
    assert tried > 40
