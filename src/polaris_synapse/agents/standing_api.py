"""Standing instructions over HTTP, with decimal text instead of the core's integers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.agents.standing import StandingDesk, StandingView, standing_words, view_of
from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.instruments import Instrument, InstrumentError
from polaris_synapse.domain.messages import Standing, StandingTrigger
from polaris_synapse.domain.money import MoneyError, parse_amount
from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

_TAG: Final = "Standing instructions"
_NS: Final = 1_000_000_000
DEFAULT_LIFE_SECONDS: Final = 30 * 86_400
_Decimal = Annotated[str, Meta(min_length=1, max_length=40)]
_LEVELS: Final = frozenset({StandingTrigger.PRICE_ABOVE, StandingTrigger.PRICE_BELOW})
_MOVES: Final = frozenset({StandingTrigger.FALLS, StandingTrigger.RISES})


class StandingBody(Struct, frozen=True, kw_only=True):
    """What to do when. ``value`` is a price for a price trigger, else a percentage.

    Exactly one of ``quantity`` (of the base asset), ``amount`` (of the quote asset, BUY) and ``percent`` (of what is
    free when it fires). ``window_seconds`` goes with FALLS and RISES.
    """

    account: Annotated[str, Meta(min_length=1, max_length=64)]
    symbol: Annotated[str, Meta(min_length=1, max_length=24)]
    side: Side
    trigger: StandingTrigger
    value: _Decimal
    quantity: _Decimal | None = None
    amount: _Decimal | None = None
    percent: _Decimal | None = None
    window_seconds: Annotated[int, Meta(ge=0, le=604_800)] = 0
    expires_seconds: Annotated[int, Meta(ge=1, le=366 * 86_400)] = DEFAULT_LIFE_SECONDS
    shots_max: Annotated[int, Meta(ge=1, le=100)] = 1
    pause_seconds: Annotated[int, Meta(ge=1, le=30 * 86_400)] = 300


class StandingQuery(Struct, frozen=True, kw_only=True):
    """Which instructions; ``alive_only`` leaves out those that have ended."""

    alive_only: bool = False


class StandingPath(Struct, frozen=True):
    """Which instruction."""

    standing_id: Annotated[str, Meta(pattern="^[Ss][0-9]{1,18}$")]


class StandingsBody(Struct, frozen=True, kw_only=True):
    """Instructions, by number."""

    standing: list[StandingView]


class SetBody(Struct, frozen=True, kw_only=True):
    """An instruction that is watched for from now on."""

    standing_id: str
    words: str


class CancelledBody(Struct, frozen=True, kw_only=True):
    """An instruction that is watched for no more."""

    standing_id: str


class _NoParameters(Struct, frozen=True):
    """A query without parameters."""


def standing_from(body: StandingBody, instrument: Instrument, *, owner: str, now_ns: int) -> Standing:
    """The instruction that a body says. Raises ApiError(INVALID_VALUE) for numbers that do not fit."""
    given = [name for name in ("quantity", "amount", "percent") if getattr(body, name) is not None]
    if len(given) != 1:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "Give exactly one of quantity, amount and percent.")
    if (body.trigger in _MOVES) != bool(body.window_seconds):
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "window_seconds goes with FALLS and RISES, and they need it.")
    level = move = share = lots = units = portion = 0
    try:
        if body.trigger in _LEVELS:
            level = instrument.parse_price(body.value)
        elif body.trigger in _MOVES:
            move = percent_ppm(body.value)
        else:
            share = percent_ppm(body.value)
        if body.quantity is not None:
            lots = instrument.parse_quantity(body.quantity)
        elif body.amount is not None:
            units = parse_amount(body.amount, instrument.quote)
        else:
            portion = percent_ppm(body.percent or "")
    except (InstrumentError, MoneyError) as error:
        raise ApiError(Reason.INVALID_VALUE, f"{error}.") from None
    standing = Standing(
        account=body.account,
        owner=owner,
        symbol=body.symbol,
        trigger=body.trigger,
        side=body.side,
        expires_time_ns=now_ns + body.expires_seconds * _NS,
        level_ticks=level,
        move_ppm=move,
        window_seconds=body.window_seconds,
        share_ppm=share,
        quantity_lots=lots,
        quote_amount_units=units,
        portion_ppm=portion,
        shots_max=body.shots_max,
        pause_seconds=body.pause_seconds,
    )
    return replace(standing, words=standing_words(standing, instrument))


def percent_ppm(text: str) -> int:
    """A percentage as parts per million. Raises ApiError for one that is not between 0 and 100, or too fine."""
    try:
        ppm = Decimal(text).scaleb(4)
    except InvalidOperation:
        ppm = Decimal(0)
    if ppm.is_finite() and ppm == int(ppm) and 0 < ppm <= 1_000_000:
        return int(ppm)
    raise ApiError(Reason.INVALID_VALUE, f"A percentage lies above 0, at most at 100, in steps of 0.0001: not {text}.")


def standing_routes(
    desk: StandingDesk,
    authenticator: Authenticator,
    instruments: Callable[[], Awaitable[list[Instrument]]],
    clock: Clock,
) -> list[ApiRoute]:
    """Every route about standing instructions."""
    endpoints = _Endpoints(desk, authenticator, instruments, clock)
    return [
        api_route("GET", "/standing", endpoints.listed, summary="Standing instructions.", tag=_TAG,
                  query=StandingQuery, response=StandingsBody),
        api_route("POST", "/standing", endpoints.set, summary="Watch for something, and then order.", tag=_TAG,
                  body=StandingBody, response=SetBody, status=201, roles=(Role.TRADER,),
                  reasons=(Reason.INVALID_VALUE, Reason.CONTRADICTORY_FIELDS, Reason.SYMBOL_NOT_FOUND,
                           Reason.STANDING_FULL, Reason.ACCOUNT_NOT_ALLOWED)),
        api_route("DELETE", "/standing/{standing_id}", endpoints.cancel, summary="Watch for it no more.", tag=_TAG,
                  path_parameters=StandingPath, response=CancelledBody, roles=(Role.TRADER, Role.RISK_OFFICER),
                  reasons=(Reason.STANDING_NOT_FOUND,)),
    ]  # fmt: skip


class _Endpoints:
    def __init__(
        self,
        desk: StandingDesk,
        authenticator: Authenticator,
        instruments: Callable[[], Awaitable[list[Instrument]]],
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._authenticator = authenticator
        self._instruments = instruments
        self._clock = clock

    async def _principal(self, request: Request) -> Principal:
        return await self._authenticator.authenticate(request)

    async def listed(self, request: Request) -> Response:
        """GET /standing."""
        principal = await self._principal(request)
        query = query_struct(request, StandingQuery)
        found = self._desk.roster.seen_by(principal, alive_only=query.alive_only)
        return json_response(StandingsBody(standing=[view_of(one) for one in found]))

    async def set(self, request: Request) -> Response:
        """POST /standing."""
        principal = await self._principal(request)
        principal.require(Role.TRADER)
        query_struct(request, _NoParameters)
        body = await read_struct(request, StandingBody)
        principal.require_account(body.account)
        instrument = next((one for one in await self._instruments() if one.symbol == body.symbol), None)
        if instrument is None:
            raise ApiError(Reason.SYMBOL_NOT_FOUND, f"There is no instrument {body.symbol}.")
        standing = standing_from(body, instrument, owner=principal.actor, now_ns=self._clock.now_ns())
        standing_id = await self._desk.set(principal, standing)
        return json_response(SetBody(standing_id=standing_id, words=standing.words), status=201)

    async def cancel(self, request: Request) -> Response:
        """DELETE /standing/{standing_id}."""
        principal = await self._principal(request)
        query_struct(request, _NoParameters)
        standing_id = path_struct(request, StandingPath).standing_id
        await self._desk.cancel(principal, standing_id)
        return json_response(CancelledBody(standing_id=standing_id.upper()))
