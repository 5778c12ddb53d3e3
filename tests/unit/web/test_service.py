"""What every service has: health, readiness, documents, safe headers, errors as bodies, hosts and origins."""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import pytest
from msgspec import Struct
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.bodies import json_response, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.openapi import OpenApiInfo
from polaris_synapse.web.routes import api_route
from polaris_synapse.web.service import service_app

pytestmark = pytest.mark.anyio


class Thing(Struct, forbid_unknown_fields=True):
    """A body."""

    name: str


class ThingPath(Struct):
    """A path."""

    number: int


async def _echo(request: Request) -> Response:
    return json_response(await read_struct(request, Thing, bytes_max=100))


async def _fail(request: Request) -> Response:
    kind = request.path_params["kind"]
    if kind == "bug":
        raise ZeroDivisionError("secret detail")
    if kind == "bus":
        raise BusError(Reason.OVERLOADED, "the queue is full")
    raise ApiError(Reason.RATE_LIMITED, "Slowly.", headers={"retry-after": "3"})


def _client(**options: Any) -> httpx2.AsyncClient:
    routes = [
        api_route("POST", "/things", _echo, summary="Echo.", body=Thing, response=Thing, roles=None),
        api_route("GET", "/things/{number}", _echo, summary="One.", path_parameters=ThingPath, response=Thing),
        api_route("GET", "/fail/{kind}", _fail, summary="Fail.", roles=None),
    ]
    given: dict[str, Any] = {"registry": CollectorRegistry(), "readiness": {}} | options
    app = service_app(service="test", title="Test & service", routes=routes, **given)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:1")


async def test_ready_tells_what_fails() -> None:
    """Ready is 503 with one sentence a failing check, and 200 when none fails; health says only that we live."""
    trouble: dict[str, str | None] = {"journal": "The journal is full."}
    client = _client(readiness={"journal": lambda: trouble["journal"], "feed": lambda: None})
    response = await client.get("/ready")
    assert (response.status_code, response.json()["failing"]) == (503, {"journal": "The journal is full."})
    assert (await client.get("/health")).status_code == 200
    trouble["journal"] = None
    assert (await client.get("/ready")).status_code == 200


@pytest.mark.parametrize(
    "kind, status, reason", [("bus", 503, "OVERLOADED"), ("api", 429, "RATE_LIMITED"), ("bug", 500, "INTERNAL_ERROR")]
)
async def test_every_failure_is_an_error_body(kind: str, status: int, reason: str) -> None:
    """Refusals, a full bus and bugs come out in one shape, and a bug shows nothing of itself."""
    logging.disable(logging.CRITICAL)
    try:
        response = await _client().get(f"/fail/{kind}", headers={"x-request-id": "my-id"})
    finally:
        logging.disable(logging.NOTSET)
    body = response.json()
    assert (response.status_code, body["reason"], body["request_id"]) == (status, reason, "my-id")
    assert "secret" not in response.text
    assert ("retry-after" in response.headers) == (kind != "bug")


async def test_unknown_places_and_methods_are_error_bodies() -> None:
    """404 and 405 have the body too, and 405 names the methods that there are."""
    client = _client()
    missing, wrong = await client.get("/nothing"), await client.put("/things")
    assert (missing.status_code, missing.json()["reason"]) == (404, "NOT_FOUND")
    assert (wrong.status_code, wrong.json()["reason"], wrong.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "POST")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "application/json; charset=latin-1", "json"]
)
async def test_only_json_is_read(kind: str) -> None:
    """Another media type is 415; JSON in UTF-8 may say so."""
    client = _client()
    refused = await client.post("/things", content=b'{"name":"x"}', headers={"content-type": kind})
    assert (refused.status_code, refused.json()["reason"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    fine = await client.post(
        "/things", content=b'{"name":"x"}', headers={"content-type": "Application/JSON; charset=UTF-8"}
    )
    assert fine.status_code == 200


async def test_large_bodies_stop_early() -> None:
    """A body past the limit is refused, announced or streamed."""
    client = _client()

    async def stream() -> Any:
        for _ in range(10):
            yield b" " * 50

    announced = await client.post("/things", content=b" " * 101, headers={"content-type": "application/json"})
    streamed = await client.post("/things", content=stream(), headers={"content-type": "application/json"})
    assert (announced.status_code, streamed.status_code) == (413, 413)


async def test_responses_carry_safe_headers() -> None:
    """Success and failure alike forbid sniffing, framing, caching and scripts, and allow no other origin."""
    for path in ("/health", "/nothing", "/docs"):
        headers = (await _client().get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
        assert headers["x-request-id"]


@pytest.mark.parametrize(
    "host, status",
    [
        ("localhost:8082", 200), ("127.0.0.1:8082", 200), ("[::1]:8082", 200), ("LOCALHOST", 200), ("desk.lan", 200),
        ("evil.example", 421), ("127.0.0.1.evil.example", 421), ("localhost.evil.example:8082", 421), ("a b", 400),
        ("", 400), ("127.0.0.1:99999999", 400),
    ],
)  # fmt: skip
async def test_names_cannot_be_rebound_to_the_desk(host: str, status: int) -> None:
    """Over loopback only localhost, addresses and configured names are answered to."""
    response = await _client(allowed_hosts=("desk.lan",)).get("/health", headers={"host": host})
    assert response.status_code == status


async def test_the_document_describes_every_route() -> None:
    """OpenAPI has the bodies, the parameters and each 4xx with the error's schema; the page needs no script."""
    client = _client(openapi=OpenApiInfo(security_schemes={"token": {"type": "http", "scheme": "bearer"}}))
    document = (await client.get("/openapi.json")).json()
    post = document["paths"]["/things"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Thing")
    assert {"400", "408", "413", "415", "421", "431"} <= set(post["responses"])
    for status, response in post["responses"].items():
        if status.startswith("4"):
            assert response["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorBody")
    one = document["paths"]["/things/{number}"]["get"]
    assert one["parameters"] == [{"name": "number", "in": "path", "required": True, "schema": {"type": "integer"}}]
    assert "401" in one["responses"]
    assert "security" in one
    assert "security" not in post
    page = (await client.get("/docs")).text
    assert "Test &amp; service" in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


async def test_services_of_one_process_share_their_metrics() -> None:
    """Two services on one registry count under their own names, by route pattern and never by the path sent."""
    registry = CollectorRegistry()
    client = _client(registry=registry)
    _client(registry=registry)
    await client.get("/fail/api")
    await client.get("/made/up")
    text = (await client.get("/metrics")).text
    assert 'polaris_http_requests_total{method="GET",route="/fail/{kind}",service="test",status="429"} 1.0' in text
    assert 'route="none"' in text
    assert "made" not in text


def test_roles_and_accounts() -> None:
    """A principal is held to its role and accounts; ADMIN passes every role but owns no account by that."""
    trader = Principal("alice", Role.TRADER, ("main",))
    assert trader.actor == "user:alice"
    assert Principal("jarvis", Role.AGENT, ("main",), "key").actor == "agent:jarvis"
    trader.require(Role.TRADER)
    with pytest.raises(ApiError, match="ROLE_NOT_ALLOWED"):
        trader.require(Role.RISK_OFFICER)
    Principal("root", Role.ADMIN, ()).require()
    with pytest.raises(ApiError, match="ACCOUNT_NOT_ALLOWED"):
        Principal("root", Role.ADMIN, ()).require_account("main")
    assert Principal("root", Role.ADMIN, ("*",)).account_filter() is None
    assert trader.account_filter() == ("main",)
