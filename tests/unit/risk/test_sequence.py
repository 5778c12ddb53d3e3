"""The sequence of checks: each reason, and that the first in the sequence decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from tests.unit.risk.bench import BTC, BTCUSDT, ETH, INTERNAL, ONE, SECOND, Bench, of_type, ready, usdt

from polaris_synapse.domain.instruments import INTERNAL_VENUE, PAPER_VENUE, InstrumentStatus
from polaris_synapse.domain.messages import (
    ActivateBreaker,
    BreakChanged,
    KillLevel,
    KycState,
    OrderUpdated,
    ReenableAccount,
    ResetBreaker,
    SetInstrumentStatus,
    SubmitOrder,
)
from polaris_synapse.domain.orders import (
    OrderEvent,
    OrderState,
    OrderType,
    PostOnly,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.capabilities import CAPABILITIES

SYMBOL = "BTCUSDT.INT"
#: Limits so tight that the order below breaks all of them.
TIGHT: dict[str, Any] = {
    "price_collar_ppm": 10_000,
    "order_quantity_lots_max": 1,
    "order_value_units_max": 1,
    "messages_per_second_max": 1,
    "message_burst_max": 1,
    "repeated_orders_max": 1,
    "repeated_order_window_seconds": 60,
    "open_orders_max": 1,
    "position_value_units_max": 1,
    "exposure_units_max": 1,
    "concentration_ppm_max": 1,
    "leverage_ppm_max": 1,
    "daily_loss_units_max": 1,
    "drawdown_ppm_max": 1,
}


class Everything:
    """A desk on which one agent's order breaks every check at once; the methods mend them one by one."""

    def __init__(self) -> None:
        self.bench = bench = Bench()
        self.version = 1
        self.standing: dict[str, Any] = {}
        bench.list(BTCUSDT, INTERNAL)
        bench.open_account()
        bench.mark(60_000)
        bench.fund("USDT", usdt(20_000))
        bench.fund("BTC", ONE)
        # Something of its own to meet, a client order id that is taken, and an account stopped for repeating itself.
        bench.accepted(side=Side.SELL, lots=1_000, price=61_000, symbol=SYMBOL)
        bench.accepted(lots=100, price=60_000, symbol=SYMBOL, client_order_id="taken")
        bench.limits(repeated_orders_max=1)
        bench.submit(bench.request(lots=7, symbol=SYMBOL))
        bench.submit(bench.request(lots=10**6, symbol=SYMBOL))
        bench.submit(bench.request(lots=10**6, symbol=SYMBOL))
        self.request = bench.request(
            lots=40_000,
            price=62_000,
            symbol=SYMBOL,
            client_order_id="taken",
            expire_time_ns=1,
            self_trade_prevention=SelfTradePrevention.NONE,
        )
        self.relist(min_quantity_lots=10**6, min_notional_units=usdt(10**6), status=InstrumentStatus.HALTED)
        bench.mark(58_000)  # a loss on the BTC held
        self.break_changed(is_open=True)
        self.stand(blocked=True, kyc=KycState.NONE, sanctions_hold=True, restricted_symbols=(SYMBOL,))
        self.tight = dict(TIGHT)
        bench.limits(**self.tight)
        bench.send(ActivateBreaker(time_ns=bench.now, scope="*"))
        bench.kill(KillLevel.NO_NEW_RISK)
        bench.now += 3_600 * SECOND  # and the mark is old

    def ask(self) -> Reason:
        """Send the order and say what refused it."""
        return self.bench.submit(self.request, actor="agent:jarvis").reason

    def relist(self, **changes: Any) -> None:
        """List the instrument with these filters."""
        self.bench.list(structs.replace(INTERNAL, **changes))

    def stand(self, **changes: Any) -> None:
        """Change where the account stands with compliance."""
        self.version += 1
        self.standing.update(changes)
        self.bench.open_account(version=self.version, **self.standing)

    def break_changed(self, *, is_open: bool) -> None:
        """Open or close a break."""
        self.bench.send(
            BreakChanged(
                time_ns=self.bench.now,
                break_id="b1",
                venue="internal",
                symbol=SYMBOL,
                account="",
                is_open=is_open,
                detail="",
            )
        )

    def change(self, **fields: Any) -> None:
        """Change the order."""
        self.request = structs.replace(self.request, **fields)

    def lift(self, *names: str) -> None:
        """Switch limits off."""
        self.tight.update(dict.fromkeys(names, 0))
        self.bench.limits(**self.tight)

    def reset(self, scope: str) -> None:
        """Reset a breaker."""
        self.bench.send(ResetBreaker(time_ns=self.bench.now, scope=scope))

    def reenable(self) -> None:
        """Let the account trade again, without a limit on repetitions."""
        self.lift("repeated_orders_max")
        self.bench.send(ReenableAccount(time_ns=self.bench.now, account="alice"))

    def lift_loss(self, name: str) -> None:
        """Switch a loss limit off and reset the breaker that it tripped."""
        self.lift(name)
        self.reset("account:alice")


