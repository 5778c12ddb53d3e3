"""Order lists through the gateway: placed, cancelled and read, the same for REST and WebSocket."""

from __future__ import annotations

import secrets

import anyio
from msgspec import Struct

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.messages import CancelOrderList, SubmitOrderList
from polaris_synapse.domain.order_lists import ListKind, OrderList
from polaris_synapse.domain.orders import Order
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.entry import CANCELLING_ROLES, TRADING_ROLES, OrderEntry, the_account
from polaris_synapse.order_gateway.limits import RateLimiter, spend
from polaris_synapse.order_gateway.list_params import ListAnswer, ListParams, ListsAnswer, list_view, parse_list
from polaris_synapse.order_gateway.markets import Markets
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.order_gateway.tracker import OrderTracker
from polaris_synapse.order_gateway.viewing import order_view
from polaris_synapse.order_gateway.views import PendingAnswer
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError


class ListKey(Struct, frozen=True):
    """A list as a client names it: by the desk's id, or by the client's own id on an account."""

    list_id: int = 0
    client_list_id: str = ""
    account: str = ""


class ListEntry:
    """Takes lists from principals and answers with what risk decided."""

    def __init__(
        self,
        *,
        entry: OrderEntry,
        read_models: ReadModels,
        clock: Clock,
        markets: Markets,
        tracker: OrderTracker,
        limiter: RateLimiter,
        settings: GatewaySettings,
    ) -> None:
        self._entry = entry
        self._read_models = read_models
        self._clock = clock
        self._markets = markets
        self._tracker = tracker
        self._limiter = limiter
        self._settings = settings

    async def submit(
        self, principal: Principal, params: ListParams, *, wait_ms: int = 0
    ) -> tuple[int, ListAnswer | PendingAnswer]:
        """Place a list: 201 for a new one, 200 for one that existed, 202 where the outcome is not known.

        Each of its orders counts against the budget for orders. Raises ApiError.
        """
        principal.require(*TRADING_ROLES)
        account = the_account(principal, params.account)
        instrument = await self._markets.instrument(params.symbol)
        client_list_id = params.client_list_id or f"gw-{secrets.token_hex(12)}"
        request = parse_list(params, instrument, account=account, client_list_id=client_list_id)
        for _ in range(len(request.legs) - 1):
            await spend(self._limiter, self._settings.orders, principal.actor)
        command = SubmitOrderList(
            time_ns=self._clock.now_ns(),
            request_id=f"list-{secrets.token_hex(12)}",
            actor=principal.actor,
            order_list=request,
        )
        answer = await self._entry.ask("submit_list", principal, command)
        if answer.reason is Reason.TIMED_OUT:
            return 202, _pending(account, client_list_id)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        if answer.order_list is None:
            raise RuntimeError("risk answered a list without a list")
        # What waits for the working order is answered by no venue before that has filled.
        placed = len(answer.order_list.order_ids) if request.kind is ListKind.OCO else 1
        body = await self._answer(answer.order_list, wait_ms=wait_ms, waited=placed, duplicate=answer.duplicate)
        return (200 if answer.duplicate else 201), body

    async def cancel(
        self, principal: Principal, key: ListKey, *, wait_ms: int = 0
    ) -> tuple[int, ListAnswer | PendingAnswer]:
        """Cancel what is open of a list: 200, or 202 where the outcome is not known. Raises ApiError.

        ``wait_ms``: how long its orders may take to end.
        """
        principal.require(*CANCELLING_ROLES)
        found = await self._find(principal, key)
        command = CancelOrderList(
            time_ns=self._clock.now_ns(),
            request_id=f"list-{secrets.token_hex(12)}",
            actor=principal.actor,
            account=found.request.account,
            list_id=found.list_id,
        )
        answer = await self._entry.cancel_command("cancel_list", principal, command)
        if answer.reason is Reason.TIMED_OUT:
            return 202, _pending(found.request.account, found.request.client_list_id)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        cancelled = answer.order_list or found
        body = await self._answer(
            cancelled, wait_ms=wait_ms, waited=len(cancelled.order_ids), duplicate=answer.duplicate
        )
        return 200, body

    async def found(self, principal: Principal, key: ListKey) -> ListAnswer:
        """A list of the principal's. Raises ApiError."""
        return await self._answer(await self._find(principal, key))

    async def listing(
        self, principal: Principal, *, account: str, open_only: bool, limit: int, before_list_id: int
    ) -> ListsAnswer:
        """The principal's lists, newest first. Raises ApiError."""
        await self._entry.caught_up()
        accounts = principal.account_filter(account)
        found: list[OrderList] = []
        for name in (None,) if accounts is None else accounts:
            found += await self._read_models.order_lists(
                account=name, open_only=open_only, limit=limit, before_list_id=before_list_id
            )
        newest = sorted(found, key=lambda order_list: -order_list.list_id)[:limit]
        return ListsAnswer(order_lists=tuple(list_view(order_list) for order_list in newest))

    async def _find(self, principal: Principal, key: ListKey) -> OrderList:
        if key.account:
            principal.require_account(key.account)
        await self._entry.caught_up()
        # A client list id is unique on one account only.
        account = key.account or (None if key.list_id else the_account(principal, None))
        found = await self._read_models.order_list(
            account=account, list_id=key.list_id, client_list_id=key.client_list_id
        )
        if found is None or not principal.may_use(found.request.account):
            raise ApiError(Reason.ORDER_LIST_NOT_FOUND)
        return found

    async def _answer(
        self, order_list: OrderList, *, wait_ms: int = 0, waited: int = 0, duplicate: bool = False
    ) -> ListAnswer:
        """A list with its orders as they are now. The first ``waited`` of them may take ``wait_ms`` to be answered."""
        await self._entry.caught_up()
        account = order_list.request.account
        found = [await self._read_models.order(account=account, order_id=one) for one in order_list.order_ids]
        orders: list[Order] = [order for order in found if order is not None]
        if wait_ms and waited:
            async with anyio.create_task_group() as together:
                for order in orders[:waited]:
                    together.start_soon(self._tracker.settle, order, wait_ms)
            await self._entry.caught_up()
        newest = await self._read_models.order_list(account=account, list_id=order_list.list_id)
        instrument = await self._markets.instrument(order_list.request.legs[0].symbol)
        views = tuple(order_view(self._tracker.newest(order), instrument) for order in orders)
        return ListAnswer(order_list=list_view(newest or order_list), orders=views, duplicate=duplicate)


def _pending(account: str, client_list_id: str) -> PendingAnswer:
    """The outcome is not known, and where to ask for it."""
    return PendingAnswer(
        reason_code=int(Reason.TIMED_OUT),
        reason=Reason.TIMED_OUT.name,
        message="The answer took too long; ask for the list by its client list id.",
        account=account,
        client_order_id=client_list_id,
        link=f"/order-lists/by-client-id/{client_list_id}?account={account}",
    )
