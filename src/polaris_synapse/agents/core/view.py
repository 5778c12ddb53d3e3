"""A weighted vote of signals becomes a view with a confidence."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct

from polaris_synapse.agents.core.fixed import PPM, divide_rounding
from polaris_synapse.agents.core.signals import WEIGHTS, Reading, Signal, signals_of

#: A vote closer to even than this is no view.
SCORE_PPM_MIN: Final = 120_000


class Direction(StrEnum):
    """What the evidence speaks for."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"

    @property
    def sign(self) -> int:
        """1, -1 or 0."""
        return {Direction.BUY: 1, Direction.SELL: -1, Direction.HOLD: 0}[self]


class View(Struct, frozen=True, kw_only=True):
    """The outcome of a vote.

    ``score_ppm`` is the weighted sum of the signals. ``agreement_ppm`` is the share of the weighted evidence on the
    winning side, 500,000 when it is even. ``confidence_ppm`` is agreement times sufficiency of the data, lower in
    proportion where the score is too small for a view: a measure of how one-sided the evidence is, not a probability
    of being right.
    """

    direction: Direction
    score_ppm: int
    agreement_ppm: int
    confidence_ppm: int
    signals: dict[Signal, int]
    weights: dict[Signal, int]


def form_view(reading: Reading) -> View:
    """Vote."""
    signals, weights = signals_of(reading), WEIGHTS[reading.regime]
    weighted = [weights[signal] * value for signal, value in signals.items()]
    total, evidence = sum(weighted), sum(abs(value) for value in weighted)
    score = divide_rounding(total, PPM)
    agreement = divide_rounding((evidence + abs(total)) * PPM, 2 * evidence) if evidence else 0
    strength = min(divide_rounding(abs(score) * PPM, SCORE_PPM_MIN), PPM)
    confidence = divide_rounding(agreement * reading.sufficiency_ppm * strength, PPM * PPM)
    if abs(score) < SCORE_PPM_MIN:
        direction = Direction.HOLD
    else:
        direction = Direction.BUY if score > 0 else Direction.SELL
    return View(
        direction=direction,
        score_ppm=score,
        agreement_ppm=agreement,
        confidence_ppm=confidence,
        signals=signals,
        weights=weights,
    )
