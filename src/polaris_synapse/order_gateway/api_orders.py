"""Routes that place, change and cancel orders: the hot ones first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.answers import Outcome
from polaris_synapse.order_gateway.entry import CANCELLING_ROLES, TRADING_ROLES, OrderKey
from polaris_synapse.order_gateway.limits import spend
from polaris_synapse.order_gateway.order_params import (
    Account,
    BatchParams,
    ClientOrderId,
    OrderId,
    OrderParams,
    ReplaceParams,
    Symbol,
)
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.order_gateway.views import (
    BatchAnswer,
    BatchItem,
    CancelledAnswer,
    OrderAnswer,
    PendingAnswer,
    PreviewAnswer,
)
from polaris_synapse.web.bodies import (
    decode_json,
    encode_json,
    json_response,
    path_struct,
    query_struct,
    read_struct,
    refuse_body,
)
from polaris_synapse.web.direct import PlainRequest
from polaris_synapse.web.errors import ApiError, error_body, http_status
from polaris_synapse.web.routes import ApiRoute, api_route
from polaris_synapse.web.service import request_id_of

WaitMs = Annotated[int, Meta(ge=0, le=5_000, description="Wait until the venue has answered or the order has ended.")]


class WaitQuery(Struct, frozen=True, kw_only=True):
    """How long to wait for the venue's word; 0 answers at risk's durable verdict."""

    wait_ms: WaitMs = 0


class OrderQuery(Struct, frozen=True, kw_only=True):
    """The account of the order, and how long to wait."""

    account: Account | None = None
    wait_ms: WaitMs = 0


class AccountQuery(Struct, frozen=True, kw_only=True):
    """One account; absent: each that is yours."""

    account: Account | None = None


class CancelAllQuery(Struct, frozen=True, kw_only=True):
    """Which open orders to cancel; what is absent matches all."""

    account: Account | None = None
    symbol: Symbol | None = None
    side: Side | None = None


class OrderPath(Struct, frozen=True, kw_only=True):
    """An order by the desk's id."""

    order_id: OrderId


class ClientOrderPath(Struct, frozen=True, kw_only=True):
    """An order by the client's own id."""

    client_order_id: ClientOrderId


_LOOK_UP = (Reason.ORDER_NOT_FOUND, Reason.ACCOUNT_NOT_ALLOWED, Reason.NOT_READY)
_BUS = (Reason.OVERLOADED, Reason.SHUTTING_DOWN, Reason.JOURNAL_UNAVAILABLE)
_PENDING = {202: (PendingAnswer, "The outcome is not known yet: ask at the link.")}
#: What can be said of any order; each stands for its status's family of refusals.
_ORDER_REFUSALS = (
    *(reason for reason in Reason if 2000 <= reason < 3000),
    Reason.SYMBOL_NOT_FOUND,
    Reason.NOT_READY,
    Reason.ACCOUNT_NOT_FOUND,
    Reason.ACCOUNT_NOT_ALLOWED,
    Reason.CONTRADICTORY_FIELDS,
    Reason.VENUE_NOT_CONFIGURED,
    Reason.REAL_TRADING_DISABLED,
    *_BUS,
)

_KeyReader = Callable[[Request, str], OrderKey]


def _by_id(request: Request, account: str) -> OrderKey:
    return OrderKey(order_id=path_struct(request, OrderPath).order_id, account=account)


def _by_client_id(request: Request, account: str) -> OrderKey:
    return OrderKey(client_order_id=path_struct(request, ClientOrderPath).client_order_id, account=account)


