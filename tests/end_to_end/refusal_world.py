"""The desk that refuses: one account for each limit, people of each role, and what a refusal says."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml
from msgspec import Struct
from tests.end_to_end.support import CHECKOUT, WIDE_LIMITS, Person, account, write_config

from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.testing.desk_process import DeskProcess, decoded
from polaris_synapse.web.errors import http_status
from polaris_synapse.web.signing import SigningKey, new_key, signed_headers, verifier_of

#: Accounts whose one tight limit, in the valuation asset or in parts per million, is what they are for.
TIGHT_LIMITS: dict[str, dict[str, Any]] = {
    "value": {"order_value_max": "100"},
    "position": {"position_value_max": "100"},
    "exposure": {"exposure_max": "100"},
    "concentration": {"concentration_ppm_max": 1_000},
    "leverage": {"leverage_ppm_max": 1_000},
    "throttle": {"messages_per_second_max": 1, "message_burst_max": 1},
    "repeats": {"repeated_orders_max": 2},
    "orders": {"open_orders_max": 1},
    "daily": {"daily_loss_max": "1"},
    "drawdown": {"drawdown_ppm_max": 1},
    "stale": {"market_data_age_seconds_max": 1},
}
#: Accounts without a limit of their own.
PLAIN = ("plain", "other", "quantity", "ageless", "blocked", "sanctioned", "restricted", "halted", "flat", "tripped")
EMPTY = "BTCUSDT.INT"
SIZED = "ETHUSDT.INT"
UNPRICED = "ADAUSDT.INT"
SILENT = "DOTUSDT.INT"


class Said(Struct, frozen=True):
    """What a client was told: on a refused request, on an order that its book turned away, or on a closed connection.

    ``status`` is the HTTP status, 0 where there is none.
    """

    code: int
    reason: str
    message: str
    status: int = 0


def said(response: httpx2.Response) -> Said:
    """The refusal in an answer."""
    return said_in(response.json(), response.status_code)


def said_in(body: dict[str, Any], status: int = 0) -> Said:
    """The refusal in an error body."""
    assert body.keys() == {"code", "reason", "message", "detail", "request_id"}, body
    return Said(body["code"], body["reason"], body["message"], status)


def said_of(order: dict[str, Any]) -> Said:
    """Why an order ended, as its view says it."""
    assert not order["open"], order
    return Said(order["reason_code"], order["reason"], order["message"])


def check(reason: Reason, told: Said) -> None:
    """What was told is that reason: its number, its name, its one sentence, and for a request its HTTP status."""
    assert (told.reason, told.code) == (reason.name, int(reason)), told
    assert told.message == explain(reason)
    assert told.message.endswith(".")
    if told.status:
        assert told.status == http_status(reason)


class World:
    """The running desk, and who uses it."""

    def __init__(self, desk: DeskProcess) -> None:
        self.desk = desk
        #: A request that never ends, begun early so that nobody has to wait for its refusal.
        self.dawdler = socket.create_connection((desk.place.host, desk.place.ports["gateway"]), timeout=20)
        self.dawdler.sendall(b"POST /orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n")
        self.trader = Person.added(desk, "trader", "TRADER", ["*"])
        self.viewer = Person.added(desk, "viewer", "VIEWER", ["plain", "bot-hands"])
        self.agent = self.add_key(
            "agent", role="AGENT", accounts=["bot", "bot-day", "botless", "bot-hands"], owner="tester"
        )

    def add_key(self, key_id: str, **fields: Any) -> SigningKey:
        """A fresh Ed25519 key that the desk knows."""
        key = new_key(key_id)
        body = {"key_id": key_id, "public_key": base64.b64encode(verifier_of(key)).decode()}
        self.desk.json("gateway", "POST", "/keys", body | fields)
        return key

    def signed(
        self, key: SigningKey, method: str, target: str, body: object | None = None, **how: Any
    ) -> httpx2.Response:
        """A request signed with ``key``; ``how`` overrides its time or its nonce."""
        payload = b"" if body is None else msgspec.json.encode(body)
        headers = signed_headers(key, method, target, payload, **how)
        return self.desk.request("gateway", method, target, content=payload, headers=headers)

    def try_order(self, name: str, symbol: str, side: str, kind: str, **fields: Any) -> httpx2.Response:
        """An order of the trader's on an account, whatever becomes of it."""
        body = {"account": name, "symbol": symbol, "side": side, "type": kind} | fields
        return self.trader.request("POST", "/orders?wait_ms=3000", body)

    def order(self, name: str, symbol: str, side: str, kind: str, **fields: Any) -> dict[str, Any]:
        """An order that risk takes."""
        placed: dict[str, Any] = decoded(self.try_order(name, symbol, side, kind, **fields))["order"]
        return placed

    @contextmanager
    def clean(self, symbol: str) -> Iterator[None]:
        """The book of ``symbol`` holds nobody's orders before and after."""
        for _ in range(2):
            for order_id in self.desk.json("gateway", "DELETE", f"/orders?symbol={symbol}")["order_ids"]:
                self.trader.ends(order_id)
            if _ == 0:
                yield

    def officer(self, service: str, method: str, target: str, body: object | None = None) -> Any:
        """Something that only staff may do, by the operator, and that must succeed."""
        return self.desk.json(service, method, target, body)

    def raw(self, payload: bytes, *, service: str = "gateway", seconds_max: float = 20.0) -> Said:
        """Bytes as they are on a connection of their own, and the refusal that comes back."""
        place = (self.desk.place.host, self.desk.place.ports[service])
        with socket.create_connection(place, timeout=seconds_max) as connection:
            connection.sendall(payload)
            return answered(connection)


