"""A decision after it was made: what becomes of its order, and how it is scored. Revisions of one record."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.agents.core.decide import Action
from polaris_synapse.agents.core.facts import FactSheet, average_price_ticks
from polaris_synapse.agents.core.point_in_time import PointInTime
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Approval, ApprovalState, DecisionRecorded, ExecutionRecorded, Fact
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import TERMINAL_STATES, Order, OrderState, Side
from polaris_synapse.domain.reasons import Reason

#: Of the sentence that says how a fill was simulated; the first fill's stands for all.
_HOW_CHARACTERS_MAX: Final = 200
#: Marks the facts that replace earlier ones, after a venue reported a fill of an order that it had ended.
_CORRECTED: Final = ", corrected"

_ENDED_EMPTY: Final = {
    OrderState.REFUSED: Action.REFUSED,
    OrderState.REJECTED: Action.REFUSED,
}


class Tracked(Struct):
    """One decision that something is still to happen to. Dropped once its order has ended and it is scored.

    ``waiting``: a proposal was made and its order has not ended. ``value_units``: what the order may be worth;
    ``charged_units`` of it count against the mandate on ``day``. ``reference_half_ticks``: the mid at the decision.
    ``leans`` are the voices that are counted when it is scored, as ``trial_ppm`` of an independent trial.
    """

    record: DecisionRecorded
    number: int
    due_ns: int
    reference_half_ticks: int
    fee_ppm: int
    signals: dict[str, int]
    scored: bool
    regime: str = ""
    leans: dict[str, int] = {}
    trial_ppm: int = 0
    waiting: bool = False
    value_units: int = 0
    charged_units: int = 0
    day: int = 0
    filled_lots: int = 0
    executed_lots: int = 0
    fee_units: dict[str, int] = {}
    simulated_fills: int = 0
    fills: int = 0
    how: str = ""
    held: bool = False

    @property
    def is_done(self) -> bool:
        """Whether nothing more is expected."""
        return self.scored and not self.waiting

    @property
    def has_order(self) -> bool:
        """Whether an order is known."""
        return bool(self.record.order_state)

    @property
    def expects_order(self) -> bool:
        """Whether a proposal is on its way to risk: no order is known, and none is held for a person."""
        return self.waiting and not self.has_order and not self.held

    @property
    def promised_units(self) -> int:
        """Quote money that a buy will need and that no reservation shows yet."""
        order = self.record.order
        if not self.waiting or self.has_order or order is None or order.side is not Side.BUY:
            return 0
        return self.value_units

    def used_units(self, order: Order) -> int:
        """What an order takes of the mandate: all while it is open, and the filled share, rounded up, after its end."""
        if order.state is OrderState.REFUSED:
            return 0
        if order.state not in TERMINAL_STATES or not order.quantity_lots:
            return self.value_units
        unfilled = max(order.quantity_lots - order.filled_lots, 0)
        return self.value_units - self.value_units * unfilled // order.quantity_lots

    def revise(self, time_ns: int, **changes: object) -> DecisionRecorded:
        """The record's next revision, which becomes the record."""
        self.record = msgspec.structs.replace(
            self.record, time_ns=time_ns, revision=self.record.revision + 1, **changes
        )
        return self.record

    def sheet(self, time_ns: int) -> FactSheet:
        """The record's facts, to add to at a later time."""
        return FactSheet(self.record.decision_id, PointInTime(time_ns), self.record.facts)


def close_without_order(tracked: Tracked, reason: Reason, detail: str, time_ns: int) -> DecisionRecorded:
    """The proposal led to no order, as far as is known; should one appear after all, it is followed."""
    tracked.waiting = False
    action = Action.NOT_PLACED if reason is Reason.AGENT_PROPOSAL_EXPIRED else Action.REFUSED
    return tracked.revise(time_ns, action=action.value, reason=reason, detail=detail)


