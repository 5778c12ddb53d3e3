"""Clients and officers that behave at random, and remember what they were promised."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

from msgspec.structs import replace

from polaris_synapse.domain.instruments import INTERNAL_VENUE, Instrument
from polaris_synapse.domain.messages import (
    ActivateBreaker,
    AgentControl,
    AgentSettings,
    AnalyseNow,
    CancelAll,
    CancelOrder,
    CancelOrderList,
    Command,
    KillLevel,
    KycState,
    ListInstrument,
    Mandate,
    MoveFunds,
    OpenAccount,
    ReenableAccount,
    ReplaceOrder,
    ResetBreaker,
    RestrictInstrument,
    ReviewKyc,
    RiskLimits,
    SetAccountBlock,
    SetAgents,
    SetKillLevel,
    SetLimits,
    SetMandate,
    SetSanctionsHold,
    SubmitOrder,
    SubmitOrderList,
)
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.order_lists import ListKind, OrderListRequest
from polaris_synapse.domain.orders import (
    LIMIT_PRICED,
    STOP_PRICED,
    OrderRequest,
    OrderType,
    PostOnly,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from polaris_synapse.testing.simulation.clock import SECOND_NS

USDT: Final = Asset("USDT", 8)
BTC: Final = Asset("BTC", 8)
ETH: Final = Asset("ETH", 8)
ONE: Final = 10**8

INSTRUMENTS: Final = (
    Instrument(symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=10**6, lot_units=1_000, min_notional_units=5 * ONE),
    Instrument(symbol="ETHUSDT", base=ETH, quote=USDT, tick_units=10**6, lot_units=10_000, min_notional_units=5 * ONE),
    Instrument(
        symbol="BTCUSDT.INT",
        base=BTC,
        quote=USDT,
        tick_units=10**6,
        lot_units=1_000,
        min_notional_units=5 * ONE,
        venue=INTERNAL_VENUE,
        reference_symbol="BTCUSDT",
    ),
)
PRICES: Final = {"BTCUSDT": 6_000_000, "ETHUSDT": 300_000}
ACCOUNTS: Final = ("alice", "bob", "carol")
AGENT: Final = "jarvis"

#: The limits of each account: alice has the desk's default.
LIMITS: Final = {
    "bob": RiskLimits(
        position_value_units_max=20_000 * ONE,
        order_value_units_max=15_000 * ONE,
        order_quantity_lots_max=60_000,
        open_orders_max=4,
        market_data_age_seconds_max=30,
    ),
    "carol": RiskLimits(
        position_value_units_max=40_000 * ONE,
        exposure_units_max=150_000 * ONE,
        open_orders_max=8,
        daily_loss_units_max=20_000 * ONE,
        drawdown_ppm_max=300_000,
        repeated_orders_max=5,
    ),
}

_ORDER_TYPES: Final = (
    *[OrderType.LIMIT] * 12,
    *[OrderType.MARKET] * 5,
    OrderType.STOP,
    OrderType.STOP_LIMIT,
    OrderType.TAKE_PROFIT,
    OrderType.TAKE_PROFIT_LIMIT,
    OrderType.TRAILING_STOP,
)
_TIMES_IN_FORCE: Final = (
    *[TimeInForce.GTC] * 8,
    TimeInForce.IOC,
    TimeInForce.FOK,
    TimeInForce.GTD,
    TimeInForce.DAY,
)


def opening_commands(time_ns: int) -> Iterator[Command]:
    """What the desk is set up with before anything goes wrong."""
    for instrument in INSTRUMENTS:
        yield ListInstrument(time_ns=time_ns, actor="desk", instrument=instrument)
    for account in ACCOUNTS:
        yield OpenAccount(time_ns=time_ns, actor="desk", account=account, holder_name=account.title())
        yield ReviewKyc(time_ns=time_ns, actor="desk", account=account, state=KycState.APPROVED)
        for asset, units in (("USDT", 100_000 * ONE), ("BTC", 2 * ONE), ("ETH", 20 * ONE)):
            yield MoveFunds(
                time_ns=time_ns,
                actor="desk",
                account=account,
                asset=asset,
                amount_units=units,
                reference=f"opening-{asset}",
            )
    for account, limits in LIMITS.items():
        yield SetLimits(time_ns=time_ns, actor="desk", account=account, limits=limits)
    mandate = Mandate(
        account="carol",
        agent=AGENT,
        symbols=("BTCUSDT", "ETHUSDT"),
        order_value_units_max=5_000 * ONE,
        daily_value_units_max=50_000 * ONE,
        approval_above_units=5_000 * ONE,
    )
    yield SetMandate(time_ns=time_ns, actor="desk", mandate=mandate)
    settings = AgentSettings(
        agent=AGENT,
        account="carol",
        symbols=("BTCUSDT", "ETHUSDT"),
        interval_seconds=2,
        confidence_ppm_min=1,
        cooldown_seconds=5,
    )
    yield SetAgents(time_ns=time_ns, actor="desk", settings=settings)


class Clients:
    """Makes commands. ``stops`` is the rate of what an officer does: kill switch, breakers, holds."""

    def __init__(self, rng: Random, stops: float) -> None:
        self._rng = rng
        self._stops = stops
        self._count = 0
        self.sent: list[SubmitOrder] = []
        self._funds: list[MoveFunds] = []
        self._lists: list[SubmitOrderList] = []

    def next_command(self, time_ns: int, prices: dict[str, int]) -> Command:
        """The next thing that somebody asks for, without a request id."""
        rng = self._rng
        self._count += 1
        if rng.random() < self._stops:
            return self._stop(time_ns)
        kind = rng.random()
        if kind < 0.62 or not self.sent:
            command = SubmitOrder(time_ns=time_ns, actor="user:x", order=self._request(time_ns, prices))
            self.sent.append(command)
            return command
        if kind < 0.78:
            order = rng.choice(self.sent[-12:]).order
            return CancelOrder(
                time_ns=time_ns, actor="user:x", account=order.account, client_order_id=order.client_order_id
            )
        if kind < 0.90:
            return self._replacement(time_ns)
        if kind < 0.93:
            before = rng.choice(self.sent)
            if rng.random() < 0.3:
                before = replace(before, order=replace(before.order, quantity_lots=before.order.quantity_lots + 1))
            return replace(before, time_ns=time_ns, request_id="")
        if kind < 0.95:
            return CancelAll(
                time_ns=time_ns,
                actor="user:x",
                account=rng.choice((*ACCOUNTS, "")),
                symbol=rng.choice(("", "BTCUSDT", "BTCUSDT.INT")),
            )
        if kind < 0.98:
            return self._list(time_ns, prices)
        return self._movement(time_ns)

    def _list(self, time_ns: int, prices: dict[str, int]) -> Command:
        """Orders that depend on each other, on the desk's own book; or a list again, or its end."""
        rng = self._rng
        if self._lists and rng.random() < 0.4:
            before = rng.choice(self._lists[-4:])
            if rng.random() < 0.3:
                return replace(before, time_ns=time_ns, request_id="")
            request = before.order_list
            return CancelOrderList(
                time_ns=time_ns, actor="user:x", account=request.account, client_list_id=request.client_list_id
            )
        market, lots, account = prices["BTCUSDT"], rng.randint(30, 20_000), rng.choice(ACCOUNTS)
        near = market * rng.randint(1, 20) // 2_000 + 1
        out = rng.choice((Side.BUY, Side.SELL))
        towards = 1 if out is Side.SELL else -1
        kind = rng.choice((ListKind.OCO, ListKind.OTOCO))
        shapes = [
            (out, OrderType.LIMIT, market + towards * near, 0),
            (out, OrderType.STOP, 0, market - towards * near),
        ]
        if kind is ListKind.OTOCO:
            shapes.insert(0, (out.opposite, OrderType.LIMIT, market + rng.randint(-near, near), 0))
        legs = tuple(
            OrderRequest(
                account=account,
                client_order_id=f"l{self._count}-{number}",
                symbol="BTCUSDT.INT",
                side=side,
                type=order_type,
                quantity_lots=lots,
                price_ticks=price,
                stop_price_ticks=stop,
                client_list_id=f"l{self._count}",
            )
            for number, (side, order_type, price, stop) in enumerate(shapes)
        )
        order_list = OrderListRequest(account=account, client_list_id=f"l{self._count}", kind=kind, legs=legs)
        command = SubmitOrderList(time_ns=time_ns, actor="user:x", order_list=order_list)
        self._lists.append(command)
        return command

    def _request(self, time_ns: int, prices: dict[str, int]) -> OrderRequest:
        rng = self._rng
        instrument = rng.choices(INSTRUMENTS, (5, 3, 3))[0]
        market = prices[instrument.reference_symbol or instrument.symbol]
        kind, side = rng.choice(_ORDER_TYPES), rng.choice((Side.BUY, Side.SELL))
        spread = rng.choice((2, 10, 40, 80))
        away = market * rng.randint(-spread, spread) // 2_000
        immediate = kind is OrderType.MARKET
        in_force = rng.choice((TimeInForce.GTC, TimeInForce.IOC)) if immediate else rng.choice(_TIMES_IN_FORCE)
        amount = rng.randint(10, 3_000) * ONE if immediate and rng.random() < 0.4 else 0
        scale = 50_000 if instrument.base is BTC else 100_000
        plain = kind is OrderType.LIMIT and in_force in (TimeInForce.GTC, TimeInForce.DAY)
        return OrderRequest(
            account=rng.choice(ACCOUNTS),
            client_order_id=f"c{self._count}",
            symbol=instrument.symbol,
            side=side,
            type=kind,
            quantity_lots=0 if amount else rng.randint(1, scale) // rng.choice((1, 1, 4, 20)) + 30,
            quote_amount_units=amount,
            price_ticks=market + away if kind in LIMIT_PRICED else 0,
            stop_price_ticks=market + away // 2 + 1 if kind in STOP_PRICED else 0,
            trailing_offset_ticks=market // 500 if kind is OrderType.TRAILING_STOP else 0,
            time_in_force=in_force,
            expire_time_ns=time_ns + rng.randint(1, 60) * SECOND_NS if in_force is TimeInForce.GTD else 0,
            post_only=PostOnly.REJECT if plain and rng.random() < 0.1 else PostOnly.NO,
            self_trade_prevention=rng.choice(list(SelfTradePrevention)),
        )

    def _replacement(self, time_ns: int) -> ReplaceOrder:
        rng = self._rng
        legs = [leg for command in self._lists[-2:] for leg in command.order_list.legs]
        order = rng.choice([command.order for command in self.sent[-12:]] + legs)
        lots, price = order.quantity_lots, order.price_ticks
        return ReplaceOrder(
            time_ns=time_ns,
            actor="user:x",
            account=order.account,
            client_order_id=order.client_order_id,
            quantity_lots=rng.choice((0, lots * 2, lots // 2 + 1, lots + 1)),
            price_ticks=price + price * rng.randint(-10, 10) // 2_000 if price and rng.random() < 0.5 else 0,
        )

    def _movement(self, time_ns: int) -> MoveFunds:
        rng = self._rng
        if self._funds and rng.random() < 0.4:
            return replace(rng.choice(self._funds), time_ns=time_ns, request_id="")
        asset = rng.choice(("USDT", "BTC", "ETH"))
        units = rng.randint(1, 5_000 * ONE if asset == "USDT" else ONE)
        command = MoveFunds(
            time_ns=time_ns,
            actor="user:x",
            account=rng.choice(ACCOUNTS),
            asset=asset,
            amount_units=units if rng.random() < 0.5 else -units,
            reference=f"f{self._count}",
        )
        self._funds.append(command)
        return command

    def _stop(self, time_ns: int) -> Command:
        """What risk and compliance officers do; more often they let trading go on again."""
        rng = self._rng
        account, scope = rng.choice(ACCOUNTS), rng.choice(("*", "symbol:BTCUSDT", "account:alice"))
        level = rng.choice((KillLevel.NO_NEW_RISK, KillLevel.CANCEL_ALL, KillLevel.FLATTEN))
        return rng.choice(
            (
                SetKillLevel(time_ns=time_ns, actor="user:r", level=level, account=rng.choice(("*", account))),
                ActivateBreaker(time_ns=time_ns, actor="user:r", scope=scope),
                ReviewKyc(time_ns=time_ns, actor="user:c", account=account, state=KycState.EXPIRED),
                SetSanctionsHold(time_ns=time_ns, actor="user:c", account=account, held=rng.random() < 0.5),
                SetAccountBlock(time_ns=time_ns, actor="user:c", account=account, blocked=rng.random() < 0.5),
                RestrictInstrument(
                    time_ns=time_ns,
                    actor="user:c",
                    account=rng.choice(("*", account)),
                    symbol="ETHUSDT",
                    restricted=rng.random() < 0.5,
                ),
                AnalyseNow(time_ns=time_ns, actor="user:x", agent=AGENT, symbol="BTCUSDT"),
                AgentControl(time_ns=time_ns, actor="user:x", agent=AGENT, paused=rng.random() < 0.3),
            )
        )

    def reopen(self, time_ns: int) -> Iterator[Command]:
        """Everything that lets trading go on again."""
        for account in ("*", *ACCOUNTS):
            yield SetKillLevel(time_ns=time_ns, actor="user:r", level=KillLevel.OFF, account=account)
        for scope in ("*", "symbol:BTCUSDT", "symbol:ETHUSDT", "symbol:BTCUSDT.INT"):
            yield ResetBreaker(time_ns=time_ns, actor="user:r", scope=scope)
        for account in ACCOUNTS:
            yield ResetBreaker(time_ns=time_ns, actor="user:r", scope=f"account:{account}")
            yield ReviewKyc(time_ns=time_ns, actor="user:c", account=account, state=KycState.PENDING)
            yield ReviewKyc(time_ns=time_ns, actor="user:c", account=account, state=KycState.APPROVED)
            yield SetSanctionsHold(time_ns=time_ns, actor="user:c", account=account, held=False)
            yield SetAccountBlock(time_ns=time_ns, actor="user:c", account=account, blocked=False)
            yield ReenableAccount(time_ns=time_ns, actor="user:r", account=account)
        yield RestrictInstrument(time_ns=time_ns, actor="user:c", account="*", symbol="ETHUSDT", restricted=False)
