"""Decisions are made again from their stored inputs, bit for bit; what was changed or lost is noticed and said."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.agents.markets import SECOND, START, new_core, run, set_up, summary, trending
from tests.unit.agents.model_rooms import provider, room
from tests.unit.agents.test_opinions import ASKING, NOW, decision_of, fact_text

from polaris_synapse.agents.background import ModelWork
from polaris_synapse.agents.models.database import FILE_NAME
from polaris_synapse.agents.models.factory import ModelRoom
from polaris_synapse.agents.models.settings import StoreSettings
from polaris_synapse.agents.replaying import replay
from polaris_synapse.domain.messages import (
    AnalyseNow,
    DecisionCase,
    DecisionRecorded,
    Message,
    OpinionWanted,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import DECISION_CASES, QUESTIONS, TRADING_DECISIONS
from polaris_synapse.testing.bus import running_host
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.testing.model_servers import ModelServer, Reply, running_model_server


def answer_to(wanted: OpinionWanted) -> str:
    """A model's honest answer."""
    return json.dumps({"view": "BUY", "conviction": "high", "argument": f"The score is {fact_text(wanted, 'score')}."})


async def decide_with(
    models: ModelRoom, server: ModelServer, answer: Callable[[OpinionWanted], str] = answer_to
) -> DecisionRecorded:
    """A decision of a real host for which a real server was asked over the wire, with its case kept by the service."""
    core, clock = new_core(), ManualClock(NOW)
    settings = replace(ASKING, model_roles=("fact", "subjectivity"), interval_seconds=86_400)
    run(core, [*set_up(settings=settings), *trending(30, 3_000, lean=30, ticks=False)])
    async with running_host([core], clock=clock) as host, anyio.create_task_group() as tasks:
        topics: set[str] = set()
        ready = anyio.Event()

        def listening(topic: str, is_listening: bool) -> None:
            topics.add(topic)
            if is_listening and len(topics) == 2:
                ready.set()

        watched = (TRADING_DECISIONS, QUESTIONS, DECISION_CASES)
        async with host.subscribe(watched, name="test", backlog_messages_max=10_000, droppable=False) as facts:
            tasks.start_soon(ModelWork(host, models, clock, backlog_messages_max=1_000).run, listening)
            await ready.wait()
            server.hold()
            await host.request(AnalyseNow(time_ns=NOW, agent="jarvis", symbol="BTCUSDT"))
            found: list[Message] = []
            async for batch in facts:
                for envelope in batch:
                    found.append(envelope.message)
                    if isinstance(envelope.message, OpinionWanted):
                        # What a model may cite is only known once it is asked.
                        server.script.extend([Reply(text=answer(envelope.message))] * 4)
                        clock.advance(1)
                        await host.send([summary(NOW + SECOND, 6_090_000)])
                        server.let_go()
                if any(isinstance(message, DecisionCase) for message in found):
                    break
        await keep(models, found)
        tasks.cancel_scope.cancel()
    return decision_of(found)


async def keep(models: ModelRoom, outputs: list[Message]) -> None:
    """Store the cases among a core's outputs, as the desk does."""
    for output in outputs:
        if isinstance(output, DecisionCase):
            assert await models.store.put_case(output.decision_id, output.case, output.time_ns) == output.digest


@asynccontextmanager
async def desk(directory: Path) -> AsyncIterator[tuple[ModelRoom, ModelServer]]:
    """A model room with a server."""
    async with running_model_server() as server, room(directory, provider(server.url, training_cutoff_ns=1)) as models:
        yield models, server


async def test_a_decision_with_models_comes_out_the_same(tmp_path: Path) -> None:
    """View, confidence, thesis, order, votes and facts are made again from the store alone."""
    async with desk(tmp_path) as (models, server):
        decision = await decide_with(models, server)
        assert decision.order is not None
        assert len(decision.call_digests) == 2
        asked_before = len(server.asked)
        found = await replay(decision, models.store)
    assert (found.equal, found.differences, found.problem) == (True, (), "")
    assert (found.view, found.thesis) == (decision.view, decision.thesis)
    assert len(server.asked) == asked_before, "nobody is asked again"


async def test_every_decision_of_half_an_hour_comes_out_the_same(tmp_path: Path) -> None:
    """Without models, with and without views, and at every revision."""
    core = new_core()
    outputs = run(core, [*set_up(), *trending(30, 3_000, lean=30)])
    decisions = [output for output in outputs if isinstance(output, DecisionRecorded)]
    assert any(decision.revision for decision in decisions)
    async with room(tmp_path) as models:
        await keep(models, outputs)
        for decision in decisions:
            assert (await replay(decision, models.store)).equal, decision.decision_id


