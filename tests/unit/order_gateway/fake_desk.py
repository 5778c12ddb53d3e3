"""A desk behind the gateway for its tests: a bus that answers as risk would, and read models over what it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import argon2
import httpx2
import msgspec
from prometheus_client import CollectorRegistry

from polaris_synapse.bus.core import Envelope
from polaris_synapse.bus.port import BusError, SlowConsumerError
from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument
from polaris_synapse.domain.money import Asset
from polaris_synapse.domain.order_lists import ListState, OrderList
from polaris_synapse.domain.orders import Fill, Liquidity, Order, OrderState, Side
from polaris_synapse.domain.reasons import Reason
from polaris_synapse.domain.topics import ROUTES
from polaris_synapse.order_gateway.api import build_api
from polaris_synapse.order_gateway.credentials import ApiKey, KeptCredentials, User
from polaris_synapse.order_gateway.service import GatewayService
from polaris_synapse.order_gateway.settings import GatewaySettings
from polaris_synapse.storage.cache.port import SharedCache
from polaris_synapse.testing.clock import ManualClock
from polaris_synapse.web.authentication import Role
from polaris_synapse.web.signing import Algorithm, SigningKey, new_key, signed_headers, verifier_of

PASSWORD = "correct horse battery"
QUICK_HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
JWT_SECRET = b"0123456789abcdef0123456789abcdef"

BTC, USDT = Asset("BTC", 8), Asset("USDT", 8)
BTCUSDT = Instrument(
    symbol="BTCUSDT", base=BTC, quote=USDT, tick_units=10**6, lot_units=10**3, min_notional_units=5 * 10**8
)


class _Queue:
    def __init__(self, backlog_max: int) -> None:
        self.backlog_max = backlog_max
        self.waiting: list[Envelope] = []
        self.dropped = False
        self.wake = anyio.Event()

    def __aiter__(self) -> AsyncIterator[Sequence[Envelope]]:
        return self._batches()

    async def _batches(self) -> AsyncIterator[Sequence[Envelope]]:
        while True:
            if self.dropped:
                raise SlowConsumerError
            if not self.waiting:
                self.wake = anyio.Event()
                await self.wake.wait()
                continue
            batch, self.waiting = self.waiting, []
            yield batch


class FakeDesk:
    """Bus and read models at once. Every order is approved and, with ``acknowledge``, works at once."""

    def __init__(self) -> None:
        self.commands: list[m.Message] = []
        self.tasks: set[asyncio.Future[None]] = set()
        self.notes: list[m.AuditNote] = []
        self.orders_by_id: dict[int, Order] = {}
        self.lists_by_id: dict[int, OrderList] = {}
        self.recorded: list[m.ExecutionRecorded] = []
        self.acknowledge = True
        self.refuse: Reason = Reason.NONE
        self.fail: Reason | None = None
        self.hang = False
        self.lag = False
        self.subscriptions: dict[str, list[_Queue]] = {}
        self.decision_rows: list[m.DecisionRecorded] = []
        self.position_rows: list[m.PositionChanged] = []
        self.metrics_rows: list[m.AccountMetrics] = []
        self.balance_rows = [
            m.BalanceChanged(
                time_ns=1, account=name, asset="USDT", total_units=1_000 * 10**8, reserved_units=100 * 10**8
            )
            for name in ("main", "other")
        ]

    # The bus.

    async def request(self, command: m.Command, /) -> m.Answer:
        self.commands.append(command)
        if self.hang:
            await anyio.sleep(0.3)
            raise BusError(Reason.TIMED_OUT, "no answer in time")
        if self.fail is not None:
            raise BusError(self.fail, "the bus says no")
        if self.refuse is not Reason.NONE:
            return m.Answer(time_ns=1, request_id=command.request_id, reason=self.refuse, detail="because")
        return self._answer(command)

    def request_soon(self, command: m.Command, done: Callable[[m.Answer | BusError], None], /) -> None:
        async def ask() -> None:
            try:
                done(await self.request(command))
            except BusError as error:
                done(error)

        if self.fail not in {None, Reason.TIMED_OUT}:
            self.commands.append(command)
            raise BusError(self.fail or Reason.NONE, "the bus says no")
        self.tasks.add(task := asyncio.ensure_future(ask()))
        task.add_done_callback(self.tasks.discard)

    def _answer(self, command: m.Command) -> m.Answer:
        done = m.Answer(time_ns=1, request_id=command.request_id)
        if isinstance(command, m.SubmitOrder):
            return self._submit(command)
        if isinstance(command, m.SubmitOrderList):
            return self._submit_list(command)
        if isinstance(command, m.CancelOrderList):
            found_list = self.lists_by_id[command.list_id]
            for order_id in found_list.order_ids:
                self.move(order_id, OrderState.PENDING_CANCEL)
            if not self.acknowledge:
                return msgspec.structs.replace(done, order_list=found_list, order_ids=found_list.order_ids)
            for order_id in found_list.order_ids:
                self.move(order_id, OrderState.CANCELLED, reason=Reason.CANCELLED_BY_USER)
            ended = msgspec.structs.replace(found_list, state=ListState.ALL_DONE, version=1)
            self.lists_by_id[command.list_id] = ended
            self.publish(m.OrderListUpdated(time_ns=1, order_list=ended))
            return msgspec.structs.replace(done, order_list=found_list, order_ids=found_list.order_ids)
        if isinstance(command, m.CancelAll):
            ids = tuple(
                order.order_id
                for order in self.orders_by_id.values()
                if order.open_lots and command.account in ("", order.request.account)
            )
            for order_id in ids:
                self.move(order_id, OrderState.CANCELLED, reason=command.reason)
            return msgspec.structs.replace(done, order_ids=ids)
        if isinstance(command, m.CancelOrder | m.ReplaceOrder):
            found = self._find(command.account, command.order_id, command.client_order_id)
            if found is None:
                return msgspec.structs.replace(done, reason=Reason.ORDER_NOT_FOUND)
            if not found.open_lots:
                return msgspec.structs.replace(done, reason=Reason.ORDER_NOT_OPEN)
            if isinstance(command, m.CancelOrder):
                pending = self.move(found.order_id, OrderState.PENDING_CANCEL)
                if self.acknowledge:
                    self.move(found.order_id, OrderState.CANCELLED, reason=Reason.CANCELLED_BY_USER)
                return msgspec.structs.replace(done, order=pending)
            order = msgspec.structs.replace(found, price_ticks=command.price_ticks or found.price_ticks)
            self.orders_by_id[order.order_id] = order
            return msgspec.structs.replace(done, order=order)
        return done

    def _submit_list(self, command: m.SubmitOrderList) -> m.Answer:
        request = command.order_list
        answers = [
            self._submit(m.SubmitOrder(time_ns=command.time_ns, request_id=command.request_id, order=leg))
            for leg in request.legs
        ]
        order_ids = tuple(answer.order.order_id for answer in answers if answer.order is not None)
        known = next((one for one in self.lists_by_id.values() if one.order_ids == order_ids), None)
        found = known or OrderList(
            list_id=1024 * (len(self.lists_by_id) + 1), request=request, state=ListState.EXECUTING, order_ids=order_ids
        )
        self.lists_by_id[found.list_id] = found
        self.publish(m.OrderListUpdated(time_ns=1, order_list=found))
        return m.Answer(
            time_ns=1,
            request_id=command.request_id,
            order_ids=order_ids,
            order_list=found,
            duplicate=known is not None,
        )

    def _find(self, account: str, order_id: int, client_order_id: str) -> Order | None:
        for order in self.orders_by_id.values():
            named = order.order_id == order_id if order_id else order.request.client_order_id == client_order_id
            if named and order.request.account == account:
                return order
        return None

    def _submit(self, command: m.SubmitOrder) -> m.Answer:
        request = command.order
        known = self._find(request.account, 0, request.client_order_id)
        if known is not None:
            return m.Answer(time_ns=1, request_id=command.request_id, order=known, duplicate=True)
        order_id = 1024 * (len(self.orders_by_id) + 1)
        order = Order(
            order_id=order_id,
            request=request,
            venue="paper",
            state=OrderState.APPROVED,
            quantity_lots=request.quantity_lots,
            price_ticks=request.price_ticks,
            stop_price_ticks=request.stop_price_ticks,
            created_time_ns=command.time_ns,
            updated_time_ns=command.time_ns,
        )
        self.orders_by_id[order_id] = order
        self.publish(m.OrderUpdated(time_ns=1, order=order))
        if self.acknowledge:
            self.move(order_id, OrderState.WORKING)
        return m.Answer(time_ns=1, request_id=command.request_id, order=order)

    def move(self, order_id: int, state: OrderState, *, reason: Reason = Reason.NONE, filled_lots: int = 0) -> Order:
        """Put an order into a state and publish it."""
        before = self.orders_by_id[order_id]
        order = msgspec.structs.replace(
            before, state=state, reason=reason, version=before.version + 1, filled_lots=before.filled_lots + filled_lots
        )
        self.orders_by_id[order_id] = order
        self.publish(m.OrderUpdated(time_ns=1, order=order))
        return order

    def fill(self, order_id: int, lots: int) -> None:
        """Fill an order at its price and publish that."""
        order = self.orders_by_id[order_id]
        state = OrderState.FILLED if order.filled_lots + lots == order.quantity_lots else OrderState.PARTIALLY_FILLED
        self.move(order_id, state, filled_lots=lots)
        execution = m.ExecutionRecorded(
            time_ns=5,
            execution_id=f"E{len(self.recorded)}",
            order_id=order_id,
            client_order_id=order.request.client_order_id,
            account=order.request.account,
            symbol=order.request.symbol,
            venue="paper",
            side=order.request.side,
            fill=Fill(
                trade_id=f"T{len(self.recorded)}",
                price_ticks=order.price_ticks,
                quantity_lots=lots,
                liquidity=Liquidity.TAKER,
                fee_units=1,
                fee_asset="BTC" if order.request.side is Side.BUY else "USDT",
                simulated=True,
                how="taken from the mirrored book",
            ),
            notional_units=BTCUSDT.notional_units(order.price_ticks, lots),
        )
        self.recorded.append(execution)
        self.publish(execution)

    def publish(self, message: m.Message) -> None:
        """Hand a message to the subscribers of its topics."""
        envelope = Envelope(topic="", core="risk", partition=0, offset=0, index=0, message=message)  # type: ignore[arg-type]
        for topic in ROUTES[type(message)].topics:
            for queue in self.subscriptions.get(topic, []):
                queue.waiting.append(envelope)
                queue.wake.set()

    def drop_subscribers(self) -> None:
        """End every subscription as if it had been too slow."""
        for queues in self.subscriptions.values():
            for queue in queues:
                queue.dropped = True
                queue.wake.set()

    async def send(self, messages: Iterable[m.Message], /) -> int:
        self.notes += [message for message in messages if isinstance(message, m.AuditNote)]
        return 1

    def post(self, message: m.Message, /) -> None:
        raise AssertionError("the gateway posts nothing")

    @asynccontextmanager
    async def subscribe(
        self, topics: Iterable[str], /, *, name: str, backlog_messages_max: int, droppable: bool
    ) -> AsyncIterator[_Queue]:
        assert droppable, "a gateway must never hold the bus up"
        queue = _Queue(backlog_messages_max)
        for topic in topics:
            self.subscriptions.setdefault(topic, []).append(queue)
        try:
            yield queue
        finally:
            for queues in self.subscriptions.values():
                if queue in queues:
                    queues.remove(queue)

    # The read models.

    async def caught_up(self) -> None:
        if self.lag:
            await anyio.sleep_forever()

    async def order(self, *, account: str | None, order_id: int = 0, client_order_id: str = "") -> Order | None:
        for order in self.orders_by_id.values():
            named = order.order_id == order_id if order_id else order.request.client_order_id == client_order_id
            if named and account in (None, order.request.account):
                return order
        return None

    async def orders(
        self,
        *,
        account: str | None,
        symbol: str = "",
        open_only: bool = False,
        limit: int = 100,
        before_order_id: int = 0,
    ) -> list[Order]:
        found = [
            order
            for order in reversed(self.orders_by_id.values())
            if account in (None, order.request.account)
            and symbol in ("", order.request.symbol)
            and (order.open_lots or not open_only)
            and (not before_order_id or order.order_id < before_order_id)
        ]
        return found[:limit]

    async def order_list(self, *, account: str | None, list_id: int = 0, client_list_id: str = "") -> OrderList | None:
        for found in self.lists_by_id.values():
            named = found.list_id == list_id if list_id else found.request.client_list_id == client_list_id
            if named and account in (None, found.request.account):
                return found
        return None

    async def order_lists(
        self, *, account: str | None, open_only: bool = False, limit: int = 100, before_list_id: int = 0
    ) -> list[OrderList]:
        rows = [row for row in reversed(self.lists_by_id.values()) if account in (None, row.request.account)]
        rows = [row for row in rows if row.state is ListState.EXECUTING or not open_only]
        return [row for row in rows if not before_list_id or row.list_id < before_list_id][:limit]

    async def executions(self, *, account: str | None, **_: Any) -> list[m.ExecutionRecorded]:
        return [row for row in reversed(self.recorded) if account in (None, row.account)]

    async def balances(self, *, account: str | None) -> list[m.BalanceChanged]:
        return [row for row in self.balance_rows if account in (None, row.account)]

    async def positions(self, *, account: str | None) -> list[m.PositionChanged]:
        return [row for row in self.position_rows if account in (None, row.account)]

    async def account_metrics(self, *, account: str | None) -> list[m.AccountMetrics]:
        return [row for row in self.metrics_rows if account in (None, row.account)]

    async def accounts(self) -> list[m.AccountStanding]:
        return [
            m.AccountStanding(
                time_ns=1,
                account=name,
                account_kind=m.AccountKind.PERSON,
                kyc=m.KycState.APPROVED,
                sanctions_hold=False,
                blocked=False,
                restricted_symbols=(),
                version=1,
            )
            for name in ("main", "other")
        ]

    async def instruments(self) -> list[Instrument]:
        return [BTCUSDT]

    async def breakers(self) -> list[m.BreakerChanged]:
        return []

    async def kill_levels(self) -> list[m.KillLevelChanged]:
        return []

    async def decisions(self, *, symbol: str = "", limit: int = 20) -> list[m.DecisionRecorded]:
        return [row for row in self.decision_rows if symbol in ("", row.symbol)][:limit]

    async def decision(self, decision_id: str) -> m.DecisionRecorded | None:
        return next((row for row in self.decision_rows if row.decision_id == decision_id), None)


class Gateway:
    """A gateway over a fake desk, and the means to talk to it as several people."""

    def __init__(self, service: GatewayService, desk: FakeDesk, clock: ManualClock) -> None:
        self.service = service
        self.desk = desk
        self.clock = clock
        self.app = build_api(service)
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=self.app), base_url="http://127.0.0.1:8082")
        self.keys: dict[str, SigningKey] = {}

    def add_user(self, name: str, role: Role, *accounts: str) -> None:
        """A user with PASSWORD."""
        self.service.credentials.put_user(
            User(name=name, password_hash=QUICK_HASHER.hash(PASSWORD), role=role, accounts=accounts)
        )

    def add_key(
        self, key_id: str, role: Role, *accounts: str, algorithm: Algorithm = Algorithm.ED25519, **fields: Any
    ) -> SigningKey:
        """A key that signs."""
        key = self.keys[key_id] = new_key(key_id, algorithm)
        self.service.credentials.put_key(
            ApiKey(
                key_id=key_id, algorithm=algorithm, verifier=verifier_of(key), role=role, accounts=accounts, **fields
            )
        )
        return key

    async def log_in(self, name: str) -> dict[str, str]:
        """The header of a fresh log-in."""
        response = await self.client.post("/login", json={"username": name, "password": PASSWORD})
        assert response.status_code == 200, response.text
        return {"authorization": f"Bearer {response.json()['access_token']}"}

    def headers(self, key_id: str, method: str, target: str, body: bytes = b"", **given: Any) -> dict[str, str]:
        """The headers of a request signed now."""
        stamp = given.pop("timestamp_ms", self.clock.now_ns() // 1_000_000)
        signed = signed_headers(self.keys[key_id], method, target, body, timestamp_ms=stamp, **given)
        return signed | ({"content-type": "application/json"} if body else {})

    async def call(self, key_id: str, method: str, target: str, body: object | None = None) -> httpx2.Response:
        """A signed request."""
        content = b"" if body is None else msgspec.json.encode(body)
        return await self.client.request(
            method, target, content=content, headers=self.headers(key_id, method, target, content)
        )


@asynccontextmanager
async def running_gateway(
    directory: Path,
    *,
    desk: FakeDesk | None = None,
    clock: ManualClock | None = None,
    cache: SharedCache | None = None,
    markets_cached: bool = False,
    credentials: KeptCredentials | None = None,
    keys: dict[str, SigningKey] | None = None,
    **settings: Any,
) -> AsyncIterator[Gateway]:
    """A gateway that runs, with a trader, an administrator and one key of each role.

    ``keys`` are those of another gateway whose users and keys this one has too.
    """
    desk, clock = desk or FakeDesk(), clock or ManualClock()
    service = GatewayService(
        bus=desk,
        read_models=desk,  # type: ignore[arg-type]  # the questions that the gateway never asks are left out
        clock=clock,
        registry=CollectorRegistry(),
        settings=GatewaySettings(**({"auth_database": ":memory:"} | settings)),
        jwt_secret=JWT_SECRET,
        data_directory=directory,
        hasher=QUICK_HASHER,
        cache=cache,
        markets_cached=markets_cached,
        credentials=credentials,
    )
    ready = anyio.Event()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await service.run(started=ready.set)

        group.start_soon(run)
        with anyio.fail_after(5):
            await ready.wait()
        gateway = Gateway(service, desk, clock)
        if keys is not None:
            gateway.keys = keys
        else:
            _add_everybody(gateway)
        await service.markets.refresh()
        try:
            yield gateway
        finally:
            await gateway.client.aclose()
            group.cancel_scope.cancel()


def _add_everybody(gateway: Gateway) -> None:
    gateway.add_user("alice", Role.TRADER, "main")
    gateway.add_user("root", Role.ADMIN, "*")
    for role in Role:
        gateway.add_key(role.value.lower(), role, "main", owner="jarvis" if role is Role.AGENT else "")
    gateway.add_key("stranger", Role.TRADER, "other")
    gateway.add_key("everybody", Role.TRADER, "*")


async def until(condition: Callable[[], bool]) -> None:
    """Wait at most five seconds for something that another task does."""
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110  # the condition is not ours to signal
            await anyio.sleep(0.001)


def buy(**fields: object) -> dict[str, object]:
    """A small limit order."""
    return {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "60000.00"} | fields


def top(sequence: int, symbol: str = "BTCUSDT") -> m.TopOfBook:
    """The best prices of a market."""
    return m.TopOfBook(
        time_ns=7,
        symbol=symbol,
        source="test",
        sequence=sequence,
        bid_ticks=6_000_000,
        bid_lots=1_000,
        ask_ticks=6_000_100,
        ask_lots=2_000,
    )


def trade(trade_id: int, symbol: str = "BTCUSDT") -> m.MarketTrade:
    """A public trade."""
    return m.MarketTrade(
        time_ns=7,
        symbol=symbol,
        source="test",
        trade_id=trade_id,
        price_ticks=6_000_000,
        quantity_lots=1_000,
        aggressor=Side.BUY,
    )


def candle(trades: int, symbol: str = "BTCUSDT") -> m.CandleClosed:
    """A minute."""
    minute = m.Candle(
        symbol=symbol,
        interval_seconds=60,
        open_time_ns=0,
        open_ticks=1,
        high_ticks=1,
        low_ticks=1,
        close_ticks=1,
        volume_lots=1,
        taker_buy_lots=1,
        notional_tick_lots=1,
        trades=trades,
    )
    return m.CandleClosed(time_ns=7, source="test", candle=minute)


class Ear:
    """Somebody who listens, and what was handed to them."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []

    def may_hear(self, account: str, /) -> bool:
        """Every account."""
        return bool(account)

    def push(self, payload: bytes, /) -> None:
        """Keep it."""
        self.heard.append(msgspec.json.decode(payload))

    def told(self) -> list[tuple[str, object]]:
        """The events' names with what tells them apart, and forget them."""
        marks = {"top": "sequence", "trade": "trade_id", "candle": "trades", "gap": "read_again", "mark": "mark"}
        found = [(one["event"], one["data"].get(marks.get(one["event"], ""))) for one in self.heard]
        self.heard.clear()
        return found


def mark(mark_ticks: int = 6_100_000, *, healthy: bool = True) -> m.Mark:
    """A mark of BTCUSDT."""
    return m.Mark(
        time_ns=7,
        symbol="BTCUSDT",
        source="test",
        mark_ticks=mark_ticks,
        bid_ticks=mark_ticks - 1,
        ask_ticks=mark_ticks + 1,
        last_ticks=mark_ticks,
        healthy=healthy,
    )