#: The documented sequence, with what mends each.
SEQUENCE: tuple[tuple[Reason, Callable[[Everything], object]], ...] = (
    (Reason.KILL_SWITCH, lambda e: e.bench.kill(KillLevel.OFF)),
    (Reason.CIRCUIT_BREAKER, lambda e: e.reset("*")),
    (Reason.DUPLICATE_CLIENT_ORDER_ID, lambda e: e.change(client_order_id="fresh")),
    (Reason.COMPLIANCE_ACCOUNT_BLOCKED, lambda e: e.stand(blocked=False)),
    (Reason.COMPLIANCE_KYC_INCOMPLETE, lambda e: e.stand(kyc=KycState.APPROVED)),
    (Reason.COMPLIANCE_SANCTIONED, lambda e: e.stand(sanctions_hold=False)),
    (Reason.COMPLIANCE_INSTRUMENT_RESTRICTED, lambda e: e.stand(restricted_symbols=())),
    (Reason.INSTRUMENT_NOT_TRADING, lambda e: e.relist(min_quantity_lots=10**6, min_notional_units=usdt(10**6))),
    (Reason.ORDER_FIELDS_INVALID, lambda e: e.change(expire_time_ns=0)),
    (Reason.QUANTITY_TOO_SMALL, lambda e: e.relist(max_quantity_lots=1, min_notional_units=usdt(10**6))),
    (Reason.QUANTITY_TOO_LARGE, lambda e: e.relist(min_notional_units=usdt(10**6))),
    (Reason.NOTIONAL_TOO_SMALL, lambda e: e.relist()),
    (Reason.MARKET_DATA_STALE, lambda e: e.bench.mark(58_000)),
    (Reason.POSITION_BREAK_OPEN, lambda e: e.break_changed(is_open=False)),
    (Reason.PRICE_OUTSIDE_COLLAR, lambda e: e.lift("price_collar_ppm")),
    (Reason.ORDER_QUANTITY_LIMIT, lambda e: e.lift("order_quantity_lots_max")),
    (Reason.ORDER_VALUE_LIMIT, lambda e: e.lift("order_value_units_max")),
    (Reason.MESSAGE_THROTTLE, lambda e: e.lift("messages_per_second_max")),
    (Reason.REPEATED_ORDER_THROTTLE, lambda e: e.reenable()),
    (Reason.OPEN_ORDERS_LIMIT, lambda e: e.lift("open_orders_max")),
    (Reason.SELF_MATCH, lambda e: e.change(self_trade_prevention=SelfTradePrevention.EXPIRE_TAKER)),
    (Reason.INSUFFICIENT_FUNDS, lambda e: e.bench.fund("USDT", usdt(20_000))),
    (Reason.POSITION_LIMIT, lambda e: e.lift("position_value_units_max")),
    (Reason.EXPOSURE_LIMIT, lambda e: e.lift("exposure_units_max")),
    (Reason.CONCENTRATION_LIMIT, lambda e: e.lift("concentration_ppm_max")),
    (Reason.LEVERAGE_LIMIT, lambda e: e.lift("leverage_ppm_max")),
    (Reason.DAILY_LOSS_LIMIT, lambda e: e.lift_loss("daily_loss_units_max")),
    (Reason.DRAWDOWN_LIMIT, lambda e: e.lift_loss("drawdown_ppm_max")),
    (Reason.MANDATE_MISSING, lambda e: e.bench.mandate(symbols=())),
    (Reason.MANDATE_SYMBOL, lambda e: e.bench.mandate(symbols=(SYMBOL,), order_value_units_max=1)),
    (
        Reason.MANDATE_ORDER_VALUE,
        lambda e: e.bench.mandate(symbols=(SYMBOL,), order_value_units_max=usdt(30_000), daily_value_units_max=1),
    ),
    (
        Reason.MANDATE_DAILY_VALUE,
        lambda e: e.bench.mandate(
            symbols=(SYMBOL,), order_value_units_max=usdt(30_000), daily_value_units_max=usdt(30_000)
        ),
    ),
    (
        Reason.MANDATE_REQUIRES_APPROVAL,
        lambda e: e.bench.mandate(
            symbols=(SYMBOL,),
            order_value_units_max=usdt(30_000),
            daily_value_units_max=usdt(30_000),
            approval_above_units=usdt(30_000),
        ),
    ),
)


