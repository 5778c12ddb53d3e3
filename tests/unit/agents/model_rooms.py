"""Language models over local servers, for tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from polaris_synapse.agents.models.database import FILE_NAME, file_database
from polaris_synapse.agents.models.factory import ModelRoom
from polaris_synapse.agents.models.port import ModelRequest
from polaris_synapse.agents.models.settings import (
    BudgetSettings,
    ModelsSettings,
    OutputMode,
    ProviderSettings,
    StoreSettings,
    Vendor,
)
from polaris_synapse.bus.clock import SystemClock

KEY: Final = "sk-test-0123456789"
SCHEMA: Final = {
    "type": "object",
    "properties": {"mood": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["mood"],
    "additionalProperties": False,
}
GOOD: Final = json.dumps({"mood": "good"})


def provider(url: str, vendor: Vendor = Vendor.COMPATIBLE, **given: object) -> ProviderSettings:
    """A provider at a local server. Anthropic's address has no version in it."""
    settings: dict[str, object] = {
        "name": vendor.value,
        "vendor": vendor,
        "model": "model-of-tests",
        "base_url": url if vendor is Vendor.ANTHROPIC else f"{url}/v1",
        "api_key": SecretStr(KEY),
        "output_mode": OutputMode.TOOL if vendor is Vendor.ANTHROPIC else OutputMode.SCHEMA,
        "input_micro_usd_per_million": 1_000_000,
        "output_micro_usd_per_million": 10_000_000,
    } | given
    return ProviderSettings(**settings)  # type: ignore[arg-type]  # each test names what it changes


@asynccontextmanager
async def room(
    directory: Path,
    *providers: ProviderSettings,
    budget: BudgetSettings | None = None,
    store: StoreSettings | None = None,
    **given: object,
) -> AsyncIterator[ModelRoom]:
    """A room with a file in ``directory``, closed after the block."""
    settings = ModelsSettings(
        providers=providers,
        budget=budget or BudgetSettings(),
        store=store or StoreSettings(),
        **given,  # type: ignore[arg-type]  # as above
    )
    found = ModelRoom(settings, file_database(directory / FILE_NAME), SystemClock(), CollectorRegistry())
    try:
        yield found
    finally:
        await found.close()


def question(**given: object) -> ModelRequest:
    """A question about a mood."""
    fields: dict[str, object] = {
        "purpose": "chat",
        "system": "You judge moods.",
        "prompt": "How is the mood?",
        "schema": SCHEMA,
        "output_tokens_max": 50,
        "timeout_seconds": 10.0,
    } | given
    return ModelRequest(**fields)  # type: ignore[arg-type]  # as above
