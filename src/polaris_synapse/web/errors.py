"""One error body everywhere, and the HTTP status of every reason.

The body is ``{"code": 2090, "reason": "INSUFFICIENT_FUNDS", "message": ..., "detail": ..., "request_id": ...}``:
``message`` is the reason's fixed sentence, ``detail`` adds the numbers or the field. The statuses, in words:

- 400 the request is malformed; 401 who are you; 403 you may not (roles, accounts, compliance, real trading off)
- 404 no such thing; 405, 408, 413, 415, 421 and 431 as HTTP defines them
- 409 it contradicts what exists already (a duplicate id, an order that is no longer open)
- 422 the request is fine, and the desk's checks, the book or the venue turned it away
- 423 trading is stopped until a person says otherwise (kill switch, breaker, disabled account or agent)
- 429 too fast; 503 the desk cannot take work now; 504 the outcome is not known yet, so ask
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.domain.reasons import Reason, explain

_R = Reason

_BY_STATUS: Final[dict[int, tuple[Reason, ...]]] = {
    200: (_R.NONE,),
    400: (
        _R.MALFORMED_JSON,
        _R.MISSING_FIELD,
        _R.UNKNOWN_FIELD,
        _R.INVALID_VALUE,
        _R.DUPLICATE_FIELD,
        _R.CONTRADICTORY_FIELDS,
        _R.MALFORMED_REQUEST,
    ),
    401: (
        _R.NOT_AUTHENTICATED,
        _R.INVALID_CREDENTIALS,
        _R.TOKEN_EXPIRED,
        _R.SIGNATURE_INVALID,
        _R.TIMESTAMP_OUTSIDE_WINDOW,
        _R.NONCE_REUSED,
        _R.KEY_REVOKED,
    ),
    403: (
        _R.ROLE_NOT_ALLOWED,
        _R.ACCOUNT_NOT_ALLOWED,
        _R.ADDRESS_NOT_ALLOWED,
        _R.COMPLIANCE_ACCOUNT_BLOCKED,
        _R.COMPLIANCE_KYC_INCOMPLETE,
        _R.COMPLIANCE_SANCTIONED,
        _R.COMPLIANCE_INSTRUMENT_RESTRICTED,
        _R.MANDATE_MISSING,
        _R.APPROVER_NOT_ALLOWED,
        _R.APPROVAL_TOKEN_INVALID,
        _R.REAL_TRADING_DISABLED,
    ),
    404: (
        _R.NOT_FOUND,
        _R.ORDER_NOT_FOUND,
        _R.ORDER_LIST_NOT_FOUND,
        _R.ACCOUNT_NOT_FOUND,
        _R.SYMBOL_NOT_FOUND,
        _R.DECISION_NOT_FOUND,
        _R.CASE_NOT_FOUND,
        _R.APPROVAL_NOT_FOUND,
        _R.STANDING_NOT_FOUND,
        _R.BOOK_UNKNOWN_ORDER,
        _R.VENUE_ORDER_ABSENT,
    ),
    405: (_R.METHOD_NOT_ALLOWED,),
    408: (_R.REQUEST_TOO_SLOW, _R.SLOW_CONSUMER),
    409: (
        _R.DUPLICATE_CLIENT_ORDER_ID,
        _R.DUPLICATE_CLIENT_LIST_ID,
        _R.ORDER_NOT_OPEN,
        _R.APPROVAL_ORDER_CHANGED,
        _R.APPROVAL_USED,
        _R.APPROVAL_EXPIRED,
        _R.APPROVAL_REJECTED,
        _R.ACCOUNT_EXISTS,
        _R.KYC_TRANSITION_NOT_ALLOWED,
        _R.AUDIT_CHAIN_BROKEN,
        _R.BOOK_DUPLICATE_ORDER,
        _R.CANCELLED_BY_USER,
        _R.CANCELLED_BY_KILL_SWITCH,
        _R.CANCELLED_ON_DISCONNECT,
        _R.FLATTENED,
        _R.CANCELLED_BY_WATCHDOG,
    ),
    413: (_R.BODY_TOO_LARGE,),
    415: (_R.UNSUPPORTED_MEDIA_TYPE,),
    421: (_R.HOST_NOT_ALLOWED,),
    423: (_R.KILL_SWITCH, _R.CIRCUIT_BREAKER, _R.REPEATED_ORDER_THROTTLE, _R.POSITION_BREAK_OPEN, _R.AGENT_PAUSED),
    429: (
        _R.RATE_LIMITED,
        _R.TOO_MANY_CONNECTIONS,
        _R.MESSAGE_THROTTLE,
        _R.APPROVALS_FULL,
        _R.STANDING_FULL,
    ),
    431: (_R.HEADERS_TOO_LARGE,),
    500: (_R.INTERNAL_ERROR,),
    503: (
        _R.OVERLOADED,
        _R.SHUTTING_DOWN,
        _R.CACHE_UNAVAILABLE,
        _R.JOURNAL_UNAVAILABLE,
        _R.NOT_READY,
        _R.BOOK_FULL,
        _R.VENUE_UNAVAILABLE,
        _R.VENUE_RATE_LIMITED,
    ),
    504: (_R.TIMED_OUT, _R.VENUE_UNKNOWN_OUTCOME),
}

#: A well-formed order that the desk's checks, the book, the venue or the agents' rules turned away.
UNPROCESSABLE: Final = 422

#: Reasons that 422 stands for: every one from the risk checks upwards that has no status of its own above.
HTTP_STATUSES: Final[dict[Reason, int]] = {
    **{reason: UNPROCESSABLE for reason in Reason if 2000 <= reason < 7000},
    **{reason: status for status, reasons in _BY_STATUS.items() for reason in reasons},
}


class ErrorBody(Struct, frozen=True, kw_only=True):
    """What every refusal looks like, on every service."""

    code: int
    reason: str
    message: str
    detail: str
    request_id: str


class ApiError(Exception):
    """A refusal on its way out of a handler; the service turns it into the error body.

    ``detail`` is one clear sentence or empty. ``headers`` go onto the response (``Retry-After``, ``Allow``).
    """

    def __init__(self, reason: Reason, detail: str = "", *, headers: dict[str, str] | None = None) -> None:
        super().__init__(f"{reason.name}: {detail or explain(reason)}")
        self.reason = reason
        self.detail = detail
        self.headers = headers or {}


def http_status(reason: Reason) -> int:
    """The HTTP status of a refusal; 200 for NONE."""
    return HTTP_STATUSES[reason]


def error_body(reason: Reason, detail: str = "", *, request_id: str = "") -> ErrorBody:
    """The body of a refusal."""
    return ErrorBody(
        code=int(reason), reason=reason.name, message=explain(reason), detail=detail, request_id=request_id
    )
