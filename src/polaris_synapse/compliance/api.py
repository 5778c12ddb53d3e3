"""The compliance service's HTTP interface: accounts, alerts and the audit log.

Alerts, their reviews and the audit log are for compliance officers only: a customer must not learn that somebody looks
at them. Everybody may see the standing of their own accounts, which their refused orders tell them anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.compliance.api_types import (
    AccountBody,
    AccountPath,
    AccountsBody,
    AlertBody,
    AlertPath,
    AlertsBody,
    AlertsQuery,
    AuditBody,
    AuditEntryBody,
    AuditQuery,
    AuditReportBody,
    BlockBody,
    CheckpointsBody,
    CheckpointsQuery,
    DoneBody,
    KycBody,
    OpenAccountBody,
    RestrictionBody,
    ReviewBody,
    SanctionsHoldBody,
)
from polaris_synapse.compliance.audit_reading import KEPT_ELSEWHERE, AuditKeyMissingError, AuditReader
from polaris_synapse.compliance.checkpoints import CheckpointError
from polaris_synapse.compliance.records import ComplianceRecords
from polaris_synapse.domain.messages import (
    Answer,
    Command,
    OpenAccount,
    RestrictInstrument,
    ReviewAlert,
    ReviewKyc,
    SetAccountBlock,
    SetSanctionsHold,
)
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.storage.port import ReadModelsLagError
from polaris_synapse.web.authentication import Authenticator, Principal, Role
from polaris_synapse.web.bodies import json_response, path_struct, query_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.openapi import OpenApiInfo
from polaris_synapse.web.routes import ApiRoute, api_route
from polaris_synapse.web.service import service_app

SERVICE: Final = "compliance-gateway"
_OFFICERS: Final = (Role.COMPLIANCE_OFFICER,)
_COMMAND_REASONS: Final = (
    Reason.OVERLOADED,
    Reason.SHUTTING_DOWN,
    Reason.JOURNAL_UNAVAILABLE,
    Reason.TIMED_OUT,
)


def build_api(
    *,
    bus: Bus,
    clock: Clock,
    registry: CollectorRegistry,
    read_models: ComplianceRecords,
    authenticator: Authenticator,
    audit: AuditReader,
    readiness: Mapping[str, Callable[[], str | None]],
    openapi: OpenApiInfo | None = None,
    allowed_hosts: Sequence[str] = (),
) -> ASGIApp:
    """The ASGI app of the compliance service."""
    handlers = _Handlers(bus, clock, read_models, authenticator, audit)
    return service_app(
        service=SERVICE,
        title="Polaris Synapse compliance",
        routes=[*_account_routes(handlers), *_alert_routes(handlers), *_audit_routes(handlers)],
        registry=registry,
        readiness=readiness,
        openapi=openapi,
        allowed_hosts=allowed_hosts,
    )


def _account_routes(handlers: _Handlers) -> list[ApiRoute]:
    changes = (Reason.ACCOUNT_NOT_FOUND, *_COMMAND_REASONS)
    return [
        api_route("GET", "/accounts", handlers.accounts, summary="The standing of your accounts.", tag="Accounts",
                  response=AccountsBody),
        api_route("GET", "/accounts/{account}", handlers.account, summary="The standing of an account.",
                  tag="Accounts", path_parameters=AccountPath, response=AccountBody,
                  reasons=(Reason.ACCOUNT_NOT_FOUND, Reason.ACCOUNT_NOT_ALLOWED)),
        api_route("POST", "/accounts", handlers.open_account, summary="Open an account.", tag="Accounts", status=201,
                  description="It may trade once its identity check is APPROVED.",
                  body=OpenAccountBody, response=AccountBody, roles=_OFFICERS,
                  reasons=(Reason.ACCOUNT_EXISTS, *_COMMAND_REASONS)),
        api_route("POST", "/accounts/{account}/kyc", handlers.review_kyc, summary="Move an identity check.",
                  tag="Accounts", path_parameters=AccountPath, body=KycBody, response=AccountBody, roles=_OFFICERS,
                  reasons=(Reason.KYC_TRANSITION_NOT_ALLOWED, *changes)),
        api_route("POST", "/accounts/{account}/sanctions-hold", handlers.sanctions_hold, tag="Accounts",
                  summary="Put an account under a sanctions hold, or lift it.", path_parameters=AccountPath,
                  body=SanctionsHoldBody, response=AccountBody, roles=_OFFICERS, reasons=changes),
        api_route("POST", "/accounts/{account}/block", handlers.block, tag="Accounts",
                  summary="Block an account, or lift the block.", path_parameters=AccountPath, body=BlockBody,
                  response=AccountBody, roles=_OFFICERS, reasons=changes),
        api_route("POST", "/restrictions", handlers.restrict, tag="Accounts",
                  summary="Restrict an instrument for an account or for all, or lift it.", body=RestrictionBody,
                  response=DoneBody, roles=_OFFICERS, reasons=(Reason.SYMBOL_NOT_FOUND, *changes)),
    ]  # fmt: skip


def _alert_routes(handlers: _Handlers) -> list[ApiRoute]:
    return [
        api_route("GET", "/alerts", handlers.alerts, summary="Alerts, newest first.", tag="Alerts", query=AlertsQuery,
                  response=AlertsBody, roles=_OFFICERS),
        api_route("POST", "/alerts/{alert_id}/review", handlers.review_alert, summary="Give a finding about an alert.",
                  tag="Alerts", path_parameters=AlertPath, body=ReviewBody, response=DoneBody, roles=_OFFICERS,
                  reasons=(Reason.CASE_NOT_FOUND, *_COMMAND_REASONS)),
    ]  # fmt: skip


def _audit_routes(handlers: _Handlers) -> list[ApiRoute]:
    return [
        api_route("GET", "/audit", handlers.audit, summary="Entries of the audit log, in their order.", tag="Audit",
                  query=AuditQuery, response=AuditBody, roles=_OFFICERS),
        api_route("GET", "/audit/verify", handlers.verify, tag="Audit", response=AuditReportBody, roles=_OFFICERS,
                  summary="Verify the whole audit log against its signed checkpoints.",
                  reasons=(Reason.NOT_READY, Reason.OVERLOADED, Reason.TIMED_OUT, Reason.AUDIT_CHAIN_BROKEN)),
        api_route("GET", "/audit/checkpoints", handlers.checkpoints, tag="Audit", query=CheckpointsQuery,
                  summary="Signed checkpoints and the key they verify with.", response=CheckpointsBody,
                  roles=_OFFICERS, reasons=(Reason.NOT_READY, Reason.AUDIT_CHAIN_BROKEN)),
    ]  # fmt: skip


class _Handlers:
    """The endpoints. Each authenticates first, so that nobody learns from refusals what exists."""

    def __init__(
        self, bus: Bus, clock: Clock, records: ComplianceRecords, authenticator: Authenticator, audit: AuditReader
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._records = records
        self._authenticator = authenticator
        self._audit = audit

    # Accounts

    async def accounts(self, request: Request) -> Response:
        """GET /accounts."""
        principal = await self._authenticator.authenticate(request)
        standings = await self._records.accounts()
        mine = [AccountBody.of(standing) for standing in standings if principal.may_use(standing.account)]
        return json_response(AccountsBody(accounts=sorted(mine, key=lambda body: body.account)))

    async def account(self, request: Request) -> Response:
        """GET /accounts/{account}."""
        principal = await self._authenticator.authenticate(request)
        name = path_struct(request, AccountPath).account
        principal.require_account(name)
        return json_response(await self._standing_of(name))

    async def open_account(self, request: Request) -> Response:
        """POST /accounts."""
        principal = await self._officer(request)
        body = await read_struct(request, OpenAccountBody)
        await self._command(
            OpenAccount(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                account=body.account,
                holder_name=body.holder_name,
                account_kind=body.account_kind,
                country=body.country,
                date_of_birth=body.date_of_birth,
                operator=body.operator,
            )
        )
        return json_response(await self._fresh_standing_of(body.account), 201)

    async def review_kyc(self, request: Request) -> Response:
        """POST /accounts/{account}/kyc."""
        principal = await self._officer(request)
        name = path_struct(request, AccountPath).account
        body = await read_struct(request, KycBody)
        await self._command(
            ReviewKyc(
                time_ns=self._clock.now_ns(), actor=principal.actor, account=name, state=body.state, note=body.note
            )
        )
        return json_response(await self._fresh_standing_of(name))

    async def sanctions_hold(self, request: Request) -> Response:
        """POST /accounts/{account}/sanctions-hold."""
        principal = await self._officer(request)
        name = path_struct(request, AccountPath).account
        body = await read_struct(request, SanctionsHoldBody)
        await self._command(
            SetSanctionsHold(
                time_ns=self._clock.now_ns(), actor=principal.actor, account=name, held=body.held, note=body.note
            )
        )
        return json_response(await self._fresh_standing_of(name))

    async def block(self, request: Request) -> Response:
        """POST /accounts/{account}/block."""
        principal = await self._officer(request)
        name = path_struct(request, AccountPath).account
        body = await read_struct(request, BlockBody)
        await self._command(
            SetAccountBlock(
                time_ns=self._clock.now_ns(), actor=principal.actor, account=name, blocked=body.blocked, note=body.note
            )
        )
        return json_response(await self._fresh_standing_of(name))

    async def restrict(self, request: Request) -> Response:
        """POST /restrictions."""
        principal = await self._officer(request)
        body = await read_struct(request, RestrictionBody)
        answer = await self._command(
            RestrictInstrument(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                account=body.account,
                symbol=body.symbol,
                restricted=body.restricted,
                note=body.note,
            )
        )
        return json_response(DoneBody(changed=not answer.duplicate))

    # Alerts

    async def alerts(self, request: Request) -> Response:
        """GET /alerts."""
        await self._officer(request)
        query = query_struct(request, AlertsQuery)
        found = await self._records.alerts(
            account=query.account or None,
            status="" if query.status is None else query.status.value,
            limit=query.limit,
        )
        return json_response(AlertsBody(alerts=[AlertBody.of(alert) for alert in found]))

    async def review_alert(self, request: Request) -> Response:
        """POST /alerts/{alert_id}/review."""
        principal = await self._officer(request)
        alert_id = path_struct(request, AlertPath).alert_id
        body = await read_struct(request, ReviewBody)
        await self._command(
            ReviewAlert(
                time_ns=self._clock.now_ns(),
                actor=principal.actor,
                alert_id=alert_id,
                disposition=body.disposition.value,
                note=body.note,
            )
        )
        return json_response(DoneBody(changed=True))

    # Audit

    async def audit(self, request: Request) -> Response:
        """GET /audit."""
        await self._officer(request)
        query = query_struct(request, AuditQuery)
        if query.newest and query.after_sequence:
            raise ApiError(Reason.CONTRADICTORY_FIELDS, "Give after_sequence or newest, not both.")
        last = await self._records.last_audit_sequence()
        after = max(last - query.limit, 0) if query.newest else query.after_sequence
        found = await self._records.audit_entries(after_sequence=after, limit=query.limit)
        return json_response(
            AuditBody(
                entries=[AuditEntryBody.of(entry) for entry in found],
                next_after_sequence=found[-1].sequence if found else after,
                last_sequence=last,
            )
        )

    async def verify(self, request: Request) -> Response:
        """GET /audit/verify."""
        await self._officer(request)
        if self._audit.is_verifying:
            raise ApiError(Reason.OVERLOADED, "The log is being verified already; ask again when that is done.")
        try:
            report = await self._audit.verify()
        except AuditKeyMissingError:
            raise _kept_elsewhere() from None
        except CheckpointError as error:
            raise ApiError(Reason.AUDIT_CHAIN_BROKEN, f"{error}.") from None
        except ReadModelsLagError:
            raise ApiError(Reason.TIMED_OUT, "The record is being written; ask again in a moment.") from None
        return json_response(AuditReportBody.of(report))

    async def checkpoints(self, request: Request) -> Response:
        """GET /audit/checkpoints."""
        await self._officer(request)
        query = query_struct(request, CheckpointsQuery)
        try:
            public_key, found = await self._audit.public_key_pem(), await self._audit.checkpoints()
        except AuditKeyMissingError:
            raise _kept_elsewhere() from None
        except CheckpointError as error:
            raise ApiError(Reason.AUDIT_CHAIN_BROKEN, f"{error}.") from None
        wanted = [checkpoint for checkpoint in found if checkpoint.number > query.after_number]
        return json_response(CheckpointsBody(public_key=public_key, checkpoints=wanted[: query.limit]))

    # Helpers

    async def _officer(self, request: Request) -> Principal:
        principal = await self._authenticator.authenticate(request)
        principal.require(*_OFFICERS)
        return principal

    async def _command(self, command: Command) -> Answer:
        answer = await self._bus.request(command)
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, f"{answer.detail}." if answer.detail else "")
        return answer

    async def _fresh_standing_of(self, account: str) -> AccountBody:
        """The standing with the command's own effect in it."""
        try:
            await self._records.caught_up()
        except ReadModelsLagError:
            raise ApiError(Reason.TIMED_OUT, f"It is done; ask for account {account} in a moment.") from None
        return await self._standing_of(account)

    async def _standing_of(self, account: str) -> AccountBody:
        for standing in await self._records.accounts():
            if standing.account == account:
                return AccountBody.of(standing)
        raise ApiError(Reason.ACCOUNT_NOT_FOUND, f"account {account}.")


def _kept_elsewhere() -> ApiError:
    """The key and the checkpoints of the audit log are not on this machine, or not yet."""
    return ApiError(Reason.NOT_READY, KEPT_ELSEWHERE, headers={"retry-after": "1"})