def test_the_first_check_in_the_sequence_decides() -> None:
    """An order that breaks one check and all later ones is refused for the first, through the whole sequence."""
    everything = Everything()
    for reason, mend in SEQUENCE:
        answer = everything.bench.submit(everything.request, actor="agent:jarvis")
        assert answer.reason is reason, answer.detail
        assert answer.detail.endswith("."), answer.detail
        if reason is Reason.MANDATE_REQUIRES_APPROVAL:
            # Only a person's word is missing: held, not refused.
            assert answer.approval_id
            mend(everything)
            everything.change(client_order_id="fresh after all")
            continue
        assert answer.order is not None
        assert (answer.order.order_id, answer.order.state, answer.order.reason) == (0, OrderState.REFUSED, reason)
        mend(everything)
    assert everything.ask() is Reason.NONE
    assert everything.bench.core.check() == []


def test_refused_orders_are_published_and_do_not_use_up_their_client_order_id() -> None:
    """A refusal is a fact with order id 0, and the same client order id may be accepted later."""
    bench = ready()
    request = bench.request(price=10)
    out = bench.send(SubmitOrder(time_ns=bench.now, order=request, actor="user:alice"))
    assert [update.order.state for update in of_type(out, OrderUpdated)] == [OrderState.REFUSED]
    assert bench.submit(structs.replace(request, price_ticks=6_000_000)).reason is Reason.NONE


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"account": "nobody"}, Reason.ACCOUNT_NOT_FOUND),
        ({"symbol": "DOGEUSDT"}, Reason.SYMBOL_NOT_FOUND),
        ({"venue": "binance"}, Reason.VENUE_NOT_CONFIGURED),
    ],
)
def test_what_the_desk_does_not_have(changes: dict[str, Any], reason: Reason) -> None:
    """Unknown accounts, instruments and venues have their own reasons."""
    assert ready().submit(**changes).reason is reason


#: Features of an order that a venue may lack.
_FEATURES: list[dict[str, Any]] = [
    {"post_only": PostOnly.REPRICE},
    {"display_lots": 10},
    {"min_quantity_lots": 10},
]


@pytest.mark.parametrize("feature", _FEATURES)
@pytest.mark.parametrize("venue", [PAPER_VENUE, INTERNAL_VENUE])
def test_both_venues_take_every_feature(venue: str, feature: dict[str, Any]) -> None:
    """Icebergs, minimum quantities and post-only orders that are repriced, on the desk's book and on paper."""
    bench = ready()
    symbol = "BTCUSDT" if venue == PAPER_VENUE else SYMBOL
    answer = bench.submit(symbol=symbol, **feature)
    assert answer.reason is Reason.NONE, answer.detail


@pytest.mark.parametrize("feature", _FEATURES)
def test_features_that_a_venue_does_not_offer(monkeypatch: pytest.MonkeyPatch, feature: dict[str, Any]) -> None:
    """What a venue's row in the table does not have is refused, never dropped."""
    plain = structs.replace(
        CAPABILITIES[PAPER_VENUE],
        post_only=frozenset({PostOnly.NO, PostOnly.REJECT}),
        iceberg=False,
        min_quantity=False,
    )
    monkeypatch.setitem(CAPABILITIES, PAPER_VENUE, plain)
    assert ready().submit(**feature).reason is Reason.FEATURE_NOT_SUPPORTED


