"""Routes of order lists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.api_orders import AccountQuery, OrderQuery, WaitQuery
from polaris_synapse.order_gateway.entry import CANCELLING_ROLES, TRADING_ROLES
from polaris_synapse.order_gateway.limits import spend
from polaris_synapse.order_gateway.list_entry import ListKey
from polaris_synapse.order_gateway.list_params import ClientListId, ListAnswer, ListId, ListParams, ListsAnswer
from polaris_synapse.order_gateway.order_params import Account
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.order_gateway.views import PendingAnswer
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct, refuse_body
from polaris_synapse.web.routes import ApiRoute, api_route


class ListPath(Struct, frozen=True, kw_only=True):
    """A list by the desk's id."""

    list_id: ListId


class ClientListPath(Struct, frozen=True, kw_only=True):
    """A list by the client's own id."""

    client_list_id: ClientListId


class ListsQuery(Struct, frozen=True, kw_only=True):
    """Which lists, newest first."""

    account: Account | None = None
    open_only: bool = False
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 100
    before_list_id: Annotated[int, Meta(ge=0, le=2**53)] = 0


_LOOK_UP = (Reason.ORDER_LIST_NOT_FOUND, Reason.ACCOUNT_NOT_ALLOWED, Reason.NOT_READY)
_PENDING = {202: (PendingAnswer, "The outcome is not known yet: ask at the link.")}
_BUS = (Reason.OVERLOADED, Reason.SHUTTING_DOWN, Reason.JOURNAL_UNAVAILABLE)
_REFUSALS = (
    *(reason for reason in Reason if 2000 <= reason < 3000),
    Reason.SYMBOL_NOT_FOUND,
    Reason.ACCOUNT_NOT_FOUND,
    Reason.ACCOUNT_NOT_ALLOWED,
    Reason.CONTRADICTORY_FIELDS,
    Reason.NOT_READY,
    *_BUS,
)
_KeyReader = Callable[[Request, str], ListKey]


def _by_id(request: Request, account: str) -> ListKey:
    return ListKey(list_id=path_struct(request, ListPath).list_id, account=account)


def _by_client_id(request: Request, account: str) -> ListKey:
    return ListKey(client_list_id=path_struct(request, ClientListPath).client_list_id, account=account)


class _Lists:
    """The endpoints."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self._authenticate = service.authenticator.authenticate

    async def submit(self, request: Request) -> Response:
        principal = await self._authenticate(request)
        principal.require(*TRADING_ROLES)
        query = query_struct(request, WaitQuery)
        params = await read_struct(request, ListParams)
        status, body = await self._service.lists.submit(principal, params, wait_ms=query.wait_ms)
        return json_response(body, status)

    async def listing(self, request: Request) -> Response:
        principal = await self._authenticate(request)
        await spend(self._service.limiter, self._service.settings.reads, principal.actor)
        query = query_struct(request, ListsQuery)
        body = await self._service.lists.listing(
            principal,
            account=query.account or "",
            open_only=query.open_only,
            limit=query.limit,
            before_list_id=query.before_list_id,
        )
        return json_response(body)

    def get(self, read_key: _KeyReader) -> Callable[[Request], Awaitable[Response]]:
        async def get(request: Request) -> Response:
            principal = await self._authenticate(request)
            await spend(self._service.limiter, self._service.settings.reads, principal.actor)
            key = read_key(request, query_struct(request, AccountQuery).account or "")
            return json_response(await self._service.lists.found(principal, key))

        return get

    def cancel(self, read_key: _KeyReader) -> Callable[[Request], Awaitable[Response]]:
        async def cancel(request: Request) -> Response:
            principal = await self._authenticate(request)
            principal.require(*CANCELLING_ROLES)
            query = query_struct(request, OrderQuery)
            await refuse_body(request)
            key = read_key(request, query.account or "")
            status, body = await self._service.lists.cancel(principal, key, wait_ms=query.wait_ms)
            return json_response(body, status)

        return cancel


def list_routes(service: GatewayService) -> list[ApiRoute]:
    """POST and GET of lists, and one list by either id."""
    lists = _Lists(service)
    routes = [
        api_route("POST", "/order-lists", lists.submit, summary="Place an OCO, OTO or OTOCO list.", tag="Orders",
                  body=ListParams, query=WaitQuery, response=ListAnswer, status=201,
                  description="All of its orders are checked before any is placed. The same client_list_id again "
                  "answers with the list that it made, and places nothing.",
                  also={200: (ListAnswer, "The list existed already."), **_PENDING},
                  reasons=_REFUSALS, roles=TRADING_ROLES),
        api_route("GET", "/order-lists", lists.listing, summary="Order lists, newest first.", tag="Orders",
                  query=ListsQuery, response=ListsAnswer, reasons=(Reason.ACCOUNT_NOT_ALLOWED, Reason.NOT_READY)),
    ]  # fmt: skip
    for path, path_type, read_key in (
        ("/order-lists/{list_id}", ListPath, _by_id),
        ("/order-lists/by-client-id/{client_list_id}", ClientListPath, _by_client_id),
    ):
        routes += [
            api_route("GET", path, lists.get(read_key), summary="One order list and its orders.", tag="Orders",
                      path_parameters=path_type, query=AccountQuery, response=ListAnswer, reasons=_LOOK_UP),
            api_route("DELETE", path, lists.cancel(read_key), summary="Cancel what is open of a list.", tag="Orders",
                      path_parameters=path_type, query=OrderQuery, response=ListAnswer, also=_PENDING,
                      reasons=(*_LOOK_UP, Reason.ORDER_NOT_OPEN, *_BUS), roles=CANCELLING_ROLES),
        ]  # fmt: skip
    return routes
