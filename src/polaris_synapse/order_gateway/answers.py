"""From risk's verdicts to what clients read: the same for REST and WebSocket."""

from __future__ import annotations

import secrets

import msgspec
from msgspec import Struct

from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.orders import Order, Side
from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.order_gateway.entry import OrderEntry, OrderKey, the_account
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.order_params import OrderParams, ReplaceParams
from polaris_synapse.order_gateway.tracker import OrderTracker
from polaris_synapse.order_gateway.views import (
    CancelledAnswer,
    OrderAnswer,
    PendingAnswer,
    execution_view,
    order_view,
)
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError


class Outcome(Struct, frozen=True):
    """A body and its HTTP status, and the account it was about."""

    status: int
    body: OrderAnswer | PendingAnswer
    account: str


class Answers:
    """Sends commands through order entry and writes the answers for clients. Refusals are raised as ApiError."""

    def __init__(self, entry: OrderEntry, markets: Markets, tracker: OrderTracker) -> None:
        self._entry = entry
        self.markets = markets
        self._tracker = tracker

    async def submit(self, principal: Principal, params: OrderParams, *, wait_ms: int, entry: str) -> Outcome:
        """201 for a new order, 200 for one that existed, 202 where the outcome is not known yet."""
        if params.client_order_id is None:
            params = msgspec.structs.replace(params, client_order_id=f"gw-{secrets.token_hex(12)}")
        answer = await self._entry.submit(principal, params, entry=entry)
        account = the_account(principal, params.account)
        key = OrderKey(0, params.client_order_id or "", account)
        return await self._outcome(answer, key, wait_ms, fresh_status=201)

    async def cancel(self, principal: Principal, key: OrderKey, *, wait_ms: int) -> Outcome:
        """The order that is being cancelled."""
        return await self._outcome(await self._entry.cancel(principal, key), key, wait_ms)

    async def replace(self, principal: Principal, key: OrderKey, params: ReplaceParams, *, wait_ms: int) -> Outcome:
        """The order that is being changed."""
        return await self._outcome(await self._entry.replace(principal, key, params), key, wait_ms)

    async def cancel_all(
        self, principal: Principal, *, account: str, symbol: str, side: Side | None
    ) -> CancelledAnswer:
        """The orders that are being cancelled."""
        answer = await self._entry.cancel_all(principal, account=account, symbol=symbol, side=side)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return CancelledAnswer(order_ids=answer.order_ids)

    async def cancel_on_disconnect(self, principal: Principal, account: str) -> None:
        """Cancel every open order of an account whose connection ended. Raises ApiError."""
        answer = await self._entry.cancel_all(principal, account=account, reason=Reason.CANCELLED_ON_DISCONNECT)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)

    async def found(self, principal: Principal, key: OrderKey) -> OrderAnswer:
        """An order of the principal's."""
        return await self._order_answer(await self._entry.find(principal, key))

    async def _outcome(self, answer: Answer, key: OrderKey, wait_ms: int, *, fresh_status: int = 200) -> Outcome:
        if answer.reason is Reason.TIMED_OUT:
            return Outcome(202, _pending(key), key.account)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        if answer.order is None:
            raise RuntimeError("risk answered an order command without an order")
        order = answer.order
        if order.order_id:
            order = await self._tracker.settle(order, wait_ms)
        body = await self._order_answer(order, duplicate=answer.duplicate)
        return Outcome(200 if answer.duplicate else fresh_status, body, order.request.account)

    async def _order_answer(self, order: Order, *, duplicate: bool = False) -> OrderAnswer:
        instrument = await self.markets.instrument(order.request.symbol)
        fills = tuple(
            execution_view(fill, instrument, self.markets.asset(fill.fill.fee_asset))
            for fill in self._tracker.fills(order.order_id)
        )
        return OrderAnswer(order=order_view(order, instrument), duplicate=duplicate, fills=fills)


def _pending(key: OrderKey) -> PendingAnswer:
    path = f"/orders/{key.order_id}" if key.order_id else f"/orders/by-client-id/{key.client_order_id}"
    return PendingAnswer(
        reason_code=int(Reason.TIMED_OUT),
        reason=Reason.TIMED_OUT.name,
        message=explain(Reason.TIMED_OUT),
        account=key.account,
        client_order_id=key.client_order_id,
        link=f"{path}?account={key.account}" if key.account else path,
    )
