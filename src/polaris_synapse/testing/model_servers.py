"""A language model server for tests, on loopback: OpenAI's chat completions and Anthropic's messages, with faults.

Replies are taken from a script, one a request; when it is empty, ``answer`` makes one from what was asked. Streams,
tool calls and structured output are written as the vendors document them, by hand and without their packages, so a test
holds the desk's adapters against the wire format and not against themselves.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from polaris_synapse.web.server import Listener, serve

_PIECE_CHARACTERS: Final = 7


class Reply(Struct, frozen=True, kw_only=True):
    """One reply. ``text`` is the model's answer; ``raw`` replaces the whole body; ``hangs`` never answers at all.

    ``breaks`` ends the connection in the middle of a stream.
    """

    text: str = "{}"
    status: int = 200
    retry_after: str = ""
    content_type: str = "application/json"
    raw: bytes | None = None
    hangs: bool = False
    breaks: bool = False
    input_tokens: int = 11
    output_tokens: int = 7


class Asked(Struct, frozen=True, kw_only=True):
    """One request as it came. ``schema`` is the one that the answer should fit, wherever it was sent."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> str:
        """The user's last text."""
        content = self.body["messages"][-1]["content"]
        return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)

    @property
    def tool(self) -> dict[str, Any] | None:
        """The one tool that is offered."""
        tools = self.body.get("tools") or [None]
        found: dict[str, Any] | None = tools[0]
        return found


class ModelServer:
    """See the module. ``url`` is the root; OpenAI's format is under ``/v1``."""

    def __init__(self, answer: Callable[[Asked], str] | None = None) -> None:
        self.script: deque[Reply] = deque()
        self.asked: list[Asked] = []
        self.url = ""
        self._answer = answer or (lambda _: "{}")
        self._closing = anyio.Event()
        self._going = anyio.Event()
        self._going.set()

    def app(self) -> Starlette:
        """The ASGI app."""
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._chat, methods=["POST"]),
                Route("/v1/messages", self._messages, methods=["POST"]),
            ]
        )

    def hold(self) -> None:
        """Answer nothing until ``let_go``; requests are taken and wait."""
        self._going = anyio.Event()

    def let_go(self) -> None:
        """Answer what waits, and whatever comes."""
        self._going.set()

    def release(self) -> None:
        """Let go of every reply that hangs."""
        self._closing.set()
        self._going.set()

    async def _take(self, request: Request) -> tuple[Asked, Reply]:
        asked = Asked(path=request.url.path, headers=dict(request.headers), body=json.loads(await request.body()))
        self.asked.append(asked)
        await self._going.wait()
        reply = self.script.popleft() if self.script else Reply(text=self._answer(asked))
        if reply.hangs:
            await self._closing.wait()
        return asked, reply

    async def _chat(self, request: Request) -> Response:
        asked, reply = await self._take(request)
        if (fault := _fault(reply)) is not None:
            return fault
        if asked.body.get("stream"):
            return StreamingResponse(_chat_events(asked, reply), media_type="text/event-stream")
        message: dict[str, Any] = {"role": "assistant", "content": reply.text}
        finish = "stop"
        if asked.tool is not None:
            message = {"role": "assistant", "content": None, "tool_calls": [_chat_tool(asked, reply.text)]}
            finish = "tool_calls"
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": asked.body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            "usage": _chat_usage(reply),
        }
        return _json(body, reply.content_type)

    async def _messages(self, request: Request) -> Response:
        asked, reply = await self._take(request)
        if (fault := _fault(reply)) is not None:
            return fault
        if asked.body.get("stream"):
            return StreamingResponse(_message_events(asked, reply), media_type="text/event-stream")
        block: dict[str, Any] = {"type": "text", "text": reply.text}
        if asked.tool is not None:
            block = {"type": "tool_use", "id": "toolu_1", "name": asked.tool["name"], "input": json.loads(reply.text)}
        body = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": asked.body["model"],
            "content": [block],
            "stop_reason": "end_turn" if asked.tool is None else "tool_use",
            "stop_sequence": None,
            "usage": {"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens},
        }
        return _json(body, reply.content_type)


