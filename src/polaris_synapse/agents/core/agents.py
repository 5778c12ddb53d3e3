"""The agents core: folds markets, ledger and orders, decides on time and on request, and follows what it decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from polaris_synapse.agents.core import standing
from polaris_synapse.agents.core.deliberation import Place, begin, finish, finish_overdue, in_order, take_answer
from polaris_synapse.agents.core.evidence import EVERY_SYMBOL, EVIDENCE_SYMBOLS_MAX, item_of, keep
from polaris_synapse.agents.core.flow import NANOSECONDS
from polaris_synapse.agents.core.following import Following
from polaris_synapse.agents.core.market import CANDLE_SECONDS, Market, market_key
from polaris_synapse.agents.core.reflection import Memory
from polaris_synapse.agents.core.scoring import score_due
from polaris_synapse.agents.core.state import (
    AGENTS_MAX,
    MANDATES_MAX,
    MARKETS_MAX,
    SNAPSHOT_VERSION,
    Agent,
    AgentsState,
    settings_problem,
)
from polaris_synapse.agents.core.tracking import (
    Tracked,
    close_without_order,
    follow_approval,
    follow_execution,
    follow_order,
)
from polaris_synapse.bus.core import NOTHING, decode_state, encode_state, hash_state
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.messages import Answer, Message
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.reasons import Reason

#: A proposal of which no order is known after this long is given up. The shell gives up far earlier and says so.
PROPOSAL_SECONDS_MAX: Final = 120
#: Asking for a decision on a symbol again within this time answers AGENT_COOLING_DOWN.
ANALYSE_SPACING_NS: Final = NANOSECONDS
#: How often every agent's standing is told to whoever listens.
STANDING_SECONDS: Final = 10


class AgentsCore(Following):
    """The analysts, pure. ``valuation`` is the asset in which mandates and equity are given."""

    name = "agents"

    def __init__(self, *, valuation: Asset, partition: int = 0) -> None:
        self._place = Place(valuation=valuation, partition=partition)
        super().__init__(AgentsState())
        self._handlers |= {
            m.Tick: self._tick,
            m.HostStarted: self._host_started,
            m.ListInstrument: self._list_instrument,
            m.SetAgents: self._set_agents,
            m.AgentControl: self._control,
            m.AnalyseNow: self._analyse_now,
            m.SetMandate: self._set_mandate,
            m.MarketSummary: self._market_summary,
            m.ProposalClosed: self._proposal_closed,
            m.ApprovalChanged: self._approval_changed,
            m.SetStanding: lambda c: standing.set_standing(self._state.standing, self._around(), c),
            m.CancelStanding: lambda c: standing.cancel_standing(self._state.standing, self._around(), c),
            m.StandingClosed: lambda c: standing.on_closed(self._state.standing, self._around(), c),
            m.OpinionGiven: self._opinion_given,
            m.SentimentScored: self._evidence,
            m.OnchainObserved: self._evidence,
        }

    def snapshot(self) -> bytes:
        """The whole state."""
        return encode_state(SNAPSHOT_VERSION, self._state)

    def restore(self, snapshot: bytes, /) -> None:
        """Replace the state. Raises SnapshotError."""
        self._state = decode_state(SNAPSHOT_VERSION, AgentsState, snapshot)

    def state_hash(self) -> str:
        """The hash of the state."""
        return hash_state(self.snapshot())

    # Markets and accounts.

    def _list_instrument(self, message: m.ListInstrument) -> Sequence[Message]:
        instrument, known = message.instrument, self._state.instruments.get(message.instrument.symbol)
        if known is None and len(self._state.instruments) >= MARKETS_MAX:
            return NOTHING
        # Risk refuses a change of the grid, so the instrument stays what it is here too.
        grid_kept = known is None or (known.tick_units, known.lot_units) == (
            instrument.tick_units,
            instrument.lot_units,
        )
        if grid_kept:
            self._state.instruments[instrument.symbol] = instrument
            self._state.listed.setdefault(instrument.symbol, message.time_ns)
        return NOTHING

    def _market_summary(self, message: m.MarketSummary) -> Sequence[Message]:
        state, symbol = self._state, message.symbol
        if symbol not in state.instruments:
            return NOTHING
        for seconds in state.candle_lengths:
            key = market_key(symbol, seconds)
            market = state.markets.get(key)
            if market is None:
                market = state.markets[key] = Market.of(symbol, seconds)
            market.fold(message)
        return standing.on_summary(state.standing, self._around(), message)

    def _evidence(self, message: m.SentimentScored | m.OnchainObserved) -> Sequence[Message]:
        state, symbol = self._state, message.symbol
        item = item_of(message)
        known = symbol == EVERY_SYMBOL or symbol in state.instruments
        if item is None or not known or (symbol not in state.evidence and len(state.evidence) >= EVIDENCE_SYMBOLS_MAX):
            state.evidence_refused += 1
            return NOTHING
        state.evidence[symbol] = keep(state.evidence.get(symbol, []), item)
        return NOTHING

    # Commands.

    def _set_agents(self, message: m.SetAgents) -> Sequence[Message]:
        state, settings = self._state, message.settings
        problem = settings_problem(settings)
        agent = state.agents.get(settings.agent)
        if not problem and agent is None and len(state.agents) >= AGENTS_MAX:
            problem = f"There are {AGENTS_MAX} agents already."
        if problem:
            return (self._answer(message, Reason.INVALID_VALUE, problem),)
        if agent is None:
            agent = state.agents[settings.agent] = Agent(settings=settings)
        agent.take_settings(settings, state.clock_ns)
        self._measure_what_agents_use()
        return (self._standing(agent), self._answer(message))

    def _measure_what_agents_use(self) -> None:
        """Keep candles of the lengths that some agent measures, and forget the others."""
        state = self._state
        state.candle_lengths = tuple(sorted({agent.settings.candle_seconds for agent in state.agents.values()}))
        for key, market in list(state.markets.items()):
            if market.candle_seconds not in state.candle_lengths:
                del state.markets[key]

    def _control(self, message: m.AgentControl) -> Sequence[Message]:
        agent = self._state.agents.get(message.agent)
        if agent is None:
            return (self._answer(message, Reason.NOT_FOUND, f"There is no agent {message.agent}."),)
        unchanged = agent.paused == message.paused
        agent.paused = message.paused
        return (self._standing(agent), self._answer(message, duplicate=unchanged))

    def _analyse_now(self, message: m.AnalyseNow) -> Sequence[Message]:
        state = self._state
        agent = state.agents.get(message.agent)
        if agent is None:
            return (self._answer(message, Reason.NOT_FOUND, f"There is no agent {message.agent}."),)
        if message.symbol not in state.instruments:
            return (self._answer(message, Reason.SYMBOL_NOT_FOUND, f"There is no instrument {message.symbol}."),)
        schedule = agent.schedules.get(message.symbol)
        if schedule is None:
            detail = f"The agent {message.agent} does not follow {message.symbol}."
            return (self._answer(message, Reason.INVALID_VALUE, detail),)
        if schedule.decided_ns and state.clock_ns - schedule.decided_ns < ANALYSE_SPACING_NS:
            detail = f"The last decision is {schedule.decision_id}."
            return (self._answer(message, Reason.AGENT_COOLING_DOWN, detail),)
        produced = begin(state, self._place, agent, message.symbol, schedule)
        return (*produced, self._answer(message, detail=schedule.decision_id))

    def _set_mandate(self, message: m.SetMandate) -> Sequence[Message]:
        mandate, mandates = message.mandate, self._state.mandates
        by_agent = mandates.get(mandate.account, {})
        if mandate.agent in by_agent or sum(map(len, mandates.values())) < MANDATES_MAX:
            mandates[mandate.account] = {**by_agent, mandate.agent: mandate}
        return NOTHING

    def _answer(
        self, command: m.Command, reason: Reason = Reason.NONE, detail: str = "", *, duplicate: bool = False
    ) -> Answer:
        return Answer(
            time_ns=self._state.clock_ns,
            request_id=command.request_id,
            reason=reason,
            detail=detail,
            duplicate=duplicate,
        )

    # Time.

    def _tick(self, message: m.Tick) -> Sequence[Message]:
        state = self._state
        produced: list[Message] = []
        for tracked in self._tracked_in_order():
            if tracked.expects_order:
                produced += self._expire(tracked)
            if not tracked.scored and state.clock_ns >= tracked.due_ns:
                produced += self._score(tracked)
            self._drop_if_done(tracked)
        produced += finish_overdue(state, self._place)
        for _, agent in sorted(state.agents.items()):
            active = agent.settings.enabled and not agent.paused
            for index, symbol in enumerate(agent.settings.symbols):
                schedule = agent.schedules[symbol]
                if state.clock_ns >= schedule.due_ns:
                    schedule.due_ns = agent.next_due(index, state.clock_ns)
                    if active and symbol in state.instruments:
                        produced += begin(state, self._place, agent, symbol, schedule)
        produced += standing.on_tick(state.standing, self._around())
        if state.clock_ns >= state.standings_due_ns:
            produced += self._standings()
        return produced

    def _host_started(self, message: m.HostStarted) -> Sequence[Message]:
        """Close what the restart has lost.

        A submission is journaled before its answer, so whatever became of a proposal has been folded by now. One that
        still has no order never reached the journal, and the proposal is not sent again: no order will come of it.
        """
        produced: list[Message] = []
        for pending in in_order(self._state):
            produced += finish(self._state, self._place, pending, lost="The desk restarted before a model answered.")
        for tracked in self._tracked_in_order():
            if tracked.expects_order:
                detail = "The desk restarted before the order was placed."
                produced.append(self._close(tracked, Reason.AGENT_PROPOSAL_EXPIRED, detail))
                self._drop_if_done(tracked)
        book = self._state.standing
        produced += standing.on_host_started(book, self._around())
        return [*produced, *standing.listed(book, self._around()), *self._standings()]

    def _standings(self) -> list[Message]:
        self._state.standings_due_ns = self._state.clock_ns + STANDING_SECONDS * NANOSECONDS
        return [self._standing(agent) for _, agent in sorted(self._state.agents.items())]

    def _standing(self, agent: Agent) -> Message:
        name = agent.settings.agent
        unscored = sum(not t.scored and t.record.agent == name for t in self._state.tracked.values())
        return agent.standing(unscored, self._state.clock_ns, self._state.evidence_refused)

    # Decisions.

    def _opinion_given(self, message: m.OpinionGiven) -> Sequence[Message]:
        return take_answer(self._state, self._place, message)

    # What becomes of them.

    def _around(self) -> standing.Surroundings:
        """What standing instructions are measured against."""
        state = self._state
        return standing.Surroundings(state.instruments, state.accounts, self._place.valuation.code, state.clock_ns)

    def _approval_changed(self, message: m.ApprovalChanged) -> Sequence[Message]:
        order = message.approval.order
        tracked = self._state.tracked.get(order.decision_id)
        if tracked is None or tracked.record.order != order:
            return NOTHING
        revised = follow_approval(tracked, message.approval, self._state.clock_ns)
        return (revised,) if revised is not None else NOTHING

    def _own_order_updated(self, message: m.OrderUpdated) -> Sequence[Message]:
        order = message.order
        request = order.request
        fired = standing.on_order(self._state.standing, self._around(), message)
        if fired:
            return fired
        tracked = self._state.tracked.get(request.decision_id)
        wanted = tracked.record.order if tracked is not None else None
        # Anybody could write a decision's id on an order of theirs; only the one that was proposed counts.
        if (
            tracked is None
            or wanted is None
            or (request.account, request.client_order_id) != (wanted.account, wanted.client_order_id)
        ):
            return NOTHING
        revised = follow_order(tracked, order, self._state.instruments[wanted.symbol], self._state.clock_ns)
        self._settle(tracked, tracked.used_units(order))
        self._drop_if_done(tracked)
        return (revised,) if revised is not None else NOTHING

    def _own_execution(self, message: m.ExecutionRecorded) -> Sequence[Message]:
        tracked = self._state.tracked.get(message.decision_id)
        if tracked is None or tracked.record.order_id != message.order_id:
            return NOTHING
        instrument = self._state.instruments[tracked.record.symbol]
        revised = follow_execution(tracked, message, instrument, self._state.clock_ns)
        return (revised,) if revised is not None else NOTHING

    def _proposal_closed(self, message: m.ProposalClosed) -> Sequence[Message]:
        tracked = self._state.tracked.get(message.decision_id)
        if tracked is None or tracked.record.agent != message.agent or not tracked.expects_order:
            return NOTHING
        if message.reason is Reason.TIMED_OUT:
            # An order may have come of it. It is waited for, and given up with every other after its time.
            detail = "It is not known whether the order was placed; the desk waits for it."
            return (tracked.revise(self._state.clock_ns, reason=message.reason, detail=detail),)
        closed = self._close(tracked, message.reason, message.detail)
        self._drop_if_done(tracked)
        return (closed,)

    def _expire(self, tracked: Tracked) -> list[Message]:
        if self._state.clock_ns - tracked.record.decided_time_ns <= PROPOSAL_SECONDS_MAX * NANOSECONDS:
            return []
        detail = f"No order came of the proposal within {PROPOSAL_SECONDS_MAX} seconds."
        return [self._close(tracked, Reason.AGENT_PROPOSAL_EXPIRED, detail)]

    def _close(self, tracked: Tracked, reason: Reason, detail: str) -> Message:
        closed = close_without_order(tracked, reason, detail, self._state.clock_ns)
        self._settle(tracked, 0)
        return closed

    def _settle(self, tracked: Tracked, used_units: int) -> None:
        """Keep the mandate's count in step with what an order uses of it, as risk does.

        Also when an order appears after its proposal was given up, or fills after its end.
        """
        agent = self._state.agents.get(tracked.record.agent)
        more = used_units - tracked.charged_units
        if agent is None or not more:
            return
        tracked.charged_units = used_units
        if more > 0:
            tracked.day = agent.charge(more, self._state.clock_ns)
        else:
            agent.release(-more, tracked.day)

    def _score(self, tracked: Tracked) -> list[Message]:
        state, record = self._state, tracked.record
        agent = state.agents.get(record.agent)
        rates = agent.rates(record.symbol) if agent is not None and record.symbol in agent.schedules else {}
        instrument = state.instruments[record.symbol]
        seconds = agent.settings.candle_seconds if agent is not None else CANDLE_SECONDS
        market = state.markets.get(market_key(record.symbol, seconds))
        memory = agent.memory(record.symbol) if agent is not None and record.symbol in agent.schedules else Memory()
        scored = score_due(tracked, market, instrument, rates, memory, state.clock_ns)
        return [scored] if scored is not None else []

    def _tracked_in_order(self) -> list[Tracked]:
        return sorted(self._state.tracked.values(), key=lambda tracked: tracked.number)

    def _drop_if_done(self, tracked: Tracked) -> None:
        if tracked.is_done:
            self._state.tracked.pop(tracked.record.decision_id, None)
