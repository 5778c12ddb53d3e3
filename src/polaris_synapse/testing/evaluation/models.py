"""The configured language models as advisers of an evaluation: the desk's own questions, budget and store of calls.

Time on a recorded market stands still while a model thinks, so an answer counts as given when it was asked for; the
order still fills at the next step. Calls are stored in the given directory and can be replayed like a desk's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyio.from_thread import start_blocking_portal
from prometheus_client import CollectorRegistry

from polaris_synapse.agents.models.database import FILE_NAME, file_database
from polaris_synapse.agents.models.port import InvalidOutput, ModelError, OverBudget
from polaris_synapse.agents.questions import question
from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.desk.models import model_room
from polaris_synapse.domain.messages import OpinionGiven, OpinionWanted
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.testing.evaluation.agent import Advise, EvaluationError

if TYPE_CHECKING:
    from polaris_synapse.desk.settings import DeskSettings

QUESTION_SECONDS_MAX: Final = 20.0


@contextmanager
def advising(settings: DeskSettings, directory: Path) -> Iterator[Advise]:
    """Asks the models of ``settings``. Raises EvaluationError where there is none, ConfigurationError as a desk."""
    room = model_room(settings, file_database(directory / FILE_NAME), SystemClock(), CollectorRegistry())
    model = room.model
    if model is None:
        raise EvaluationError(
            "The settings name no language model; set models.providers, or evaluate without --models."
        )
    with start_blocking_portal() as portal:

        def answer(wanted: OpinionWanted, role: str) -> OpinionGiven:
            def none(reason: Reason, error: ModelError) -> OpinionGiven:
                return OpinionGiven(
                    time_ns=wanted.time_ns,
                    agent=wanted.agent,
                    decision_id=wanted.decision_id,
                    role=role,
                    reason=reason,
                    detail=str(error),
                )

            try:
                given = portal.call(model.ask, question(wanted, role, seconds=QUESTION_SECONDS_MAX))
            except OverBudget as error:
                return none(Reason.AGENT_MODEL_BUDGET, error)
            except InvalidOutput as error:
                return none(Reason.AGENT_MODEL_INVALID, error)
            except ModelError as error:
                return none(Reason.AGENT_MODEL_UNAVAILABLE, error)
            return OpinionGiven(
                time_ns=wanted.time_ns,
                agent=wanted.agent,
                decision_id=wanted.decision_id,
                role=role,
                output=given.output,
                model=given.model,
                call_digest=given.digest,
                cost_micro_usd=given.cost_micro_usd,
                training_cutoff_ns=model.cutoff_ns(given.model),
            )

        try:
            yield lambda wanted: [answer(wanted, role) for role in wanted.roles]
        finally:
            portal.call(room.close)
