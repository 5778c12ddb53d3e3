"""How an account's identity check moves, as one literal table."""

from __future__ import annotations

from typing import Final

from polaris_synapse.domain.messages import KycState

_K = KycState

#: ``{state: states an officer may move it to}``. What is not here is refused; a state never moves to itself.
KYC_TRANSITIONS: Final[dict[KycState, frozenset[KycState]]] = {
    # Nothing is approved that was not looked at first, so everything passes through PENDING.
    _K.NONE: frozenset({_K.PENDING}),
    _K.PENDING: frozenset({_K.APPROVED, _K.REJECTED}),
    # A finding after approval: papers ran out, the approval is withdrawn, or the check is opened again.
    _K.APPROVED: frozenset({_K.EXPIRED, _K.REJECTED, _K.PENDING}),
    # An appeal or new papers start the check over.
    _K.REJECTED: frozenset({_K.PENDING}),
    _K.EXPIRED: frozenset({_K.PENDING, _K.REJECTED}),
}


def kyc_may_move(state: KycState, target: KycState) -> bool:
    """Whether an officer may move an identity check from ``state`` to ``target``."""
    return target in KYC_TRANSITIONS[state]


def kyc_moves_from(state: KycState) -> str:
    """The states that may follow, for people: ``"APPROVED or REJECTED"``."""
    return " or ".join(sorted(KYC_TRANSITIONS[state]))
