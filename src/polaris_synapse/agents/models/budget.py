"""What language models may cost. Reserved before a call, settled after it, and remembered over a restart.

A reservation that was never settled (the desk died during the call) counts as spent: the vendor may have billed it.
Money is in millionths of a US dollar, and every rounding is up.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polaris_synapse.agents.models.database import ModelDatabase
from polaris_synapse.agents.models.port import ModelRequest, OverBudget
from polaris_synapse.agents.models.settings import Allowance, BudgetSettings, ProviderSettings

_NS_A_DAY: Final = 86_400 * 1_000_000_000
_MILLION: Final = 1_000_000
#: Days of spending that are kept for looking back.
SPENDING_DAYS_MAX: Final = 40
#: A reservation assumes one token for this many bytes of what is sent, more than any tokenizer makes of real text ...
INPUT_BYTES_A_TOKEN: Final = 2
#: ... and this many for the frame of a message and its schema.
FRAME_TOKENS: Final = 100

_SPENT: Final = (
    "SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(milliseconds), 0), COALESCE(SUM(micro_usd), 0) FROM model_spending "
)
_OF_DAY: Final = _SPENT + "WHERE day = ?"
_OF_PURPOSE: Final = _SPENT + "WHERE day = ? AND purpose = ?"
_OF_DECISION: Final = _SPENT + "WHERE decision_id = ?"


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
    """The desk's budget over its file."""

    def __init__(self, database: ModelDatabase, settings: BudgetSettings) -> None:
        self._database = database
        self._settings = settings

    async def reserve(self, request: ModelRequest, amount: Amount, now_ns: int) -> Reservation:
        """Set an amount aside. Raises OverBudget with the limit that stands against it, and then nothing is set aside.

        Of several calls at once each sees what the others have reserved, so together they stay within the limits.
        """
        return await self._database.run(lambda: self._reserve(request, amount, now_ns // _NS_A_DAY))

    def _reserve(self, request: ModelRequest, amount: Amount, day: int) -> Reservation:
        settings, purpose, decision = self._settings, request.purpose, request.decision_id
        limits: list[tuple[str, Allowance, str, tuple[object, ...]]] = [("of the day", settings.day, _OF_DAY, (day,))]
        if purpose in settings.purposes:
            limits.append((f"of {purpose} for the day", settings.purposes[purpose], _OF_PURPOSE, (day, purpose)))
        if decision:
            limits.append(("of one decision", settings.decision, _OF_DECISION, (decision,)))
        with self._database.transaction() as connection:
            for whose, allowance, query, values in limits:
                row = connection.execute(query, values).fetchone()
                used = Amount(tokens=row[0], milliseconds=row[1], micro_usd=row[2])
                _hold(whose, allowance, used, amount)
            connection.execute("DELETE FROM model_spending WHERE day < ?", (day - SPENDING_DAYS_MAX,))
            cursor = connection.execute(
                "INSERT INTO model_spending (day, purpose, decision_id, settled, tokens, milliseconds, micro_usd) "
                "VALUES (?, ?, ?, 0, ?, ?, ?)",
                (day, purpose, decision, amount.tokens, amount.milliseconds, amount.micro_usd),
            )
            number = cursor.lastrowid
        assert number is not None
        return Reservation(number=number, amount=amount)

    async def settle(self, reservation: Reservation, spent: Amount) -> None:
        """Put what a call really took in the place of its reservation."""
        await self._database.run(lambda: self._settle(reservation, spent))

    def _settle(self, reservation: Reservation, spent: Amount) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE model_spending SET settled = 1, tokens = ?, milliseconds = ?, micro_usd = ? WHERE id = ?",
                (spent.tokens, spent.milliseconds, spent.micro_usd, reservation.number),
            )

    async def spent_on(self, day: int) -> dict[str, Amount]:
        """What each purpose took on a UTC day (counted from 1970), reservations included."""
        return await self._database.run(lambda: self._spent_on(day))

    def _spent_on(self, day: int) -> dict[str, Amount]:
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT purpose, SUM(tokens), SUM(milliseconds), SUM(micro_usd) FROM model_spending "
                "WHERE day = ? GROUP BY purpose ORDER BY purpose",
                (day,),
            ).fetchall()
        return {row[0]: Amount(tokens=row[1], milliseconds=row[2], micro_usd=row[3]) for row in rows}


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
