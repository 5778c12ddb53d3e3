"""Makes a recorded decision again from its case and the stored answers of models, and compares it, bit for bit."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.agents.core.case import Case, CaseError, decode_case
from polaris_synapse.agents.core.decide import decide
from polaris_synapse.agents.core.opinions import Answered
from polaris_synapse.agents.core.point_in_time import LookAheadError
from polaris_synapse.agents.models.calls import CallStore, TamperedRecordError
from polaris_synapse.domain.messages import DecisionRecorded

#: What a decision says when it is made and never changes afterwards.
FIELDS: Final = (
    "agent",
    "account",
    "symbol",
    "view",
    "confidence_ppm",
    "thesis",
    "order",
    "votes",
    "decided_time_ns",
    "case_digest",
    "call_digests",
    "cost_micro_usd",
    "not_evidence",
)
#: What it says when it is made and what becomes of its order may change.
FIRST_FIELDS: Final = ("action", "reason", "detail")


class Replay(Struct, frozen=True, kw_only=True):
    """The outcome of a replay. ``equal`` only where every field came out the same.

    ``differences`` names the fields that did not. ``problem`` says in a sentence why it could not be replayed at all.
    """

    decision_id: str
    equal: bool
    differences: tuple[str, ...] = ()
    problem: str = ""
    case_digest: str = ""
    call_digests: tuple[str, ...] = ()
    view: str = ""
    confidence_ppm: int = 0
    thesis: str = ""


class _CannotReplayError(ValueError):
    """Something that the replay needs is missing or was changed."""


async def replay(decision: DecisionRecorded, store: CallStore) -> Replay:
    """Decide again what was decided. Raises nothing for what is missing or changed: the answer says it."""
    try:
        case = await _case(decision, store)
        again = decide(case).record
    except (_CannotReplayError, TamperedRecordError, CaseError, LookAheadError) as error:
        return Replay(
            decision_id=decision.decision_id, equal=False, problem=f"{error}.", case_digest=decision.case_digest
        )
    compared = FIELDS if decision.revision else (*FIELDS, *FIRST_FIELDS)
    differences = [name for name in compared if getattr(again, name) != getattr(decision, name)]
    if decision.facts[: len(again.facts)] != again.facts:
        differences.append("facts")
    return Replay(
        decision_id=decision.decision_id,
        equal=not differences,
        differences=tuple(differences),
        case_digest=again.case_digest,
        call_digests=again.call_digests,
        view=again.view,
        confidence_ppm=again.confidence_ppm,
        thesis=again.thesis,
    )


async def _case(decision: DecisionRecorded, store: CallStore) -> Case:
    if not decision.case_digest:
        raise _CannotReplayError("the decision names no case: it was made by an older version")
    text = await store.case(decision.case_digest)
    if text is None:
        raise _CannotReplayError(
            f"the case {decision.case_digest} is not in the store: it is older than models.store keeps, or the desk "
            "was killed before it was written"
        )
    case = decode_case(text)
    answers = tuple([await _answered(answer, store) for answer in case.answers])
    return msgspec.structs.replace(case, answers=answers)


async def _answered(answer: Answered, store: CallStore) -> Answered:
    """An answer with its output, taken from the call."""
    if not answer.call_digest:
        return answer
    call = await store.call(answer.call_digest)
    if call is None:
        raise _CannotReplayError(f"the call {answer.call_digest} is not in the store")
    return msgspec.structs.replace(answer, output=call.output)
