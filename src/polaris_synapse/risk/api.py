"""The risk service's HTTP interface: circuit breaker, kill switch, limits, exposure.

Stopping is easier than starting. Anybody at this machine may trip the breaker without a login, because it only stops
trading; a trader may raise the kill switch of their own accounts; everything that lets trading go on again, or wider,
takes a risk officer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import (
    ActivateBreaker,
    Answer,
    Command,
    KillLevel,
    ReenableAccount,
    ResetBreaker,
    SetKillLevel,
    SetLimits,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.api_fees import fee_routes
from polaris_synapse.risk.api_types import (
    AccountPath,
    AccountQuery,
    BreakBody,
    BreakerBody,
    BreakersBody,
    BreakersQuery,
    BreaksBody,
    ChangedBody,
    ExposureBody,
    ExposuresBody,
    KillLevelsBody,
    KillSwitchBody,
    LimitsBody,
    LimitsChange,
    LimitsFields,
    PositionBody,
    ReenableBody,
    TrippedBody,
    changed_limits,
)
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.emergency import EmergencyStops
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import ALL_ACCOUNTS, Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_bytes, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.openapi import OpenApiInfo
from polaris_synapse.web.routes import ApiRoute, api_route
from polaris_synapse.web.service import service_app

SERVICE: Final = "risk-manager"
#: Who a breaker trip without a login is put down to.
LOCAL_ACTOR: Final = "local:loopback"
_OFFICERS: Final = (Role.RISK_OFFICER,)
_ACTIVATE_DESCRIPTION: Final = (
    "The body may be left out: the whole desk stops. It has `scope` (`*`, `symbol:NAME` or `account:NAME`) and `note`. "
    "From this machine it takes no login."
)
_COMMAND_REASONS: Final = (
    Reason.OVERLOADED,
    Reason.SHUTTING_DOWN,
    Reason.JOURNAL_UNAVAILABLE,
    Reason.TIMED_OUT,
)
_SCOPE_REASONS: Final = (
    Reason.INVALID_VALUE,
    Reason.SYMBOL_NOT_FOUND,
    Reason.ACCOUNT_NOT_FOUND,
    Reason.HOST_NOT_ALLOWED,
    *_COMMAND_REASONS,
)


def build_api(
    *,
    bus: Bus,
    core: RiskCore,
    clock: Clock,
    registry: CollectorRegistry,
    read_models: ReadModels,
    authenticator: Authenticator,
    readiness: Mapping[str, Callable[[], str | None]],
    openapi: OpenApiInfo | None = None,
    allowed_hosts: Sequence[str] = (),
    emergency: EmergencyStops | None = None,
) -> ASGIApp:
    """The ASGI app of the risk service. ``emergency``: what stops while the journal cannot be written."""
    handlers = _Handlers(bus, core, clock, read_models, authenticator, emergency)
    return service_app(
        service=SERVICE,
        title="Polaris Synapse risk",
        routes=[
            *_stop_routes(handlers),
            *_limit_routes(handlers),
            *fee_routes(bus, core, clock, authenticator),
        ],
        registry=registry,
        readiness=readiness,
        openapi=openapi,
        allowed_hosts=allowed_hosts,
    )


def _stop_routes(handlers: _Handlers) -> list[ApiRoute]:
    return [
        api_route("POST", "/circuit-breaker/activate", handlers.activate, tag="Circuit breaker",
                  summary="Trip the circuit breaker: no new orders in its scope.",
                  description=_ACTIVATE_DESCRIPTION,
                  response=ChangedBody, roles=None,
                  reasons=(Reason.NOT_AUTHENTICATED, Reason.ROLE_NOT_ALLOWED, Reason.MALFORMED_JSON,
                           Reason.UNKNOWN_FIELD, Reason.UNSUPPORTED_MEDIA_TYPE, Reason.BODY_TOO_LARGE,
                           *_SCOPE_REASONS)),
        api_route("POST", "/circuit-breaker/reset", handlers.reset, tag="Circuit breaker",
                  summary="Close a tripped breaker again.", body=BreakerBody, response=ChangedBody, roles=_OFFICERS,
                  reasons=_SCOPE_REASONS),
        api_route("GET", "/circuit-breaker", handlers.breakers, tag="Circuit breaker",
                  summary="The tripped breakers.", response=BreakersBody),
        api_route("POST", "/kill-switch", handlers.set_kill_level, tag="Kill switch",
                  summary="Set the kill switch of the desk or of one account.",
                  description="A trader may raise the level of their own accounts; the rest takes a risk officer.",
                  body=KillSwitchBody, response=ChangedBody, roles=(Role.TRADER, *_OFFICERS),
                  reasons=(Reason.ACCOUNT_NOT_FOUND, Reason.ACCOUNT_NOT_ALLOWED, *_COMMAND_REASONS)),
        api_route("GET", "/kill-switch", handlers.kill_levels, tag="Kill switch", summary="The kill switch.",
                  response=KillLevelsBody),
        api_route("POST", "/accounts/{account}/reenable", handlers.reenable, tag="Limits",
                  summary="Let an account trade again that repeated one order too often.",
                  path_parameters=AccountPath, body=ReenableBody, response=ChangedBody, roles=_OFFICERS,
                  reasons=(Reason.ACCOUNT_NOT_FOUND, *_COMMAND_REASONS)),
    ]  # fmt: skip


def _limit_routes(handlers: _Handlers) -> list[ApiRoute]:
    return [
        api_route("GET", "/limits/{account}", handlers.limits, tag="Limits", path_parameters=AccountPath,
                  summary="The limits in force for an account; * for the desk's default.", response=LimitsBody,
                  reasons=(Reason.ACCOUNT_NOT_FOUND, Reason.ACCOUNT_NOT_ALLOWED)),
        api_route("PUT", "/limits/{account}", handlers.set_limits, tag="Limits", path_parameters=AccountPath,
                  summary="Set the limits of an account; * for the desk's default.", body=LimitsFields,
                  response=LimitsBody, roles=_OFFICERS, reasons=(Reason.ACCOUNT_NOT_FOUND, *_COMMAND_REASONS)),
        api_route("PATCH", "/limits/{account}", handlers.change_limits, tag="Limits", path_parameters=AccountPath,
                  summary="Change some limits of an account, or of the desk's default; the others stay.",
                  body=LimitsChange, response=LimitsBody, roles=_OFFICERS,
                  reasons=(Reason.ACCOUNT_NOT_FOUND, *_COMMAND_REASONS)),
        api_route("GET", "/exposure", handlers.exposure, tag="Exposure", query=AccountQuery,
                  summary="Equity, exposure and positions of your accounts.", response=ExposuresBody,
                  reasons=(Reason.ACCOUNT_NOT_ALLOWED,)),
        api_route("GET", "/breaks", handlers.breaks, tag="Exposure", query=BreakersQuery,
                  summary="Differences with venues that reconciliation could not explain.", response=BreaksBody),
    ]  # fmt: skip


class _Handlers:
    """The endpoints. Each authenticates first, so that nobody learns from refusals what exists."""

    def __init__(
        self,
        bus: Bus,
        core: RiskCore,
        clock: Clock,
        read_models: ReadModels,
        authenticator: Authenticator,
        emergency: EmergencyStops | None,
    ) -> None:
        self._emergency = emergency
        self._bus = bus
        self._core = core
        self._clock = clock
        self._read_models = read_models
        self._authenticator = authenticator

    async def activate(self, request: Request) -> Response:
        """POST /circuit-breaker/activate."""
        actor = await self._who_may_stop(request)
        body = await read_struct(request, BreakerBody) if await read_bytes(request) else BreakerBody()
        command = ActivateBreaker(time_ns=self._clock.now_ns(), actor=actor, scope=body.scope, note=body.note)
        try:
            return await self._command(command)
        except BusError as error:
            if self._emergency is None or error.reason is not Reason.JOURNAL_UNAVAILABLE:
                raise
        return _not_journaled((), self._emergency.trip(command))

    async def reset(self, request: Request) -> Response:
        """POST /circuit-breaker/reset."""
        principal = await self._officer(request)
        body = await read_struct(request, BreakerBody)
        return await self._command(
            ResetBreaker(time_ns=self._clock.now_ns(), actor=principal.actor, scope=body.scope, note=body.note)
        )

    async def breakers(self, request: Request) -> Response:
        """GET /circuit-breaker."""
        principal = await self._authenticator.authenticate(request)
        tripped = [
            TrippedBody(
                scope=scope,
                reason=breaker.reason.name,
                note=breaker.note,
                actor=breaker.actor,
                time_ns=breaker.time_ns,
            )
            for scope, breaker in sorted(self._core.breakers().items())
            if not scope.startswith("account:") or principal.may_use(scope.removeprefix("account:"))
        ]
        stopped = [account for account in self._core.stopped_accounts() if principal.may_use(account)]
        return json_response(BreakersBody(tripped=tripped, stopped_accounts=stopped))

    async def set_kill_level(self, request: Request) -> Response:
        """POST /kill-switch."""
        principal = await self._authenticator.authenticate(request)
        principal.require(Role.TRADER, *_OFFICERS)
        body = await read_struct(request, KillSwitchBody)
        if principal.role is Role.TRADER:
            if body.account == ALL_ACCOUNTS:
                raise ApiError(Reason.ROLE_NOT_ALLOWED, "A trader may stop their own accounts, not the whole desk.")
            principal.require_account(body.account)
            if body.level < self._core.kill_levels().get(body.account, KillLevel.OFF):
                raise ApiError(Reason.ROLE_NOT_ALLOWED, "Lowering the kill switch takes a risk officer.")
        command = SetKillLevel(
            time_ns=self._clock.now_ns(),
            actor=principal.actor,
            level=body.level,
            account=body.account,
            note=body.note,
        )
        try:
            return await self._command(command)
        except BusError as error:
            letting_go = body.level <= max(self._core.kill_levels()["*"], KillLevel.OFF)
            if self._emergency is None or letting_go or error.reason is not Reason.JOURNAL_UNAVAILABLE:
                raise
        return _not_journaled(*await self._emergency.stop(command))

    async def kill_levels(self, request: Request) -> Response:
        """GET /kill-switch."""
        principal = await self._authenticator.authenticate(request)
        levels = self._core.kill_levels()
        desk = levels.pop(ALL_ACCOUNTS)
        mine = {account: level for account, level in levels.items() if principal.may_use(account)}
        return json_response(KillLevelsBody(level=desk, accounts=mine))

    async def reenable(self, request: Request) -> Response:
        """POST /accounts/{account}/reenable."""
        principal = await self._officer(request)
        account = path_struct(request, AccountPath).account
        body = await read_struct(request, ReenableBody)
        return await self._command(
            ReenableAccount(time_ns=self._clock.now_ns(), actor=principal.actor, account=account, note=body.note)
        )

    async def limits(self, request: Request) -> Response:
        """GET /limits/{account}."""
        principal = await self._authenticator.authenticate(request)
        account = path_struct(request, AccountPath).account
        if account != ALL_ACCOUNTS:
            principal.require_account(account)
        return self._limits_of(account)

    async def set_limits(self, request: Request) -> Response:
        """PUT /limits/{account}."""
        principal = await self._officer(request)
        account = path_struct(request, AccountPath).account
        body = await read_struct(request, LimitsFields)
        await self._ask(
            SetLimits(time_ns=self._clock.now_ns(), actor=principal.actor, account=account, limits=body.limits())
        )
        return self._limits_of(account)

    async def change_limits(self, request: Request) -> Response:
        """PATCH /limits/{account}."""
        principal = await self._officer(request)
        account = path_struct(request, AccountPath).account
        change = await read_struct(request, LimitsChange)
        before = self._core.limits_of(account)
        if before is None:
            raise ApiError(Reason.ACCOUNT_NOT_FOUND, f"There is no account {account}.")
        limits = changed_limits(before, change)
        await self._ask(SetLimits(time_ns=self._clock.now_ns(), actor=principal.actor, account=account, limits=limits))
        return self._limits_of(account)

    async def exposure(self, request: Request) -> Response:
        """GET /exposure."""
        principal = await self._authenticator.authenticate(request)
        wanted = principal.account_filter(query_struct(request, AccountQuery).account)
        found: list[ExposureBody] = []
        for account in wanted if wanted is not None else (None,):
            positions: dict[str, list[PositionBody]] = {}
            for position in await self._read_models.positions(account=account):
                positions.setdefault(position.account, []).append(
                    PositionBody(
                        symbol=position.symbol,
                        quantity_lots=position.quantity_lots,
                        cost_units=position.cost_units,
                        realised_pnl_units=position.realised_pnl_units,
                        fees_units=position.fees_units,
                    )
                )
            found.extend(
                ExposureBody(
                    account=metrics.account,
                    equity_units=metrics.equity_units,
                    day_start_equity_units=metrics.day_start_equity_units,
                    peak_equity_units=metrics.peak_equity_units,
                    exposure_units=metrics.exposure_units,
                    open_orders_units=metrics.open_orders_units,
                    open_orders=metrics.open_orders,
                    unpriced_assets=list(metrics.unpriced_assets),
                    positions=positions.get(metrics.account, []),
                    time_ns=metrics.time_ns,
                )
                for metrics in await self._read_models.account_metrics(account=account)
            )
        return json_response(ExposuresBody(accounts=sorted(found, key=lambda body: body.account)))

    async def breaks(self, request: Request) -> Response:
        """GET /breaks."""
        principal = await self._authenticator.authenticate(request)
        query = query_struct(request, BreakersQuery)
        found = [
            BreakBody(
                break_id=change.break_id,
                venue=change.venue,
                symbol=change.symbol,
                account=change.account,
                is_open=change.is_open,
                detail=change.detail,
                time_ns=change.time_ns,
            )
            for change in await self._read_models.breaks(open_only=query.open_only)
            if principal.all_accounts or principal.may_use(change.account)
        ]
        return json_response(BreaksBody(breaks=found))

    # Helpers

    async def _officer(self, request: Request) -> Principal:
        principal = await self._authenticator.authenticate(request)
        principal.require(*_OFFICERS)
        return principal

    async def _who_may_stop(self, request: Request) -> str:
        """Who trips a breaker: a risk officer, or whoever sits at this machine. Never a web page of another site."""
        if not _is_local(request):
            return (await self._officer(request)).actor
        _refuse_other_sites(request)
        try:
            return (await self._authenticator.authenticate(request)).actor
        except ApiError:
            # An expired login must not stand between a person at the machine and the emergency stop.
            return LOCAL_ACTOR

    async def _ask(self, command: Command) -> Answer:
        answer = await self._bus.request(command)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return answer

    async def _command(self, command: Command) -> Response:
        answer = await self._ask(command)
        return json_response(ChangedBody(changed=not answer.duplicate, order_ids=list(answer.order_ids)))

    def _limits_of(self, account: str) -> Response:
        limits = self._core.limits_of(account)
        if limits is None:
            raise ApiError(Reason.ACCOUNT_NOT_FOUND, f"There is no account {account}.")
        asset, decimals = self._core.valuation_asset()
        return json_response(
            LimitsBody(
                account=account,
                limits=LimitsFields.of(limits),
                valuation_asset=asset,
                valuation_decimals=decimals,
            )
        )


def _not_journaled(order_ids: Sequence[int], kept: bool) -> Response:
    detail = (
        "The journal cannot be written. No new order is taken and nothing more is sent to a venue; the cancels of the "
        f"{len(order_ids)} orders open at venues were sent. The stop enters the journal first when it works again"
    )
    detail += ", also after a restart." if kept else ", but is lost if the desk ends before."
    body = ChangedBody(changed=True, order_ids=list(order_ids), journaled=False, detail=detail)
    return json_response(body, status=202)


def _is_local(request: Request) -> bool:
    """Whether the request came over the loopback interface and not through a proxy on this machine."""
    if request.client is None or "forwarded" in request.headers or "x-forwarded-for" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _refuse_other_sites(request: Request) -> None:
    """Browsers let any page post here; they name its origin, and this address must be the page's own."""
    origin = request.headers.get("origin")
    if origin is not None and origin.partition("://")[2] != request.headers.get("host", ""):
        raise ApiError(Reason.HOST_NOT_ALLOWED, "Pages of other sites may not use this without a login.")
