"""Mandates over HTTP: read them, write them, and compile plain words without putting anything in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.agents.authority import Authority
from polaris_synapse.agents.conversation.guard import MESSAGE_CHARACTERS_MAX
from polaris_synapse.agents.conversation.line import Names
from polaris_synapse.agents.mandates import MandateError, MandateSheet, mandate_of, sheet_of, sheet_text, widens
from polaris_synapse.agents.mandates_language import Compiled, MandateNames, compile_mandate
from polaris_synapse.agents.roster import Roster
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Mandate, SetMandate
from polaris_synapse.domain.money import Asset, format_units
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

_TAG: Final = "Mandates"


class MandatePath(Struct, frozen=True):
    """Whose mandate, on which account."""

    account: Annotated[str, Meta(min_length=1, max_length=64)]
    agent: Annotated[str, Meta(min_length=1, max_length=64)]


class MandateBody(Struct, frozen=True, kw_only=True):
    """A mandate, the same as YAML, and what is used of it today, in the valuation asset."""

    mandate: MandateSheet
    yaml: str
    used_today: str
    profit_today: str


class MandatesBody(Struct, frozen=True, kw_only=True):
    """Mandates by account and agent."""

    mandates: list[MandateBody]


class CompileBody(Struct, frozen=True, kw_only=True):
    """A mandate in plain words."""

    text: Annotated[str, Meta(min_length=1, max_length=MESSAGE_CHARACTERS_MAX)]


class CompiledBody(Struct, frozen=True, kw_only=True):
    """What the words say, or what has to be asked first. Nothing is in force by it."""

    mandate: MandateSheet | None
    yaml: str
    questions: list[str]


class _NoParameters(Struct, frozen=True):
    """A query without parameters."""


class Mandates:
    """Reads, compiles and sets mandates for principals."""

    def __init__(
        self,
        *,
        bus: Bus,
        authority: Authority,
        roster: Roster,
        instruments: Callable[[], Awaitable[list[Instrument]]],
        clock: Clock,
        valuation: Asset,
    ) -> None:
        self._bus = bus
        self._authority = authority
        self._roster = roster
        self._instruments = instruments
        self._clock = clock
        self._valuation = valuation

    async def seen_by(self, principal: Principal) -> list[Mandate]:
        """The mandates on the accounts of somebody; an agent sees its own."""
        return [
            one
            for one in await self._authority.mandates()
            if principal.may_use(one.account) and (principal.role is not Role.AGENT or principal.name == one.agent)
        ]

    async def body(self, mandate: Mandate) -> MandateBody:
        """A mandate as it is shown."""
        used, profit = await self._authority.mandate_use(mandate.account, mandate.agent)
        sheet = sheet_of(mandate, self._valuation)
        decimals = self._valuation.decimals
        return MandateBody(
            mandate=sheet,
            yaml=sheet_text(sheet),
            used_today=format_units(used, decimals),
            profit_today=format_units(profit, decimals),
        )

    async def compile(self, text: str) -> Compiled:
        """What plain words say."""
        agents = {one.agent: one.account for one in await self._authority.mandates()}
        agents |= {one.agent: one.settings.account for one in self._roster.all()}
        names = MandateNames(Names.of(await self._instruments()), agents)
        return compile_mandate(text, names)

    async def set(self, principal: Principal, sheet: MandateSheet) -> Mandate:
        """Put a mandate in force. A trader may narrow one on their own account; the rest takes a risk officer."""
        symbols = [one.symbol for one in await self._instruments()]
        try:
            mandate = mandate_of(sheet, self._valuation, symbols)
        except MandateError as error:
            raise ApiError(Reason.INVALID_VALUE, str(error)) from None
        await self.check(principal, mandate)
        answer = await self._bus.request(
            SetMandate(time_ns=self._clock.now_ns(), actor=principal.actor, mandate=mandate)
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        await self._authority.in_force(mandate)
        return mandate

    async def check(self, principal: Principal, mandate: Mandate) -> None:
        """Whether somebody may set this mandate. Raises ApiError."""
        principal.require(Role.TRADER, Role.RISK_OFFICER)
        principal.require_account(mandate.account)
        known = {(one.account, one.agent): one for one in await self._authority.mandates()}
        if widens(known.get((mandate.account, mandate.agent)), mandate) and principal.role is Role.TRADER:
            raise ApiError(
                Reason.ROLE_NOT_ALLOWED, "A trader may narrow or take back a mandate; widening it takes a risk officer."
            )


def mandate_routes(mandates: Mandates, authenticator: Authenticator) -> list[ApiRoute]:
    """Every route about mandates."""
    endpoints = _Endpoints(mandates, authenticator)
    return [
        api_route("GET", "/mandates", endpoints.listed, summary="What agents may do.", tag=_TAG, response=MandatesBody),
        api_route("POST", "/mandates/compile", endpoints.compile, summary="Read a mandate in words; set nothing.",
                  tag=_TAG, body=CompileBody, response=CompiledBody),
        api_route("GET", "/mandates/{account}/{agent}", endpoints.one, summary="One agent's mandate.", tag=_TAG,
                  path_parameters=MandatePath, response=MandateBody, reasons=(Reason.NOT_FOUND,)),
        api_route("PUT", "/mandates/{account}/{agent}", endpoints.put, summary="Put a mandate in force.",
                  description="A trader may narrow one on their own account; widening it takes a risk officer.",
                  tag=_TAG, path_parameters=MandatePath, body=MandateSheet, response=MandateBody,
                  roles=(Role.TRADER, Role.RISK_OFFICER),
                  reasons=(Reason.INVALID_VALUE, Reason.ACCOUNT_NOT_FOUND, Reason.OVERLOADED, Reason.TIMED_OUT)),
    ]  # fmt: skip


class _Endpoints:
    def __init__(self, mandates: Mandates, authenticator: Authenticator) -> None:
        self._mandates = mandates
        self._authenticator = authenticator

    async def listed(self, request: Request) -> Response:
        """GET /mandates."""
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        found = [await self._mandates.body(one) for one in await self._mandates.seen_by(principal)]
        return json_response(MandatesBody(mandates=found))

    async def one(self, request: Request) -> Response:
        """GET /mandates/{account}/{agent}."""
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        path = path_struct(request, MandatePath)
        for one in await self._mandates.seen_by(principal):
            if (one.account, one.agent) == (path.account, path.agent):
                return json_response(await self._mandates.body(one))
        raise ApiError(Reason.NOT_FOUND, f"Agent {path.agent} has no mandate on account {path.account}.")

    async def compile(self, request: Request) -> Response:
        """POST /mandates/compile."""
        await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        body = await read_struct(request, CompileBody)
        found = await self._mandates.compile(body.text)
        text = sheet_text(found.sheet) if found.sheet is not None else ""
        return json_response(CompiledBody(mandate=found.sheet, yaml=text, questions=list(found.questions)))

    async def put(self, request: Request) -> Response:
        """PUT /mandates/{account}/{agent}."""
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        path = path_struct(request, MandatePath)
        sheet = await read_struct(request, MandateSheet)
        if (sheet.account, sheet.agent) != (path.account, path.agent):
            raise ApiError(
                Reason.CONTRADICTORY_FIELDS, "The address and the mandate name different accounts or agents."
            )
        return json_response(await self._mandates.body(await self._mandates.set(principal, sheet)))
