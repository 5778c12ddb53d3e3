"""Who is asking: tokens in ``Authorization``, signatures in ``X-Polaris-*``. Every refusal is audited and counted.

Two things are shared by all processes of a desk: what was revoked, and which signed requests were used already. Where
neither the cache nor the common store says what was revoked, and where the cache cannot say whether a signed request is
a copy of one that another process took, only what stops is let through (see the module stops).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Final

import anyio
from msgspec import Struct
from starlette.requests import HTTPConnection, Request

from polaris_synapse.bus.clock import Clock
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.audit import AuditTrail
from polaris_synapse.order_gateway.credentials import PASSWORD_CHARACTERS_MAX, ApiKey, CredentialStore
from polaris_synapse.order_gateway.limits import RateLimiter, address_key, spend
from polaris_synapse.order_gateway.nonces import ReplayCache
from polaris_synapse.order_gateway.passwords import Passwords
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.order_gateway.stops import only_stops
from polaris_synapse.order_gateway.tokens import IssuedToken, Tokens
from polaris_synapse.storage.cache.port import CacheUnavailableError, SharedCache
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.bodies import read_bytes
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.service import client_address
from polaris_synapse.web.signing import (
    KEY_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    canonical_text,
    verify,
)

_TIMESTAMP: Final = re.compile(r"\d{1,16}", re.ASCII)
_NONCE: Final = re.compile(r"[A-Za-z0-9_.~+/=-]{8,64}", re.ASCII)
_SIGNATURE_CHARACTERS_MAX: Final = 256
#: A signed log-in opens a connection that may order, so a copy of it is no harmless read.
_LOGIN_TARGETS: Final = frozenset({"/ws", "/order-port"})
_WHEN_A_KEY_IS_UNKNOWN: Final = "The key is unknown or the signature is wrong."


class SignedParts(Struct, frozen=True):
    """The four parts of a signature as they arrived."""

    key_id: str
    timestamp: str
    nonce: str
    signature: str


class Identity(Struct, frozen=True):
    """A principal and whether it still is one: ``void`` gives the reason why not, or None."""

    principal: Principal
    void: Callable[[], Reason | None]
    certain: Callable[[], bool]

    def require_certain(self) -> None:
        """Refuse with CACHE_UNAVAILABLE where this may have been revoked elsewhere. For all that does not only stop."""
        if not self.certain():
            raise _uncertain()


class GatewayAuthenticator:
    """Tells who sent a request. The one place that knows tokens, keys, windows and nonces."""

    def __init__(
        self,
        *,
        store: CredentialStore,
        tokens: Tokens,
        replays: ReplayCache,
        passwords: Passwords,
        limiter: RateLimiter,
        audit: AuditTrail,
        clock: Clock,
        settings: GatewaySettings,
        refused: Callable[[Reason], None],
        cache: SharedCache | None = None,
    ) -> None:
        self._cache = cache
        self._store = store
        self._tokens = tokens
        self._replays = replays
        self._passwords = passwords
        self._limiter = limiter
        self._audit = audit
        self._clock = clock
        self._settings = settings
        self._refused = refused

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """The principal of a request or a WebSocket's handshake. Raises ApiError."""
        return (await self.identify(connection)).principal

    async def identify(self, connection: HTTPConnection) -> Identity:
        """The same, with the means to ask later whether it still holds."""
        address = client_address(connection)
        headers = connection.headers
        token, key_id = headers.get("authorization"), headers.get(KEY_HEADER)
        if token is not None and key_id is not None:
            raise ApiError(Reason.CONTRADICTORY_FIELDS, "Send a token or a signature, not both.")
        if token is not None:
            scheme, _, credentials = token.partition(" ")
            if scheme.lower() != "bearer":
                raise ApiError(Reason.NOT_AUTHENTICATED, "Authorization takes: Bearer and the token.")
            identity = await self.by_token(credentials.strip(), address)
        elif key_id is None:
            raise ApiError(Reason.NOT_AUTHENTICATED, headers={"www-authenticate": "Bearer"})
        else:
            body, method = await _body(connection), _method(connection)
            identity = await self.by_signature(_parts(headers), method, _target(connection), body, address)
        if not identity.certain():
            path = _target(connection).partition("?")[0]
            if not only_stops(_method(connection), path, await _body(connection)):
                raise _uncertain()
        return identity

    async def by_token(self, token: str, address: str) -> Identity:
        """Who a token speaks for."""

        def void() -> Reason | None:
            try:
                self._tokens.read(token, self._clock.now_ns())
            except ApiError as error:
                return error.reason
            return None

        try:
            return Identity(self._tokens.read(token, self._clock.now_ns()), void, self._store.certain)
        except ApiError as error:
            await self._refuse(address, "unknown", error)
            raise

    def holder_now(self, token: str) -> Principal | None:
        """The principal of a token that holds for certain; None where ``authenticate`` has to say why it does not."""
        try:
            principal = self._tokens.read(token, self._clock.now_ns())
        except ApiError:
            return None
        return principal if self._store.certain() else None

    async def by_signature(self, parts: SignedParts, method: str, target: str, body: bytes, address: str) -> Identity:
        """Who a signature speaks for. Uses its nonce up."""
        try:
            key = self._signed(parts, method, target, body, address)
        except ApiError as error:
            await self._refuse(address, f"key:{parts.key_id[:64]}", error)
            raise

        await self._claim(parts, method, target, body)

        def void() -> Reason | None:
            return self._key_void(self._store.key(key.key_id))

        return Identity(key.principal, void, self._store.certain)

    async def _claim(self, parts: SignedParts, method: str, target: str, body: bytes) -> None:
        """Use a nonce up at every process. Raises ApiError for a copy, and where it may be one that does harm."""
        if self._cache is None:
            return
        try:
            name = f"{parts.key_id}/{parts.nonce}"
            first = await self._cache.claim(name, seconds=self._replays.lifetime_seconds)
        except CacheUnavailableError:
            # The window of the timestamp and this process's own nonces are what is left. A copy of what only reads or
            # stops, made at another process within the window, does nothing that was not done already.
            path = target.partition("?")[0]
            if only_stops(method, path, body) or (method == "GET" and path not in _LOGIN_TARGETS):
                return
            raise ApiError(
                Reason.CACHE_UNAVAILABLE,
                "The desk cannot tell now whether this signed request was used before; log in and use a token, or try "
                "again in a moment.",
                headers={"retry-after": "1"},
            ) from None
        if not first:
            raise ApiError(Reason.NONCE_REUSED)

    def _signed(self, parts: SignedParts, method: str, target: str, body: bytes, address: str) -> ApiKey:
        if not _TIMESTAMP.fullmatch(parts.timestamp):
            raise ApiError(Reason.TIMESTAMP_OUTSIDE_WINDOW, "The timestamp is milliseconds since 1970 in digits.")
        if not _NONCE.fullmatch(parts.nonce):
            raise ApiError(Reason.SIGNATURE_INVALID, "A nonce has 8 to 64 letters, digits or _.~+/=-.")
        if not parts.signature.isascii() or len(parts.signature) > _SIGNATURE_CHARACTERS_MAX:
            raise ApiError(Reason.SIGNATURE_INVALID, _WHEN_A_KEY_IS_UNKNOWN)
        now_ns = self._clock.now_ns()
        self._replays.check_time(int(parts.timestamp), now_ns)
        key = self._store.key(parts.key_id)
        text = canonical_text(method, target, parts.timestamp, parts.nonce, body)
        if key is None or not verify(key.algorithm, key.verifier, text, parts.signature):
            raise ApiError(Reason.SIGNATURE_INVALID, _WHEN_A_KEY_IS_UNKNOWN)
        # What follows is said only to the holder of the key.
        if (reason := self._key_void(key)) is not None:
            raise ApiError(reason)
        if not _address_allowed(address, key.addresses):
            raise ApiError(Reason.ADDRESS_NOT_ALLOWED)
        self._replays.use(parts.key_id, parts.nonce, int(parts.timestamp), now_ns)
        return key

    def _key_void(self, key: ApiKey | None) -> Reason | None:
        if key is None or key.revoked:
            return Reason.KEY_REVOKED
        if key.expires_time_ns and key.expires_time_ns <= self._clock.now_ns():
            return Reason.KEY_REVOKED
        return None

    async def log_in(self, name: str, password: str, address: str) -> IssuedToken:
        """A token for the right password. The same answer, in the same time, for a wrong name. Raises ApiError."""
        user_key, address_part = name[:64], address_key(address)
        budgets = (
            (self._settings.logins_of_address, address_part),
            (self._settings.logins_of_user_and_address, f"{user_key}\n{address_part}"),
            (self._settings.logins_of_user, user_key),
        )
        for budget, key in budgets:
            await spend(self._limiter, budget, key)
        user = self._store.user(name)
        known = user is not None and not user.disabled
        stored = user.password_hash if user is not None and known else None
        right = await self._passwords.matches(stored, password[: PASSWORD_CHARACTERS_MAX + 1])
        if user is None or not right:
            error = ApiError(Reason.INVALID_CREDENTIALS)
            self._note_refusal(address, f"user:{user_key}", error)
            raise error
        for budget, key in budgets:
            # Only failures count.
            await self._limiter.give_back(budget, key)
        issued = self._tokens.issue(user, self._clock.now_ns())
        self._audit.note(user.principal.actor, "login", address)
        return issued

    async def log_out(self, connection: HTTPConnection) -> None:
        """Void the token that a request came with. Raises ApiError."""
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise ApiError(Reason.NOT_AUTHENTICATED, "Only a token can be logged out; revoke a key instead.")
        identity = await self.by_token(token.strip(), client_address(connection))
        await anyio.to_thread.run_sync(self._tokens.revoke, token.strip(), self._clock.now_ns())
        self._audit.note(identity.principal.actor, "logout", client_address(connection))

    async def _refuse(self, address: str, actor: str, error: ApiError) -> None:
        """Audit and count a refusal; an address with too many of them is told to slow down instead."""
        self._note_refusal(address, actor, error)
        await spend(self._limiter, self._settings.failures_of_address, address_key(address))

    def _note_refusal(self, address: str, actor: str, error: ApiError) -> None:
        self._refused(error.reason)
        self._audit.refused(address, actor, error.reason.name, error.detail)


