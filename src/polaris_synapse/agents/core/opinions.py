"""What a language model may say in a decision: a view, one of three convictions, and an argument of cited facts.

A model gives no numbers. Its conviction is a word that code turns into a confidence, and every number in its argument
must be a fact of the question, cited by id; ``grounding`` checks it like any thesis. What does not hold is no opinion.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from polaris_synapse.agents.core.fusion import FACT, SUBJECTIVITY
from polaris_synapse.agents.core.grounding import THESIS_CHARACTERS_MAX, check_thesis
from polaris_synapse.agents.core.view import Direction
from polaris_synapse.domain.messages import Fact
from polaris_synapse.domain.reasons import Reason

#: The agents that a model may speak for.
ROLES: Final = (FACT, SUBJECTIVITY)
#: Of one argument, so that two fit in a thesis beside what code writes.
ARGUMENT_CHARACTERS_MAX: Final = THESIS_CHARACTERS_MAX // 4


class Conviction(StrEnum):
    """How sure a model says it is."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


#: What a conviction counts for. A model's word is worth no more than outside evidence: half.
CONFIDENCE_PPM: Final = {Conviction.LOW: 150_000, Conviction.MEDIUM: 300_000, Conviction.HIGH: 500_000}

#: The schema a model is asked for. Kept to what every vendor's structured output takes.
OPINION_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "view": {"type": "string", "enum": [direction.value for direction in Direction]},
        "conviction": {"type": "string", "enum": [conviction.value for conviction in Conviction]},
        "argument": {"type": "string", "maxLength": ARGUMENT_CHARACTERS_MAX},
    },
    "required": ["view", "conviction", "argument"],
    "additionalProperties": False,
}


class _Said(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    view: Direction
    conviction: Conviction
    argument: str


class Answered(Struct, frozen=True, kw_only=True):
    """One role's answer as a decision takes it in. ``output`` is left out of a stored case: the call has it."""

    role: str
    reason: Reason = Reason.NONE
    detail: str = ""
    output: str = ""
    model: str = ""
    call_digest: str = ""
    cost_micro_usd: int = 0
    training_cutoff_ns: int = 0


class Opinion(Struct, frozen=True, kw_only=True):
    """A valid opinion. ``lean_ppm`` is signed, 0 for HOLD; ``cited`` are the facts that its argument stands on."""

    role: str
    lean_ppm: int
    argument: str
    cited: tuple[Fact, ...]

    @property
    def voter(self) -> str:
        """Its name among the voices: a model has a record of its own."""
        return f"{self.role} model"


class NoOpinion(Struct, frozen=True, kw_only=True):
    """Why a role has none."""

    role: str
    reason: Reason
    detail: str


def read_opinion(answered: Answered, facts: Sequence[Fact], names: Iterable[str]) -> Opinion | NoOpinion:
    """Read and check an answer against the facts of its question."""
    if answered.reason is not Reason.NONE:
        return NoOpinion(role=answered.role, reason=answered.reason, detail=answered.detail)
    try:
        said = msgspec.json.decode(answered.output.encode(), type=_Said)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return _invalid(answered, "its answer does not have the form that was asked for")
    argument = " ".join(said.argument.split())
    if not argument.isprintable():
        return _invalid(answered, "its argument has characters that cannot be shown")
    if len(argument) > ARGUMENT_CHARACTERS_MAX:
        return _invalid(answered, f"its argument is longer than {ARGUMENT_CHARACTERS_MAX} characters")
    problems = check_thesis(argument, facts, names=names)
    if problems:
        # The model's own words are not repeated in the reason: they are what was refused.
        return _invalid(answered, f"{len(problems)} of its statements are not what the facts say")
    cited = tuple(fact for fact in facts if f"[{fact.fact_id}]" in argument)
    if said.view is not Direction.HOLD and not cited:
        return _invalid(answered, "its argument cites no fact")
    return Opinion(
        role=answered.role,
        lean_ppm=said.view.sign * CONFIDENCE_PPM[said.conviction],
        argument=argument,
        cited=cited,
    )


def _invalid(answered: Answered, why: str) -> NoOpinion:
    return NoOpinion(
        role=answered.role,
        reason=Reason.AGENT_MODEL_INVALID,
        detail=f"The model's opinion for the {answered.role} agent was rejected: {why}.",
    )
