"""Talking about agents' authority: deciding on held orders, giving mandates, asking for proposals, standing orders."""

from __future__ import annotations

from typing import Final, Protocol

import anyio
from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.agents.approvals import Approvals, approval_words
from polaris_synapse.agents.conversation import intents as i
from polaris_synapse.agents.conversation import wording
from polaris_synapse.agents.conversation.moments import moment
from polaris_synapse.agents.conversation.numbers import scaled
from polaris_synapse.agents.conversation.ports import Market, Trading
from polaris_synapse.agents.conversation.view import Said, Table, count
from polaris_synapse.agents.mandates import MandateSheet, mandate_of, sheet_text
from polaris_synapse.agents.mandates_api import Mandates
from polaris_synapse.agents.roster import Roster
from polaris_synapse.agents.standing import StandingDesk, view_of
from polaris_synapse.agents.standing_api import DEFAULT_LIFE_SECONDS, StandingBody, percent_ppm, standing_from
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.instruments import Instrument, InstrumentError
from polaris_synapse.domain.messages import (
    AnalyseNow,
    Approval,
    ApprovalState,
    DecisionRecorded,
    SetHoldingLimit,
    Standing,
    StandingTrigger,
)
from polaris_synapse.domain.money import Asset, format_units
from polaris_synapse.domain.orders import OrderType
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.port import ReadModels
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

#: How long a reply waits for what becomes of a proposal, and how often it looks.
_PROPOSAL_SECONDS_MAX: Final = 3.0
_LOOK_SECONDS: Final = 0.05
_UNDER_WAY: Final = frozenset({"PROPOSED", "PLACED"})
_TRIGGERS: Final = {
    i.Trigger.PRICE_ABOVE: StandingTrigger.PRICE_ABOVE,
    i.Trigger.PRICE_BELOW: StandingTrigger.PRICE_BELOW,
    i.Trigger.FALLS_PERCENT: StandingTrigger.FALLS,
    i.Trigger.RISES_PERCENT: StandingTrigger.RISES,
    i.Trigger.SHARE_ABOVE: StandingTrigger.SHARE_ABOVE,
    i.Trigger.SHARE_BELOW: StandingTrigger.SHARE_BELOW,
}


class PutMandate(Struct, frozen=True, tag="put_mandate", tag_field="intent"):
    """Put this mandate in force."""

    sheet: MandateSheet


class WatchFor(Struct, frozen=True, tag="watch_for", tag_field="intent"):
    """Watch for this."""

    standing: Standing


class HoldAtMost(Struct, frozen=True, tag="hold_at_most", tag_field="intent"):
    """Let orders take an account to no more than this share of an asset."""

    account: str
    asset: str
    share_ppm: int


AuthorityAction = PutMandate | WatchFor | HoldAtMost


class HoldingLimits(Protocol):
    """The shares that accounts set for themselves."""

    async def holding_limits(self, account: str, /) -> dict[str, int]:
        """By asset, in ppm of equity."""
        ...


class Proposal(Struct, frozen=True):
    """Something to be confirmed: what would be done, and how it is shown."""

    action: AuthorityAction
    text: str


class Told(Struct, frozen=True):
    """What came of a decision or a proposal: the answer, the orders placed, and the agent's decision it is about."""

    said: Said
    placed: tuple[int, ...] = ()
    decision_id: str = ""


