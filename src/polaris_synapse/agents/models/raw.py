"""The narrow port under the language model: one request, one HTTP call, no retry, no budget, no validation."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from polaris_synapse.agents.models.port import ModelRequest
from polaris_synapse.agents.models.settings import ProviderSettings


class Failure(StrEnum):
    """Why a call brought no answer."""

    TIMED_OUT = "timed out"
    BUSY = "rate limited or overloaded"
    SERVER = "a server error or a lost connection"
    REFUSED = "refused the request"
    GARBLED = "answered with something that is no answer"


class CallError(Exception):
    """A call brought no answer. ``retry_after_seconds``: what the server asked to wait, if it said."""

    def __init__(self, failure: Failure, *, detail: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{failure.value}{f' ({detail})' if detail else ''}")
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds


class RawAnswer(Struct, frozen=True, kw_only=True):
    """An answer as it came."""

    text: str
    model: str
    input_tokens: int
    output_tokens: int


class RawModel(Protocol):
    """One model at one provider."""

    settings: ProviderSettings

    async def call(
        self, request: ModelRequest, again: str, on_text: Callable[[str], None] | None = None, /
    ) -> RawAnswer:
        """Send a request once. ``again`` says what was wrong with the answer before, or is empty.

        ``on_text`` is handed the pieces of the answer as they come. Raises CallError and nothing else.
        """
        ...

    async def close(self) -> None:
        """End its connections."""
        ...
