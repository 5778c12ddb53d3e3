"""What language models may cost: reserved first, settled after, remembered over a restart, and never passed."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from tests.unit.agents.model_rooms import GOOD, provider, question, room

from polaris_synapse.agents.models.budget import Amount, Budget, cost_micro_usd, worst_case
from polaris_synapse.agents.models.database import FILE_NAME, file_database
from polaris_synapse.agents.models.port import ModelUnavailable, OverBudget
from polaris_synapse.agents.models.settings import Allowance, BudgetSettings
from polaris_synapse.testing.model_servers import Reply, running_model_server

DAY_NS = 86_400 * 10**9
PLENTY = Allowance(tokens_max=10**9, seconds_max=10**6, micro_usd_max=10**9)


def amount(tokens: int = 100, milliseconds: int = 1_000, micro_usd: int = 500) -> Amount:
    """An amount."""
    return Amount(tokens=tokens, milliseconds=milliseconds, micro_usd=micro_usd)


@pytest.mark.parametrize(
    "limits, word",
    [
        (BudgetSettings(day=Allowance(tokens_max=150, seconds_max=10**6, micro_usd_max=10**9)), "of the day"),
        (BudgetSettings(day=Allowance(tokens_max=10**9, seconds_max=1, micro_usd_max=10**9)), "milliseconds"),
        (BudgetSettings(day=Allowance(tokens_max=10**9, seconds_max=10**6, micro_usd_max=900)), "dollar"),
        (
            BudgetSettings(
                day=PLENTY,
                purposes={"chat": Allowance(tokens_max=150, seconds_max=10**6, micro_usd_max=10**9)},
            ),
            "of chat for the day",
        ),
        (
            BudgetSettings(day=PLENTY, decision=Allowance(tokens_max=150, seconds_max=10**6, micro_usd_max=10**9)),
            "of one decision",
        ),
    ],
)
async def test_each_limit_holds_by_itself(tmp_path: Path, limits: BudgetSettings, word: str) -> None:
    """The first call fits, the second would pass the limit: it is refused by name, and nothing is set aside for it."""
    budget = Budget(file_database(tmp_path / FILE_NAME), limits)
    asked = question(decision_id="D0-1")
    await budget.reserve(asked, amount(), DAY_NS)
    with pytest.raises(OverBudget, match=word):
        await budget.reserve(asked, amount(), DAY_NS)
    assert (await budget.spent_on(1))["chat"] == amount()


async def test_a_new_day_and_another_purpose_begin_anew(tmp_path: Path) -> None:
    """The limit of a day ends with the UTC day; a purpose's limit is its own."""
    tight = Allowance(tokens_max=150, seconds_max=10**6, micro_usd_max=10**9)
    budget = Budget(file_database(tmp_path / FILE_NAME), BudgetSettings(day=PLENTY, purposes={"chat": tight}))
    await budget.reserve(question(), amount(), 2 * DAY_NS - 1)
    await budget.reserve(question(), amount(), 2 * DAY_NS)
    await budget.reserve(question(purpose="fact"), amount(), 2 * DAY_NS)
    assert set(await budget.spent_on(2)) == {"chat", "fact"}


async def test_a_settled_call_gives_back_what_it_did_not_take(tmp_path: Path) -> None:
    """Reservations are worst cases; after settling only the real amount counts."""
    tight = Allowance(tokens_max=150, seconds_max=10**6, micro_usd_max=10**9)
    budget = Budget(file_database(tmp_path / FILE_NAME), BudgetSettings(day=tight))
    reservation = await budget.reserve(question(), amount(tokens=140), 0)
    await budget.settle(reservation, amount(tokens=20))
    await budget.reserve(question(), amount(tokens=130), 0)


async def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    """A reservation that was never settled counts as spent, for another process too."""
    tight = Allowance(tokens_max=150, seconds_max=10**6, micro_usd_max=10**9)
    before = file_database(tmp_path / FILE_NAME)
    await Budget(before, BudgetSettings(day=tight)).reserve(question(), amount(), 0)
    await before.close()
    after = Budget(file_database(tmp_path / FILE_NAME), BudgetSettings(day=tight))
    with pytest.raises(OverBudget):
        await after.reserve(question(), amount(), 0)


async def test_calls_at_the_same_time_stay_within_the_limit_together(tmp_path: Path) -> None:
    """Ten calls at once for a budget of three: three are made."""
    limit = Allowance(tokens_max=300, seconds_max=10**6, micro_usd_max=10**9)
    budget = Budget(file_database(tmp_path / FILE_NAME), BudgetSettings(day=limit))
    made: list[bool] = []

    async def one() -> None:
        try:
            await budget.reserve(question(), amount(), 0)
        except OverBudget:
            made.append(False)
        else:
            made.append(True)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(one)
    assert made.count(True) == 3


def test_money_is_rounded_up_and_the_worst_case_covers_the_call() -> None:
    """A fraction of a millionth is a whole one, and no call can cost more than its reservation."""
    priced = provider("http://127.0.0.1:1", input_micro_usd_per_million=1, output_micro_usd_per_million=1)
    assert cost_micro_usd(priced, 1, 0) == 1
    paid = provider("http://127.0.0.1:1")
    request = question(prompt="word " * 1_000, output_tokens_max=300)
    worst = worst_case(paid, request, schema_bytes=200)
    assert worst.tokens >= 1_000 + 300
    assert worst.micro_usd >= cost_micro_usd(paid, 1_000, 300)


async def test_nothing_is_sent_without_a_reservation(tmp_path: Path) -> None:
    """Over budget the server hears nothing; a free provider behind the dear one is still asked."""
    nothing = Allowance(tokens_max=10**9, seconds_max=10**6, micro_usd_max=0)
    async with running_model_server() as dear, running_model_server() as own:
        async with room(tmp_path, provider(dear.url, name="dear"), budget=BudgetSettings(day=nothing)) as models:
            assert models.model is not None
            with pytest.raises(OverBudget):
                await models.model.ask(question())
        free = provider(own.url, name="own", input_micro_usd_per_million=0, output_micro_usd_per_million=0)
        own.script.append(Reply(text=GOOD))
        async with room(tmp_path, provider(dear.url, name="dear"), free, budget=BudgetSettings(day=nothing)) as models:
            assert models.model is not None
            assert (await models.model.ask(question())).model == "own/model-of-tests"
    assert dear.asked == []


async def test_a_file_that_cannot_be_written_stops_spending(tmp_path: Path) -> None:
    """What cannot be accounted for is not spent."""
    (tmp_path / FILE_NAME).write_bytes(b"this is no database, however long it may be" * 200)
    async with running_model_server() as server, room(tmp_path, provider(server.url)) as models:
        assert models.model is not None
        with pytest.raises(ModelUnavailable, match="record of calls"):
            await models.model.ask(question())
    assert server.asked == []
    with pytest.raises(sa.exc.DatabaseError):
        await models.store.put_case("D0-1", "{}", 0)