def follow_order(tracked: Tracked, order: Order, instrument: Instrument, time_ns: int) -> DecisionRecorded | None:
    """Take an order's change in: a revision when it first appears, becomes UNKNOWN, ends, or changes after its end."""
    before = tracked.record
    ended = order.state in TERMINAL_STATES
    first = not before.order_state
    news = before.order_state != order.state and (ended or order.state is OrderState.UNKNOWN)
    late_fill = ended and not news and tracked.filled_lots != order.filled_lots
    tracked.waiting = not ended
    if not (first or news or late_fill):
        return None
    facts = before.facts
    if ended and order.filled_lots:
        facts = _with_fills(tracked, order, instrument, time_ns)
    return tracked.revise(
        time_ns,
        action=_action(order).value,
        reason=order.reason,
        detail=_order_detail(order),
        order_id=order.order_id,
        order_state=order.state.value,
        facts=facts,
    )


def follow_approval(tracked: Tracked, approval: Approval, time_ns: int) -> DecisionRecorded | None:
    """Take a request for approval in: the proposal waits for a person, and is not given up meanwhile.

    However it is decided, the order that comes of it, accepted or refused, follows and says so.
    """
    tracked.held = approval.state is ApprovalState.PENDING
    if not tracked.held:
        return None
    detail = f"{approval.detail} Request {approval.approval_id} waits for a person's decision."
    return tracked.revise(
        time_ns, action=Action.AWAITING_APPROVAL.value, reason=Reason.MANDATE_REQUIRES_APPROVAL, detail=detail
    )


def follow_execution(
    tracked: Tracked, execution: ExecutionRecorded, instrument: Instrument, time_ns: int
) -> DecisionRecorded | None:
    """Add a fill's fee and origin up; a revision once all fills of an ended order are accounted for."""
    fill = execution.fill
    tracked.executed_lots += fill.quantity_lots
    tracked.fills += 1
    tracked.fee_units[fill.fee_asset] = tracked.fee_units.get(fill.fee_asset, 0) + fill.fee_units
    if fill.simulated:
        tracked.simulated_fills += 1
        tracked.how = tracked.how or fill.how[:_HOW_CHARACTERS_MAX]
    ended = tracked.record.order_state in TERMINAL_STATES
    if not ended or tracked.executed_lots != tracked.filled_lots:
        return None
    sheet = tracked.sheet(time_ns)
    _add_fee_facts(tracked, sheet, instrument, time_ns)
    return tracked.revise(time_ns, facts=sheet.facts)


def _action(order: Order) -> Action:
    if order.state not in TERMINAL_STATES:
        return Action.PLACED
    if order.state is OrderState.FILLED:
        return Action.FILLED
    if order.filled_lots:
        return Action.PARTLY_FILLED
    return _ENDED_EMPTY.get(order.state, Action.UNFILLED)


def _order_detail(order: Order) -> str:
    if order.state is OrderState.UNKNOWN:
        return "The outcome at the venue is not known yet; the desk asks the venue and sends nothing again."
    return order.detail


def _with_fills(tracked: Tracked, order: Order, instrument: Instrument, time_ns: int) -> tuple[Fact, ...]:
    tracked.filled_lots = order.filled_lots
    sheet = tracked.sheet(time_ns)
    again = _CORRECTED if "filled quantity" in sheet else ""
    average = average_price_ticks(order.filled_notional_units, order.filled_lots, instrument)
    sheet.quantity(f"filled quantity{again}", order.filled_lots, instrument, "ledger/order", time_ns)
    sheet.amount(f"filled value{again}", order.filled_notional_units, instrument.quote, "ledger/order", time_ns)
    sheet.price(f"average price, rounded down{again}", 2 * average, instrument, "ledger/order", time_ns)
    if tracked.executed_lots == order.filled_lots:
        _add_fee_facts(tracked, sheet, instrument, time_ns)
    return sheet.facts


def _add_fee_facts(tracked: Tracked, sheet: FactSheet, instrument: Instrument, time_ns: int) -> None:
    again = _CORRECTED if "fills" in sheet else ""
    assets: dict[str, Asset] = {asset.code: asset for asset in (instrument.base, instrument.quote)}
    for code, units in sorted(tracked.fee_units.items()):
        asset = assets.get(code, Asset(code=f"minor units of {code}", decimals=0))
        sheet.amount(f"fee in {code}{again}", units, asset, "ledger/execution", time_ns)
    source = f"ledger/execution: {tracked.how}" if tracked.how else "ledger/execution"
    sheet.count(f"fills{again}", tracked.fills, "fills", "ledger/execution", time_ns)
    sheet.count(f"simulated fills{again}", tracked.simulated_fills, "fills", source, time_ns)
