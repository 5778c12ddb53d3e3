"""Standing instructions in the agents core: watched once a second, fired once, and never twice for one shot.

Prices are mids in half ticks, shares and moves in parts per million. A shot's client order id is a function of the
instruction and the shot, so that however often it is sent, the desk takes it once.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from polaris_synapse.agents.core.accounts import AccountBook
from polaris_synapse.agents.core.flow import NANOSECONDS
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import (
    Answer,
    CancelStanding,
    MarketSummary,
    Message,
    OrderUpdated,
    SetStanding,
    Standing,
    StandingClosed,
    StandingState,
    StandingTrigger,
)
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderRequest, OrderState, OrderType, Side, TimeInForce
from polaris_synapse.domain.reasons import Reason

STANDING_MAX: Final = 2_000
STANDING_OF_ACCOUNT_MAX: Final = 100
SHOTS_MAX: Final = 100
WINDOW_SECONDS_MAX: Final = 7 * 86_400
LIFE_SECONDS_MAX: Final = 366 * 86_400
PAUSE_SECONDS_MAX: Final = 30 * 86_400
WORDS_CHARACTERS_MAX: Final = 400
#: A shot of which no order is known after this long has failed.
SHOT_SECONDS_MAX: Final = 120
#: Parts into which a window is cut; within each only its highest and lowest price is remembered.
WINDOW_PARTS: Final = 60
_PPM: Final = 1_000_000
#: What the client order id of every shot begins with.
CLIENT_ORDER_ID_PREFIX: Final = "standing-"
_LEVELS: Final = frozenset({StandingTrigger.PRICE_ABOVE, StandingTrigger.PRICE_BELOW})
_MOVES: Final = frozenset({StandingTrigger.FALLS, StandingTrigger.RISES})
#: Quantities and amounts beyond this are refused, as risk refuses them.
_AMOUNT_MAX: Final = 4 * 10**18


class Extreme(Struct, array_like=True):
    """The highest and lowest mid of one part of a window, in half ticks."""

    part: int
    high: int
    low: int


class Watch(Struct, kw_only=True):
    """One instruction that is alive."""

    number: int
    standing: Standing
    state: StandingState = StandingState.WATCHING
    shots: int = 0
    order_id: int = 0
    fired_ns: int = 0
    rest_until_ns: int = 0
    prices: list[Extreme] = []

    @property
    def standing_id(self) -> str:
        """``S3``."""
        return f"S{self.number}"

    @property
    def client_order_id(self) -> str:
        """The id of the latest shot's order."""
        return f"{CLIENT_ORDER_ID_PREFIX}{self.standing_id}-{self.shots}"


class StandingBook(Struct):
    """All instructions that are alive, by id."""

    number: int = 0
    watches: dict[str, Watch] = {}

    def in_order(self) -> list[Watch]:
        """Oldest first, whatever order a snapshot gave the mapping."""
        return sorted(self.watches.values(), key=lambda watch: watch.number)


class Surroundings(Struct, frozen=True):
    """What the instructions are measured against: the agents core's own view of instruments and accounts."""

    instruments: dict[str, Instrument]
    accounts: dict[str, AccountBook]
    valuation: str
    clock_ns: int


def set_standing(book: StandingBook, around: Surroundings, command: SetStanding) -> list[Message]:
    """Begin to watch."""
    standing = command.standing
    reason, problem = Reason.INVALID_VALUE, standing_problem(standing, around)
    if not problem:
        own = sum(watch.standing.account == standing.account for watch in book.watches.values())
        if own >= STANDING_OF_ACCOUNT_MAX or len(book.watches) >= STANDING_MAX:
            reason = Reason.STANDING_FULL
            problem = f"Account {standing.account} has {own} standing instructions, the desk {len(book.watches)}."
    if problem:
        return [_answer(command, around, reason, problem)]
    book.number += 1
    watch = Watch(number=book.number, standing=standing)
    book.watches[watch.standing_id] = watch
    return [_changed(watch, around, actor=command.actor), _answer(command, around, detail=watch.standing_id)]


