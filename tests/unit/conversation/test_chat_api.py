"""POST /chat and its stream: authentication, roles, bodies, and events that end with the whole answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.unit.conversation.talking import Talk, talking

from polaris_synapse.agents.conversation.api import conversation_routes
from polaris_synapse.web.service import service_app

pytestmark = pytest.mark.anyio


def client_of(talk: Talk) -> httpx2.AsyncClient:
    """A client of an app with only the conversation."""
    app = service_app(
        service="llm-agents",
        title="conversation",
        routes=conversation_routes(talk.conversation, talk.gateway.service.authenticator),
        registry=CollectorRegistry(),
        readiness={},
    )
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:8000")


async def post(talk: Talk, key: str, path: str, body: dict[str, Any]) -> httpx2.Response:
    """A signed message."""
    content = msgspec.json.encode(body)
    async with client_of(talk) as client:
        headers = talk.gateway.headers(key, "POST", path, content)
        return await client.post(path, content=content, headers=headers)


async def test_a_message_is_answered_with_its_intent(tmp_path: Path) -> None:
    """The answer has the session, the reply, the typed intent, and for an order preview and confirmation."""
    async with talking(tmp_path) as talk:
        answer = (await post(talk, "trader", "/chat", {"message": "sell 0.1 btc"})).json()
        assert answer["intent"] == {"intent": "place_order", "side": "SELL", "symbol": "BTCUSDT", "quantity": "0.1"}
        assert answer["preview"][0]["notional"] == "6099.999"
        code, session = answer["confirmation"]["code"], answer["session"]
        assert answer["confirmation"]["order_hash"].startswith(code)
        done = (await post(talk, "trader", "/chat", {"message": "yes", "session": session})).json()
        assert done["placed"] == [1024]
        assert talk.desk.submitted[0].actor == "key:trader"


async def test_the_stream_ends_with_the_whole_answer(tmp_path: Path) -> None:
    """Events name the intent, each line of the reply, and last the answer as POST /chat gives it."""
    async with talking(tmp_path) as talk:
        response = await post(talk, "viewer", "/chat/stream", {"message": "price of btc"})
        assert response.headers["content-type"].startswith("text/event-stream")
        events = []
        for block in response.text.strip().split("\n\n"):
            name, data = block.split("\n")
            events.append((name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))))
        assert [name for name, _ in events] == ["intent", "text", "text", "reply"]
        assert events[0][1]["intent"] == {"intent": "ask", "topic": "PRICE", "symbol": "BTCUSDT"}
        assert "\n".join(data["text"] for name, data in events if name == "text") == events[-1][1]["reply"]


async def test_who_may_not_talk_is_turned_away(tmp_path: Path) -> None:
    """Without a login nobody talks, an agent never does, and a malformed body is refused."""
    async with talking(tmp_path) as talk:
        async with client_of(talk) as client:
            assert (await client.post("/chat", json={"message": "help"})).status_code == 401
            assert (await client.post("/chat/stream", json={"message": "help"})).status_code == 401
        assert (await post(talk, "agent", "/chat", {"message": "buy 1 btc"})).status_code == 403
        assert (await post(talk, "trader", "/chat", {"message": ""})).status_code == 400
        assert (await post(talk, "trader", "/chat", {"message": "help", "role": "ADMIN"})).status_code == 400
        assert talk.desk.commands == []
