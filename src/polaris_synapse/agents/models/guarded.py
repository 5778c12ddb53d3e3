"""The desk's language model: providers in order, each call within the budget, validated by us, and stored.

One question goes to the first provider. After 429, 5xx and lost connections the call is repeated a few times, as long
as the question's time lasts; an answer that does not fit its schema is asked for once more with what was wrong; and
then the next provider is asked. Every HTTP call has a reservation of its own, so nothing is ever sent that the budget
does not cover.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
import msgspec
import structlog

from polaris_synapse.agents.models.budget import Amount, Budget, Reservation, cost_micro_usd, worst_case
from polaris_synapse.agents.models.calls import Call, CallStore
from polaris_synapse.agents.models.database import DATABASE_ERRORS
from polaris_synapse.agents.models.metrics import ModelMetrics
from polaris_synapse.agents.models.port import (
    InvalidOutput,
    ModelAnswer,
    ModelError,
    ModelRequest,
    ModelUnavailable,
    OverBudget,
)
from polaris_synapse.agents.models.raw import CallError, Failure, RawAnswer, RawModel
from polaris_synapse.agents.models.schema import check_schema, read_object
from polaris_synapse.agents.models.settings import ModelsSettings, ProviderSettings
from polaris_synapse.bus.clock import Clock

_log = structlog.get_logger(__name__)
_NS: Final = 1_000_000_000
#: Before the first repetition, doubled each time, where the server does not say how long to wait.
_FIRST_WAIT_SECONDS: Final = 0.25
_REPEATED: Final = frozenset({Failure.BUSY, Failure.SERVER})
#: Failures after which the vendor may have worked, and billed: the whole reservation stays spent.
_MAY_HAVE_COST: Final = frozenset({Failure.TIMED_OUT, Failure.GARBLED})


class GuardedModel:
    """``port.LanguageModel`` over several providers. ``ask_streaming`` hands the text on as it comes."""

    def __init__(
        self,
        models: Sequence[RawModel],
        budget: Budget,
        store: CallStore,
        clock: Clock,
        settings: ModelsSettings,
        metrics: ModelMetrics,
    ) -> None:
        self._models = models
        self._budget = budget
        self._store = store
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._slots = anyio.CapacityLimiter(settings.calls_at_once_max)

    async def ask(self, request: ModelRequest, /) -> ModelAnswer:
        """See port.LanguageModel."""
        return await self._ask(request, None)

    async def ask_streaming(self, request: ModelRequest, on_text: Callable[[str], None]) -> ModelAnswer:
        """Like ``ask``; the pieces of the answer are handed to ``on_text`` before it is validated.

        What was handed on of an answer that then turned out invalid has to be taken back: InvalidOutput says so.
        """
        return await self._ask(request, on_text)

    def cutoff_ns(self, model: str) -> int:
        """When the training of a model ended, as its settings say; 0 where they do not."""
        for raw in self._models:
            if model in (raw.settings.model, _name(raw.settings)):
                return raw.settings.training_cutoff_ns
        return 0

    async def _ask(self, request: ModelRequest, on_text: Callable[[str], None] | None) -> ModelAnswer:
        check_schema(request.schema)
        last: ModelError = ModelUnavailable("No language model is configured; set models.providers.")
        deadline_ns = self._clock.now_ns() + int(request.timeout_seconds * _NS)
        async with self._slots:
            for raw in self._models:
                try:
                    answer = await self._ask_one(raw, request, deadline_ns, on_text)
                except OverBudget as error:
                    # The next provider may be cheaper: a server of one's own costs nothing.
                    last = error
                except ModelError as error:
                    last = error
                except DATABASE_ERRORS:
                    # What cannot be accounted for is not spent.
                    last = ModelUnavailable("The record of calls and spending cannot be used, so no model is asked.")
                else:
                    self._metrics.answered(request.purpose, answer)
                    return answer
                self._metrics.failed(request.purpose, raw.settings.name, type(last).__name__)
                _log.info("a language model gave no answer", provider=raw.settings.name, why=str(last))
        raise last

    async def _ask_one(
        self, raw: RawModel, request: ModelRequest, deadline_ns: int, on_text: Callable[[str], None] | None
    ) -> ModelAnswer:
        problem = ""
        for _ in range(2):
            again = f"Your last answer was refused: {problem}. Answer again, as asked." if problem else ""
            answer, spent = await self._call(raw, request, again, deadline_ns, on_text)
            output, problem = read_object(answer.text, request.schema)
            digest = await self._record(raw.settings, request, again, answer, output, problem, spent)
            if not problem:
                return ModelAnswer(
                    output=output,
                    model=_name(raw.settings),
                    input_tokens=answer.input_tokens,
                    output_tokens=answer.output_tokens,
                    cost_micro_usd=spent,
                    digest=digest,
                )
        raise InvalidOutput(f"The language model {raw.settings.name} answered twice in a form that is not usable.")

    async def _call(
        self,
        raw: RawModel,
        request: ModelRequest,
        again: str,
        deadline_ns: int,
        on_text: Callable[[str], None] | None,
    ) -> tuple[RawAnswer, int]:
        """One answer and what it cost, repeating the call where that can help. Raises ModelError."""
        failure = CallError(Failure.TIMED_OUT)
        for attempt in range(self._settings.attempts_max):
            left_seconds = (deadline_ns - self._clock.now_ns()) / _NS
            if left_seconds <= 0:
                break
            timed = msgspec.structs.replace(request, timeout_seconds=left_seconds)
            try:
                return await self._paid_call(raw, timed, again, on_text)
            except CallError as error:
                failure = error
            if failure.failure not in _REPEATED or attempt + 1 == self._settings.attempts_max:
                break
            wait = failure.retry_after_seconds
            wait = _FIRST_WAIT_SECONDS * 2**attempt if wait is None else max(wait, 0.0)
            left_seconds = (deadline_ns - self._clock.now_ns()) / _NS
            if wait > min(self._settings.retry_seconds_max, left_seconds):
                break
            await self._clock.sleep(wait)
        raise ModelUnavailable(f"The language model {raw.settings.name} gave no answer: {failure}.")

    async def _paid_call(
        self, raw: RawModel, request: ModelRequest, again: str, on_text: Callable[[str], None] | None
    ) -> tuple[RawAnswer, int]:
        settings = raw.settings
        schema_bytes = len(msgspec.json.encode(request.schema)) + len(again.encode())
        amount = worst_case(settings, request, schema_bytes)
        began_ns = self._clock.now_ns()
        reservation = await self._budget.reserve(request, amount, began_ns)
        try:
            answer = await raw.call(request, again, on_text)
        except CallError as error:
            tokens = amount.tokens if error.failure in _MAY_HAVE_COST else 0
            cost = amount.micro_usd if error.failure in _MAY_HAVE_COST else 0
            await self._settle(reservation, began_ns, tokens, cost)
            raise
        # A cancelled call settles nothing: the whole reservation stays spent.
        input_tokens = answer.input_tokens or amount.tokens - request.output_tokens_max
        cost = cost_micro_usd(settings, input_tokens, answer.output_tokens or request.output_tokens_max)
        await self._settle(reservation, began_ns, answer.input_tokens + answer.output_tokens, cost)
        return answer, cost

    async def _settle(self, reservation: Reservation, began_ns: int, tokens: int, cost: int) -> None:
        milliseconds = max(self._clock.now_ns() - began_ns, 0) // 1_000_000
        with anyio.CancelScope(shield=True):
            await self._budget.settle(reservation, Amount(tokens=tokens, milliseconds=milliseconds, micro_usd=cost))

    async def _record(
        self,
        settings: ProviderSettings,
        request: ModelRequest,
        again: str,
        answer: RawAnswer,
        output: str,
        problem: str,
        cost: int,
    ) -> str:
        parameters: dict[str, Any] = {
            "output_mode": settings.output_mode.value,
            "output_tokens_max": request.output_tokens_max,
            "again": again,
        }
        return await self._store.put_call(
            Call(
                provider=settings.name,
                model=answer.model,
                purpose=request.purpose,
                decision_id=request.decision_id,
                system=request.system,
                prompt=request.prompt,
                schema=request.schema,
                parameters=parameters,
                response=answer.text,
                output=output,
                problem=problem,
                input_tokens=answer.input_tokens,
                output_tokens=answer.output_tokens,
                cost_micro_usd=cost,
                called_time_ns=self._clock.now_ns(),
            )
        )


def _name(settings: ProviderSettings) -> str:
    """A model as decisions name it."""
    return f"{settings.name}/{settings.model}"
