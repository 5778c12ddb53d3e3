"""The order table over all pairs of state and event."""

from __future__ import annotations

from itertools import product

import pytest

from polaris_synapse.domain.orders import (
    OPEN_STATES,
    TERMINAL_STATES,
    TRANSITIONS,
    OrderEvent,
    OrderState,
    OrderTransitionError,
    next_state,
)

ALL_PAIRS = list(product(OrderState, OrderEvent))
_MONEY_MOVES = {OrderEvent.FILL, OrderEvent.PARTIAL_FILL}


@pytest.mark.parametrize("state,event", ALL_PAIRS)
def test_every_pair_moves_by_the_table_or_raises(state: OrderState, event: OrderEvent) -> None:
    """A pair in the table gives its state; any other pair raises."""
    if (state, event) in TRANSITIONS:
        assert next_state(state, event, filled_lots=0) is TRANSITIONS[(state, event)]
    else:
        with pytest.raises(OrderTransitionError):
            next_state(state, event, filled_lots=0)


@pytest.mark.parametrize("state,event", ALL_PAIRS)
def test_an_ended_order_never_opens_again(state: OrderState, event: OrderEvent) -> None:
    """Nothing leads from a terminal state to an open one."""
    if state in TERMINAL_STATES and (state, event) in TRANSITIONS:
        assert TRANSITIONS[(state, event)] in TERMINAL_STATES


@pytest.mark.parametrize("state", sorted(OPEN_STATES))
def test_fills_are_taken_in_every_open_state(state: OrderState) -> None:
    """Money that moved at a venue is booked whatever the desk thought the order was doing."""
    for event in _MONEY_MOVES:
        assert (state, event) in TRANSITIONS


@pytest.mark.parametrize("state", sorted(OPEN_STATES - {OrderState.UNKNOWN}))
def test_any_open_order_can_become_unknown_and_be_cancelled(state: OrderState) -> None:
    """A lost answer and a cancel can come at any time."""
    assert TRANSITIONS[(state, OrderEvent.LOSE)] is OrderState.UNKNOWN
    assert (state, OrderEvent.REQUEST_CANCEL) in TRANSITIONS


def test_unknown_is_left_only_by_what_the_venue_says() -> None:
    """No wish of the desk's own takes an order out of UNKNOWN."""
    for event in (OrderEvent.REQUEST_CANCEL, OrderEvent.LOSE):
        assert TRANSITIONS[(OrderState.UNKNOWN, event)] is OrderState.UNKNOWN
    assert (OrderState.UNKNOWN, OrderEvent.REQUEST_REPLACE) not in TRANSITIONS


def test_a_partly_filled_order_returns_to_partly_filled() -> None:
    """After a refused cancel or a replacement the visible state follows what has filled."""
    for event in (OrderEvent.REJECT_CANCEL,):
        assert next_state(OrderState.PENDING_CANCEL, event, filled_lots=3) is OrderState.PARTIALLY_FILLED
        assert next_state(OrderState.PENDING_CANCEL, event, filled_lots=0) is OrderState.WORKING
    assert next_state(OrderState.PENDING_REPLACE, OrderEvent.REPLACE, filled_lots=1) is OrderState.PARTIALLY_FILLED
