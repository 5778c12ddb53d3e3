"""The checks of a deployment, each one behaviour that somebody relies on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from msgspec import Struct

from polaris_synapse.testing.deployment.load import middle_of_market
from polaris_synapse.testing.deployment.target import PaperAccount, RefusedError, Target, TargetError
from polaris_synapse.testing.order_load import REFERENCE

_SERVICES: Final = ("gateway", "compliance", "llm_agents", "market_data", "risk", "matching", "execution")
_UNAUTHENTICATED: Final = 401


class CheckResult(Struct, frozen=True, kw_only=True):
    """One check. ``problem`` is empty where it passed."""

    name: str
    milliseconds: float
    problem: str = ""


class CheckFailedError(AssertionError):
    """The deployment does not behave as it should; the message says how."""


Check = tuple[str, Callable[[], object]]


def run_checks(checks: Iterator[Check], said: Callable[[CheckResult], None]) -> list[CheckResult]:
    """Run every check, whatever became of the ones before."""
    results = []
    for name, check in checks:
        began = time.perf_counter()
        problem = ""
        try:
            check()
        except (CheckFailedError, RefusedError, TargetError) as error:
            problem = str(error)
        result = CheckResult(name=name, milliseconds=round((time.perf_counter() - began) * 1000, 1), problem=problem)
        said(result)
        results.append(result)
    return results


def quick_checks(target: Target) -> Iterator[Check]:
    """Reads only: every service lives and is ready, figures and books are there, strangers are refused."""
    for service in _SERVICES:
        yield f"{service} is ready", partial(_ready, target, service)
    for service in _SERVICES:
        yield f"{service} has figures", partial(_figures, target, service)
    yield "a stranger is refused", partial(_stranger, target)
    yield "prices are fresh", partial(middle_of_market, target)
    yield "no circuit breaker is open", partial(_breakers, target)
    yield "the audit log verifies", partial(_audit, target)


def order_checks(target: Target, account: PaperAccount) -> Iterator[Check]:
    """An order's life on a paper account: placed, found, repeated without effect, cancelled; nonsense refused."""
    life = _OrderLife(target, account)
    yield "an order is placed", life.place
    yield "it can be read back", life.read
    yield "the same order again is the same order", life.repeat
    yield "it is cancelled", life.cancel
    yield "an order beyond the account's funds is refused", life.too_large
    yield "another account's orders are not shown", life.elsewhere


class _OrderLife:
    def __init__(self, target: Target, account: PaperAccount) -> None:
        self._target = target
        self._headers = {"authorization": f"Bearer {account.tokens[0]}"}
        self._account = account.name
        self._order_id = 0

    def _body(self, client_order_id: str, quantity: str) -> dict[str, str]:
        # A percent under the market: it rests, and stays within any price collar.
        cents = middle_of_market(self._target) * 99 // 100
        return {
            "account": self._account, "client_order_id": f"{self._account}-{client_order_id}", "symbol": REFERENCE,
            "side": "BUY", "type": "LIMIT", "quantity": quantity, "price": f"{cents // 100}.{cents % 100:02d}",
        }  # fmt: skip

    def _ask(self, method: str, target: str, body: object | None = None) -> Any:
        answer = self._target.request("gateway", method, target, body, headers=self._headers)
        if not answer.is_success:
            raise CheckFailedError(f"{method} {target}: HTTP {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    def place(self) -> None:
        self._placed = self._body("life", "0.001")
        order = self._ask("POST", "/orders?wait_ms=5000", self._placed)["order"]
        self._order_id = order["order_id"]
        _expect(order["open"] is True, f"the order is {order['state']}: {order['message']}")

    def read(self) -> None:
        order = self._ask("GET", f"/orders/{self._order_id}")["order"]
        _expect(order["client_order_id"] == self._placed["client_order_id"], "another order was found by its id")

    def repeat(self) -> None:
        order = self._ask("POST", "/orders?wait_ms=5000", self._placed)["order"]
        _expect(order["order_id"] == self._order_id, "the same client order id made a second order")

    def cancel(self) -> None:
        order = self._ask("DELETE", f"/orders/{self._order_id}?wait_ms=5000")["order"]
        _expect(order["open"] is False, f"after its cancel the order is {order['state']}")

    def too_large(self) -> None:
        body = self._body("large", "1000")
        answer = self._target.request("gateway", "POST", "/orders?wait_ms=5000", body, headers=self._headers)
        _expect(not answer.is_success, "an order of a thousand coins was taken")
        _expect("reason" in answer.text, "the refusal names no reason")

    def elsewhere(self) -> None:
        answer = self._target.request("gateway", "GET", "/orders?account=main", headers=self._headers)
        _expect(not answer.is_success, "a user of one account may read another's orders")


def _ready(target: Target, service: str) -> None:
    answer = target.request(service, "GET", "/ready", headers={"accept": "*/*"})
    _expect(answer.is_success, f"HTTP {answer.status_code}: {answer.text[:300]}")


def _figures(target: Target, service: str) -> None:
    answer = target.request(service, "GET", "/metrics", headers={"accept": "*/*"})
    _expect(answer.is_success and "polaris_http_requests_total" in answer.text, "GET /metrics has no figures")


def _stranger(target: Target) -> None:
    answer = target.request("gateway", "GET", "/orders", headers={"accept": "*/*"})
    _expect(answer.status_code == _UNAUTHENTICATED, f"without credentials the answer is HTTP {answer.status_code}")


def _breakers(target: Target) -> None:
    state = target.json("risk", "GET", "/circuit-breaker")
    tripped = [breaker["scope"] for breaker in state["tripped"]]
    _expect(not tripped, f"open: {', '.join(tripped)}")


def _audit(target: Target) -> None:
    report = target.json("compliance", "GET", "/audit/verify")
    _expect(report["valid"] is True, f"the verification says: {str(report)[:300]}")


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise CheckFailedError(otherwise)
