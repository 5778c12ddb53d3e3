"""What instances of the agents' service share: calls, cases, spending and the sources' places, in either database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from tests.unit.agents.model_rooms import question

from polaris_synapse.agents.conversation.intents import PlaceOrder
from polaris_synapse.agents.conversation.ports import OrderTicket
from polaris_synapse.agents.conversation.sessions import Pending, PlaceTickets, Remembered
from polaris_synapse.agents.conversation.shared_sessions import SessionTable
from polaris_synapse.agents.models.budget import Amount, Budget
from polaris_synapse.agents.models.calls import CallStore
from polaris_synapse.agents.models.database import ModelDatabase
from polaris_synapse.agents.models.port import OverBudget
from polaris_synapse.agents.models.settings import Allowance, BudgetSettings, StoreSettings
from polaris_synapse.agents.sources.port import SourceState
from polaris_synapse.agents.sources.state_file import StatesNotSavedError, StateTable
from polaris_synapse.domain.orders import OrderType, Side
from polaris_synapse.storage.database import Database, open_database
from polaris_synapse.storage.migrate import upgrade_orders
from polaris_synapse.testing.servers.postgres import PostgresServer

pytestmark = pytest.mark.anyio
DAY_NS = 86_400 * 10**9


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/orders.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.new_database("orders")
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
async def instances(url: str) -> AsyncIterator[list[Database]]:
    """Two processes' connections to it, its tables made by the migrations."""
    opened = [open_database(url, synchronous="FULL", readers_max=1) for _ in range(2)]
    await upgrade_orders(opened[0])
    yield opened
    for database in opened:
        await database.close()


def shared(database: Database) -> ModelDatabase:
    """The stores' view of a database that is opened already."""
    return ModelDatabase(lambda: database)


def amount(tokens: int) -> Amount:
    """So many tokens, a millisecond and a millionth each."""
    return Amount(tokens=tokens, milliseconds=tokens, micro_usd=tokens)


async def test_instances_stay_within_the_budget_together(instances: list[Database]) -> None:
    """Twenty calls at once over two instances for a budget of seven: seven are made, and both know what they took."""
    limit = Allowance(tokens_max=700, seconds_max=10**6, micro_usd_max=10**9)
    budgets = [Budget(shared(database), BudgetSettings(day=limit)) for database in instances]
    made: list[bool] = []

    async def one(budget: Budget) -> None:
        try:
            await budget.reserve(question(), amount(100), DAY_NS)
        except OverBudget:
            made.append(False)
        else:
            made.append(True)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(one, budgets[number % 2])
    assert (made.count(True), len(made)) == (7, 20)
    assert [await budget.spent_on(1) for budget in budgets] == [{"chat": amount(700)}] * 2


async def test_what_one_settles_the_other_may_spend(instances: list[Database]) -> None:
    """A settled call gives back what it did not take, to whoever asks next; old days are forgotten."""
    limit = Allowance(tokens_max=100, seconds_max=10**6, micro_usd_max=10**9)
    first, second = (Budget(shared(database), BudgetSettings(day=limit)) for database in instances)
    reservation = await first.reserve(question(), amount(90), DAY_NS)
    with pytest.raises(OverBudget, match="of the day"):
        await second.reserve(question(), amount(90), DAY_NS)
    await first.settle(reservation, amount(10))
    await second.reserve(question(), amount(90), DAY_NS)
    await second.reserve(question(), amount(1), 50 * DAY_NS)
    assert await first.spent_on(1) == {}


async def test_a_case_is_kept_once_and_read_by_both(instances: list[Database]) -> None:
    """Both instances hear of a case; it is stored under its digest, and the oldest go when there are too many."""
    stores = [CallStore(shared(database), StoreSettings(bytes_max=200)) for database in instances]
    digests = {await store.put_case("D0-1", '{"case": 1}', 5) for store in stores}
    assert len(digests) == 1
    (digest,) = digests
    assert [await store.case(digest) for store in stores] == ['{"case": 1}'] * 2
    assert await stores[0].call(digest) is None
    for number in range(120):
        await stores[1].put_case(f"D0-{number}", f"{number} " * 50, 10 + number)
    assert await stores[0].case(digest) is None


