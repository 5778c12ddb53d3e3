"""One decision: take the views, vote, size, write the thesis, check it. A pure function of a case."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from polaris_synapse.agents.core.case import Case, digest_of, encode_case
from polaris_synapse.agents.core.evidence import Mood, read_mood
from polaris_synapse.agents.core.facts import FactSheet, add_market_facts, add_view_facts, ppm_of
from polaris_synapse.agents.core.fusion import FACT, SUBJECTIVITY, fuse, lean_of, votes_of
from polaris_synapse.agents.core.grounding import check_thesis
from polaris_synapse.agents.core.market import CANDLES_MIN
from polaris_synapse.agents.core.opinions import NoOpinion, Opinion, read_opinion
from polaris_synapse.agents.core.point_in_time import PointInTime
from polaris_synapse.agents.core.signals import NoReading, Reading
from polaris_synapse.agents.core.sizing import Declined, Sized, order_of, size_order
from polaris_synapse.agents.core.thesis import (
    argued_thesis,
    held_thesis,
    names_in,
    no_view_thesis,
    order_thesis,
    view_thesis,
    vote_thesis,
)
from polaris_synapse.agents.core.view import Direction, View, form_view
from polaris_synapse.agents.core.vote_facts import add_mood_facts, add_vote_facts
from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import DecisionRecorded, Vote
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason, explain


class Action(StrEnum):
    """What came of a decision."""

    HELD = "HELD"
    PROPOSED = "PROPOSED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # held until a person decides
    NOT_PLACED = "NOT_PLACED"  # no order came of the proposal
    REFUSED = "REFUSED"  # the gateway, risk, compliance or the venue said no
    PLACED = "PLACED"
    FILLED = "FILLED"
    PARTLY_FILLED = "PARTLY_FILLED"  # ended with a part filled
    UNFILLED = "UNFILLED"  # ended with nothing filled


class Outcome(Struct, frozen=True, kw_only=True):
    """A decision and what its scoring needs later. ``value_units`` is what the order takes of the mandate.

    ``case`` is the canonical text whose digest the record names. ``wants_models``: code alone would order, the agent's
    settings ask for a model's opinion first, and none was asked yet; the record then says that nothing is ordered.
    """

    record: DecisionRecorded
    case: str
    reading: Reading | None = None
    view: View | None = None
    leans: dict[str, int] = {}
    value_units: int = 0
    wants_models: bool = False


class _Views(Struct, frozen=True, kw_only=True):
    """What everybody thinks: the market's view, outside evidence, models, and the vote over them."""

    market: View
    mood: Mood
    opinions: tuple[Opinion, ...]
    missing: tuple[NoOpinion, ...]
    votes: tuple[Vote, ...]
    fused: View


def decide(case: Case) -> Outcome:
    """Decide a case. Raises LookAheadError where anything in it is from after its clock."""
    gate = PointInTime(case.clock_ns)
    _admit(case, gate)
    sheet = FactSheet(case.decision_id, gate)
    if case.reading is None:
        return _no_view(case, sheet)
    views = _views(case, case.reading, gate)
    add_market_facts(sheet, case.reading, case.instrument)
    add_view_facts(sheet, views.market, case.clock_ns)
    add_mood_facts(sheet, views.mood, case.clock_ns)
    add_vote_facts(sheet, views.votes, views.fused, views.market, case.clock_ns)
    sheet.ppm("confidence needed", case.settings.confidence_ppm_min, "agent/settings", case.clock_ns)
    sized = _order_or_not(case, views, case.reading)
    asking = isinstance(sized, Sized) and bool(case.settings.model_roles) and not case.answers
    if isinstance(sized, Sized) and views.missing:
        sized = Declined(reason=views.missing[0].reason, detail=views.missing[0].detail)
    _add_ledger_facts(case, sized, sheet)
    for opinion in views.opinions:
        sheet.quote(opinion.cited)
    thesis = _thesis(case, case.reading, views, sized, sheet)
    problems = check_thesis(thesis, sheet.facts, names=names_in(case.instrument, case.settings))
    if problems:
        sized = Declined(reason=Reason.AGENT_NO_VIEW, detail="The thesis does not hold: " + " ".join(problems))
        thesis = "The thesis did not hold against its facts, so there is none and nothing is ordered."
    order = None
    if isinstance(sized, Sized):
        order = order_of(sized, case.instrument, case.settings, case.decision_id, case.mandate, case.clock_ns)
    text = encode_case(case)
    return Outcome(
        record=_record(case, text, views, thesis, sheet, sized, order),
        case=text,
        reading=case.reading,
        view=views.fused,
        leans={vote.voter: vote.lean_ppm for vote in views.votes},
        value_units=sized.value_units if isinstance(sized, Sized) else 0,
        wants_models=asking,
    )


