"""The agents' work beside placing orders: questions to language models, and the archive of cases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import structlog

from polaris_synapse.agents.advice import Advice
from polaris_synapse.agents.models.database import DATABASE_ERRORS
from polaris_synapse.agents.models.factory import ModelRoom
from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus, SlowConsumerError
from polaris_synapse.domain.messages import DecisionCase, OpinionWanted
from polaris_synapse.domain.topics import DECISION_CASES, QUESTIONS

_log = structlog.get_logger(__name__)
#: Questions that are asked at the same time; the rest waits its turn, and the core gives up at the deadline.
QUESTIONS_AT_ONCE_MAX: Final = 8


class ModelWork:
    """Answers questions and keeps cases. ``run`` ends when cancelled."""

    def __init__(self, bus: Bus, models: ModelRoom, clock: Clock, *, backlog_messages_max: int) -> None:
        self._bus = bus
        self._models = models
        self._advice = Advice(bus, models.model, clock)
        self._backlog = backlog_messages_max
        self._slots = anyio.CapacityLimiter(QUESTIONS_AT_ONCE_MAX)

    async def run(self, listening: Callable[[str, bool], None]) -> None:
        """Work until cancelled. ``listening`` is told which topics are listened to."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._answer_questions, listening)
                tasks.start_soon(self._keep_cases, listening)
        finally:
            with anyio.CancelScope(shield=True):
                await self._models.close()

    async def _answer_questions(self, listening: Callable[[str, bool], None]) -> None:
        async with (
            self._bus.subscribe(
                (QUESTIONS,), name="agents-questions", backlog_messages_max=self._backlog, droppable=False
            ) as subscription,
            anyio.create_task_group() as tasks,
        ):
            listening(QUESTIONS, True)
            try:
                async for batch in subscription:
                    for envelope in batch:
                        if isinstance(envelope.message, OpinionWanted):
                            tasks.start_soon(self._answer, envelope.message)
            finally:
                listening(QUESTIONS, False)

    async def _answer(self, wanted: OpinionWanted) -> None:
        async with self._slots:
            await self._advice.give(wanted)

    async def _keep_cases(self, listening: Callable[[str, bool], None]) -> None:
        """A case that is missed can never be replayed, which a replay then says; nothing else depends on it."""
        while True:
            try:
                await self._keep_until_dropped(listening)
            except SlowConsumerError:
                _log.warning("the archive of cases fell behind and missed some; their decisions cannot be replayed")
            else:
                return

    async def _keep_until_dropped(self, listening: Callable[[str, bool], None]) -> None:
        async with self._bus.subscribe(
            (DECISION_CASES,), name="agents-cases", backlog_messages_max=self._backlog, droppable=True
        ) as subscription:
            listening(DECISION_CASES, True)
            try:
                async for batch in subscription:
                    for envelope in batch:
                        if isinstance(envelope.message, DecisionCase):
                            await self._keep(envelope.message)
            finally:
                listening(DECISION_CASES, False)

    async def _keep(self, case: DecisionCase) -> None:
        try:
            await self._models.store.put_case(case.decision_id, case.case, case.time_ns)
        except DATABASE_ERRORS as error:
            # A full disk must not end the desk's agents: the order path does not depend on this record.
            _log.warning("a case was not stored", decision=case.decision_id, error=type(error).__name__)
