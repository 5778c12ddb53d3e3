"""Routes that read, and the one that moves paper money."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

import polaris_synapse
from polaris_synapse.domain.messages import DecisionRecorded, MoveFunds
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway import viewing, views
from polaris_synapse.order_gateway.limits import spend
from polaris_synapse.order_gateway.order_params import FUNDS_UNITS_MAX, Account, Symbol
from polaris_synapse.order_gateway.order_parsing import parse_decimal
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

Q = TypeVar("Q")

Limit = Annotated[int, Meta(ge=1, le=1_000)]
BeforeId = Annotated[int, Meta(ge=0, le=2**53, description="Only older ones; 0: from the newest.")]
BeforeTime = Annotated[int, Meta(ge=0, le=2**63 - 1, description="Only older ones, ns since 1970; 0: from the newest.")]
Reference = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}(?!\n)$", max_length=64)]
AssetCode = Annotated[str, Meta(pattern=r"^[A-Z0-9]{2,12}(?!\n)$", max_length=12)]
SignedDecimal = Annotated[
    str,
    Meta(
        max_length=40,
        extra_json_schema={"pattern": r"^-?[0-9]{1,30}(\.[0-9]{1,18})?$", "examples": ["5000", "-0.5"]},
    ),
]


class NoQuery(Struct, frozen=True, kw_only=True):
    """No parameters."""


class AccountOnly(Struct, frozen=True, kw_only=True):
    """One account; absent: each that is yours."""

    account: Account | None = None


class OrdersQuery(Struct, frozen=True, kw_only=True):
    """Which orders, newest first."""

    account: Account | None = None
    symbol: Symbol | None = None
    open_only: bool = False
    limit: Limit = 100
    before_order_id: BeforeId = 0


class OpenOrdersQuery(Struct, frozen=True, kw_only=True):
    """Which open orders, newest first."""

    account: Account | None = None
    symbol: Symbol | None = None
    limit: Limit = 100
    before_order_id: BeforeId = 0


class ExecutionsQuery(Struct, frozen=True, kw_only=True):
    """Which fills, newest first."""

    account: Account | None = None
    symbol: Symbol | None = None
    order_id: BeforeId = 0
    limit: Limit = 100
    before_time_ns: BeforeTime = 0


class DecisionsQuery(Struct, frozen=True, kw_only=True):
    """Which decisions, newest first."""

    symbol: Symbol | None = None
    limit: Limit = 20


class DecisionPath(Struct, frozen=True, kw_only=True):
    """A decision by its id."""

    decision_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,64}(?!\n)$", max_length=64)]


class FundsParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paper money to pay in (positive) or out (negative). The same ``reference`` again moves nothing."""

    account: Account
    asset: AssetCode
    amount: SignedDecimal
    reference: Reference


class FundsAnswer(Struct, frozen=True, kw_only=True):
    """What was moved. ``duplicate``: the reference had its effect before."""

    account: str
    asset: str
    amount: str
    reference: str
    duplicate: bool


class MarketStatus(Struct, frozen=True, kw_only=True):
    """One market's last mark."""

    symbol: str
    source: str
    mark_price: str
    healthy: bool
    marked_time: str


class StatusAnswer(Struct, frozen=True, kw_only=True):
    """The desk at a glance, and who is asking."""

    version: str
    time: str
    principal: str
    role: str
    accounts: tuple[str, ...]
    ready: bool
    failing: dict[str, str]
    kill_levels: dict[str, str]
    tripped_breakers: dict[str, str]
    markets: list[MarketStatus]
    notes: dict[str, str]