def test_types_and_times_that_a_venue_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """A venue's row in the table decides which types and times in force are taken there."""
    few = structs.replace(
        CAPABILITIES[PAPER_VENUE],
        types=frozenset({OrderType.LIMIT}),
        times_in_force=frozenset({TimeInForce.GTC}),
        quote_amount=False,
    )
    monkeypatch.setitem(CAPABILITIES, PAPER_VENUE, few)
    bench = ready()
    market: dict[str, Any] = {"type": OrderType.MARKET, "price_ticks": 0}
    assert bench.submit(**market).reason is Reason.ORDER_TYPE_NOT_SUPPORTED
    assert bench.submit(time_in_force=TimeInForce.IOC).reason is Reason.TIME_IN_FORCE_NOT_SUPPORTED
    monkeypatch.setitem(CAPABILITIES, PAPER_VENUE, structs.replace(few, types=frozenset(OrderType)))
    by_amount: dict[str, Any] = {**market, "quantity_lots": 0, "quote_amount_units": usdt(100)}
    assert bench.submit(**by_amount).reason is Reason.FEATURE_NOT_SUPPORTED


def test_a_venue_without_a_row_takes_nothing() -> None:
    """An instrument of a venue that the table does not name cannot be traded."""
    bench = ready()
    bench.list(structs.replace(BTCUSDT, symbol="BTCUSDT.X", venue="elsewhere"))
    assert bench.submit(symbol="BTCUSDT.X").reason is Reason.VENUE_NOT_CONFIGURED


INVALID: dict[str, dict[str, Any]] = {
    "no client order id": {"client_order_id": ""},
    "long client order id": {"client_order_id": "x" * 65},
    "the kill switch's client order ids": {"client_order_id": "flatten-1"},
    "no quantity": {"quantity_lots": 0},
    "negative quantity": {"quantity_lots": -1},
    "negative price": {"price_ticks": -1},
    "limit without price": {"price_ticks": 0},
    "limit with stop": {"stop_price_ticks": 1},
    "limit with trailing offset": {"trailing_offset_bps": 5},
    "limit by quote amount": {"quantity_lots": 0, "quote_amount_units": 1},
    "market with price": {"type": OrderType.MARKET},
    "market with both sizes": {"type": OrderType.MARKET, "price_ticks": 0, "quote_amount_units": 1},
    "market good for the day": {"type": OrderType.MARKET, "price_ticks": 0, "time_in_force": TimeInForce.DAY},
    "market post-only": {"type": OrderType.MARKET, "price_ticks": 0, "post_only": PostOnly.REJECT},
    "market iceberg": {"type": OrderType.MARKET, "price_ticks": 0, "display_lots": 1},
    "stop without stop price": {"type": OrderType.STOP, "price_ticks": 0},
    "stop with price": {"type": OrderType.STOP, "stop_price_ticks": 6_000_000},
    "stop-limit without price": {"type": OrderType.STOP_LIMIT, "price_ticks": 0, "stop_price_ticks": 6_000_000},
    "take-profit without stop price": {"type": OrderType.TAKE_PROFIT, "price_ticks": 0},
    "trailing stop without offset": {"type": OrderType.TRAILING_STOP, "price_ticks": 0},
    "trailing stop with two offsets": {
        "type": OrderType.TRAILING_STOP,
        "price_ticks": 0,
        "trailing_offset_bps": 5,
        "trailing_offset_ticks": 5,
    },
    "trailing stop by everything": {"type": OrderType.TRAILING_STOP, "price_ticks": 0, "trailing_offset_bps": 10_000},
    "trailing stop with stop price": {
        "type": OrderType.TRAILING_STOP,
        "price_ticks": 0,
        "trailing_offset_bps": 5,
        "stop_price_ticks": 6_000_000,
    },
    "GTD without expiry": {"time_in_force": TimeInForce.GTD},
    "GTD in the past": {"time_in_force": TimeInForce.GTD, "expire_time_ns": 1},
    "expiry without GTD": {"expire_time_ns": 2**62},
    "post-only IOC": {"post_only": PostOnly.REJECT, "time_in_force": TimeInForce.IOC},
    "post-only with a minimum": {"post_only": PostOnly.REJECT, "min_quantity_lots": 1},
    "iceberg FOK": {"display_lots": 1, "time_in_force": TimeInForce.FOK},
    "iceberg larger than the order": {"display_lots": 1_001},
    "minimum larger than the order": {"min_quantity_lots": 1_001},
    "minimum with FOK": {"min_quantity_lots": 1, "time_in_force": TimeInForce.FOK},
}


