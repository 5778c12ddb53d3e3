"""Standing instructions in the agents core: typed, bounded, fired once, kept over restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.agents.markets import BTCUSDT, SECOND, START, new_core, set_up

from polaris_synapse.agents.core import AgentsCore
from polaris_synapse.agents.core.standing import STANDING_OF_ACCOUNT_MAX
from polaris_synapse.agents.standing import standing_words
from polaris_synapse.domain.messages import (
    Answer,
    CancelStanding,
    HostStarted,
    MarketSummary,
    Message,
    OrderUpdated,
    SetStanding,
    Standing,
    StandingChanged,
    StandingClosed,
    StandingState,
    StandingTrigger,
    StandingTriggered,
    Tick,
)
from polaris_synapse.domain.orders import Order, OrderRequest, OrderState, OrderType, Side
from polaris_synapse.domain.reasons import Reason

T = StandingTrigger
#: 60,000 USDT in ticks.
PRICE = 6_000_000


def instruction(**changes: Any) -> Standing:
    """Sell 0.01 BTC at 58,000 or below, or what ``changes`` says."""
    given: dict[str, Any] = {
        "account": "jarvis",
        "owner": "user:alice",
        "symbol": "BTCUSDT",
        "trigger": T.PRICE_BELOW,
        "side": Side.SELL,
        "level_ticks": 5_800_000,
        "quantity_lots": 1_000,
        "expires_time_ns": START + 3_600 * SECOND,
    }
    return Standing(**given | changes)


class Watching:
    """A core with one account, driven by prices."""

    def __init__(self, *standings: Standing, core: AgentsCore | None = None) -> None:
        self.core = core or new_core()
        self.now = START
        self.out: list[Message] = []
        if core is None:
            for message in set_up(held="0.5", mandate=None):
                self.send(message)
        self.ids = [self.set(one).detail for one in standings]

    def send(self, message: Message) -> Sequence[Message]:
        """Apply a message."""
        out = self.core.apply(message)
        self.out += out
        return out

    def set(self, standing: Standing) -> Answer:
        """Ask to watch."""
        out = self.send(SetStanding(time_ns=self.now, standing=standing, actor="user:alice", request_id="s"))
        (answer,) = [one for one in out if isinstance(one, Answer)]
        return answer

    def price(self, ticks: int, *, seconds: int = 1, **changes: Any) -> list[StandingTriggered]:
        """A second of market at a price; what fired."""
        self.now += seconds * SECOND
        summary = MarketSummary(
            time_ns=self.now, symbol="BTCUSDT", source="test", bid_ticks=ticks - 1, ask_ticks=ticks + 1,
            last_ticks=ticks, bid_depth_lots=1, ask_depth_lots=1, bought_lots=0, sold_lots=0, trades=0, healthy=True,
        )  # fmt: skip
        return [one for one in self.send(replace(summary, **changes)) if isinstance(one, StandingTriggered)]

    def order(self, fired: StandingTriggered, state: OrderState, *, filled: int = 0, order_id: int = 7) -> None:
        """What became of a shot's order."""
        request = fired.order
        order = Order(
            order_id=0 if state is OrderState.REFUSED else order_id, request=request, venue="paper", state=state,
            quantity_lots=request.quantity_lots, price_ticks=0, stop_price_ticks=0, filled_lots=filled,
            reason=Reason.KILL_SWITCH if state is OrderState.REFUSED else Reason.NONE,
        )  # fmt: skip
        self.send(OrderUpdated(time_ns=self.now, order=order))

    def states(self) -> list[StandingState]:
        """Every state that was published, in order."""
        return [one.state for one in self.out if isinstance(one, StandingChanged)]


def test_a_price_level_fires_once_as_the_owners_order() -> None:
    """At the level, not before; with the exact order, in the owner's name, and never a second time."""
    desk = Watching(instruction())
    assert desk.price(5_800_001) == []
    (fired,) = desk.price(5_800_000)
    assert fired.owner == "user:alice"
    assert fired.order == OrderRequest(
        account="jarvis", client_order_id="standing-S1-1", symbol="BTCUSDT", side=Side.SELL, type=OrderType.MARKET,
        quantity_lots=1_000, time_in_force=fired.order.time_in_force,
    )  # fmt: skip
    assert desk.price(5_700_000) == []
    desk.order(fired, OrderState.APPROVED)
    desk.order(fired, OrderState.FILLED, filled=1_000)
    assert desk.price(5_700_000) == []
    assert desk.states() == [StandingState.WATCHING, StandingState.ORDERED, StandingState.ORDERED, StandingState.DONE]


