"""Fee tiers: what an account pays and why, and setting them."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.messages import FeeTier, SetFeeTiers
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.api_types import AccountPath
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.fees import FEE_TIERS_MAX, VOLUME_DAYS
from polaris_synapse.web.authentication import ALL_ACCOUNTS, Authenticator, Role
from polaris_synapse.web.bodies import json_response, path_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

_ROLES: Final = (Role.RISK_OFFICER, Role.ADMIN)
_REASONS: Final = (
    Reason.ACCOUNT_NOT_FOUND,
    Reason.INVALID_VALUE,
    Reason.OVERLOADED,
    Reason.SHUTTING_DOWN,
    Reason.JOURNAL_UNAVAILABLE,
    Reason.TIMED_OUT,
)
_Units = Annotated[int, Meta(ge=0, le=4 * 10**18)]
_Rate = Annotated[int, Meta(ge=-1_000, le=100_000)]


class TierBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rates from a 30-day volume on, in ppm; the volume in minor units of the valuation asset."""

    volume_units_min: _Units
    maker_ppm: _Rate
    taker_ppm: _Rate


class TiersBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All tiers, from a volume of 0 up; none: the desk's default, or each instrument's own rates."""

    tiers: Annotated[list[TierBody], Meta(max_length=FEE_TIERS_MAX)]


class FeesBody(Struct, frozen=True, kw_only=True):
    """What an account pays. ``tier`` counts from 1; 0: each instrument's own rates are in force, or it is nobody's.

    ``volume_units``: traded in the ``volume_days`` whole UTC days before today, from which today's tier follows;
    ``today_units`` counts from tomorrow on. Both in minor units of ``valuation_asset``.
    """

    account: str
    tier: int
    maker_ppm: int | None
    taker_ppm: int | None
    tiers: list[TierBody]
    volume_units: int
    today_units: int
    volume_days: int
    valuation_asset: str
    valuation_decimals: int | None


def fee_routes(bus: Bus, core: RiskCore, clock: Clock, authenticator: Authenticator) -> list[ApiRoute]:
    """GET and PUT of ``/fees/{account}``; the account ``*`` is the default of those without tiers of their own."""

    def body_of(account: str) -> FeesBody:
        standing = core.fee_standing(account)
        if standing is None:
            raise ApiError(Reason.ACCOUNT_NOT_FOUND, f"There is no account {account}.")
        tiers = [
            TierBody(volume_units_min=tier.volume_units_min, maker_ppm=tier.maker_ppm, taker_ppm=tier.taker_ppm)
            for tier in standing.tiers
        ]
        asset, decimals = core.valuation_asset()
        chosen = tiers[standing.tier - 1] if standing.tier else None
        return FeesBody(
            account=account,
            tier=standing.tier,
            maker_ppm=chosen.maker_ppm if chosen else None,
            taker_ppm=chosen.taker_ppm if chosen else None,
            tiers=tiers,
            volume_units=standing.volume_units,
            today_units=standing.today_units,
            volume_days=VOLUME_DAYS,
            valuation_asset=asset,
            valuation_decimals=decimals,
        )

    async def fees(request: Request) -> Response:
        principal = await authenticator.authenticate(request)
        account = path_struct(request, AccountPath).account
        if account != ALL_ACCOUNTS:
            principal.require_account(account)
        return json_response(body_of(account))

    async def set_fees(request: Request) -> Response:
        principal = await authenticator.authenticate(request)
        principal.require(*_ROLES)
        account = path_struct(request, AccountPath).account
        body = await read_struct(request, TiersBody)
        tiers = tuple(
            FeeTier(volume_units_min=tier.volume_units_min, maker_ppm=tier.maker_ppm, taker_ppm=tier.taker_ppm)
            for tier in body.tiers
        )
        answer = await bus.request(
            SetFeeTiers(time_ns=clock.now_ns(), actor=principal.actor, account=account, tiers=tiers)
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return json_response(body_of(account))

    return [
        api_route("GET", "/fees/{account}", fees, summary="What an account pays, and its 30-day volume.", tag="Fees",
                  path_parameters=AccountPath, response=FeesBody,
                  reasons=(Reason.ACCOUNT_NOT_FOUND, Reason.ACCOUNT_NOT_ALLOWED)),
        api_route("PUT", "/fees/{account}", set_fees, summary="Set an account's fee tiers.", tag="Fees",
                  path_parameters=AccountPath, body=TiersBody, response=FeesBody, roles=_ROLES, reasons=_REASONS),
    ]  # fmt: skip
