"""The agents' service on a running host: proposals become orders once, and the HTTP interface tells why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import HTTPConnection
from tests.unit.agents.markets import SECOND, SETTINGS, new_core, set_up, trending

from polaris_synapse.agents.service import AgentsService
from polaris_synapse.agents.settings import AgentsServiceSettings
from polaris_synapse.bus.core import NOTHING
from polaris_synapse.bus.embedded import EmbeddedHost
from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.messages import (
    AgentStanding,
    Answer,
    DecisionRecorded,
    Message,
    OrderUpdated,
    StandingChanged,
    SubmitOrder,
)
from polaris_synapse.domain.orders import Order, OrderRequest, OrderState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import TRADING_DECISIONS
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.cascade import FunctionCore
from polaris_synapse.testing.clock import START_NS, ManualClock
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

pytestmark = pytest.mark.anyio

PEOPLE = {
    "tom": Principal("tom", Role.TRADER, ("jarvis",)),
    "vera": Principal("vera", Role.VIEWER, ("*",)),
    "rita": Principal("rita", Role.RISK_OFFICER, ("*",)),
    "root": Principal("root", Role.ADMIN, ("*",)),
    "eve": Principal("eve", Role.TRADER, ("main",)),
}
MINUTES = 30
NOW = START_NS + MINUTES * 60 * SECOND


class HeaderAuthenticator:
    """Believes the header X-Person."""

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """The person named, or NOT_AUTHENTICATED."""
        person = PEOPLE.get(connection.headers.get("x-person", ""))
        if person is None:
            raise ApiError(Reason.NOT_AUTHENTICATED)
        return person


class Decisions:
    """The decisions part of the read models, fed from the bus; every other question is an error."""

    def __init__(self) -> None:
        self.latest: dict[str, DecisionRecorded] = {}
        self.revisions: list[DecisionRecorded] = []

    def take(self, decision: DecisionRecorded) -> None:
        """Keep a revision."""
        self.latest[decision.decision_id] = decision
        self.revisions.append(decision)

    async def caught_up(self) -> None:
        """The host publishes before it answers; let the follower run."""
        await anyio.lowlevel.checkpoint()

    async def decisions(self, *, symbol: str = "", limit: int = 20) -> list[DecisionRecorded]:
        """Newest first."""
        found = [decision for decision in reversed(self.latest.values()) if symbol in {"", decision.symbol}]
        return found[:limit]

    async def agents(self) -> list[AgentStanding]:
        """None yet."""
        return []

    async def standing_instructions(self) -> list[StandingChanged]:
        """None yet."""
        return []

    async def decision(self, decision_id: str) -> DecisionRecorded | None:
        """One decision."""
        return self.latest.get(decision_id)


Submit = Callable[[OrderRequest, str], Awaitable[Answer]]


class Entry:
    """Order entry that does what a test says and remembers what it was given."""

    def __init__(self, submit: Submit) -> None:
        self.given: list[tuple[OrderRequest, str]] = []
        self._submit = submit

    async def submit(self, order: OrderRequest, /, *, agent: str) -> Answer:
        """Remember, then do."""
        self.given.append((order, agent))
        return await self._submit(order, agent)


def risk(message: Message) -> Sequence[Message]:
    """A risk room that fills every order at once and answers."""
    if not isinstance(message, SubmitOrder):
        return NOTHING
    request = message.order
    order = Order(
        order_id=1_024,
        request=request,
        venue="paper",
        state=OrderState.FILLED,
        quantity_lots=request.quantity_lots,
        price_ticks=request.price_ticks,
        stop_price_ticks=0,
        filled_lots=request.quantity_lots,
        filled_notional_units=request.quantity_lots * request.price_ticks * 10,
    )
    return (
        OrderUpdated(time_ns=message.time_ns, order=order),
        Answer(time_ns=message.time_ns, request_id=message.request_id, order=order),
    )


class Running:
    """The service at work on a host, and a client for it."""

    def __init__(self, host: EmbeddedHost, clock: ManualClock, service: AgentsService, entry: Entry) -> None:
        self.host, self.clock, self.service, self.entry = host, clock, service, entry
        self.reads = Decisions()
        self.client = httpx2.AsyncClient(base_url="http://localhost")

    async def ask(
        self, method: str, path: str, *, person: str = "tom", body: object = None
    ) -> tuple[int, dict[str, Any]]:
        """The status and body of a request."""
        response = await self.client.request(method, path, headers={"x-person": person}, json=body)
        found: dict[str, Any] = response.json()
        return response.status_code, found

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has become true."""
        with anyio.fail_after(10):
            while not condition():  # noqa: ASYNC110  # what another task does has no event to wait for
                await anyio.sleep(0.002)

    async def analyse(self) -> str:
        """Ask for a decision; its id."""
        status, body = await self.ask("POST", "/agents/jarvis/analyse", body={"symbol": "BTCUSDT"})
        assert status == 200
        return str(body["decision_id"])

    async def settled(self, decision_id: str, action: str) -> DecisionRecorded:
        """The decision once it has come to ``action``."""
        await self.until(lambda: self.reads.latest[decision_id].action == action)
        return self.reads.latest[decision_id]


