"""Which request goes to a venue next."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from polaris_synapse.domain.messages import VenueCancel, VenueQuery
from polaris_synapse.execution.dispatch import Dispatch, VenueCommand


def query(order_id: int) -> VenueQuery:
    """A question about an order."""
    return VenueQuery(time_ns=1, venue="v", symbol="S", order_id=order_id, venue_client_id=str(order_id))


def cancel(order_id: int) -> VenueCancel:
    """A cancel of an order."""
    return VenueCancel(
        time_ns=1, venue="v", symbol="S", order_id=order_id, venue_client_id=str(order_id), venue_order_id=""
    )


def taken(dispatch: Dispatch) -> list[VenueCommand]:
    """Everything that may leave now."""
    found: list[VenueCommand] = []
    while (command := dispatch.take()) is not None:
        found.append(command)
    return found


def put_all(dispatch: Dispatch, commands: Iterable[VenueCommand]) -> list[bool]:
    """Put each in."""
    return [dispatch.put(command) for command in commands]


def test_requests_of_one_order_follow_each_other() -> None:
    """The second leaves when the first has ended; another order does not wait for them."""
    dispatch = Dispatch(at_once=10, cancels_at_once=10, waiting_max=10)
    first, second, other = query(1), query(1), query(2)
    put_all(dispatch, [first, second, other])
    assert taken(dispatch) == [first, other]
    assert taken(dispatch) == []
    dispatch.done(1)
    assert taken(dispatch) == [second]


def test_a_hanging_order_does_not_hold_up_a_cancel() -> None:
    """Cancels have places of their own, and go before all that waited longer."""
    dispatch = Dispatch(at_once=2, cancels_at_once=1, waiting_max=10)
    put_all(dispatch, [query(1), query(2), query(3)])
    assert [command.order_id for command in taken(dispatch)] == [1, 2]
    put_all(dispatch, [cancel(4), cancel(5)])
    assert [command.order_id for command in taken(dispatch)] == [4]
    dispatch.done(4)
    assert [command.order_id for command in taken(dispatch)] == [5]
    dispatch.done(1)
    assert [command.order_id for command in taken(dispatch)] == [3]


def test_a_cancel_takes_what_waits_of_its_order_with_it() -> None:
    """An order that waits and its cancel come up at once, the order first, so that it is never sent."""
    dispatch = Dispatch(at_once=1, cancels_at_once=1, waiting_max=10)
    put_all(dispatch, [query(1), query(2)])
    assert [command.order_id for command in taken(dispatch)] == [1]
    assert not dispatch.is_cancelled(2)
    dispatch.put(cancel(2))
    assert dispatch.is_cancelled(2)
    assert taken(dispatch) == [query(2)]
    dispatch.done(2)
    assert taken(dispatch) == [cancel(2)]
    assert not dispatch.is_cancelled(2)


def test_it_is_bounded_and_keeps_places_for_cancels() -> None:
    """Too many are turned away; a cancel still gets in."""
    dispatch = Dispatch(at_once=1, cancels_at_once=1, waiting_max=2)
    assert put_all(dispatch, [query(1), query(2), query(3)]) == [True, True, False]
    assert put_all(dispatch, [cancel(4), cancel(5), cancel(6)]) == [True, True, False]


@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 2)), max_size=60))
def test_nothing_is_lost_and_no_order_has_two_under_way(steps: list[tuple[int, bool, int]]) -> None:
    """Whatever comes and ends in whatever order, each request leaves once, and those of an order in their order."""
    dispatch = Dispatch(at_once=2, cancels_at_once=2, waiting_max=1_000)
    given_: dict[int, list[VenueCommand]] = {}
    left: dict[int, list[VenueCommand]] = {}
    under_way: list[int] = []

    def leave() -> None:
        for command in taken(dispatch):
            assert command.order_id not in under_way
            under_way.append(command.order_id)
            left.setdefault(command.order_id, []).append(command)

    for order_id, cancels, ends in steps:
        command = cancel(order_id) if cancels else query(order_id)
        given_.setdefault(order_id, []).append(command)
        assert dispatch.put(command)
        leave()
        for _ in range(min(ends, len(under_way))):
            dispatch.done(under_way.pop(0))
            leave()
    while under_way:
        dispatch.done(under_way.pop(0))
        leave()
    assert left == given_
    assert dispatch.is_idle
