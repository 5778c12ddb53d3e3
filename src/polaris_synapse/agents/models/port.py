"""The port through which every part of the agents' room asks a language model, and what may go wrong.

    ModelError
    ├── ModelUnavailable   no answer: no model configured, time-out, rate limit, server error after its retries
    ├── OverBudget         the reservation before the call was refused; nothing was sent
    └── InvalidOutput      an answer came and does not fit the schema that was asked for

Whoever asks treats each of them as "no opinion": without a valid answer there is no trade.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct


class ModelError(Exception):
    """No usable answer. ``str()`` is one clear sentence without any secret and without the prompt."""


class ModelUnavailable(ModelError):  # noqa: N818  # named for what happened, like the reason codes
    """No model answered."""


class OverBudget(ModelError):  # noqa: N818  # named for what happened, like the reason codes
    """The budget does not allow the call."""


class InvalidOutput(ModelError):  # noqa: N818  # named for what happened, like the reason codes
    """The answer does not fit the schema."""


class ModelRequest(Struct, frozen=True, kw_only=True):
    """One question. It is stored by the hash of its content, so it holds everything the answer depends on.

    ``purpose`` names the asker and picks the budget, e.g. ``fact``, ``subjectivity``, ``quarantine``, ``chat``.
    ``schema`` is the JSON schema of the one object that is wanted; the answer is validated against it.
    ``decision_id`` joins the calls of one decision and may be empty.
    """

    purpose: str
    system: str
    prompt: str
    schema: dict[str, Any]
    output_tokens_max: int
    timeout_seconds: float = 20.0
    decision_id: str = ""


class ModelAnswer(Struct, frozen=True, kw_only=True):
    """A validated answer. ``output`` is the JSON object's text; cost in millionths of a US dollar."""

    output: str
    model: str
    input_tokens: int
    output_tokens: int
    cost_micro_usd: int
    digest: str


class LanguageModel(Protocol):
    """Something that answers a ModelRequest: a vendor, several with fallback, a recording, or a stub in a test."""

    async def ask(self, request: ModelRequest, /) -> ModelAnswer:
        """The answer to ``request``. Raises ModelError; never anything else but cancellation."""
        ...