def _fault(reply: Reply) -> Response | None:
    headers = {"retry-after": reply.retry_after} if reply.retry_after else {}
    if reply.raw is not None:
        return Response(reply.raw, reply.status, headers, reply.content_type)
    if reply.status != 200:
        error = {"type": "error", "error": {"type": "api_error", "message": "as the test asked", "code": None}}
        return Response(json.dumps(error), reply.status, headers, "application/json")
    return None


def _json(body: dict[str, Any], content_type: str) -> Response:
    return Response(json.dumps(body), media_type=content_type)


def _chat_tool(asked: Asked, arguments: str) -> dict[str, Any]:
    assert asked.tool is not None
    return {
        "id": "call_1",
        "type": "function",
        "function": {"name": asked.tool["function"]["name"], "arguments": arguments},
    }


def _chat_usage(reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }


def _pieces(text: str) -> list[str]:
    return [text[at : at + _PIECE_CHARACTERS] for at in range(0, len(text), _PIECE_CHARACTERS)]


async def _chat_events(asked: Asked, reply: Reply) -> AsyncIterator[str]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        body = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1_760_000_000,
            "model": asked.body["model"],
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        return f"data: {json.dumps(body)}\n\n"

    yield chunk({"role": "assistant", "content": ""})
    for number, piece in enumerate(_pieces(reply.text)):
        if reply.breaks and number:
            raise ConnectionResetError("as the test asked")
        if asked.tool is None:
            yield chunk({"content": piece})
        else:
            call: dict[str, Any] = {"index": 0, "function": {"arguments": piece}}
            if number == 0:
                call = {"index": 0} | _chat_tool(asked, piece)
            yield chunk({"tool_calls": [call]})
    yield chunk({}, "stop" if asked.tool is None else "tool_calls")
    usage = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": asked.body["model"],
        "choices": [],
        "usage": _chat_usage(reply),
    }
    yield f"data: {json.dumps(usage)}\n\n"
    yield "data: [DONE]\n\n"


async def _message_events(asked: Asked, reply: Reply) -> AsyncIterator[str]:
    def event(kind: str, **fields: Any) -> str:
        return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n"

    usage = {"input_tokens": reply.input_tokens, "output_tokens": 1}
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }
    yield event("message_start", message=message)
    block: dict[str, Any] = {"type": "text", "text": ""}
    if asked.tool is not None:
        block = {"type": "tool_use", "id": "toolu_1", "name": asked.tool["name"], "input": {}}
    yield event("content_block_start", index=0, content_block=block)
    for number, piece in enumerate(_pieces(reply.text)):
        if reply.breaks and number:
            raise ConnectionResetError("as the test asked")
        delta = {"type": "text_delta", "text": piece}
        if asked.tool is not None:
            delta = {"type": "input_json_delta", "partial_json": piece}
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    stop = "end_turn" if asked.tool is None else "tool_use"
    yield event(
        "message_delta",
        delta={"stop_reason": stop, "stop_sequence": None},
        usage={"output_tokens": reply.output_tokens},
    )
    yield event("message_stop")


@asynccontextmanager
async def running_model_server(answer: Callable[[Asked], str] | None = None) -> AsyncIterator[ModelServer]:
    """A server on an ephemeral port of 127.0.0.1 while the block runs. ``answer`` is given what was asked."""
    model, up = ModelServer(answer), anyio.Event()

    def started(ports: dict[str, int]) -> None:
        model.url = f"http://127.0.0.1:{ports['models']}"
        up.set()

    listener = Listener(app=model.app(), host="127.0.0.1", port=0, name="models")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: serve([listener], started=started))
        await up.wait()
        try:
            yield model
        finally:
            model.release()
            tasks.cancel_scope.cancel()
