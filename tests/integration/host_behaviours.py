"""What a desk must do on any host: each behaviour says what happens and holds what comes of it.

They run one after the other on one desk, each on accounts of its own, and leave stops as they found them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from tests.integration.host_worlds import ASK_TICKS, BID_TICKS, BOOK, MARKET, DeskUnderTest

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.order_lists import ListKind, OrderListRequest
from polaris_synapse.domain.orders import OrderRequest, OrderType, PostOnly, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

Behaviour = Callable[[DeskUnderTest], Awaitable[None]]
#: Every behaviour by its name, in the order in which they run.
BEHAVIOURS: Final[dict[str, Behaviour]] = {}
#: Those that run after a restart.
AFTER_RESTART: Final[dict[str, Behaviour]] = {}
#: In the middle of the desk's own book.
PRICE: Final = 6_000_000
LOTS: Final = 1_000
COIN: Final = 10**8


def behaviour(run: Behaviour) -> Behaviour:
    """One that runs on a desk that has just begun."""
    BEHAVIOURS[run.__name__] = run
    return run


def after_restart(run: Behaviour) -> Behaviour:
    """One that runs on a desk that was stopped and started again."""
    AFTER_RESTART[run.__name__] = run
    return run


async def resting(desk: DeskUnderTest, account: str, side: Side, price: int = PRICE, name: str = "resting") -> m.Answer:
    """A limit order on the desk's own book that finds nobody to trade with."""
    answer = await desk.order(
        account, name, symbol=BOOK.symbol, side=side, type=OrderType.LIMIT, quantity_lots=LOTS, price_ticks=price
    )
    assert answer.reason is Reason.NONE, answer
    return answer


async def market_order(desk: DeskUnderTest, account: str, name: str, lots: int = LOTS) -> m.Answer:
    """A purchase at the market of the paper venue."""
    return await desk.order(
        account, name, symbol=MARKET.symbol, side=Side.BUY, type=OrderType.MARKET, quantity_lots=lots
    )


@behaviour
async def a_deposit_has_its_effect_once(desk: DeskUnderTest) -> None:
    """The same reference again is answered as a duplicate and moves nothing."""
    await desk.account("saver", USDT=100)
    again = await desk.fund("saver", "USDT", 100 * COIN)
    assert (again.reason, again.duplicate) == (Reason.NONE, True)
    assert desk.balances("saver") == {"USDT": (100 * COIN, 0)}


@behaviour
async def nobody_takes_out_more_than_there_is(desk: DeskUnderTest) -> None:
    """A withdrawal beyond the balance is refused, one within it is not."""
    await desk.account("spender", USDT=100)
    assert (await desk.fund("spender", "USDT", -101 * COIN, "too-much")).reason is Reason.INSUFFICIENT_FUNDS
    assert (await desk.fund("spender", "USDT", -100 * COIN, "all")).reason is Reason.NONE
    assert desk.balances("spender")["USDT"] == (0, 0)


