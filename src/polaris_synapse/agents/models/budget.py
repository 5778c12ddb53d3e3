"""What language models may cost. Reserved before a call, settled after it, and remembered over a restart.

A reservation that was never settled (the desk died during the call) counts as spent: the vendor may have billed it.
Money is in millionths of a US dollar, and every rounding is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.engine import Connection

from polaris_synapse.agents.models.database import ModelDatabase, hold_reservations
from polaris_synapse.agents.models.port import ModelRequest, OverBudget
from polaris_synapse.agents.models.settings import Allowance, BudgetSettings, ProviderSettings
from polaris_synapse.storage import schema

_NS_A_DAY: Final = 86_400 * 1_000_000_000
_MILLION: Final = 1_000_000
#: Days of spending that are kept for looking back.
SPENDING_DAYS_MAX: Final = 40
#: A reservation assumes one token for this many bytes of what is sent, more than any tokenizer makes of real text ...
INPUT_BYTES_A_TOKEN: Final = 2
#: ... and this many for the frame of a message and its schema.
FRAME_TOKENS: Final = 100

_TABLE: Final = schema.model_spending
_SUMS: Final = tuple(sa.func.sum(column) for column in (_TABLE.c.tokens, _TABLE.c.milliseconds, _TABLE.c.micro_usd))


class Amount(Struct, frozen=True, kw_only=True):
    """What a call takes, or took."""

    tokens: int
    milliseconds: int
    micro_usd: int


class Reservation(Struct, frozen=True, kw_only=True):
    """A reservation that is to be settled."""

    number: int
    amount: Amount


def cost_micro_usd(provider: ProviderSettings, input_tokens: int, output_tokens: int) -> int:
    """The price of a call, rounded up to a millionth of a dollar."""
    total = input_tokens * provider.input_micro_usd_per_million + output_tokens * provider.output_micro_usd_per_million
    return -(-total // _MILLION)


def worst_case(provider: ProviderSettings, request: ModelRequest, schema_bytes: int) -> Amount:
    """The most that one call for a request can take."""
    sent = len(request.system.encode()) + len(request.prompt.encode()) + schema_bytes
    input_tokens = sent // INPUT_BYTES_A_TOKEN + FRAME_TOKENS
    return Amount(
        tokens=input_tokens + request.output_tokens_max,
        milliseconds=int(request.timeout_seconds * 1_000),
        micro_usd=cost_micro_usd(provider, input_tokens, request.output_tokens_max),
    )


class Budget:
    """The desk's budget over its database."""

    def __init__(self, database: ModelDatabase, settings: BudgetSettings) -> None:
        self._database = database
        self._settings = settings

    async def reserve(self, request: ModelRequest, amount: Amount, now_ns: int) -> Reservation:
        """Set an amount aside. Raises OverBudget with the limit that stands against it, and then nothing is set aside.

        Of several calls at once each sees what the others have reserved, so together they stay within the limits.
        """
        return await self._database.write(
            lambda connection: self._reserve(connection, request, amount, now_ns // _NS_A_DAY)
        )

    def _reserve(self, connection: Connection, request: ModelRequest, amount: Amount, day: int) -> Reservation:
        settings, purpose, decision = self._settings, request.purpose, request.decision_id
        of_day = _TABLE.c.day == day
        limits = [("of the day", settings.day, of_day)]
        if purpose in settings.purposes:
            of_purpose = of_day & (_TABLE.c.purpose == purpose)
            limits.append((f"of {purpose} for the day", settings.purposes[purpose], of_purpose))
        if decision:
            limits.append(("of one decision", settings.decision, _TABLE.c.decision_id == decision))
        hold_reservations(connection)
        # First, since from its first change on nobody else writes to a SQLite file.
        connection.execute(_TABLE.delete().where(_TABLE.c.day < day - SPENDING_DAYS_MAX))
        for whose, allowance, counted in limits:
            row = connection.execute(sa.select(*_SUMS).where(counted)).one()
            _hold(whose, allowance, _amount(row), amount)
        made = connection.execute(
            _TABLE.insert().values(
                day=day,
                purpose=purpose,
                decision_id=decision,
                settled=0,
                tokens=amount.tokens,
                milliseconds=amount.milliseconds,
                micro_usd=amount.micro_usd,
            )
        )
        assert made.inserted_primary_key is not None
        return Reservation(number=int(made.inserted_primary_key[0]), amount=amount)

    async def settle(self, reservation: Reservation, spent: Amount) -> None:
        """Put what a call really took in the place of its reservation."""
        change = _TABLE.update().where(_TABLE.c.id == reservation.number)
        change = change.values(
            settled=1, tokens=spent.tokens, milliseconds=spent.milliseconds, micro_usd=spent.micro_usd
        )

        def settled(connection: Connection) -> None:
            connection.execute(change)

        await self._database.write(settled)

    async def spent_on(self, day: int) -> dict[str, Amount]:
        """What each purpose took on a UTC day (counted from 1970), reservations included."""
        query = sa.select(_TABLE.c.purpose, *_SUMS).where(_TABLE.c.day == day)
        query = query.group_by(_TABLE.c.purpose).order_by(_TABLE.c.purpose)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {row[0]: _amount(row[1:]) for row in rows}


def _amount(sums: Sequence[Any]) -> Amount:
    """Sums as they come from SQL: none over no rows, and decimals in PostgreSQL."""
    tokens, milliseconds, micro_usd = (int(one or 0) for one in sums)
    return Amount(tokens=tokens, milliseconds=milliseconds, micro_usd=micro_usd)


def _hold(whose: str, allowance: Allowance, used: Amount, wanted: Amount) -> None:
    for what, limit, total in (
        ("tokens", allowance.tokens_max, used.tokens + wanted.tokens),
        ("milliseconds", allowance.seconds_max * 1_000, used.milliseconds + wanted.milliseconds),
        ("millionths of a dollar", allowance.micro_usd_max, used.micro_usd + wanted.micro_usd),
    ):
        if total > limit:
            raise OverBudget(
                f"The language model was not asked: with this call the budget {whose} would come to {total} {what}, "
                f"and {limit} are allowed."
            )