def test_a_fall_is_measured_from_the_highest_price_of_the_window() -> None:
    """3 % within a minute fires; the same fall over longer, or from before the window, does not."""
    given = {"trigger": T.FALLS, "level_ticks": 0, "move_ppm": 30_000, "window_seconds": 60}
    quick = Watching(instruction(**given))
    for ticks in (PRICE, PRICE - 60_000, PRICE - 120_000):
        assert quick.price(ticks) == []
    assert len(quick.price(PRICE - 180_000)) == 1
    slow = Watching(instruction(**given))
    assert [slow.price(PRICE - step * 10_000, seconds=10) for step in range(20)] == [[]] * 20
    rises = Watching(instruction(**given | {"trigger": T.RISES}))
    assert rises.price(PRICE) == []
    assert rises.price(PRICE - 60_000) == []
    assert len(rises.price(PRICE - 60_000 + 178_200)) == 1


@pytest.mark.parametrize("change", [{"healthy": False}, {"bid_ticks": 0}, {"symbol": "ETHUSDT"}, {"ask_ticks": 1}])
def test_a_market_that_cannot_be_trusted_fires_nothing(change: dict[str, Any]) -> None:
    """An unhealthy, one-sided, crossed or other market is no price."""
    desk = Watching(instruction())
    assert desk.price(5_000_000, **change) == []
    assert len(desk.price(5_000_000)) == 1


def test_a_share_of_equity_and_a_portion_of_what_is_free() -> None:
    """Half a bitcoin at 60,000 is more than all of 25,000 of equity: half of what is free by then is sold."""
    desk = Watching(
        instruction(trigger=T.SHARE_ABOVE, level_ticks=0, share_ppm=900_000, quantity_lots=0, portion_ppm=500_000)
    )
    (fired,) = desk.price(PRICE)
    assert fired.order.quantity_lots == 25_000
    low = Watching(instruction(trigger=T.SHARE_BELOW, level_ticks=0, share_ppm=900_000))
    assert low.price(PRICE) == []


def test_buying_a_portion_spends_free_cash() -> None:
    """A quarter of 25,000 USDT, to the minor unit."""
    desk = Watching(instruction(side=Side.BUY, quantity_lots=0, portion_ppm=250_000))
    (fired,) = desk.price(5_000_000)
    assert fired.order.quote_amount_units == 6_250 * 10**8


def test_it_expires_and_is_told_so() -> None:
    """At its time it is over, whether or not a price comes."""
    desk = Watching(instruction(expires_time_ns=START + 10 * SECOND))
    desk.now = START + 10 * SECOND
    desk.send(Tick(time_ns=desk.now))
    last = [one for one in desk.out if isinstance(one, StandingChanged)][-1]
    assert (last.state, last.reason) == (StandingState.EXPIRED, Reason.STANDING_EXPIRED)
    assert desk.price(5_000_000) == []


def test_several_shots_rest_between() -> None:
    """Fired again only after its pause, with a client order id of its own, and at most as often as said."""
    desk = Watching(instruction(shots_max=2, pause_seconds=60))
    (first,) = desk.price(5_000_000)
    desk.order(first, OrderState.FILLED, filled=1_000)
    assert desk.price(5_000_000, seconds=59) == []
    (second,) = desk.price(5_000_000)
    assert second.order.client_order_id == "standing-S1-2"
    desk.order(second, OrderState.FILLED, filled=1_000)
    assert desk.states()[-1] is StandingState.DONE


@pytest.mark.parametrize("how", ["refused", "closed", "empty"])
def test_a_shot_that_fails_says_why_and_is_over(how: str) -> None:
    """Refused by risk, not placed by the shell, or ended without a fill: FAILED, and nothing is tried again."""
    desk = Watching(instruction())
    (fired,) = desk.price(5_000_000)
    if how == "refused":
        desk.order(fired, OrderState.REFUSED)
    elif how == "empty":
        desk.order(fired, OrderState.CANCELLED)
    else:
        closed = StandingClosed(
            time_ns=desk.now, standing_id="S1", client_order_id="standing-S1-1", reason=Reason.ACCOUNT_NOT_ALLOWED
        )
        desk.send(replace(closed, client_order_id="standing-S1-0"))
        assert desk.states()[-1] is StandingState.ORDERED
        desk.send(closed)
    assert desk.states()[-1] is StandingState.FAILED
    assert desk.price(5_000_000) == []


