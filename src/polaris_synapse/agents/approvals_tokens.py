"""Approvals that travel: a token, bound to one person, one order and one moment, that a messenger can carry.

A token is ``payload.mac`` in base64url. Who holds it may decide as the person it was made for, exactly what it says,
until it expires; that person's role is looked up anew when it is used, and the request it names can be decided once.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from polaris_synapse.domain.messages import Approval
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import ApiError

TOKEN_CHARACTERS_MAX: Final = 1_024
_CONTEXT: Final = b"polaris-synapse approval token v1"


class Ticket(Struct, frozen=True, array_like=True):
    """What a token says: decide request ``approval_id`` of ``account`` as ``approver``, about exactly this order."""

    approval_id: str
    account: str
    order_hash: str
    approve: bool
    approver: str
    expires_time_ns: int


class ApprovalTokens:
    """Makes and reads tokens with a key that is made from the desk's secret."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.new(secret, _CONTEXT, sha256).digest()

    def __repr__(self) -> str:
        return "ApprovalTokens()"

    def make(self, approval: Approval, *, approve: bool, approver: str) -> str:
        """A token for one decision; it expires with the request."""
        payload = msgspec.json.encode(
            Ticket(
                approval.approval_id,
                approval.account,
                approval.order_hash,
                approve,
                approver,
                approval.expires_time_ns,
            )
        )
        return f"{_text(payload)}.{_text(self._mac(payload))}"

    def read(self, token: str, now_ns: int) -> Ticket:
        """What a token says. Raises ApiError with APPROVAL_TOKEN_INVALID or APPROVAL_EXPIRED.

        The comparison takes the same time wherever the codes differ, and nothing of the payload is read before it.
        """
        payload_text, _, mac_text = token.partition(".")
        payload, mac = _bytes(payload_text), _bytes(mac_text)
        genuine = hmac.compare_digest(self._mac(payload), mac)
        # A second spelling of the same bytes is another token: only the one that was made counts.
        exact = hmac.compare_digest(f"{_text(payload)}.{_text(mac)}".encode(), token.encode("utf-8", "replace"))
        if not (genuine and exact) or len(token) > TOKEN_CHARACTERS_MAX:
            raise ApiError(Reason.APPROVAL_TOKEN_INVALID)
        ticket = msgspec.json.decode(payload, type=Ticket)
        if now_ns >= ticket.expires_time_ns:
            raise ApiError(Reason.APPROVAL_EXPIRED)
        return ticket

    def _mac(self, payload: bytes) -> bytes:
        return hmac.new(self._key, payload, sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    """The bytes of base64url text; none for what is no such text."""
    if len(text) > TOKEN_CHARACTERS_MAX or not text.isascii():
        return b""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
