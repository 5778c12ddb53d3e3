"""ReadModels over the two databases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.engine import Connection

from polaris_synapse.domain import messages as m
from polaris_synapse.domain.instruments import Instrument, InstrumentStatus
from polaris_synapse.domain.messages import Candle
from polaris_synapse.domain.order_lists import OrderList
from polaris_synapse.domain.orders import Order
from polaris_synapse.storage import schema
from polaris_synapse.storage.database import Database
from polaris_synapse.storage.nul import unescape_nul
from polaris_synapse.storage.port import ROWS_MAX

T = TypeVar("T")
_decoders: Final[dict[type, msgspec.json.Decoder[Any]]] = {}


def _decode(kind: type[T], body: str) -> T:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    decoded: T = decoder.decode(body)
    return decoded


def _bounded(limit: int) -> int:
    return max(1, min(limit, ROWS_MAX))


def _of_account(query: sa.Select[Any], column: sa.Column[Any], account: str | None) -> sa.Select[Any]:
    return query if account is None else query.where(column == account)


def _audit_entry(row: Mapping[Any, Any], dialect: str) -> m.AuditEntry:
    if dialect != "postgresql":
        return m.AuditEntry(**row)
    values: dict[str, Any] = {
        key: unescape_nul(value) if isinstance(value, str) else value for key, value in row.items()
    }
    return m.AuditEntry(**values)


class SqlReadModels:
    """See storage.port.ReadModels. ``wait`` is what ``caught_up`` waits for."""

    def __init__(self, orders: Database, compliance: Database, wait: Callable[[], Awaitable[None]]) -> None:
        self._orders = orders
        self._compliance = compliance
        self._wait = wait

    async def caught_up(self) -> None:
        """See ReadModels."""
        await self._wait()

    async def order(self, *, account: str | None, order_id: int = 0, client_order_id: str = "") -> Order | None:
        """See ReadModels."""
        table, refusals = schema.orders, schema.order_refusals
        if order_id:
            # An id beyond 64 bits is nobody's, and no database takes it as a number.
            if not 0 < order_id < 2**63:
                return None
            by_id = sa.select(table.c.body).where(table.c.order_id == order_id)
            return await self._first(Order, self._orders, _of_account(by_id, table.c.account, account))
        if not client_order_id:
            return None
        by_client = sa.select(table.c.body).where(table.c.client_order_id == client_order_id)
        by_client = by_client.order_by(table.c.order_id.desc())
        found = await self._first(Order, self._orders, _of_account(by_client, table.c.account, account))
        if found is not None:
            return found
        refused = sa.select(refusals.c.body).where(refusals.c.client_order_id == client_order_id)
        refused = refused.order_by(refusals.c.journal_offset.desc(), refusals.c.output_index.desc())
        return await self._first(Order, self._orders, _of_account(refused, refusals.c.account, account))

    async def orders(
        self,
        *,
        account: str | None,
        symbol: str = "",
        open_only: bool = False,
        limit: int = 100,
        before_order_id: int = 0,
    ) -> list[Order]:
        """See ReadModels."""
        table = schema.orders
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        if symbol:
            query = query.where(table.c.symbol == symbol)
        if open_only:
            query = query.where(table.c.is_open == 1)
        if before_order_id:
            query = query.where(table.c.order_id < min(before_order_id, 2**63 - 1))
        return await self._all(Order, self._orders, query.order_by(table.c.order_id.desc()).limit(_bounded(limit)))

    async def order_list(self, *, account: str | None, list_id: int = 0, client_list_id: str = "") -> OrderList | None:
        """See ReadModels."""
        table = schema.order_lists
        if list_id:
            if not 0 < list_id < 2**63:
                return None
            query = sa.select(table.c.body).where(table.c.list_id == list_id)
        else:
            query = sa.select(table.c.body).where(table.c.client_list_id == client_list_id)
            query = query.order_by(table.c.list_id.desc())
        return await self._first(OrderList, self._orders, _of_account(query, table.c.account, account))

    async def order_lists(
        self, *, account: str | None, open_only: bool = False, limit: int = 100, before_list_id: int = 0
    ) -> list[OrderList]:
        """See ReadModels."""
        table = schema.order_lists
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        if open_only:
            query = query.where(table.c.is_open == 1)
        if before_list_id:
            query = query.where(table.c.list_id < min(before_list_id, 2**63 - 1))
        return await self._all(OrderList, self._orders, query.order_by(table.c.list_id.desc()).limit(_bounded(limit)))

    async def executions(
        self, *, account: str | None, symbol: str = "", order_id: int = 0, limit: int = 100, before_time_ns: int = 0
    ) -> list[m.ExecutionRecorded]:
        """See ReadModels."""
        table = schema.executions
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        if symbol:
            query = query.where(table.c.symbol == symbol)
        if order_id:
            query = query.where(table.c.order_id == min(order_id, 2**63 - 1))
        if before_time_ns:
            query = query.where(table.c.time_ns < min(before_time_ns, 2**63 - 1))
        query = query.order_by(table.c.time_ns.desc(), table.c.journal_offset.desc(), table.c.output_index.desc())
        found = await self._all(m.ExecutionRecorded, self._orders, query.limit(_bounded(limit)))
        if len(found) < _bounded(limit):
            return found
        # The next page begins before the last moment of this one, so all the fills of that moment belong here.
        moment = found[-1].time_ns
        whole = [execution for execution in found if execution.time_ns != moment]
        return whole + await self._all(m.ExecutionRecorded, self._orders, query.where(table.c.time_ns == moment))

    async def balances(self, *, account: str | None) -> list[m.BalanceChanged]:
        """See ReadModels."""
        table = schema.balances
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        return await self._all(m.BalanceChanged, self._orders, query.order_by(table.c.account, table.c.asset))

    async def positions(self, *, account: str | None) -> list[m.PositionChanged]:
        """See ReadModels."""
        table = schema.positions
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        return await self._all(m.PositionChanged, self._orders, query.order_by(table.c.account, table.c.symbol))

    async def account_metrics(self, *, account: str | None) -> list[m.AccountMetrics]:
        """See ReadModels."""
        table = schema.account_metrics
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        return await self._all(m.AccountMetrics, self._orders, query.order_by(table.c.account))

    async def ledger(self, *, account: str | None, limit: int = 100, before_entry_id: int = 0) -> list[m.LedgerPosted]:
        """See ReadModels."""
        table = schema.ledger_entries
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        if before_entry_id:
            query = query.where(table.c.entry_id < min(before_entry_id, 2**63 - 1))
        query = query.order_by(table.c.entry_id.desc()).limit(_bounded(limit))
        return await self._all(m.LedgerPosted, self._orders, query)

    async def accounts(self) -> list[m.AccountStanding]:
        """See ReadModels."""
        table = schema.account_standings
        query = sa.select(table.c.body).order_by(table.c.account)
        return await self._all(m.AccountStanding, self._compliance, query)

    async def instruments(self) -> list[Instrument]:
        """See ReadModels."""
        table = schema.instruments
        query = sa.select(table.c.body, table.c.status).order_by(table.c.symbol)
        rows = await self._orders.read(lambda connection: connection.execute(query).all())
        return [replace(_decode(Instrument, body), status=InstrumentStatus(status)) for body, status in rows]

    async def breakers(self) -> list[m.BreakerChanged]:
        """See ReadModels."""
        query = sa.select(schema.breakers.c.body).order_by(schema.breakers.c.scope)
        return await self._all(m.BreakerChanged, self._orders, query)

    async def kill_levels(self) -> list[m.KillLevelChanged]:
        """See ReadModels."""
        query = sa.select(schema.kill_levels.c.body).order_by(schema.kill_levels.c.account)
        return await self._all(m.KillLevelChanged, self._orders, query)

    async def decisions(self, *, symbol: str = "", limit: int = 20) -> list[m.DecisionRecorded]:
        """See ReadModels."""
        table = schema.decisions
        query = sa.select(table.c.body)
        if symbol:
            query = query.where(table.c.symbol == symbol)
        query = query.order_by(table.c.decided_time_ns.desc(), table.c.decision_id.desc()).limit(_bounded(limit))
        return await self._all(m.DecisionRecorded, self._orders, query)

    async def decision(self, decision_id: str) -> m.DecisionRecorded | None:
        """See ReadModels."""
        table = schema.decisions
        query = sa.select(table.c.body).where(table.c.decision_id == decision_id)
        return await self._first(m.DecisionRecorded, self._orders, query)

    async def candles(
        self, *, symbol: str, interval_seconds: int, limit: int = 100, before_time_ns: int = 0
    ) -> list[Candle]:
        """See ReadModels."""
        table = schema.candles
        query = sa.select(table.c.body).where(
            table.c.symbol == symbol, table.c.interval_seconds == min(interval_seconds, 2**63 - 1)
        )
        if before_time_ns:
            query = query.where(table.c.open_time_ns < min(before_time_ns, 2**63 - 1))
        query = query.order_by(table.c.open_time_ns.desc()).limit(_bounded(limit))
        return await self._all(Candle, self._orders, query)

    async def alerts(
        self, *, account: str | None = None, status: str = "", limit: int = 100
    ) -> list[m.ComplianceAlert]:
        """See ReadModels."""
        table = schema.alerts
        query = _of_account(sa.select(table.c.body), table.c.account, account)
        if status:
            query = query.where(table.c.status == status)
        query = query.order_by(table.c.raised_time_ns.desc(), table.c.alert_id.desc()).limit(_bounded(limit))
        return await self._all(m.ComplianceAlert, self._compliance, query)

    async def audit_entries(self, *, after_sequence: int = 0, limit: int = 1000) -> list[m.AuditEntry]:
        """See ReadModels. Made from the columns, so that what a person reads in SQL is what gets verified."""
        table = schema.audit_entries
        query = sa.select(table).where(table.c.sequence > min(after_sequence, 2**63 - 1))
        query = query.order_by(table.c.sequence).limit(_bounded(limit))

        def entries(connection: Connection) -> list[m.AuditEntry]:
            return [_audit_entry(row, connection.dialect.name) for row in connection.execute(query).mappings()]

        return await self._compliance.read(entries)

    async def last_audit_sequence(self) -> int:
        """See ReadModels."""
        query = sa.select(sa.func.coalesce(sa.func.max(schema.audit_entries.c.sequence), 0))
        return await self._compliance.read(lambda connection: int(connection.execute(query).scalar_one()))

    async def mandates(self) -> list[m.Mandate]:
        """See ReadModels."""
        table = schema.mandates
        return await self._all(
            m.Mandate, self._orders, sa.select(table.c.body).order_by(table.c.account, table.c.agent)
        )

    async def limits(self) -> dict[str, m.RiskLimits]:
        """See ReadModels."""
        table = schema.account_limits
        query = sa.select(table.c.account, table.c.body)
        rows = await self._orders.read(lambda connection: connection.execute(query).all())
        return {account: _decode(m.RiskLimits, body) for account, body in rows}

    async def holding_limits(self, *, account: str) -> dict[str, int]:
        """See ReadModels."""
        table = schema.holding_limits
        query = sa.select(table.c.asset, table.c.share_ppm_max)
        query = query.where(table.c.account == account, table.c.share_ppm_max > 0).order_by(table.c.asset)
        rows = await self._orders.read(lambda connection: connection.execute(query).all())
        return {asset: int(share_ppm) for asset, share_ppm in rows}

    async def approvals(
        self, *, state: m.ApprovalState | None = None, client_order_id: str = "", limit: int = 100
    ) -> list[m.Approval]:
        """See ReadModels."""
        table = schema.approvals
        query = sa.select(table.c.body)
        if state is not None:
            query = query.where(table.c.state == state.value)
        if client_order_id:
            query = query.where(table.c.client_order_id == client_order_id)
        query = query.order_by(table.c.created_time_ns.desc(), table.c.approval_id.desc()).limit(_bounded(limit))
        return await self._all(m.Approval, self._orders, query)

    async def approval(self, approval_id: str) -> m.Approval | None:
        """See ReadModels."""
        table = schema.approvals
        query = sa.select(table.c.body).where(table.c.approval_id == approval_id)
        return await self._first(m.Approval, self._orders, query)

    async def agents(self) -> list[m.AgentStanding]:
        """See ReadModels."""
        query = sa.select(schema.agents.c.body).order_by(schema.agents.c.agent)
        return await self._all(m.AgentStanding, self._orders, query)

    async def standing_instructions(self, *, limit: int = ROWS_MAX) -> list[m.StandingChanged]:
        """See ReadModels."""
        table = schema.standing_instructions
        query = sa.select(table.c.body).order_by(table.c.time_ns.desc(), table.c.standing_id).limit(_bounded(limit))
        return await self._all(m.StandingChanged, self._orders, query)

    async def breaks(self, *, open_only: bool = True) -> list[m.BreakChanged]:
        """See ReadModels."""
        table = schema.breaks
        query = sa.select(table.c.body)
        if open_only:
            query = query.where(table.c.is_open == 1)
        query = query.order_by(table.c.time_ns.desc(), table.c.break_id).limit(ROWS_MAX)
        return await self._all(m.BreakChanged, self._orders, query)

    async def _all(self, kind: type[T], database: Database, query: sa.Select[Any]) -> list[T]:
        def bodies(connection: Connection) -> list[T]:
            return [_decode(kind, body) for body in connection.execute(query).scalars()]

        return await database.read(bodies)

    async def _first(self, kind: type[T], database: Database, query: sa.Select[Any]) -> T | None:
        found = await self._all(kind, database, query.limit(1))
        return found[0] if found else None
