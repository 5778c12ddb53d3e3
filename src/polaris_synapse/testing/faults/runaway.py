"""A strategy that runs away: it sends the same order as fast as it can, and must be stopped by itself.

The account is stopped after so many repetitions, whatever it sends then is refused, its cancels pass, another account
goes on, and nothing but a named person lets the account trade again.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import uvloop
from msgspec import Struct

from polaris_synapse.testing.desk_process import DeskProcess
from polaris_synapse.testing.faults.kill_switch import log_in
from polaris_synapse.testing.faults.kills import percentile
from polaris_synapse.testing.faults.load import ACCOUNTS, middle_cents, write_fault_settings
from polaris_synapse.testing.load_clients import WebSocketLoad
from polaris_synapse.testing.order_load import REFERENCE, benchmark_settings

REPEATED_ORDERS_MAX: Final = 20
#: Orders of one burst; the gateway and the throttle of messages stand out of the way, so that only the count stops it.
BURST_ORDERS: Final = 2_000
#: Ten seconds' repetitions are counted, so a second burst waits for none of the first to be in the window.
_WINDOW_SECONDS: Final = 2
_IN_FLIGHT: Final = 64
_ANSWER_SECONDS_MAX: Final = 60.0


class RunawayReport(Struct, frozen=True, kw_only=True):
    """``trip_ms``: from the order that was one too many to the answer that refused it. ``accepted`` of each burst."""

    rounds: int
    sent: int
    accepted: tuple[int, ...]
    refusals: dict[str, int]
    sent_a_second: int
    trip_p50_ms: float
    trip_p99_ms: float
    violations: list[str]


class _Error(Struct):
    reason: str = ""


class _Answer(Struct):
    id: int = -1
    result: msgspec.Raw = msgspec.Raw()
    error: _Error | None = None


class _Burst:
    """One account sends the same order as fast as the desk answers."""

    def __init__(self, desk: DeskProcess) -> None:
        self._desk = desk
        self._cents = middle_cents(desk) * 97 // 100
        self._decoder = msgspec.json.Decoder(_Answer)
        self._sent_at: dict[int, float] = {}
        self._number = 0
        self._left = 0
        self._all_answered = asyncio.Event()
        self.accepted = 0
        self.refusals: Counter[str] = Counter()
        self.trip_ms = array("d")
        self._tripped = False
        self.connection: WebSocketLoad | None = None

    async def connect(self, account: str) -> None:
        """Log in and connect."""
        place = self._desk.place
        headers = {"Authorization": f"Bearer {log_in(self._desk, account, 'TRADER', (account,))}"}
        self.connection = WebSocketLoad(place.host, place.ports["gateway"], "/ws", headers, self._take)
        await self.connection.connect()

    async def run(self, account: str) -> float:
        """A burst; the seconds that it took."""
        self.accepted, self._left, self._tripped = 0, BURST_ORDERS, False
        self._all_answered.clear()
        began = time.perf_counter()
        for _ in range(_IN_FLIGHT):
            self._send(account)
        await asyncio.wait_for(self._all_answered.wait(), _ANSWER_SECONDS_MAX)
        return time.perf_counter() - began

    def _send(self, account: str) -> None:
        if not self._left:
            return
        self._left -= 1
        self._number += 1
        self._account = account
        order = (
            f'{{"symbol":"{REFERENCE}","side":"BUY","type":"LIMIT","account":"{account}",'
            f'"client_order_id":"again-{self._number}","quantity":"0.001",'
            f'"price":"{self._cents // 100}.{self._cents % 100:02d}"}}'
        )
        self._sent_at[self._number] = time.perf_counter()
        assert self.connection is not None
        self.connection.send([f'{{"id":{self._number},"method":"submit","params":{order}}}'.encode()])

    def _take(self, payload: bytes) -> None:
        answer = self._decoder.decode(payload)
        sent_at = self._sent_at.pop(answer.id, None)
        if sent_at is None:
            return
        if answer.error is None:
            self.accepted += 1
        else:
            self.refusals[answer.error.reason] += 1
            if not self._tripped:
                self._tripped = True
                self.trip_ms.append((time.perf_counter() - sent_at) * 1_000)
        self._send(self._account)
        if not self._sent_at:
            self._all_answered.set()


async def _rounds(desk: DeskProcess, rounds: int, progress: Callable[[str, float], None]) -> RunawayReport:
    burst, account, other = _Burst(desk), ACCOUNTS[0], ACCOUNTS[1]
    await burst.connect(account)
    accepted: list[int] = []
    violations: list[str] = []
    seconds = 0.0

    def order(who: str, client_order_id: str) -> int:
        body = {"symbol": REFERENCE, "side": "BUY", "type": "LIMIT", "account": who, "quantity": "0.001"}
        body |= {"price": "10000", "client_order_id": client_order_id}
        return desk.request("gateway", "POST", "/orders", body).status_code

    for number in range(rounds):
        progress(f"{len(violations)} violations", number / rounds)
        seconds += await burst.run(account)
        accepted.append(burst.accepted)
        if burst.accepted > REPEATED_ORDERS_MAX:
            violations.append(f"{burst.accepted} orders were taken, {REPEATED_ORDERS_MAX} are allowed")
        await asyncio.sleep(_WINDOW_SECONDS + 1)
        if order(account, f"alone-{number}") < 400:
            violations.append("the account traded again without anybody's leave")
        if order(other, f"other-{number}") >= 400:
            violations.append("another account was stopped, too")
        if desk.request("gateway", "DELETE", f"/orders?account={account}").status_code >= 400:
            violations.append("cancels of the stopped account were refused")
        answer = desk.request("risk", "POST", f"/accounts/{account}/reenable", {"note": "looked into"})
        if answer.status_code >= 400:
            violations.append(f"the account could not be let go: {answer.text}")
    progress("done", 1.0)
    if burst.connection is not None:
        burst.connection.close()
    trips = sorted(burst.trip_ms)
    return RunawayReport(
        rounds=rounds,
        sent=rounds * BURST_ORDERS,
        accepted=tuple(accepted),
        refusals=dict(burst.refusals),
        sent_a_second=round(rounds * BURST_ORDERS / seconds),
        trip_p50_ms=round(percentile(trips, 50), 2),
        trip_p99_ms=round(percentile(trips, 99), 2),
        violations=violations,
    )


def run_runaway(
    directory: Path, *, rounds: int, progress: Callable[[str, float], None] = lambda *_: None
) -> RunawayReport:
    """Run away ``rounds`` times on a desk in ``directory``."""
    limits = benchmark_settings(ACCOUNTS)["limits"]["*"] | {
        "repeated_orders_max": REPEATED_ORDERS_MAX,
        "repeated_order_window_seconds": _WINDOW_SECONDS,
    }
    config = write_fault_settings(directory / "desk.yml", limits={"*": limits})
    with DeskProcess(directory / "desk", config=str(config)) as desk:
        report: RunawayReport = uvloop.run(_rounds(desk, rounds, progress))
        desk.stop()
    return report
