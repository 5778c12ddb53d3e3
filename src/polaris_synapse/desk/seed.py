"""What a desk needs before its first order: instruments, limits, accounts, paper money, mandates, the agent.

Sent through the bus like anybody's commands, so it is journaled and audited. What has not changed since the last start
is not sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import msgspec

from polaris_synapse.bus.clock import Clock
from polaris_synapse.bus.port import Bus
from polaris_synapse.desk.loading import ConfigurationError
from polaris_synapse.desk.reference_data import agent_of, assets_of, fee_tiers_of, instruments_of, limits_of, mandate_of
from polaris_synapse.desk.settings import EVERY_ACCOUNT, AccountSettings, DeskSettings
from polaris_synapse.domain.messages import (
    AccountKind,
    Command,
    ComplianceRules,
    KycState,
    ListInstrument,
    MoveFunds,
    OpenAccount,
    ReviewKyc,
    SetAgents,
    SetComplianceRules,
    SetFeeTiers,
    SetLimits,
    SetMandate,
)
from polaris_synapse.domain.money import MoneyError, parse_amount
from polaris_synapse.domain.reasons import Reason

_ACTOR = "desk"
#: Answers that say the same command had its effect at an earlier start.
_HAD_ITS_EFFECT = frozenset({Reason.ACCOUNT_EXISTS, Reason.KYC_TRANSITION_NOT_ALLOWED})
_FINGERPRINTS = "seeded.json"


def market_commands(settings: DeskSettings, rules: ComplianceRules) -> Iterator[Command]:
    """The instruments, and the rules that judge everything after them. Raises ConfigurationError."""
    yield SetComplianceRules(time_ns=0, actor=_ACTOR, rules=rules)
    for instrument in instruments_of(settings):
        yield ListInstrument(time_ns=0, actor=_ACTOR, instrument=instrument)


def account_commands(settings: DeskSettings) -> Iterator[Command]:
    """Accounts, money, limits, mandates and the agent, in an order in which each can succeed.

    After the first prices, where they can be had: money is judged at its worth. Raises ConfigurationError.
    """
    valuation = assets_of(settings)[settings.valuation_asset]
    for account in settings.accounts:
        yield from _account_commands(account, settings)
    for name, limits in settings.limits.items():
        # The default for everybody else is the risk service's own to put into force.
        if name != EVERY_ACCOUNT:
            yield SetLimits(time_ns=0, actor=_ACTOR, account=name, limits=limits_of(limits, valuation))
    for name, tiers in settings.fee_tiers.items():
        yield SetFeeTiers(time_ns=0, actor=_ACTOR, account=name, tiers=fee_tiers_of(tiers, valuation))
    for mandate in settings.mandates:
        yield SetMandate(time_ns=0, actor=_ACTOR, mandate=mandate_of(mandate, valuation))
    yield SetAgents(time_ns=0, actor=_ACTOR, settings=agent_of(settings.agent))


def _account_commands(account: AccountSettings, settings: DeskSettings) -> Iterator[Command]:
    yield OpenAccount(
        time_ns=0,
        actor=_ACTOR,
        account=account.name,
        holder_name=account.holder,
        account_kind=AccountKind(account.kind),
        country=account.country,
    )
    if account.kyc_approved:
        yield ReviewKyc(
            time_ns=0,
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
                time_ns=0,
                actor=_ACTOR,
                account=account.name,
                asset=code,
                amount_units=units,
                reference=f"opening-{code}",
            )


class Seeder:
    """Sends commands of the settings, but none that was sent at an earlier start and has not changed since."""

    def __init__(self, bus: Bus, clock: Clock, directory: Path) -> None:
        self._bus = bus
        self._clock = clock
        self._path = directory / _FINGERPRINTS
        self._known: set[str] = set()
        if self._path.is_file():
            self._known = set(msgspec.json.decode(self._path.read_bytes(), type=list[str]))
        self._wanted: set[str] = set()

    async def send(self, commands: Iterable[Command]) -> None:
        """Send what is new. Raises ConfigurationError where the desk refuses one."""
        for command in commands:
            mark = _fingerprint(command)
            self._wanted.add(mark)
            if mark in self._known:
                continue
            answer = await self._bus.request(msgspec.structs.replace(command, time_ns=self._clock.now_ns()))
            if answer.reason is not Reason.NONE and answer.reason not in _HAD_ITS_EFFECT:
                what = type(command).__name__
                raise ConfigurationError(f"The desk refused a setting ({what}): {answer.reason.name}: {answer.detail}")

    def remember(self) -> None:
        """Everything was sent. What left the settings is forgotten: it would be sent again if it came back."""
        if self._wanted != self._known:
            temporary = self._path.with_suffix(".new")
            temporary.write_bytes(msgspec.json.encode(sorted(self._wanted)))
            temporary.replace(self._path)


def _fingerprint(command: Command) -> str:
    return sha256(msgspec.json.encode(command)).hexdigest()
