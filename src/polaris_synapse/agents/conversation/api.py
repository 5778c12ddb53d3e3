"""The conversation over HTTP: one answer to one message, whole or as a stream of server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from polaris_synapse.agents.conversation.dialogue import Conversation
from polaris_synapse.agents.conversation.guard import MESSAGE_CHARACTERS_MAX
from polaris_synapse.agents.conversation.turns import Reply
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, query_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

_TAG: Final = "Conversation"
_DESCRIPTION: Final = (
    "Questions are answered with exact numbers. An order is previewed, and placed only after a yes to exactly "
    "that preview "
    "in the same session; it then takes the same path as every order, as you. `table` goes with the reply."
)
_STREAM: Final = (
    " Server-sent events: `intent` (what was understood), `text` for each line of the reply, then `reply` with "
    "the whole "
    "answer as of `POST /chat`."
)


class ChatBody(Struct, frozen=True, kw_only=True):
    """A message. ``session`` goes on with a conversation; without it a new one begins. ``account`` is meant where the
    message names none.
    """

    message: Annotated[str, Meta(min_length=1, max_length=4 * MESSAGE_CHARACTERS_MAX)]
    session: Annotated[str, Meta(max_length=64)] = ""
    account: Annotated[str, Meta(max_length=64)] = ""


class _NoParameters(Struct, frozen=True):
    """A query without parameters."""


def conversation_routes(conversation: Conversation, authenticator: Authenticator) -> list[ApiRoute]:
    """``POST /chat`` and ``POST /chat/stream``."""
    endpoints = _Endpoints(conversation, authenticator)
    reasons = (Reason.NOT_READY, Reason.OVERLOADED)
    return [
        api_route(
            "POST", "/chat", endpoints.chat, summary="Say something to the desk.", description=_DESCRIPTION, tag=_TAG,
            body=ChatBody, response=Reply, reasons=reasons,
        ),
        api_route(
            "POST", "/chat/stream", endpoints.stream, summary="The same, as server-sent events.",
            description=_DESCRIPTION + _STREAM, tag=_TAG, body=ChatBody, reasons=reasons,
        ),
    ]  # fmt: skip


class _Endpoints:
    def __init__(self, conversation: Conversation, authenticator: Authenticator) -> None:
        self._conversation = conversation
        self._authenticator = authenticator

    async def chat(self, request: Request) -> Response:
        """POST /chat."""
        return json_response(await self._say(request))

    async def stream(self, request: Request) -> Response:
        """POST /chat/stream."""
        # What is to be said is known, and any refusal raised, before the first byte goes out.
        reply = await self._say(request)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(_events(reply), media_type="text/event-stream", headers=headers)

    async def _say(self, request: Request) -> Reply:
        principal = await self._authenticator.authenticate(request)
        _refuse_agents(principal)
        query_struct(request, _NoParameters)
        body = await read_struct(request, ChatBody)
        return await self._conversation.say(principal, body.message, session_id=body.session, account=body.account)


def _refuse_agents(principal: Principal) -> None:
    """An agent proposes; it does not talk itself into orders here."""
    if principal.role is Role.AGENT:
        raise ApiError(Reason.ROLE_NOT_ALLOWED, "Agents do not take part in conversations.")


async def _events(reply: Reply) -> AsyncIterator[bytes]:
    yield _event("intent", {"session": reply.session, "intent": reply.intent})
    for line in reply.reply.splitlines():
        yield _event("text", {"text": line})
    yield _event("reply", reply)


def _event(name: str, data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