class AuthorityTalk:
    """Answers everything of ``conversation.authority``. Raises ApiError for refusals."""

    def __init__(
        self,
        *,
        bus: Bus,
        reads: ReadModels,
        trading: Trading,
        approvals: Approvals,
        mandates: Mandates,
        standing: StandingDesk,
        holding_limits: HoldingLimits,
        roster: Roster,
        clock: Clock,
        valuation: Asset,
    ) -> None:
        self._bus = bus
        self._reads = reads
        self._trading = trading
        self._approvals = approvals
        self._mandates = mandates
        self._standing = standing
        self._limits = holding_limits
        self._roster = roster
        self._clock = clock
        self._valuation = valuation

    # Held orders.

    async def list_approvals(self, principal: Principal) -> Said:
        """The requests that wait for somebody."""
        waiting = await self._approvals.seen_by(principal, state=ApprovalState.PENDING)
        if not waiting:
            return Said("Nothing waits for approval.")
        instruments = await self._instruments()
        said = [await self._request_words(one, instruments) for one in waiting]
        return Said(
            f"{count(len(waiting), 'request')} wait{'s' if len(waiting) == 1 else ''} for approval. " + " ".join(said)
        )

    async def decide(self, principal: Principal, wanted: i.DecideRequest) -> Told:
        """Approve or reject, and what came of it."""
        if wanted.token:
            approval, _ = await self._approvals.use_token(wanted.token, via="chat token")
        else:
            shown = await self._approvals.get(principal, wanted.approval_id)
            approval, _ = await self._approvals.decide(
                principal, shown.approval_id, approve=wanted.approve, order_hash=shown.order_hash, via="chat"
            )
        instrument = (await self._instruments()).get(approval.order.symbol)
        what = approval_words(approval, instrument, self._valuation)
        if not approval.order_id:
            return Told(Said(f"Rejected. {what}. It is not placed."), (), approval.order.decision_id)
        outcome = await self._trading.settled(_as_seen(principal, approval), approval.account, approval.order_id)
        text = f"Approved by {approval.decided_by}. {what}. {wording.outcome_words(outcome)}"
        if approval.order.decision_id:
            text += f" For its reasons, ask: why {approval.order.decision_id}?"
        said = Said(text, simulated=bool(outcome.how))
        return Told(said, (approval.order_id,), approval.order.decision_id)

    async def _request_words(self, approval: Approval, instruments: dict[str, Instrument]) -> str:
        said = approval_words(approval, instruments.get(approval.order.symbol), self._valuation)
        because = f", because of decision {approval.order.decision_id}" if approval.order.decision_id else ""
        left = self._approvals.seconds_left(approval)
        number = approval.approval_id
        return f"{said}{because}. It waits for {left} more seconds: say approve {number}, or reject {number}."

    # Proposals.

    async def propose(self, principal: Principal, wanted: i.ProposeTrade) -> Told:
        """Let the agent that follows an instrument decide now, and say what it decided and what waits for whom."""
        principal.require(Role.TRADER)
        followers = [
            one
            for one in self._roster.all()
            if wanted.symbol in one.settings.symbols and principal.may_use(one.settings.account)
        ]
        if not followers:
            return Told(Said(f"No agent on accounts that are yours follows {wanted.symbol}."))
        for waiting in await self._approvals.seen_by(principal, state=ApprovalState.PENDING):
            if (waiting.agent, waiting.order.symbol) == (followers[0].agent, wanted.symbol):
                said = await self._request_words(waiting, await self._instruments())
                text = f"{waiting.agent} has a proposal that waits already. {said}"
                return Told(Said(text), (), waiting.order.decision_id)
        answer = await self._bus.request(
            AnalyseNow(
                time_ns=self._clock.now_ns(), actor=principal.actor, agent=followers[0].agent, symbol=wanted.symbol
            )
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        decision = await self._decided(answer.detail)
        if decision is None:
            thinking = f"{followers[0].agent} is still thinking. Ask in a moment: why {answer.detail}?"
            return Told(Said(thinking), (), answer.detail)
        return Told(await self._decision_words(principal, decision), (), decision.decision_id)

    async def _decided(self, decision_id: str) -> DecisionRecorded | None:
        """The decision once it is known what became of its proposal, or as it is when that takes long."""
        found: DecisionRecorded | None = None
        with anyio.move_on_after(_PROPOSAL_SECONDS_MAX):
            while found is None or found.action in _UNDER_WAY:
                await self._reads.caught_up()
                found = await self._reads.decision(decision_id)
                if found is not None and found.action not in _UNDER_WAY:
                    break
                await anyio.sleep(_LOOK_SECONDS)
        return found

    async def _decision_words(self, principal: Principal, decision: DecisionRecorded) -> Said:
        confidence = format_units(decision.confidence_ppm, 4)
        text = (
            f"{decision.agent} on {decision.symbol}: {decision.view} with {confidence} % confidence, {decision.action}."
        )
        if decision.order is None:
            text += f" No order: {decision.detail}" if decision.detail else ""
        else:
            waiting = [
                one
                for one in await self._approvals.seen_by(principal, state=ApprovalState.PENDING)
                if one.order.decision_id == decision.decision_id
            ]
            if waiting:
                text += f" {await self._request_words(waiting[0], await self._instruments())}"
            else:
                text += f" {decision.detail}" if decision.detail else ""
        simulated = any(fact.value in {"simulated", "replay"} for fact in decision.facts)
        return Said(f"{text} For its reasons, ask: why {decision.decision_id}?", simulated=simulated)

    # Mandates.

    async def read_mandate(self, principal: Principal, wanted: i.GiveMandate) -> Proposal | i.Ambiguous:
        """The sheet that words say, to be confirmed; or what has to be asked first."""
        compiled = await self._mandates.compile(wanted.text)
        if compiled.sheet is None:
            return i.Ambiguous(about=i.Unclear.ACTION, question=" ".join(compiled.questions))
        symbols = (await self._instruments()).keys()
        await self._mandates.check(principal, mandate_of(compiled.sheet, self._valuation, symbols))
        return Proposal(PutMandate(compiled.sheet), f"This would be the mandate:\n{sheet_text(compiled.sheet)}")

    # Standing instructions.

    def list_standing(self, principal: Principal) -> Said:
        """What is watched for."""
        found = [view_of(one) for one in self._standing.roster.seen_by(principal)]
        alive = [one for one in found if one.state in {"WATCHING", "ORDERED"}]
        rows = tuple(
            (one.standing_id, one.account, one.state.value, one.words, moment(one.expires_time_ns))
            for one in found[-20:]
        )
        text = f"{count(len(alive), 'standing instruction')} watched for." if alive else "Nothing is watched for."
        columns = ("id", "account", "state", "what", "until")
        return Said(text, Table("Standing instructions", columns, rows) if rows else None)

    async def cancel_standing(self, principal: Principal, wanted: i.CancelStanding) -> Said:
        """Watch no more."""
        await self._standing.cancel(principal, wanted.standing_id)
        return Said(f"{wanted.standing_id} is cancelled: nothing watches for it any more.")

    async def read_standing(
        self, principal: Principal, wanted: i.StandingInstruction, account: str, market: Market
    ) -> Proposal | i.Ambiguous | None:
        """What an instruction would do, to be confirmed; a question; or None for a kind that cannot be watched for."""
        instruments = await self._instruments()
        if wanted.trigger is i.Trigger.CAP:
            return await self._read_cap(principal, wanted, account, instruments)
        if wanted.trigger is i.Trigger.PRICE_REACHES:
            wanted = _with_side(wanted, instruments.get(wanted.symbol), market)
        trigger = _TRIGGERS.get(wanted.trigger)
        order, instrument = wanted.order, instruments.get(wanted.symbol)
        if trigger is None or order is None or instrument is None:
            return None
        if order.type is not OrderType.MARKET:
            question = "A standing instruction orders at the market. Say it without a price for the order itself."
            return i.Ambiguous(about=i.Unclear.PRICE, question=question)
        if trigger in {StandingTrigger.FALLS, StandingTrigger.RISES} and not wanted.window_seconds:
            question = f"Within how long should it move {wanted.value} %? Say, for example: in an hour."
            return i.Ambiguous(about=i.Unclear.ACTION, question=question)
        body = StandingBody(
            account=account,
            symbol=wanted.symbol,
            side=order.side,
            trigger=trigger,
            value=wanted.value,
            quantity=order.quantity or None,
            amount=order.quote_amount or None,
            percent=order.percent or None,
            window_seconds=wanted.window_seconds,
        )
        standing = standing_from(body, instrument, owner=principal.actor, now_ns=self._clock.now_ns())
        days = DEFAULT_LIFE_SECONDS // 86_400
        text = (
            f"On account {account}: {standing.words}. The desk watches for {days} days, also after a restart; the "
            "order is checked like every other when it comes."
        )
        return Proposal(WatchFor(standing), text)

    async def _read_cap(
        self, principal: Principal, wanted: i.StandingInstruction, account: str, instruments: dict[str, Instrument]
    ) -> Proposal | i.Ambiguous:
        instrument = instruments.get(wanted.symbol)
        if instrument is None:
            return i.Ambiguous(about=i.Unclear.SYMBOL, question="In which asset? Name one, such as ETH.")
        asset, share = instrument.base.code, percent_ppm(wanted.value)
        await self._check_cap(principal, HoldAtMost(account, asset, share))
        text = (
            f"From then on the desk refuses every order that could take account {account} to more than "
            f"{wanted.value} % of its equity in {asset}. It sells nothing: when prices rise, the share can pass "
            f"{wanted.value} % by itself."
        )
        return Proposal(HoldAtMost(account, asset, share), text)

    async def _check_cap(self, principal: Principal, wanted: HoldAtMost) -> None:
        """A trader may set and tighten; to loosen takes a risk officer."""
        principal.require(Role.TRADER, Role.RISK_OFFICER)
        principal.require_account(wanted.account)
        before = (await self._limits.holding_limits(wanted.account)).get(wanted.asset, 0)
        if before and wanted.share_ppm > before and principal.role is Role.TRADER:
            now = format_units(before, 4)
            raise ApiError(Reason.ROLE_NOT_ALLOWED, f"The limit is {now} % now; to loosen it takes a risk officer.")

    # After a yes.

    async def carry_out(self, principal: Principal, action: AuthorityAction) -> str:
        """Do what was confirmed. Roles are looked at again."""
        if isinstance(action, PutMandate):
            mandate = await self._mandates.set(principal, action.sheet)
            return f"The mandate of agent {mandate.agent} on account {mandate.account} is in force."
        if isinstance(action, WatchFor):
            standing_id = await self._standing.set(principal, action.standing)
            return f"Watching as {standing_id}: {action.standing.words}. To end it, say: cancel {standing_id}."
        await self._check_cap(principal, action)
        answer = await self._bus.request(
            SetHoldingLimit(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                account=action.account,
                asset=action.asset,
                share_ppm_max=action.share_ppm,
            )
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        share = scaled(str(action.share_ppm), -4)
        return f"In force: no order takes account {action.account} to more than {share} % in {action.asset}."

    async def _instruments(self) -> dict[str, Instrument]:
        return {one.symbol: one for one in await self._reads.instruments()}


def _with_side(wanted: i.StandingInstruction, instrument: Instrument | None, market: Market) -> i.StandingInstruction:
    """An instruction that waits for a price to be reached, with the side that the market comes from."""
    mark = market.mark(instrument) if instrument is not None else None
    if instrument is None or mark is None:
        raise ApiError(Reason.MARKET_DATA_MISSING, "Say whether the price should rise or fall to it.")
    try:
        rises = instrument.parse_price(wanted.value) > mark.mark_ticks
    except InstrumentError as error:
        raise ApiError(Reason.PRICE_NOT_ON_TICK, f"{error}.") from None
    return replace(wanted, trigger=i.Trigger.PRICE_ABOVE if rises else i.Trigger.PRICE_BELOW)


def _as_seen(principal: Principal, approval: Approval) -> Principal:
    """Who reads the order afterwards: with a token its decider, who need not be the speaker."""
    if principal.may_use(approval.account):
        return principal
    return Principal(name=principal.name, role=Role.VIEWER, accounts=(approval.account,), kind=principal.kind)
