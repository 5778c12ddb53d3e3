"""Receipts over HTTP: gathered from the desk's records when they are asked for, and signed."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.agents.authority import Authority
from polaris_synapse.agents.receipts import Receipt, Signer, Sources, make_receipt
from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import Approval, ExecutionRecorded
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.port import ReadModels, ReadModelsLagError
from polaris_synapse.web.authentication import Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

FILLS_MAX: Final = 1_000
_DECISION: Final = re.compile(r"D\d+-\d+")
_REQUEST: Final = re.compile(r"A(\d+(?:-\d+)?)")


class ReceiptPath(Struct, frozen=True):
    """What a receipt is about: a decision (``D0-12``), a request for approval (``A3``), or an order (``1024``)."""

    receipt_id: Annotated[str, Meta(pattern=r"^(D\d{1,9}-\d{1,18}|A\d{1,18}(-\d{1,4})?|\d{1,18})$")]


class _NoParameters(Struct, frozen=True):
    """A query without parameters."""


class Receipts:
    """Gathers and signs receipts. ``signing``: the key's id and what signs with it, or None where there is no key."""

    def __init__(
        self,
        reads: ReadModels,
        authority: Authority,
        clock: Clock,
        signing: Callable[[], tuple[str, Signer] | None],
    ) -> None:
        self._reads = reads
        self._authority = authority
        self._clock = clock
        self._signing = signing

    async def receipt(self, principal: Principal, receipt_id: str) -> Receipt:
        """The receipt of a decision, a request or an order. Raises ApiError(NOT_FOUND), also for somebody else's."""
        try:
            await self._reads.caught_up()
        except ReadModelsLagError as error:
            raise ApiError(Reason.NOT_READY, str(error), headers={"retry-after": "1"}) from None
        sources = await self._sources(receipt_id)
        if sources is None or not principal.may_use(sources.account):
            raise ApiError(Reason.NOT_FOUND, f"There is nothing of yours to give a receipt for: {receipt_id}.")
        if principal.role is Role.AGENT and sources.actor not in {principal.actor, f"agent:{principal.name}"}:
            raise ApiError(Reason.NOT_FOUND, f"There is nothing of yours to give a receipt for: {receipt_id}.")
        signing = self._signing()
        key_id, sign = signing if signing is not None else ("", None)
        return make_receipt(sources, now_ns=self._clock.now_ns(), key_id=key_id, sign=sign)

    async def _sources(self, receipt_id: str) -> Sources | None:
        if _DECISION.fullmatch(receipt_id):
            return await self._of_decision(receipt_id)
        request = _REQUEST.fullmatch(receipt_id)
        if request is not None:
            approval = await self._authority.approval(request.group(1))
            if approval is None:
                return None
            order = await self._reads.order(account=None, order_id=approval.order_id) if approval.order_id else None
            return await self._of_order(receipt_id, order, (approval,))
        order = await self._reads.order(account=None, order_id=int(receipt_id))
        if order is None:
            return None
        found = await self._authority.approvals_of_order(order.request.account, order.request.client_order_id)
        approvals = tuple(one for one in found if one.order_id == order.order_id)
        return await self._of_order(receipt_id, order, approvals)

    async def _of_decision(self, decision_id: str) -> Sources | None:
        decision = await self._reads.decision(decision_id)
        if decision is None:
            return None
        wanted = decision.order
        held = await self._authority.approvals_of_order(wanted.account, wanted.client_order_id) if wanted else []
        approvals = tuple(one for one in held if one.order == wanted)
        order = await self._reads.order(account=None, order_id=decision.order_id) if decision.order_id else None
        orders = (order,) if order is not None else ()
        return Sources(
            receipt_id=decision_id,
            account=decision.account,
            decision=decision,
            order=decision.order,
            actor=f"agent:{decision.agent}",
            approvals=approvals,
            orders=orders,
            fills=await self._fills(orders),
        )

    async def _of_order(self, receipt_id: str, order: Order | None, approvals: tuple[Approval, ...]) -> Sources | None:
        request = order.request if order is not None else approvals[0].order
        orders = (order,) if order is not None else ()
        actor = approvals[0].actor if approvals else ""
        return Sources(
            receipt_id=receipt_id,
            account=request.account,
            decision=None,
            order=request,
            actor=actor,
            approvals=approvals,
            orders=orders,
            fills=await self._fills(orders),
        )

    async def _fills(self, orders: tuple[Order, ...]) -> tuple[ExecutionRecorded, ...]:
        found = [
            fill
            for order in orders
            for fill in await self._reads.executions(account=None, order_id=order.order_id, limit=FILLS_MAX)
        ]
        return tuple(sorted(found, key=lambda fill: (fill.time_ns, fill.execution_id)))


def receipt_routes(receipts: Receipts, authenticator: Authenticator) -> list[ApiRoute]:
    """``GET /receipts/{receipt_id}``."""

    async def show(request: Request) -> Response:
        principal = await authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        return json_response(await receipts.receipt(principal, path_struct(request, ReceiptPath).receipt_id))

    return [
        api_route("GET", "/receipts/{receipt_id}", show, summary="An order from its facts to its fills.",
                  tag="Receipts", path_parameters=ReceiptPath, response=Receipt,
                  reasons=(Reason.NOT_FOUND, Reason.NOT_READY)),
    ]  # fmt: skip
