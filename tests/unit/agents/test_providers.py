"""Providers of language models over the wire: both formats, every way to answer, and everything that goes wrong."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import anyio
import pytest
from tests.unit.agents.model_rooms import GOOD, KEY, SCHEMA, provider, question, room

from polaris_synapse.agents.models.database import FILE_NAME
from polaris_synapse.agents.models.port import InvalidOutput, ModelUnavailable
from polaris_synapse.agents.models.settings import OutputMode, Vendor
from polaris_synapse.bus.clock import SystemClock
from polaris_synapse.testing.model_servers import Reply, running_model_server

WAYS = [
    (Vendor.OPENAI, OutputMode.SCHEMA),
    (Vendor.OPENAI, OutputMode.TOOL),
    (Vendor.COMPATIBLE, OutputMode.SCHEMA),
    (Vendor.COMPATIBLE, OutputMode.TOOL),
    (Vendor.COMPATIBLE, OutputMode.PROMPT),
    (Vendor.ANTHROPIC, OutputMode.TOOL),
    (Vendor.ANTHROPIC, OutputMode.PROMPT),
]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("vendor, mode", WAYS)
async def test_an_answer_is_read_from_every_format(
    tmp_path: Path, vendor: Vendor, mode: OutputMode, streaming: bool
) -> None:
    """Structured output, a tool call or plain text, whole or in pieces: the same answer, tokens and price."""
    pieces: list[str] = []
    async with running_model_server() as server:
        server.script.append(Reply(text=GOOD, input_tokens=1_000, output_tokens=20))
        async with room(tmp_path, provider(server.url, vendor, output_mode=mode)) as models:
            assert models.model is not None
            if streaming:
                answer = await models.model.ask_streaming(question(), pieces.append)
            else:
                answer = await models.model.ask(question())
            assert answer.output == '{"mood":"good"}'
            assert (answer.input_tokens, answer.output_tokens) == (1_000, 20)
            assert answer.cost_micro_usd == 1_000 + 200
            assert "".join(pieces) == (GOOD if streaming else "")
            sent = server.asked[0]
            assert sent.prompt.startswith("How is the mood?")
            assert KEY in "".join(sent.headers.values()), sent.headers
            assert "mood" in json.dumps(sent.body), "the schema was sent"


@pytest.mark.parametrize("vendor", [Vendor.OPENAI, Vendor.ANTHROPIC])
@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_a_busy_or_broken_server_is_asked_again(tmp_path: Path, vendor: Vendor, status: int) -> None:
    """After 429 and 5xx the call is repeated, and only the answer costs anything."""
    async with running_model_server() as server:
        server.script.extend([Reply(status=status, retry_after="0"), Reply(text=GOOD)])
        async with room(tmp_path, provider(server.url, vendor)) as models:
            assert models.model is not None
            answer = await models.model.ask(question())
            assert len(server.asked) == 2
            spent = await models.budget.spent_on(models_day())
            assert spent["chat"].micro_usd == answer.cost_micro_usd
            assert spent["chat"].tokens == answer.input_tokens + answer.output_tokens


async def test_repeating_is_bounded(tmp_path: Path) -> None:
    """A server that stays broken is left after the attempts that the settings allow."""
    async with running_model_server() as server:
        server.script.extend([Reply(status=500, retry_after="0")] * 9)
        async with room(tmp_path, provider(server.url), attempts_max=3) as models:
            assert models.model is not None
            with pytest.raises(ModelUnavailable, match="server error"):
                await models.model.ask(question())
            assert len(server.asked) == 3
            assert (await models.budget.spent_on(models_day()))["chat"].micro_usd == 0


async def test_a_long_wait_is_not_waited(tmp_path: Path) -> None:
    """A server that asks for more patience than the settings have is left at once."""
    async with running_model_server() as server:
        server.script.append(Reply(status=429, retry_after="3600"))
        async with room(tmp_path, provider(server.url)) as models:
            assert models.model is not None
            with anyio.fail_after(10), pytest.raises(ModelUnavailable, match="rate limited"):
                await models.model.ask(question())
            assert len(server.asked) == 1


@pytest.mark.parametrize("vendor", [Vendor.OPENAI, Vendor.ANTHROPIC])
async def test_a_refusal_is_not_repeated(tmp_path: Path, vendor: Vendor) -> None:
    """A 401 is no accident: it is asked once, and neither key nor prompt is in the error."""
    async with running_model_server() as server:
        server.script.append(Reply(status=401, raw=f'{{"error": {{"message": "bad key {KEY}"}}}}'.encode()))
        async with room(tmp_path, provider(server.url, vendor)) as models:
            assert models.model is not None
            with pytest.raises(ModelUnavailable, match="refused the request") as caught:
                await models.model.ask(question())
            assert len(server.asked) == 1
            assert KEY not in str(caught.value)
            assert "mood" not in str(caught.value)


@pytest.mark.parametrize("vendor", [Vendor.OPENAI, Vendor.ANTHROPIC])
async def test_silence_ends_with_the_questions_time(tmp_path: Path, vendor: Vendor) -> None:
    """A server that never answers costs the whole reservation, because it may have worked."""
    async with running_model_server() as server:
        server.script.append(Reply(hangs=True))
        async with room(tmp_path, provider(server.url, vendor)) as models:
            assert models.model is not None
            with pytest.raises(ModelUnavailable, match="timed out"):
                await models.model.ask(question(timeout_seconds=0.3))
            server.release()
            spent = (await models.budget.spent_on(models_day()))["chat"]
            assert spent.tokens > 50
            assert spent.micro_usd > 500


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("vendor", [Vendor.OPENAI, Vendor.ANTHROPIC])
@pytest.mark.parametrize(
    "raw, content_type",
    [
        (b"<html>Bad gateway</html>", "text/html"),
        (b'{"choices": [', "application/json"),
        (b'{"hello": "world"}', "application/json"),
        (b"", "application/json"),
    ],
)
async def test_garbage_is_no_answer(
    tmp_path: Path, vendor: Vendor, raw: bytes, content_type: str, streaming: bool
) -> None:
    """The wrong content type, cut or foreign JSON and an empty body end as a ModelError and nothing else."""
    async with running_model_server() as server:
        server.script.extend([Reply(raw=raw, content_type=content_type)] * 4)
        async with room(tmp_path, provider(server.url, vendor)) as models:
            assert models.model is not None
            ask = models.model.ask
            if streaming:
                ask = partial(models.model.ask_streaming, on_text=lambda _: None)
            with pytest.raises((ModelUnavailable, InvalidOutput)):
                await ask(question())


async def test_a_stream_that_breaks_is_no_answer(tmp_path: Path) -> None:
    """Half an answer is none."""
    pieces: list[str] = []
    async with running_model_server() as server:
        server.script.extend([Reply(text=GOOD, breaks=True)] * 3)
        async with room(tmp_path, provider(server.url), retry_seconds_max=0.0) as models:
            assert models.model is not None
            with pytest.raises((ModelUnavailable, InvalidOutput)):
                await models.model.ask_streaming(question(), pieces.append)


@pytest.mark.parametrize(
    "bad",
    ["no json", '{"mood": "fair"}', "[]", '{"mood": "good", "mood": "bad"}', '{"mood": "good", "more": 1}', "{}"],
)
async def test_a_malformed_answer_is_asked_for_once_more(tmp_path: Path, bad: str) -> None:
    """The second question says what was wrong; both calls are paid for and kept."""
    async with running_model_server() as server:
        server.script.extend([Reply(text=bad), Reply(text=GOOD)])
        async with room(tmp_path, provider(server.url)) as models:
            assert models.model is not None
            answer = await models.model.ask(question())
            assert answer.output == '{"mood":"good"}'
            assert "Your last answer was refused" in server.asked[1].prompt
            assert bad not in server.asked[1].prompt
            spent = (await models.budget.spent_on(models_day()))["chat"]
            assert spent.micro_usd == 2 * answer.cost_micro_usd


async def test_two_malformed_answers_are_invalid(tmp_path: Path) -> None:
    """After one re-ask it is InvalidOutput, and there is no third call."""
    async with running_model_server() as server:
        server.script.extend([Reply(text="no json")] * 5)
        async with room(tmp_path, provider(server.url)) as models:
            assert models.model is not None
            with pytest.raises(InvalidOutput):
                await models.model.ask(question())
            assert len(server.asked) == 2


async def test_the_next_provider_is_asked(tmp_path: Path) -> None:
    """Providers are asked in order: the first that answers well counts."""
    async with running_model_server() as first, running_model_server() as second:
        first.script.append(Reply(status=400))
        second.script.append(Reply(text=GOOD))
        async with room(
            tmp_path, provider(first.url, name="first"), provider(second.url, Vendor.ANTHROPIC, name="second")
        ) as models:
            assert models.model is not None
            answer = await models.model.ask(question())
            assert answer.model == "second/model-of-tests"
            assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_a_fence_around_the_json_is_taken_off(tmp_path: Path) -> None:
    """Models like to wrap JSON in backticks; that alone is no reason to ask again."""
    async with running_model_server() as server:
        server.script.append(Reply(text=f"```json\n{GOOD}\n```"))
        async with room(tmp_path, provider(server.url, output_mode=OutputMode.PROMPT)) as models:
            assert models.model is not None
            assert (await models.model.ask(question())).output == '{"mood":"good"}'


async def test_no_question_carries_tools_but_the_answer(tmp_path: Path) -> None:
    """A model can look nothing up: the only tool it is ever offered is the form of its answer."""
    async with running_model_server() as server:
        server.script.append(Reply(text=GOOD))
        async with room(tmp_path, provider(server.url, output_mode=OutputMode.TOOL)) as models:
            assert models.model is not None
            await models.model.ask(question())
            tools = server.asked[0].body["tools"]
            assert [tool["function"]["name"] for tool in tools] == ["answer"]
            assert tools[0]["function"]["parameters"]["properties"] == SCHEMA["properties"]


async def test_a_desk_without_providers_has_no_model(tmp_path: Path) -> None:
    """No provider, no model, and no file until something is written."""
    async with room(tmp_path) as models:
        assert models.model is None
        assert not (tmp_path / FILE_NAME).exists()
        assert await models.budget.spent_on(0) == {}


def test_a_provider_shows_no_key() -> None:
    """The key is in no text that settings can turn into."""
    assert KEY not in repr(provider("http://127.0.0.1:1"))


def models_day() -> int:
    """Today, as the budget counts days."""
    return SystemClock().now_ns() // (86_400 * 10**9)
