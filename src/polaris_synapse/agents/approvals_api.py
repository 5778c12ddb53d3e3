"""Held orders over HTTP: list, look, decide, and the signed tokens that messengers carry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.agents.approvals import APPROVER_ROLES, Approvals, order_words
from polaris_synapse.agents.approvals_tokens import TOKEN_CHARACTERS_MAX
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.messages import Approval, ApprovalState
from polaris_synapse.domain.money import Asset, format_units
from polaris_synapse.domain.orders import OrderRequest
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.authentication import Authenticator
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct
from polaris_synapse.web.routes import ApiRoute, api_route

_TAG: Final = "Approvals"
_DECIDING: Final = (
    Reason.APPROVAL_NOT_FOUND,
    Reason.APPROVAL_ORDER_CHANGED,
    Reason.APPROVAL_USED,
    Reason.APPROVAL_EXPIRED,
    Reason.APPROVAL_REJECTED,
    Reason.APPROVER_NOT_ALLOWED,
    Reason.OVERLOADED,
    Reason.TIMED_OUT,
)
_TOKEN_REASONS: Final = (Reason.APPROVAL_TOKEN_INVALID, *_DECIDING)
_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Note = Annotated[str, Meta(max_length=1_000)]


class ApprovalsQuery(Struct, frozen=True, kw_only=True):
    """Which requests; without ``state`` all that are remembered."""

    state: ApprovalState | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50


class ApprovalPath(Struct, frozen=True):
    """Which request."""

    approval_id: Annotated[str, Meta(pattern="^[0-9]{1,18}(-[0-9]{1,4})?$")]


class DecisionBody(Struct, frozen=True, kw_only=True):
    """A decision on exactly the order with this hash, as the request showed it."""

    order_hash: _Hash
    note: _Note = ""


class LinkBody(Struct, frozen=True, kw_only=True):
    """What the token is to do: approve, or with false reject."""

    approve: bool = True


class TokenBody(Struct, frozen=True, kw_only=True):
    """A token."""

    token: Annotated[str, Meta(min_length=1, max_length=TOKEN_CHARACTERS_MAX)]


class ApprovalBody(Struct, frozen=True, kw_only=True):
    """A request for approval. ``words`` says the order in full; ``value`` is in the valuation asset."""

    approval_id: str
    account: str
    agent: str
    actor: str
    state: ApprovalState
    words: str
    value: str
    order: OrderRequest
    order_hash: str
    created_time_ns: int
    expires_time_ns: int
    seconds_left: int
    decided_by: str
    decided_role: str
    decided_time_ns: int
    via: str
    note: str
    order_id: int
    reason: str
    detail: str


class ApprovalsBody(Struct, frozen=True, kw_only=True):
    """Requests, newest first."""

    approvals: list[ApprovalBody]


class LinkAnswer(Struct, frozen=True, kw_only=True):
    """A token, and the command that it makes: post the token to ``path``, or say ``command`` to the desk."""

    token: str
    path: str
    command: str
    expires_time_ns: int


class TokenMeaning(Struct, frozen=True, kw_only=True):
    """What a token would do."""

    approve: bool
    approval: ApprovalBody


class _NoParameters(Struct, frozen=True):
    """A query without parameters."""


class ApprovalViews:
    """Requests as the API shows them."""

    def __init__(
        self, approvals: Approvals, instruments: Callable[[], Awaitable[list[Instrument]]], valuation: Asset
    ) -> None:
        self._approvals = approvals
        self._instruments = instruments
        self._valuation = valuation

    async def bodies(self, found: list[Approval]) -> list[ApprovalBody]:
        """The bodies of requests."""
        instruments = {one.symbol: one for one in await self._instruments()} if found else {}
        return [self._body(one, instruments.get(one.order.symbol)) for one in found]

    def _body(self, approval: Approval, instrument: Instrument | None) -> ApprovalBody:
        same = {
            name: getattr(approval, name)
            for name in ApprovalBody.__struct_fields__
            if name not in {"words", "value", "seconds_left", "reason"}
        }
        return ApprovalBody(
            **same,
            words=order_words(approval.order, instrument),
            value=format_units(approval.value_units, self._valuation.decimals),
            seconds_left=self._approvals.seconds_left(approval),
            reason=approval.reason.name,
        )


def approval_routes(approvals: Approvals, views: ApprovalViews, authenticator: Authenticator) -> list[ApiRoute]:
    """Every route about approvals."""
    endpoints = _Endpoints(approvals, views, authenticator)
    return [
        api_route("GET", "/approvals", endpoints.listed, summary="Orders of agents that wait for a person.", tag=_TAG,
                  query=ApprovalsQuery, response=ApprovalsBody),
        # Before the routes with an id, which would take "token" for one.
        api_route("POST", "/approvals/token", endpoints.use_token, summary="Decide with a signed token.",
                  description="Takes no login: the token is one person's decision on one order, and works once.",
                  tag=_TAG, body=TokenBody, response=ApprovalBody, roles=None, reasons=_TOKEN_REASONS),
        api_route("POST", "/approvals/token/meaning", endpoints.describe, summary="What a token would do.",
                  tag=_TAG, body=TokenBody, response=TokenMeaning, roles=None,
                  reasons=(Reason.APPROVAL_TOKEN_INVALID, Reason.APPROVAL_EXPIRED, Reason.APPROVAL_NOT_FOUND)),
        api_route("GET", "/approvals/{approval_id}", endpoints.one, summary="One held order.", tag=_TAG,
                  path_parameters=ApprovalPath, response=ApprovalBody, reasons=(Reason.APPROVAL_NOT_FOUND,)),
        api_route("POST", "/approvals/{approval_id}/approve", endpoints.approve, summary="Approve and place it.",
                  description="Every check looks at the order again. Bound to the hash that the request shows.",
                  tag=_TAG, path_parameters=ApprovalPath, body=DecisionBody, response=ApprovalBody,
                  roles=APPROVER_ROLES, reasons=_DECIDING),
        api_route("POST", "/approvals/{approval_id}/reject", endpoints.reject, summary="Reject it.", tag=_TAG,
                  path_parameters=ApprovalPath, body=DecisionBody, response=ApprovalBody, roles=APPROVER_ROLES,
                  reasons=_DECIDING),
        api_route("POST", "/approvals/{approval_id}/link", endpoints.link, summary="A signed token to decide later.",
                  tag=_TAG, path_parameters=ApprovalPath, body=LinkBody, response=LinkAnswer, roles=APPROVER_ROLES,
                  reasons=(Reason.APPROVAL_NOT_FOUND, Reason.APPROVAL_USED, Reason.APPROVER_NOT_ALLOWED)),
    ]  # fmt: skip


class _Endpoints:
    def __init__(self, approvals: Approvals, views: ApprovalViews, authenticator: Authenticator) -> None:
        self._approvals = approvals
        self._views = views
        self._authenticator = authenticator

    async def listed(self, request: Request) -> Response:
        """GET /approvals."""
        principal = await self._authenticator.authenticate(request)
        query = query_struct(request, ApprovalsQuery)
        found = (await self._approvals.seen_by(principal, state=query.state))[: query.limit]
        return json_response(ApprovalsBody(approvals=await self._views.bodies(found)))

    async def one(self, request: Request) -> Response:
        """GET /approvals/{approval_id}."""
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        approval_id = path_struct(request, ApprovalPath).approval_id
        return await self._shown(await self._approvals.get(principal, approval_id))

    async def approve(self, request: Request) -> Response:
        """POST /approvals/{approval_id}/approve."""
        return await self._decide(request, approve=True)

    async def reject(self, request: Request) -> Response:
        """POST /approvals/{approval_id}/reject."""
        return await self._decide(request, approve=False)

    async def _decide(self, request: Request, *, approve: bool) -> Response:
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        approval_id = path_struct(request, ApprovalPath).approval_id
        body = await read_struct(request, DecisionBody)
        approval, _ = await self._approvals.decide(
            principal, approval_id, approve=approve, order_hash=body.order_hash, note=body.note, via="rest"
        )
        return await self._shown(approval)

    async def link(self, request: Request) -> Response:
        """POST /approvals/{approval_id}/link."""
        principal = await self._authenticator.authenticate(request)
        query_struct(request, _NoParameters)
        approval_id = path_struct(request, ApprovalPath).approval_id
        body = await read_struct(request, LinkBody)
        token, approval = await self._approvals.make_token(principal, approval_id, approve=body.approve)
        answer = LinkAnswer(
            token=token,
            path="/approvals/token",
            command=f"decide {token}",
            expires_time_ns=approval.expires_time_ns,
        )
        return json_response(answer, headers={"cache-control": "no-store"})

    async def use_token(self, request: Request) -> Response:
        """POST /approvals/token. A GET would be followed by every messenger that shows previews of links."""
        query_struct(request, _NoParameters)
        body = await read_struct(request, TokenBody)
        approval, _ = await self._approvals.use_token(body.token, via="token")
        return await self._shown(approval)

    async def describe(self, request: Request) -> Response:
        """POST /approvals/token/meaning."""
        query_struct(request, _NoParameters)
        body = await read_struct(request, TokenBody)
        approval, approve = await self._approvals.describe_token(body.token)
        (shown,) = await self._views.bodies([approval])
        return json_response(TokenMeaning(approve=approve, approval=shown))

    async def _shown(self, approval: Approval) -> Response:
        (body,) = await self._views.bodies([approval])
        return json_response(body)