def cancel_standing(book: StandingBook, around: Surroundings, command: CancelStanding) -> list[Message]:
    """Watch no more."""
    watch = book.watches.get(command.standing_id)
    if watch is None or watch.standing.account != command.account:
        detail = f"Account {command.account} has no standing instruction {command.standing_id} that is alive."
        return [_answer(command, around, Reason.STANDING_NOT_FOUND, detail)]
    return [_end(book, watch, around, StandingState.CANCELLED, actor=command.actor), _answer(command, around)]


def on_summary(book: StandingBook, around: Surroundings, summary: MarketSummary) -> list[Message]:
    """One second of a market: whatever it makes true fires."""
    if not book.watches or not summary.healthy or not 0 < summary.bid_ticks <= summary.ask_ticks:
        return []
    mid = summary.bid_ticks + summary.ask_ticks
    produced: list[Message] = []
    for watch in book.in_order():
        standing = watch.standing
        if standing.symbol != summary.symbol or watch.state is not StandingState.WATCHING:
            continue
        if around.clock_ns >= standing.expires_time_ns or around.clock_ns < watch.rest_until_ns:
            continue
        if _is_due(watch, around, mid):
            produced += _fire(book, watch, around)
    return produced


def on_tick(book: StandingBook, around: Surroundings) -> list[Message]:
    """Time passes: instructions run out, and shots that nothing came of fail."""
    produced: list[Message] = []
    for watch in book.in_order() if book.watches else ():
        if watch.state is StandingState.ORDERED:
            if not watch.order_id and around.clock_ns - watch.fired_ns > SHOT_SECONDS_MAX * NANOSECONDS:
                detail = f"No order came of it within {SHOT_SECONDS_MAX} seconds."
                produced.append(_end(book, watch, around, StandingState.FAILED, reason=Reason.TIMED_OUT, detail=detail))
        elif around.clock_ns >= watch.standing.expires_time_ns:
            produced.append(_end(book, watch, around, StandingState.EXPIRED, reason=Reason.STANDING_EXPIRED))
    return produced


def on_host_started(book: StandingBook, around: Surroundings) -> list[Message]:
    """After a restart a shot without an order never reached the journal: its instruction watches again.

    Should its order have been taken after all, the same client order id keeps it from being taken twice.
    """
    produced: list[Message] = []
    for watch in book.in_order():
        watch.prices = []
        if watch.state is StandingState.ORDERED and not watch.order_id:
            watch.shots -= 1
            watch.state = StandingState.WATCHING
            produced.append(_changed(watch, around))
    return produced


def on_order(book: StandingBook, around: Surroundings, message: OrderUpdated) -> list[Message]:
    """What became of a shot's order."""
    order = message.order
    client_order_id = order.request.client_order_id
    if not client_order_id.startswith(CLIENT_ORDER_ID_PREFIX):
        return []
    watch = book.watches.get(client_order_id.removeprefix(CLIENT_ORDER_ID_PREFIX).partition("-")[0])
    if (
        watch is None
        or watch.state is not StandingState.ORDERED
        or client_order_id != watch.client_order_id
        or order.request.account != watch.standing.account
    ):
        return []
    if order.state is OrderState.REFUSED:
        return [_end(book, watch, around, StandingState.FAILED, reason=order.reason, detail=order.detail)]
    first = not watch.order_id
    watch.order_id = order.order_id
    if order.state not in TERMINAL_STATES:
        return [_changed(watch, around)] if first else []
    if not order.filled_lots:
        return [_end(book, watch, around, StandingState.FAILED, reason=order.reason, detail=order.detail)]
    if watch.shots < watch.standing.shots_max:
        watch.state, watch.prices = StandingState.WATCHING, []
        watch.rest_until_ns = around.clock_ns + watch.standing.pause_seconds * NANOSECONDS
        changed = _changed(watch, around)
        watch.order_id = 0
        return [changed]
    return [_end(book, watch, around, StandingState.DONE)]


