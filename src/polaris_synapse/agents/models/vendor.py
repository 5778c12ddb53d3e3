"""One model at one vendor, through pydantic-ai and the vendor's own SDK. Imported only where a model is configured.

The SDKs' own retries are off: how often a call is repeated is decided, and paid for, in one place (``guarded``). What
an SDK raises may quote the prompt or a key, so nothing of it leaves this module but its kind.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import anyio
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic_ai import exceptions as wrong
from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    SystemPromptPart,
    TextPart,
    TextPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from polaris_synapse.agents.models import port
from polaris_synapse.agents.models.raw import CallError, Failure, RawAnswer
from polaris_synapse.agents.models.settings import OutputMode, ProviderSettings, Vendor

#: What servers of one's own are sent where they need no key: the SDKs insist on one.
_NO_KEY: Final = "none"
_TOOL: Final = "answer"
_IN_WORDS: Final = "Answer with one JSON object and nothing else. It must fit this JSON schema: "


class VendorModel:
    """Sends one request once. See ``raw.RawModel``."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.settings = settings
        self._client = _client_of(settings)
        self._model = _model_of(settings, self._client)

    async def call(
        self, request: port.ModelRequest, again: str, on_text: Callable[[str], None] | None = None
    ) -> RawAnswer:
        """See RawModel."""
        try:
            with anyio.fail_after(request.timeout_seconds):
                response = await self._send(request, again, on_text)
        except TimeoutError:
            raise CallError(Failure.TIMED_OUT) from None
        except wrong.ModelTimeoutError:
            raise CallError(Failure.TIMED_OUT) from None
        except (wrong.ModelRateLimitError, wrong.ModelUnavailableError) as error:
            raise CallError(Failure.BUSY, retry_after_seconds=error.retry_after) from None
        except (wrong.ModelServerError, wrong.ModelConnectionError) as error:
            raise CallError(Failure.SERVER, retry_after_seconds=error.retry_after) from None
        except wrong.ModelAPIError as error:
            raise _refused(error) from None
        except wrong.UnexpectedModelBehavior:
            raise CallError(Failure.GARBLED) from None
        except Exception as error:
            # An SDK that cannot read what it was sent raises whatever it stumbled over.
            raise CallError(Failure.GARBLED, detail=type(error).__name__) from None
        return self._read(response)

    async def close(self) -> None:
        """See RawModel."""
        await self._client.close()

    async def _send(
        self, request: port.ModelRequest, again: str, on_text: Callable[[str], None] | None
    ) -> ModelResponse:
        messages = self._messages(request, again)
        settings = ModelSettings(max_tokens=request.output_tokens_max, timeout=request.timeout_seconds)
        parameters = self._parameters(request.schema)
        if on_text is None:
            return await model_request(
                self._model, messages, model_settings=settings, model_request_parameters=parameters
            )
        async with model_request_stream(
            self._model, messages, model_settings=settings, model_request_parameters=parameters
        ) as stream:
            async for event in stream:
                text = _text_of(event)
                if text:
                    on_text(text)
            return stream.get()

    def _messages(self, request: port.ModelRequest, again: str) -> Sequence[ModelMessage]:
        system = request.system
        if self.settings.output_mode is OutputMode.PROMPT:
            system = f"{system}\n\n{_IN_WORDS}{json.dumps(request.schema)}"
        prompt = f"{request.prompt}\n\n{again}" if again else request.prompt
        return [ModelRequest(parts=[SystemPromptPart(system), UserPromptPart(prompt)])]

    def _parameters(self, schema: dict[str, Any]) -> ModelRequestParameters:
        mode = self.settings.output_mode
        if mode is OutputMode.SCHEMA:
            wanted = OutputObjectDefinition(json_schema=schema, name=_TOOL, strict=True)
            return ModelRequestParameters(output_mode="native", output_object=wanted)
        if mode is OutputMode.TOOL:
            tool = ToolDefinition(
                name=_TOOL, description="Give the answer.", parameters_json_schema=schema, kind="output"
            )
            return ModelRequestParameters(output_mode="tool", output_tools=[tool], allow_text_output=False)
        return ModelRequestParameters()

    def _read(self, response: ModelResponse) -> RawAnswer:
        text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
        calls = [part for part in response.parts if isinstance(part, ToolCallPart)]
        if self.settings.output_mode is OutputMode.TOOL and len(calls) == 1 and calls[0].tool_name == _TOOL:
            given = calls[0].args
            text = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
        return RawAnswer(
            text=text,
            model=response.model_name or self.settings.model,
            input_tokens=response.usage.input_tokens,
            output_tokens=response.usage.output_tokens,
        )


def _client_of(settings: ProviderSettings) -> AsyncAnthropic | AsyncOpenAI:
    key = settings.api_key.get_secret_value() if settings.api_key is not None else _NO_KEY
    if settings.vendor is Vendor.ANTHROPIC:
        return AsyncAnthropic(api_key=key, base_url=settings.base_url, max_retries=0)
    return AsyncOpenAI(api_key=key, base_url=settings.base_url, max_retries=0)


def _model_of(settings: ProviderSettings, client: AsyncAnthropic | AsyncOpenAI) -> Model[Any]:
    if isinstance(client, AsyncAnthropic):
        return AnthropicModel(settings.model, provider=AnthropicProvider(anthropic_client=client))
    if settings.vendor is Vendor.OPENAI:
        return OpenAIChatModel(settings.model, provider=OpenAIProvider(openai_client=client))
    provider = OpenAICompatibleProvider(settings.name, openai_client=client)
    return OpenAIChatModel(settings.model, provider=provider)


def _refused(error: wrong.ModelAPIError) -> CallError:
    status = error.status_code if isinstance(error, wrong.ModelHTTPError) else 0
    return CallError(Failure.REFUSED, detail=f"status {status}" if status else "")


def _text_of(event: object) -> str:
    """The piece of the answer that an event of a stream brings."""
    if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
        return event.part.content
    if isinstance(event, PartStartEvent) and isinstance(event.part, ToolCallPart):
        return event.part.args if isinstance(event.part.args, str) else ""
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
        return event.delta.content_delta
    if isinstance(event, PartDeltaEvent) and isinstance(event.delta, ToolCallPartDelta):
        return event.delta.args_delta if isinstance(event.delta.args_delta, str) else ""
    return ""
