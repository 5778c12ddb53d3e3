"""Who waits for an answer, and how a wait ends."""

from __future__ import annotations

from functools import partial

import pytest

from polaris_synapse.bus.port import BusError
from polaris_synapse.bus.requests import WaitingRequests
from polaris_synapse.domain.messages import Answer
from polaris_synapse.domain.reasons import Reason

pytestmark = pytest.mark.anyio


class Told(list[tuple[str, Answer | BusError]]):
    """What everybody was told, in order."""

    def take(self, name: str, result: Answer | BusError) -> None:
        """``name`` is told."""
        self.append((name, result))


def answer(request_id: str, detail: str = "") -> Answer:
    """What became of a command."""
    return Answer(time_ns=1, request_id=request_id, detail=detail)


async def test_those_who_share_an_id_are_answered_in_the_order_in_which_they_asked() -> None:
    """Each answer ends one wait; an answer that nobody waits for does nothing."""
    requests = WaitingRequests(timeout_seconds=60)
    told = Told()
    for name in ("first", "second", "third"):
        requests.call_when_done("same", partial(told.take, name))
    requests.call_when_done("other", partial(told.take, "other"))
    answers = [answer("same", detail) for detail in "abc"]
    requests.answer(answers[0])
    requests.answer(answer("nobody"))
    requests.answer(answers[1])
    assert len(requests) == 2
    requests.answer(answers[2])
    requests.answer(answer("same"))
    assert told == list(zip(("first", "second", "third"), answers, strict=True))
    assert len(requests) == 1
    requests.refuse_all(Reason.SHUTTING_DOWN, "the desk is shutting down")


async def test_a_refusal_ends_every_wait_for_its_id_and_no_other() -> None:
    """Whoever asks for the same id again afterwards waits afresh."""
    requests = WaitingRequests(timeout_seconds=60)
    told = Told()
    for name, request_id in (("first", "same"), ("second", "same"), ("third", "other")):
        requests.call_when_done(request_id, partial(told.take, name))
    requests.refuse("same", Reason.OVERLOADED, "too much waits")
    assert [name for name, _ in told] == ["first", "second"]
    assert all(isinstance(result, BusError) and result.reason is Reason.OVERLOADED for _, result in told)
    requests.call_when_done("same", partial(told.take, "again"))
    requests.answer(answer("same"))
    requests.answer(answer("other"))
    assert [name for name, _ in told] == ["first", "second", "again", "third"]
    requests.refuse_all(Reason.SHUTTING_DOWN, "the desk is shutting down")
    assert len(told) == 4


async def test_who_waits_too_long_is_told_that_the_outcome_is_unknown() -> None:
    """So are those behind him."""
    requests = WaitingRequests(timeout_seconds=0.01)
    futures = [requests.wait_for("same"), requests.wait_for("same")]
    for future in futures:
        with pytest.raises(BusError) as refused:
            await future
        assert refused.value.reason is Reason.TIMED_OUT
    assert len(requests) == 0
