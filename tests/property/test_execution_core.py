"""The execution core under random life: whatever the venue and the network do, risk's truth becomes the venue's."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.execution.miniature import Miniature, sent

from polaris_synapse.domain.messages import VenueSubmit
from polaris_synapse.domain.orders import TERMINAL_STATES, OrderState, OrderType
from polaris_synapse.testing.venues import Fault

STEPS = 60


def live(desk: Miniature, rng: random.Random) -> None:
    """One random thing happens."""
    orders = [order for order in desk.venue.orders.values() if order.state not in TERMINAL_STATES]
    ours = list(desk.risk.orders)
    deed = rng.choice(
        ("place", "cancel", "replace", "fill", "fill", "end", "fault", "carry", "deliver", "tick", "crash")
    )
    if deed == "place":
        type_ = rng.choice((OrderType.LIMIT, OrderType.LIMIT, OrderType.STOP_LIMIT))
        desk.place((len(ours) + 1) * 1024, type_=type_)
    elif deed == "cancel" and ours:
        desk.cancel(rng.choice(ours))
    elif deed == "replace" and ours:
        mine = desk.order(rng.choice(ours))
        desk.replace(mine.order_id, lots=max(mine.filled_lots, 5) + rng.randint(1, 8), price_ticks=rng.randint(95, 105))
    elif deed == "fill" and orders:
        order = rng.choice(orders)
        left = order.quantity_lots - order.filled_lots
        desk.venue.fill(order.client_id, rng.randint(1, left), order.price_ticks, heard=rng.random() < 0.7)
    elif deed == "end" and orders:
        desk.venue.end(
            rng.choice(orders).client_id,
            rng.choice((OrderState.CANCELLED, OrderState.EXPIRED)),
            heard=rng.random() < 0.7,
        )
    elif deed == "fault":
        request = rng.choice(("submit", "cancel", "replace", "query"))
        desk.venue.script(request, rng.choice([fault for fault in Fault if fault is not Fault.HANGS]))
    elif deed == "carry" and desk.commands:
        for _ in range(rng.randint(1, len(desk.commands))):
            desk.carry_out(desk.commands.popleft())
    elif deed == "deliver":
        desk.deliver_badly(rng)
    elif deed == "tick":
        desk.tick(rng.choice((1, 1, 3, 20)), work=False)
    elif deed == "crash" and rng.random() < 0.3:
        desk.crash()


def heal(desk: Miniature) -> None:
    """The faults stop."""
    desk.venue._faults.clear()
    desk.work_off()
    for _ in range(3):
        desk.tick(70)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_desk_and_the_venue_agree_once_the_faults_stop(seed: int) -> None:
    """Orders, states, terms and trades equal the venue's; nothing was sent or booked twice, no break is left."""
    rng = random.Random(seed)
    desk = Miniature()
    for _ in range(STEPS):
        live(desk, rng)
    heal(desk)
    assert all(count == 1 for count in desk.venue.accepted.values())
    assert all(count <= 1 for count in desk.venue.submits.values())
    assert sent(desk.sent, VenueSubmit) == len(desk.risk.orders)
    assert not desk.open_breaks(), [found.detail for found in desk.open_breaks()]
    desk.agrees_with_venue()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_replay_and_snapshot_give_the_same_state(seed: int) -> None:
    """At any instant the journal replayed, and the snapshot restored, have the live state's hash (see crash)."""
    rng = random.Random(seed)
    desk = Miniature()
    for _ in range(STEPS):
        live(desk, rng)
    desk.crash()


@settings(max_examples=100)
@given(
    arrives_after=st.integers(0, 12),
    crashes_at=st.sets(st.integers(0, 12), max_size=3),
    jumps=st.dictionaries(st.integers(0, 12), st.integers(1, 30 * 86_400), max_size=4),
)
def test_no_jump_of_the_clock_proves_an_order_absent(
    arrives_after: int, crashes_at: set[int], jumps: dict[int, int]
) -> None:
    """An order that is slow on its way is never taken for absent, by however many days the clock is set forwards."""
    desk = Miniature()
    client_id = desk.place()
    on_its_way = desk.commands.popleft()
    assert isinstance(on_its_way, VenueSubmit)
    for tick in range(13):
        if tick == arrives_after:
            desk.venue.submit_now(on_its_way)
        if tick in crashes_at:
            desk.crash()
        desk.clock.advance(jumps.get(tick, 0))
        desk.tick()
        assert tick >= arrives_after or desk.state() in (OrderState.APPROVED, OrderState.UNKNOWN)
    heal(desk)
    assert desk.venue.submits[client_id] == 1
    assert desk.state() is OrderState.WORKING
    assert not desk.open_breaks()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1))
def test_balances_are_compared_through_any_life_without_a_false_alarm(seed: int) -> None:
    """Whatever is lost, late or in doubt, an honest venue's balances open nothing, and a moved one is found after."""
    rng = random.Random(seed)
    desk = Miniature()
    for _ in range(40):
        live(desk, rng)
        if rng.random() < 0.3:
            desk.feed_balances()
    heal(desk)
    desk.compare_balances(8)
    assert not desk.open_breaks(), [found.detail for found in desk.open_breaks()]
    desk.venue.deposits["BTC"] += 1
    desk.compare_balances(8)
    assert [found.symbol for found in desk.open_breaks()] == ["BTC"]
