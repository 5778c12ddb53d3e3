"""The desk's facts as clients see them; what each of these says stands in ``views``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import AccountStanding, BalanceChanged, ExecutionRecorded, Mark, PositionChanged
from polaris_synapse.domain.money import Asset, format_units
from polaris_synapse.domain.orders import OPEN_STATES, Order
from polaris_synapse.domain.reasons import explain
from polaris_synapse.order_gateway.views import (
    AccountView,
    BalanceView,
    ExecutionView,
    InstrumentView,
    OrderView,
    PositionView,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def iso_time(time_ns: int) -> str:
    """Nanoseconds since 1970 as ISO 8601 UTC with milliseconds; empty for 0."""
    if not time_ns:
        return ""
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return f"{_iso_second(seconds)}.{rest_ns // 1_000_000:03d}Z"


@lru_cache(maxsize=4_096)
def _iso_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds").removesuffix("+00:00")


def average_price(instrument: Instrument, notional_units: int, lots: int) -> str:
    """Quote per whole base unit, to the quote asset's last decimal, rounded to nearest; empty without lots."""
    if not lots:
        return ""
    base_units = abs(lots) * instrument.lot_units
    per_unit = (2 * abs(notional_units) * instrument.base.unit_count + base_units) // (2 * base_units)
    return format_units(per_unit, instrument.quote.decimals)


def order_view(order: Order, instrument: Instrument) -> OrderView:
    """An order for clients."""
    request, state, reason = order.request, order.state, order.reason
    tick, lot = instrument.tick_units, instrument.lot_units
    quote, base = instrument.quote.decimals, instrument.base.decimals
    lots, filled_lots = order.quantity_lots, order.filled_lots
    quantity = format_units(lots * lot, base) if lots else ""
    is_open = state in OPEN_STATES
    open_lots = max(lots - filled_lots, 0) if is_open else 0
    if filled_lots:
        filled_quantity = format_units(filled_lots * lot, base)
        open_quantity = format_units(open_lots * lot, base)
    else:
        filled_quantity, open_quantity = "0", quantity if open_lots else "0"
    return OrderView(
        order_id=order.order_id,
        client_order_id=request.client_order_id,
        account=request.account,
        symbol=request.symbol,
        venue=order.venue,
        side=request.side,
        type=request.type,
        state=state,
        open=is_open,
        quantity=quantity,
        quote_amount=format_units(request.quote_amount_units, quote) if request.quote_amount_units else "",
        price=format_units(order.price_ticks * tick, quote) if order.price_ticks else "",
        stop_price=format_units(order.stop_price_ticks * tick, quote) if order.stop_price_ticks else "",
        trailing_offset=format_units(request.trailing_offset_ticks * tick, quote)
        if request.trailing_offset_ticks
        else "",
        trailing_offset_bps=request.trailing_offset_bps,
        time_in_force=request.time_in_force,
        expire_time=iso_time(request.expire_time_ns) if request.expire_time_ns else "",
        post_only=request.post_only,
        display_quantity=format_units(request.display_lots * lot, base) if request.display_lots else "",
        min_quantity=format_units(request.min_quantity_lots * lot, base) if request.min_quantity_lots else "",
        self_trade_prevention=request.self_trade_prevention,
        filled_quantity=filled_quantity,
        open_quantity=open_quantity,
        filled_notional=format_units(order.filled_notional_units, quote) if order.filled_notional_units else "0",
        average_price=average_price(instrument, order.filled_notional_units, filled_lots) if filled_lots else "",
        reason_code=int(reason) if reason else 0,
        reason=reason.name if reason else "NONE",
        message=explain(reason) if reason else "",
        detail=order.detail,
        decision_id=request.decision_id,
        venue_order_id=order.venue_order_id,
        client_list_id=request.client_list_id,
        created_time=iso_time(order.created_time_ns),
        created_time_ns=order.created_time_ns,
        updated_time_ns=order.updated_time_ns,
        version=order.version,
    )