@pytest.mark.parametrize("changes", list(INVALID.values()), ids=list(INVALID))
def test_fields_that_do_not_fit_the_type(changes: dict[str, Any]) -> None:
    """Each order type has the fields it needs and no others; what is odd is refused, never ignored."""
    assert ready().submit(symbol=SYMBOL, **changes).reason is Reason.ORDER_FIELDS_INVALID


VALID: dict[str, dict[str, Any]] = {
    "limit": {},
    "limit GTD": {"time_in_force": TimeInForce.GTD, "expire_time_ns": 2**62},
    "limit DAY post-only": {"time_in_force": TimeInForce.DAY, "post_only": PostOnly.REPRICE},
    "iceberg": {"display_lots": 100},
    "minimum IOC": {"min_quantity_lots": 100, "time_in_force": TimeInForce.IOC},
    "FOK": {"time_in_force": TimeInForce.FOK},
    "market": {"type": OrderType.MARKET, "price_ticks": 0},
    "market by amount": {
        "type": OrderType.MARKET,
        "price_ticks": 0,
        "quantity_lots": 0,
        "quote_amount_units": usdt(500),
    },
    "market sell by amount": {
        "type": OrderType.MARKET,
        "side": Side.SELL,
        "price_ticks": 0,
        "quantity_lots": 0,
        "quote_amount_units": usdt(500),
    },
    "stop": {"type": OrderType.STOP, "price_ticks": 0, "stop_price_ticks": 6_100_000},
    "stop-limit": {"type": OrderType.STOP_LIMIT, "stop_price_ticks": 6_100_000},
    "take-profit": {"type": OrderType.TAKE_PROFIT, "price_ticks": 0, "stop_price_ticks": 5_900_000},
    "take-profit-limit": {"type": OrderType.TAKE_PROFIT_LIMIT, "stop_price_ticks": 5_900_000},
    "trailing by ticks": {"type": OrderType.TRAILING_STOP, "price_ticks": 0, "trailing_offset_ticks": 50_000},
    "trailing by bps": {
        "type": OrderType.TRAILING_STOP,
        "side": Side.SELL,
        "price_ticks": 0,
        "trailing_offset_bps": 100,
    },
}


@pytest.mark.parametrize("changes", list(VALID.values()), ids=list(VALID))
def test_every_kind_of_order_is_taken_and_given_back_whole(changes: dict[str, Any]) -> None:
    """Each type and option is accepted, reserves something, and leaves nothing reserved when it is cancelled."""
    bench = ready()
    order = bench.accepted(symbol=SYMBOL, **changes)
    account = bench.core._desk.state.accounts["alice"]
    reserved = {asset: balance.reserved_units for asset, balance in account.balances.items() if balance.reserved_units}
    assert list(reserved) == (["USDT"] if order.request.side is Side.BUY else ["BTC"])
    assert bench.core.check() == []
    bench.report(order, OrderEvent.CANCEL)
    assert not any(balance.reserved_units for balance in account.balances.values())
    assert bench.core.check() == []


