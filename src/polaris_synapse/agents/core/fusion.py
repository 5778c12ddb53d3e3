"""The risk agent's vote: the views of all agents become one, in log-odds, each weighed by how right it has been.

A voice has a *lean*: a signed confidence, see ``log_odds``. Its *weight* comes from its record on this symbol in this
regime. A record is a Beta distribution that starts as PRIOR_RIGHT right of PRIOR_TRIALS trials: a voice of which
nothing is known counts in full, one as good as a coin counts nothing, and none counts more than twice.
Weights are never negative: a voice that is mostly wrong is silenced, not believed in reverse, since it may stop being
wrong. The sum of the weighted log-odds is the posterior from even odds; with one voice of full weight it is that voice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.agents.core.fixed import PPM, divide_rounding
from polaris_synapse.agents.core.log_odds import lean_ppm, log_odds_nano
from polaris_synapse.agents.core.view import Direction, View
from polaris_synapse.domain.messages import Vote

#: The prior of every record: as if it had been right this often (in millionths of a trial) ...
PRIOR_RIGHT_PPM: Final = 12 * PPM
#: ... of this many. Twenty independent trials are what it takes to move a weight by much.
PRIOR_TRIALS_PPM: Final = 20 * PPM
WEIGHT_PPM_MAX: Final = 2 * PPM

FACT: Final = "fact"
SUBJECTIVITY: Final = "subjectivity"


class Record(Struct):
    """How often a voice was right, in millionths of independent trials."""

    right_ppm: int = 0
    wrong_ppm: int = 0


def reliability_ppm(record: Record) -> int:
    """The mean of the record's Beta distribution: 600,000 with nothing known."""
    return divide_rounding(
        (PRIOR_RIGHT_PPM + record.right_ppm) * PPM, PRIOR_TRIALS_PPM + record.right_ppm + record.wrong_ppm
    )


def weight_ppm(record: Record) -> int:
    """How much a voice counts: its reliability's log-odds against the prior's, within 0 and WEIGHT_PPM_MAX."""
    own = log_odds_nano(2 * reliability_ppm(record) - PPM)
    prior = log_odds_nano(2 * divide_rounding(PRIOR_RIGHT_PPM * PPM, PRIOR_TRIALS_PPM) - PPM)
    return max(0, min(divide_rounding(own * PPM, prior), WEIGHT_PPM_MAX))


def lean_of(view: View) -> int:
    """The market view's voice. HOLD says nothing, however one-sided the little evidence was."""
    return view.direction.sign * view.confidence_ppm


def votes_of(leans: Mapping[str, int], records: Mapping[str, Record]) -> tuple[Vote, ...]:
    """The votes, in the order of the leans."""
    found = []
    for voter, lean in leans.items():
        record = records.get(voter) or Record()
        found.append(
            Vote(
                voter=voter,
                lean_ppm=lean,
                weight_ppm=weight_ppm(record),
                right_ppm=record.right_ppm,
                wrong_ppm=record.wrong_ppm,
            )
        )
    return tuple(found)


def fuse(view: View, votes: tuple[Vote, ...]) -> View:
    """The market view with the direction and confidence of the whole vote.

    With nobody but the market speaking at full weight it stays exactly what it was, and so does a HOLD that nobody
    contradicts.
    """
    speaking = [vote for vote in votes if vote.lean_ppm]
    if not speaking or (len(speaking) == 1 and speaking[0].voter == FACT and speaking[0].weight_ppm == PPM):
        return view
    total = sum(divide_rounding(log_odds_nano(vote.lean_ppm) * vote.weight_ppm, PPM) for vote in speaking)
    lean = lean_ppm(total)
    if not lean:
        return msgspec.structs.replace(view, direction=Direction.HOLD, confidence_ppm=0)
    direction = Direction.BUY if lean > 0 else Direction.SELL
    return msgspec.structs.replace(view, direction=direction, confidence_ppm=abs(lean))
