"""One WebSocket client: requests in, answers and events out, many of both at once.

Requests are ``{"id": 7, "method": "submit", "params": {...}}``; answers carry the same id, in the order in which they
are ready. Events have a ``channel`` and no id. What is waiting to be sent is bounded: who reads too slowly is closed
with SLOW_CONSUMER, and never slows anybody else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Final, Literal

import anyio
import msgspec
import structlog
from msgspec import Meta, Struct
from starlette.websockets import WebSocket

from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.orders import Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.answers import Answers, Outcome
from polaris_synapse.order_gateway.authentication import GatewayAuthenticator, Identity, SignedParts
from polaris_synapse.order_gateway.entry import OrderKey, the_account
from polaris_synapse.order_gateway.hub import ACCOUNT_CHANNELS, DECISIONS, MARKET_PREFIX, SHARED_CHANNELS, Hub
from polaris_synapse.order_gateway.limits import RateLimiter, spend
from polaris_synapse.order_gateway.list_entry import ListEntry, ListKey
from polaris_synapse.order_gateway.list_params import ClientListId, ListId, ListParams
from polaris_synapse.order_gateway.metrics import GatewayMetrics
from polaris_synapse.order_gateway.order_params import (
    Account,
    ClientOrderId,
    OrderId,
    OrderParams,
    ReplaceParams,
    Symbol,
)
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.order_gateway.stops import STOPPING_METHODS
from polaris_synapse.web.authentication import Principal
from polaris_synapse.web.bodies import decode_json, decode_part
from polaris_synapse.web.errors import ApiError, error_body
from polaris_synapse.web.service import client_address
from polaris_synapse.web.signing import KEY_HEADER
from polaris_synapse.web.websockets import TextStream, text_stream

_log = structlog.get_logger(__name__)
_ENCODER: Final = msgspec.json.Encoder()

#: The close code for a client that broke the rules.
_POLICY: Final = 1008
_GOODBYE_SECONDS_MAX: Final = 2.0
_LOGIN_TARGET: Final = "/ws"

RequestId = Annotated[int, Meta(ge=0, le=2**53)] | Annotated[str, Meta(max_length=64)]
WaitMs = Annotated[int, Meta(ge=0, le=5_000)]


class WsRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends. ``id`` is the client's own and comes back with the answer."""

    id: RequestId
    method: Literal[
        "login",
        "ping",
        "subscribe",
        "unsubscribe",
        "submit",
        "cancel",
        "cancel_all",
        "replace",
        "submit_list",
        "cancel_list",
    ]
    params: msgspec.Raw = msgspec.Raw(b"{}")


class LoginParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token, or a key's signature over ``GET``, ``/ws`` and an empty body."""

    token: Annotated[str, Meta(max_length=4_096)] = ""
    key: Annotated[str, Meta(max_length=64)] = ""
    timestamp: Annotated[str, Meta(max_length=16)] = ""
    nonce: Annotated[str, Meta(max_length=64)] = ""
    signature: Annotated[str, Meta(max_length=256)] = ""
    cancel_on_disconnect: bool = False


class ChannelParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Channels to begin or to stop listening to."""

    channels: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(min_length=1, max_length=64)]


class SubmitParams(OrderParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order, and how long its venue's acknowledgement may be waited for."""

    wait_ms: WaitMs = 0


class CancelParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One order, by one of its two ids."""

    order_id: OrderId | None = None
    client_order_id: ClientOrderId | None = None
    account: Account | None = None
    wait_ms: WaitMs = 0


class ReplaceOneParams(ReplaceParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One order, and what to change of it."""

    order_id: OrderId | None = None
    client_order_id: ClientOrderId | None = None
    wait_ms: WaitMs = 0


class CancelAllParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which open orders to cancel."""

    account: Account | None = None
    symbol: Symbol | None = None
    side: Side | None = None


class SubmitListParams(ListParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list, and how long the acknowledgement of what is placed at once may be waited for."""

    wait_ms: WaitMs = 0


