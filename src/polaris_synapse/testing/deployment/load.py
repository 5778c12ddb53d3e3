"""Load on a deployment's order entry: connections that each place an order, wait for the verdict, and cancel it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from polaris_synapse.testing.deployment.latencies import Latencies, Tally
from polaris_synapse.testing.deployment.target import PaperAccount, Target
from polaris_synapse.testing.load_clients import HttpLoad, LoadClientError
from polaris_synapse.testing.order_load import REFERENCE, OrderStream

_REQUEST_SECONDS_MAX: Final = 30.0
#: A connection that was told to slow down waits this long.
_THROTTLED_SECONDS: Final = 0.05
_THROTTLED: Final = 429
_SUCCESS: Final = range(200, 300)


class LoadReport(Struct, frozen=True, kw_only=True):
    """What a load run saw. A rate is in orders a second; ``errors`` counts by name."""

    concurrent: int
    seconds: float
    orders: int
    orders_per_second: float
    throttled: int
    errors: dict[str, int]
    error_ratio: float
    place: Latencies
    cancel: Latencies


class _Answer(Struct):
    order: dict[str, Any] = {}
    reason: str = ""


async def run_load(
    target: Target,
    account: PaperAccount,
    *,
    concurrent: int,
    seconds: float,
    progress: Callable[[float, int], None],
) -> LoadReport:
    """Run for ``seconds`` and report. ``progress`` gets the share of time gone and the orders so far, once a second."""
    middle_cents = middle_of_market(target)
    placed, cancelled = Tally(), Tally()
    began = time.monotonic()
    until = began + seconds

    async def watch() -> None:
        while time.monotonic() < until:
            await asyncio.sleep(min(1.0, max(0.0, until - time.monotonic())))
            progress(min(1.0, (time.monotonic() - began) / seconds), placed.answered)

    async with asyncio.TaskGroup() as group:
        group.create_task(watch())
        for number in range(concurrent):
            stream = OrderStream(
                (account.name,), middle_cents=middle_cents, tag=f"{account.name}-{number}", seed=number
            )
            token = account.tokens[number % len(account.tokens)]
            group.create_task(_client(target, token, stream, placed, cancelled, until))
    elapsed = time.monotonic() - began
    errors = placed.errors + cancelled.errors
    total = placed.answered + cancelled.answered
    return LoadReport(
        concurrent=concurrent,
        seconds=round(elapsed, 3),
        orders=len(placed.seconds),
        orders_per_second=round(len(placed.seconds) / elapsed, 1),
        throttled=placed.throttled + cancelled.throttled,
        errors=dict(errors),
        error_ratio=round(sum(errors.values()) / total, 6) if total else 1.0,
        place=placed.latencies(),
        cancel=cancelled.latencies(),
    )


def middle_of_market(target: Target) -> int:
    """The best bid of the market that orders are placed around, in cents."""
    book = target.json("market_data", "GET", f"/book/{REFERENCE}")
    whole, _, fraction = str(book["bids"][0][0]).partition(".")
    return int(whole) * 100 + int((fraction + "00")[:2])


async def _client(
    target: Target, token: str, stream: OrderStream, placed: Tally, cancelled: Tally, until: float
) -> None:
    """One connection until the time is over; a connection that breaks is counted and opened again."""
    connection: HttpLoad | None = None
    while time.monotonic() < until:
        try:
            if connection is None:
                connection = await _connect(target, token)
            body = await _timed(connection, placed, "POST", "/orders?wait_ms=5000", stream.next().encode())
            order = msgspec.json.decode(body, type=_Answer).order if body is not None else {}
            if order.get("open"):
                await _timed(connection, cancelled, "DELETE", f"/orders/{order['order_id']}?wait_ms=5000")
        except (LoadClientError, OSError, TimeoutError) as error:
            placed.errors[type(error).__name__] += 1
            if connection is not None:
                connection.close()
                connection = None
            await asyncio.sleep(_THROTTLED_SECONDS)
    if connection is not None:
        connection.close()


async def _connect(target: Target, token: str) -> HttpLoad:
    place = target.place
    connection = HttpLoad(place.host, place.ports["gateway"], {"Authorization": f"Bearer {token}"}, tls=target.tls)
    async with asyncio.timeout(_REQUEST_SECONDS_MAX):
        await connection.connect()
    return connection


async def _timed(connection: HttpLoad, tally: Tally, method: str, path: str, body: bytes = b"") -> bytes | None:
    """One request into the tally; its body where it was taken."""
    began = time.perf_counter()
    async with asyncio.timeout(_REQUEST_SECONDS_MAX):
        status, content = await connection.request(method, path, body)
    if status in _SUCCESS:
        tally.seconds.append(time.perf_counter() - began)
        return content
    if status == _THROTTLED:
        tally.throttled += 1
        await asyncio.sleep(_THROTTLED_SECONDS)
        return None
    reason = msgspec.json.decode(content, type=_Answer).reason if content.startswith(b"{") else ""
    # Between the order and its cancel somebody may have taken it.
    if method != "DELETE" or reason != "ORDER_NOT_OPEN":
        tally.errors[reason or f"HTTP {status}"] += 1
    return None