def test_missing_market_data() -> None:
    """Without a price no order can be measured; without an age limit a limit order may bring its own price."""
    bench = Bench()
    bench.list(BTCUSDT)
    bench.open_account()
    bench.fund("USDT", usdt(1_000))
    assert bench.submit(lots=1_000).reason is Reason.MARKET_DATA_MISSING
    bench.limits(market_data_age_seconds_max=0, leverage_ppm_max=0)
    assert bench.submit(lots=1_000).reason is Reason.NONE
    assert bench.submit(lots=100, type=OrderType.MARKET, price_ticks=0).reason is Reason.MARKET_DATA_MISSING
    bench.mark(60_000, healthy=False)
    assert bench.submit(lots=1_000).reason is Reason.INSUFFICIENT_FUNDS
    cross = structs.replace(BTCUSDT, symbol="ETHBTC", base=ETH, quote=BTC, min_notional_units=0)
    bench.list(cross)
    assert bench.submit(symbol="ETHBTC", lots=1_000, price=10).reason is Reason.MARKET_DATA_MISSING


@pytest.mark.parametrize("seconds, fine", [(5, True), (6, False), (-5, True), (-6, False)])
def test_the_age_of_a_mark_is_exact_in_both_directions(seconds: int, fine: bool) -> None:
    """A mark as old as the limit counts, an older one does not, and a clock set back makes none fresh."""
    bench = ready()
    bench.now += seconds * SECOND
    assert (bench.submit().reason is Reason.NONE) is fine


def test_an_unhealthy_mark_stops_orders_until_a_healthy_one() -> None:
    """While the feed says that its book is not usable nothing is measured by it."""
    bench = ready()
    bench.mark(60_000, healthy=False)
    assert bench.submit().reason is Reason.MARKET_DATA_STALE
    bench.mark(60_000)
    assert bench.submit().reason is Reason.NONE


def test_the_reference_stands_in_for_a_missing_mark() -> None:
    """An internal instrument is measured by its reference's mark while it has none, and by its own once it has."""
    bench = ready()
    assert bench.submit(symbol=SYMBOL, price=64_000).reason is Reason.PRICE_OUTSIDE_COLLAR
    bench.mark(64_000, SYMBOL)
    assert bench.submit(symbol=SYMBOL, price=64_000).reason is Reason.NONE


def test_the_collar_is_exact() -> None:
    """A price exactly at the collar passes, one tick further is refused."""
    bench = ready()
    assert bench.submit(price_ticks=6_300_000).reason is Reason.NONE
    assert bench.submit(price_ticks=6_300_001).reason is Reason.PRICE_OUTSIDE_COLLAR
    assert bench.submit(price_ticks=5_700_000).reason is Reason.NONE
    assert bench.submit(price_ticks=5_699_999).reason is Reason.PRICE_OUTSIDE_COLLAR
    stop: dict[str, Any] = {"type": OrderType.STOP, "price_ticks": 0}
    assert bench.submit(**stop, stop_price_ticks=6_300_001).reason is Reason.PRICE_OUTSIDE_COLLAR


def test_the_message_bucket_refills_exactly() -> None:
    """After its burst an account gets one message each 1/rate seconds, and cancels need none."""
    bench = ready()
    bench.limits(messages_per_second_max=2, message_burst_max=3)
    assert [bench.submit(lots=100 + n).reason for n in range(4)] == [Reason.NONE] * 3 + [Reason.MESSAGE_THROTTLE]
    bench.now += SECOND // 2 - 1
    assert bench.submit().reason is Reason.MESSAGE_THROTTLE
    bench.now += 1
    assert bench.submit().reason is Reason.NONE
    bench.now -= 3_600 * SECOND
    assert bench.submit().reason is not Reason.NONE


def test_the_repeated_order_throttle_needs_a_named_person() -> None:
    """The same order more often than allowed stops the account, for every order, until it is re-enabled."""
    bench = ready()
    bench.limits(repeated_orders_max=3, repeated_order_window_seconds=10)
    for _ in range(3):
        assert bench.submit().reason is Reason.NONE
    assert bench.submit(lots=999).reason is Reason.NONE
    assert bench.submit().reason is Reason.REPEATED_ORDER_THROTTLE
    bench.tick(60)
    bench.mark(60_000)
    assert bench.submit(lots=5_000).reason is Reason.REPEATED_ORDER_THROTTLE
    assert bench.core.stopped_accounts() == ("alice",)
    assert bench.ask(ReenableAccount(time_ns=bench.now, account="alice", actor="user:officer")).reason is Reason.NONE
    assert bench.submit().reason is Reason.NONE


