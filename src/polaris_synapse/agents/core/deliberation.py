"""How a decision comes about: gather its case, decide, and where the agent asks language models, wait for them.

A model's answer is a message like any other, so a replay decides as the desk did. What came back, or that nothing came
by the deadline, is decided with the market, the ledger and the mandate as they are *then*; only the facts that the
models cite are those of the question.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.agents.core.accounts import AccountBook
from polaris_synapse.agents.core.case import Case
from polaris_synapse.agents.core.decide import Outcome, decide
from polaris_synapse.agents.core.evidence import EVERY_SYMBOL, known_at
from polaris_synapse.agents.core.flow import NANOSECONDS
from polaris_synapse.agents.core.market import Market, market_key
from polaris_synapse.agents.core.opinions import Answered
from polaris_synapse.agents.core.point_in_time import PointInTime
from polaris_synapse.agents.core.reflection import recall, trial_ppm
from polaris_synapse.agents.core.scoring import give_up
from polaris_synapse.agents.core.signals import NoReading, read_market
from polaris_synapse.agents.core.sizing import Means
from polaris_synapse.agents.core.state import TRACKED_MAX, Agent, AgentsState, Pending, Schedule
from polaris_synapse.agents.core.tracking import Tracked
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Fact, Message
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.reasons import Reason

#: Beyond the models' own time: what the shell may take to bring their answers to the log.
ANSWER_GRACE_SECONDS: Final = 3
#: Facts of these sources stay in the house: a model's vendor need not know what an account holds or may do.
PRIVATE_SOURCES: Final = ("ledger/", "mandate/", "agent/sizing")


class Place(Struct, frozen=True):
    """What a core is made with: the asset in which mandates and equity are given, and its partition."""

    valuation: Asset
    partition: int


def begin(state: AgentsState, place: Place, agent: Agent, symbol: str, schedule: Schedule) -> list[Message]:
    """Decide on a symbol, or ask language models first. The decision's id is in ``schedule`` afterwards."""
    number = state.decisions_made + 1
    decision_id = f"D{place.partition}-{number}"
    outcome = decide(gather(state, place, agent, symbol, decision_id))
    state.decisions_made = number
    agent.decisions_made += 1
    schedule.decided_ns, schedule.decision_id = state.clock_ns, decision_id
    if not outcome.wants_models:
        return _conclude(state, agent, schedule, outcome, number)
    return [_ask(state, agent, outcome, number)]


def take_answer(state: AgentsState, place: Place, given: m.OpinionGiven) -> list[Message]:
    """Take a model's answer in; the decision is made once every role has one. A late or unknown answer is ignored."""
    pending = state.pending.get(given.decision_id)
    if (
        pending is None
        or pending.agent != given.agent
        or given.role not in pending.roles
        or any(answer.role == given.role for answer in pending.answers)
    ):
        return []
    pending.answers.append(
        Answered(
            role=given.role,
            reason=given.reason,
            detail=given.detail,
            output=given.output,
            model=given.model,
            call_digest=given.call_digest,
            cost_micro_usd=given.cost_micro_usd,
            training_cutoff_ns=given.training_cutoff_ns,
        )
    )
    return finish(state, place, pending) if len(pending.answers) == len(pending.roles) else []


def finish_overdue(state: AgentsState, place: Place) -> list[Message]:
    """Decide what has waited for its models long enough."""
    overdue = [pending for pending in in_order(state) if state.clock_ns >= pending.deadline_ns]
    return [message for pending in overdue for message in finish(state, place, pending)]


def finish(state: AgentsState, place: Place, pending: Pending, lost: str = "") -> list[Message]:
    """Decide with the answers there are. ``lost`` says why the missing ones will never come."""
    del state.pending[pending.decision_id]
    agent = state.agents.get(pending.agent)
    schedule = agent.schedules.get(pending.symbol) if agent is not None else None
    if agent is None or schedule is None:
        # The agent was told to follow other symbols meanwhile: nobody decides any more.
        return []
    answers = {answer.role: answer for answer in pending.answers}
    unanswered = lost or "No language model answered in time, so nothing is ordered."
    case = gather(state, place, agent, pending.symbol, pending.decision_id)
    case = replace(
        case,
        # What was asked for counts, also where the settings have changed since.
        settings=replace(case.settings, model_roles=pending.roles),
        asked=pending.asked,
        answers=tuple(
            answers.get(role) or Answered(role=role, reason=Reason.AGENT_MODEL_UNAVAILABLE, detail=unanswered)
            for role in pending.roles
        ),
    )
    return _conclude(state, agent, schedule, decide(case), pending.number)


