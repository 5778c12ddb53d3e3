"""Where partitions end, asked together by all who want to know."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import anyio
import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException

from polaris_synapse.bus.kafka.ends import PartitionEnds

pytestmark = pytest.mark.anyio
WAIT_SECONDS = 10.0


class SlowConsumer:
    """Each question waits until it may be answered; the log grows by one record a question."""

    def __init__(self, _: Any) -> None:
        self.asked = 0
        self.may_answer = threading.Semaphore(0)
        self.is_away = False
        self.is_closed = False

    def offsets_for_times(self, places: Sequence[Any], timeout: float) -> Sequence[Any]:
        """The ends as they are when the question is put."""
        self.asked += 1
        offset = self.asked
        assert self.may_answer.acquire(timeout=timeout)
        if self.is_away:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for place in places:
            place.offset = offset
        return places

    def close(self) -> None:
        """Nothing is asked any more."""
        self.is_closed = True


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> SlowConsumer:
    """The only consumer that is made."""
    found = SlowConsumer({})
    monkeypatch.setattr(confluent_kafka, "Consumer", lambda _: found)
    return found


async def test_who_asks_meanwhile_shares_the_next_answer(consumer: SlowConsumer) -> None:
    """Nobody gets an answer to a question that was put before their own."""
    ends = PartitionEnds({}, [("a", 0)], WAIT_SECONDS)
    answers: dict[str, int] = {}

    async def ask(name: str) -> None:
        answers[name] = (await ends.now())["a", 0]

    with anyio.fail_after(WAIT_SECONDS):
        async with anyio.create_task_group() as group:
            group.start_soon(ask, "first")
            while not consumer.asked:  # noqa: ASYNC110  # put by a thread
                await anyio.sleep(0.001)
            for name in ("second", "third"):
                group.start_soon(ask, name)
            await anyio.sleep(0.02)
            assert consumer.asked == 1
            consumer.may_answer.release(2)
        consumer.may_answer.release()
        await ask("fourth")
        await ends.close()
    assert answers == {"first": 1, "second": 2, "third": 2, "fourth": 3}
    assert consumer.is_closed


async def test_brokers_that_are_away_are_asked_anew(consumer: SlowConsumer) -> None:
    """A question without an answer says so to who asked, and to nobody after."""
    ends = PartitionEnds({}, [("a", 0)], WAIT_SECONDS)
    consumer.may_answer.release(2)
    consumer.is_away = True
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        await ends.now()
    consumer.is_away = False
    assert await ends.now() == {("a", 0): 2}


async def test_who_asked_and_went_away_disturbs_nobody(consumer: SlowConsumer) -> None:
    """A read that gave up leaves the question to those who still wait for it."""
    ends = PartitionEnds({}, [("a", 0)], WAIT_SECONDS)
    with anyio.move_on_after(0.02):
        await ends.now()
    consumer.may_answer.release(2)
    with anyio.fail_after(WAIT_SECONDS):
        assert await ends.now() == {("a", 0): 2}
