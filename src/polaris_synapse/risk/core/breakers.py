"""Circuit breakers: scopes that take no new orders until a person closes them again."""

from __future__ import annotations

from polaris_synapse.domain.messages import BreakerChanged
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.risk.core.state import Breaker, Desk


def scope_problem(desk: Desk, scope: str) -> tuple[Reason, str]:
    """Why a scope is none: ``"*"``, ``symbol:X`` and ``account:X`` of what exists are. NONE for a good one."""
    kind, _, name = scope.partition(":")
    if scope == "*" or (kind == "symbol" and name in desk.state.markets):
        return Reason.NONE, ""
    if kind == "account" and name in desk.state.accounts:
        return Reason.NONE, ""
    if kind == "symbol" and name:
        return Reason.SYMBOL_NOT_FOUND, f"There is no instrument {name}."
    if kind == "account" and name:
        return Reason.ACCOUNT_NOT_FOUND, f"There is no account {name}."
    return Reason.INVALID_VALUE, "A scope is *, symbol:NAME or account:NAME."


def trip(desk: Desk, scope: str, reason: Reason, *, note: str, actor: str) -> bool:
    """Trip a scope. Answers whether that changed anything; a person's trip overrides one that lets exits through."""
    before = desk.state.breakers.get(scope)
    if before is not None and (before.reason is Reason.CIRCUIT_BREAKER or reason is not Reason.CIRCUIT_BREAKER):
        return False
    desk.state.breakers[scope] = Breaker(reason, note, actor, desk.time_ns)
    _say(desk, scope, tripped=True, reason=reason, note=note, actor=actor)
    return True


def reset(desk: Desk, scope: str, *, note: str, actor: str) -> Breaker | None:
    """Close a scope again and answer what it was tripped for; None when it was not."""
    before = desk.state.breakers.pop(scope, None)
    if before is not None:
        _say(desk, scope, tripped=False, reason=Reason.NONE, note=note, actor=actor)
    return before


def _say(desk: Desk, scope: str, *, tripped: bool, reason: Reason, note: str, actor: str) -> None:
    desk.out.append(
        BreakerChanged(time_ns=desk.time_ns, scope=scope, tripped=tripped, reason=reason, note=note, actor=actor)
    )