@behaviour
async def a_market_order_fills_at_the_paper_venue(desk: DeskUnderTest) -> None:
    """It takes the ask, pays for it exactly, and the fee is taken from what is received."""
    await desk.account("taker", USDT=100_000)
    answer = await market_order(desk, "taker", "buy")
    assert desk.state_of(answer) == "FILLED"
    cost, coins = MARKET.notional_units(ASK_TICKS, LOTS), MARKET.base_units(LOTS)
    assert desk.balances("taker") == {"BTC": (coins - coins // 1_000, 0), "USDT": (100_000 * COIN - cost, 0)}


@behaviour
async def an_order_rests_at_the_paper_venue_until_it_is_cancelled(desk: DeskUnderTest) -> None:
    """What it needs stays reserved while it rests, and is free again afterwards."""
    await desk.account("patient", USDT=100_000)
    answer = await desk.order(
        "patient", "rest", symbol=MARKET.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=BID_TICKS - 100,
    )  # fmt: skip
    assert desk.state_of(answer) == "WORKING"
    assert desk.balances("patient")["USDT"][1] == MARKET.notional_units(BID_TICKS - 100, LOTS)
    assert answer.order is not None
    await desk.cancel("patient", answer.order.order_id)
    assert desk.state_of(answer) == "CANCELLED"
    assert desk.balances("patient")["USDT"] == (100_000 * COIN, 0)


@behaviour
async def the_same_order_again_is_answered_with_the_first(desk: DeskUnderTest) -> None:
    """A client that did not hear the answer asks again, and nothing is placed twice."""
    await desk.account("repeater", USDT=100_000)
    first, again = await market_order(desk, "repeater", "once"), await market_order(desk, "repeater", "once")
    assert again.duplicate
    assert first.order is not None
    assert again.order is not None
    assert first.order.order_id == again.order.order_id
    assert len([order for order in desk.orders().values() if order.request.account == "repeater"]) == 1


@behaviour
async def another_order_under_a_taken_id_is_refused(desk: DeskUnderTest) -> None:
    """A client order id names one order for ever."""
    await desk.account("confused", USDT=100_000)
    await market_order(desk, "confused", "name")
    answer = await market_order(desk, "confused", "name", 2 * LOTS)
    assert answer.reason is Reason.DUPLICATE_CLIENT_ORDER_ID


@behaviour
async def two_accounts_trade_on_the_desk_s_own_book(desk: DeskUnderTest) -> None:
    """The taker's order fills in part against what rests, at the resting price; the rest of it rests."""
    await desk.account("maker", BTC=1)
    await desk.account("buyer", USDT=100_000)
    made = await resting(desk, "maker", Side.SELL)
    taken = await desk.order(
        "buyer", "take", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=3 * LOTS,
        price_ticks=PRICE + 5,
    )  # fmt: skip
    assert (desk.state_of(made), desk.state_of(taken)) == ("FILLED", "PARTIALLY_FILLED")
    earned = BOOK.notional_units(PRICE, LOTS)
    assert desk.balances("maker")["USDT"][0] == earned - earned // 1_000
    assert taken.order is not None
    await desk.cancel("buyer", taken.order.order_id)
    assert desk.state_of(taken) == "CANCELLED"


@behaviour
async def an_account_does_not_trade_with_itself(desk: DeskUnderTest) -> None:
    """The order that would take the account's own gives way."""
    await desk.account("narcissus", BTC=1, USDT=100_000)
    made = await resting(desk, "narcissus", Side.SELL)
    taken = await desk.order(
        "narcissus", "take", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=PRICE,
    )  # fmt: skip
    assert desk.state_of(made) == "WORKING"
    assert desk.state_of(taken) in {"EXPIRED", "CANCELLED"}
    assert made.order is not None
    await desk.cancel("narcissus", made.order.order_id)


@behaviour
async def what_an_immediate_order_does_not_get_expires(desk: DeskUnderTest) -> None:
    """Of an IOC order what fills stays, of a FOK order that cannot fill whole nothing does."""
    await desk.account("seller", BTC=1)
    await desk.account("hasty", USDT=100_000)
    made = await resting(desk, "seller", Side.SELL)
    whole = await desk.order(
        "hasty", "fok", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=2 * LOTS,
        price_ticks=PRICE, time_in_force=TimeInForce.FOK,
    )  # fmt: skip
    assert desk.orders()[whole.order.order_id].filled_lots == 0  # type: ignore[union-attr]  # it has one
    part = await desk.order(
        "hasty", "ioc", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=2 * LOTS,
        price_ticks=PRICE, time_in_force=TimeInForce.IOC,
    )  # fmt: skip
    assert desk.state_of(made) == "FILLED"
    assert desk.state_of(part) in {"EXPIRED", "CANCELLED"}
    assert desk.orders()[part.order.order_id].filled_lots == LOTS  # type: ignore[union-attr]  # it has one
    assert desk.balances("hasty")["USDT"][1] == 0


@behaviour
async def a_post_only_order_never_takes(desk: DeskUnderTest) -> None:
    """One that would take is turned away by the book."""
    await desk.account("crossed", BTC=1)
    await desk.account("poster", USDT=100_000)
    made = await resting(desk, "crossed", Side.SELL)
    posted = await desk.order(
        "poster", "post", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=PRICE, post_only=PostOnly.REJECT,
    )  # fmt: skip
    assert desk.state_of(posted) == "REJECTED"
    assert made.order is not None
    await desk.cancel("crossed", made.order.order_id)


@behaviour
async def a_resting_order_is_changed(desk: DeskUnderTest) -> None:
    """Price and quantity move together, and so does what is reserved; an ended order cannot be changed."""
    await desk.account("changer", USDT=100_000)
    made = await resting(desk, "changer", Side.BUY, PRICE - 50)
    assert made.order is not None
    change = m.ReplaceOrder(
        time_ns=desk.now_ns, actor="user", account="changer", order_id=made.order.order_id, quantity_lots=2 * LOTS,
        price_ticks=PRICE - 60,
    )  # fmt: skip
    assert (await desk.ask(change)).reason is Reason.NONE
    changed = desk.orders()[made.order.order_id]
    assert (changed.state.value, changed.quantity_lots, changed.price_ticks) == ("WORKING", 2 * LOTS, PRICE - 60)
    assert desk.balances("changer")["USDT"][1] == BOOK.notional_units(PRICE - 60, 2 * LOTS)
    await desk.cancel("changer", made.order.order_id)
    assert (await desk.ask(change)).reason is Reason.ORDER_NOT_OPEN


@behaviour
async def a_stop_waits_for_its_price(desk: DeskUnderTest) -> None:
    """At the paper venue a stop is armed until the market comes to it, and then fills."""
    await desk.account("careful", BTC=1)
    stop = await desk.order(
        "careful", "stop", symbol=MARKET.symbol, side=Side.SELL, type=OrderType.STOP, quantity_lots=LOTS,
        stop_price_ticks=BID_TICKS - 1_000,
    )  # fmt: skip
    assert desk.state_of(stop) == "ARMED"
    assert stop.order is not None
    await desk.cancel("careful", stop.order.order_id)
    assert desk.state_of(stop) == "CANCELLED"


@behaviour
async def an_order_beyond_a_limit_is_refused(desk: DeskUnderTest) -> None:
    """The account's own limit on the worth of one order holds from the moment it is set."""
    await desk.account("limited", USDT=100_000)
    limits = m.RiskLimits(order_value_units_max=10 * COIN)
    await desk.ask(m.SetLimits(time_ns=desk.now_ns, actor="user:risk", account="limited", limits=limits))
    answer = await market_order(desk, "limited", "large")
    assert answer.reason is Reason.ORDER_VALUE_LIMIT


@behaviour
async def an_order_that_cannot_be_paid_is_refused(desk: DeskUnderTest) -> None:
    """Nothing is reserved for it."""
    await desk.account("poor", USDT=1)
    assert (await market_order(desk, "poor", "dear")).reason is Reason.INSUFFICIENT_FUNDS
    assert desk.balances("poor")["USDT"] == (COIN, 0)


@behaviour
async def a_price_far_from_the_market_is_refused(desk: DeskUnderTest) -> None:
    """The price collar holds on the desk's own book too, by the mark of its reference."""
    await desk.account("fat-finger", USDT=100_000)
    answer = await desk.order(
        "fat-finger", "far", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=2 * PRICE,
    )  # fmt: skip
    assert answer.reason is Reason.PRICE_OUTSIDE_COLLAR


@behaviour
async def what_nobody_knows_is_refused(desk: DeskUnderTest) -> None:
    """An account or an instrument that is not there has a reason code of its own."""
    await desk.account("known", USDT=100)
    nowhere = await desk.order("known", "x", symbol="NONE", side=Side.BUY, type=OrderType.MARKET, quantity_lots=LOTS)
    assert nowhere.reason is Reason.SYMBOL_NOT_FOUND
    assert (await market_order(desk, "unknown", "x")).reason is Reason.ACCOUNT_NOT_FOUND
    missing = await desk.cancel("known", 99_999 * 1024)
    assert missing.reason is Reason.ORDER_NOT_FOUND


@behaviour
async def the_kill_switch_cancels_and_stops(desk: DeskUnderTest) -> None:
    """At CANCEL_ALL what is open ends and nothing new is taken; switched off, orders go through again."""
    await desk.account("killed", USDT=100_000)
    made = await resting(desk, "killed", Side.BUY, PRICE - 50)
    await desk.ask(m.SetKillLevel(time_ns=desk.now_ns, actor="user:risk", level=m.KillLevel.CANCEL_ALL, note="test"))
    assert desk.state_of(made) == "CANCELLED"
    assert (await market_order(desk, "killed", "during")).reason is Reason.KILL_SWITCH
    await desk.ask(m.SetKillLevel(time_ns=desk.now_ns, actor="user:risk", level=m.KillLevel.OFF, note="test"))
    assert desk.state_of(await market_order(desk, "killed", "after")) == "FILLED"


@behaviour
async def a_breaker_stops_one_symbol(desk: DeskUnderTest) -> None:
    """Orders of that symbol are refused until a person resets it, others go on."""
    await desk.account("broken", USDT=100_000)
    scope = f"symbol:{MARKET.symbol}"
    await desk.ask(m.ActivateBreaker(time_ns=desk.now_ns, actor="user:risk", scope=scope, note="test"))
    assert (await market_order(desk, "broken", "during")).reason is Reason.CIRCUIT_BREAKER
    made = await resting(desk, "broken", Side.BUY, PRICE - 50)
    assert made.order is not None
    await desk.cancel("broken", made.order.order_id)
    await desk.ask(m.ResetBreaker(time_ns=desk.now_ns, actor="user:risk", scope=scope, note="test"))
    assert desk.state_of(await market_order(desk, "broken", "after")) == "FILLED"


@behaviour
async def a_sanctions_hold_stops_an_account(desk: DeskUnderTest) -> None:
    """Compliance's verdict stands in the way of the account's orders, and its lifting takes it away."""
    await desk.account("held", USDT=100_000)

    async def hold(held: bool) -> None:
        await desk.ask(
            m.SetSanctionsHold(time_ns=desk.now_ns, actor="user:officer", account="held", held=held, note="test")
        )

    await hold(True)
    assert (await market_order(desk, "held", "during")).reason is Reason.COMPLIANCE_SANCTIONED
    await hold(False)
    assert desk.state_of(await market_order(desk, "held", "after")) == "FILLED"


@behaviour
async def a_halted_instrument_takes_no_orders(desk: DeskUnderTest) -> None:
    """Halted and opened again, by command."""
    await desk.account("halted", USDT=100_000)

    async def put(status: InstrumentStatus) -> None:
        await desk.ask(m.SetInstrumentStatus(time_ns=desk.now_ns, actor="user:risk", symbol=BOOK.symbol, status=status))

    await put(InstrumentStatus.HALTED)
    answer = await desk.order(
        "halted", "during", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=PRICE - 50,
    )  # fmt: skip
    assert answer.reason is Reason.INSTRUMENT_NOT_TRADING
    await put(InstrumentStatus.TRADING)
    made = await resting(desk, "halted", Side.BUY, PRICE - 50, "after")
    assert made.order is not None
    await desk.cancel("halted", made.order.order_id)


def leg(account: str, name: str, **fields: object) -> OrderRequest:
    """An order of a list on the desk's own book."""
    return OrderRequest(account=account, client_order_id=name, symbol=BOOK.symbol, quantity_lots=LOTS, **fields)  # type: ignore[arg-type]  # the order's own fields


@behaviour
async def one_order_of_a_pair_ends_the_other(desk: DeskUnderTest) -> None:
    """When the profit leg of an OCO trades, its stop is gone in the same step."""
    await desk.account("paired", BTC=1)
    await desk.account("opposite", USDT=100_000)
    legs = (
        leg("paired", "profit", side=Side.SELL, type=OrderType.LIMIT, price_ticks=PRICE + 100),
        leg("paired", "stop", side=Side.SELL, type=OrderType.STOP, stop_price_ticks=PRICE - 500),
    )
    pair = OrderListRequest(account="paired", client_list_id="pair", kind=ListKind.OCO, legs=legs)
    answer = await desk.ask(m.SubmitOrderList(time_ns=desk.now_ns, actor="user:paired", order_list=pair))
    assert answer.reason is Reason.NONE, answer
    assert answer.order_list is not None
    profit, stop = answer.order_list.order_ids
    await desk.order(
        "opposite", "take", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=PRICE + 100,
    )  # fmt: skip
    states = {order_id: desk.orders()[order_id].state.value for order_id in (profit, stop)}
    assert states[profit] == "FILLED"
    assert states[stop] in {"CANCELLED", "EXPIRED"}
    assert desk.balances("paired")["BTC"][1] == 0


@behaviour
async def a_waiting_order_is_placed_when_the_working_one_has_filled(desk: DeskUnderTest) -> None:
    """An OTO: the second order waits for the first, and is on the book in the step of its fill."""
    await desk.account("chained", USDT=100_000)
    await desk.account("giver", BTC=1)
    legs = (
        leg("chained", "first", side=Side.BUY, type=OrderType.LIMIT, price_ticks=PRICE - 10),
        leg("chained", "second", side=Side.BUY, type=OrderType.LIMIT, price_ticks=PRICE - 200),
    )
    chain = OrderListRequest(account="chained", client_list_id="chain", kind=ListKind.OTO, legs=legs)
    answer = await desk.ask(m.SubmitOrderList(time_ns=desk.now_ns, actor="user:chained", order_list=chain))
    assert answer.reason is Reason.NONE, answer
    assert answer.order_list is not None
    first = answer.order_list.order_ids[0]
    assert desk.orders()[first].state.value == "WORKING"
    await desk.order(
        "giver", "give", symbol=BOOK.symbol, side=Side.SELL, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=PRICE - 10,
    )  # fmt: skip
    placed = [o for o in desk.orders().values() if o.request.client_order_id == "second"]
    assert [order.state.value for order in placed] == ["WORKING"]
    await desk.cancel("chained", placed[0].order_id)


@behaviour
async def fees_follow_the_tier(desk: DeskUnderTest) -> None:
    """An account with a tier of its own pays that at the desk's own book; a maker may be given a rebate."""
    await desk.account("frequent", BTC=1)
    await desk.account("occasional", USDT=100_000)
    tiers = (m.FeeTier(volume_units_min=0, maker_ppm=-100, taker_ppm=500),)
    await desk.ask(m.SetFeeTiers(time_ns=desk.now_ns, actor="user:risk", account="frequent", tiers=tiers))
    await resting(desk, "frequent", Side.SELL)
    await desk.order(
        "occasional", "take", symbol=BOOK.symbol, side=Side.BUY, type=OrderType.LIMIT, quantity_lots=LOTS,
        price_ticks=PRICE,
    )  # fmt: skip
    earned = BOOK.notional_units(PRICE, LOTS)
    assert desk.balances("frequent")["USDT"][0] == earned + earned // 10_000


@behaviour
async def everything_of_an_account_is_cancelled_at_once(desk: DeskUnderTest) -> None:
    """The answer names the orders, at the venue and on the book alike."""
    await desk.account("tidy", USDT=100_000)
    made = [await resting(desk, "tidy", Side.BUY, PRICE - 50 - n, f"rest-{n}") for n in range(3)]
    answer = await desk.ask(m.CancelAll(time_ns=desk.now_ns, actor="user:tidy", account="tidy"))
    assert set(answer.order_ids) == {one.order.order_id for one in made if one.order is not None}
    assert {desk.state_of(one) for one in made} == {"CANCELLED"}


@behaviour
async def an_account_that_repeats_itself_is_stopped(desk: DeskUnderTest) -> None:
    """The throttle stops it until a named person lets it trade again."""
    await desk.account("runaway", USDT=100_000)
    limits = m.RiskLimits(repeated_orders_max=2)
    await desk.ask(m.SetLimits(time_ns=desk.now_ns, actor="user:risk", account="runaway", limits=limits))
    reasons = [(await market_order(desk, "runaway", f"same-{n}")).reason for n in range(4)]
    assert reasons[0] is Reason.NONE
    assert reasons[-1] is not Reason.NONE
    await desk.ask(m.ReenableAccount(time_ns=desk.now_ns, actor="user:risk", account="runaway", note="test"))
    await desk.pass_time(30)
    assert (await market_order(desk, "runaway", "again")).reason is Reason.NONE


@behaviour
async def an_old_price_is_not_traded_on(desk: DeskUnderTest) -> None:
    """When the market has been silent for too long, orders are refused until it speaks again."""
    await desk.account("late", USDT=100_000)
    await desk.pass_time(60, fresh_book=False)
    answer = await market_order(desk, "late", "stale")
    assert answer.reason in {Reason.MARKET_DATA_STALE, Reason.MARKET_DATA_MISSING}, answer
    await desk.give_book()
    assert (await market_order(desk, "late", "fresh")).reason is Reason.NONE


@behaviour
async def an_order_is_left_open_over_the_restart(desk: DeskUnderTest) -> None:
    """It is what the desk after the restart finds again."""
    await desk.account("sleeper", USDT=100_000)
    await resting(desk, "sleeper", Side.BUY, PRICE - 300)


@after_restart
async def what_was_open_is_open_and_can_be_cancelled(desk: DeskUnderTest) -> None:
    """The order from before is on the book, and its reservation is there."""
    (left,) = [o for o in desk.orders().values() if o.request.account == "sleeper"]
    assert left.state.value == "WORKING"
    assert desk.balances("sleeper")["USDT"][1] == BOOK.notional_units(PRICE - 300, LOTS)
    await desk.cancel("sleeper", left.order_id)
    assert desk.orders()[left.order_id].state.value == "CANCELLED"


@after_restart
async def an_order_from_before_is_answered_as_a_duplicate(desk: DeskUnderTest) -> None:
    """Client order ids are remembered over the restart, and so are references of funds."""
    before = len(desk.orders())
    again = await market_order(desk, "repeater", "once")
    assert again.duplicate
    assert (await desk.fund("saver", "USDT", 100 * COIN)).duplicate
    assert len(desk.orders()) == before


@after_restart
async def trading_goes_on(desk: DeskUnderTest) -> None:
    """At the venue and on the desk's own book."""
    await desk.account("newcomer", USDT=100_000)
    assert desk.state_of(await market_order(desk, "newcomer", "first")) == "FILLED"
    made = await resting(desk, "newcomer", Side.BUY, PRICE - 50)
    assert desk.state_of(made) == "WORKING"
