"""Opening, halting and calling the books: what a risk officer or an administrator may do."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.domain.instruments import InstrumentStatus
from polaris_synapse.domain.messages import SetInstrumentStatus
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.matching.api_types import SymbolPath
from polaris_synapse.web.authentication import Authenticator, Role
from polaris_synapse.web.bodies import json_response, path_struct, read_struct
from polaris_synapse.web.errors import ApiError
from polaris_synapse.web.routes import ApiRoute, api_route

STATUS_ROLES: Final = (Role.RISK_OFFICER, Role.ADMIN)
_REASONS: Final = (
    Reason.SYMBOL_NOT_FOUND,
    Reason.FEATURE_NOT_SUPPORTED,
    Reason.OVERLOADED,
    Reason.SHUTTING_DOWN,
    Reason.JOURNAL_UNAVAILABLE,
    Reason.TIMED_OUT,
)


class StatusBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The status wanted. TRADING opens; coming from AUCTION it holds the call first."""

    status: InstrumentStatus


class StatusAnswer(Struct, frozen=True, kw_only=True):
    """The status in force, and whether that changed anything."""

    symbol: Annotated[str, Meta(max_length=32)]
    status: InstrumentStatus
    changed: bool


def status_routes(bus: Bus, clock: Clock, authenticator: Authenticator) -> list[ApiRoute]:
    """PUT of an instrument's status. It names any instrument of the desk; AUCTION is for its own books only."""

    async def set_status(request: Request) -> Response:
        principal = await authenticator.authenticate(request)
        principal.require(*STATUS_ROLES)
        symbol = path_struct(request, SymbolPath).symbol
        body = await read_struct(request, StatusBody)
        answer = await bus.request(
            SetInstrumentStatus(time_ns=clock.now_ns(), actor=principal.actor, symbol=symbol, status=body.status)
        )
        if answer.reason is not Reason.NONE:
            raise ApiError(answer.reason, answer.detail)
        return json_response(StatusAnswer(symbol=symbol, status=body.status, changed=not answer.duplicate))

    return [
        api_route("PUT", "/symbols/{symbol}/status", set_status, summary="Open, halt or restrict an instrument.",
                  tag="Books", path_parameters=SymbolPath, body=StatusBody, response=StatusAnswer,
                  roles=STATUS_ROLES, reasons=_REASONS),
    ]  # fmt: skip
