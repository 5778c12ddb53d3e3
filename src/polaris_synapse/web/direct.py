"""Requests that are answered without ASGI around them: no task, no scope walked through, no response object.

Orders over REST are one small body in and one out, and the way through an ASGI application costs several times what the
order does. A route may therefore offer a *direct* endpoint beside its usual one. The protocol takes that way for a
request that is plain: exactly the route's path, HTTP/1.1 kept alive, JSON of a known size, a bearer token, and nothing
that the usual way would have to look at (a signature, a proxy's header, an upgrade). Whatever is not plain, and what
the endpoint does not take, goes the usual way, which also says why a request is refused for who sent it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

from polaris_synapse.web.bodies import BODY_BYTES_MAX

_JSON: Final = b"application/json"
#: Headers that say something to the usual way alone.
_NOT_PLAIN: Final = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"connection", b"forwarded", b"x-forwarded-for"}
)
_NOT_PLAIN_PREFIX: Final = b"x-polaris-"
#: Headers that are read here; one that comes twice is for the usual way to judge.
_READ: Final = frozenset({b"host", b"authorization", b"content-type", b"content-length", b"x-request-id"})


class PlainRequest(Struct, frozen=True):
    """A request that is plain. ``token`` is what follows ``Bearer``; ``request_id`` the client's, empty for none.

    ``local_address`` is the one that the client connected to.
    """

    host: bytes
    token: str
    request_id: bytes
    local_address: str = ""
    body: bytes = b""


class DirectAnswer(Struct, frozen=True):
    """A status, a JSON body, and further header lines, each with its line end."""

    status: int
    body: bytes
    header_lines: bytes = b""


#: Called once with the answer.
Respond = Callable[[DirectAnswer], None]


class DirectApp(Protocol):
    """An app of which some requests are answered directly."""

    def direct_paths(self) -> Mapping[bytes, DirectPath]:
        """What answers plain POST requests, by path."""
        ...


class DirectPath(Protocol):
    """Answers plain requests of one path."""

    def __call__(self, request: PlainRequest, respond: Respond, /) -> bool:
        """Answer now or later; False where the request has to go the usual way, and nothing was done with it."""
        ...


def plain_request(headers: Sequence[tuple[bytes, bytes]]) -> PlainRequest | None:
    """The request of these headers (names in small letters), its body still to come; None where it is not plain."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _READ:
            if name in found:
                return None
            found[name] = value
        elif name in _NOT_PLAIN or name.startswith(_NOT_PLAIN_PREFIX):
            return None
    size = found.get(b"content-length", b"")
    if found.get(b"content-type") != _JSON or not size.isdigit() or not 0 < int(size[:9]) <= BODY_BYTES_MAX:
        return None
    scheme, _, token = found.get(b"authorization", b"").partition(b" ")
    host = found.get(b"host", b"")
    if scheme.lower() != b"bearer" or not host:
        return None
    return PlainRequest(host, token.strip().decode("latin-1"), found.get(b"x-request-id", b""))