def _admit(case: Case, gate: PointInTime) -> None:
    """The gate for what no fact is made of; facts pass it one by one."""
    gate.admit(case.listed_time_ns, f"the listing of {case.instrument.symbol}")
    if case.reading is not None:
        gate.admit(case.reading.time_ns, "the last market summary")
        gate.admit(case.reading.candle_time_ns, "the last closed candle")
    for lesson in case.lessons:
        gate.admit(lesson.learned_time_ns, f"the lesson of {lesson.decision_id}")
    for fact in case.asked:
        gate.admit(fact.time_ns, f"the fact {fact.fact_id}")


def _views(case: Case, reading: Reading, gate: PointInTime) -> _Views:
    market, mood = form_view(reading), read_mood(case.items, gate)
    names = names_in(case.instrument, case.settings)
    read = [read_opinion(answered, case.asked, names) for answered in case.answers]
    opinions = tuple(found for found in read if isinstance(found, Opinion))
    missing = [found for found in read if isinstance(found, NoOpinion)]
    answered = {answer.role for answer in case.answers}
    missing += [
        NoOpinion(
            role=role,
            reason=Reason.AGENT_MODEL_UNAVAILABLE,
            detail=f"No language model answered for the {role} agent in time.",
        )
        for role in case.settings.model_roles
        if role not in answered
    ]
    leans = {FACT: lean_of(market)}
    if mood.kinds:
        leans[SUBJECTIVITY] = mood.lean_ppm
    leans |= {opinion.voter: opinion.lean_ppm for opinion in opinions}
    votes = votes_of(leans, case.records)
    return _Views(
        market=market,
        mood=mood,
        opinions=opinions,
        missing=tuple(missing),
        votes=votes,
        fused=fuse(market, votes),
    )


def _no_view(case: Case, sheet: FactSheet) -> Outcome:
    missing = case.missing or NoReading(f"Nothing has been heard of {case.instrument.symbol} yet.")
    if missing.candles is not None:
        sheet.count("closed candles", missing.candles, "candles", "agent/history", case.clock_ns)
        sheet.count("candles needed", CANDLES_MIN, "candles", "agent/settings", case.clock_ns)
    declined = Declined(reason=Reason.AGENT_NO_VIEW, detail=missing.detail)
    thesis = no_view_thesis(case.instrument.symbol, missing, sheet)
    text = encode_case(case)
    return Outcome(record=_record(case, text, None, thesis, sheet, declined, None), case=text)


def _order_or_not(case: Case, views: _Views, reading: Reading) -> Sized | Declined:
    """Everything that may stand between a view and an order, in this order; the first that does answers."""
    settings, instrument, view = case.settings, case.instrument, views.fused
    if view.direction is Direction.HOLD:
        return Declined(reason=Reason.AGENT_NO_VIEW, detail="The signals nearly cancel each other.")
    if view.confidence_ppm < settings.confidence_ppm_min:
        return _declined(Reason.AGENT_CONFIDENCE_TOO_LOW)
    if view.direction is not views.market.direction:
        return Declined(
            reason=Reason.AGENT_VETOED,
            detail="The risk agent vetoed the order: the market itself does not speak for it, only other voices do.",
        )
    if case.paused:
        return _declined(Reason.AGENT_PAUSED)
    if instrument.status is not InstrumentStatus.TRADING:
        return _declined(Reason.INSTRUMENT_NOT_TRADING)
    if instrument.quote.code != case.valuation.code:
        return Declined(
            reason=Reason.AGENT_NO_VIEW,
            detail=f"{instrument.symbol} is not quoted in {case.valuation.code}, in which the mandate is given.",
        )
    if case.mandate is None or not case.mandate.enabled:
        return _declined(Reason.MANDATE_MISSING)
    if instrument.symbol not in case.mandate.symbols:
        return _declined(Reason.MANDATE_SYMBOL)
    if reading.spread_ppm > 2 * settings.slippage_ppm_max:
        return Declined(
            reason=Reason.AGENT_NO_VIEW, detail="The spread alone costs more than the slippage that is allowed."
        )
    if case.busy:
        return Declined(reason=Reason.AGENT_COOLING_DOWN, detail=case.busy)
    if case.means is None:
        return Declined(
            reason=Reason.AGENT_NO_VIEW, detail=f"The equity of the account {settings.account} is not known yet."
        )
    return size_order(view, reading, instrument, case.means)


