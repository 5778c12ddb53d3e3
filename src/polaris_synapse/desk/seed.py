"""What a desk needs before its first order: instruments, limits, accounts, paper money, mandates, the agent.

Sent through the bus like anybody's commands, so it is journaled and audited. What has not changed since the last start
is not sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.reference_data import agent_of, assets_of, instruments_of, limits_of, mandate_of
from polaris_synapse.desk.settings import EVERY_ACCOUNT, AccountSettings, DeskSettings
from polaris_synapse.domain.messages import (
    AccountKind,
    Command,
    KycState,
    ListInstrument,
    MoveFunds,
    OpenAccount,
    ReviewKyc,
    SetAgents,
    SetLimits,
    SetMandate,
)
from polaris_synapse.domain.money import MoneyError, parse_amount
from polaris_synapse.domain.reasons import Reason

_ACTOR = "desk"
#: Answers that say the same command had its effect at an earlier start.
_HAD_ITS_EFFECT = frozenset({Reason.ACCOUNT_EXISTS, Reason.KYC_TRANSITION_NOT_ALLOWED})
_FINGERPRINTS = "seeded.json"


def seed_commands(settings: DeskSettings, time_ns: int) -> Iterator[Command]:
    """Every command, in an order in which each can succeed. Raises ConfigurationError."""
    valuation = assets_of(settings)[settings.valuation_asset]
    for instrument in instruments_of(settings):
        yield ListInstrument(time_ns=time_ns, actor=_ACTOR, instrument=instrument)
    for account in settings.accounts:
        yield from _account_commands(account, settings, time_ns)
    for name, limits in settings.limits.items():
        # The default for everybody else is the risk service's own to put into force.
        if name != EVERY_ACCOUNT:
            yield SetLimits(time_ns=time_ns, actor=_ACTOR, account=name, limits=limits_of(limits, valuation))
    for mandate in settings.mandates:
        yield SetMandate(time_ns=time_ns, actor=_ACTOR, mandate=mandate_of(mandate, valuation))
    yield SetAgents(time_ns=time_ns, actor=_ACTOR, settings=agent_of(settings.agent))


def _account_commands(account: AccountSettings, settings: DeskSettings, time_ns: int) -> Iterator[Command]:
    yield OpenAccount(
        time_ns=time_ns,
        actor=_ACTOR,
        account=account.name,
        holder_name=account.holder,
        account_kind=AccountKind(account.kind),
        country=account.country,
    )
    if account.kyc_approved:
        yield ReviewKyc(
            time_ns=time_ns,
            actor=_ACTOR,
            account=account.name,
            state=KycState.APPROVED,
            note="paper account from the settings",
        )
    assets = assets_of(settings)
    for code, text in account.deposits.items():
        try:
            units = parse_amount(text, assets[code])
        except MoneyError as error:
            raise ConfigurationError(f"The deposit of {account.name} is not usable: {error}.") from None
        if units:
            yield MoveFunds(
                time_ns=time_ns,
                actor=_ACTOR,
                account=account.name,
                asset=code,
                amount_units=units,
                reference=f"opening-{code}",
            )


async def seed(bus: Bus, settings: DeskSettings, clock: Clock, directory: Path) -> int:
    """Send what is new or changed; the number of commands sent. Raises ConfigurationError where one is refused."""
    path = directory / _FINGERPRINTS
    known = set(msgspec.json.decode(path.read_bytes(), type=list[str])) if path.is_file() else set()
    commands = list(seed_commands(settings, 0))
    prints = [_fingerprint(command) for command in commands]
    sent = 0
    for command, mark in zip(commands, prints, strict=True):
        if mark in known:
            continue
        answer = await bus.request(msgspec.structs.replace(command, time_ns=clock.now_ns()))
        if answer.reason is not Reason.NONE and answer.reason not in _HAD_ITS_EFFECT:
            what = type(command).__name__
            raise ConfigurationError(f"The desk refused a setting ({what}): {answer.reason.name}: {answer.detail}")
        sent += 1
    if sent or known != set(prints):
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(sorted(set(prints))))
        temporary.replace(path)
    return sent


def _fingerprint(command: Command) -> str:
    return sha256(msgspec.json.encode(command)).hexdigest()
