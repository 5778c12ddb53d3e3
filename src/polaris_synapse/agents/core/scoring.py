"""The reflection agent: each decision is held against what the market then did.

A view is scored once its horizon has passed, at the first usable mid after it. The score is what a full round trip in
the view's direction would have returned between the two mids, less the taker fee on both ways; for HOLD it is 0, and
the move is recorded all the same. Signals are counted right or wrong by the sign of the move. Horizons of successive
decisions overlap, so these counts are not independent trials and prove no edge; nothing is weighted by them. The
agents' own voices are counted in ``reflection``, as independent trials, and those counts weigh the next vote.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.fixed import PPM, divide_rounding
from polaris_synapse.agents.core.flow import NANOSECONDS
from polaris_synapse.agents.core.market import Market
from polaris_synapse.agents.core.reflection import Memory, lesson_of
from polaris_synapse.agents.core.signals import SUMMARY_AGE_SECONDS_MAX
from polaris_synapse.agents.core.thesis import SPOKEN_PPM_MIN
from polaris_synapse.agents.core.tracking import Tracked
from polaris_synapse.agents.core.view import Direction
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import DecisionRecorded

#: How long after its horizon a decision waits for a usable price before it is given up as unscored.
SCORE_GRACE_SECONDS: Final = 300


class HitRate(Struct):
    """How often a signal that spoke was right."""

    right: int = 0
    wrong: int = 0


def score_due(
    tracked: Tracked,
    market: Market | None,
    instrument: Instrument,
    records: dict[str, HitRate],
    memory: Memory,
    clock_ns: int,
) -> DecisionRecorded | None:
    """Score a decision if its horizon has passed; None while it has not, or while there is no price yet.

    Counts into ``records`` (by signal) and teaches ``memory``. A price counts when it is usable, from the horizon or
    later, and fresh.
    """
    if tracked.scored or clock_ns < tracked.due_ns:
        return None
    summary = market.summary if market is not None and market.healthy else None
    if (
        summary is None
        or not tracked.due_ns <= summary.time_ns <= clock_ns
        or clock_ns - summary.time_ns > SUMMARY_AGE_SECONDS_MAX * NANOSECONDS
    ):
        if clock_ns < tracked.due_ns + SCORE_GRACE_SECONDS * NANOSECONDS:
            return None
        return give_up(tracked, "Not scored: there was no usable price when its horizon had passed.", clock_ns)
    half_ticks = summary.bid_ticks + summary.ask_ticks
    move = divide_rounding((half_ticks - tracked.reference_half_ticks) * PPM, tracked.reference_half_ticks)
    sign = Direction(tracked.record.view).sign
    score = sign * move - 2 * tracked.fee_ppm if sign else 0
    tracked.scored = True
    sheet = tracked.sheet(clock_ns)
    sheet.price("mid at the horizon", half_ticks, instrument, f"{summary.source}/market summary", summary.time_ns)
    sheet.ppm("move to the horizon", move, "agent/reflection", clock_ns)
    sheet.ppm("fee of one way", tracked.fee_ppm, "agent/reflection", clock_ns)
    sheet.ppm("score", score, "agent/reflection", clock_ns)
    # Sorted, because a mapping comes back from a snapshot in another order than it was made in.
    for signal, value in sorted(tracked.signals.items()):
        rate = records.setdefault(signal, HitRate())
        _count(rate, value, move)
        sheet.count(f"{signal} was right", rate.right, "times so far", "agent/reflection", clock_ns)
        sheet.count(f"{signal} was wrong", rate.wrong, "times so far", "agent/reflection", clock_ns)
    lesson = lesson_of(
        decision_id=tracked.record.decision_id,
        symbol=tracked.record.symbol,
        regime=tracked.regime,
        view=tracked.record.view,
        score_ppm=score,
        move_ppm=move,
        learned_ns=clock_ns,
    )
    memory.learn(lesson, tracked.leans, move, tracked.trial_ppm)
    return tracked.revise(clock_ns, facts=sheet.facts, score_ppm=score, lesson=lesson.text)


def give_up(tracked: Tracked, why: str, clock_ns: int) -> DecisionRecorded:
    """Close a decision's score without one, and say why."""
    tracked.scored = True
    return tracked.revise(clock_ns, detail=f"{tracked.record.detail} {why}".strip())


def _count(rate: HitRate, signal_ppm: int, move_ppm: int) -> None:
    if abs(signal_ppm) < SPOKEN_PPM_MIN or not move_ppm:
        return
    if (signal_ppm > 0) == (move_ppm > 0):
        rate.right += 1
    else:
        rate.wrong += 1