def in_order(state: AgentsState) -> list[Pending]:
    """What waits for models, oldest first."""
    return sorted(state.pending.values(), key=lambda pending: pending.number)


def gather(state: AgentsState, place: Place, agent: Agent, symbol: str, decision_id: str) -> Case:
    """Everything that a decision on a symbol may use now. Raises LookAheadError where the state is ahead of it."""
    settings, clock_ns = agent.settings, state.clock_ns
    market = state.markets.get(market_key(symbol, settings.candle_seconds))
    reading = read_market(market or Market.of(symbol, settings.candle_seconds), PointInTime(clock_ns))
    missing = reading if isinstance(reading, NoReading) else None
    read = None if isinstance(reading, NoReading) else reading
    regime = read.regime.value if read is not None else ""
    memory = agent.memories.get(symbol)
    mandate = state.mandates.get(settings.account, {}).get(settings.agent)
    schedule = agent.schedules[symbol]
    items = [*state.evidence.get(symbol, ()), *state.evidence.get(EVERY_SYMBOL, ())]
    return Case(
        decision_id=decision_id,
        clock_ns=clock_ns,
        settings=settings,
        instrument=state.instruments[symbol],
        listed_time_ns=state.listed.get(symbol, 0),
        valuation=place.valuation,
        mandate=mandate,
        means=_means(state, agent, mandate, state.instruments[symbol]),
        paused=agent.paused or not settings.enabled,
        busy=_busy(state, agent, symbol, schedule, decision_id),
        reading=read,
        missing=missing,
        items=known_at(items, clock_ns) if items else (),
        records={name: replace(record) for name, record in memory.records(regime).items()} if memory else {},
        lessons=recall(memory.lessons, regime=regime, clock_ns=clock_ns) if memory else (),
    )


def _means(state: AgentsState, agent: Agent, mandate: m.Mandate | None, instrument: Instrument) -> Means | None:
    settings = agent.settings
    account = state.accounts.get(settings.account)
    if account is None or not account.metrics_time_ns or mandate is None:
        return None
    promised = sum(t.promised_units for t in state.tracked.values() if t.record.account == settings.account)
    codes = (instrument.base.code, instrument.quote.code)
    own = AccountBook(
        # Copies of what concerns the symbol: a case is a value and does not change with the ledger.
        holdings={code: replace(account.holdings[code]) for code in codes if code in account.holdings},
        positions={s: replace(account.positions[s]) for s in (instrument.symbol,) if s in account.positions},
        equity_units=account.equity_units,
        metrics_time_ns=account.metrics_time_ns,
    )
    return Means(
        settings=settings,
        mandate=mandate,
        account=own,
        day_used_units=agent.used_today(state.clock_ns),
        promised_units=promised,
    )


def _busy(state: AgentsState, agent: Agent, symbol: str, schedule: Schedule, decision_id: str) -> str:
    name, account = agent.settings.agent, agent.settings.account
    for tracked in sorted(state.tracked.values(), key=lambda tracked: tracked.number):
        record = tracked.record
        if tracked.waiting and (record.agent, record.account, record.symbol) == (name, account, symbol):
            return f"An earlier order of the agent on {symbol} has not ended yet."
    for pending in in_order(state):
        if (pending.agent, pending.symbol) == (name, symbol) and pending.decision_id != decision_id:
            return f"An earlier decision of the agent on {symbol} waits for a language model."
    cooldown_ns = agent.settings.cooldown_seconds * NANOSECONDS
    if schedule.proposed_ns and state.clock_ns - schedule.proposed_ns < cooldown_ns:
        return f"The agent leaves {symbol} alone for a while after an order."
    return ""


