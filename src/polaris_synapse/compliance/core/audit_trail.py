"""What beside orders and executions (``recording``) is worth an entry in the audit log, and how it reads there.

Actions are ``subject.verb`` names and part of the record's format. A command that another room answers is recorded as
asked (``limits.set``); what came of it follows as that room's own facts. Details are for people: plain text, exact
numbers, nothing secret and no personal data beyond account names, since the chain can never be edited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from polaris_synapse.compliance.core.valuation import Valuation
from polaris_synapse.domain.messages import (
    AgentControl,
    ApprovalChanged,
    ApprovalState,
    AuditNote,
    BreakChanged,
    BreakerChanged,
    HoldingLimitChanged,
    HostStarted,
    KillLevelChanged,
    LedgerPosted,
    LimitBreached,
    ListInstrument,
    Message,
    Posting,
    ReenableAccount,
    SetAgents,
    SetFeeTiers,
    SetInstrumentStatus,
    SetLimits,
    SetMandate,
    StandingChanged,
)

#: Who acts where no person, key or agent asked for it.
DESK: Final = "desk"
#: The ``cause`` of a ledger entry that moves money in or out.
FUNDS: Final = "funds"


class Record(Struct, frozen=True, gc=False):
    """An audit entry to be: who did what to what, and the rest in words."""

    actor: str
    action: str
    subject: str
    detail: str


_JSON = msgspec.json.Encoder()


def customer_leg(message: LedgerPosted) -> Posting | None:
    """The leg of a movement of funds that lies on the client's own ledger account, or None where there is no one."""
    own = [posting for posting in message.postings if posting.ledger_account == f"client:{message.account}"]
    return own[0] if len(own) == 1 else None


def funds_record(message: LedgerPosted, leg: Posting | None, valuation: Valuation) -> Record:
    """The record of a deposit or withdrawal."""
    if leg is None:
        legs = "; ".join(f"{posting.ledger_account} {posting.units} {posting.asset}" for posting in message.postings)
        action, amount = "funds.moved", legs
    else:
        action = "funds.deposited" if leg.units > 0 else "funds.withdrawn"
        amount = valuation.amount_text(leg.asset, abs(leg.units))
    detail = f"{amount}, ledger entry {message.entry_id}, reference {message.reference}"
    return Record(message.actor or DESK, action, f"account:{message.account}", detail)


def _json(value: Struct) -> str:
    return _JSON.encode(value).decode()


def _noted(text: str, note: str) -> str:
    return f"{text}: {note}" if note else text


def _note(message: AuditNote) -> Record:
    return Record(message.actor, message.action, message.subject, message.detail)


def _started(message: HostStarted) -> Record:
    return Record(DESK, "desk.started", DESK, f"replayed up to offset {message.replayed_offset}")


def _breaker(message: BreakerChanged) -> Record:
    verb = "breaker.tripped" if message.tripped else "breaker.reset"
    text = message.reason.name if message.reason else "on request"
    return Record(message.actor or DESK, verb, f"breaker:{message.scope}", _noted(text, message.note))


def _kill_level(message: KillLevelChanged) -> Record:
    text = f"{message.level.name}, {len(message.order_ids)} orders asked to cancel"
    return Record(message.actor or DESK, "kill.level_set", f"account:{message.account}", _noted(text, message.note))


def _limit_breached(message: LimitBreached) -> Record:
    text = message.reason.name + (f" on {message.symbol}" if message.symbol else "")
    return Record(DESK, "limit.breached", f"account:{message.account}", _noted(text, message.detail))


def _break(message: BreakChanged) -> Record:
    verb = "break.opened" if message.is_open else "break.resolved"
    text = f"account {message.account}, {message.symbol} at {message.venue}"
    return Record(DESK, verb, f"break:{message.break_id}", _noted(text, message.detail))


def _limits(message: SetLimits) -> Record:
    return Record(message.actor or DESK, "limits.set", f"account:{message.account}", _json(message.limits))


def _fee_tiers(message: SetFeeTiers) -> Record:
    tiers = _JSON.encode(message.tiers).decode()
    return Record(message.actor or DESK, "fees.set", f"account:{message.account}", tiers)


def _mandate(message: SetMandate) -> Record:
    mandate = message.mandate
    return Record(message.actor or DESK, "mandate.set", f"account:{mandate.account}", _json(mandate))


def _reenabled(message: ReenableAccount) -> Record:
    return Record(message.actor or DESK, "account.reenabled", f"account:{message.account}", message.note)


def _listed(message: ListInstrument) -> Record:
    instrument = message.instrument
    return Record(message.actor or DESK, "instrument.listed", f"instrument:{instrument.symbol}", _json(instrument))


def _instrument_status(message: SetInstrumentStatus) -> Record:
    return Record(message.actor or DESK, "instrument.status_set", f"instrument:{message.symbol}", message.status.value)


def _agents(message: SetAgents) -> Record:
    settings = message.settings
    return Record(message.actor or DESK, "agent.set", f"agent:{settings.agent}", _json(settings))


def _agent_control(message: AgentControl) -> Record:
    verb = "agent.paused" if message.paused else "agent.resumed"
    return Record(message.actor or DESK, verb, f"agent:{message.agent}", "")


def _approval(message: ApprovalChanged) -> Record:
    approval = message.approval
    request = approval.order
    detail = (
        f"account {approval.account}, agent {approval.agent}, {request.side.value} {request.symbol} "
        f"{request.type.value}, client order id {request.client_order_id}, order sha256 {approval.order_hash}"
    )
    if approval.state is ApprovalState.PENDING:
        return Record(approval.actor or DESK, "approval.requested", f"approval:{approval.approval_id}", detail)
    detail += f", order {approval.order_id}" if approval.order_id else f", {approval.reason.name}: {approval.detail}"
    detail += f", via {approval.via}" if approval.via else ""
    verb = f"approval.{approval.state.value.lower()}"
    return Record(approval.decided_by or DESK, verb, f"approval:{approval.approval_id}", detail)


def _holding_limit(message: HoldingLimitChanged) -> Record:
    text = f"{message.asset} at most {message.share_ppm_max} ppm of equity" if message.share_ppm_max else message.asset
    verb = "holding_limit.set" if message.share_ppm_max else "holding_limit.removed"
    return Record(message.actor or DESK, verb, f"account:{message.account}", text)


def _standing(message: StandingChanged) -> Record:
    text = f"account {message.standing.account}, {message.standing.words}"
    text += f", order {message.order_id}" if message.order_id else ""
    text += f", {message.reason.name}: {message.detail}" if message.reason else ""
    verb = f"standing.{message.state.value.lower()}"
    return Record(message.actor or DESK, verb, f"standing:{message.standing_id}", text)


#: Messages that are recorded as they come, without anything else of the state.
RECORDS: Final[dict[type[Message], Callable[[Any], Record]]] = {
    AuditNote: _note,
    HostStarted: _started,
    BreakerChanged: _breaker,
    KillLevelChanged: _kill_level,
    LimitBreached: _limit_breached,
    BreakChanged: _break,
    SetFeeTiers: _fee_tiers,
    SetLimits: _limits,
    SetMandate: _mandate,
    ReenableAccount: _reenabled,
    ListInstrument: _listed,
    SetInstrumentStatus: _instrument_status,
    SetAgents: _agents,
    AgentControl: _agent_control,
    ApprovalChanged: _approval,
    HoldingLimitChanged: _holding_limit,
    StandingChanged: _standing,
}
