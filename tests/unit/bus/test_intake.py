"""What waits for the journal: who goes first, and how much goes together."""

from __future__ import annotations

import time

import pytest

from polaris_synapse.bus.intake import Intake
from polaris_synapse.domain.messages import ActivateBreaker, KillLevel, Message, ResetBreaker, SetKillLevel, Tick

pytestmark = pytest.mark.anyio


def intake(*, batch_messages_max: int = 1_000) -> Intake:
    """An empty one."""
    return Intake(batch_messages_max, derived_messages_max=10)


def ticks(count: int) -> list[Message]:
    """Inputs of no urgency."""
    return [Tick(time_ns=number + 1) for number in range(count)]


def add_all(queue: Intake, messages: list[Message]) -> None:
    """Queue each."""
    for message in messages:
        queue.add(message)


async def test_stops_pass_all_that_waits_and_go_alone() -> None:
    """A stop is journaled before what came first, in a batch of its own; letting go keeps its place among stops."""
    queue = intake()
    stop = SetKillLevel(time_ns=1, level=KillLevel.CANCEL_ALL)
    let_go = SetKillLevel(time_ns=1, level=KillLevel.OFF)
    trip, reset = ActivateBreaker(time_ns=1), ResetBreaker(time_ns=1)
    waiting = ticks(3)
    add_all(queue, [*waiting, let_go, trip, stop, reset])
    assert queue.messages == 7
    assert queue.take().messages == [let_go, trip, stop, reset]
    assert queue.messages == 3
    assert queue.take().messages == waiting
    assert not queue


async def test_times_never_run_backwards_when_a_stop_overtakes() -> None:
    """What was stamped before the stop and is journaled after it takes the stop's time."""
    queue = intake()
    add_all(queue, [Tick(time_ns=5), SetKillLevel(time_ns=9, level=KillLevel.FLATTEN)])
    assert queue.take().messages[0].time_ns == 9
    assert queue.take().messages == [Tick(time_ns=9)]


async def test_a_batch_is_cut_where_it_would_take_too_long() -> None:
    """However many wait, a stop that comes now stands behind a batch of some milliseconds, but never of a few only."""
    queue = intake()
    add_all(queue, ticks(2_000))
    assert len(queue.take().messages) == 1_000
    # As if those thousand had taken ten seconds: a hundredth of a second each.
    queue.pace(time.perf_counter() + 10)
    assert len(queue.take().messages) == 64


async def test_the_commit_does_not_make_batches_smaller() -> None:
    """A slow disk costs a batch once, whatever its size, so that it is no reason for smaller ones."""
    queue = intake()
    add_all(queue, ticks(2_000))
    assert len(queue.take().messages) == 1_000
    # As if the disk had taken ten seconds and the thousand messages a millisecond.
    committed = time.perf_counter() + 10
    queue.committed(committed)
    queue.pace(committed + 0.001)
    assert len(queue.take().messages) == 1_000


async def test_a_failed_journal_gives_back_the_stops_too() -> None:
    """Whoever waits for an answer is among what is cleared, stops first."""
    queue = intake()
    stop = SetKillLevel(time_ns=1, level=KillLevel.FLATTEN)
    add_all(queue, [*ticks(2), stop])
    assert queue.clear() == ((stop, *ticks(2)), 0)
    assert not queue