def answered(connection: socket.socket) -> Said:
    """The refusal that comes before the server closes a connection."""
    received = b""
    while chunk := connection.recv(65_536):
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return said_in(json.loads(body), int(head.split()[1]))


def refusing_config(folder: Path) -> Path:
    """Settings with an account for each limit, mandates for a key of role AGENT, and books of every kind."""
    development = yaml.safe_load((CHECKOUT / "configs" / "development.yml").read_text(encoding="utf-8"))
    internal = {"quote": "USDT", "tick_size": "0.01", "venue": "internal"}
    instruments = [
        *development["instruments"],
        {"symbol": SIZED, "base": "ETH", "lot_size": "0.0001", "min_notional": "5", "min_quantity": "0.01",
         "max_quantity": "5", "reference_symbol": "ETHUSDT"} | internal,
        {"symbol": UNPRICED, "base": "ADA", "lot_size": "1"} | internal,
        {"symbol": SILENT, "base": "DOT", "lot_size": "1"} | internal,
    ]  # fmt: skip
    assets = [*development["assets"], {"code": "ADA", "decimals": 6}, {"code": "DOT", "decimals": 8}]
    mandate = {"agent": "tester", "symbols": ["ETHUSDT"], "order_value_max": "1000"}
    accounts = [
        *(account(name) for name in (*PLAIN, "bot", "bot-day", "botless", "bot-hands", "capped", "jarvis")),
        # Whoever is to lose holds nothing that the market might move.
        *(account(name, deposits={"USDT": "1000000"}) for name in TIGHT_LIMITS),
        account("ada", deposits={"ADA": "1000", "USDT": "1000"}),
        account("poor", deposits={"USDT": "10"}),
        account("unapproved", kyc_approved=False),
    ]
    return write_config(
        folder,
        assets=assets,
        instruments=instruments,
        accounts=accounts,
        limits={"*": WIDE_LIMITS} | {name: WIDE_LIMITS | limits for name, limits in TIGHT_LIMITS.items()},
        mandates=[
            mandate | {"account": "bot", "daily_value_max": "100000", "approval_above": "500"},
            mandate | {"account": "bot-day", "daily_value_max": "100", "approval_above": "1000"},
        ],
        agent={"name": "jarvis", "account": "jarvis", "symbols": ["BTCUSDT", "ETHUSDT"], "interval_seconds": 3_600},
    )