def on_closed(book: StandingBook, around: Surroundings, message: StandingClosed) -> list[Message]:
    """The shell could not place a shot. After TIMED_OUT its order may still appear, so it is waited for."""
    watch = book.watches.get(message.standing_id)
    if (
        watch is None
        or watch.state is not StandingState.ORDERED
        or watch.order_id
        or watch.client_order_id != message.client_order_id
        or message.reason is Reason.TIMED_OUT
    ):
        return []
    return [_end(book, watch, around, StandingState.FAILED, reason=message.reason, detail=message.detail)]


def listed(book: StandingBook, around: Surroundings) -> list[Message]:
    """Every instruction that is alive, as it is."""
    return [_changed(watch, around) for watch in book.in_order()]


def standing_problem(standing: Standing, around: Surroundings) -> str:
    """What is wrong with an instruction, in a sentence; empty when it can be watched."""
    instrument = around.instruments.get(standing.symbol)
    if instrument is None:
        return f"There is no instrument {standing.symbol}."
    lives = standing.expires_time_ns - around.clock_ns
    if not 0 < lives <= LIFE_SECONDS_MAX * NANOSECONDS:
        return f"An instruction expires in the future, within {LIFE_SECONDS_MAX // 86_400} days."
    if not standing.owner or standing.owner.startswith("agent:"):
        return "An instruction is a person's, not an agent's."
    if not 1 <= standing.shots_max <= SHOTS_MAX or not 1 <= standing.pause_seconds <= PAUSE_SECONDS_MAX:
        return f"shots_max lies between 1 and {SHOTS_MAX}, pause_seconds between 1 and {PAUSE_SECONDS_MAX}."
    if len(standing.words) > WORDS_CHARACTERS_MAX:
        return f"Its words have at most {WORDS_CHARACTERS_MAX} characters."
    return _condition_problem(standing, instrument, around) or _size_problem(standing)


def _condition_problem(standing: Standing, instrument: Instrument, around: Surroundings) -> str:
    given = (standing.level_ticks, standing.move_ppm, standing.share_ppm)
    if min(*given, standing.window_seconds) < 0 or sum(value > 0 for value in given) != 1:
        return "An instruction has exactly one of a price level, a move and a share, above zero."
    trigger = standing.trigger
    if trigger in _LEVELS:
        return "" if 0 < standing.level_ticks <= _AMOUNT_MAX else "A price trigger has a price level."
    if trigger in _MOVES:
        if not 0 < standing.move_ppm < _PPM:
            return "A move lies between 0 % and 100 %."
        if not 1 <= standing.window_seconds <= WINDOW_SECONDS_MAX:
            return f"A move has a window of 1 second to {WINDOW_SECONDS_MAX // 86_400} days."
        return ""
    if instrument.quote.code != around.valuation:
        return f"A share of equity is measured in {around.valuation}, in which {standing.symbol} is not quoted."
    return "" if 0 < standing.share_ppm < _PPM else "A share of equity lies between 0 % and 100 %."


def _size_problem(standing: Standing) -> str:
    sizes = (standing.quantity_lots, standing.quote_amount_units, standing.portion_ppm)
    if min(sizes) < 0 or max(sizes) > _AMOUNT_MAX or sum(value > 0 for value in sizes) != 1:
        return "An instruction has exactly one of a quantity, an amount and a portion, above zero."
    if standing.portion_ppm > _PPM:
        return "A portion is at most the whole."
    if standing.quote_amount_units and standing.side is Side.SELL:
        return "What is sold is given as a quantity or a portion."
    return ""