def _ask(state: AgentsState, agent: Agent, outcome: Outcome, number: int) -> Message:
    settings, record = agent.settings, outcome.record
    public = [fact for fact in record.facts if not fact.source.startswith(PRIVATE_SOURCES)]
    # Ids of their own, so that they stay apart from the facts of the decision that is made in the end.
    asked = tuple(
        Fact(
            fact_id=f"{record.decision_id}q.{index}",
            name=fact.name,
            value=fact.value,
            unit=fact.unit,
            source=fact.source,
            time_ns=fact.time_ns,
        )
        for index, fact in enumerate(public, start=1)
    )
    deadline_ns = state.clock_ns + settings.model_seconds_max * NANOSECONDS
    memory = agent.memories.get(record.symbol)
    regime = outcome.reading.regime.value if outcome.reading is not None else ""
    state.pending[record.decision_id] = Pending(
        decision_id=record.decision_id,
        number=number,
        agent=settings.agent,
        symbol=record.symbol,
        roles=settings.model_roles,
        asked=asked,
        asked_ns=state.clock_ns,
        deadline_ns=deadline_ns + ANSWER_GRACE_SECONDS * NANOSECONDS,
    )
    return m.OpinionWanted(
        time_ns=state.clock_ns,
        agent=settings.agent,
        decision_id=record.decision_id,
        symbol=record.symbol,
        roles=settings.model_roles,
        deadline_ns=deadline_ns,
        facts=asked,
        lessons=recall(memory.lessons, regime=regime, clock_ns=state.clock_ns) if memory else (),
    )


def _conclude(state: AgentsState, agent: Agent, schedule: Schedule, outcome: Outcome, number: int) -> list[Message]:
    """Record a decision, follow it, and propose its order."""
    record, produced = outcome.record, list[Message]()
    tracked = _track(state, agent, schedule, outcome, number)
    if tracked is not None:
        produced += _make_room(state)
        state.tracked[record.decision_id] = tracked
    produced.append(record)
    produced.append(
        m.DecisionCase(
            time_ns=state.clock_ns,
            decision_id=record.decision_id,
            case=outcome.case,
            digest=record.case_digest,
        )
    )
    if record.order is not None:
        schedule.proposed_ns = state.clock_ns
        agent.proposals_made += 1
        produced.append(
            m.ProposalMade(
                time_ns=state.clock_ns,
                agent=agent.settings.agent,
                decision_id=record.decision_id,
                order=record.order,
            )
        )
    return produced


def _track(state: AgentsState, agent: Agent, schedule: Schedule, outcome: Outcome, number: int) -> Tracked | None:
    reading, view, record = outcome.reading, outcome.view, outcome.record
    if reading is None or view is None:
        return None
    clock_ns, horizon_ns = state.clock_ns, agent.settings.horizon_seconds * NANOSECONDS
    since_last_ns = clock_ns - schedule.voted_ns if schedule.voted_ns else 0
    schedule.voted_ns = clock_ns
    tracked = Tracked(
        record=record,
        number=number,
        due_ns=clock_ns + horizon_ns,
        reference_half_ticks=reading.half_ticks,
        fee_ppm=state.instruments[record.symbol].taker_fee_ppm,
        signals={signal.value: value for signal, value in view.signals.items()},
        scored=False,
        regime=reading.regime.value,
        leans=outcome.leans,
        trial_ppm=trial_ppm(since_last_ns, horizon_ns),
    )
    if record.order is not None:
        tracked.waiting = True
        tracked.value_units = tracked.charged_units = outcome.value_units
        tracked.day = agent.charge(outcome.value_units, clock_ns)
    return tracked


def _make_room(state: AgentsState) -> list[Message]:
    """Give up the score of the oldest decision where too many wait. Those with an open order are kept."""
    if len(state.tracked) < TRACKED_MAX:
        return []
    waiting = sorted(state.tracked.values(), key=lambda tracked: tracked.number)
    oldest = next((item for item in waiting if not item.waiting), None)
    if oldest is None:
        return []
    del state.tracked[oldest.record.decision_id]
    detail = f"Not scored: more than {TRACKED_MAX} decisions were waiting for it."
    return [] if oldest.scored else [give_up(oldest, detail, state.clock_ns)]
