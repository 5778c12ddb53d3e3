"""Held orders for people: who may see them, who may decide, and how a decision reaches the risk core."""

from __future__ import annotations

from typing import Final

from msgspec import structs

from polaris_synapse.agents.approvals_tokens import ApprovalTokens
from polaris_synapse.agents.authority import Authority, People
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Approval, ApprovalState, DecideApproval
from polaris_synapse.domain.money import Asset, format_units
from polaris_synapse.domain.orders import Order, OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.errors import ApiError

APPROVER_ROLES: Final = (Role.TRADER, Role.RISK_OFFICER, Role.ADMIN)
_NS: Final = 1_000_000_000


class Approvals:
    """Shows requests for approval to those who may see them, and carries their decisions to risk."""

    def __init__(self, bus: Bus, authority: Authority, people: People, tokens: ApprovalTokens, clock: Clock) -> None:
        self._bus = bus
        self._authority = authority
        self._people = people
        self._tokens = tokens
        self._clock = clock

    async def seen_by(self, principal: Principal, *, state: ApprovalState | None = None) -> list[Approval]:
        """The requests that somebody may see, newest first. An agent sees its own."""
        return [one for one in await self._authority.approvals(state=state) if _may_see(principal, one)]

    async def get(self, principal: Principal, approval_id: str) -> Approval:
        """One request. Raises ApiError(APPROVAL_NOT_FOUND), also for somebody else's."""
        found = await self._authority.approval(approval_id)
        if found is None or not _may_see(principal, found):
            raise ApiError(
                Reason.APPROVAL_NOT_FOUND, f"There is no request for approval {approval_id} that you may see."
            )
        return found

    async def decide(
        self, principal: Principal, approval_id: str, *, approve: bool, order_hash: str, via: str, note: str = ""
    ) -> tuple[Approval, Order | None]:
        """Approve or reject. Answers the request as it then is, and its order. Raises ApiError."""
        if principal.role not in APPROVER_ROLES:
            raise ApiError(Reason.APPROVER_NOT_ALLOWED, f"{principal.role} may not decide on orders of agents.")
        approval = await self.get(principal, approval_id)
        answer = await self._bus.request(
            DecideApproval(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                account=approval.account,
                approval_id=approval_id,
                order_hash=order_hash,
                approve=approve,
                approver_role=principal.role.value,
                via=via,
                note=note,
            )
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return await self._decided(approval, principal, approve=approve, via=via, note=note, order=answer.order)

    async def _decided(
        self, approval: Approval, principal: Principal, *, approve: bool, via: str, note: str, order: Order | None
    ) -> tuple[Approval, Order | None]:
        """The request after a decision that has been made; as far as it is known here where no record shows it."""
        found = await self._authority.decided(approval.approval_id)
        if found is not None and found.state is not ApprovalState.PENDING:
            return found, order
        decided = structs.replace(
            approval,
            state=ApprovalState.APPROVED if approve else ApprovalState.REJECTED,
            decided_by=principal.actor,
            decided_role=principal.role.value,
            decided_time_ns=self._clock.now_ns(),
            via=via,
            note=note,
            order_id=order.order_id if order is not None else 0,
        )
        return decided, order

    async def make_token(self, principal: Principal, approval_id: str, *, approve: bool) -> tuple[str, Approval]:
        """A token with which the caller can decide later, over any messenger. Raises ApiError."""
        if principal.role not in APPROVER_ROLES:
            raise ApiError(Reason.APPROVER_NOT_ALLOWED, f"{principal.role} may not decide on orders of agents.")
        approval = await self.get(principal, approval_id)
        if approval.state is not ApprovalState.PENDING:
            raise ApiError(Reason.APPROVAL_USED, f"Request {approval_id} is {approval.state} already.")
        return self._tokens.make(approval, approve=approve, approver=principal.actor), approval

    async def describe_token(self, token: str) -> tuple[Approval, bool]:
        """What a token would do, without doing it: the request, and whether it approves. Raises ApiError."""
        ticket = self._tokens.read(token, self._clock.now_ns())
        found = await self._authority.approval(ticket.approval_id)
        if found is None:
            raise ApiError(Reason.APPROVAL_NOT_FOUND)
        return found, ticket.approve

    async def use_token(self, token: str, *, via: str) -> tuple[Approval, Order | None]:
        """Decide as the person that the token was made for, who must still be allowed to. Raises ApiError."""
        ticket = self._tokens.read(token, self._clock.now_ns())
        principal = self._people.principal(ticket.approver)
        if principal is None or not principal.may_use(ticket.account):
            raise ApiError(Reason.APPROVER_NOT_ALLOWED, "Whoever the link was made for may not approve this any more.")
        return await self.decide(
            principal, ticket.approval_id, approve=ticket.approve, order_hash=ticket.order_hash, via=via
        )

    def seconds_left(self, approval: Approval) -> int:
        """How long a request can still be decided, 0 for one that cannot."""
        if approval.state is not ApprovalState.PENDING:
            return 0
        return max(approval.expires_time_ns - self._clock.now_ns(), 0) // _NS


def _may_see(principal: Principal, approval: Approval) -> bool:
    if principal.role is Role.AGENT:
        return approval.actor == principal.actor and principal.may_use(approval.account)
    return principal.may_use(approval.account)


def order_words(order: OrderRequest, instrument: Instrument | None) -> str:
    """Every part of an order that counts, as words: ``BUY 0.1 BTCUSDT LIMIT at 60000 GTC``."""
    if instrument is None:
        return f"{order.side} {order.quantity_lots} lots {order.symbol} {order.type}"
    amount = (
        instrument.format_quantity(order.quantity_lots)
        if order.quantity_lots
        else f"{format_units(order.quote_amount_units, instrument.quote.decimals)} {instrument.quote.code} of"
    )
    words = [order.side.value, amount, order.symbol, order.type.value.replace("_", " ")]
    if order.price_ticks:
        words.append(f"at {instrument.format_price(order.price_ticks)}")
    if order.stop_price_ticks:
        words.append(f"triggered at {instrument.format_price(order.stop_price_ticks)}")
    if order.trailing_offset_ticks:
        words.append(f"trailing by {instrument.format_price(order.trailing_offset_ticks)}")
    if order.trailing_offset_bps:
        words.append(f"trailing by {format_units(order.trailing_offset_bps, 2)} %")
    words.append(order.time_in_force.value)
    return " ".join(words)


def approval_words(approval: Approval, instrument: Instrument | None, valuation: Asset) -> str:
    """A request in one line: whose order, what exactly, what it is worth."""
    worth = f"{format_units(approval.value_units, valuation.decimals)} {valuation.code}"
    return (
        f"Request {approval.approval_id}: agent {approval.agent} wants to {order_words(approval.order, instrument)} on "
        f"account {approval.account}, worth {worth}"
    )
