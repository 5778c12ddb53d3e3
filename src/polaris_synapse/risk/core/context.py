"""One order under examination: the request, whose it is, and the numbers that its checks share."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.instruments import PARTS_PER_MILLION
from polaris_synapse.domain.messages import RiskLimits
from polaris_synapse.domain.orders import LIMIT_PRICED, Order, OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.list_legs import held_by
from polaris_synapse.risk.core.members import APPROVED, BUY, LIMIT, NO_REASON, SELL
from polaris_synapse.risk.core.positions import position_lots
from polaris_synapse.risk.core.reservations import need, worst_buy_ticks, worst_lots_of_amount
from polaris_synapse.risk.core.state import PARTITIONS_MAX, SECOND_NS, Account, Desk, Market, OrderRecord
from polaris_synapse.risk.core.valuation import usable_mark, value_of

#: What names an agent as the one who asks.
AGENT_PREFIX: Final = "agent:"


class Refusal(Struct, frozen=True):
    """Why an order is not taken: the reason, and one sentence with the numbers."""

    reason: Reason
    detail: str


class Prospect:
    """A known account's order on a known instrument, with what it would need. Made once, read by many checks.

    ``extra_units`` of ``need_asset`` and ``extra_lots`` are what it takes beyond what the order it replaces holds.
    ``notional_units`` (quote) and ``value_units`` (valuation asset, None without a price) are of the whole order:
    at its limit or stop price, or at the mark. ``lots`` are its quantity, estimated at the mark for a quote amount.
    """

    __slots__ = (
        "extra_lots",
        "extra_units",
        "lots",
        "need_asset",
        "notional_units",
        "price_ticks",
        "record",
        "reducing",
        "value_units",
    )

    def __init__(self, context: OrderContext, account: Account, market: Market) -> None:
        request = context.request
        mark = context.mark_ticks
        collar_ppm = context.limits.price_collar_ppm
        is_buy = request.side is BUY
        self.need_asset = market.quote if is_buy else market.base
        self.price_ticks = request.price_ticks or request.stop_price_ticks or mark
        if request.quote_amount_units:
            self.notional_units = request.quote_amount_units
            self.lots = self.notional_units // (mark * market.multiplier) if mark else 0
        else:
            self.lots = request.quantity_lots
            self.notional_units = self.price_ticks * self.lots * market.multiplier
        if market.quote == context.desk.state.valuation_asset:
            self.value_units: int | None = self.notional_units
        else:
            self.value_units = value_of(context.desk, market.quote, self.notional_units)
        replaced = context.replaces
        if replaced is None:
            self.record: OrderRecord = OrderRecord(
                order=Order(
                    order_id=(context.desk.state.order_number + 1) * PARTITIONS_MAX + context.desk.state.partition,
                    request=request,
                    venue=market.instrument.venue,
                    state=APPROVED,
                    quantity_lots=request.quantity_lots,
                    price_ticks=request.price_ticks,
                    stop_price_ticks=request.stop_price_ticks,
                    reason=Reason.FLATTENED if context.flattens else NO_REASON,
                    created_time_ns=context.time_ns,
                    updated_time_ns=context.time_ns,
                ),
                need_asset=self.need_asset,
                worst_ticks=worst_buy_ticks(request, mark, collar_ppm),
                worst_lots=worst_lots_of_amount(request, market, mark, collar_ppm),
                flattens=context.flattens,
            )
            self.extra_units, self.extra_lots = need(
                self.record, market, request.quantity_lots, request.price_ticks, request.stop_price_ticks
            )
        else:
            self.record = replaced
            units, lots = need(replaced, market, request.quantity_lots, request.price_ticks, request.stop_price_ticks)
            held_units, held_lots = held_by(context.desk, replaced)
            self.extra_units = max(units - held_units, 0)
            self.extra_lots = max(lots - held_lots, 0)
        self.reducing = self._is_reducing(context, account, market)

    def _is_reducing(self, context: OrderContext, account: Account, market: Market) -> bool:
        """Whether the order, with all open ones on its side, can only bring the position nearer to zero."""
        if context.replaces is not None and not self.extra_lots and not self.extra_units:
            return True
        position = account.positions.get(market.symbol)
        if position is None or (context.request.quote_amount_units and not context.mark_ticks):
            return False
        held = position_lots(position, market)
        if context.request.side is SELL:
            return position.open_sell_lots + self.extra_lots <= held
        return position.open_buy_lots + self.extra_lots <= -held


class OrderContext:
    """What a check sees. ``account``, ``market`` and ``prospect`` are None where there is no such account or symbol.

    ``replaces`` is the open order whose values the request would change; ``flattens`` marks the desk's own order that
    closes a position for the kill switch, ``approved`` an agent's that a person approves in this very step.
    """

    __slots__ = (
        "account",
        "actor",
        "approval_id",
        "approved",
        "desk",
        "flattens",
        "has_token",
        "limits",
        "mark_ticks",
        "market",
        "prospect",
        "replaces",
        "request",
        "time_ns",
    )

    def __init__(
        self,
        desk: Desk,
        request: OrderRequest,
        *,
        actor: str,
        approval_id: str = "",
        replaces: OrderRecord | None = None,
        flattens: bool = False,
        approved: bool = False,
    ) -> None:
        state = desk.state
        self.desk = desk
        self.request = request
        self.actor = actor
        self.approval_id = approval_id
        self.replaces = replaces
        self.flattens = flattens
        self.approved = approved
        self.time_ns = desk.time_ns
        self.account: Account | None = state.accounts.get(request.account)
        self.market: Market | None = state.markets.get(request.symbol)
        self.limits: RiskLimits = self.account.limits if self.account is not None else state.default_limits
        self.mark_ticks = 0
        self.prospect: Prospect | None = None
        # Every order that arrives counts against the message rate, whatever becomes of it.
        self.has_token = flattens or self.account is None or take_token(self.account, self.limits, self.time_ns)
        if self.market is not None:
            self.mark_ticks = usable_mark(desk, self.market, self.time_ns, self.limits.market_data_age_seconds_max)
            if self.account is not None and _has_sane_numbers(request):
                self.prospect = Prospect(self, self.account, self.market)


def _has_sane_numbers(request: OrderRequest) -> bool:
    """Whether sums can be done with the request; its field check refuses it otherwise."""
    return (
        request.quantity_lots >= 0
        and request.quote_amount_units >= 0
        and request.price_ticks >= 0
        and request.stop_price_ticks >= 0
        and 0 <= request.trailing_offset_bps < 10_000
        and request.trailing_offset_ticks >= 0
        and (request.price_ticks > 0) == (request.type is LIMIT or request.type in LIMIT_PRICED)
    )


def take_token(account: Account, limits: RiskLimits, time_ns: int) -> bool:
    """Take one message from the account's bucket, if there is one.

    The level counts nanoseconds times messages a second: one message costs a second's worth, time refills it exactly.
    A clock that was set back refills nothing until it moves on.
    """
    rate = limits.messages_per_second_max
    if not rate:
        return True
    burst, level, passed_ns = limits.message_burst_max, account.bucket_level, time_ns - account.bucket_time_ns
    full = burst * SECOND_NS if burst > 1 else SECOND_NS
    if passed_ns > 0 and level >= 0:
        level += passed_ns * rate
    if level < 0 or level > full:
        level = full
    account.bucket_time_ns = time_ns
    if level < SECOND_NS:
        account.bucket_level = level
        return False
    account.bucket_level = level - SECOND_NS
    return True


def value_of_lots(desk: Desk, market: Market, lots: int, ticks: int) -> int:
    """Lots at a price, in minor units of the valuation asset; 0 where its quote has no price."""
    return value_of(desk, market.quote, lots * ticks * market.multiplier) or 0


def share_ppm(part: int, whole: int) -> int:
    """``part`` of ``whole`` in parts per million, rounded up, so that a limit is never passed by rounding."""
    return -(-part * PARTS_PER_MILLION // whole)