class _Orders:
    """The endpoints."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self._authenticate = service.authenticator.authenticate
        self._answers = service.answers

    async def submit(self, request: Request) -> Response:
        principal = await self._authenticate(request)
        query = query_struct(request, WaitQuery)
        params = await read_struct(request, OrderParams)
        outcome = await self._answers.submit(principal, params, wait_ms=query.wait_ms, entry="rest")
        return json_response(outcome.body, outcome.status)

    def submit_directly(self, request: PlainRequest, done: Callable[[tuple[int, bytes] | Exception], None]) -> bool:
        """``submit`` of a plain request at risk's verdict."""
        principal = self._service.authenticator.holder_now(request.token)
        if principal is None:
            return False
        params = decode_json(request.body, OrderParams)

        def answered(outcome: Outcome | Exception) -> None:
            done(outcome if isinstance(outcome, Exception) else (outcome.status, encode_json(outcome.body)))

        return self._answers.submit_soon(principal, params, answered, entry="rest") is not None

    async def submit_batch(self, request: Request) -> Response:
        principal = await self._authenticate(request)
        principal.require(*TRADING_ROLES)
        params = await read_struct(request, BatchParams)
        outcomes = await self._answers.submit_batch(principal, params.orders)
        request_id = request_id_of(request)
        return json_response(BatchAnswer(results=[_batch_item(outcome, request_id) for outcome in outcomes]))

    async def preview(self, request: Request) -> Response:
        principal = await self._authenticate(request)
        principal.require(*TRADING_ROLES)
        await spend(self._service.limiter, self._service.settings.reads, principal.actor)
        params = await read_struct(request, OrderParams)
        return json_response(await self._service.reads.preview(principal, params))

    async def cancel_all(self, request: Request) -> Response:
        principal = await self._authenticate(request)
        query = query_struct(request, CancelAllQuery)
        await refuse_body(request)
        return json_response(
            await self._answers.cancel_all(
                principal, account=query.account or "", symbol=query.symbol or "", side=query.side
            )
        )

    def cancel(self, read_key: _KeyReader) -> Callable[[Request], Awaitable[Response]]:
        async def cancel(request: Request) -> Response:
            principal = await self._authenticate(request)
            query = query_struct(request, OrderQuery)
            await refuse_body(request)
            key = read_key(request, query.account or "")
            outcome = await self._answers.cancel(principal, key, wait_ms=query.wait_ms)
            return json_response(outcome.body, outcome.status)

        return cancel

    def replace(self, read_key: _KeyReader) -> Callable[[Request], Awaitable[Response]]:
        async def replace(request: Request) -> Response:
            principal = await self._authenticate(request)
            query = query_struct(request, WaitQuery)
            params = await read_struct(request, ReplaceParams)
            key = read_key(request, params.account or "")
            outcome = await self._answers.replace(principal, key, params, wait_ms=query.wait_ms)
            return json_response(outcome.body, outcome.status)

        return replace

    def get(self, read_key: _KeyReader) -> Callable[[Request], Awaitable[Response]]:
        async def get(request: Request) -> Response:
            principal = await self._authenticate(request)
            await spend(self._service.limiter, self._service.settings.reads, principal.actor)
            query = query_struct(request, AccountQuery)
            key = read_key(request, query.account or "")
            return json_response(await self._answers.found(principal, key))

        return get


def _batch_item(outcome: Outcome | ApiError, request_id: str) -> BatchItem:
    if isinstance(outcome, ApiError):
        body = error_body(outcome.reason, outcome.detail, request_id=request_id)
        return BatchItem(status=http_status(outcome.reason), error=body)
    if isinstance(outcome.body, PendingAnswer):
        return BatchItem(status=outcome.status, pending=outcome.body)
    assert isinstance(outcome.body, OrderAnswer), "only the order port asks for answers in few words"
    return BatchItem(status=outcome.status, result=outcome.body)


def order_routes(service: GatewayService) -> list[ApiRoute]:
    """POST, PATCH and DELETE of orders, and one order by either id."""
    orders = _Orders(service)
    routes = [
        api_route("POST", "/orders", orders.submit, summary="Place an order.", tag="Orders", body=OrderParams,
                  query=WaitQuery, response=OrderAnswer, status=201,
                  description="The same client_order_id again answers with the order that it made, and places nothing.",
                  also={200: (OrderAnswer, "The order existed already."), **_PENDING}, reasons=_ORDER_REFUSALS,
                  roles=TRADING_ROLES, direct=orders.submit_directly),
        api_route("POST", "/orders/batch", orders.submit_batch, summary="Place up to 100 orders in one request.",
                  tag="Orders", body=BatchParams, response=BatchAnswer, roles=TRADING_ROLES,
                  description="Each order is judged on its own, in the order given, and each counts against the budget "
                  "for orders. The answer is 200 once every verdict is durable; an item's status is the one that its "
                  "order alone would have had. A body that is malformed anywhere places nothing."),
        api_route("DELETE", "/orders", orders.cancel_all, summary="Cancel all open orders that match.", tag="Orders",
                  query=CancelAllQuery, response=CancelledAnswer, reasons=(Reason.ACCOUNT_NOT_ALLOWED, *_BUS,
                  Reason.TIMED_OUT), roles=CANCELLING_ROLES),
        api_route("POST", "/orders/preview", orders.preview, summary="What an order would cost; places nothing.",
                  tag="Orders", body=OrderParams, response=PreviewAnswer, reasons=_ORDER_REFUSALS,
                  roles=TRADING_ROLES),
    ]  # fmt: skip
    for path, path_type, read_key in (
        ("/orders/{order_id}", OrderPath, _by_id),
        ("/orders/by-client-id/{client_order_id}", ClientOrderPath, _by_client_id),
    ):
        routes += [
            api_route("GET", path, orders.get(read_key), summary="One order.", tag="Orders",
                      path_parameters=path_type, query=AccountQuery, response=OrderAnswer, reasons=_LOOK_UP),
            api_route("DELETE", path, orders.cancel(read_key), summary="Cancel one order.", tag="Orders",
                      path_parameters=path_type, query=OrderQuery, response=OrderAnswer, also=_PENDING,
                      reasons=(*_LOOK_UP, Reason.ORDER_NOT_OPEN, *_BUS), roles=CANCELLING_ROLES),
            api_route("PATCH", path, orders.replace(read_key), summary="Change an open order.", tag="Orders",
                      path_parameters=path_type, query=WaitQuery, body=ReplaceParams, response=OrderAnswer,
                      also=_PENDING, reasons=(*_LOOK_UP, *_ORDER_REFUSALS), roles=TRADING_ROLES),
        ]  # fmt: skip
    return routes