def _is_due(watch: Watch, around: Surroundings, mid: int) -> bool:
    standing, trigger = watch.standing, watch.standing.trigger
    if trigger is StandingTrigger.PRICE_ABOVE:
        return mid >= 2 * standing.level_ticks
    if trigger is StandingTrigger.PRICE_BELOW:
        return mid <= 2 * standing.level_ticks
    if trigger in _MOVES:
        _remember(watch, mid, around.clock_ns)
        if trigger is StandingTrigger.FALLS:
            high = max(one.high for one in watch.prices)
            return (high - mid) * _PPM >= high * standing.move_ppm
        low = min(one.low for one in watch.prices)
        return (mid - low) * _PPM >= low * standing.move_ppm
    instrument, account = around.instruments[standing.symbol], around.accounts.get(standing.account)
    if account is None or account.equity_units <= 0 or not account.metrics_time_ns:
        return False
    lots_value = account.holding(instrument.base.code).total_units * mid * instrument.notional_multiplier
    share = lots_value * _PPM // (2 * instrument.lot_units * account.equity_units)
    above = trigger is StandingTrigger.SHARE_ABOVE
    return share >= standing.share_ppm if above else share <= standing.share_ppm


def _remember(watch: Watch, mid: int, clock_ns: int) -> None:
    """Fold a price into the window, and forget the parts that lie before it."""
    part_ns = max(watch.standing.window_seconds * NANOSECONDS // WINDOW_PARTS, NANOSECONDS)
    part = clock_ns // part_ns
    prices = watch.prices
    oldest = (clock_ns - watch.standing.window_seconds * NANOSECONDS) // part_ns
    while prices and prices[0].part < oldest:
        del prices[0]
    if prices and prices[-1].part >= part:
        prices[-1].high = max(prices[-1].high, mid)
        prices[-1].low = min(prices[-1].low, mid)
    else:
        prices.append(Extreme(part, mid, mid))


def _fire(book: StandingBook, watch: Watch, around: Surroundings) -> list[Message]:
    standing, instrument = watch.standing, around.instruments[watch.standing.symbol]
    account = around.accounts.get(standing.account) or AccountBook()
    lots, amount = standing.quantity_lots, standing.quote_amount_units
    if standing.portion_ppm:
        asset = instrument.base if standing.side is Side.SELL else instrument.quote
        units = account.holding(asset.code).free_units * standing.portion_ppm // _PPM
        if standing.side is Side.SELL:
            lots = units // instrument.lot_units
        else:
            amount = units
    if not lots and not amount:
        detail = "It was due, and nothing was free to trade."
        return [_end(book, watch, around, StandingState.FAILED, reason=Reason.QUANTITY_TOO_SMALL, detail=detail)]
    watch.shots += 1
    watch.state, watch.fired_ns, watch.order_id = StandingState.ORDERED, around.clock_ns, 0
    order = OrderRequest(
        account=standing.account,
        client_order_id=watch.client_order_id,
        symbol=standing.symbol,
        side=standing.side,
        type=OrderType.MARKET,
        quantity_lots=lots,
        quote_amount_units=amount,
        time_in_force=TimeInForce.IOC,
    )
    return [
        _changed(watch, around),
        m.StandingTriggered(time_ns=around.clock_ns, standing_id=watch.standing_id, owner=standing.owner, order=order),
    ]


def _end(
    book: StandingBook,
    watch: Watch,
    around: Surroundings,
    state: StandingState,
    *,
    reason: Reason = Reason.NONE,
    detail: str = "",
    actor: str = "",
) -> Message:
    book.watches.pop(watch.standing_id, None)
    watch.state = state
    return replace(_changed(watch, around, actor=actor), reason=reason, detail=detail)


def _changed(watch: Watch, around: Surroundings, *, actor: str = "") -> m.StandingChanged:
    return m.StandingChanged(
        time_ns=around.clock_ns,
        standing_id=watch.standing_id,
        standing=watch.standing,
        state=watch.state,
        shots=watch.shots,
        order_id=watch.order_id,
        actor=actor,
    )


def _answer(command: m.Command, around: Surroundings, reason: Reason = Reason.NONE, detail: str = "") -> Answer:
    return Answer(time_ns=around.clock_ns, request_id=command.request_id, reason=reason, detail=detail)
