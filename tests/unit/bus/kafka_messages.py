"""Messages as Kafka's tests send them."""

from __future__ import annotations

from polaris_synapse.bus.kafka.wire import Source
from polaris_synapse.domain import messages as m


def standing(version: int) -> m.AccountStanding:
    """What compliance says of an account."""
    return m.AccountStanding(
        time_ns=version,
        account="main",
        account_kind=m.AccountKind.PERSON,
        kyc=m.KycState.APPROVED,
        sanctions_hold=False,
        blocked=False,
        restricted_symbols=(),
        version=version,
    )


def heard(number: int) -> Source:
    """Compliance's output of this number."""
    return Source("compliance", 0, 10 + number, 0, number)
