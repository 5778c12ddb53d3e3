"""The facts of a vote: outside evidence, each voice's lean and weight, and what they add up to."""

from __future__ import annotations

from polaris_synapse.agents.core.evidence import Mood
from polaris_synapse.agents.core.facts import FactSheet
from polaris_synapse.agents.core.fixed import PPM
from polaris_synapse.agents.core.fusion import FACT
from polaris_synapse.agents.core.view import View
from polaris_synapse.domain.messages import Vote


def add_mood_facts(sheet: FactSheet, mood: Mood, clock_ns: int) -> None:
    """What outside items said, by kind; nothing where there were none."""
    for kind in mood.kinds:
        source = f"agent/{kind.kind.value}"
        sheet.ratio(f"{kind.kind.value} score", kind.score_ppm, source, kind.newest_ns)
        sheet.ppm(f"{kind.kind.value} confidence", kind.confidence_ppm, source, clock_ns)
        sheet.count(f"{kind.kind.value} items", kind.items, "items", source, clock_ns)


def is_plain(votes: tuple[Vote, ...]) -> bool:
    """Whether only the market speaks, at full weight: then there is no vote to tell of."""
    return all(vote.voter == FACT and vote.weight_ppm == PPM for vote in votes)


def add_vote_facts(sheet: FactSheet, votes: tuple[Vote, ...], fused: View, market: View, clock_ns: int) -> None:
    """Each voice where others than the market spoke, and the confidence of the whole vote."""
    if not is_plain(votes):
        sheet.ppm("confidence of the market view", market.confidence_ppm, "agent/vote", clock_ns)
        for vote in votes:
            sheet.ratio(f"{vote.voter} lean", vote.lean_ppm, "agent/vote", clock_ns)
            sheet.ratio(f"{vote.voter} vote weight", vote.weight_ppm, "agent/reflection", clock_ns)
    sheet.ppm("confidence", fused.confidence_ppm, "agent/vote", clock_ns)
