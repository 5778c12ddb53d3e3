"""The desk's cores by themselves: no server, no files, no clock. The same messages always give the same state.

    python examples/embed.py

Two people trade on the desk's own book. The program prints what the cores put out, then plays the same messages to a
second set of cores and compares the hashes of their states.
"""

from __future__ import annotations

from collections.abc import Sequence

from polaris_synapse.bus.core import Core
from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.domain.instruments import INTERNAL_VENUE, Instrument
from polaris_synapse.domain.messages import (
    AccountKind,
    Answer,
    BalanceChanged,
    ExecutionRecorded,
    HostStarted,
    KycState,
    ListInstrument,
    Mark,
    Message,
    MoveFunds,
    OpenAccount,
    OrderUpdated,
    ReviewKyc,
    SubmitOrder,
)
from polaris_synapse.domain.money import Asset, format_units, parse_amount
from polaris_synapse.domain.orders import OrderRequest, OrderType, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.core import MatchingCore
from polaris_synapse.risk.core import RiskCore
from polaris_synapse.testing.cascade import run_cores

USDT = Asset(code="USDT", decimals=8)
BTC = Asset(code="BTC", decimals=8)
ASSETS = {asset.code: asset for asset in (USDT, BTC)}
BOOK = Instrument(
    symbol="BTCUSDT.INT",
    base=BTC,
    quote=USDT,
    tick_units=parse_amount("0.01", USDT),
    lot_units=parse_amount("0.00001", BTC),
    min_notional_units=parse_amount("5", USDT),
    venue=INTERNAL_VENUE,
)
SECOND_NS = 1_000_000_000
#: Time is a message like everything else; this one is 2026-01-01T12:00:00Z.
NOON_NS = 1_767_268_800 * SECOND_NS


def fresh_cores() -> tuple[Core, ...]:
    """Cores that have seen nothing yet."""
    return RiskCore(valuation_asset="USDT"), MatchingCore(), ComplianceCore()


def open_account(name: str) -> list[Message]:
    """Somebody whose identity was checked, with paper money."""
    return [
        OpenAccount(
            time_ns=NOON_NS, actor="embed", account=name, holder_name=name.title(), account_kind=AccountKind.PERSON,
            country="CH",
        ),
        ReviewKyc(time_ns=NOON_NS, actor="embed", account=name, state=KycState.APPROVED, note="an example"),
        *(
            MoveFunds(
                time_ns=NOON_NS, actor="embed", account=name, asset=asset.code,
                amount_units=parse_amount(amount, asset), reference=f"opening-{asset.code}",
            )
            for asset, amount in ((USDT, "100000"), (BTC, "1"))
        ),
    ]  # fmt: skip


def order(account: str, side: Side, quantity: str, price: str) -> SubmitOrder:
    """A limit order, in ticks and lots."""
    request = OrderRequest(
        account=account,
        client_order_id=f"{account}-{side.lower()}-{quantity}",
        symbol=BOOK.symbol,
        side=side,
        type=OrderType.LIMIT,
        quantity_lots=BOOK.parse_quantity(quantity),
        price_ticks=BOOK.parse_price(price),
    )
    return SubmitOrder(time_ns=NOON_NS + SECOND_NS, actor=f"user:{account}", order=request)


def story() -> list[Message]:
    """What happens, from the first message to the last."""
    mark = BOOK.parse_price("60000")
    return [
        HostStarted(time_ns=NOON_NS),
        ListInstrument(time_ns=NOON_NS, actor="embed", instrument=BOOK),
        *open_account("alice"),
        *open_account("bob"),
        Mark(
            time_ns=NOON_NS, symbol=BOOK.symbol, source="embed", mark_ticks=mark, bid_ticks=mark - 1,
            ask_ticks=mark + 1, last_ticks=mark, healthy=True,
        ),
        order("alice", Side.SELL, "0.5", "60010"),
        order("bob", Side.BUY, "0.2", "60020"),
        order("bob", Side.BUY, "9", "60000"),
    ]  # fmt: skip


def show(outputs: Sequence[Message]) -> None:
    """Print what a person would want to know of it."""
    for message in outputs:
        if isinstance(message, Answer) and message.reason is not Reason.NONE:
            print(f"refused   {message.reason.name}: {message.detail}")
        elif isinstance(message, OrderUpdated):
            request = message.order.request
            print(f"order     {message.order.order_id} of {request.account}: {request.side} is {message.order.state}")
        elif isinstance(message, ExecutionRecorded):
            price, quantity = (
                BOOK.format_price(message.fill.price_ticks),
                BOOK.format_quantity(message.fill.quantity_lots),
            )
            print(f"fill      {message.account} {message.side} {quantity} at {price}")
        elif isinstance(message, BalanceChanged) and message.time_ns > NOON_NS:
            asset = ASSETS[message.asset]
            print(f"balance   {message.account} {format_units(message.total_units, asset.decimals)} {asset.code}")


def main() -> None:
    """Tell the story twice."""
    first, second = fresh_cores(), fresh_cores()
    show(run_cores(first, story()))
    run_cores(second, story())
    print()
    for one, other in zip(first, second, strict=True):
        same = "the same" if one.state_hash() == other.state_hash() else "NOT the same"
        print(f"{one.name:<11} {one.state_hash()[:32]}  {same} after a second run")


if __name__ == "__main__":
    main()
