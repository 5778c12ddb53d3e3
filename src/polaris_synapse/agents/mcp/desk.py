"""The running desk as the MCP server sees it: signed REST requests with an agent's key, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import msgspec

from polaris_synapse.agents.mcp.envelope import Market, refused, wrapped
from polaris_synapse.web.signing import SigningKey, signed_headers

_TIMEOUT_SECONDS: Final = 15.0
RESPONSE_BYTES_MAX: Final = 4 * 1024 * 1024


class NotAnAgentError(Exception):
    """The key is not of role AGENT, or the desk does not know it; the message is one sentence."""


class McpDesk:
    """Asks the desk. ``url_of`` gives a service's address; every answer comes in its trust envelope."""

    def __init__(self, url_of: Callable[[str], str], key: SigningKey) -> None:
        self._url_of = url_of
        self._key = key
        # Plain HTTP on this machine: no proxy of the environment, and no certificates to load.
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False, verify=False)
        self._market = Market("not known", "not known")
        self.agent = ""
        self.accounts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"McpDesk(agent={self.agent!r})"

    async def begin(self) -> None:
        """Learn who this key speaks for. Raises NotAnAgentError unless it is an agent's."""
        answer = await self.ask("gateway", "GET", "/status")
        if not answer["ok"]:
            said = answer["refused"]
            raise NotAnAgentError(f"The desk refuses the key: {said['reason']}: {said['detail']}")
        status = answer["result"]
        if status["role"] != "AGENT":
            raise NotAnAgentError(
                f"The key is of role {status['role']}. An MCP client acts as an agent, so that no more than its "
                "mandate is ever possible; make a key of role AGENT with: polaris user key"
            )
        self.agent = status["principal"].partition(":")[2] or status["principal"]
        self.accounts = tuple(status["accounts"])

    async def ask(
        self,
        service: str,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        query: dict[str, object] | None = None,
    ) -> dict[str, Any]:
        """One request and its answer in the envelope; a refusal is an answer too, never an exception."""
        given = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
        target = path + ("?" + str(httpx2.QueryParams(given)) if given else "")
        content = b"" if body is None else msgspec.json.encode(body)
        headers = signed_headers(self._key, method, target, content)
        if content:
            headers["content-type"] = "application/json"
        source, at = f"{method} {target}", datetime.now(UTC).isoformat(timespec="milliseconds")
        try:
            response = await self._client.request(
                method, self._url_of(service) + target, content=content, headers=headers
            )
        except httpx2.TransportError:
            detail = "The desk does not answer; is it running? Start it with: polaris up"
            return refused("NOT_READY", 7005, detail, source=source, at=at)
        found = _decoded(response)
        if response.status_code >= 400 or found is None:
            said = found if isinstance(found, dict) else {}
            return refused(
                str(said.get("reason", "INTERNAL_ERROR")),
                int(said.get("code", 7004)),
                str(said.get("detail") or said.get("message") or f"The desk answered HTTP {response.status_code}."),
                source=source,
                at=at,
            )
        if path == "/status" and isinstance(found, dict):
            notes = found.get("notes", {})
            self._market = Market(str(notes.get("feed", "not known")), str(notes.get("trading", "not known")))
        return wrapped(found, source=source, at=at, market=self._market)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _decoded(response: httpx2.Response) -> Any:
    if len(response.content) > RESPONSE_BYTES_MAX:
        return None
    try:
        return msgspec.json.decode(response.content) if response.content else {}
    except msgspec.DecodeError:
        return None
