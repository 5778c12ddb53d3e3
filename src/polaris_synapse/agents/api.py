"""The agents over HTTP: their decisions and why, and the controls of each agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from polaris_synapse.agents.explain import Explanation, explain
from polaris_synapse.agents.models.factory import ModelRoom
from polaris_synapse.agents.replaying import Replay, replay
from polaris_synapse.agents.roster import Roster
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.messages import AgentControl, AgentSettings, AgentStanding, AnalyseNow, DecisionRecorded
from polaris_synapse.domain.messages.agents import Fact, SignalRecord, Vote, VoterRecord
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.port import ROWS_MAX, ReadModels, ReadModelsLagError
from polaris_synapse.web.authentication import Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, query_struct, read_struct, refuse_body
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.openapi import OpenApiInfo
from polaris_synapse.web.routes import ApiRoute, api_route
from polaris_synapse.web.service import service_app

_TAG_DECISIONS: Final = "Decisions"
_TAG_AGENTS: Final = "Agents"
_NS_A_DAY: Final = 86_400 * 1_000_000_000


class DecisionsQuery(Struct, frozen=True, kw_only=True):
    """Which decisions. An empty ``symbol`` means all."""

    symbol: Annotated[str, Meta(max_length=24)] = ""
    limit: Annotated[int, Meta(ge=1, le=ROWS_MAX)] = 20


class AnalyseBody(Struct, frozen=True, kw_only=True):
    """What to look at."""

    symbol: Annotated[str, Meta(min_length=1, max_length=24)]


class DecisionBody(Struct, frozen=True, kw_only=True):
    """A decision at its latest revision. ``reason`` is a name; ``score_ppm`` null while it is not scored."""

    decision_id: str
    agent: str
    account: str
    symbol: str
    time_ns: int
    decided_time_ns: int
    revision: int
    view: str
    confidence_ppm: int
    action: str
    reason: str
    detail: str
    thesis: str
    facts: tuple[Fact, ...]
    order: OrderRequest | None
    order_id: int
    order_state: str
    score_ppm: int | None
    votes: tuple[Vote, ...]
    lesson: str
    case_digest: str
    call_digests: tuple[str, ...]
    cost_micro_usd: int
    not_evidence: str


class DecisionsBody(Struct, frozen=True, kw_only=True):
    """Decisions, newest first."""

    decisions: list[DecisionBody]


class WhyBody(Struct, frozen=True, kw_only=True):
    """A decision, its explanation as text, and the same in parts."""

    decision: DecisionBody
    explanation: str
    parts: Explanation


class AgentBody(Struct, frozen=True, kw_only=True):
    """An agent. ``day_value_units``: used of today's mandate.

    ``signals`` counts how often each signal was right; horizons overlap, so this proves no skill.
    """

    agent: str
    settings: AgentSettings
    paused: bool
    decisions_made: int
    proposals_made: int
    unscored: int
    day_value_units: int
    signals: tuple[SignalRecord, ...]
    voters: tuple[VoterRecord, ...]
    evidence_refused: int
    time_ns: int


class AgentsBody(Struct, frozen=True, kw_only=True):
    """The agents whose accounts the caller may use."""

    agents: list[AgentBody]


class ControlBody(Struct, frozen=True, kw_only=True):
    """Done. ``changed`` is false when the agent was in that state already."""

    agent: str
    paused: bool
    changed: bool


class AnalysedBody(Struct, frozen=True, kw_only=True):
    """The decision that was made; read it at ``/decisions/{decision_id}``."""

    decision_id: str


class SpentBody(Struct, frozen=True, kw_only=True):
    """What one purpose took today (UTC), reservations of running calls included."""

    purpose: str
    tokens: int
    milliseconds: int
    micro_usd: int


class ModelsBody(Struct, frozen=True, kw_only=True):
    """The language models in the order in which they are asked, and what they took today."""

    models: tuple[str, ...]
    day_micro_usd_max: int
    purposes: tuple[SpentBody, ...]


class _Endpoints:
    def __init__(
        self,
        *,
        bus: Bus,
        read_models: ReadModels,
        roster: Roster,
        authenticator: Authenticator,
        clock: Clock,
        models: ModelRoom | None,
    ) -> None:
        self._bus = bus
        self._reads = read_models
        self._roster = roster
        self._authenticator = authenticator
        self._clock = clock
        self._models = models

    def routes(self) -> list[ApiRoute]:
        """Every route, documented."""
        return [
            api_route(
                "GET", "/decisions", self.decisions, summary="Decisions, newest first.", tag=_TAG_DECISIONS,
                query=DecisionsQuery, response=DecisionsBody,
            ),
            api_route(
                "GET", "/decisions/{decision_id}", self.decision, summary="Why an agent decided as it did.",
                tag=_TAG_DECISIONS, response=WhyBody, reasons=(Reason.DECISION_NOT_FOUND, Reason.NOT_READY),
            ),
            api_route(
                "GET", "/decisions/{decision_id}/replay", self.replay,
                summary="Decide again from the stored inputs and compare.", tag=_TAG_DECISIONS, response=Replay,
                reasons=(Reason.DECISION_NOT_FOUND, Reason.NOT_READY),
            ),
            api_route(
                "GET", "/models", self.models, summary="Today's spending on language models.", tag=_TAG_AGENTS,
                response=ModelsBody,
            ),
            api_route(
                "GET", "/agents", self.agents, summary="The agents and their records.", tag=_TAG_AGENTS,
                response=AgentsBody,
            ),
            api_route(
                "POST", "/agents/{agent}/pause", self.pause, summary="Let an agent decide nothing on its own.",
                tag=_TAG_AGENTS, response=ControlBody, reasons=(Reason.NOT_FOUND, Reason.OVERLOADED),
                roles=(Role.TRADER, Role.RISK_OFFICER),
            ),
            api_route(
                "POST", "/agents/{agent}/resume", self.resume, summary="Let a paused agent go on.", tag=_TAG_AGENTS,
                response=ControlBody, reasons=(Reason.NOT_FOUND, Reason.OVERLOADED), roles=(Role.TRADER,),
            ),
            api_route(
                "POST", "/agents/{agent}/analyse", self.analyse, summary="Ask for a decision at once.",
                description="The decision may lead to an order, under the agent's mandate.", tag=_TAG_AGENTS,
                body=AnalyseBody, response=AnalysedBody, roles=(Role.TRADER,),
                reasons=(Reason.NOT_FOUND, Reason.SYMBOL_NOT_FOUND, Reason.AGENT_COOLING_DOWN, Reason.OVERLOADED),
            ),
        ]  # fmt: skip

    async def decisions(self, request: Request) -> Response:
        """List decisions of the caller's accounts."""
        principal = await self._authenticator.authenticate(request)
        query = query_struct(request, DecisionsQuery)
        # The read model knows no accounts for decisions, so whoever may see some of them looks further back.
        limit = query.limit if principal.all_accounts else ROWS_MAX
        found = await self._reads.decisions(symbol=query.symbol, limit=limit)
        seen = [decision for decision in found if principal.may_use(decision.account)][: query.limit]
        return json_response(DecisionsBody(decisions=[decision_body(decision) for decision in seen]))

    async def decision(self, request: Request) -> Response:
        """One decision with its explanation."""
        decision = await self._decision(request)
        parts = explain(decision)
        return json_response(WhyBody(decision=decision_body(decision), explanation=parts.text, parts=parts))

    async def _decision(self, request: Request) -> DecisionRecorded:
        """The decision that is asked for. Somebody else's is not found, like one that does not exist."""
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        decision_id = request.path_params["decision_id"]
        await self._caught_up()
        decision = await self._reads.decision(decision_id)
        if decision is None or not principal.may_use(decision.account):
            raise ApiError(Reason.DECISION_NOT_FOUND)
        return decision

    async def replay(self, request: Request) -> Response:
        """One decision, made again."""
        decision = await self._decision(request)
        if self._models is None:
            raise ApiError(Reason.NOT_READY, "This desk keeps no inputs of decisions.")
        return json_response(await replay(decision, self._models.store))

    async def models(self, request: Request) -> Response:
        """What language models there are and what they took today."""
        await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        if self._models is None:
            return json_response(ModelsBody(models=(), day_micro_usd_max=0, purposes=()))
        room = self._models
        spent = await room.budget.spent_on(self._clock.now_ns() // _NS_A_DAY)
        return json_response(
            ModelsBody(
                models=tuple(f"{provider.name}/{provider.model}" for provider in room.settings.providers),
                day_micro_usd_max=room.settings.budget.day.micro_usd_max,
                purposes=tuple(
                    SpentBody(
                        purpose=purpose,
                        tokens=amount.tokens,
                        milliseconds=amount.milliseconds,
                        micro_usd=amount.micro_usd,
                    )
                    for purpose, amount in spent.items()
                ),
            )
        )

    async def _caught_up(self) -> None:
        """Let a decision that has just been answered be found."""
        try:
            await self._reads.caught_up()
        except ReadModelsLagError as error:
            raise ApiError(Reason.NOT_READY, str(error), headers={"retry-after": "1"}) from None

    async def agents(self, request: Request) -> Response:
        """The agents of the caller's accounts."""
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        seen = [standing for standing in self._roster.all() if principal.may_use(standing.settings.account)]
        return json_response(AgentsBody(agents=[_agent_body(standing) for standing in seen]))

    async def pause(self, request: Request) -> Response:
        """Pause an agent."""
        return await self._control(request, paused=True, roles=(Role.TRADER, Role.RISK_OFFICER))

    async def resume(self, request: Request) -> Response:
        """Resume an agent."""
        return await self._control(request, paused=False, roles=(Role.TRADER,))

    async def _control(self, request: Request, *, paused: bool, roles: tuple[Role, ...]) -> Response:
        principal, standing = await self._agent(request, *roles)
        query_struct(request, _NoParameters)
        await refuse_body(request)
        answer = await self._bus.request(
            AgentControl(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                agent=standing.agent,
                paused=paused,
            )
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return json_response(ControlBody(agent=standing.agent, paused=paused, changed=not answer.duplicate))

    async def analyse(self, request: Request) -> Response:
        """Ask an agent for a decision."""
        principal, standing = await self._agent(request, Role.TRADER)
        query_struct(request, _NoParameters)
        body = await read_struct(request, AnalyseBody)
        answer = await self._bus.request(
            AnalyseNow(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                agent=standing.agent,
                symbol=body.symbol,
            )
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return json_response(AnalysedBody(decision_id=answer.detail))

    async def _agent(self, request: Request, *roles: Role) -> tuple[Principal, AgentStanding]:
        """Who asks, and the agent they ask about, whose account must be theirs to use."""
        principal = await self._authenticator.authenticate(request)
        principal.require(*roles)
        standing = self._roster.get(request.path_params["agent"])
        if standing is None:
            raise ApiError(Reason.NOT_FOUND, "There is no such agent, or the desk has only just started.")
        principal.require_account(standing.settings.account)
        return principal, standing


class _NoParameters(Struct, frozen=True):
    """A query without parameters, so that one given by mistake is refused."""


def decision_body(decision: DecisionRecorded) -> DecisionBody:
    """A decision as the API shows it."""
    fields = {name: getattr(decision, name) for name in DecisionBody.__struct_fields__}
    fields["reason"] = decision.reason.name
    fields["decided_time_ns"] = decision.decided_time_ns or decision.time_ns
    return DecisionBody(**fields)


def _agent_body(standing: AgentStanding) -> AgentBody:
    return AgentBody(**{name: getattr(standing, name) for name in AgentBody.__struct_fields__})


def build_api(
    *,
    bus: Bus,
    read_models: ReadModels,
    roster: Roster,
    authenticator: Authenticator,
    clock: Clock,
    registry: CollectorRegistry,
    readiness: Mapping[str, Callable[[], str | None]],
    openapi: OpenApiInfo | None = None,
    allowed_hosts: Sequence[str] = (),
    more_routes: Sequence[ApiRoute] = (),
    models: ModelRoom | None = None,
) -> ASGIApp:
    """The ASGI app of the agents' service. ``more_routes``: the conversation's."""
    endpoints = _Endpoints(
        bus=bus, read_models=read_models, roster=roster, authenticator=authenticator, clock=clock, models=models
    )
    return service_app(
        service="llm-agents",
        title="Polaris Synapse agents",
        routes=[*endpoints.routes(), *more_routes],
        registry=registry,
        readiness=readiness,
        openapi=openapi,
        allowed_hosts=allowed_hosts,
    )
