"""How a request is refused before anybody looks at what it asks for: its form, who sends it, how fast, and where to."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Final

from tests.end_to_end.refusal_world import Said, World, answered, said, said_in
from tests.end_to_end.support import PASSWORD, Person, Stream, fresh_id

from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.web.signing import new_key

Scenario = Callable[[World], Said]
ORDER: Final = {"account": "plain", "symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}


def _body(world: World, content: bytes, *, media_type: str = "application/json") -> Said:
    headers = world.trader.headers | {"content-type": media_type}
    return said(world.desk.request("gateway", "POST", "/orders", content=content, headers=headers))


def malformed_json(world: World) -> Said:
    return _body(world, b'{"symbol": ')


def missing_field(world: World) -> Said:
    return said(world.trader.request("POST", "/orders", {"symbol": "BTCUSDT", "type": "MARKET", "quantity": "1"}))


def unknown_field(world: World) -> Said:
    return said(world.trader.request("POST", "/orders", ORDER | {"colour": "red"}))


def invalid_value(world: World) -> Said:
    return said(world.trader.request("POST", "/orders", ORDER | {"quantity": 0.01}))


def duplicate_field(world: World) -> Said:
    return _body(world, b'{"symbol": "BTCUSDT", "symbol": "ETHUSDT"}')


def body_too_large(world: World) -> Said:
    return _body(world, b'{"symbol": "' + b"X" * 70_000 + b'"}')


def unsupported_media_type(world: World) -> Said:
    return _body(world, b"<order/>", media_type="text/xml")


def contradictory_fields(world: World) -> Said:
    return said(world.trader.request("POST", "/orders", ORDER | {"quote_amount": "100"}))


def method_not_allowed(world: World) -> Said:
    return said(world.trader.request("PUT", "/orders", ORDER))


def request_too_slow(world: World) -> Said:
    return answered(world.dawdler)


def headers_too_large(world: World) -> Said:
    return world.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n")


def host_not_allowed(world: World) -> Said:
    return said(world.desk.request("gateway", "GET", "/health", headers={"host": "desk.example"}))


def malformed_request(world: World) -> Said:
    return world.raw(b"\x16\x03\x01 this is no HTTP\r\n\r\n")


def not_authenticated(world: World) -> Said:
    return said(world.desk.request("gateway", "GET", "/orders", headers={}))


def invalid_credentials(world: World) -> Said:
    body = {"username": "trader", "password": "not the password"}
    return said(world.desk.request("gateway", "POST", "/login", body, headers={}))


def token_expired(world: World) -> Said:
    leaver = Person(world.desk, "viewer")
    leaver.call("POST", "/logout")
    return said(leaver.request("GET", "/orders"))


def signature_invalid(world: World) -> Said:
    stranger = new_key(world.agent.key_id)
    return said(world.signed(stranger, "GET", "/orders"))


def timestamp_outside_window(world: World) -> Said:
    return said(world.signed(world.agent, "GET", "/orders", timestamp_ms=time.time_ns() // 1_000_000 - 60_000))


def nonce_reused(world: World) -> Said:
    nonce = fresh_id("nonce")
    assert world.signed(world.agent, "GET", "/orders", nonce=nonce).status_code == 200
    return said(world.signed(world.agent, "GET", "/orders", nonce=nonce))


def role_not_allowed(world: World) -> Said:
    return said(world.viewer.request("POST", "/orders", ORDER))


def account_not_allowed(world: World) -> Said:
    return said(world.viewer.request("GET", "/orders?account=other"))


def key_revoked(world: World) -> Said:
    key = world.add_key(fresh_id("key"), role="VIEWER", accounts=["plain"])
    assert world.signed(key, "GET", "/orders").status_code == 200
    world.officer("gateway", "DELETE", f"/keys/{key.key_id}")
    return said(world.signed(key, "GET", "/orders"))


def address_not_allowed(world: World) -> Said:
    key = world.add_key(fresh_id("key"), role="VIEWER", accounts=["plain"], addresses=["10.0.0.0/8"])
    return said(world.signed(key, "GET", "/orders"))


def rate_limited(world: World) -> Said:
    """Somebody guesses at one name's password."""
    for _ in range(20):
        body = {"username": "nobody-at-all", "password": PASSWORD}
        response = world.desk.request("gateway", "POST", "/login", body, headers={})
        if response.status_code == 429:
            assert int(response.headers["retry-after"]) >= 1
            return said(response)
        assert response.status_code == 401
    raise AssertionError("guesses at a password were never slowed down")


