"""The risk core under random command streams: replay, restore, and the invariants that must never break."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.unit.risk.bench import BTCUSDT, ETHUSDT, INTERNAL, NOON, ONE, SECOND, Bench, usdt

from polaris_synapse.domain.instruments import fee_units
from polaris_synapse.domain.messages import (
    ActivateBreaker,
    Answer,
    BalanceChanged,
    CancelAll,
    CancelOrder,
    Command,
    HostStarted,
    KillLevel,
    LedgerPosted,
    Mandate,
    Mark,
    Message,
    MoveFunds,
    OrderReport,
    OrderUpdated,
    PositionChanged,
    ReenableAccount,
    ReplaceOrder,
    ResetBreaker,
    RiskLimits,
    SetKillLevel,
    SetLimits,
    SetMandate,
    SubmitOrder,
    Tick,
)
from polaris_synapse.domain.orders import (
    TRANSITIONS,
    Fill,
    Liquidity,
    Order,
    OrderEvent,
    OrderRequest,
    OrderState,
    OrderType,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from polaris_synapse.risk.core import RiskCore

ACCOUNTS: Final = ("alice", "bob")
SYMBOLS: Final = {instrument.symbol: instrument for instrument in (BTCUSDT, ETHUSDT, INTERNAL)}
POSITION_MAX: Final = usdt(12_000)
LIMITS: Final = RiskLimits(
    position_value_units_max=POSITION_MAX,
    order_value_units_max=usdt(20_000),
    market_data_age_seconds_max=0,
    price_collar_ppm=100_000,
    messages_per_second_max=0,
    repeated_orders_max=30,
    open_orders_max=8,
    daily_loss_units_max=usdt(20_000),
    breaker_mark_jump_ppm=300_000,
)

#: One step: what to do, and four numbers that say to whom and how much.
STEP = st.tuples(
    st.sampled_from(
        ["submit"] * 6
        + ["report"] * 8
        + ["market", "cancel", "replace", "mark", "tick", "funds", "cancel_all", "kill", "breaker", "again", "other"]
    ),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
STREAM = st.lists(STEP, max_size=60)


class Stream:
    """Turns steps into messages, looking only at what the core said, as the rest of the desk would."""

    def __init__(self) -> None:
        self.now = NOON
        self.orders: dict[int, Order] = {}
        self.sent: list[SubmitOrder] = []
        self.count = 0

    def see(self, messages: Sequence[Message]) -> None:
        """Remember orders."""
        for message in messages:
            if isinstance(message, OrderUpdated) and message.order.order_id:
                self.orders[message.order.order_id] = message.order

    def message(self, kind: str, a: int, b: int, c: int) -> Message:
        """The message of a step."""
        self.count += 1
        self.now += a % 3 * SECOND // 2
        makers: dict[str, Callable[[int, int, int], Message]] = {
            "submit": self._submit,
            "market": self._market,
            "report": self._report,
            "cancel": self._cancel,
            "replace": self._replace,
            "mark": self._mark,
            "funds": self._funds,
            "again": self._again,
            "other": self._other,
        }
        simple: dict[str, Message] = {
            "tick": Tick(time_ns=self.now),
            "cancel_all": CancelAll(time_ns=self.now, account=ACCOUNTS[a % 2] if b % 2 else ""),
            "kill": SetKillLevel(
                time_ns=self.now, level=KillLevel(max(b % 12 - 8, 0)), account=(*ACCOUNTS, "*", "nobody")[a % 4]
            ),
            "breaker": (ActivateBreaker if b % 6 == 0 else ResetBreaker)(
                time_ns=self.now, scope=("*", "symbol:BTCUSDT", "account:bob", "account:alice")[a % 4]
            ),
        }
        return simple[kind] if kind in simple else makers[kind](a, b, c)

    def _request(self, a: int, b: int, c: int) -> OrderRequest:
        instrument = list(SYMBOLS.values())[b % 3]
        mid = 300_000 if instrument is ETHUSDT else 6_000_000
        return OrderRequest(
            account=ACCOUNTS[a % 2],
            client_order_id=f"c{self.count}",
            symbol=instrument.symbol,
            side=list(Side)[c % 2],
            type=OrderType.LIMIT,
            quantity_lots=1 + b % 20_000,
            price_ticks=mid + (a % 2_000 - 1_000) * mid // 10_000,
            self_trade_prevention=list(SelfTradePrevention)[c % 5],
        )

    def _submit(self, a: int, b: int, c: int) -> Message:
        command = SubmitOrder(time_ns=self.now, order=self._request(a, b, c), actor="agent:j" if c % 7 == 0 else "u")
        self.sent.append(command)
        return command

    def _market(self, a: int, b: int, c: int) -> Message:
        request = structs.replace(
            self._request(a, b, c), type=OrderType.MARKET, price_ticks=0, time_in_force=TimeInForce.IOC
        )
        if c % 3 == 0:
            request = structs.replace(request, quantity_lots=0, quote_amount_units=usdt(1 + b % 5_000))
        elif c % 3 == 1:
            request = structs.replace(
                request,
                type=OrderType.STOP,
                time_in_force=TimeInForce.GTC,
                stop_price_ticks=300_000 if request.symbol == "ETHUSDT" else 6_000_000,
            )
        return SubmitOrder(time_ns=self.now, order=request, actor="u")

    def _again(self, a: int, _b: int, c: int) -> Message:
        if not self.sent:
            return Tick(time_ns=self.now)
        command = structs.replace(self.sent[a % len(self.sent)], time_ns=self.now)
        if c % 2:
            return command
        return structs.replace(command, order=structs.replace(command.order, quantity_lots=77))

    def _pick(self, a: int) -> Order | None:
        return self.orders[sorted(self.orders)[a % len(self.orders)]] if self.orders else None

    def _report(self, a: int, b: int, c: int) -> Message:
        order = self._pick(a)
        if order is None:
            return Tick(time_ns=self.now)
        events = [event for state, event in TRANSITIONS if state is order.state]
        event = events[b % len(events)] if events else OrderEvent.CANCEL
        report = OrderReport(
            time_ns=self.now,
            order_id=order.order_id,
            account=order.request.account,
            symbol=order.request.symbol,
            event=event,
        )
        left = order.quantity_lots - order.filled_lots if order.quantity_lots else 5
        if event in (OrderEvent.PARTIAL_FILL, OrderEvent.FILL) and left > 0:
            price = order.price_ticks or order.stop_price_ticks or 6_000_000
            instrument = SYMBOLS[order.request.symbol]
            lots = left if event is OrderEvent.FILL else 1 + c % left
            buys = order.request.side is Side.BUY
            received = instrument.base_units(lots) if buys else instrument.notional_units(price, lots)
            return structs.replace(
                report,
                fill=Fill(
                    trade_id=f"t{c % 200}",
                    price_ticks=price,
                    quantity_lots=lots,
                    liquidity=Liquidity.MAKER,
                    fee_units=fee_units(received, 1_000),
                    fee_asset=instrument.base.code if buys else "USDT",
                ),
            )
        if event in (OrderEvent.PARTIAL_FILL, OrderEvent.FILL):
            return structs.replace(report, event=OrderEvent.CANCEL)
        if event is OrderEvent.REPLACE:
            return structs.replace(report, quantity_lots=order.filled_lots + 1 + c % 10_000)
        return report

    def _cancel(self, a: int, _b: int, _c: int) -> Message:
        order = self._pick(a)
        order_id = order.order_id if order is not None else 1
        return CancelOrder(time_ns=self.now, account=ACCOUNTS[a % 2], order_id=order_id)

    def _replace(self, a: int, b: int, c: int) -> Message:
        order = self._pick(a)
        order_id, account = (order.order_id, order.request.account) if order is not None else (1, "alice")
        price = order.price_ticks + c % 1_000 if order is not None and order.price_ticks else 0
        return ReplaceOrder(
            time_ns=self.now, account=account, order_id=order_id, quantity_lots=b % 20_000, price_ticks=price
        )

    def _mark(self, a: int, b: int, c: int) -> Message:
        symbol = list(SYMBOLS)[b % 3]
        mid = 300_000 if symbol == "ETHUSDT" else 6_000_000
        ticks = mid + (a % 2_000 - 1_000) * mid // 20_000
        return Mark(
            time_ns=self.now,
            symbol=symbol,
            source="t",
            mark_ticks=ticks,
            bid_ticks=ticks,
            ask_ticks=ticks,
            last_ticks=ticks,
            healthy=c % 9 > 0,
        )

    def _funds(self, a: int, b: int, c: int) -> Message:
        asset = ("USDT", "BTC", "ETH")[c % 3]
        units = (b % 2_000 - 1_000) * ONE // (1 if asset == "USDT" else 10_000)
        return MoveFunds(
            time_ns=self.now, account=ACCOUNTS[a % 2], asset=asset, amount_units=units, reference=f"r{b % 50}"
        )

    def _other(self, a: int, b: int, _c: int) -> Message:
        choices: tuple[Message, ...] = (
            HostStarted(time_ns=self.now),
            ReenableAccount(time_ns=self.now, account=ACCOUNTS[b % 2]),
            Tick(time_ns=self.now - 3_600 * SECOND),
            Tick(time_ns=self.now + 86_400 * SECOND),
        )
        return choices[a % 4]


def start() -> tuple[Bench, Stream]:
    """A desk with two funded accounts and wide but real limits."""
    bench = Bench(RiskCore(closed_orders_max=5))
    bench.list(BTCUSDT, ETHUSDT, INTERNAL)
    for account in ACCOUNTS:
        bench.open_account(account)
        bench.fund("USDT", usdt(50_000), account)
        bench.fund("BTC", ONE // 2, account)
    bench.mark(60_000)
    bench.mark(3_000, "ETHUSDT")
    bench.send(SetLimits(time_ns=NOON, account="*", limits=LIMITS))
    mandate = Mandate(
        account="alice",
        agent="j",
        symbols=("BTCUSDT",),
        order_value_units_max=usdt(5_000),
        daily_value_units_max=usdt(9_000),
        approval_above_units=usdt(4_000),
    )
    bench.send(SetMandate(time_ns=NOON, mandate=mandate))
    return bench, Stream()


def check_facts(core: RiskCore, message: Message, out: Sequence[Message], before: dict[int, OrderState]) -> None:
    """What must hold after every single message."""
    assert core.check() == []
    answers = [said for said in out if isinstance(said, Answer)]
    assert len(answers) == isinstance(message, Command)
    for said in out:
        if isinstance(said, LedgerPosted):
            sums: dict[str, int] = {}
            for posting in said.postings:
                sums[posting.asset] = sums.get(posting.asset, 0) + posting.units
            assert not any(sums.values())
        elif isinstance(said, BalanceChanged):
            assert said.reserved_units >= 0
        elif isinstance(said, PositionChanged):
            assert said.quantity_lots == 0 or (said.quantity_lots > 0) == (said.cost_units > 0)
        elif isinstance(said, OrderUpdated) and said.order.order_id and said.event is not None:
            old = before.get(said.order.order_id)
            if old is not None and old is not said.order.state:
                targets = {target for (state, _), target in TRANSITIONS.items() if state is old}
                assert said.order.state in targets | {OrderState.PARTIALLY_FILLED}
            before[said.order.order_id] = said.order.state


@settings(max_examples=150)
@given(STREAM, st.integers(0, 60))
def test_restoring_half_way_changes_nothing(steps: list[tuple[str, int, int, int]], cut: int) -> None:
    """A core restored from a snapshot says and becomes exactly what the one that ran through does, and stays sound."""
    bench, stream = start()
    core, other = bench.core, RiskCore(closed_orders_max=5)
    states: dict[int, OrderState] = {}
    restored = False
    for index, (kind, a, b, c) in enumerate(steps):
        if index == min(cut, len(steps) - 1):
            other.restore(core.snapshot())
            assert other.state_hash() == core.state_hash()
            restored = True
        message = stream.message(kind, a, b, c)
        out = core.apply(message)
        check_facts(core, message, out, states)
        if restored:
            assert other.apply(message) == out
        stream.see(out)
    if restored:
        assert other.state_hash() == core.state_hash()


@settings(max_examples=60)
@given(STREAM)
def test_limits_hold_with_everything_open_filled(steps: list[tuple[str, int, int, int]]) -> None:
    """Right after an order is accepted the position keeps its limit even if all open orders of its side fill."""
    bench, stream = start()
    core = bench.core
    for kind, a, b, c in steps:
        message = stream.message(kind, a, b, c)
        out = core.apply(message)
        stream.see(out)
        accepted = next((said.order for said in out if isinstance(said, Answer) and said.order), None)
        if not isinstance(message, SubmitOrder) or accepted is None or not accepted.order_id:
            continue
        if any(isinstance(said, Answer) and said.duplicate for said in out):
            continue
        account = core._desk.state.accounts[accepted.request.account]
        market = core._desk.state.markets[accepted.request.symbol]
        position = account.positions[market.symbol]
        held = position.base_units // market.lot_units
        buys = accepted.request.side is Side.BUY
        worst = held + position.open_buy_lots if buys else held - position.open_sell_lots
        reduces = worst <= 0 if buys else worst >= 0
        mark = market.price_ticks or core._desk.state.markets["BTCUSDT"].price_ticks
        assert reduces or abs(worst) * mark * market.multiplier <= POSITION_MAX + 2 * mark * market.multiplier
        assert len(account.open_orders) <= LIMITS.open_orders_max
        for balance in account.balances.values():
            assert balance.reserved_units <= balance.total_units or account.overdrawn_told