def _declined(reason: Reason) -> Declined:
    return Declined(reason=reason, detail=explain(reason))


def _thesis(case: Case, reading: Reading, views: _Views, sized: Sized | Declined, sheet: FactSheet) -> str:
    thesis = view_thesis(case.instrument.symbol, reading, views.fused, sheet)
    thesis += vote_thesis(views.votes, sheet)
    thesis += order_thesis(sized, sheet) if isinstance(sized, Sized) else held_thesis(sized, sheet)
    return thesis + "".join(argued_thesis(opinion) for opinion in views.opinions)


def _add_ledger_facts(case: Case, sized: Sized | Declined, sheet: FactSheet) -> None:
    """What the size was made from, where it got as far as looking at it."""
    means, instrument, clock_ns = case.means, case.instrument, case.clock_ns
    if means is None or instrument.quote.code != case.valuation.code:
        return
    account, quote = means.account, instrument.quote
    base, cash = account.holding(instrument.base.code), account.holding(quote.code)
    sheet.amount("equity", account.equity_units, case.valuation, "ledger/metrics", account.metrics_time_ns)
    sheet.amount("held", base.total_units, instrument.base, "ledger/balance", base.time_ns)
    sheet.amount("free cash", cash.free_units, quote, "ledger/balance", cash.time_ns)
    position = account.positions.get(instrument.symbol)
    if position is not None and position.quantity_lots:
        sheet.amount("cost of the position", position.cost_units, quote, "ledger/position", position.time_ns)
    mandate = means.mandate
    left = max(mandate.daily_value_units_max - means.day_used_units, 0)
    sheet.amount("mandate for an order", mandate.order_value_units_max, quote, "mandate/order", clock_ns)
    sheet.amount("mandate without approval", mandate.approval_above_units, quote, "mandate/approval", clock_ns)
    sheet.amount("mandate left today", left, quote, "mandate/day", clock_ns)
    sheet.ppm("share of equity allowed", means.settings.position_ppm_of_equity_max, "agent/settings", clock_ns)
    if isinstance(sized, Declined):
        return
    sheet.amount("value held", sized.held_units, quote, "agent/sizing", clock_ns)
    sheet.amount("target position", sized.target_units, quote, "agent/sizing", clock_ns)
    sheet.ppm("target share of equity", ppm_of(sized.target_units, account.equity_units), "agent/sizing", clock_ns)
    sheet.quantity("quantity", sized.quantity_lots, instrument, "agent/sizing", clock_ns)
    sheet.price("limit price", 2 * sized.limit_ticks, instrument, "agent/sizing", clock_ns)
    sheet.amount("order value", sized.value_units, quote, "agent/sizing", clock_ns)


def _not_evidence(case: Case) -> str:
    """Why what this decision earns proves nothing, or an empty text.

    A model that was trained on what came after the decision may remember it, and no gate can take that out again.
    """
    for answer in case.answers:
        if answer.output and answer.training_cutoff_ns >= case.clock_ns:
            return f"The model {answer.model} was trained on data from after this decision, so it may know the outcome."
        if answer.output and not answer.training_cutoff_ns:
            return f"Nobody has set when the training of the model {answer.model} ended, so it may know the outcome."
    return ""


def _record(
    case: Case,
    text: str,
    views: _Views | None,
    thesis: str,
    sheet: FactSheet,
    sized: Sized | Declined,
    order: OrderRequest | None,
) -> DecisionRecorded:
    declined = sized if isinstance(sized, Declined) else None
    return DecisionRecorded(
        time_ns=case.clock_ns,
        decided_time_ns=case.clock_ns,
        decision_id=case.decision_id,
        agent=case.settings.agent,
        account=case.settings.account,
        symbol=case.instrument.symbol,
        view=(views.fused.direction if views else Direction.HOLD).value,
        confidence_ppm=views.fused.confidence_ppm if views else 0,
        action=(Action.HELD if declined else Action.PROPOSED).value,
        thesis=thesis,
        facts=sheet.facts,
        reason=declined.reason if declined else Reason.NONE,
        detail=declined.detail if declined else "",
        order=order,
        votes=views.votes if views else (),
        case_digest=digest_of(text),
        call_digests=tuple(answer.call_digest for answer in case.answers if answer.call_digest),
        cost_micro_usd=sum(answer.cost_micro_usd for answer in case.answers),
        not_evidence=_not_evidence(case),
    )