def _parts(headers: Mapping[str, str]) -> SignedParts:
    """The signature's headers. Raises ApiError where one is missing."""
    missing = [name for name in (TIMESTAMP_HEADER, NONCE_HEADER, SIGNATURE_HEADER) if name not in headers]
    if missing:
        raise ApiError(Reason.NOT_AUTHENTICATED, f"The header {missing[0]} is missing.")
    return SignedParts(
        headers[KEY_HEADER][:64], headers[TIMESTAMP_HEADER], headers[NONCE_HEADER], headers[SIGNATURE_HEADER]
    )


def _uncertain() -> ApiError:
    return ApiError(
        Reason.CACHE_UNAVAILABLE,
        "The desk cannot tell now whether this log-in or key was revoked; only cancels and stops pass. Try again in a "
        "moment.",
        headers={"retry-after": "1"},
    )


def _method(connection: HTTPConnection) -> str:
    method: str = connection.scope.get("method", "GET")
    return method


async def _body(connection: HTTPConnection) -> bytes:
    return await read_bytes(connection) if isinstance(connection, Request) else b""


def _target(connection: HTTPConnection) -> str:
    """Path and query exactly as they were sent."""
    scope = connection.scope
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope.get("query_string", b"")
    return (path.partition(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")


def _address_allowed(address: str, networks: tuple[str, ...]) -> bool:
    if not networks:
        return True
    try:
        parsed = ipaddress.ip_address(address)
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)
    except ValueError:
        return False
