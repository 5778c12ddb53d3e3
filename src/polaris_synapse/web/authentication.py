"""Who is asking: roles, principals, and the port that tells them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol

from msgspec import Struct
from starlette.requests import HTTPConnection

from polaris_synapse.domain.reasons import Reason
from polaris_synapse.web.errors import ApiError

#: In ``Principal.accounts``: every account.
ALL_ACCOUNTS: Final = "*"


class Role(StrEnum):
    """What a person, a key or an agent is there for. ADMIN may do everything."""

    VIEWER = "VIEWER"
    TRADER = "TRADER"
    RISK_OFFICER = "RISK_OFFICER"
    COMPLIANCE_OFFICER = "COMPLIANCE_OFFICER"
    ADMIN = "ADMIN"
    AGENT = "AGENT"


class Principal(Struct, frozen=True):
    """Somebody who proved who they are. ``accounts`` are those they may see and use; ``("*",)`` means all.

    ``kind`` says how they proved it: ``"user"`` (a login), ``"key"`` (a signed request), ``"agent"`` or ``"desk"``.
    """

    name: str
    role: Role
    accounts: tuple[str, ...]
    kind: str = "user"

    @property
    def actor(self) -> str:
        """The name in the audit log and on commands: ``"user:alice"``, ``"key:9f3a"``, ``"agent:jarvis"``."""
        return f"{'agent' if self.role is Role.AGENT else self.kind}:{self.name}"

    @property
    def all_accounts(self) -> bool:
        """Whether every account is theirs to use."""
        return ALL_ACCOUNTS in self.accounts

    def may_use(self, account: str) -> bool:
        """Whether ``account`` is theirs to use."""
        return account in self.accounts or ALL_ACCOUNTS in self.accounts

    def require(self, *roles: Role) -> None:
        """Refuse with ROLE_NOT_ALLOWED unless the role is one of ``roles`` or ADMIN."""
        if self.role is not Role.ADMIN and self.role not in roles:
            needed = ", ".join(sorted({*roles, Role.ADMIN}))
            raise ApiError(Reason.ROLE_NOT_ALLOWED, f"{self.role} may not do this; it takes one of: {needed}.")

    def require_account(self, account: str) -> None:
        """Refuse with ACCOUNT_NOT_ALLOWED unless ``account`` is theirs to use.

        The same answer whether the account exists or not, so nobody can learn which ones do.
        """
        if not self.may_use(account):
            raise ApiError(Reason.ACCOUNT_NOT_ALLOWED)

    def account_filter(self, account: str = "") -> Sequence[str] | None:
        """The accounts a read covers: the one asked for, else all of theirs; None stands for every account."""
        if account:
            self.require_account(account)
            return (account,)
        return None if self.all_accounts else self.accounts


class Authenticator(Protocol):
    """Tells who sent a request or opened a WebSocket."""

    async def authenticate(self, connection: HTTPConnection, /) -> Principal:
        """The principal. Raises ApiError (NOT_AUTHENTICATED, SIGNATURE_INVALID, ...) where there is none."""
        ...
