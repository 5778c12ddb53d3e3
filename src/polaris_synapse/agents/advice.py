"""Asks language models what the core wants to know, every role at once, and brings the answers to the log.

Whatever goes wrong becomes an answer with a reason: the core then orders nothing, and says why.
"""

from __future__ import annotations

from typing import Final

import anyio
import structlog

from polaris_synapse.agents.models.guarded import GuardedModel
from polaris_synapse.agents.models.port import InvalidOutput, ModelError, ModelRequest, OverBudget
from polaris_synapse.agents.questions import question
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, BusError
from polaris_synapse.domain.messages import OpinionGiven, OpinionWanted
from polaris_synapse.domain.reasons import Reason

_log = structlog.get_logger(__name__)
_NS: Final = 1_000_000_000


class Advice:
    """Answers OpinionWanted. ``model`` None: there is no language model, and every answer says so."""

    def __init__(self, bus: Bus, model: GuardedModel | None, clock: Clock) -> None:
        self._bus = bus
        self._model = model
        self._clock = clock

    async def give(self, wanted: OpinionWanted) -> None:
        """Ask for every role at the same time; each answer goes to the log as soon as it is there."""
        async with anyio.create_task_group() as tasks:
            for role in wanted.roles:
                tasks.start_soon(self._give_one, wanted, role)

    async def _give_one(self, wanted: OpinionWanted, role: str) -> None:
        given = await self._answer(wanted, role)
        try:
            await self._bus.send([given])
        except BusError as error:
            # The core gives up on it at its deadline.
            _log.warning("an opinion was not recorded", decision=wanted.decision_id, reason=error.reason.name)

    async def _answer(self, wanted: OpinionWanted, role: str) -> OpinionGiven:
        seconds = (wanted.deadline_ns - self._clock.now_ns()) / _NS
        if self._model is None:
            return self._none(wanted, role, Reason.AGENT_MODEL_UNAVAILABLE, "No language model is configured.")
        if seconds <= 0:
            return self._none(wanted, role, Reason.AGENT_MODEL_UNAVAILABLE, "The question came too late to be asked.")
        request: ModelRequest = question(wanted, role, seconds=seconds)
        try:
            answer = await self._model.ask(request)
        except OverBudget as error:
            return self._none(wanted, role, Reason.AGENT_MODEL_BUDGET, str(error))
        except InvalidOutput as error:
            return self._none(wanted, role, Reason.AGENT_MODEL_INVALID, str(error))
        except ModelError as error:
            return self._none(wanted, role, Reason.AGENT_MODEL_UNAVAILABLE, str(error))
        return OpinionGiven(
            time_ns=self._clock.now_ns(),
            agent=wanted.agent,
            decision_id=wanted.decision_id,
            role=role,
            output=answer.output,
            model=answer.model,
            call_digest=answer.digest,
            cost_micro_usd=answer.cost_micro_usd,
            training_cutoff_ns=self._model.cutoff_ns(answer.model),
        )

    def _none(self, wanted: OpinionWanted, role: str, reason: Reason, detail: str) -> OpinionGiven:
        return OpinionGiven(
            time_ns=self._clock.now_ns(),
            agent=wanted.agent,
            decision_id=wanted.decision_id,
            role=role,
            reason=reason,
            detail=detail,
        )
