"""What the cores held at a moment of the past, as rows for people: accounts, orders, positions."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from polaris_synapse.bus.core import decode_state
from polaris_synapse.domain.money import format_units
from polaris_synapse.domain.orders import TERMINAL_STATES
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.risk.core.machine import SNAPSHOT_VERSION
from polaris_synapse.risk.core.state import Market, RiskState


class Show(StrEnum):
    """What to show of the state."""

    ACCOUNTS = "accounts"
    ORDERS = "orders"
    POSITIONS = "positions"


class AccountRow(Struct, frozen=True):
    """One asset of one account, in decimal text."""

    account: str
    asset: str
    total: str
    free: str
    reserved: str
    kill_level: str


class OrderRow(Struct, frozen=True):
    """An order that the risk core still remembers."""

    order_id: int
    account: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    state: str
    quantity: str
    filled: str
    price: str
    reason: str
    open: bool


class PositionRow(Struct, frozen=True):
    """A position, in base units, with its cost and profit in the quote asset."""

    account: str
    symbol: str
    quantity: str
    cost: str
    realised_pnl: str
    fees: str


Row = AccountRow | OrderRow | PositionRow


def rows_of_state(core: RiskCore, show: Show, account: str = "") -> list[Row]:
    """The rows of one view; of one account, or of all."""
    # Through a snapshot: what is shown is what would be restored, and nothing here can touch the core.
    state = decode_state(SNAPSHOT_VERSION, RiskState, core.snapshot())
    rows: dict[Show, Iterator[Row]] = {
        Show.ACCOUNTS: _accounts(state),
        Show.ORDERS: _orders(state),
        Show.POSITIONS: _positions(state),
    }
    return [row for row in rows[show] if account in ("", row.account)]


def _accounts(state: RiskState) -> Iterator[Row]:
    for name, account in sorted(state.accounts.items()):
        for asset, balance in sorted(account.balances.items()):
            decimals = state.decimals.get(asset, 0)
            yield AccountRow(
                account=name,
                asset=asset,
                total=format_units(balance.total_units, decimals),
                free=format_units(balance.free_units, decimals),
                reserved=format_units(balance.reserved_units, decimals),
                kill_level=max(state.kill_level, account.kill_level).name,
            )


def _orders(state: RiskState) -> Iterator[Row]:
    for record in state.orders:
        order = record.order
        instrument = state.markets[order.request.symbol].instrument
        yield OrderRow(
            order_id=order.order_id,
            account=order.request.account,
            client_order_id=order.request.client_order_id,
            symbol=order.request.symbol,
            side=order.request.side.value,
            type=order.request.type.value,
            state=order.state.value,
            quantity=instrument.format_quantity(order.quantity_lots),
            filled=instrument.format_quantity(order.filled_lots),
            price=instrument.format_price(order.price_ticks) if order.price_ticks else "",
            reason=order.reason.name if order.reason else "",
            open=order.state not in TERMINAL_STATES,
        )


def _positions(state: RiskState) -> Iterator[Row]:
    for name, account in sorted(state.accounts.items()):
        for symbol, position in sorted(account.positions.items()):
            market = state.markets[symbol]
            yield PositionRow(
                account=name,
                symbol=symbol,
                quantity=format_units(position.base_units, market.instrument.base.decimals),
                cost=_quote(market, position.cost_units),
                realised_pnl=_quote(market, position.realised_pnl_units),
                fees=_quote(market, position.fees_units),
            )


def _quote(market: Market, units: int) -> str:
    return format_units(units, market.instrument.quote.decimals)