@asynccontextmanager
async def running(
    submit: Submit | None = None,
    *,
    settings: AgentsServiceSettings | None = None,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[Running]:
    """A host with agents and a stub of risk, half an hour into a rising market, and the service beside it."""
    clock = ManualClock()
    async with running_host([new_core(), FunctionCore("risk", risk)], clock=clock) as host:
        through_the_bus = _through(host, clock)
        entry = Entry(submit or through_the_bus)
        reads = Decisions()
        service = AgentsService(
            host,
            reads,  # type: ignore[arg-type]  # this room asks for decisions only
            entry,
            HeaderAuthenticator(),
            clock,
            registry or CollectorRegistry(),
            settings or AgentsServiceSettings(),
        )
        async with anyio.create_task_group() as tasks:
            desk = Running(host, clock, service, entry)
            desk.reads = reads
            transport = httpx2.ASGITransport(app=service.api())
            desk.client = httpx2.AsyncClient(transport=transport, base_url="http://localhost")
            tasks.start_soon(service.run)
            tasks.start_soon(_record, host, reads)
            await desk.until(lambda: all(check() is None for check in service.readiness().values()))
            # Once a day: only what a test asks for is decided.
            await host.send(set_up(time_ns=START_NS, settings=replace(SETTINGS, interval_seconds=86_400)))
            await host.send(trending(MINUTES, 3_000, lean=30, start_ns=START_NS, ticks=False))
            clock.advance_to_ns(NOW)
            await desk.until(lambda: service.roster.get("jarvis") is not None)
            try:
                yield desk
            finally:
                await desk.client.aclose()
                tasks.cancel_scope.cancel()


def _through(host: EmbeddedHost, clock: ManualClock) -> Submit:
    async def submit(order: OrderRequest, agent: str) -> Answer:
        return await host.request(SubmitOrder(time_ns=clock.now_ns(), actor=f"agent:{agent}", order=order))

    return submit


async def _record(host: EmbeddedHost, reads: Decisions) -> None:
    async with host.subscribe(
        (TRADING_DECISIONS,), name="record", backlog_messages_max=10_000, droppable=False
    ) as subscription:
        async for batch in subscription:
            for envelope in batch:
                if isinstance(envelope.message, DecisionRecorded):
                    reads.take(envelope.message)


def answers(*outcomes: Answer | Exception) -> Submit:
    """Order entry that answers so, one outcome a call, the last one for ever."""
    waiting = list(outcomes)

    async def submit(_: OrderRequest, __: str) -> Answer:
        outcome = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return submit


def answer(reason: Reason, detail: str = "") -> Answer:
    """An answer with a reason."""
    return Answer(time_ns=NOW, request_id="x", reason=reason, detail=detail)


async def test_a_proposal_becomes_an_order_and_its_end_is_on_record() -> None:
    """Asked for a decision, the agent proposes, order entry gets the order once, and the fill reaches the record."""
    registry = CollectorRegistry()
    async with running(registry=registry) as desk:
        decision_id = await desk.analyse()
        decision = await desk.settled(decision_id, "FILLED")
        assert [(order.decision_id, agent) for order, agent in desk.entry.given] == [(decision_id, "jarvis")]
        assert decision.order_id == 1_024
        status, why = await desk.ask("GET", f"/decisions/{decision_id}")
        assert status == 200
        assert why["decision"]["action"] == "FILLED"
        assert "The order was filled." in why["explanation"]
        assert why["decision"]["facts"][0]["fact_id"] == f"{decision_id}.1"
        text = generate_latest(registry).decode()
        assert 'polaris_agents_decisions_total{action="PROPOSED",agent="jarvis"' in text
        assert 'polaris_agents_submissions_total{reason="NONE"} 1.0' in text
        assert 'polaris_agents_order_outcomes_total{action="FILLED",agent="jarvis",reason="NONE"} 1.0' in text


@pytest.mark.parametrize(
    "outcome, action, reason, detail",
    [
        (answer(Reason.RATE_LIMITED, "Slow down."), "REFUSED", Reason.RATE_LIMITED, "Slow down."),
        (ApiError(Reason.ROLE_NOT_ALLOWED, "No."), "REFUSED", Reason.ROLE_NOT_ALLOWED, "No."),
        (BusError(Reason.OVERLOADED, "Full."), "REFUSED", Reason.OVERLOADED, "Full."),
        (ValueError("bug"), "REFUSED", Reason.INTERNAL_ERROR, "Order entry failed; the log has the details."),
    ],
)
async def test_a_refusal_is_recorded_and_never_repeated(
    outcome: Answer | Exception, action: str, reason: Reason, detail: str
) -> None:
    """Whatever order entry says or raises, it is asked once, and the record says why there is no order."""
    async with running(answers(outcome)) as desk:
        decision = await desk.settled(await desk.analyse(), action)
        assert (decision.reason, decision.detail) == (reason, detail)
        assert len(desk.entry.given) == 1


async def test_only_an_unknown_outcome_is_repeated_with_the_same_id() -> None:
    """After TIMED_OUT the same order goes out again, once, and risk's duplicate check makes that safe."""
    async with running(answers(answer(Reason.TIMED_OUT), answer(Reason.RATE_LIMITED))) as desk:
        await desk.settled(await desk.analyse(), "REFUSED")
        (first, _), (second, _) = desk.entry.given
        assert first == second
    async with running(answers(BusError(Reason.TIMED_OUT, "Too slow."))) as desk:
        decision_id = await desk.analyse()
        await desk.until(lambda: desk.reads.latest[decision_id].reason is Reason.TIMED_OUT)
        assert desk.reads.latest[decision_id].action == "PROPOSED"
        assert len(desk.entry.given) == 2


async def test_an_order_entry_that_hangs_counts_as_timed_out() -> None:
    """No answer in time is an unknown outcome, and the next proposal is not held up for ever."""

    async def hang(_: OrderRequest, __: str) -> Answer:
        await anyio.sleep_forever()
        raise AssertionError

    settings = AgentsServiceSettings(submit_seconds_max=0, submit_attempts_max=1)
    async with running(hang, settings=settings) as desk:
        decision_id = await desk.analyse()
        await desk.until(lambda: desk.reads.latest[decision_id].reason is Reason.TIMED_OUT)


async def test_an_old_proposal_is_dropped_and_recorded() -> None:
    """A proposal that waited too long never reaches order entry."""
    async with running(settings=AgentsServiceSettings(proposal_seconds_max=-1)) as desk:
        decision = await desk.settled(await desk.analyse(), "NOT_PLACED")
        assert decision.reason is Reason.AGENT_PROPOSAL_EXPIRED
        assert desk.entry.given == []


async def test_agents_are_paused_resumed_and_listed() -> None:
    """A trader and a risk officer may pause, only a trader resumes; the list shows it."""
    async with running() as desk:
        assert await desk.ask("POST", "/agents/jarvis/pause", person="rita") == (
            200,
            {"agent": "jarvis", "paused": True, "changed": True},
        )
        assert (await desk.ask("POST", "/agents/jarvis/pause"))[1]["changed"] is False
        await desk.until(lambda: desk.service.roster.all()[0].paused)
        _, listed = await desk.ask("GET", "/agents", person="vera")
        assert [(agent["agent"], agent["paused"]) for agent in listed["agents"]] == [("jarvis", True)]
        assert (await desk.ask("POST", "/agents/jarvis/resume", person="rita"))[0] == 403
        assert (await desk.ask("POST", "/agents/jarvis/resume"))[1]["paused"] is False
        assert (await desk.ask("GET", "/agents", person="eve"))[1] == {"agents": []}


@pytest.mark.parametrize(
    "method, path, person, body, status, reason",
    [
        ("GET", "/decisions", "", None, 401, "NOT_AUTHENTICATED"),
        ("GET", "/decisions?limit=0", "tom", None, 400, "INVALID_VALUE"),
        ("GET", "/decisions?limit=5000", "tom", None, 400, "INVALID_VALUE"),
        ("GET", "/decisions?colour=red", "tom", None, 400, "UNKNOWN_FIELD"),
        ("GET", "/decisions/D0-999", "tom", None, 404, "DECISION_NOT_FOUND"),
        ("GET", "/decisions/D0-1", "eve", None, 404, "DECISION_NOT_FOUND"),
        ("POST", "/agents/jarvis/pause", "vera", None, 403, "ROLE_NOT_ALLOWED"),
        ("POST", "/agents/jarvis/pause", "eve", None, 403, "ACCOUNT_NOT_ALLOWED"),
        ("POST", "/agents/nobody/pause", "tom", None, 404, "NOT_FOUND"),
        ("POST", "/agents/jarvis/pause", "tom", {"why": "x"}, 400, "UNKNOWN_FIELD"),
        ("POST", "/agents/jarvis/analyse", "tom", {"symbol": "XYZUSDT"}, 404, "SYMBOL_NOT_FOUND"),
        ("POST", "/agents/jarvis/analyse", "tom", {"symbol": ""}, 400, "INVALID_VALUE"),
        ("POST", "/agents/jarvis/analyse", "tom", {}, 400, "MISSING_FIELD"),
        ("POST", "/agents/jarvis/analyse", "rita", {"symbol": "BTCUSDT"}, 403, "ROLE_NOT_ALLOWED"),
        ("DELETE", "/agents", "tom", None, 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_bad_requests_are_refused_with_a_code(
    method: str, path: str, person: str, body: object, status: int, reason: str
) -> None:
    """Whoever may not, whatever does not exist and whatever is malformed gets a 4xx with a reason."""
    async with running() as desk:
        found, refused = await desk.ask(method, path, person=person, body=body)
        assert (found, refused["reason"]) == (status, reason)


async def test_decisions_are_listed_for_those_who_may_see_them() -> None:
    """Newest first, by symbol, and only of the caller's accounts."""
    async with running() as desk:
        first = await desk.analyse()
        desk.clock.advance(2)
        second = await desk.analyse()
        await desk.until(lambda: {first, second} <= set(desk.reads.latest))
        _, listed = await desk.ask("GET", "/decisions?symbol=BTCUSDT&limit=2")
        assert [decision["decision_id"] for decision in listed["decisions"]] == [second, first]
        assert listed["decisions"][0]["reason"] in {"AGENT_COOLING_DOWN", "AGENT_POSITION_ALREADY_HELD", "NONE"}
        assert (await desk.ask("GET", "/decisions", person="eve"))[1] == {"decisions": []}


async def test_too_much_haste_is_answered_so() -> None:
    """Two questions within a second: the second is told which decision there is."""
    async with running() as desk:
        decision_id = await desk.analyse()
        status, refused = await desk.ask("POST", "/agents/jarvis/analyse", body={"symbol": "BTCUSDT"})
        assert (status, refused["reason"]) == (422, "AGENT_COOLING_DOWN")
        assert decision_id in refused["detail"]


async def test_the_interface_is_documented_and_ready() -> None:
    """OpenAPI names every route, and readiness is true while proposals are listened to."""
    async with running() as desk:
        _, document = await desk.ask("GET", "/openapi.json")
        assert {
            "/decisions", "/decisions/{decision_id}", "/agents", "/agents/{agent}/pause", "/agents/{agent}/resume",
            "/agents/{agent}/analyse",
        } <= set(document["paths"])  # fmt: skip
        assert (await desk.ask("GET", "/ready"))[1] == {"ready": True, "service": "llm-agents", "failing": {}}
