"""Log-in tokens: HS256 JWTs that name who, what for and until when, and can be voided before that."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from typing import Any, Final

import jwt
from msgspec import Struct

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import CredentialStore, User
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.errors import ApiError

SECRET_BYTES_MIN: Final = 32
TOKEN_CHARACTERS_MAX: Final = 4_096
_ISSUER: Final = "polaris-synapse"
_REQUIRED: Final = ["exp", "iat", "jti", "sub", "iss"]
_NS: Final = 1_000_000_000


class IssuedToken(Struct, frozen=True):
    """A fresh token. ``expires_time_s``: seconds since 1970 UTC."""

    token: str
    token_id: str
    expires_time_s: int


class _Checked(Struct, frozen=True):
    """A token whose signature was right."""

    token_id: str
    name: str
    generation: int
    expires_time_ns: int


class Tokens:
    """Issues and reads tokens. A token is void when it expired, was revoked, or its user changed since."""

    def __init__(self, secret: bytes, store: CredentialStore, *, session_minutes: int, cached_max: int) -> None:
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"the secret that signs log-ins has at least {SECRET_BYTES_MIN} bytes")
        self._secret = secret
        self._store = store
        self._session_seconds = session_minutes * 60
        self._cached_max = cached_max
        self._checked: OrderedDict[str, _Checked] = OrderedDict()

    def issue(self, user: User, now_ns: int) -> IssuedToken:
        """A token for ``user`` from now on."""
        now_s = now_ns // _NS
        token_id = secrets.token_hex(16)
        expires = now_s + self._session_seconds
        claims: dict[str, Any] = {
            "iss": _ISSUER,
            "sub": user.name,
            "iat": now_s,
            "exp": expires,
            "jti": token_id,
            "role": user.role.value,
            "accounts": list(user.accounts),
            "generation": user.generation,
        }
        return IssuedToken(jwt.encode(claims, self._secret, algorithm="HS256"), token_id, expires)

    def read(self, token: str, now_ns: int) -> Principal:
        """Who a token speaks for. Role and accounts are the user's own, as they stand now. Raises ApiError."""
        checked = self._check(token)
        if checked.expires_time_ns <= now_ns or self._store.token_revoked(checked.token_id):
            raise ApiError(Reason.TOKEN_EXPIRED)
        user = self._store.user(checked.name)
        if user is None or user.disabled or user.generation != checked.generation:
            raise ApiError(Reason.TOKEN_EXPIRED, "The user was changed since; log in again.")
        return user.principal

    def revoke(self, token: str, now_ns: int) -> None:
        """Void a token. Raises ApiError where it is void already."""
        self.read(token, now_ns)
        checked = self._check(token)
        self._store.revoke_token(checked.token_id, checked.expires_time_ns)

    def _check(self, token: str) -> _Checked:
        """The claims, the signature checked once for each token and then remembered."""
        found = self._checked.get(token)
        if found is not None:
            return found
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise ApiError(Reason.NOT_AUTHENTICATED, "The token is too long.")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=["HS256"],
                issuer=_ISSUER,
                # Times are checked against the desk's clock, on every use.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_aud": False},
            )
            checked = _Checked(
                token_id=str(claims["jti"]),
                name=str(claims["sub"]),
                generation=int(claims["generation"]),
                expires_time_ns=int(claims["exp"]) * _NS,
            )
        except (jwt.PyJWTError, KeyError, TypeError, ValueError):
            raise ApiError(Reason.NOT_AUTHENTICATED, "The token is not one of ours.") from None
        self._checked[token] = checked
        if len(self._checked) > self._cached_max:
            self._checked.popitem(last=False)
        return checked