def too_many_connections(world: World) -> Said:
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stream = stack.enter_context(Stream(world.desk))
            answer = stream.call("login", token=world.viewer.token)
            if "error" in answer:
                return said_in(answer["error"])
    raise AssertionError("one person may open any number of connections")


def slow_consumer(world: World) -> Said:
    """A client sends and never reads: its answers pile up, and it is closed instead of slowing anybody."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.settimeout(10)
        connection.connect((world.desk.place.host, world.desk.place.ports["gateway"]))
        connection.sendall(
            b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Authorization: " + world.trader.headers["authorization"].encode() + b"\r\n\r\n"
        )
        # Text frames of a client, masked with zeros; each is answered with a refusal ten times its size.
        frame = b"\x81\x82\0\0\0\0{}"
        connection.settimeout(1)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(100):
                connection.sendall(frame * 500)
        connection.settimeout(30)
        received = b""
        while not (name := _close_reason(received.partition(b"\r\n\r\n")[2])):
            chunk = connection.recv(1 << 20)
            assert chunk, "the connection was cut without a word"
            received += chunk
    reason = Reason[name]
    return Said(int(reason), reason.name, explain(reason))


def _close_reason(frames: bytes) -> str:
    """The reason of the close frame among a server's frames; empty where none has come."""
    while len(frames) > 4:
        kind, length, head = frames[0] & 0x0F, frames[1], 2
        if length == 126:
            length, head = int.from_bytes(frames[2:4], "big"), 4
        if kind == 8:
            return frames[head + 2 : head + length].decode()
        frames = frames[head + length :]
    return ""


def not_found(world: World) -> Said:
    return said(world.trader.request("GET", "/nothing-here"))


def order_not_found(world: World) -> Said:
    return said(world.trader.request("GET", "/orders/999999999"))


def account_not_found(world: World) -> Said:
    return said(world.try_order("nobody", "BTCUSDT", "BUY", "MARKET", quantity="0.01"))


def symbol_not_found(world: World) -> Said:
    return said(world.try_order("plain", "XYZUSDT", "BUY", "MARKET", quantity="0.01"))


def decision_not_found(world: World) -> Said:
    return said(world.trader.request("GET", "/decisions/D0-999999"))


SCENARIOS: Final[dict[Reason, Scenario]] = {
    Reason.MALFORMED_JSON: malformed_json,
    Reason.MISSING_FIELD: missing_field,
    Reason.UNKNOWN_FIELD: unknown_field,
    Reason.INVALID_VALUE: invalid_value,
    Reason.DUPLICATE_FIELD: duplicate_field,
    Reason.BODY_TOO_LARGE: body_too_large,
    Reason.UNSUPPORTED_MEDIA_TYPE: unsupported_media_type,
    Reason.CONTRADICTORY_FIELDS: contradictory_fields,
    Reason.METHOD_NOT_ALLOWED: method_not_allowed,
    Reason.REQUEST_TOO_SLOW: request_too_slow,
    Reason.HEADERS_TOO_LARGE: headers_too_large,
    Reason.HOST_NOT_ALLOWED: host_not_allowed,
    Reason.MALFORMED_REQUEST: malformed_request,
    Reason.NOT_AUTHENTICATED: not_authenticated,
    Reason.INVALID_CREDENTIALS: invalid_credentials,
    Reason.TOKEN_EXPIRED: token_expired,
    Reason.SIGNATURE_INVALID: signature_invalid,
    Reason.TIMESTAMP_OUTSIDE_WINDOW: timestamp_outside_window,
    Reason.NONCE_REUSED: nonce_reused,
    Reason.ROLE_NOT_ALLOWED: role_not_allowed,
    Reason.ACCOUNT_NOT_ALLOWED: account_not_allowed,
    Reason.KEY_REVOKED: key_revoked,
    Reason.ADDRESS_NOT_ALLOWED: address_not_allowed,
    Reason.RATE_LIMITED: rate_limited,
    Reason.TOO_MANY_CONNECTIONS: too_many_connections,
    Reason.SLOW_CONSUMER: slow_consumer,
    Reason.NOT_FOUND: not_found,
    Reason.ORDER_NOT_FOUND: order_not_found,
    Reason.ACCOUNT_NOT_FOUND: account_not_found,
    Reason.SYMBOL_NOT_FOUND: symbol_not_found,
    Reason.DECISION_NOT_FOUND: decision_not_found,
}
