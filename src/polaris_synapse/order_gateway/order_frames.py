"""What goes over the order port: frames of MessagePack with their length in front.

A frame is four bytes, the number of bytes that follow (big-endian), and one MessagePack map: the requests and answers
of the WebSocket, ``{"id", "method", "params"}`` and ``{"id", "result"}`` or ``{"id", "error"}``.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.session import (
    CancelAllParams,
    CancelListParams,
    CancelParams,
    LoginParams,
    NoParams,
    ReplaceOneParams,
    RequestId,
    SubmitListParams,
    SubmitParams,
)
from polaris_synapse.web.bodies import refusal
from polaris_synapse.web.errors import ApiError, ErrorBody

#: Bytes of a frame that say how long it is.
HEAD_BYTES: Final = 4
#: The method and target that a log-in's signature is made over; its body is empty.
LOGIN_METHOD: Final = "GET"
LOGIN_TARGET: Final = "/order-port"


class PortLoginParams(LoginParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token or a signature, and how answers to orders should be: FULL as over the WebSocket, BRIEF with little."""

    answers: Literal["FULL", "BRIEF"] = "FULL"


class _Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="method"):
    id: RequestId


class LoginRequest(_Request, frozen=True, kw_only=True, tag="login"):
    """Say who is at the other end; the first request of a connection."""

    params: PortLoginParams


class PingRequest(_Request, frozen=True, kw_only=True, tag="ping"):
    """Ask whether the other side is there."""

    params: NoParams = NoParams()


class SubmitRequest(_Request, frozen=True, kw_only=True, tag="submit"):
    """Place an order."""

    params: SubmitParams


class CancelRequest(_Request, frozen=True, kw_only=True, tag="cancel"):
    """Cancel one order."""

    params: CancelParams


class CancelAllRequest(_Request, frozen=True, kw_only=True, tag="cancel_all"):
    """Cancel every open order that matches."""

    params: CancelAllParams = CancelAllParams()


class ReplaceRequest(_Request, frozen=True, kw_only=True, tag="replace"):
    """Change an open order."""

    params: ReplaceOneParams


class SubmitListRequest(_Request, frozen=True, kw_only=True, tag="submit_list"):
    """Place an OCO, OTO or OTOCO list."""

    params: SubmitListParams


class CancelListRequest(_Request, frozen=True, kw_only=True, tag="cancel_list"):
    """Cancel what is open of a list."""

    params: CancelListParams


PortRequest = (
    LoginRequest
    | PingRequest
    | SubmitRequest
    | CancelRequest
    | CancelAllRequest
    | ReplaceRequest
    | SubmitListRequest
    | CancelListRequest
)


class PortAnswer(Struct, frozen=True, kw_only=True):
    """The one answer to a request."""

    id: int | str | None
    result: Any


class PortRefusal(Struct, frozen=True, kw_only=True):
    """The one answer to a request that was refused; ``id`` None where no request could be read."""

    id: int | str | None
    error: ErrorBody


class _Outline(Struct, frozen=True):
    """As much of a request as must be right for its answer to be addressed."""

    id: Any = None


_REQUEST: Final = msgspec.msgpack.Decoder(PortRequest)
_OUTLINE: Final = msgspec.msgpack.Decoder(_Outline)
_ID: Final[Any] = RequestId
_ENCODER: Final = msgspec.msgpack.Encoder()


def frame(body: object) -> bytes:
    """One frame."""
    payload = _ENCODER.encode(body)
    return len(payload).to_bytes(HEAD_BYTES, "big") + payload


def read_request(payload: bytes) -> PortRequest:
    """A request, strictly. Raises ApiError."""
    try:
        request: PortRequest = _REQUEST.decode(payload)
    except msgspec.ValidationError as error:
        raise refusal(error) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ApiError(Reason.MALFORMED_REQUEST, "The frame is not one MessagePack map.") from None
    return request


def request_id_of(payload: bytes) -> int | str | None:
    """The id of a request that cannot be read as a whole, so that its refusal finds home; None where it has none."""
    try:
        found: int | str = msgspec.convert(_OUTLINE.decode(payload).id, _ID)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found
