"""A service's app with the checks of its cluster side: it is ready when its room and its bus are."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from polaris_synapse.bus.kafka.host import PartitionState
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.bodies import json_response
from polaris_synapse.web.errors import error_body
from polaris_synapse.web.service import ReadyBody

Checks = Mapping[str, Callable[[], str | None]]
_NOT_READY = 503


class PartitionsBody(Struct, frozen=True, kw_only=True):
    """Where each partition in this process stands."""

    service: str
    client: str
    partitions: tuple[PartitionState, ...]


class ClusterApp:
    """Answers ``GET /ready`` with all checks and ``GET /partitions``; everything else is the room's app's.

    ``elsewhere(path)`` says in a sentence why another instance is to be asked, or is empty. Such a request is answered
    before anybody looks at who sent it: a signature works once, and is for the instance that a proxy asks next.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        client: str,
        checks: Callable[[], Checks],
        states: Callable[[], Sequence[PartitionState]],
        elsewhere: Callable[[str], str],
    ) -> None:
        self._app = app
        self._service = service
        self._client = client
        self._checks = checks
        self._states = states
        self._elsewhere = elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] in ("/ready", "/partitions"):
            body, status = self._ready() if scope["path"] == "/ready" else (self._partitions(), 200)
            await json_response(body, status)(scope, receive, send)
            return
        if scope["type"] == "http" and (sentence := self._elsewhere(scope["path"])):
            body_of_refusal = error_body(Reason.NOT_READY, sentence, request_id=secrets.token_hex(16))
            await json_response(body_of_refusal, _NOT_READY, {"retry-after": "1"})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _ready(self) -> tuple[Struct, int]:
        failing = {name: problem for name, check in self._checks().items() if (problem := check()) is not None}
        body = ReadyBody(ready=not failing, service=self._service, failing=failing)
        return body, _NOT_READY if failing else 200

    def _partitions(self) -> PartitionsBody:
        return PartitionsBody(service=self._service, client=self._client, partitions=tuple(self._states()))
