"""Which part of a desk kept slow orders, and what else the desk did meanwhile. See ``traced_desk`` for the notes."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from polaris_synapse.testing.stream_load import Passage
from polaris_synapse.testing.traced_desk import DeskNotes

#: An order that took longer is looked into.
SLOW_SECONDS: Final = 0.005
_STAGES: Final = (
    "client late",
    "to the desk, its loop busy",
    "read and parsed",
    "waited for its batch",
    "commit",
    "cores and answers",
    "way back",
)
_NAMES_MAX: Final = 14


def slow_orders(name: str, passages: Sequence[Passage], notes: DeskNotes) -> Iterator[str]:
    """What a person wants to know about the orders over SLOW_SECONDS, as lines of text."""
    rows = [(passage, stages) for passage in passages if (stages := _stages(passage, notes)) is not None]
    slow = [(passage, stages) for passage, stages in rows if passage.answered - passage.due > SLOW_SECONDS]
    yield f"{name}: {len(slow):,} of {len(rows):,} orders took more than {SLOW_SECONDS * 1_000:g} ms"
    if not slow:
        return
    largest = [max(range(len(_STAGES)), key=stages.__getitem__) for _, stages in slow]
    yield f"  {'':28}{'mean ms, all':>14}{'mean ms, slow':>15}{'worst ms':>10}{'longest part of':>17}"
    for place, stage in enumerate(_STAGES):
        of_all, of_slow = [stages[place] for _, stages in rows], [stages[place] for _, stages in slow]
        figures = sum(of_all) / len(rows), sum(of_slow) / len(slow), max(of_slow)
        mean_all, mean_slow, worst = (f"{figure * 1_000:.2f}" for figure in figures)
        yield f"  {stage:28}{mean_all:>14}{mean_slow:>15}{worst:>10}{largest.count(place):>17}"
    yield f"  {'meanwhile in the desk':38}{'mean ms a slow order':>22}{'of it processor':>17}{'longest ms':>12}"
    for what, (spent, used, longest) in _meanwhile([passage for passage, _ in slow], notes):
        mean, used_mean = spent / len(slow) * 1_000, used / len(slow) * 1_000
        yield f"  {what:38}{mean:>22.2f}{used_mean:>17.2f}{longest * 1_000:>12.2f}"


def _stages(passage: Passage, notes: DeskNotes) -> tuple[float, ...] | None:
    order = notes.orders.get(passage.client_order_id)
    if order is None or order.turn < 0:
        return None
    turn = notes.turns[order.turn]
    moments = (
        passage.due, passage.sent, order.read, order.queued, turn.taken, turn.committed, turn.done, passage.answered,
    )  # fmt: skip
    return tuple(after - before for before, after in pairwise(moments))


def _meanwhile(slow: Sequence[Passage], notes: DeskNotes) -> list[tuple[str, tuple[float, float, float]]]:
    """What the desk did while slow orders were under way: seconds, processor time in it, and the longest piece."""
    pieces = [(work.name, work.began, work.ended, work.used) for work in notes.work]
    for turn in notes.turns:
        pieces.append(("commit", turn.taken, turn.committed, turn.commit_used))
        pieces.append(("cores and answers", turn.committed, turn.done, turn.rest_used))
    pieces.sort(key=lambda piece: piece[2])
    ends = [piece[2] for piece in pieces]
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for passage in slow:
        for place in range(bisect_left(ends, passage.sent), len(pieces)):
            name, began, ended, used = pieces[place]
            overlap = min(ended, passage.answered) - max(began, passage.sent)
            if overlap > 0:
                sums = found[name]
                sums[0] += overlap
                sums[1] += used * overlap / (ended - began)
                sums[2] = max(sums[2], ended - began)
            if began > passage.answered:
                break
    ranked = sorted(found.items(), key=lambda item: -item[1][0])
    return [(name, (sums[0], sums[1], sums[2])) for name, sums in ranked[:_NAMES_MAX]]
