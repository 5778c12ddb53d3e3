"""Routes that carry their own documentation, from which the OpenAPI document is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.direct import PlainRequest

Endpoint = Callable[[Request], Awaitable[Response]]
#: Given a plain request and who gets its status and JSON body, or what it is refused for; see ``web.direct``. False
#: where the request has to go the usual way. Raises ApiError for a refusal at once.
DirectEndpoint = Callable[[PlainRequest, Callable[[tuple[int, bytes] | Exception], None]], bool]


class RouteDocs(Struct, frozen=True, kw_only=True):
    """What a route takes, gives and refuses. ``query`` and ``path`` are structs whose fields are the parameters."""

    summary: str
    description: str = ""
    tag: str = ""
    body: Any = None
    query: Any = None
    path: Any = None
    response: Any = None
    status: int = 200
    #: Other successful answers: ``{202: (type, "what it means")}``.
    also: dict[int, tuple[Any, str]] = {}
    reasons: tuple[Reason, ...] = ()
    #: None: open to anybody. Empty: every role. ADMIN passes always.
    roles: tuple[Role, ...] | None = ()


class _Bare:
    """An endpoint as an ASGI app with nothing in between: errors are the service's to turn into bodies."""

    __slots__ = ("endpoint",)

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.endpoint(Request(scope, receive, send))
        await response(scope, receive, send)


class ApiRoute(Route):
    """One method at one path, with its documentation."""

    def __init__(
        self,
        path: str,
        endpoint: Endpoint,
        *,
        method: str,
        docs: RouteDocs,
        direct: DirectEndpoint | None = None,
    ) -> None:
        super().__init__(path, _Bare(endpoint), methods=[method], name=getattr(endpoint, "__name__", path))
        self.method = method
        self.docs = docs
        self.direct = direct


def api_route(
    method: str,
    path: str,
    endpoint: Endpoint,
    *,
    summary: str,
    description: str = "",
    tag: str = "",
    body: Any = None,
    query: Any = None,
    path_parameters: Any = None,
    response: Any = None,
    status: int = 200,
    also: dict[int, tuple[Any, str]] | None = None,
    reasons: Sequence[Reason] = (),
    roles: Sequence[Role] | None = (),
    direct: DirectEndpoint | None = None,
) -> ApiRoute:
    """A documented route. ``body``, ``query``, ``path_parameters`` and ``response`` are msgspec types.

    ``reasons`` are the refusals of its own; those that the foundation makes (a malformed body, a missing login) are
    documented by themselves. ``roles``: None for open to anybody, empty for every role. This documents roles; the
    endpoint enforces them with ``principal.require``. ``direct`` answers plain requests instead of ``endpoint``, and
    must answer as that does; only POST has such requests.
    """
    docs = RouteDocs(
        summary=summary,
        description=description,
        tag=tag,
        body=body,
        query=query,
        path=path_parameters,
        response=response,
        status=status,
        also=also or {},
        reasons=tuple(reasons),
        roles=None if roles is None else tuple(roles),
    )
    return ApiRoute(path, endpoint, method=method, docs=docs, direct=direct)