def test_repeated_orders_count_within_a_sliding_window() -> None:
    """The window slides: sendings older than it do not count, across its generations."""
    bench = ready()
    bench.limits(repeated_orders_max=3, repeated_order_window_seconds=10)
    for _ in range(12):
        bench.now += 4 * SECOND
        bench.mark(60_000)
        assert bench.submit().reason is Reason.NONE
    bench.now += SECOND
    assert bench.submit().reason is Reason.REPEATED_ORDER_THROTTLE


def test_self_matches_are_refused_only_where_they_could_happen() -> None:
    """Without a prevention mode an order may not cross the account's own on the internal book; elsewhere it may."""
    bench = ready()
    none: dict[str, Any] = {"symbol": SYMBOL, "self_trade_prevention": SelfTradePrevention.NONE}
    own = bench.accepted(side=Side.SELL, symbol=SYMBOL, price=60_100)
    bench.report(own, OrderEvent.ACKNOWLEDGE)
    assert bench.submit(**none, price=60_000).reason is Reason.NONE
    assert bench.submit(**none, price=60_100).reason is Reason.SELF_MATCH
    assert bench.submit(**none, type=OrderType.MARKET, price_ticks=0).reason is Reason.SELF_MATCH
    stop: dict[str, Any] = {"type": OrderType.STOP, "price_ticks": 0, "stop_price_ticks": 6_100_000}
    assert bench.submit(**none, **stop).reason is Reason.SELF_MATCH
    bench.accepted(side=Side.SELL, price=60_100)
    assert bench.submit(price=60_200, self_trade_prevention=SelfTradePrevention.NONE).reason is Reason.NONE


@pytest.mark.parametrize("status", [InstrumentStatus.HALTED, InstrumentStatus.CANCEL_ONLY])
def test_a_closed_instrument_takes_nothing(status: InstrumentStatus) -> None:
    """Halted and cancel-only instruments refuse orders."""
    bench = ready()
    assert bench.ask(SetInstrumentStatus(time_ns=bench.now, symbol="BTCUSDT", status=status)).reason is Reason.NONE
    assert bench.submit().reason is Reason.INSTRUMENT_NOT_TRADING


def test_an_auction_takes_only_orders_that_can_rest() -> None:
    """Before the call nothing matches, so immediate orders make no sense."""
    bench, symbol = ready(), "BTCUSDT.INT"
    auction = SetInstrumentStatus(time_ns=bench.now, symbol=symbol, status=InstrumentStatus.AUCTION)
    assert bench.ask(auction).reason is Reason.NONE
    assert bench.submit(symbol=symbol).reason is Reason.NONE
    assert bench.submit(symbol=symbol, time_in_force=TimeInForce.IOC).reason is Reason.INSTRUMENT_NOT_TRADING
    assert bench.submit(symbol=symbol, type=OrderType.MARKET, price_ticks=0).reason is Reason.INSTRUMENT_NOT_TRADING


def test_an_instrument_of_a_venue_has_no_auction() -> None:
    """Only the desk's own book holds a call; to say AUCTION of another would stop it for nothing."""
    bench = ready()
    auction = SetInstrumentStatus(time_ns=bench.now, symbol="BTCUSDT", status=InstrumentStatus.AUCTION)
    assert bench.ask(auction).reason is Reason.FEATURE_NOT_SUPPORTED
    assert bench.submit().reason is Reason.NONE


def test_details_state_the_numbers_with_their_asset() -> None:
    """A refusal says in one sentence what was asked for and what is allowed, in decimal text."""
    bench = ready()
    bench.limits(order_value_units_max=usdt(500))
    answer = bench.submit(lots=1_000)
    assert answer.detail == "The order is worth 600 USDT, one order of account alice may be worth 500 USDT."
    bench.limits()
    assert bench.submit(lots=200_000).detail == "The order needs 120000 USDT, 100000 USDT is free."
    assert bench.submit(price_ticks=6_600_000).detail == (
        "The price 66000 USDT is more than 5 % away from the mark 60000 USDT."
    )