class _Reads:
    """The endpoints."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self._reads = service.reads

    async def _begin(self, request: Request, query_type: type[Q]) -> tuple[Principal, Q]:
        principal = await self._service.authenticator.authenticate(request)
        await spend(self._service.limiter, self._service.settings.reads, principal.actor)
        return principal, query_struct(request, query_type)

    async def orders(self, request: Request) -> Response:
        principal, query = await self._begin(request, OrdersQuery)
        found = await self._reads.orders(
            principal,
            account=query.account or "",
            symbol=query.symbol or "",
            open_only=query.open_only,
            limit=query.limit,
            before_order_id=query.before_order_id,
        )
        return json_response(found)

    async def open_orders(self, request: Request) -> Response:
        principal, query = await self._begin(request, OpenOrdersQuery)
        found = await self._reads.orders(
            principal,
            account=query.account or "",
            symbol=query.symbol or "",
            open_only=True,
            limit=query.limit,
            before_order_id=query.before_order_id,
        )
        return json_response(found)

    async def executions(self, request: Request) -> Response:
        principal, query = await self._begin(request, ExecutionsQuery)
        found = await self._reads.executions(
            principal,
            account=query.account or "",
            symbol=query.symbol or "",
            order_id=query.order_id,
            limit=query.limit,
            before_time_ns=query.before_time_ns,
        )
        return json_response(found)

    async def balances(self, request: Request) -> Response:
        principal, query = await self._begin(request, AccountOnly)
        return json_response(await self._reads.balances(principal, query.account or ""))

    async def positions(self, request: Request) -> Response:
        principal, query = await self._begin(request, AccountOnly)
        return json_response(await self._reads.positions(principal, query.account or ""))

    async def pnl(self, request: Request) -> Response:
        principal, query = await self._begin(request, AccountOnly)
        return json_response(await self._reads.pnl(principal, query.account or ""))

    async def instruments(self, request: Request) -> Response:
        await self._begin(request, NoQuery)
        return json_response(await self._reads.instruments())

    async def accounts(self, request: Request) -> Response:
        principal, _ = await self._begin(request, NoQuery)
        return json_response(await self._reads.accounts(principal))

    async def decisions(self, request: Request) -> Response:
        principal, query = await self._begin(request, DecisionsQuery)
        return json_response(await self._reads.decisions(principal, symbol=query.symbol or "", limit=query.limit))

    async def decision(self, request: Request) -> Response:
        principal, _ = await self._begin(request, NoQuery)
        return json_response(await self._reads.decision(principal, path_struct(request, DecisionPath).decision_id))

    async def status(self, request: Request) -> Response:
        principal, _ = await self._begin(request, NoQuery)
        service = self._service
        failing = {name: why for name, check in service.readiness().items() if (why := check()) is not None}
        markets = []
        for symbol, mark in sorted(service.markets.marks().items()):
            instrument = service.markets.known(symbol)
            price = instrument.format_price(mark.mark_ticks) if instrument else ""
            markets.append(
                MarketStatus(
                    symbol=symbol,
                    source=mark.source,
                    mark_price=price,
                    healthy=mark.healthy,
                    marked_time=viewing.iso_time(mark.time_ns),
                )
            )
        try:
            # What was stopped a moment ago is shown as stopped; reads that lag are told of, and shown as they are.
            await service.entry.caught_up()
        except ApiError as behind:
            failing["reads"] = behind.detail
        levels = await service.read_models.kill_levels()
        breakers = await service.read_models.breakers()
        answer = StatusAnswer(
            version=polaris_synapse.__version__,
            time=viewing.iso_time(service.clock.now_ns()),
            principal=principal.actor,
            role=principal.role,
            accounts=principal.accounts,
            ready=not failing,
            failing=failing,
            kill_levels={row.account: row.level.name for row in levels if row.level},
            tripped_breakers={row.scope: row.reason.name for row in breakers if row.tripped},
            markets=markets,
            notes=dict(service.notes()),
        )
        return json_response(answer)

    async def funds(self, request: Request) -> Response:
        service = self._service
        principal = await service.authenticator.authenticate(request)
        principal.require()
        query_struct(request, NoQuery)
        params = await read_struct(request, FundsParams)
        asset = service.markets.asset(params.asset)
        if asset is None:
            raise ApiError(Reason.INVALID_VALUE, f"asset: no instrument trades {params.asset}.")
        units = parse_decimal("amount", params.amount, asset.decimals)
        if not units or abs(units) > FUNDS_UNITS_MAX:
            raise ApiError(Reason.AMOUNT_INVALID, "amount: must not be zero, nor larger than the desk can count.")
        command = MoveFunds(
            time_ns=service.clock.now_ns(),
            actor=principal.actor,
            account=params.account,
            asset=params.asset,
            amount_units=units,
            reference=params.reference,
        )
        answer = await service.entry.ask("funds", principal, command)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        body = FundsAnswer(
            account=params.account,
            asset=params.asset,
            amount=format_units(units, asset.decimals),
            reference=params.reference,
            duplicate=answer.duplicate,
        )
        return json_response(body)


def read_routes(service: GatewayService) -> list[ApiRoute]:
    """Everything that is only looked at, and POST /funds."""
    reads = _Reads(service)
    mine = (Reason.ACCOUNT_NOT_ALLOWED, Reason.NOT_READY)

    def read(path: str, endpoint: Any, summary: str, query: Any, response: Any, *reasons: Reason) -> ApiRoute:
        return api_route(
            "GET", path, endpoint, summary=summary, tag="Reads", query=query, response=response, reasons=reasons
        )

    return [
        read("/orders", reads.orders, "Orders, newest first.", OrdersQuery, views.OrdersAnswer, *mine),
        read("/open-orders", reads.open_orders, "Open orders.", OpenOrdersQuery, views.OrdersAnswer, *mine),
        read("/executions", reads.executions, "Fills, newest first.", ExecutionsQuery, views.ExecutionsAnswer, *mine),
        read("/balances", reads.balances, "Balances.", AccountOnly, views.BalancesAnswer, *mine),
        read("/positions", reads.positions, "Positions at their marks.", AccountOnly, views.PositionsAnswer, *mine),
        read("/pnl", reads.pnl, "Equity, profit and loss.", AccountOnly, views.PnlAnswer, *mine),
        read("/instruments", reads.instruments, "What can be traded.", NoQuery, views.InstrumentsAnswer),
        read("/accounts", reads.accounts, "Accounts.", NoQuery, views.AccountsAnswer, *mine),
        read("/status", reads.status, "The desk at a glance.", NoQuery, StatusAnswer),
        read("/decisions", reads.decisions, "The agents' decisions.", DecisionsQuery, views.DecisionsAnswer, *mine),
        api_route("GET", "/decisions/{decision_id}", reads.decision, summary="One decision with its facts.",
                  tag="Reads", path_parameters=DecisionPath, query=NoQuery, response=DecisionRecorded,
                  reasons=(Reason.DECISION_NOT_FOUND, *mine)),
        api_route("POST", "/funds", reads.funds, summary="Pay paper money in or out.", tag="Funds", body=FundsParams,
                  query=NoQuery, response=FundsAnswer, roles=(Role.ADMIN,),
                  reasons=(Reason.AMOUNT_INVALID, Reason.INSUFFICIENT_FUNDS, Reason.ACCOUNT_NOT_FOUND,
                           Reason.COMPLIANCE_ACCOUNT_BLOCKED, Reason.DUPLICATE_CLIENT_ORDER_ID, Reason.KILL_SWITCH,
                           Reason.OVERLOADED, Reason.TIMED_OUT)),
    ]  # fmt: skip
