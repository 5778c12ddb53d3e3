"""Hostile requests to a real desk, very many of them: none may end in a 5xx, and memory stays where it was.

What is sent: JSON that is deep, cut, doubled, too long, of wrong types and impossible numbers; text that is no UTF-8;
lies about lengths, broken chunks, wrong methods, long addresses, floods of headers; tokens and signatures that are
none; at every service, by somebody who is logged in and by somebody who is not. Meanwhile an honest trader measures
how long a read and an order take.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.kills import Progress, percentile
from polaris_synapse.testing.faults.load import ACCOUNTS, middle_cents, write_fault_settings
from polaris_synapse.testing.machine import resident_bytes
from polaris_synapse.testing.order_load import PASSWORD, REFERENCE

_CONNECTIONS: Final = 8
_ANSWER_SECONDS_MAX: Final = 30.0
_READ_BYTES: Final = 65_536
#: What a 50 MB body is cut to: the desk refuses it by its length, and nobody need send the rest.
_BODY_SENT_BYTES: Final = 131_072
_EXAMPLES_MAX: Final = 20
_HONEST_PAUSE_SECONDS: Final = 0.05

_TARGETS: Final = (
    ("gateway", "/orders"), ("gateway", "/orders/batch"), ("gateway", "/orders/preview"), ("gateway", "/login"),
    ("gateway", "/users"), ("gateway", "/balances"), ("gateway", "/orders/1"), ("gateway", "/executions"),
    ("gateway", "/api/v3/order"), ("gateway", "/status"), ("risk", "/kill-switch"), ("risk", "/limits/main"),
    ("risk", "/circuit-breaker/reset"), ("compliance", "/accounts"), ("compliance", "/audit"),
    ("execution", "/breaks"), ("execution", "/breaks/x/resolve"), ("matching", "/book/BTCUSDT.INT"),
    ("market_data", "/book/BTCUSDT"), ("market_data", "/candles/BTCUSDT"), ("llm_agents", "/decisions"),
)  # fmt: skip
_METHODS: Final = ("POST",) * 6 + ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FROBNICATE", "get")


class HostileReport(Struct, frozen=True, kw_only=True):
    """What was sent and what came back. ``statuses`` counts HTTP statuses, and ``closed`` for none at all."""

    seed: int
    requests: int
    statuses: dict[str, int]
    server_errors: list[str]
    resident_before_bytes: int
    resident_peak_bytes: int
    resident_after_bytes: int
    honest_orders: int
    honest_failures: list[str]
    honest_p50_ms: float
    honest_p99_ms: float
    seconds: float
    alive: bool


class _Attack:
    """Makes requests. The same seed makes the same ones."""

    def __init__(self, seed: int, token: str) -> None:
        self._chance = random.Random(seed)  # noqa: S311  # a reproducible stream
        self._token = token
        self._bodies: tuple[Callable[[], bytes], ...] = (
            self._deep, self._cut, self._doubled, self._numbers, self._types, self._unknown, self._not_text,
            self._noise, self._long_text, self._strange_text, self._empty, self._nearly_right,
        )  # fmt: skip

    def next(self) -> tuple[str, bytes, str]:
        """A service, the bytes to send to it, and what they are."""
        chance = self._chance
        service, path = chance.choice(_TARGETS)
        if chance.random() < 0.12:
            what, raw = self._broken(path)
            return service, raw, what
        make = chance.choice(self._bodies)
        body = make()
        method = chance.choice(_METHODS)
        target = path + self._query()
        headers = [f"content-length: {len(body)}", f"content-type: {self._media_type()}", *self._credentials()]
        head = "\r\n".join([f"{method} {target} HTTP/1.1", "host: 127.0.0.1", *headers])
        return service, head.encode("latin-1", "replace") + b"\r\n\r\n" + body, f"{method} {path} {make.__name__}"

    def _media_type(self) -> str:
        kinds = ("application/json",) * 9 + (
            "text/plain",
            "application/json; charset=utf-16",
            "",
            "multipart/form-data",
        )
        return self._chance.choice(kinds)

    def _credentials(self) -> list[str]:
        chance = self._chance
        kind = chance.random()
        if kind < 0.6:
            return [f"authorization: Bearer {self._token}"]
        if kind < 0.7:
            cut = chance.randrange(len(self._token))
            return [f"authorization: Bearer {self._token[:cut]}{chance.choice(('', 'x', '.', '=='))}"]
        if kind < 0.8:
            stamp = chance.choice(("0", "-1", "9" * 40, "1e9", "NaN", str(int(time.time() * 1000))))
            return [
                "x-polaris-key: operator", f"x-polaris-timestamp: {stamp}", f"x-polaris-nonce: {chance.randrange(99)}",
                f"x-polaris-signature: {'A' * chance.randrange(200)}",
            ]  # fmt: skip
        return []

    def _query(self) -> str:
        chance = self._chance
        if chance.random() < 0.6:
            return ""
        names = ("limit", "account", "symbol", "before_order_id", "wait_ms", "open_only", "__proto__", "a" * 300, "%00")
        values = ("-1", "0", "1e3", "NaN", "9" * 400, "%ff%fe", "' OR 1=1 --", "../../etc/passwd", "true", "", "%F0%9F")
        pairs = (f"{chance.choice(names)}={chance.choice(values)}" for _ in range(chance.randrange(1, 5)))
        return "?" + "&".join(pairs)

    # -- bodies

    def _deep(self) -> bytes:
        depth = self._chance.choice((50, 1_000, 10_000, 30_000))
        return self._chance.choice((b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth))

    def _order(self) -> dict[str, object]:
        return {
            "account": self._chance.choice(ACCOUNTS), "symbol": REFERENCE, "side": "BUY", "type": "LIMIT",
            "quantity": "0.001", "price": "50000", "client_order_id": f"h{self._chance.randrange(10**9)}",
        }  # fmt: skip

    def _cut(self) -> bytes:
        whole = msgspec.json.encode(self._order())
        return whole[: self._chance.randrange(len(whole))]

    def _doubled(self) -> bytes:
        whole = msgspec.json.encode(self._order())
        return whole[:-1] + b',"quantity":"1000","account":"bench-2"}'

    def _numbers(self) -> bytes:
        values = (
            b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"9" * 5_000, b"0x10", b"1_000", b"+1", b".5",
            b"01", b"1e-400", b"-0", b'"NaN"', b'"1e5"', b'"-1"', b'"' + b"9" * 60 + b'"', "\"١٢٣\"".encode(), b'" 1"',
        )  # fmt: skip
        field = self._chance.choice((b"quantity", b"price", b"level", b"limit"))
        return b'{"symbol":"BTCUSDT","side":"BUY","type":"LIMIT","%b":%b}' % (field, self._chance.choice(values))

    def _types(self) -> bytes:
        order = self._order()
        values: tuple[object, ...] = (None, True, 0, 1.5, [], {}, [[]], {"$gt": 0}, "", "\x00", [1, 2])
        for name in self._chance.sample(sorted(order), 2):
            order[name] = self._chance.choice(values)
        return msgspec.json.encode(order)

    def _unknown(self) -> bytes:
        extra = {"__proto__": {"role": "ADMIN"}, "role": "ADMIN", "constructor": 1, "order_id": 1, "actor": "user:root"}
        return msgspec.json.encode(self._order() | extra)

    def _not_text(self) -> bytes:
        ugly = (b"\xc0\xaf", b"\xed\xa0\x80", b"\xff\xfe", b"\x00", b"\xf8\x88\x80\x80\x80", b"\\ud800", b"\\u0000")
        return b'{"symbol":"BTC%bUSDT","side":"BUY","type":"MARKET","quantity":"1"}' % self._chance.choice(ugly)

    def _noise(self) -> bytes:
        return self._chance.randbytes(self._chance.randrange(2_000))

    def _long_text(self) -> bytes:
        count = self._chance.choice((1_000, 60_000, 66_000, 200_000))
        return msgspec.json.encode(self._order() | {"client_order_id": "x" * count})

    def _strange_text(self) -> bytes:
        strange = (
            "\u202e", "\u200b", "\u0410", "\U0001d7cf", "'; DROP TABLE orders; --", "${jndi:ldap://x}", "{{7*7}}",
            "%s%n", "\r\nx: y",
        )  # fmt: skip
        name = self._chance.choice(("client_order_id", "account", "symbol", "side"))
        return msgspec.json.encode(self._order() | {name: self._chance.choice(strange) * self._chance.randrange(1, 40)})

    def _empty(self) -> bytes:
        return self._chance.choice((b"", b"null", b"[]", b"{}", b'""', b"0", b" ", b"\xef\xbb\xbf{}"))

    def _nearly_right(self) -> bytes:
        names = self._chance.choice(("username", "password", "accounts", "scope", "note", "state", "interval"))
        return msgspec.json.encode({names: self._chance.choice(("x", "*", "admin", 1, ["*"])), "level": 9})

    # -- requests that are no HTTP

    def _broken(self, path: str) -> tuple[str, bytes]:
        chance = self._chance
        auth = f"authorization: Bearer {self._token}\r\n"
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{auth}content-type: application/json\r\n"
        kinds: dict[str, bytes] = {
            "50 MB": f"{head}content-length: 52428800\r\n\r\n".encode() + b" " * _BODY_SENT_BYTES,
            "length too short": f"{head}content-length: 3\r\n\r\n".encode() + b'{"symbol":"BTCUSDT"}',
            "negative length": f"{head}content-length: -5\r\n\r\n{{}}".encode(),
            "two lengths": f"{head}content-length: 2\r\ncontent-length: 900\r\n\r\n{{}}".encode(),
            "huge length": f"{head}content-length: {'9' * 30}\r\n\r\n".encode(),
            "length and chunks": f"{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
            "broken chunk": f"{head}transfer-encoding: chunked\r\n\r\nZZ\r\n{{}}\r\n".encode(),
            "huge chunk": f"{head}transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n{{}}".encode(),
            "long address": f"GET {path}?{'a' * chance.randrange(10_000, 90_000)} HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
            "many headers": (head + "".join(f"x-{n}: y\r\n" for n in range(500)) + "\r\n").encode(),
            "long header": f"{head}x-long: {'z' * 70_000}\r\n\r\n".encode(),
            "no host": f"GET {path} HTTP/1.1\r\n\r\n".encode(),
            "old version": f"GET {path} HTTP/0.9\r\nhost: x\r\n\r\n".encode(),
            "new version": f"GET {path} HTTP/7.3\r\nhost: x\r\n\r\n".encode(),
            "no HTTP": chance.randbytes(chance.randrange(1, 400)) + b"\r\n\r\n",
            "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(300),
            "path traversal": b"GET /../../../../etc/passwd%00 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
            "null in path": b"GET /orders\x00/1 HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
            "half WebSocket": b"GET /ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        }
        name = chance.choice(sorted(kinds))
        return name, kinds[name]


class _Siege:
    def __init__(self, desk: DeskProcess, attack: _Attack, count: int, progress: Progress) -> None:
        self.statuses: Counter[str] = Counter()
        self.server_errors: list[str] = []
        self.peak_bytes = 0
        self.latencies: list[float] = []
        self.honest_failures: list[str] = []
        self._desk = desk
        self._attack = attack
        self._left = count
        self._count = count
        self._progress = progress
        self._middle_cents = middle_cents(desk)

    async def run(self) -> None:
        honest = asyncio.create_task(self._trade_honestly())
        await asyncio.gather(*(self._besiege() for _ in range(_CONNECTIONS)))
        honest.cancel()
        await asyncio.gather(honest, return_exceptions=True)

    async def _besiege(self) -> None:
        while self._left > 0:
            self._left -= 1
            if self._left % 500 == 0:
                self.peak_bytes = max(self.peak_bytes, resident_bytes(self._desk.process_id))
                done = self._count - self._left
                self._progress(f"{done} requests, {len(self.server_errors)} server errors", done / self._count)
            service, raw, what = self._attack.next()
            status = await self._send(self._desk.place.ports[service], raw)
            self.statuses[status] += 1
            # 503 says that the desk is busy, which is a refusal and no failure.
            if status.startswith("5") and status != "503" and len(self.server_errors) < _EXAMPLES_MAX:
                self.server_errors.append(f"{status} {service} {what}: {raw[:300]!r}")

    async def _send(self, port: int, raw: bytes) -> str:
        """One request on a connection of its own; the status, or ``closed``."""
        writer = None
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(raw)
                writer.write_eof()
                answer = await reader.read(_READ_BYTES)
        except (OSError, EOFError):
            return "closed"
        except TimeoutError:
            return "no answer"
        finally:
            if writer is not None:
                writer.transport.abort()
        parts = answer.split(b" ", 2)
        return parts[1].decode("latin-1") if answer.startswith(b"HTTP/") and len(parts) > 1 else "closed"

    async def _trade_honestly(self) -> None:
        number = 0
        while True:
            number += 1
            cents = self._middle_cents * 97 // 100
            order = {
                "account": ACCOUNTS[0], "client_order_id": f"honest-{number}", "symbol": REFERENCE, "side": "BUY",
                "type": "LIMIT", "quantity": "0.001", "price": f"{cents // 100}.{cents % 100:02d}",
                "time_in_force": "IOC",
            }  # fmt: skip
            began = time.perf_counter()
            answer = await asyncio.to_thread(self._desk.request, "gateway", "POST", "/orders", order)
            self.latencies.append((time.perf_counter() - began) * 1_000)
            if answer.status_code >= 400 and len(self.honest_failures) < _EXAMPLES_MAX:
                self.honest_failures.append(f"{answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(_HONEST_PAUSE_SECONDS)


def run_hostile(directory: Path, *, requests: int, seed: int, progress: Progress) -> HostileReport:
    """Besiege a desk in ``directory``, which is empty."""
    config = write_fault_settings(directory / "faults.yml")
    began = time.monotonic()
    with DeskProcess(directory / "desk", config=str(config)) as desk:
        user = {"username": "mallory", "password": PASSWORD, "role": "TRADER", "accounts": list(ACCOUNTS)}
        desk.json("gateway", "POST", "/users", user)
        login = {"username": "mallory", "password": PASSWORD}
        answer = desk.request("gateway", "POST", "/login", login, headers={"accept": "*/*"})
        attack = _Attack(seed, str(msgspec.json.decode(answer.content)["access_token"]))
        siege = _Siege(desk, attack, requests, progress)
        # What the first requests of each kind load stays loaded, and is no growth.
        warm = _Siege(desk, _Attack(seed + 1, "x.y.z"), min(requests // 10 + 1, 1_000), lambda _text, _share: None)
        asyncio.run(warm.run())
        before = resident_bytes(desk.process_id)
        asyncio.run(siege.run())
        report = HostileReport(
            seed=seed,
            requests=requests,
            statuses=dict(siege.statuses),
            server_errors=siege.server_errors,
            resident_before_bytes=before,
            resident_peak_bytes=max(siege.peak_bytes, before),
            resident_after_bytes=resident_bytes(desk.process_id),
            honest_orders=len(siege.latencies),
            honest_failures=siege.honest_failures,
            honest_p50_ms=round(percentile(sorted(siege.latencies), 50), 2),
            honest_p99_ms=round(percentile(sorted(siege.latencies), 99), 2),
            seconds=round(time.monotonic() - began, 1),
            alive=desk.running,
        )
    progress("done", 1.0)
    return report
