"""One decision: read the market, vote, size, write the thesis, check it. A pure function of what it is given."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from polaris_synapse.agents.core.facts import FactSheet, add_market_facts, add_view_facts, ppm_of
from polaris_synapse.agents.core.grounding import check_thesis
from polaris_synapse.agents.core.market import CANDLES_MIN, Market
from polaris_synapse.agents.core.point_in_time import PointInTime
from polaris_synapse.agents.core.signals import NoReading, Reading, read_market
from polaris_synapse.agents.core.sizing import Declined, Means, Sized, order_of, size_order
from polaris_synapse.agents.core.thesis import held_thesis, names_in, no_view_thesis, order_thesis, view_thesis
from polaris_synapse.agents.core.view import Direction, View, form_view
from polaris_synapse.domain.instruments import Instrument, InstrumentStatus
from polaris_synapse.domain.messages import AgentSettings, DecisionRecorded, Mandate
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason, explain


class Action(StrEnum):
    """What came of a decision."""

    HELD = "HELD"
    PROPOSED = "PROPOSED"
    NOT_PLACED = "NOT_PLACED"  # no order came of the proposal
    REFUSED = "REFUSED"  # the gateway, risk, compliance or the venue said no
    PLACED = "PLACED"
    FILLED = "FILLED"
    PARTLY_FILLED = "PARTLY_FILLED"  # ended with a part filled
    UNFILLED = "UNFILLED"  # ended with nothing filled


class Brief(Struct, frozen=True, kw_only=True):
    """Everything that one decision is made from. ``means`` None: the account's equity is not known yet.

    ``mandate`` None: the agent has none on its account. ``busy`` says in a sentence why the agent leaves the symbol
    alone for now, or is empty.
    """

    decision_id: str
    settings: AgentSettings
    market: Market
    instrument: Instrument
    valuation: Asset
    mandate: Mandate | None
    means: Means | None
    paused: bool
    busy: str = ""


class Outcome(Struct, frozen=True, kw_only=True):
    """A decision and what its scoring needs later. ``value_units`` is what the order takes of the mandate."""

    record: DecisionRecorded
    reading: Reading | None = None
    view: View | None = None
    value_units: int = 0


def decide(brief: Brief, clock_ns: int) -> Outcome:
    """Decide at ``clock_ns``. Raises LookAheadError where anything given is from after it."""
    gate = PointInTime(clock_ns)
    sheet = FactSheet(brief.decision_id, gate)
    reading = read_market(brief.market, gate)
    if isinstance(reading, NoReading):
        return _no_view(brief, reading, sheet, clock_ns)
    view = form_view(reading)
    add_market_facts(sheet, reading, brief.instrument)
    add_view_facts(sheet, view, clock_ns)
    sheet.ppm("confidence needed", brief.settings.confidence_ppm_min, "agent/settings", clock_ns)
    sized = _order_or_not(brief, view, reading)
    _add_ledger_facts(brief, sized, sheet, clock_ns)
    symbol = brief.instrument.symbol
    thesis = view_thesis(symbol, reading, view, sheet)
    thesis += order_thesis(sized, sheet) if isinstance(sized, Sized) else held_thesis(sized, sheet)
    problems = check_thesis(thesis, sheet.facts, names=names_in(brief.instrument, brief.settings))
    if problems:
        sized = Declined(reason=Reason.AGENT_NO_VIEW, detail="The thesis does not hold: " + " ".join(problems))
        thesis = "The thesis did not hold against its facts, so there is none and nothing is ordered."
    order = None
    if isinstance(sized, Sized):
        order = order_of(sized, brief.instrument, brief.settings, brief.decision_id)
    return Outcome(
        record=_record(brief, view.direction, view.confidence_ppm, thesis, sheet, sized, order, clock_ns),
        reading=reading,
        view=view,
        value_units=sized.value_units if isinstance(sized, Sized) else 0,
    )


def _no_view(brief: Brief, missing: NoReading, sheet: FactSheet, clock_ns: int) -> Outcome:
    if missing.candles is not None:
        sheet.count("closed candles", missing.candles, "candles", "agent/history", clock_ns)
        sheet.count("candles needed", CANDLES_MIN, "candles", "agent/settings", clock_ns)
    declined = Declined(reason=Reason.AGENT_NO_VIEW, detail=missing.detail)
    thesis = no_view_thesis(brief.instrument.symbol, missing, sheet)
    return Outcome(record=_record(brief, Direction.HOLD, 0, thesis, sheet, declined, None, clock_ns))


def _order_or_not(brief: Brief, view: View, reading: Reading) -> Sized | Declined:
    """Everything that may stand between a view and an order, in this order; the first that does answers."""
    settings, instrument = brief.settings, brief.instrument
    if view.direction is Direction.HOLD:
        return Declined(reason=Reason.AGENT_NO_VIEW, detail="The signals nearly cancel each other.")
    if view.confidence_ppm < settings.confidence_ppm_min:
        return _declined(Reason.AGENT_CONFIDENCE_TOO_LOW)
    if brief.paused:
        return _declined(Reason.AGENT_PAUSED)
    if instrument.status is not InstrumentStatus.TRADING:
        return _declined(Reason.INSTRUMENT_NOT_TRADING)
    if instrument.quote.code != brief.valuation.code:
        return Declined(
            reason=Reason.AGENT_NO_VIEW,
            detail=f"{instrument.symbol} is not quoted in {brief.valuation.code}, in which the mandate is given.",
        )
    if brief.mandate is None or not brief.mandate.enabled:
        return _declined(Reason.MANDATE_MISSING)
    if instrument.symbol not in brief.mandate.symbols:
        return _declined(Reason.MANDATE_SYMBOL)
    if reading.spread_ppm > 2 * settings.slippage_ppm_max:
        return Declined(
            reason=Reason.AGENT_NO_VIEW, detail="The spread alone costs more than the slippage that is allowed."
        )
    if brief.busy:
        return Declined(reason=Reason.AGENT_COOLING_DOWN, detail=brief.busy)
    if brief.means is None:
        return Declined(
            reason=Reason.AGENT_NO_VIEW, detail=f"The equity of the account {settings.account} is not known yet."
        )
    return size_order(view, reading, instrument, brief.means)


def _declined(reason: Reason) -> Declined:
    return Declined(reason=reason, detail=explain(reason))


def _add_ledger_facts(brief: Brief, sized: Sized | Declined, sheet: FactSheet, clock_ns: int) -> None:
    """What the size was made from, where it got as far as looking at it."""
    means, instrument = brief.means, brief.instrument
    if means is None or instrument.quote.code != brief.valuation.code:
        return
    account, quote = means.account, instrument.quote
    base, cash = account.holding(instrument.base.code), account.holding(quote.code)
    sheet.amount("equity", account.equity_units, brief.valuation, "ledger/metrics", account.metrics_time_ns)
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


def _record(
    brief: Brief,
    direction: Direction,
    confidence_ppm: int,
    thesis: str,
    sheet: FactSheet,
    sized: Sized | Declined,
    order: OrderRequest | None,
    clock_ns: int,
) -> DecisionRecorded:
    declined = sized if isinstance(sized, Declined) else None
    return DecisionRecorded(
        time_ns=clock_ns,
        decided_time_ns=clock_ns,
        decision_id=brief.decision_id,
        agent=brief.settings.agent,
        account=brief.settings.account,
        symbol=brief.instrument.symbol,
        view=direction.value,
        confidence_ppm=confidence_ppm,
        action=(Action.HELD if declined else Action.PROPOSED).value,
        thesis=thesis,
        facts=sheet.facts,
        reason=declined.reason if declined else Reason.NONE,
        detail=declined.detail if declined else "",
        order=order,
    )