def execution_view(execution: ExecutionRecorded, instrument: Instrument, fee_asset: Asset | None) -> ExecutionView:
    """A fill for clients. ``fee_asset`` None: the asset's decimals are not known, and the fee is in minor units."""
    fill = execution.fill
    quote = instrument.quote.decimals
    return ExecutionView(
        execution_id=execution.execution_id,
        trade_id=fill.trade_id,
        order_id=execution.order_id,
        client_order_id=execution.client_order_id,
        account=execution.account,
        symbol=execution.symbol,
        venue=execution.venue,
        side=execution.side,
        quantity=instrument.format_quantity(fill.quantity_lots),
        price=instrument.format_price(fill.price_ticks),
        notional=format_units(execution.notional_units, quote),
        liquidity=fill.liquidity,
        fee=format_units(fill.fee_units, fee_asset.decimals if fee_asset else 0),
        fee_asset=fill.fee_asset if fee_asset else f"{fill.fee_asset} minor units",
        realised_pnl=format_units(execution.realised_pnl_units, quote),
        simulated=fill.simulated,
        how=fill.how,
        decision_id=execution.decision_id,
        time=iso_time(execution.time_ns),
        time_ns=execution.time_ns,
    )


def balance_view(balance: BalanceChanged, asset: Asset) -> BalanceView:
    """A balance for clients."""
    free = balance.total_units - balance.reserved_units
    return BalanceView(
        account=balance.account,
        asset=balance.asset,
        total=format_units(balance.total_units, asset.decimals),
        reserved=format_units(balance.reserved_units, asset.decimals),
        free=format_units(free, asset.decimals),
    )


def unrealised_units(position: PositionChanged, instrument: Instrument, mark: Mark | None) -> int | None:
    """Profit that closing at the mark would make, in quote minor units; None without a price."""
    if not position.quantity_lots:
        return 0
    if mark is None:
        return None
    return instrument.notional_units(mark.mark_ticks, position.quantity_lots) - position.cost_units


def position_view(position: PositionChanged, instrument: Instrument, mark: Mark | None) -> PositionView:
    """A position for clients, valued at ``mark``."""
    quote = instrument.quote.decimals
    unrealised = unrealised_units(position, instrument, mark)
    value = instrument.notional_units(mark.mark_ticks, position.quantity_lots) if mark else None
    return PositionView(
        account=position.account,
        symbol=position.symbol,
        asset=instrument.quote.code,
        quantity=instrument.format_quantity(position.quantity_lots),
        average_price=average_price(instrument, position.cost_units, position.quantity_lots),
        cost=format_units(position.cost_units, quote),
        mark_price=instrument.format_price(mark.mark_ticks) if mark else "",
        mark_source=f"mark:{mark.symbol}:{mark.source}" if mark else "",
        mark_healthy=bool(mark and mark.healthy),
        market_value=format_units(value, quote) if value is not None else "",
        unrealised_pnl=format_units(unrealised, quote) if unrealised is not None else "",
        realised_pnl=format_units(position.realised_pnl_units, quote),
        fees=format_units(position.fees_units, quote),
    )


def instrument_view(instrument: Instrument, mark: Mark | None) -> InstrumentView:
    """An instrument for clients."""
    return InstrumentView(
        symbol=instrument.symbol,
        base=instrument.base.code,
        quote=instrument.quote.code,
        venue=instrument.venue,
        status=instrument.status,
        tick_size=instrument.tick_size,
        lot_size=instrument.lot_size,
        min_quantity=instrument.format_quantity(instrument.min_quantity_lots),
        max_quantity=instrument.format_quantity(instrument.max_quantity_lots),
        min_notional=format_units(instrument.min_notional_units, instrument.quote.decimals),
        maker_fee_ppm=instrument.maker_fee_ppm,
        taker_fee_ppm=instrument.taker_fee_ppm,
        reference_symbol=instrument.reference_symbol,
        mark_price=instrument.format_price(mark.mark_ticks) if mark else "",
        bid=instrument.format_price(mark.bid_ticks) if mark and mark.bid_ticks else "",
        ask=instrument.format_price(mark.ask_ticks) if mark and mark.ask_ticks else "",
        healthy=bool(mark and mark.healthy),
    )


def account_view(standing: AccountStanding) -> AccountView:
    """An account for clients."""
    return AccountView(
        account=standing.account,
        kind=standing.account_kind,
        kyc=standing.kyc,
        sanctions_hold=standing.sanctions_hold,
        blocked=standing.blocked,
        restricted_symbols=standing.restricted_symbols,
    )
