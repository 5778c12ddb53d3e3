"""Settings of language models: who may be asked, what a call may cost, and how long calls are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct, field
from pydantic import SecretStr

#: Purposes of which the budget's settings may speak. Any other purpose shares the desk's own limits only.
PURPOSES: Final = ("fact", "subjectivity", "quarantine", "chat")


class Vendor(StrEnum):
    """Which wire format a provider speaks. COMPATIBLE: OpenAI's, spoken by another server (Ollama, llama.cpp, vLLM)."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    COMPATIBLE = "compatible"


class OutputMode(StrEnum):
    """How a provider is made to answer with one JSON object.

    SCHEMA: the vendor's own structured output. TOOL: a call of one tool that does not exist. PROMPT: asked for in
    words, for servers that can neither.
    """

    SCHEMA = "schema"
    TOOL = "tool"
    PROMPT = "prompt"


class ProviderSettings(Struct, frozen=True, kw_only=True):
    """One model at one vendor. Prices in millionths of a US dollar for a million tokens; 0 for a server of one's own.

    ``training_cutoff_ns``: when the model's training data ended, 0 where nobody knows. ``api_key`` None: none is sent.
    """

    name: str
    vendor: Vendor
    model: str
    base_url: str
    api_key: SecretStr | None = None
    output_mode: OutputMode = OutputMode.SCHEMA
    input_micro_usd_per_million: int = 0
    output_micro_usd_per_million: int = 0
    training_cutoff_ns: int = 0


class Allowance(Struct, frozen=True, kw_only=True):
    """What may be spent; as it stands, in a day. ``tokens_max`` counts both ways. 0 allows nothing at all."""

    tokens_max: int = 2_000_000
    seconds_max: int = 14_400
    micro_usd_max: int = 5_000_000


class BudgetSettings(Struct, frozen=True, kw_only=True):
    """Limits that all hold at once: of one decision, of one UTC day, and of one purpose a day where it is named."""

    decision: Allowance = Allowance(tokens_max=40_000, seconds_max=120, micro_usd_max=200_000)
    day: Allowance = Allowance()
    purposes: dict[str, Allowance] = {}


class StoreSettings(Struct, frozen=True, kw_only=True):
    """How long calls and cases are kept: whatever is over either limit goes, oldest first."""

    days_max: int = 90
    bytes_max: int = 2_000_000_000


class ModelsSettings(Struct, frozen=True, kw_only=True):
    """Everything about language models. Without ``providers`` there is none, and the desk works without.

    Providers are asked in order until one answers. ``attempts_max``: HTTP calls to one provider for one question,
    repeated after 429, 5xx and lost connections only. ``retry_seconds_max`` bounds each wait between them.
    ``calls_at_once_max`` bounds what runs in parallel.
    """

    providers: tuple[ProviderSettings, ...] = ()
    attempts_max: int = 3
    retry_seconds_max: float = 5.0
    calls_at_once_max: int = 8
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
