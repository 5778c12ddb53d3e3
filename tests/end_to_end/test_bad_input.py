"""Bad input of every kind, on every port: a refusal with a code and a sentence, never an error of the desk's own."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx2
import pytest
from tests.end_to_end.hostile import Attacker, HostileRequest
from tests.end_to_end.support import WIDE_LIMITS, Person, Stream, account, assert_adds_up, write_config
from websockets.exceptions import ConnectionClosed

from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.web.errors import http_status

SERVICES = ("gateway", "risk", "compliance", "market_data", "matching", "execution", "llm_agents")
REQUESTS_FOR_EACH_OPERATION = 15
DEPOSITS: dict[str, str] = account("any")["deposits"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskProcess]:
    """A desk that is only ever asked for nonsense, with rates high enough to hear all of it."""
    folder = tmp_path_factory.mktemp("bad-input")
    rates = {"orders_per_second_max": 100_000, "reads_per_second_max": 100_000}
    accounts = [account("main"), account("quiet")]
    config = write_config(folder, accounts=accounts, limits={"*": WIDE_LIMITS}, gateway=rates)
    with DeskProcess(folder / "desk", config=str(config)) as desk:
        yield desk


@pytest.fixture
def attacker(running: DeskProcess) -> Person:
    """Somebody who may do everything, so that no request stops at the door. Fresh: a request may have disabled them."""
    return Person.added(running, "attacker", "ADMIN", ["*"])


def said_something_wrong(response: httpx2.Response) -> str:
    """What is wrong with an answer to nonsense, in words; empty for a good one."""
    if response.status_code < 400:
        return ""
    if not response.headers.get("content-type", "").startswith("application/json"):
        return "the refusal is no JSON"
    body = response.json()
    if response.status_code == 503 and body.keys() == {"ready", "service", "failing"}:
        return ""
    if body.keys() != {"code", "reason", "message", "detail", "request_id"}:
        return f"the refusal has the fields {sorted(body)}"
    reason = Reason[body["reason"]]
    if reason is Reason.INTERNAL_ERROR:
        return "an internal error"
    if (body["code"], body["message"]) != (int(reason), explain(reason)):
        return "number, name and sentence do not agree"
    if response.status_code != http_status(reason):
        return f"status {response.status_code} for {reason.name}"
    return ""


@pytest.mark.parametrize("service", SERVICES)
def test_nonsense_is_refused(running: DeskProcess, attacker: Person, service: str) -> None:
    """Hostile requests for every operation of a service are refused in good form, and the desk is well afterwards."""
    document = running.request(service, "GET", "/openapi.json", headers={}).json()
    statuses: Counter[int] = Counter()
    wrong: list[tuple[HostileRequest, int, str, str]] = []
    for asked in Attacker(document, seed=len(service)).requests(each_max=REQUESTS_FOR_EACH_OPERATION):
        headers = attacker.headers | {"content-type": asked.media_type}
        response = running.request(service, asked.method, asked.target, content=asked.body, headers=headers)
        if response.status_code == 401:
            # It disabled or changed itself, as an administrator may.
            attacker = Person.added(running, "attacker", "ADMIN", ["*"])
        statuses[response.status_code] += 1
        if problem := said_something_wrong(response):
            wrong.append((asked, response.status_code, problem, response.text[:300]))
    assert not wrong, wrong[:5]
    refused = sum(count for status, count in statuses.items() if 400 <= status < 500)
    assert refused > sum(statuses.values()) / 4, statuses
    assert not any(status >= 500 for status in statuses), statuses
    assert running.running
    assert running.request("gateway", "GET", "/health", headers={}).status_code == 200
    assert "Traceback" not in running.output()
    assert '"level":"error"' not in running.log_tail(lines=200)


def test_money_is_untouched_by_nonsense(running: DeskProcess) -> None:
    """An account that took no part in the nonsense has what it had."""
    quiet = Person.added(running, "quiet", "VIEWER", ["quiet"])
    assert_adds_up(quiet, "quiet", DEPOSITS)


@pytest.mark.parametrize("service", SERVICES)
def test_strangers_learn_nothing(running: DeskProcess, service: str) -> None:
    """Without a login every operation that is not public is refused before anything is looked at."""
    document = running.request(service, "GET", "/openapi.json", headers={}).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in {"parameters", "description", "summary"} or not operation.get("security"):
                continue
            target = path.replace("{", "").replace("}", "")
            content = b"{" if "requestBody" in operation else b""
            response = running.request(service, method.upper(), target, content=content, headers={})
            # An address with too many failed log-ins is asked to slow down instead.
            assert (response.status_code, response.json()["reason"]) in {
                (401, "NOT_AUTHENTICATED"), (429, "RATE_LIMITED"),
            }, (method, target, response.text)  # fmt: skip


RAW: dict[str, bytes] = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,
    "no version": b"GET /health\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "lengths disagree": (
        b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"
    ),
    "length and chunks": (
        b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "negative length": b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "bad chunk": b"POST /orders HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "header without colon": b"GET /health HTTP/1.1\r\nHost: localhost\r\nBroken\r\n\r\n",
    "folded header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n",
    "null in header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: \x00\r\n\r\n",
    "endless header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 100_000,
    "endless address": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "other protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_no_http_is_refused(running: DeskProcess, service: str) -> None:
    """Bytes that are no proper request get a 4xx with an error body, or the connection ends; nothing else."""
    place = (running.place.host, running.place.ports[service])
    for name, payload in RAW.items():
        received = b""
        with socket.create_connection(place, timeout=10) as connection:
            try:
                connection.sendall(payload)
                connection.shutdown(socket.SHUT_WR)
                while chunk := connection.recv(65_536):
                    received += chunk
            except ConnectionError:
                pass  # cut off in the middle of its endless header
        if received:
            head, _, body = received.partition(b"\r\n\r\n")
            status = int(head.split()[1])
            assert 400 <= status < 500, (name, received[:200])
            assert json.loads(body)["code"] >= 1000, name
    assert running.request(service, "GET", "/health", headers={}).status_code == 200


FRAMES: tuple[Any, ...] = (
    "", " ", "{", "[]", "null", "{}", '{"id": 1}', '{"id": 1, "method": "shout"}', '{"id": {}, "method": "ping"}',
    '{"id": 1, "method": "ping", "params": []}', '{"id": 1, "method": "ping", "params": {"a": 1}}',
    '{"id": 1, "id": 2, "method": "ping"}', '{"id": 1, "method": "submit", "params": {"symbol": "BTCUSDT"}}',
    '{"id": 1, "method": "submit", "params": {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "price": 1}}',
    '{"id": 1, "method": "subscribe", "params": {"channels": ["market:NOTHING"]}}',
    '{"id": 1, "method": "subscribe", "params": {"channels": ["everything"]}}',
    '{"id": 1, "method": "cancel", "params": {}}', '{"id": 1, "method": "cancel", "params": {"order_id": -1}}',
    '{"id": 1, "method": "replace", "params": {"order_id": 1, "client_order_id": "a"}}', "[" * 500, "\ud7ff",
    b"\xff\xfe", b"{}", "x" * 60_000,
)  # fmt: skip


def test_nonsense_over_the_websocket_is_answered(running: DeskProcess, attacker: Person) -> None:
    """Each frame of nonsense is answered with an error that has a code, and the connection goes on."""
    with Stream(running, token=attacker.token) as stream:
        for frame in FRAMES:
            stream.socket.send(frame)
            answer = json.loads(stream.socket.recv(timeout=10))
            assert answer["error"]["code"] == Reason[answer["error"]["reason"]], frame
            assert answer["error"]["reason"] != "INTERNAL_ERROR", frame
        assert stream.result("ping") == {"pong": True}


def test_oversized_frame_ends_the_connection(running: DeskProcess, attacker: Person) -> None:
    """A frame larger than any message may be closes its connection with the code for that."""
    with Stream(running, token=attacker.token) as stream:
        with suppress(ConnectionClosed):
            stream.socket.send("x" * 1_000_000)
        assert stream.close_code() == 1009
    assert running.request("gateway", "GET", "/health", headers={}).status_code == 200