def test_a_restart_loses_nothing_and_repeats_nothing() -> None:
    """A shot without an order watches again with the same client order id; one with an order does not."""
    desk = Watching(instruction())
    (fired,) = desk.price(5_000_000)
    lost = Watching(core=new_core())
    lost.core.restore(desk.core.snapshot())
    lost.now = desk.now
    lost.send(HostStarted(time_ns=lost.now))
    (again,) = lost.price(5_000_000)
    assert again.order == fired.order
    desk.order(fired, OrderState.APPROVED)
    kept = Watching(core=new_core())
    kept.core.restore(desk.core.snapshot())
    kept.now = desk.now
    out = kept.send(HostStarted(time_ns=kept.now))
    assert [one.state for one in out if isinstance(one, StandingChanged)] == [StandingState.ORDERED]
    assert kept.price(5_000_000) == []
    assert kept.core.state_hash() != lost.core.state_hash()


def test_cancelling_takes_the_account_and_ends_it() -> None:
    """Somebody else's account cancels nothing; after the cancel nothing fires."""
    desk = Watching(instruction())
    cancel = CancelStanding(time_ns=desk.now, account="other", standing_id="S1", request_id="c")
    (refused,) = [one for one in desk.send(cancel) if isinstance(one, Answer)]
    assert refused.reason is Reason.STANDING_NOT_FOUND
    desk.send(replace(cancel, account="jarvis"))
    assert desk.states()[-1] is StandingState.CANCELLED
    assert desk.price(5_000_000) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"symbol": "DOGEUSDT"},
        {"owner": "agent:jarvis"},
        {"owner": ""},
        {"level_ticks": 0},
        {"level_ticks": -1},
        {"move_ppm": 10},
        {"trigger": T.FALLS},
        {"trigger": T.FALLS, "level_ticks": 0, "move_ppm": 10_000},
        {"trigger": T.FALLS, "level_ticks": 0, "move_ppm": 1_000_000, "window_seconds": 60},
        {"trigger": T.FALLS, "level_ticks": 0, "move_ppm": 10_000, "window_seconds": 8 * 86_400},
        {"trigger": T.SHARE_ABOVE, "level_ticks": 0, "share_ppm": 1_000_000},
        {"quantity_lots": 0},
        {"portion_ppm": 10},
        {"quantity_lots": 0, "portion_ppm": 1_000_001},
        {"quantity_lots": 0, "quote_amount_units": 10**8},
        {"quantity_lots": 10**19},
        {"expires_time_ns": START},
        {"expires_time_ns": START + 367 * 86_400 * SECOND},
        {"shots_max": 0},
        {"shots_max": 101},
        {"pause_seconds": 0},
        {"words": "x" * 401},
    ],
)
def test_what_is_unbounded_or_unclear_is_not_watched_for(changes: dict[str, Any]) -> None:
    """Exactly one condition, exactly one size, a person behind it, and an end."""
    desk = Watching()
    assert desk.set(instruction(**changes)).reason is Reason.INVALID_VALUE
    assert desk.price(1) == []


def test_an_account_has_a_bounded_number() -> None:
    """One more is refused, and there is room again after a cancel."""
    desk = Watching(*[instruction()] * STANDING_OF_ACCOUNT_MAX)
    assert desk.set(instruction()).reason is Reason.STANDING_FULL
    desk.send(CancelStanding(time_ns=desk.now, account="jarvis", standing_id="S1", request_id="c"))
    assert desk.set(instruction()).detail == f"S{STANDING_OF_ACCOUNT_MAX + 1}"


def test_words_say_exactly_what_it_does() -> None:
    """Every number of an instruction is in its sentence."""
    words = standing_words(instruction(), BTCUSDT)
    assert words == "SELL 0.01 BTC at the market, once, when the mid price of BTCUSDT is at 58000 or below"


@given(
    steps=st.lists(st.one_of(st.integers(5_700_000, 6_100_000), st.just(None)), max_size=60), restart=st.integers(0, 60)
)
@settings(max_examples=60, deadline=None)
def test_a_core_restored_at_any_moment_goes_on_the_same(steps: list[int | None], restart: int) -> None:
    """Over random prices and ticks, a snapshot and restore in between changes nothing that comes after."""
    standings = (
        instruction(),
        instruction(trigger=T.FALLS, level_ticks=0, move_ppm=20_000, window_seconds=30),
        instruction(trigger=T.PRICE_ABOVE, level_ticks=6_050_000, shots_max=3, pause_seconds=5),
    )
    straight, broken = Watching(*standings), Watching(*standings)
    for place, ticks in enumerate(steps):
        if place == restart:
            core = new_core()
            core.restore(broken.core.snapshot())
            broken.core = core
        for desk in (straight, broken):
            if ticks is None:
                desk.now += SECOND
                desk.send(Tick(time_ns=desk.now))
                continue
            for fired in desk.price(ticks):
                desk.order(fired, OrderState.FILLED, filled=1_000)
    assert straight.core.state_hash() == broken.core.state_hash()
    ids = [one.order.client_order_id for one in straight.out if isinstance(one, StandingTriggered)]
    assert len(ids) == len(set(ids))
