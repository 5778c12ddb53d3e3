"""Messages as the compliance tests need them, and a core that is fed them."""

from __future__ import annotations

from typing import TypeVar

from polaris_synapse.compliance.core import ComplianceCore
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    AccountStanding,
    Answer,
    AuditEntry,
    ComplianceAlert,
    ComplianceRules,
    ExecutionRecorded,
    KycState,
    LedgerPosted,
    ListInstrument,
    Mark,
    Message,
    OpenAccount,
    OrderUpdated,
    Posting,
    ReviewKyc,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.orders import (
    Fill,
    Liquidity,
    Order,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderType,
    Side,
)
from polaris_synapse.domain.reasons import Reason

SECOND_NS = 1_000_000_000
START_NS = 1_723_100_000 * SECOND_NS
USDT, BTC, EUR = Asset("USDT", 8), Asset("BTC", 8), Asset("EUR", 2)
BTCUSDT = Instrument(symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=10**6, lot_units=1_000)
EURUSDT = Instrument(symbol="EURUSDT", base=EUR, quote=USDT, tick_units=10**4, lot_units=100)
BTCEUR = Instrument(symbol="BTCEUR", base=BTC, quote=EUR, tick_units=100, lot_units=10**6)

M = TypeVar("M", bound=Message)


def usdt(whole: int) -> int:
    """Whole USDT in minor units."""
    return whole * 10**8


def open_account(account: str = "alice", *, time_ns: int = START_NS, holder_name: str = "Alice Adams") -> OpenAccount:
    """A command that opens an account."""
    return OpenAccount(
        time_ns=time_ns, request_id=f"open-{account}", actor="user:olga", account=account, holder_name=holder_name
    )


def review(account: str, state: KycState, *, time_ns: int = START_NS) -> ReviewKyc:
    """A command that moves an identity check."""
    return ReviewKyc(time_ns=time_ns, request_id="review", actor="user:olga", account=account, state=state)


def funds(
    units: int, *, entry_id: int, time_ns: int = START_NS, account: str = "alice", asset: str = "USDT"
) -> LedgerPosted:
    """A deposit (positive) or withdrawal (negative) as the ledger posts it."""
    return LedgerPosted(
        time_ns=time_ns,
        entry_id=entry_id,
        account=account,
        cause="funds",
        reference=f"ref-{entry_id}",
        postings=(Posting(f"client:{account}", asset, units), Posting(f"external:{account}", asset, -units)),
        actor="user:olga",
    )


def execution(
    notional_units: int,
    *,
    execution_id: str,
    order_id: int = 1,
    time_ns: int = START_NS,
    account: str = "alice",
    symbol: str = "BTCUSDT",
) -> ExecutionRecorded:
    """An execution worth ``notional_units`` of the quote asset."""
    fill = Fill(
        trade_id=f"t{execution_id}",
        price_ticks=6_000_000,
        quantity_lots=100,
        liquidity=Liquidity.TAKER,
        fee_units=0,
        fee_asset="BTC",
        simulated=True,
    )
    return ExecutionRecorded(
        time_ns=time_ns,
        execution_id=execution_id,
        order_id=order_id,
        client_order_id=f"c{order_id}",
        account=account,
        symbol=symbol,
        venue="paper",
        side=Side.BUY,
        fill=fill,
        notional_units=notional_units,
    )


def order_updated(
    state: OrderState,
    event: OrderEvent | None = None,
    *,
    order_id: int = 7,
    reason: Reason = Reason.NONE,
    actor: str = "user:tom",
) -> OrderUpdated:
    """An order's step."""
    request = OrderRequest(
        account="alice",
        client_order_id="c-7",
        symbol="BTCUSDT",
        side=Side.BUY,
        type=OrderType.LIMIT,
        quantity_lots=1_000,
        price_ticks=6_000_000,
    )
    order = Order(
        order_id=order_id,
        request=request,
        venue="paper",
        state=state,
        quantity_lots=1_000,
        price_ticks=6_000_000,
        stop_price_ticks=0,
        reason=reason,
    )
    return OrderUpdated(time_ns=START_NS, order=order, event=event, actor=actor)


def mark(symbol: str, ticks: int, *, time_ns: int = START_NS) -> Mark:
    """A healthy mark."""
    return Mark(
        time_ns=time_ns,
        symbol=symbol,
        source="test",
        mark_ticks=ticks,
        bid_ticks=ticks,
        ask_ticks=ticks,
        last_ticks=ticks,
        healthy=True,
    )


class Desk:
    """A core with BTCUSDT listed and, unless told otherwise, the account alice opened; keeps all that it said."""

    def __init__(self, rules: ComplianceRules | None = None, *, opened: bool = True) -> None:
        self.core = ComplianceCore(rules)
        self.said: list[Message] = []
        self.tell(ListInstrument(time_ns=START_NS, actor="desk", instrument=BTCUSDT))
        if opened:
            self.tell(open_account())

    def tell(self, *messages: Message) -> list[Message]:
        """Feed messages; what the core said to them."""
        outputs = [output for message in messages for output in self.core.apply(message)]
        self.said += outputs
        return outputs

    def all(self, kind: type[M]) -> list[M]:
        """Everything of one type that the core said so far."""
        return [message for message in self.said if isinstance(message, kind)]

    def alerts(self, rule: str) -> list[ComplianceAlert]:
        """The alerts of one rule so far."""
        return [alert for alert in self.all(ComplianceAlert) if alert.rule == rule]

    def answer(self, message: Message) -> Answer:
        """The one answer to a command."""
        (answer,) = [output for output in self.tell(message) if isinstance(output, Answer)]
        return answer

    def standing(self, account: str = "alice") -> AccountStanding:
        """The latest standing of an account."""
        return [standing for standing in self.all(AccountStanding) if standing.account == account][-1]

    def entries(self) -> list[AuditEntry]:
        """The audit chain so far."""
        return self.all(AuditEntry)
