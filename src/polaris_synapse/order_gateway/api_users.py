"""Routes to log in and out, and for administrators to manage users and keys."""

from __future__ import annotations

import ipaddress
from typing import Annotated

import anyio
import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.order_gateway.credentials import (
    PASSWORD_CHARACTERS_MAX,
    PASSWORD_CHARACTERS_MIN,
    ApiKey,
    CredentialError,
    User,
)
from polaris_synapse.order_gateway.order_parsing import parse_time
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.order_gateway.viewing import iso_time
from polaris_synapse.web.authentication import Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct, refuse_body
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route
from polaris_synapse.web.service import client_address
from polaris_synapse.web.signing import Algorithm

UserName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}(?!\n)$", max_length=32)]
KeyId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(?!\n)$", max_length=64)]
AccountOrAll = Annotated[str, Meta(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9_.-]{0,63})(?!\n)$", max_length=64)]
Accounts = Annotated[tuple[AccountOrAll, ...], Meta(max_length=100)]
Password = Annotated[str, Meta(min_length=1, max_length=PASSWORD_CHARACTERS_MAX)]
NewPassword = Annotated[str, Meta(min_length=PASSWORD_CHARACTERS_MIN, max_length=PASSWORD_CHARACTERS_MAX)]


class NoQuery(Struct, frozen=True, kw_only=True):
    """No parameters."""


class LoginBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name and its password."""

    username: Annotated[str, Meta(min_length=1, max_length=64)]
    password: Password


class LoginAnswer(Struct, frozen=True, kw_only=True):
    """Send ``access_token`` as ``Authorization: Bearer ...`` until ``expires_time``."""

    access_token: str
    token_type: str
    expires_time: str
    expires_seconds: int


class Done(Struct, frozen=True, kw_only=True):
    """It is done."""

    done: bool = True


class UserBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to add or to change; a change voids every token of theirs."""

    username: UserName
    password: NewPassword
    role: Role
    accounts: Accounts = ()


class UserView(Struct, frozen=True, kw_only=True):
    """A user, without anything secret."""

    username: str
    role: str
    accounts: tuple[str, ...]
    disabled: bool
    created_time: str


class UsersAnswer(Struct, frozen=True, kw_only=True):
    """Users by name."""

    users: list[UserView]


class KeyBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to add. ``public_key``: the 32 bytes of an Ed25519 public key in base64; its owner keeps the private one.

    ``owner`` is the agent's name for a key of role AGENT. ``addresses`` are networks such as ``10.0.0.0/8``.
    """

    key_id: KeyId
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    role: Role
    accounts: Accounts = ()
    owner: Annotated[str, Meta(pattern=r"^([a-z0-9][a-z0-9_.-]{0,31})?(?!\n)$", max_length=32)] = ""
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=32)] = ()
    expire_time: Annotated[str, Meta(max_length=32)] | None = None


class KeyView(Struct, frozen=True, kw_only=True):
    """A key, without anything secret."""

    key_id: str
    algorithm: str
    role: str
    accounts: tuple[str, ...]
    owner: str
    addresses: tuple[str, ...]
    expire_time: str
    revoked: bool
    created_time: str


class KeysAnswer(Struct, frozen=True, kw_only=True):
    """Keys by id."""

    keys: list[KeyView]


class UserPath(Struct, frozen=True, kw_only=True):
    """A user."""

    username: UserName


class KeyPath(Struct, frozen=True, kw_only=True):
    """A key."""

    key_id: KeyId


class _Users:
    """The endpoints."""

    def __init__(self, service: GatewayService) -> None:
        self._service = service
        self._store = service.credentials

    async def log_in(self, request: Request) -> Response:
        query_struct(request, NoQuery)
        body = await read_struct(request, LoginBody, bytes_max=4_096)
        issued = await self._service.authenticator.log_in(body.username, body.password, client_address(request))
        answer = LoginAnswer(
            access_token=issued.token,
            token_type="Bearer",  # noqa: S106  # the name of the scheme
            expires_time=iso_time(issued.expires_time_s * 1_000_000_000),
            expires_seconds=self._service.settings.session_minutes * 60,
        )
        return json_response(answer)

    async def log_out(self, request: Request) -> Response:
        query_struct(request, NoQuery)
        await refuse_body(request)
        await self._service.authenticator.log_out(request)
        return json_response(Done())

    async def _administrator(self, request: Request) -> Principal:
        principal = await self._service.authenticator.authenticate(request)
        principal.require()
        query_struct(request, NoQuery)
        return principal

    async def users(self, request: Request) -> Response:
        await self._administrator(request)
        return json_response(UsersAnswer(users=[_user_view(user) for user in self._store.all_users()]))

    async def put_user(self, request: Request) -> Response:
        principal = await self._administrator(request)
        body = await read_struct(request, UserBody)
        try:
            user = User(
                name=body.username,
                password_hash=await self._service.passwords.hash(body.password),
                role=body.role,
                accounts=body.accounts,
                created_time_ns=self._service.clock.now_ns(),
            )
            stored = await anyio.to_thread.run_sync(self._store.put_user, user)
        except CredentialError as error:
            raise ApiError(Reason.INVALID_VALUE, str(error)) from None
        self._service.audit.note(principal.actor, "user.set", f"user:{stored.name}", f"role {stored.role}")
        return json_response(_user_view(stored))

    async def disable_user(self, request: Request) -> Response:
        principal = await self._administrator(request)
        await refuse_body(request)
        user = self._store.user(path_struct(request, UserPath).username)
        if user is None:
            raise ApiError(Reason.NOT_FOUND, "There is no such user.")
        disabled = msgspec.structs.replace(user, disabled=True)
        stored = await anyio.to_thread.run_sync(self._store.put_user, disabled)
        self._service.audit.note(principal.actor, "user.disabled", f"user:{stored.name}")
        return json_response(_user_view(stored))

    async def keys(self, request: Request) -> Response:
        await self._administrator(request)
        return json_response(KeysAnswer(keys=[_key_view(key) for key in self._store.all_keys()]))

    async def put_key(self, request: Request) -> Response:
        principal = await self._administrator(request)
        body = await read_struct(request, KeyBody)
        for network in body.addresses:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError:
                raise ApiError(Reason.INVALID_VALUE, "addresses: write networks such as 10.0.0.0/8.") from None
        if self._store.key(body.key_id) is not None:
            raise ApiError(Reason.INVALID_VALUE, "key_id: there is a key of that id; add the new one under another.")
        key = ApiKey(
            key_id=body.key_id,
            algorithm=Algorithm.ED25519,
            verifier=body.public_key,
            role=body.role,
            accounts=body.accounts,
            owner=body.owner,
            addresses=body.addresses,
            expires_time_ns=parse_time("expire_time", body.expire_time),
            created_time_ns=self._service.clock.now_ns(),
        )
        try:
            await anyio.to_thread.run_sync(self._store.put_key, key)
        except CredentialError as error:
            raise ApiError(Reason.INVALID_VALUE, str(error)) from None
        self._service.audit.note(principal.actor, "key.added", f"key:{key.key_id}", f"role {key.role}")
        return json_response(_key_view(key), 201)

    async def revoke_key(self, request: Request) -> Response:
        principal = await self._administrator(request)
        await refuse_body(request)
        key = self._store.key(path_struct(request, KeyPath).key_id)
        if key is None:
            raise ApiError(Reason.NOT_FOUND, "There is no such key.")
        revoked = msgspec.structs.replace(key, revoked=True)
        await anyio.to_thread.run_sync(self._store.put_key, revoked)
        self._service.audit.note(principal.actor, "key.revoked", f"key:{key.key_id}")
        return json_response(_key_view(revoked))


def _user_view(user: User) -> UserView:
    return UserView(
        username=user.name,
        role=user.role,
        accounts=user.accounts,
        disabled=user.disabled,
        created_time=iso_time(user.created_time_ns),
    )


def _key_view(key: ApiKey) -> KeyView:
    return KeyView(
        key_id=key.key_id,
        algorithm=key.algorithm,
        role=key.role,
        accounts=key.accounts,
        owner=key.owner,
        addresses=key.addresses,
        expire_time=iso_time(key.expires_time_ns),
        revoked=key.revoked,
        created_time=iso_time(key.created_time_ns),
    )


def user_routes(service: GatewayService) -> list[ApiRoute]:
    """Log-in, log-out, users and keys."""
    users = _Users(service)
    admin = (Role.ADMIN,)
    return [
        api_route("POST", "/login", users.log_in, summary="Log in.", tag="Authentication", body=LoginBody,
                  query=NoQuery, response=LoginAnswer, roles=None,
                  reasons=(Reason.INVALID_CREDENTIALS, Reason.RATE_LIMITED)),
        api_route("POST", "/logout", users.log_out, summary="Void the token that this request carries.",
                  tag="Authentication", query=NoQuery, response=Done),
        api_route("GET", "/users", users.users, summary="Users.", tag="Users and keys", query=NoQuery,
                  response=UsersAnswer, roles=admin),
        api_route("POST", "/users", users.put_user, summary="Add or change a user.", tag="Users and keys",
                  query=NoQuery, body=UserBody, response=UserView, roles=admin),
        api_route("DELETE", "/users/{username}", users.disable_user, summary="Disable a user.", query=NoQuery,
                  tag="Users and keys", path_parameters=UserPath, response=UserView, roles=admin,
                  reasons=(Reason.NOT_FOUND,)),
        api_route("GET", "/keys", users.keys, summary="Keys.", tag="Users and keys", query=NoQuery,
                  response=KeysAnswer, roles=admin),
        api_route("POST", "/keys", users.put_key, summary="Add a key.", tag="Users and keys", query=NoQuery,
                  body=KeyBody, response=KeyView, status=201, roles=admin),
        api_route("DELETE", "/keys/{key_id}", users.revoke_key, summary="Revoke a key.", tag="Users and keys",
                  query=NoQuery, path_parameters=KeyPath, response=KeyView, roles=admin,
                  reasons=(Reason.NOT_FOUND,)),
    ]  # fmt: skip
