"""Accounts as compliance knows them: who stands behind one, and what gates its orders."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from msgspec import Struct, field

from polaris_synapse.domain.messages import AccountKind, AccountStanding, KycState, OpenAccount

#: How many accounts a desk may open; the next one is refused as OVERLOADED.
ACCOUNTS_MAX: Final = 100_000
HOLDER_NAME_CHARACTERS_MAX: Final = 200
NOTE_CHARACTERS_MAX: Final = 1_000
#: The account name that stands for all accounts in a restriction.
EVERY_ACCOUNT: Final = "*"

_ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})", re.ASCII)
_DAYS_IN_MONTH: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Account(Struct):
    """One account's record. ``restricted_symbols`` are its own; those for every account come on top."""

    account: str
    account_kind: AccountKind
    holder_name: str
    country: str
    date_of_birth: str
    operator: str
    opened_time_ns: int
    kyc: KycState
    sanctions_hold: bool = False
    blocked: bool = False
    restricted_symbols: set[str] = field(default_factory=set)
    version: int = 0

    def standing(self, *, restricted_for_all: Collection[str], time_ns: int) -> AccountStanding:
        """All that gates the account's orders now, as the next version."""
        self.version += 1
        return AccountStanding(
            time_ns=time_ns,
            account=self.account,
            account_kind=self.account_kind,
            kyc=self.kyc,
            sanctions_hold=self.sanctions_hold,
            blocked=self.blocked,
            restricted_symbols=tuple(sorted(self.restricted_symbols.union(restricted_for_all))),
            version=self.version,
        )


def new_account(command: OpenAccount) -> Account:
    """The record of a new account. Its identity check is PENDING once there is a holder's name to check."""
    return Account(
        account=command.account,
        account_kind=command.account_kind,
        holder_name=command.holder_name,
        country=command.country,
        date_of_birth=command.date_of_birth,
        operator=command.operator,
        opened_time_ns=command.time_ns,
        kyc=KycState.PENDING if command.holder_name.strip() else KycState.NONE,
    )


def problem_with(command: OpenAccount) -> str:
    """One sentence about the first field of the command that cannot be, or an empty text."""
    if _ACCOUNT_NAME.fullmatch(command.account) is None:
        return "account: 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit"
    if len(command.holder_name) > HOLDER_NAME_CHARACTERS_MAX:
        return f"holder_name: at most {HOLDER_NAME_CHARACTERS_MAX} characters"
    if command.country and _COUNTRY.fullmatch(command.country) is None:
        return "country: two capital letters, such as DE"
    if command.date_of_birth and not is_date(command.date_of_birth):
        return "date_of_birth: a date such as 1980-12-31"
    if len(command.operator) > HOLDER_NAME_CHARACTERS_MAX:
        return f"operator: at most {HOLDER_NAME_CHARACTERS_MAX} characters"
    return ""


def is_date(text: str) -> bool:
    """Whether ``text`` is a day of the Gregorian calendar written ``YYYY-MM-DD``."""
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = (int(part) for part in match.groups())
    if not 1 <= month <= 12 or year < 1:
        return False
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = 29 if month == 2 and leap else _DAYS_IN_MONTH[month - 1]
    return 1 <= day <= days
