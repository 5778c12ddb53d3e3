"""The reflection agent's memory: how reliable each voice is, and lessons that are recalled only once they were known.

A decision is one *trial* for each voice that spoke. Decisions overlap: one a minute with a horizon of fifteen minutes
are not fifteen trials but one, so each counts as the part of its horizon that had passed since the one before it. The
prior is in ``fusion``. A lesson is written by code from the score; a model may read it, never write it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.fixed import PPM
from polaris_synapse.agents.core.fusion import Record
from polaris_synapse.agents.core.thesis import SPOKEN_PPM_MIN
from polaris_synapse.domain.messages import Lesson

#: Lessons kept for one symbol.
LESSONS_A_SYMBOL_MAX: Final = 50
#: Lessons recalled for one decision.
LESSONS_RECALLED_MAX: Final = 3
#: Voices with a record for one symbol and regime.
VOTERS_MAX: Final = 8


def trial_ppm(since_last_ns: int, horizon_ns: int) -> int:
    """How much of an independent trial a decision is; a first one is a whole one (``since_last_ns`` 0)."""
    if not since_last_ns:
        return PPM
    return min(since_last_ns * PPM // horizon_ns, PPM)


def count(records: dict[str, Record], leans: Mapping[str, int], move_ppm: int, trial: int) -> None:
    """Count each voice right or wrong by the sign of the move. One that hardly spoke, and no move, count nothing."""
    if not move_ppm:
        return
    for voter, lean in sorted(leans.items()):
        if abs(lean) < SPOKEN_PPM_MIN or (voter not in records and len(records) >= VOTERS_MAX):
            continue
        record = records.setdefault(voter, Record())
        if (lean > 0) == (move_ppm > 0):
            record.right_ppm += trial
        else:
            record.wrong_ppm += trial


class Memory(Struct):
    """What an agent has learned of one symbol: ``voters[regime][voter]`` are records, ``lessons`` the latest ones."""

    voters: dict[str, dict[str, Record]] = {}
    lessons: list[Lesson] = []

    def records(self, regime: str) -> dict[str, Record]:
        """The voices' records in a regime, by voter; empty before the first score."""
        return self.voters.get(regime, {})

    def learn(self, lesson: Lesson, leans: Mapping[str, int], move_ppm: int, trial: int) -> None:
        """Take one score in: count every voice, keep the lesson, forget the oldest."""
        count(self.voters.setdefault(lesson.regime, {}), leans, move_ppm, trial)
        self.lessons = [*self.lessons, lesson][-LESSONS_A_SYMBOL_MAX:]


def lesson_of(
    *, decision_id: str, symbol: str, regime: str, view: str, score_ppm: int, move_ppm: int, learned_ns: int
) -> Lesson:
    """The lesson of one score, in words without numbers: the numbers are the score's own facts."""
    went = "rose" if move_ppm > 0 else "fell" if move_ppm < 0 else "stood still"
    if view == "HOLD":
        verdict = "standing aside cost nothing"
    elif score_ppm > 0:
        verdict = "the view paid after fees"
    elif (move_ppm > 0) == (view == "BUY") and move_ppm:
        verdict = "the view was right, but fees were more than the move"
    else:
        verdict = "the view was wrong"
    return Lesson(
        decision_id=decision_id,
        symbol=symbol,
        regime=regime,
        view=view,
        score_ppm=score_ppm,
        learned_time_ns=learned_ns,
        text=f"In a {regime} market after a {view} view {symbol} {went}: {verdict}.",
    )


def recall(lessons: Iterable[Lesson], *, regime: str, clock_ns: int) -> tuple[Lesson, ...]:
    """The lessons for a decision: those known by then, of the same regime first, the largest scores first, then new.

    HOLD teaches little, so it is recalled last. Whatever was learned after ``clock_ns`` is not there.
    """
    known = [lesson for lesson in lessons if lesson.learned_time_ns <= clock_ns]
    known.sort(
        key=lambda lesson: (
            lesson.regime != regime,
            lesson.view == "HOLD",
            -abs(lesson.score_ppm),
            -lesson.learned_time_ns,
            lesson.decision_id,
        )
    )
    return tuple(known[:LESSONS_RECALLED_MAX])
