"""The order port: orders over plain TCP, for programs that trade fast.

It takes the WebSocket's requests in frames of MessagePack (see ``order_frames``) and gives the same answers with the
same checks, roles and budgets, without HTTP around them and without a task a request. What one commit answered leaves
in one write a connection. It has no channels: who wants to hear facts opens the WebSocket beside it.

A connection is bounded in what it may have under way, in the size of a frame, and in how long it may take to log in,
to finish a frame and to read its answers. While it has too much under way nothing more of it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from polaris_synapse.bus.port import BusError
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.answers import Outcome
from polaris_synapse.order_gateway.authentication import Identity, SignedParts
from polaris_synapse.order_gateway.brief import shortened
from polaris_synapse.order_gateway.entry import the_account
from polaris_synapse.order_gateway.limits import spend
from polaris_synapse.order_gateway.order_frames import (
    HEAD_BYTES,
    LOGIN_METHOD,
    LOGIN_TARGET,
    CancelAllRequest,
    CancelListRequest,
    CancelRequest,
    LoginRequest,
    PortAnswer,
    PortLoginParams,
    PortRefusal,
    PortRequest,
    ReplaceRequest,
    SubmitListRequest,
    SubmitRequest,
    frame,
    read_request,
    request_id_of,
)
from polaris_synapse.order_gateway.order_port_settings import OrderPortSettings
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.order_gateway.session import list_key, order_key
from polaris_synapse.order_gateway.views import OrderAnswer
from polaris_synapse.web.errors import ApiError, error_body

_log = structlog.get_logger(__name__)
_CHECK_SECONDS: Final = 0.5
_CONNECTIONS_WAITING_MAX: Final = 128


class OrderPort:
    """The listening side. ``port`` is the actual one once ``run`` has said that it started."""

    def __init__(self, service: GatewayService, settings: OrderPortSettings) -> None:
        self.service = service
        self.settings = settings
        self.port = settings.port
        self.connections: set[Connection] = set()
        self.group: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Raises OSError where the address cannot be had."""
        settings = self.settings
        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: Connection(self), settings.host, settings.port, backlog=_CONNECTIONS_WAITING_MAX
            )
        except OSError as error:
            where = f"the order port cannot listen on {settings.host}:{settings.port}"
            raise OSError(error.errno, f"{where}: {error.strerror or error}") from error
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            async with anyio.create_task_group() as group:
                self.group = group
                group.start_soon(self._watch)
                task_status.started()
        finally:
            self.group = None
            server.close()
            with anyio.CancelScope(shield=True):
                await self._say_goodbye()

    async def _watch(self) -> None:
        """End the connections whose log-in is void, and those that keep us waiting."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            now = loop.time()
            for connection in tuple(self.connections):
                connection.look_after(now)

    async def _say_goodbye(self) -> None:
        for connection in tuple(self.connections):
            connection.close(Reason.SHUTTING_DOWN)
        with anyio.move_on_after(self.settings.shutdown_seconds_max):
            while self.connections:  # noqa: ASYNC110  # connections end one by one, each in its own time
                await asyncio.sleep(0.01)
        for connection in tuple(self.connections):
            connection.abort()

    def others_of(self, actor: str) -> int:
        """How many connections a principal has open here."""
        return sum(other.actor == actor for other in self.connections)


class Connection(asyncio.Protocol):
    """One client, from connecting to the end."""

    def __init__(self, port: OrderPort) -> None:
        self._port = port
        self._service = port.service
        self._settings = port.settings
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._address = ""
        self._rest = b""
        self._outbox: list[bytes] = []
        self._identity: Identity | None = None
        self._brief = False
        self._cancel_on_disconnect = False
        self._accounts_traded: set[str] = set()
        self._in_flight = 0
        #: Why nothing is read at the moment: a log-in under way, too much in flight, answers that nobody reads.
        self._logging_in = self._full = self._stalled = False
        self._stalled_at = self._frame_begun_at = float("inf")
        self._connected_at = self._loop.time()
        self._ended = False

    @property
    def actor(self) -> str:
        """Who is at the other end; empty until that is known."""
        return self._identity.principal.actor if self._identity else ""

    # --- what the event loop calls ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # it is TCP
        """Take the connection, unless there are too many."""
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._port.connections.add(self)
        self._service.metrics.connections.inc()
        if (plain := transport.get_extra_info("socket")) is not None:
            with contextlib.suppress(OSError):  # the client has gone already; connection_lost follows
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connections_max = self._settings.connections_max
        if len(self._port.connections) > connections_max:
            self.close(Reason.TOO_MANY_CONNECTIONS, f"At most {connections_max} are open at once.")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._ended = True
        self._rest, self._outbox = b"", []
        self._port.connections.discard(self)
        self._service.metrics.connections.dec()
        if self._cancel_on_disconnect and self._accounts_traded and self._port.group is not None:
            self._port.group.start_soon(self._cancel_orders)

    def data_received(self, data: bytes) -> None:
        """Take the frames that are whole."""
        if self._ended:
            return
        self._rest = self._rest + data if self._rest else data
        self._take_frames()

    def eof_received(self) -> bool:
        """The client sends no more; what it asked for is still answered."""
        return not self._ended and self._in_flight > 0

    def pause_writing(self) -> None:
        """The client does not read its answers: ask it for no more."""
        self._stalled, self._stalled_at = True, self._loop.time()
        self._pace()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stalled, self._stalled_at = False, float("inf")
        self._pace()
        self._take_frames()

    # --- frames in ---

    @property
    def _waits(self) -> bool:
        return self._logging_in or self._full or self._stalled

    def _take_frames(self) -> None:
        data, position, frame_max = self._rest, 0, self._settings.frame_bytes_max
        end = len(data)
        while not self._waits and not self._ended and end - position >= HEAD_BYTES:
            start = position + HEAD_BYTES
            stop = start + int.from_bytes(data[position:start], "big")
            if stop - start > frame_max:
                self.close(Reason.BODY_TOO_LARGE, f"A frame has at most {frame_max} bytes.")
                return
            if stop > end:
                break
            position = stop
            self._take(data[start:stop])
        if self._ended:
            return
        self._rest = data[position:] if position else data
        if not self._rest or self._waits:
            self._frame_begun_at = float("inf")
        elif position or self._frame_begun_at == float("inf"):
            self._frame_begun_at = self._loop.time()

    def _take(self, payload: bytes) -> None:
        """One request: orders leave at once, so that all that arrived together share a commit."""
        try:
            request = read_request(payload)
        except ApiError as error:
            self._refuse(request_id_of(payload), error)
            return
        self._begin()
        try:
            if isinstance(request, LoginRequest):
                self._logging_in = True
                self._pace()
                self._start(request.id, partial(self._login, request.params))
            elif not (isinstance(request, SubmitRequest) and self._submit_soon(request)):
                self._start(request.id, partial(self._call, request))
        except Exception as error:
            self._refuse(request.id, error)
            self._finished()

    def _begin(self) -> None:
        self._in_flight += 1
        if self._in_flight >= self._settings.requests_in_flight_max:
            self._full = True
            self._pace()

    def _finished(self) -> None:
        self._in_flight -= 1
        if self._full and self._in_flight <= self._settings.requests_in_flight_max // 2:
            self._full = False
            # Not here: it may be one answer of many of a commit.
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._pace()
        self._take_frames()

    def _pace(self) -> None:
        """Read, or leave what comes to the operating system, which then holds the client back."""
        transport = self._transport
        if transport is None or self._ended or transport.is_closing():
            return
        if self._waits:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # --- requests ---

    def _submit_soon(self, request: SubmitRequest) -> bool:
        """Send an order on its way; False where something has to be waited for. Raises ApiError."""
        identity = self._valid_identity()
        identity.require_certain()
        principal = identity.principal
        params = request.params
        if params.wait_ms:
            return False
        account = self._service.answers.submit_soon(
            principal, params, partial(self._order_answered, request.id), entry="order_port", brief=self._brief
        )
        if account is None:
            return False
        self._accounts_traded.add(account)
        return True

    def _order_answered(self, request_id: int | str, outcome: Outcome | Exception) -> None:
        if isinstance(outcome, Exception):
            self._refuse(request_id, outcome)
        else:
            self._push(PortAnswer(id=request_id, result=outcome.body))
        self._finished()

    def _start(self, request_id: int | str, work: Callable[[], Awaitable[object]]) -> None:
        """Do what has to be waited for, in a task of the port."""
        group = self._port.group
        if group is None:
            raise ApiError(Reason.SHUTTING_DOWN)
        group.start_soon(self._answer, request_id, work)

    async def _answer(self, request_id: int | str, work: Callable[[], Awaitable[object]]) -> None:
        """Always exactly one answer."""
        try:
            self._push(PortAnswer(id=request_id, result=await work()))
        except Exception as error:
            self._refuse(request_id, error)
        finally:
            self._finished()

    async def _call(self, request: PortRequest) -> object:
        identity = self._valid_identity()
        if isinstance(request, SubmitRequest | ReplaceRequest | SubmitListRequest):
            identity.require_certain()
        principal, answers = identity.principal, self._service.answers
        if isinstance(request, SubmitRequest):
            params = request.params
            outcome = await answers.submit(principal, params, wait_ms=params.wait_ms, entry="order_port")
            self._accounts_traded.add(outcome.account)
            return self._body(outcome)
        if isinstance(request, CancelRequest):
            wait_ms = request.params.wait_ms
            return self._body(await answers.cancel(principal, order_key(request.params), wait_ms=wait_ms))
        if isinstance(request, ReplaceRequest):
            changes = request.params
            key = order_key(changes)
            return self._body(await answers.replace(principal, key, changes, wait_ms=changes.wait_ms))
        if isinstance(request, CancelAllRequest):
            wanted = request.params
            return await answers.cancel_all(
                principal, account=wanted.account or "", symbol=wanted.symbol or "", side=wanted.side
            )
        if isinstance(request, SubmitListRequest):
            wanted_list = request.params
            # Noted before it is sent: a connection that ends meanwhile must not leave the list behind.
            self._accounts_traded.add(the_account(principal, wanted_list.account))
            _, placed = await self._service.lists.submit(principal, wanted_list, wait_ms=wanted_list.wait_ms)
            return placed
        if isinstance(request, CancelListRequest):
            key_of_list = list_key(request.params)
            _, cancelled = await self._service.lists.cancel(principal, key_of_list, wait_ms=request.params.wait_ms)
            return cancelled
        await spend(self._service.limiter, self._service.settings.reads, principal.actor)
        return {"pong": True}

    def _body(self, outcome: Outcome) -> object:
        body = outcome.body
        if not self._brief or not isinstance(body, OrderAnswer):
            return body
        return shortened(body)

    # --- who is there ---

    def _valid_identity(self) -> Identity:
        """Who is at the other end. Raises ApiError where nobody has logged in, or the log-in holds no more."""
        if self._identity is None:
            raise ApiError(Reason.NOT_AUTHENTICATED, "Send login first.")
        if (reason := self._identity.void()) is not None:
            self.close(reason)
            raise ApiError(reason)
        return self._identity

    async def _login(self, params: PortLoginParams) -> object:
        """Take an identity on. Nothing else of this connection is read meanwhile."""
        try:
            if self._identity is not None:
                raise ApiError(Reason.CONTRADICTORY_FIELDS, "This connection is logged in already.")
            if bool(params.token) == bool(params.key):
                raise ApiError(Reason.CONTRADICTORY_FIELDS, "Send either a token or a signature.")
            authenticator = self._service.authenticator
            if params.token:
                identity = await authenticator.by_token(params.token, self._address)
            else:
                parts = SignedParts(params.key, params.timestamp, params.nonce, params.signature)
                identity = await authenticator.by_signature(parts, LOGIN_METHOD, LOGIN_TARGET, b"", self._address)
            principal, connections_max = identity.principal, self._settings.connections_per_principal_max
            if self._port.others_of(principal.actor) >= connections_max:
                raise ApiError(Reason.TOO_MANY_CONNECTIONS, f"You have {connections_max} open already.")
            self._identity, self._brief = identity, params.answers == "BRIEF"
            self._cancel_on_disconnect = params.cancel_on_disconnect
            return {
                "principal": principal.actor,
                "role": principal.role,
                "accounts": principal.accounts,
                "cancel_on_disconnect": params.cancel_on_disconnect,
                "answers": params.answers,
            }
        finally:
            self._logging_in = False
            self._loop.call_soon(self._go_on)

    # --- answers out ---

    def _push(self, body: PortAnswer | PortRefusal) -> None:
        """Queue an answer; all of one turn of the event loop leave in one write."""
        if self._ended:
            return
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(frame(body))

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        if outbox and self._transport is not None and not self._ended:
            self._transport.write(b"".join(outbox))

    def _refuse(self, request_id: int | str | None, error: Exception) -> None:
        """Answer with why not."""
        if isinstance(error, ApiError):
            body = error_body(error.reason, error.detail, request_id="" if request_id is None else str(request_id))
            self._service.metrics.refused(error.reason)
        elif isinstance(error, BusError):
            body = error_body(error.reason, str(error))
        else:
            _log.error("request failed", address=self._address, exc_info=error)
            body = error_body(Reason.INTERNAL_ERROR)
        self._push(PortRefusal(id=request_id, error=body))

    # --- the end ---

    def close(self, reason: Reason, detail: str = "") -> None:
        """Say why, after the answers that are ready, and end the connection."""
        if self._ended or self._transport is None:
            return
        self._push(PortRefusal(id=None, error=error_body(reason, detail)))
        self._flush()
        self._ended = True
        self._service.metrics.dropped.labels(reason.name).inc()
        self._transport.close()

    def abort(self) -> None:
        """End the connection at once, whatever was still to be sent."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()

    def look_after(self, now: float) -> None:
        """End the connection whose token or key is void, or whose client takes too long. ``now``: the loop's time."""
        settings = self._settings
        if now - self._stalled_at > settings.stalled_write_seconds_max:
            self._service.metrics.dropped.labels(Reason.SLOW_CONSUMER.name).inc()
            self.abort()
        elif now - self._frame_begun_at > settings.frame_seconds_max:
            self.close(Reason.REQUEST_TOO_SLOW)
        elif self._identity is None:
            if now - self._connected_at > settings.login_seconds_max:
                self.close(Reason.NOT_AUTHENTICATED, "Send login first.")
        elif (reason := self._identity.void()) is not None:
            self.close(reason)

    async def _cancel_orders(self) -> None:
        """What cancel_on_disconnect promises: every open order of the accounts that were traded here."""
        assert self._identity is not None, "only who has logged in has traded"
        for account in sorted(self._accounts_traded):
            try:
                await self._service.answers.cancel_on_disconnect(self._identity.principal, account)
            except (ApiError, BusError) as error:
                _log.error("orders of a lost connection were not cancelled", account=account, error=str(error))
