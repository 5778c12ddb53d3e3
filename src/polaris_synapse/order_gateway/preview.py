"""What an order would cost, without placing it."""

from __future__ import annotations

from collections.abc import Iterable

from polaris_synapse.domain.instruments import Instrument, InstrumentStatus, fee_units
from polaris_synapse.domain.messages import BalanceChanged, Mark
from polaris_synapse.domain.money import format_amount
from polaris_synapse.domain.orders import LIMIT_PRICED, STOP_PRICED, OrderRequest, PostOnly, Side
from polaris_synapse.domain.reasons import Reason, explain
from polaris_synapse.order_gateway.views import PreviewAnswer
from polaris_synapse.web.errors import ApiError


def estimated_price(request: OrderRequest, instrument: Instrument, mark: Mark | None) -> tuple[int, str]:
    """Ticks and where they come from. Raises ApiError(MARKET_DATA_MISSING) where only the market could say."""
    if request.type in LIMIT_PRICED:
        return request.price_ticks, "the order's limit price"
    if request.type in STOP_PRICED:
        return request.stop_price_ticks, "the order's stop price"
    if mark is None:
        raise ApiError(Reason.MARKET_DATA_MISSING)
    side_ticks, side_name = (mark.ask_ticks, "ask") if request.side is Side.BUY else (mark.bid_ticks, "bid")
    if side_ticks > 0:
        return side_ticks, f"the best {side_name} of {mark.symbol}"
    return mark.mark_ticks, f"the mark of {mark.symbol}"


def preview(
    request: OrderRequest, instrument: Instrument, mark: Mark | None, balances: Iterable[BalanceChanged]
) -> PreviewAnswer:
    """The estimate. Raises ApiError(MARKET_DATA_MISSING) for an order that only the market prices."""
    ticks, source = estimated_price(request, instrument, mark)
    one_lot = instrument.notional_units(ticks, 1)
    lots = request.quantity_lots or request.quote_amount_units // one_lot
    notional = instrument.notional_units(ticks, lots)
    base_units = instrument.base_units(lots)
    buying = request.side is Side.BUY
    pays_asset, receives_asset = (instrument.quote, instrument.base) if buying else (instrument.base, instrument.quote)
    pays, received = (notional, base_units) if buying else (base_units, notional)
    fee = fee_units(received, instrument.fee_ppm(maker=request.post_only is not PostOnly.NO))
    free = sum(balance.total_units - balance.reserved_units for balance in balances if balance.asset == pays_asset.code)
    return PreviewAnswer(
        account=request.account,
        symbol=request.symbol,
        side=request.side,
        type=request.type,
        quantity=instrument.format_quantity(lots),
        price=instrument.format_price(ticks),
        price_source=source,
        notional=format_amount(notional, instrument.quote),
        notional_asset=instrument.quote.code,
        fee=format_amount(fee, receives_asset),
        fee_asset=receives_asset.code,
        pays=format_amount(pays, pays_asset),
        pays_asset=pays_asset.code,
        receives=format_amount(received - fee, receives_asset),
        receives_asset=receives_asset.code,
        free=format_amount(free, pays_asset),
        enough=free >= pays,
        problems=tuple(explain(reason) for reason in _problems(instrument, lots, notional, mark)),
    )


def _problems(instrument: Instrument, lots: int, notional: int, mark: Mark | None) -> Iterable[Reason]:
    """Refusals that the instrument and the market already tell, in the order of risk's checks."""
    if instrument.status is not InstrumentStatus.TRADING:
        yield Reason.INSTRUMENT_NOT_TRADING
    if lots < instrument.min_quantity_lots:
        yield Reason.QUANTITY_TOO_SMALL
    if lots > instrument.max_quantity_lots:
        yield Reason.QUANTITY_TOO_LARGE
    if notional < instrument.min_notional_units:
        yield Reason.NOTIONAL_TOO_SMALL
    if mark is None:
        yield Reason.MARKET_DATA_MISSING
    elif not mark.healthy:
        yield Reason.MARKET_DATA_STALE
