"""From risk's verdicts to what clients read: the same for REST and WebSocket."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import partial

import msgspec
from msgspec import Struct

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.orders import Order, Side
from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.order_gateway.brief import BriefAnswer, brief_answer
from polaris_synapse.order_gateway.entry import OrderEntry, OrderKey, the_account
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.order_params import OrderParams, ReplaceParams
from polaris_synapse.order_gateway.tracker import OrderTracker
from polaris_synapse.order_gateway.viewing import execution_view, order_view
from polaris_synapse.order_gateway.views import CancelledAnswer, OrderAnswer, PendingAnswer
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError


class Outcome(Struct, frozen=True):
    """A body and its HTTP status, and the account it was about."""

    status: int
    body: OrderAnswer | PendingAnswer | BriefAnswer
    account: str


#: Called once with a body and its status; or with what it is refused for: an ApiError, or a bug.
OutcomeDone = Callable[[Outcome | Exception], None]


class Answers:
    """Sends commands through order entry and writes the answers for clients. Refusals are raised as ApiError."""

    def __init__(self, entry: OrderEntry, markets: Markets, tracker: OrderTracker) -> None:
        self._entry = entry
        self.markets = markets
        self._tracker = tracker

    async def submit(self, principal: Principal, params: OrderParams, *, wait_ms: int, entry: str) -> Outcome:
        """201 for a new order, 200 for one that existed, 202 where the outcome is not known yet."""
        params = _named(params)
        answer = await self._entry.submit(principal, params, entry=entry)
        account = the_account(principal, params.account)
        key = OrderKey(0, params.client_order_id or "", account)
        return await self._outcome(answer, key, wait_ms, fresh_status=201)

    def submit_soon(
        self, principal: Principal, params: OrderParams, done: OutcomeDone, *, entry: str, brief: bool = False
    ) -> str | None:
        """``submit`` at risk's verdict, without a coroutine. Returns the account that the order is for.

        ``brief``: a BriefAnswer for an order that was taken, at a tenth of the price of the whole order.

        None: something has to be waited for before the order can be sent, so use ``submit``; nothing was done. Raises
        ApiError where the order never reaches risk; ``done`` is not called then.
        """
        params = _named(params)

        def answered(answer: Answer) -> None:
            try:
                key = OrderKey(0, params.client_order_id or "", account or "")
                outcome: Outcome | Exception = self._outcome_now(answer, key, fresh_status=201, brief=brief)
            except Exception as error:  # handed on: the caller tells refusals from bugs
                outcome = error
            done(outcome)

        account = self._entry.submit_soon(principal, params, answered, entry=entry)
        return account

    async def submit_batch(self, principal: Principal, batch: Sequence[OrderParams]) -> list[Outcome | ApiError]:
        """Each order's own outcome, in their order. Those that reach risk share a commit where there is room."""
        outcomes: list[Outcome | Exception | None] = [None] * len(batch)
        all_there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = len(batch)

        def arrived(place: int, outcome: Outcome | Exception) -> None:
            nonlocal waiting
            outcomes[place] = outcome
            waiting -= 1
            if not waiting and not all_there.done():
                all_there.set_result(None)

        for place, params in enumerate(batch):
            try:
                done = partial(arrived, place)
                if self.submit_soon(principal, params, done, entry="batch") is None:
                    arrived(place, await self.submit(principal, params, wait_ms=0, entry="batch"))
            except ApiError as error:
                arrived(place, error)
        if waiting:
            await all_there
        found: list[Outcome | ApiError] = []
        for outcome in outcomes:
            if not isinstance(outcome, Outcome | ApiError):
                raise outcome or RuntimeError("an order of a batch has no outcome")
            found.append(outcome)
        return found

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
        answer = await self._entry.cancel_all(
            principal, account=account, reason=Reason.CANCELLED_ON_DISCONNECT, metered=False
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)

    async def settled(self, principal: Principal, key: OrderKey, *, wait_ms: int) -> Outcome:
        """An order of the principal's, waited for as a submission of it would be."""
        order = await self._entry.find(principal, key)
        await self.markets.instrument(order.request.symbol)
        await self._tracker.settle(order, wait_ms)
        return self._outcome_now(Answer(time_ns=0, request_id="", order=order), key, fresh_status=200)

    async def found(self, principal: Principal, key: OrderKey) -> OrderAnswer:
        """An order of the principal's."""
        order = await self._entry.find(principal, key)
        return self._order_answer(order, await self.markets.instrument(order.request.symbol))

    async def _outcome(self, answer: Answer, key: OrderKey, wait_ms: int, *, fresh_status: int = 200) -> Outcome:
        order = answer.order
        if order is not None and answer.reason is Reason.NONE:
            # Its instrument was read when it was parsed, but by another process where the order is an old one.
            await self.markets.instrument(order.request.symbol)
            if wait_ms and order.order_id:
                await self._tracker.settle(order, wait_ms)
        return self._outcome_now(answer, key, fresh_status=fresh_status)

    def _outcome_now(self, answer: Answer, key: OrderKey, *, fresh_status: int, brief: bool = False) -> Outcome:
        """What an answer means to the client, with the order as it is known now. Raises ApiError for a refusal."""
        if answer.reason is Reason.TIMED_OUT:
            return Outcome(202, _pending(key), key.account)
        if answer.approval_id:
            return Outcome(202, _held(answer, key), key.account)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        if answer.order is None:
            raise RuntimeError("risk answered an order command without an order")
        order = self._tracker.newest(answer.order)
        instrument = self.markets.known(order.request.symbol)
        if instrument is None:
            raise RuntimeError(f"{order.request.symbol} was read before and is not known now")
        body: OrderAnswer | BriefAnswer
        if brief:
            body = brief_answer(order, instrument, duplicate=answer.duplicate)
        else:
            body = self._order_answer(order, instrument, duplicate=answer.duplicate)
        return Outcome(200 if answer.duplicate else fresh_status, body, order.request.account)

    def _order_answer(self, order: Order, instrument: Instrument, *, duplicate: bool = False) -> OrderAnswer:
        fills = tuple(
            execution_view(fill, instrument, self.markets.asset(fill.fill.fee_asset))
            for fill in self._tracker.fills(order.order_id)
        )
        return OrderAnswer(order=order_view(order, instrument), duplicate=duplicate, fills=fills)


def _named(params: OrderParams) -> OrderParams:
    """The same order with a client order id, made up where there is none: it is how the order is asked for later."""
    if params.client_order_id is not None:
        return params
    return msgspec.structs.replace(params, client_order_id=f"gw-{secrets.token_hex(12)}")


def _held(answer: Answer, key: OrderKey) -> PendingAnswer:
    """An agent's order that waits for a person's approval."""
    return PendingAnswer(
        reason_code=int(answer.reason),
        reason=answer.reason.name,
        message=answer.detail,
        account=key.account,
        client_order_id=key.client_order_id,
        link=f"/approvals/{answer.approval_id}",
        approval_id=answer.approval_id,
    )


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