async def test_a_rejected_opinion_comes_out_the_same(tmp_path: Path) -> None:
    """What was refused then is refused again, for the same reason."""
    lie = json.dumps({"view": "BUY", "conviction": "high", "argument": "It rises 12 percent."})
    async with desk(tmp_path) as (models, server):
        decision = await decide_with(models, server, lambda _: lie)
        assert (decision.order, decision.reason) == (None, Reason.AGENT_MODEL_INVALID)
        assert (await replay(decision, models.store)).equal


async def test_over_budget_is_a_decision_like_any_other(tmp_path: Path) -> None:
    """Without a call there is nothing to look up, and the decision still comes out the same."""
    async with room(tmp_path) as models, running_model_server() as server:
        decision = await decide_with(models, server)
        assert decision.reason is Reason.AGENT_MODEL_UNAVAILABLE
        assert decision.detail == "No language model is configured."
        assert (await replay(decision, models.store)).equal


@pytest.mark.parametrize("kind", ["call", "case"])
async def test_a_changed_record_is_noticed(tmp_path: Path, kind: str) -> None:
    """One changed letter in the file: the replay says that the record is not what was stored."""
    async with desk(tmp_path) as (models, server):
        decision = await decide_with(models, server)
        with sqlite3.connect(tmp_path / FILE_NAME) as file:
            for digest, body in file.execute(
                "SELECT digest, body FROM model_records WHERE kind = ?", (kind,)
            ).fetchall():
                changed = zlib.decompress(body).replace(b"BTCUSDT", b"BTCUSDX")
                file.execute("UPDATE model_records SET body = ? WHERE digest = ?", (zlib.compress(changed), digest))
        file.close()
        found = await replay(decision, models.store)
    assert not found.equal
    assert "is not what was stored" in found.problem


async def test_a_changed_decision_is_noticed(tmp_path: Path) -> None:
    """A record whose view, order or facts were changed differs in exactly that."""
    async with desk(tmp_path) as (models, server):
        decision = await decide_with(models, server)
        assert decision.order is not None
        more = replace(decision.order, quantity_lots=decision.order.quantity_lots + 1)
        for changed, name in (
            (replace(decision, view="SELL"), "view"),
            (replace(decision, order=more), "order"),
            (replace(decision, thesis=decision.thesis + " "), "thesis"),
            (replace(decision, facts=decision.facts[1:]), "facts"),
        ):
            found = await replay(changed, models.store)
            assert (found.equal, found.differences) == (False, (name,))


async def test_what_is_not_kept_cannot_be_replayed(tmp_path: Path) -> None:
    """A lost case, a lost call and an older record each say so, and raise nothing."""
    async with desk(tmp_path) as (models, server):
        decision = await decide_with(models, server)
        with sqlite3.connect(tmp_path / FILE_NAME) as file:
            file.execute("DELETE FROM model_records WHERE kind = 'call'")
        file.close()
        assert "call" in (await replay(decision, models.store)).problem
        assert "not in the store" in (await replay(replace(decision, case_digest="0" * 64), models.store)).problem
        assert "older version" in (await replay(replace(decision, case_digest=""), models.store)).problem


async def test_the_store_keeps_its_bounds(tmp_path: Path) -> None:
    """Records over the age or the size go, oldest first."""
    day_ns = 86_400 * SECOND
    async with room(tmp_path, store=StoreSettings(days_max=2, bytes_max=3_000)) as models:
        digests = [
            await models.store.put_case(f"D0-{number}", json.dumps([number, START]) * 20, START + number * day_ns // 50)
            for number in range(201)
        ]
        kept = [number for number, digest in enumerate(digests) if await models.store.case(digest) is not None]
    assert kept[-1] == 200
    assert kept == list(range(kept[0], 201))
    assert 0 < kept[0] <= 200


async def test_a_call_holds_everything_but_the_key(tmp_path: Path) -> None:
    """Model, prompt, schema, parameters, response, tokens and price are kept; no key is."""
    async with desk(tmp_path) as (models, server):
        decision = await decide_with(models, server)
        call = await models.store.call(decision.call_digests[0])
        assert call is not None
    assert (call.decision_id, call.model, call.output_tokens) == (decision.decision_id, "model-of-tests", 7)
    assert "The market is BTCUSDT" in call.prompt
    assert "sk-test" not in msgspec.json.encode(call).decode()
