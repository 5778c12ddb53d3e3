"""What a language model is asked before an order: its role, the facts, the lessons, and nothing else.

No text from outside the desk is in a question, and no amount of any account. The time that is named is the decision's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from polaris_synapse.agents.core.fusion import FACT, SUBJECTIVITY
from polaris_synapse.agents.core.opinions import ARGUMENT_CHARACTERS_MAX, OPINION_SCHEMA
from polaris_synapse.agents.models.port import ModelRequest
from polaris_synapse.domain.messages import Fact, OpinionWanted

#: Room for the longest argument that is accepted, with its citations and the JSON around it.
OUTPUT_TOKENS_MAX: Final = 800
_NS: Final = 1_000_000_000

_RULES: Final = f"""\
Rules that are checked by a program, and an answer that breaks one is thrown away:
- Write a number only as it stands in the facts, digit for digit with its unit, followed by its id in square brackets: \
0.1234 % [D0-7q.3]. Write no other digit and no amount in words.
- Cite at least one fact. At most {ARGUMENT_CHARACTERS_MAX} characters, plain English, one paragraph.
- view is BUY, SELL or HOLD; conviction is low, medium or high. HOLD where the facts do not carry a direction.
- You know nothing but the facts and lessons below. Do not use what you may remember of this market.
"""
_SYSTEM: Final = {
    FACT: "You are the fact agent of a trading desk. You judge what measured facts about one market say about its "
    "price over the next minutes, and you argue against yourself before you answer.\n\n" + _RULES,
    SUBJECTIVITY: "You are the subjectivity agent of a trading desk. You judge what scores of news, social media, "
    "narratives, funding and chain data say about one market over the next hours, and how far a crowd may be wrong. "
    "Scores are of -1 to 1, positive for a rising price.\n\n" + _RULES,
}
_SUBJECTIVE: Final = ("agent/news", "agent/social", "agent/narrative", "agent/funding", "agent/onchain")
_ALWAYS: Final = ("mid", "volatility", "confidence", "score")


def question(wanted: OpinionWanted, role: str, *, seconds: float) -> ModelRequest:
    """The question for one role."""
    facts = wanted.facts
    if role == SUBJECTIVITY:
        facts = tuple(fact for fact in facts if fact.source in _SUBJECTIVE or fact.name in _ALWAYS)
    when = datetime.fromtimestamp(wanted.time_ns // _NS, UTC).strftime("%Y-%m-%d %H:%M:%S")
    parts = [f"The market is {wanted.symbol}, the time {when} UTC.", "Facts:", *map(_line, facts)]
    if wanted.lessons:
        parts += ["Lessons of earlier decisions:", *(f"- {lesson.text}" for lesson in wanted.lessons)]
    parts.append("What is your view?")
    return ModelRequest(
        purpose=role,
        system=_SYSTEM[role],
        prompt="\n".join(parts),
        schema=OPINION_SCHEMA,
        output_tokens_max=OUTPUT_TOKENS_MAX,
        timeout_seconds=seconds,
        decision_id=wanted.decision_id,
    )


def _line(fact: Fact) -> str:
    return f"- {fact.name}: {fact.value} {fact.unit}".rstrip() + f" [{fact.fact_id}]"
