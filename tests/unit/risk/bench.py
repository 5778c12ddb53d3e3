"""A risk core on the test bench: short ways to drive it and to read what it said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from msgspec import structs

from polaris_synapse.domain.instruments import INTERNAL_VENUE, PAPER_VENUE, Instrument
from polaris_synapse.domain.messages import (
    AccountKind,
    AccountStanding,
    Answer,
    Command,
    KillLevel,
    KycState,
    ListInstrument,
    Mandate,
    Mark,
    Message,
    MoveFunds,
    OrderReport,
    RiskLimits,
    SetKillLevel,
    SetLimits,
    SetMandate,
    SubmitOrder,
    Tick,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import Fill, Liquidity, Order, OrderEvent, OrderRequest, OrderType, Side
from polaris_synapse.risk.core import RiskCore

BTC, ETH, USDT = Asset("BTC", 8), Asset("ETH", 8), Asset("USDT", 8)
ONE = 10**8
SECOND = 1_000_000_000
#: 2024-08-08 12:00 UTC.
NOON = 1_723_118_400 * SECOND
BTCUSDT = Instrument(
    symbol="BTCUSDT",
    base=BTC,
    quote=USDT,
    tick_units=ONE // 100,
    lot_units=1_000,
    max_quantity_lots=10**9,
    min_notional_units=5 * ONE,
    venue=PAPER_VENUE,
)
ETHUSDT = structs.replace(BTCUSDT, symbol="ETHUSDT", base=ETH, lot_units=10_000)
INTERNAL = structs.replace(BTCUSDT, symbol="BTCUSDT.INT", venue=INTERNAL_VENUE, reference_symbol="BTCUSDT")

M = TypeVar("M", bound=Message)


def usdt(whole: int) -> int:
    """Whole USDT in minor units."""
    return whole * ONE


def of_type(messages: Sequence[Message], kind: type[M]) -> list[M]:
    """The messages of one type."""
    return [message for message in messages if isinstance(message, kind)]


class Bench:
    """A core with time, and helpers that send it messages. Prices are in USDT, quantities in lots of the instrument."""

    def __init__(self, core: RiskCore | None = None) -> None:
        self.core = core or RiskCore()
        self.now = NOON
        self.count = 0
        self.history: list[Message] = []

    def send(self, message: Message) -> Sequence[Message]:
        """Apply a message as it is."""
        out = self.core.apply(message)
        self.history.extend(out)
        if isinstance(message, Command):
            assert len(of_type(out, Answer)) == 1, "a command has exactly one answer"
        return out

    def ask(self, command: Command) -> Answer:
        """Apply a command and return its answer."""
        return of_type(self.send(command), Answer)[0]

    def open_account(self, account: str = "alice", *, version: int = 1, **changes: Any) -> None:
        """Say that compliance lets an account trade, or what ``changes`` says instead."""
        standing = AccountStanding(
            time_ns=self.now,
            account=account,
            account_kind=AccountKind.PERSON,
            kyc=KycState.APPROVED,
            sanctions_hold=False,
            blocked=False,
            restricted_symbols=(),
            version=version,
        )
        self.send(structs.replace(standing, **changes))

    def list(self, *instruments: Instrument) -> None:
        """List instruments."""
        for instrument in instruments:
            self.send(ListInstrument(time_ns=self.now, instrument=instrument))

    def fund(self, asset: str, units: int, account: str = "alice") -> Answer:
        """Move funds under a new reference."""
        self.count += 1
        return self.ask(
            MoveFunds(time_ns=self.now, account=account, asset=asset, amount_units=units, reference=f"r{self.count}")
        )

    def mark(self, price: int, symbol: str = "BTCUSDT", *, healthy: bool = True) -> Sequence[Message]:
        """Say the market's price, in whole USDT."""
        ticks = price * 100
        return self.send(
            Mark(
                time_ns=self.now,
                symbol=symbol,
                source="test",
                mark_ticks=ticks,
                bid_ticks=ticks - 1,
                ask_ticks=ticks + 1,
                last_ticks=ticks,
                healthy=healthy,
            )
        )

    def limits(self, account: str = "*", **limits: int) -> Answer:
        """Set limits."""
        return self.ask(SetLimits(time_ns=self.now, account=account, limits=RiskLimits(**limits)))

    def mandate(self, **changes: Any) -> Answer:
        """Give agent jarvis a wide mandate on BTCUSDT for alice, or what ``changes`` says."""
        mandate = Mandate(
            account="alice",
            agent="jarvis",
            symbols=("BTCUSDT",),
            order_value_units_max=usdt(10_000),
            daily_value_units_max=usdt(20_000),
            approval_above_units=usdt(10_000),
        )
        changed = structs.replace(mandate, **changes)
        return self.ask(SetMandate(time_ns=self.now, mandate=changed))

    def kill(self, level: KillLevel, account: str = "*") -> Sequence[Message]:
        """Set the kill switch."""
        return self.send(SetKillLevel(time_ns=self.now, level=level, account=account, actor="user:officer"))

    def tick(self, seconds: int = 1) -> Sequence[Message]:
        """Let time pass."""
        self.now += seconds * SECOND
        return self.send(Tick(time_ns=self.now))

    def request(self, side: Side = Side.BUY, lots: int = 1_000, price: int = 60_000, **changes: Any) -> OrderRequest:
        """A LIMIT order of alice for 0.01 BTC, or what ``changes`` says; ``price`` in whole USDT."""
        self.count += 1
        request = OrderRequest(
            account="alice",
            client_order_id=f"c{self.count}",
            symbol="BTCUSDT",
            side=side,
            type=OrderType.LIMIT,
            quantity_lots=lots,
            price_ticks=price * 100,
        )
        return structs.replace(request, **changes)

    def submit(self, request: OrderRequest | None = None, *, actor: str = "user:alice", **changes: Any) -> Answer:
        """Submit an order and return the answer."""
        order = request or self.request(**changes)
        return self.ask(SubmitOrder(time_ns=self.now, order=order, actor=actor, request_id="q"))

    def accepted(self, **changes: Any) -> Order:
        """Submit an order that must be accepted."""
        answer = self.submit(**changes)
        assert answer.order is not None
        assert answer.order.order_id, answer
        return answer.order

    def report(self, order: Order, event: OrderEvent, fill: Fill | None = None, **values: Any) -> Sequence[Message]:
        """Report on an order."""
        report = OrderReport(
            time_ns=self.now,
            order_id=order.order_id,
            account=order.request.account,
            symbol=order.request.symbol,
            event=event,
            fill=fill,
        )
        return self.send(structs.replace(report, **values))

    def fill(
        self,
        order: Order,
        lots: int,
        price: int,
        *,
        fee_units: int = 0,
        fee_asset: str = "USDT",
        trade_id: str = "",
        event: OrderEvent = OrderEvent.PARTIAL_FILL,
    ) -> Sequence[Message]:
        """Report a fill; ``price`` in whole USDT."""
        self.count += 1
        return self.report(
            order,
            event,
            Fill(
                trade_id=trade_id or f"t{self.count}",
                price_ticks=price * 100,
                quantity_lots=lots,
                liquidity=Liquidity.TAKER,
                fee_units=fee_units,
                fee_asset=fee_asset,
            ),
        )


def ready(core: RiskCore | None = None) -> Bench:
    """A bench with three instruments, prices, and alice holding 100,000 USDT and 1 BTC."""
    bench = Bench(core)
    bench.list(BTCUSDT, ETHUSDT, INTERNAL)
    bench.open_account()
    bench.fund("USDT", usdt(100_000))
    bench.fund("BTC", ONE)
    bench.mark(60_000)
    bench.mark(3_000, "ETHUSDT")
    return bench
