"""From orders as clients write them to the integers that the desk works with.

Refused here is what cannot be an order at all (400) and what the instrument cannot express (422: off the tick, off the
lot). Everything that depends on state - money, limits, the market - is risk's to decide.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from polaris_synapse.domain.instruments import Instrument, InstrumentError
from polaris_synapse.domain.money import MoneyError, parse_units
from polaris_synapse.domain.orders import LIMIT_PRICED, STOP_PRICED, OrderRequest, OrderType, TimeInForce
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.order_params import COUNT_MAX, FUNDS_UNITS_MAX, OrderParams
from polaris_synapse.web.errors import ApiError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Read here once: a member read from its enumeration costs ten times as much before Python 3.12.
_LIMIT, _MARKET = OrderType.LIMIT, OrderType.MARKET
_GTC, _IOC, _GTD = TimeInForce.GTC, TimeInForce.IOC, TimeInForce.GTD
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|\+00:00)", re.ASCII)


def parse_order(params: OrderParams, instrument: Instrument, *, account: str, client_order_id: str) -> OrderRequest:
    """The order in ticks and lots. Raises ApiError with the field that is wrong."""
    kind, force = params.type, params.time_in_force
    quantity, price = params.quantity, params.price
    stop_price, quote_amount, expire_time = params.stop_price, params.quote_amount, params.expire_time
    offset, offset_bps = params.trailing_offset, params.trailing_offset_bps
    display, minimum = params.display_quantity, params.min_quantity
    plain = (
        kind is _LIMIT
        and quantity is not None
        and price is not None
        and quote_amount is None
        and stop_price is None
        and offset is None
        and offset_bps is None
        and expire_time is None
        and force is not _GTD
    )
    if not plain:
        _check_shape(params)
    if force is None:
        # An order that takes what is there and cannot rest is not good till cancelled.
        force = _IOC if kind is _MARKET else _GTC
    request = OrderRequest(
        account=account,
        client_order_id=client_order_id,
        symbol=params.symbol,
        side=params.side,
        type=kind,
        quantity_lots=0 if quantity is None else _quantity(instrument, "quantity", quantity),
        quote_amount_units=0 if quote_amount is None else _amount(instrument, quote_amount),
        price_ticks=0 if price is None else _price(instrument, "price", price),
        stop_price_ticks=0 if stop_price is None else _price(instrument, "stop_price", stop_price),
        trailing_offset_ticks=0 if offset is None else _price(instrument, "trailing_offset", offset),
        trailing_offset_bps=offset_bps or 0,
        time_in_force=force,
        expire_time_ns=0 if expire_time is None else parse_time("expire_time", expire_time),
        post_only=params.post_only,
        display_lots=0 if display is None else _quantity(instrument, "display_quantity", display),
        min_quantity_lots=0 if minimum is None else _quantity(instrument, "min_quantity", minimum),
        self_trade_prevention=params.self_trade_prevention,
        venue=params.venue,
        decision_id=params.decision_id,
    )
    if request.display_lots > request.quantity_lots > 0:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "display_quantity is larger than quantity.")
    if request.min_quantity_lots > request.quantity_lots > 0:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "min_quantity is larger than quantity.")
    return request


def _check_shape(params: OrderParams) -> None:
    """The fields that an order type needs are there, and no others."""
    kind = params.type
    if params.quantity is not None and params.quote_amount is not None:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "Give quantity or quote_amount, not both.")
    if params.quantity is None and params.quote_amount is None:
        raise ApiError(Reason.MISSING_FIELD, "The field quantity is missing.")
    if params.quote_amount is not None and kind is not OrderType.MARKET:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "Only a MARKET order takes quote_amount.")
    _needs(kind, "price", given=params.price is not None, needed=kind in LIMIT_PRICED)
    _needs(kind, "stop_price", given=params.stop_price is not None, needed=kind in STOP_PRICED)
    trailing = (params.trailing_offset is not None) + (params.trailing_offset_bps is not None)
    if trailing == 2:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "Give trailing_offset or trailing_offset_bps, not both.")
    _needs(kind, "trailing_offset", given=bool(trailing), needed=kind is OrderType.TRAILING_STOP)
    expires = params.time_in_force is TimeInForce.GTD
    if expires and params.expire_time is None:
        raise ApiError(Reason.MISSING_FIELD, "A GTD order needs expire_time.")
    if params.expire_time is not None and not expires:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "Only a GTD order takes expire_time.")


def _needs(kind: OrderType, name: str, *, given: bool, needed: bool) -> None:
    if needed and not given:
        raise ApiError(Reason.MISSING_FIELD, f"A {kind} order needs {name}.")
    if given and not needed:
        raise ApiError(Reason.CONTRADICTORY_FIELDS, f"A {kind} order takes no {name}.")


def parse_price(instrument: Instrument, name: str, text: str | None) -> int:
    """Decimal text to ticks, 0 for None. Raises ApiError."""
    return 0 if text is None else _price(instrument, name, text)


def parse_quantity(instrument: Instrument, name: str, text: str | None) -> int:
    """Decimal text to lots, 0 for None. Raises ApiError."""
    return 0 if text is None else _quantity(instrument, name, text)


def _price(instrument: Instrument, name: str, text: str) -> int:
    try:
        ticks = instrument.parse_price(text)
    except InstrumentError as error:
        raise _off_grid(name, text, instrument.quote.decimals, Reason.PRICE_NOT_ON_TICK, str(error)) from None
    return ticks if 0 < ticks <= COUNT_MAX else _positive(name, ticks)


def _quantity(instrument: Instrument, name: str, text: str) -> int:
    try:
        lots = instrument.parse_quantity(text)
    except InstrumentError as error:
        raise _off_grid(name, text, instrument.base.decimals, Reason.QUANTITY_NOT_ON_LOT, str(error)) from None
    return lots if 0 < lots <= COUNT_MAX else _positive(name, lots)


def _amount(instrument: Instrument, text: str) -> int:
    return _positive("quote_amount", parse_decimal("quote_amount", text, instrument.quote.decimals), FUNDS_UNITS_MAX)


def _off_grid(name: str, text: str, decimals: int, reason: Reason, sentence: str) -> ApiError:
    """A number between two ticks is the instrument's refusal; text that is no number is a malformed request."""
    try:
        parse_units(text, 18 if decimals < 18 else decimals)
    except MoneyError:
        reason = Reason.INVALID_VALUE
    return ApiError(reason, f"{name}: {sentence}.")


def parse_decimal(name: str, text: str, decimals: int) -> int:
    """Decimal text to units. Raises ApiError."""
    try:
        return parse_units(text, decimals)
    except MoneyError as error:
        raise ApiError(Reason.INVALID_VALUE, f"{name}: {error}.") from None


def _positive(name: str, count: int, count_max: int = COUNT_MAX) -> int:
    if count <= 0:
        raise ApiError(Reason.INVALID_VALUE, f"{name}: must be above zero.")
    if count > count_max:
        raise ApiError(Reason.INVALID_VALUE, f"{name}: is larger than the desk can count.")
    return count


def parse_time(name: str, text: str | None) -> int:
    """ISO 8601 UTC to nanoseconds since 1970; 0 for None. Raises ApiError."""
    if text is None:
        return 0
    if _TIME.fullmatch(text):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            moment = _EPOCH
        if moment > _EPOCH:
            return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
    raise ApiError(Reason.INVALID_VALUE, f"{name}: write it in UTC such as 2026-12-01T00:00:00Z.")
