"""Orders over REST that go past ASGI: the same answers as the usual way gives, whatever is asked."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from tests.integration.test_order_gateway_websocket import served
from tests.unit.order_gateway.fake_desk import Gateway, buy, until

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.settings import Budget

pytestmark = pytest.mark.anyio

#: What sends a request the usual way: a header that the direct one does not judge.
USUAL = {"forwarded": "for=127.0.0.1"}
#: Different by nature in two answers.
PASSING = frozenset({"date", "x-request-id"})


class Answer:
    """A response as it came over the socket."""

    def __init__(self, head: bytes, body: bytes) -> None:
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = sorted(tuple(line.lower().split(": ", 1)) for line in lines[1:])
        self.body: Any = json.loads(body)

    def header(self, name: str) -> str:
        """The one value of a header."""
        (value,) = (value for found, value in self.headers if found == name)
        return value


class Connection:
    """A kept-alive connection to a gateway."""

    def __init__(self, stream: SocketStream, token: dict[str, str]) -> None:
        self._stream = stream
        self._token = token
        self._rest = b""

    async def send(self, *requests: bytes) -> None:
        """Send requests in one piece."""
        await self._stream.send(b"".join(requests))

    def request(self, body: object, *, method: str = "POST", path: str = "/orders", **headers: str) -> bytes:
        """A request's bytes; a header of an empty text is left out."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {
            "host": "localhost",
            **self._token,
            "content-type": "application/json",
            "content-length": str(len(content)),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + content

    async def answer(self) -> Answer:
        """The next answer."""
        with anyio.fail_after(5):
            while b"\r\n\r\n" not in self._rest:
                self._rest += await self._stream.receive()
            head, _, self._rest = self._rest.partition(b"\r\n\r\n")
            (size,) = (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            while len(self._rest) < size:
                self._rest += await self._stream.receive()
        body, self._rest = self._rest[:size], self._rest[size:]
        return Answer(head, body)

    async def call(self, body: object, **headers: str) -> Answer:
        """One request and its answer."""
        await self.send(self.request(body, **headers))
        return await self.answer()


@contextlib.asynccontextmanager
async def connection(directory: Path, **settings: Any) -> AsyncIterator[tuple[Gateway, Connection]]:
    """A gateway on a real port and alice's connection to it."""
    async with served(directory, **settings) as (gateway, url):
        token = await gateway.log_in("alice")
        async with await anyio.connect_tcp("127.0.0.1", int(url.split(":")[2].split("/")[0])) as stream:
            yield gateway, Connection(stream, token)


def plain_only(monkeypatch: pytest.MonkeyPatch, gateway: Gateway) -> list[bytes]:
    """Note the bodies that go the direct way."""
    taken: list[bytes] = []
    holder_now = gateway.service.authenticator.holder_now

    def noted(token: str) -> Any:
        taken.append(token.encode())
        return holder_now(token)

    monkeypatch.setattr(gateway.service.authenticator, "holder_now", noted)
    return taken


@pytest.mark.parametrize(
    "body",
    [
        buy(client_order_id="a-1"),
        buy(account="main"),
        buy(price="60000.001"),
        buy(price=60000),
        buy(symbol="DOGEUSDT"),
        buy(account="other"),
        buy(side="SIDEWAYS"),
        buy(more="x"),
        b"{",
        b'{"symbol":"BTCUSDT","symbol":"BTCUSDT"}',
        b'{"symbol":"\xff"}',
        b"[]",
        b"[" * 5_000,
    ],
    ids=lambda body: (
        body.decode("latin-1")[:20] if isinstance(body, bytes) else "-".join(map(str, body.values()))[-30:]
    ),
)
async def test_both_ways_answer_alike(tmp_path: Path, body: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status, headers and body are the same, for orders that are taken and for each refusal."""
    answers = []
    for number, headers in enumerate(({}, USUAL)):
        directory = tmp_path / str(number)
        directory.mkdir()
        async with connection(directory) as (gateway, client):
            taken = plain_only(monkeypatch, gateway)
            answers.append(await client.call(body, x_request_id="mine", **headers))
            assert len(taken) == (0 if headers else 1)
    direct, usual = answers
    assert direct.status == usual.status
    assert direct.header("x-request-id") == usual.header("x-request-id") == "mine"
    assert [one for one in direct.headers if one[0] not in PASSING] == [
        one for one in usual.headers if one[0] not in PASSING
    ]
    made_up = ("client_order_id", "created_time", "created_time_ns", "updated_time_ns")
    for answer in answers:
        for name in made_up if "order" in answer.body else ():
            answer.body["order"].pop(name)
    assert direct.body == usual.body


@pytest.mark.parametrize("reason", [Reason.INSUFFICIENT_FUNDS, Reason.OVERLOADED, Reason.TIMED_OUT])
async def test_refusals_by_risk_and_the_bus_are_alike(tmp_path: Path, reason: Reason) -> None:
    """What the desk behind the gateway says no to, and what it does not know, reads the same both ways."""
    async with connection(tmp_path) as (gateway, client):
        if reason is Reason.INSUFFICIENT_FUNDS:
            gateway.desk.refuse = reason
        else:
            gateway.desk.fail = reason
        direct, usual = [await client.call(buy(client_order_id="a"), x_request_id="r", **way) for way in ({}, USUAL)]
        assert direct.status == usual.status
        assert direct.body == usual.body
        assert [one for one in direct.headers if one[0] != "date"] == [one for one in usual.headers if one[0] != "date"]


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/json; charset=utf-8"}, 201),
        ({"authorization": ""}, 401),
        ({"authorization": "Basic YWxpY2U6eA=="}, 401),
        ({"x_polaris_key": "trader"}, 400),
        ({"connection": "close"}, 201),
        ({"path": "/orders?wait_ms=5"}, 201),
        ({"path": "/orders?wait_ms=x"}, 400),
    ],
    ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items())[:40] if isinstance(value, dict) else str(value),
)
async def test_what_is_not_plain_goes_the_usual_way(
    tmp_path: Path, headers: dict[str, str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the direct way would have to judge is judged where it always was."""
    async with connection(tmp_path) as (gateway, client):
        taken = plain_only(monkeypatch, gateway)
        assert (await client.call(buy(), **headers)).status == status
        assert not taken


async def test_a_void_token_is_refused_and_counted_as_ever(tmp_path: Path) -> None:
    """The direct way leaves refusals of who asks to the usual one, which audits them and slows guessing down."""
    async with connection(tmp_path, failures_of_address=Budget("failures of address", 0.001, 2)) as (gateway, client):
        answers = [await client.call(buy(), authorization="Bearer nonsense") for _ in range(3)]
        assert [answer.status for answer in answers] == [401, 401, 429]
        assert answers[2].header("retry-after")
        assert (await client.call(buy())).status == 201
        await until(lambda: any(note.subject == "unknown" or note.actor == "unknown" for note in gateway.desk.notes))


async def test_a_foreign_host_name_is_refused(tmp_path: Path) -> None:
    """A page that rebinds its name to the desk gets no further on the direct way either."""
    async with connection(tmp_path) as (gateway, client):
        answer = await client.call(buy(), host="evil.example")
        assert (answer.status, answer.body["reason"]) == (421, "HOST_NOT_ALLOWED")
        assert not gateway.desk.commands


async def test_requests_sent_together_are_answered_in_order(tmp_path: Path) -> None:
    """Pipelined orders and reads come back in the order in which they were sent, whichever way they went."""
    async with connection(tmp_path) as (_, client):
        orders = [client.request(buy(client_order_id=f"a-{number}")) for number in range(3)]
        health = client.request(b"", method="GET", path="/health", content_type="", content_length="")
        await client.send(orders[0], orders[1], health, orders[2])
        answers = [await client.answer() for _ in range(4)]
        named = [answer.body.get("order", {}).get("client_order_id", "health") for answer in answers]
        assert named == ["a-0", "a-1", "health", "a-2"]


async def test_a_body_in_pieces_is_one_order(tmp_path: Path) -> None:
    """Bytes may arrive one at a time."""
    async with connection(tmp_path) as (gateway, client):
        whole = client.request(buy())
        for start in range(0, len(whole), 40):
            await client.send(whole[start : start + 40])
            await anyio.sleep(0.001)
        assert (await client.answer()).status == 201
        assert len(gateway.desk.commands) == 1


async def test_a_client_that_leaves_takes_its_answer_with_it(tmp_path: Path) -> None:
    """An order whose client is gone is placed, and its answer goes nowhere."""
    async with served(tmp_path) as (gateway, url):
        token = await gateway.log_in("alice")
        gateway.desk.hang = True
        async with await anyio.connect_tcp("127.0.0.1", int(url.split(":")[2].split("/")[0])) as stream:
            await Connection(stream, token).send(Connection(stream, token).request(buy()))
            await until(lambda: bool(gateway.desk.commands))
        gateway.desk.hang = False
        response = await gateway.call("trader", "POST", "/orders", buy())
        assert response.status_code == 201