async def test_another_process_goes_on_where_a_source_was(instances: list[Database]) -> None:
    """The place of each source is a row, replaced when it moves."""
    first, second = (StateTable(database) for database in instances)
    assert await second.load() == {}
    await first.save({"wire.1": SourceState(etag='"1"', seen=("a",)), "chain.2": SourceState(marks={"x": "1"})})
    await second.save({"wire.1": SourceState(etag='"2"', seen=("a", "b"))})
    assert await first.load() == {
        "wire.1": SourceState(etag='"2"', seen=("a", "b")),
        "chain.2": SourceState(marks={"x": "1"}),
    }


async def test_what_waits_for_a_yes_is_found_by_another_process(instances: list[Database]) -> None:
    """A session is its actor's alone, ends when it is not used, and the oldest of one actor make room."""
    first, second = (SessionTable(database, sessions_of_one_max=2) for database in instances)
    action = PlaceTickets(
        (OrderTicket(account="main", client_order_id="c", symbol="B", side=Side.BUY, type=OrderType.MARKET),)
    )
    pending = Pending(action=action, order_hash="h", expires_time_ns=9, sentence="Buy.")
    kept = Remembered(pending=pending, warned=PlaceOrder(side=Side.BUY, symbol="B"), decision_id="D0-1")
    await first.save("user:alice", "s1", kept, now_ns=10, since_ns=0)
    assert await second.load("user:alice", "s1", since_ns=10) == kept
    assert await second.load("user:bob", "s1", since_ns=0) is None
    assert await second.load("user:alice", "s1", since_ns=11) is None
    await second.save("user:alice", "s1", Remembered(), now_ns=12, since_ns=0)
    assert await first.load("user:alice", "s1", since_ns=0) == Remembered()
    for number in (2, 3):
        await first.save("user:alice", f"s{number}", kept, now_ns=12 + number, since_ns=0)
    await first.save("user:bob", "s9", kept, now_ns=20, since_ns=0)
    found = [await second.load("user:alice", f"s{number}", since_ns=0) for number in (1, 2, 3)]
    assert found == [None, kept, kept]
    await first.save("user:bob", "s9", kept, now_ns=30, since_ns=15)
    assert [await second.load("user:alice", f"s{number}", since_ns=0) for number in (2, 3)] == [None, kept]


async def test_a_session_that_cannot_be_read_begins_anew(tmp_path: Path) -> None:
    """Without its table nothing is recalled, and talking goes on."""
    database = open_database(f"sqlite:///{tmp_path}/nothing/orders.db")
    table = SessionTable(database, sessions_of_one_max=2)
    assert await table.load("user:alice", "s1", since_ns=0) is None
    await table.save("user:alice", "s1", Remembered(), now_ns=1, since_ns=0)
    await database.close()


async def test_a_place_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    """Without its table the state is lost with a word in the log, and saving says why it could not."""
    database = open_database(f"sqlite:///{tmp_path}/nothing/orders.db")
    table = StateTable(database)
    assert await table.load() == {}
    with pytest.raises(StatesNotSavedError, match="cannot be written"):
        await table.save({"wire.1": SourceState()})
    await database.close()


async def test_the_desk_s_user_may_take_old_records_away(postgres_server: PostgresServer) -> None:
    """With tables that another user owns, spending and calls are written, changed and pruned, and nothing else."""
    name = postgres_server.new_database("orders")
    owner = open_database(postgres_server.url(name))
    user = "agents_app"

    def make_user(connection: sa.engine.Connection) -> None:
        connection.execute(sa.text(f"DROP ROLE IF EXISTS {user}"))
        connection.execute(sa.text(f"CREATE ROLE {user} LOGIN PASSWORD 'app'"))

    await owner.write(make_user)
    await upgrade_orders(owner, application_user=user)
    url = sa.make_url(postgres_server.url(name)).set(username=user, password="app")
    application = open_database(url.render_as_string(hide_password=False))
    try:
        budget = Budget(shared(application), BudgetSettings())
        await budget.settle(await budget.reserve(question(), amount(1), DAY_NS), amount(1))
        store = CallStore(shared(application), StoreSettings())
        assert await store.case(await store.put_case("D0-1", "{}", 5)) == "{}"
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            await application.write(lambda connection: connection.execute(sa.text("DELETE FROM approvals")))
    finally:
        await application.close()
        await owner.close()
        postgres_server.drop_database(name)