class CancelListParams(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One list, by one of its two ids, and how long its orders may take to end."""

    list_id: ListId | None = None
    client_list_id: ClientListId | None = None
    account: Account | None = None
    wait_ms: WaitMs = 0


class NoParams(Struct, frozen=True, forbid_unknown_fields=True):
    """Nothing."""


class _Closing(Struct, frozen=True):
    """The connection is to be closed with this code and reason."""

    code: int
    reason: Reason


class Session:
    """One connection from its handshake to its end."""

    def __init__(
        self,
        websocket: WebSocket,
        *,
        authenticator: GatewayAuthenticator,
        answers: Answers,
        lists: ListEntry,
        hub: Hub,
        limiter: RateLimiter,
        metrics: GatewayMetrics,
        settings: GatewaySettings,
        others_of: Callable[[str], int],
    ) -> None:
        self._others_of = others_of
        self._websocket = websocket
        self._authenticator = authenticator
        self._answers = answers
        self._lists = lists
        self._hub = hub
        self._limiter = limiter
        self._metrics = metrics
        self._settings = settings
        self._address = client_address(websocket)
        self._identity: Identity | None = None
        self._cancel_on_disconnect = False
        self._accounts_traded: set[str] = set()
        self._channels: set[str] = set()
        self._outbox: deque[bytes] = deque()
        self._wake = asyncio.Event()
        #: Whether what was in the outbox is on its way, so that nothing may overtake it.
        self._sending = False
        self._stream: TextStream | None = None
        self._loop = asyncio.get_running_loop()
        self._closing: _Closing | None = None
        self._ended = False
        self._scope = anyio.CancelScope()
        self._in_flight = 0
        self._answered = asyncio.Event()
        self._methods: dict[str, tuple[type[Any], Callable[[Any], Awaitable[object]]]] = {
            "ping": (NoParams, self._ping),
            "subscribe": (ChannelParams, self._subscribe),
            "unsubscribe": (ChannelParams, self._unsubscribe),
            "submit": (SubmitParams, self._submit),
            "cancel": (CancelParams, self._cancel),
            "cancel_all": (CancelAllParams, self._cancel_all),
            "replace": (ReplaceOneParams, self._replace),
            "submit_list": (SubmitListParams, self._submit_list),
            "cancel_list": (CancelListParams, self._cancel_list),
        }

    @property
    def actor(self) -> str:
        """Who is at the other end; empty until that is known."""
        return self._identity.principal.actor if self._identity else ""

    async def run(self) -> None:
        """Serve the connection until it ends. Raises ApiError before it is accepted."""
        headers = self._websocket.headers
        if "authorization" in headers or KEY_HEADER in headers:
            self._admit(await self._authenticator.identify(self._websocket))
        await self._websocket.accept()
        self._stream = text_stream(self._websocket)
        try:
            with self._scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._write)
                    await self._read(group)
                    group.cancel_scope.cancel()
        finally:
            self._ended = True
            for channel in self._channels:
                self._hub.leave(channel, self)
            with anyio.CancelScope(shield=True):
                await self._goodbye()
                await self._cancel_orders()

    def close(self, code: int, reason: Reason) -> None:
        """End the connection with a reason, from any task."""
        if self._closing is None:
            self._closing = _Closing(code, reason)
            self._metrics.dropped.labels(reason.name).inc()
            self._scope.cancel()

    def end_if_void(self) -> None:
        """End the connection whose token or key does not hold any more."""
        reason = self._identity.void() if self._identity else None
        if reason is not None:
            self.close(_POLICY, reason)

    def may_hear(self, account: str, /) -> bool:
        """Whether an account's facts are for this client."""
        return self._identity is not None and self._identity.principal.may_use(account)

    def push(self, payload: bytes, /) -> None:
        """Queue something to be sent, or close the connection that does not keep up."""
        if self._ended:
            return
        if len(self._outbox) >= self._settings.connection_backlog_messages_max:
            self._outbox.clear()
            self.close(_POLICY, Reason.SLOW_CONSUMER)
            return
        if self._stream is None:
            self._wake.set()
        elif not self._outbox:
            # Not here: it may be one answer of many of a commit, which go out in one piece.
            self._loop.call_soon(self._flush, self._stream)
        self._outbox.append(payload)

    def _flush(self, stream: TextStream) -> None:
        """Send what waits at once, or leave it to ``_write`` where the client does not read."""
        if not self._outbox or self._sending:
            return
        if stream.write(self._outbox):
            self._outbox.clear()
        else:
            self._wake.set()

    async def _write(self) -> None:
        """Send what waits, once the client reads."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._sending = True
            while self._outbox:
                payloads = tuple(self._outbox)
                self._outbox.clear()
                if self._stream is not None:
                    await self._stream.send(payloads)
                    continue
                for payload in payloads:
                    await self._websocket.send_text(payload.decode())
            self._sending = False

    async def _read(self, group: anyio.abc.TaskGroup) -> None:
        """Take requests until the client leaves."""
        with anyio.move_on_after(self._settings.login_seconds_max) as patience:
            while self._identity is None:
                frame = await self._receive()
                if frame is None:
                    return
                await self._handle(frame)
            patience.deadline = float("inf")
        if self._identity is None:
            self.close(_POLICY, Reason.NOT_AUTHENTICATED)
            return
        while True:
            # What arrives from now on comes straight to ``_take``, until something has to come this way.
            if self._stream is not None:
                self._stream.hand_over(partial(self._take, group))
            frame = await self._receive()
            if frame is None:
                return
            while self._in_flight >= self._settings.connection_requests_in_flight_max:
                self._answered.clear()
                await self._answered.wait()
            self._begin(frame, group)

    def _take(self, group: anyio.abc.TaskGroup, frame: bytes) -> None:
        """One request of those that come straight from the connection."""
        if self._ended or self._closing is not None:
            return
        self._begin(frame, group)
        if self._stream is not None and self._in_flight >= self._settings.connection_requests_in_flight_max:
            self._stream.hold()

    def _begin(self, frame: bytes, group: anyio.abc.TaskGroup) -> None:
        """One request: orders leave at once, so that all that arrived together share a commit."""
        try:
            request = decode_json(frame, WsRequest)
        except ApiError as error:
            self._refuse(None, error)
            return
        self._in_flight += 1
        try:
            under_way = request.method == "submit" and self._submit_soon(request)
        except Exception as error:
            self._refuse(request.id, error)
            self._finished()
            return
        if not under_way:
            group.start_soon(self._handle_one, request)

    def _submit_soon(self, request: WsRequest) -> bool:
        """Send an order on its way; False where something has to be waited for. Raises ApiError."""
        identity = self._valid_identity()
        identity.require_certain()
        principal = identity.principal
        params = decode_part(request.params, SubmitParams)
        if params.wait_ms:
            return False
        answered = partial(self._order_answered, request.id)
        account = self._answers.submit_soon(principal, params, answered, entry="websocket")
        if account is None:
            return False
        self._accounts_traded.add(account)
        return True

    def _order_answered(self, request_id: int | str, outcome: Outcome | Exception) -> None:
        if isinstance(outcome, Exception):
            self._refuse(request_id, outcome)
        else:
            self.push(_ENCODER.encode({"id": request_id, "result": outcome.body}))
        self._finished()

    def _finished(self) -> None:
        self._in_flight -= 1
        self._answered.set()
        if self._stream is not None and self._in_flight <= self._settings.connection_requests_in_flight_max // 2:
            self._stream.release()

    async def _receive(self) -> bytes | None:
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text.encode("utf-8", "surrogatepass") if text is not None else bytes(message["bytes"])

    async def _handle_one(self, request: WsRequest) -> None:
        try:
            await self._answer(request)
        finally:
            self._finished()

    async def _handle(self, frame: bytes) -> None:
        """One request before the log-in is complete."""
        try:
            request = decode_json(frame, WsRequest)
        except ApiError as error:
            self._refuse(None, error)
            return
        await self._answer(request)

    async def _answer(self, request: WsRequest) -> None:
        """Always exactly one answer."""
        try:
            self.push(_ENCODER.encode({"id": request.id, "result": await self._call(request)}))
        except Exception as error:
            self._refuse(request.id, error)

    def _refuse(self, request_id: int | str | None, error: Exception) -> None:
        """Answer with why not."""
        if isinstance(error, ApiError):
            body = error_body(error.reason, error.detail, request_id="" if request_id is None else str(request_id))
            self._metrics.refused(error.reason)
        elif isinstance(error, BusError):
            body = error_body(error.reason, str(error))
        else:
            _log.error("request failed", address=self._address, exc_info=error)
            body = error_body(Reason.INTERNAL_ERROR)
        self.push(_ENCODER.encode({"id": request_id, "error": body}))

    async def _call(self, request: WsRequest) -> object:
        if request.method == "login":
            return await self._login(decode_part(request.params, LoginParams))
        identity = self._valid_identity()
        if request.method not in STOPPING_METHODS:
            identity.require_certain()
        params_type, method = self._methods[request.method]
        return await method(decode_part(request.params, params_type))

    def _valid_identity(self) -> Identity:
        """Who is at the other end. Raises ApiError where nobody has logged in, or the log-in holds no more."""
        if self._identity is None:
            raise ApiError(Reason.NOT_AUTHENTICATED, "Send login first.")
        reason = self._identity.void()
        if reason is not None:
            self.close(_POLICY, reason)
            raise ApiError(reason)
        return self._identity

    async def _login(self, params: LoginParams) -> object:
        if self._identity is not None and (params.token or params.key):
            raise ApiError(Reason.CONTRADICTORY_FIELDS, "This connection is logged in already.")
        if params.token and params.key:
            raise ApiError(Reason.CONTRADICTORY_FIELDS, "Send a token or a signature, not both.")
        if params.token:
            self._admit(await self._authenticator.by_token(params.token, self._address))
        elif params.key:
            parts = SignedParts(params.key, params.timestamp, params.nonce, params.signature)
            self._admit(await self._authenticator.by_signature(parts, "GET", _LOGIN_TARGET, b"", self._address))
        if self._identity is None:
            raise ApiError(Reason.MISSING_FIELD, "The field token is missing.")
        self._cancel_on_disconnect = params.cancel_on_disconnect
        principal = self._identity.principal
        return {
            "principal": principal.actor,
            "role": principal.role,
            "accounts": principal.accounts,
            "cancel_on_disconnect": self._cancel_on_disconnect,
        }

    def _admit(self, identity: Identity) -> None:
        """Take the identity on, unless it has as many connections as it may."""
        connections_max = self._settings.connections_per_principal_max
        if self._others_of(identity.principal.actor) >= connections_max:
            raise ApiError(Reason.TOO_MANY_CONNECTIONS, f"You have {connections_max} open already.")
        self._identity = identity

    def _who(self) -> Principal:
        assert self._identity is not None, "methods run after the login only"
        return self._identity.principal

    async def _ping(self, _: NoParams) -> object:
        await spend(self._limiter, self._settings.reads, self._who().actor)
        return {"pong": True}

    async def _subscribe(self, params: ChannelParams) -> object:
        await spend(self._limiter, self._settings.reads, self._who().actor)
        for channel in params.channels:
            symbol = channel.removeprefix(MARKET_PREFIX)
            if symbol != channel:
                await self._answers.markets.instrument(symbol)
            elif channel not in ACCOUNT_CHANNELS | SHARED_CHANNELS | {DECISIONS}:
                known = ", ".join(sorted({*ACCOUNT_CHANNELS, *SHARED_CHANNELS, DECISIONS, "market:SYMBOL"}))
                raise ApiError(Reason.INVALID_VALUE, f"There is no such channel; there are: {known}.")
        if len(self._channels | set(params.channels)) > self._settings.connection_channels_max:
            raise ApiError(
                Reason.INVALID_VALUE, f"A connection has at most {self._settings.connection_channels_max} channels."
            )
        for channel in params.channels:
            self._channels.add(channel)
            self._hub.listen(channel, self)
        await self._hub.joined(params.channels, self)
        return {"channels": sorted(self._channels)}

    async def _unsubscribe(self, params: ChannelParams) -> object:
        for channel in params.channels:
            self._channels.discard(channel)
            self._hub.leave(channel, self)
        return {"channels": sorted(self._channels)}

    async def _submit(self, params: SubmitParams) -> object:
        principal = self._who()
        # Noted before it is sent: a connection that ends meanwhile must not leave the order behind.
        self._accounts_traded.add(the_account(principal, params.account))
        return (await self._answers.submit(principal, params, wait_ms=params.wait_ms, entry="websocket")).body

    async def _cancel(self, params: CancelParams) -> object:
        return (await self._answers.cancel(self._who(), order_key(params), wait_ms=params.wait_ms)).body

    async def _cancel_all(self, params: CancelAllParams) -> object:
        return await self._answers.cancel_all(
            self._who(), account=params.account or "", symbol=params.symbol or "", side=params.side
        )

    async def _replace(self, params: ReplaceOneParams) -> object:
        return (await self._answers.replace(self._who(), order_key(params), params, wait_ms=params.wait_ms)).body

    async def _submit_list(self, params: SubmitListParams) -> object:
        principal = self._who()
        # Noted before it is sent: a connection that ends meanwhile must not leave the list behind.
        self._accounts_traded.add(the_account(principal, params.account))
        _, body = await self._lists.submit(principal, params, wait_ms=params.wait_ms)
        return body

    async def _cancel_list(self, params: CancelListParams) -> object:
        _, body = await self._lists.cancel(self._who(), list_key(params), wait_ms=params.wait_ms)
        return body

    async def _goodbye(self) -> None:
        """Close with the reason, if there is one and the client still listens."""
        if self._closing is None:
            return
        with anyio.move_on_after(_GOODBYE_SECONDS_MAX):
            try:
                await self._websocket.close(self._closing.code, self._closing.reason.name)
            except (RuntimeError, OSError) as error:
                _log.debug("the client was gone already", error=str(error))

    async def _cancel_orders(self) -> None:
        """What cancel_on_disconnect promises: every open order of the accounts that were traded here."""
        if not self._cancel_on_disconnect or self._identity is None:
            return
        principal = self._identity.principal
        for account in sorted(self._accounts_traded):
            try:
                await self._answers.cancel_on_disconnect(principal, account)
            except (ApiError, BusError) as error:
                _log.error("orders of a lost connection were not cancelled", account=account, error=str(error))


def order_key(params: CancelParams | ReplaceOneParams) -> OrderKey:
    """The one order that is named by one of its two ids. Raises ApiError."""
    if (params.order_id is None) == (params.client_order_id is None):
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "Name the order by order_id or by client_order_id.")
    return OrderKey(params.order_id or 0, params.client_order_id or "", params.account or "")


def list_key(params: CancelListParams) -> ListKey:
    """The one list that is named by one of its two ids. Raises ApiError."""
    if (params.list_id is None) == (params.client_list_id is None):
        raise ApiError(Reason.CONTRADICTORY_FIELDS, "Name the list by list_id or by client_list_id.")
    return ListKey(params.list_id or 0, params.client_list_id or "", params.account or "")