def test_position_limits_count_open_orders_of_the_same_side() -> None:
    """What open orders could add counts before they fill, and orders that reduce a position pass."""
    bench = ready()
    bench.limits(position_value_units_max=usdt(1_000))
    bench.accepted(lots=1_000)
    assert bench.submit(lots=1_000).reason is Reason.POSITION_LIMIT
    order = bench.accepted(lots=600)
    bench.fill(order, 600, 60_000)
    assert bench.submit(side=Side.SELL, lots=600).reason is Reason.NONE
    assert bench.submit(side=Side.SELL, lots=2_000).reason is Reason.POSITION_LIMIT


def test_exposure_and_concentration_count_what_is_held_and_open() -> None:
    """Holdings beside the valuation asset and open buys count together."""
    bench = ready()
    bench.limits(exposure_units_max=usdt(60_600))
    bench.accepted(lots=1_000)
    assert bench.submit(lots=1_000).reason is Reason.EXPOSURE_LIMIT
    bench.limits(concentration_ppm_max=380_000)
    assert bench.submit(lots=100).reason is Reason.NONE
    assert bench.submit(lots=1_000).reason is Reason.CONCENTRATION_LIMIT
    assert bench.submit(side=Side.SELL, lots=1_000).reason is Reason.NONE


def test_only_reducing_orders_pass_after_a_daily_loss() -> None:
    """The loss limit refuses what adds risk, trips the account's breaker once, and lets the position be closed."""
    bench = ready()
    order = bench.accepted(lots=100_000)
    bench.fill(order, 100_000, 60_000, event=OrderEvent.FILL)
    bench.limits(daily_loss_units_max=usdt(2_000))
    bench.mark(58_500)
    assert bench.submit(lots=10).reason is Reason.DAILY_LOSS_LIMIT
    assert list(bench.core.breakers()) == ["account:alice"]
    assert bench.submit(price=58_500).reason is Reason.CIRCUIT_BREAKER
    assert bench.submit(side=Side.SELL, lots=100_000, price=58_500).reason is Reason.NONE
    bench.send(ResetBreaker(time_ns=bench.now, scope="account:alice"))
    assert bench.submit(price=58_500).reason is Reason.DAILY_LOSS_LIMIT
    assert bench.core.breakers() == {}


def test_a_mandate_covers_its_day_and_gives_back_what_did_not_fill() -> None:
    """Open and filled value counts against the day, cancelled value does not, and the next day starts afresh."""
    bench = ready()
    bench.mandate(daily_value_units_max=usdt(1_000))
    first = bench.accepted(lots=1_000, actor="agent:jarvis")
    assert bench.submit(lots=1_000, actor="agent:jarvis").reason is Reason.MANDATE_DAILY_VALUE
    bench.fill(first, 500, 60_000)
    bench.report(first, OrderEvent.CANCEL)
    assert bench.submit(lots=1_200, actor="agent:jarvis").reason is Reason.MANDATE_DAILY_VALUE
    bench.accepted(lots=1_100, actor="agent:jarvis")
    bench.now += 86_400 * SECOND
    bench.mark(60_000)
    assert bench.submit(lots=1_600, actor="agent:jarvis").reason is Reason.NONE


def test_a_decision_needs_a_mandate_whoever_carries_it_out() -> None:
    """An order with a decision id is an agent's idea, also when a person sends it."""
    bench = ready()
    assert bench.submit(decision_id="d1").reason is Reason.MANDATE_MISSING
    bench.mandate()
    assert bench.submit(decision_id="d1").reason is Reason.NONE
    bench.mandate(enabled=False)
    assert bench.submit(decision_id="d1").reason is Reason.MANDATE_MISSING


def test_amounts_beyond_every_message_are_refused() -> None:
    """No order or deposit may be so large that sums leave 63 bits."""
    bench = ready()
    bench.limits(price_collar_ppm=0)
    answer = bench.submit(side=Side.SELL, symbol=SYMBOL, lots=10**9, price_ticks=10**13)
    assert answer.reason is Reason.ORDER_VALUE_LIMIT
    assert bench.fund("USDT", 2**62).reason is Reason.AMOUNT_INVALID


def test_the_internal_venue_is_in_the_table() -> None:
    """Both venues of the desk have a row."""
    assert {INTERNAL_VENUE, PAPER_VENUE} <= set(CAPABILITIES)
