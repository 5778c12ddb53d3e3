"""Tables of the two databases.

Each row holds the whole domain struct as JSON in ``body``, which is what the desk reads back, so a new field of a
message needs no migration. The columns beside it are for finding rows and for people with a SQL prompt. Ids, times and
counts are BIGINT. Prices, quantities and amounts are text of decimal digits: they have no bound (a token with 18
decimals passes 64 bits at 19 units), no database may round them, and ``CAST(... AS NUMERIC)`` adds them up in
PostgreSQL.
"""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, MetaData, SmallInteger, Table, Text

ORDERS: Final = MetaData()
COMPLIANCE: Final = MetaData()


def _key(name: str, kind: Any = Text) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False)


def _text(name: str) -> Column[Any]:
    return Column(name, Text, nullable=False)


def _number(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False)


def _flag(name: str) -> Column[Any]:
    return Column(name, SmallInteger, nullable=False)


def _progress(metadata: MetaData) -> Table:
    """How far each projector has come: everything of the journal up to ``journal_offset`` is in this database.

    ``fact_offset``: the newest offset of which a fact with consequences is here; the journal cannot end before it.
    """
    return Table("projector_progress", metadata, _key("name"), _number("journal_offset"), _number("fact_offset"))


ORDERS_PROGRESS: Final = _progress(ORDERS)
COMPLIANCE_PROGRESS: Final = _progress(COMPLIANCE)

orders: Final = Table(
    "orders",
    ORDERS,
    _key("order_id", BigInteger),
    _text("account"),
    _text("client_order_id"),
    _text("symbol"),
    _text("venue"),
    _text("side"),
    _text("type"),
    _text("state"),
    _flag("is_open"),
    _text("quantity_lots"),
    _text("filled_lots"),
    _text("price_ticks"),
    _number("reason"),
    _text("decision_id"),
    _number("created_time_ns"),
    _number("updated_time_ns"),
    _text("body"),
    Index("orders_by_account", "account", "order_id"),
    Index("orders_by_symbol", "symbol", "order_id"),
    Index("orders_by_client_order_id", "client_order_id", "account"),
    Index("orders_open", "is_open", "account", "order_id"),
)
order_refusals: Final = Table(
    "order_refusals",
    ORDERS,
    _key("journal_offset", BigInteger),
    _key("output_index", BigInteger),
    _text("account"),
    _text("client_order_id"),
    _text("symbol"),
    _number("reason"),
    _text("detail"),
    _number("time_ns"),
    _text("body"),
    Index("order_refusals_by_client_order_id", "client_order_id", "account"),
)
order_lists: Final = Table(
    "order_lists",
    ORDERS,
    _key("list_id", BigInteger),
    _text("account"),
    _text("client_list_id"),
    _text("symbol"),
    _text("type"),
    _text("state"),
    _flag("is_open"),
    _number("created_time_ns"),
    _number("updated_time_ns"),
    _text("body"),
    Index("order_lists_by_account", "account", "list_id"),
    Index("order_lists_by_client_list_id", "client_list_id", "account"),
)
executions: Final = Table(
    "executions",
    ORDERS,
    _key("execution_id"),
    _number("order_id"),
    _text("account"),
    _text("symbol"),
    _text("venue"),
    _text("side"),
    _text("price_ticks"),
    _text("quantity_lots"),
    _text("notional_units"),
    _text("fee_units"),
    _text("fee_asset"),
    _flag("simulated"),
    _number("time_ns"),
    _number("journal_offset"),
    _number("output_index"),
    _text("body"),
    Index("executions_by_account", "account", "time_ns"),
    Index("executions_by_symbol", "symbol", "time_ns"),
    Index("executions_by_time", "time_ns"),
    Index("executions_by_order", "order_id"),
)
balances: Final = Table(
    "balances",
    ORDERS,
    _key("account"),
    _key("asset"),
    _text("total_units"),
    _text("reserved_units"),
    _number("time_ns"),
    _text("body"),
)
positions: Final = Table(
    "positions",
    ORDERS,
    _key("account"),
    _key("symbol"),
    _text("quantity_lots"),
    _text("cost_units"),
    _text("realised_pnl_units"),
    _text("fees_units"),
    _number("time_ns"),
    _text("body"),
)
account_metrics: Final = Table(
    "account_metrics",
    ORDERS,
    _key("account"),
    _text("equity_units"),
    _text("exposure_units"),
    _number("time_ns"),
    _text("body"),
)
ledger_entries: Final = Table(
    "ledger_entries",
    ORDERS,
    _key("entry_id", BigInteger),
    _text("account"),
    _text("cause"),
    _text("reference"),
    _text("symbol"),
    _number("time_ns"),
    _text("body"),
    Index("ledger_entries_by_account", "account", "entry_id"),
)
ledger_postings: Final = Table(
    "ledger_postings",
    ORDERS,
    _key("entry_id", BigInteger),
    _key("leg", BigInteger),
    _text("ledger_account"),
    _text("asset"),
    _text("units"),
    Index("ledger_postings_by_account", "ledger_account", "asset"),
)
instruments: Final = Table(
    "instruments", ORDERS, _key("symbol"), _text("venue"), _text("status"), _number("time_ns"), _text("body")
)
breakers: Final = Table("breakers", ORDERS, _key("scope"), _flag("tripped"), _number("time_ns"), _text("body"))
kill_levels: Final = Table("kill_levels", ORDERS, _key("account"), _number("level"), _number("time_ns"), _text("body"))
decisions: Final = Table(
    "decisions",
    ORDERS,
    _key("decision_id"),
    _text("agent"),
    _text("account"),
    _text("symbol"),
    _text("view"),
    _text("action"),
    _number("revision"),
    _number("decided_time_ns"),
    _text("body"),
    Index("decisions_by_time", "decided_time_ns"),
    Index("decisions_by_symbol", "symbol", "decided_time_ns"),
)
candles: Final = Table(
    "candles",
    ORDERS,
    _key("symbol"),
    _key("interval_seconds", BigInteger),
    _key("open_time_ns", BigInteger),
    _text("source"),
    _text("open_ticks"),
    _text("high_ticks"),
    _text("low_ticks"),
    _text("close_ticks"),
    _text("volume_lots"),
    _text("body"),
)
mandates: Final = Table(
    "mandates", ORDERS, _key("account"), _key("agent"), _flag("enabled"), _number("time_ns"), _text("body")
)
account_limits: Final = Table("account_limits", ORDERS, _key("account"), _number("time_ns"), _text("body"))
holding_limits: Final = Table(
    "holding_limits",
    ORDERS,
    _key("account"),
    _key("asset"),
    _number("share_ppm_max"),
    _number("time_ns"),
    _text("body"),
)
approvals: Final = Table(
    "approvals",
    ORDERS,
    _key("approval_id"),
    _text("account"),
    _text("agent"),
    _text("client_order_id"),
    _text("state"),
    _number("order_id"),
    _number("created_time_ns"),
    _text("body"),
    Index("approvals_by_state", "state", "created_time_ns"),
    Index("approvals_by_time", "created_time_ns"),
    Index("approvals_by_client_order_id", "client_order_id", "account"),
)
agents: Final = Table("agents", ORDERS, _key("agent"), _text("account"), _number("time_ns"), _text("body"))
standing_instructions: Final = Table(
    "standing_instructions",
    ORDERS,
    _key("standing_id"),
    _text("account"),
    _text("state"),
    _number("time_ns"),
    _text("body"),
    Index("standing_instructions_by_time", "time_ns"),
)

breaks: Final = Table(
    "breaks",
    ORDERS,
    _key("break_id"),
    _text("venue"),
    _text("symbol"),
    _text("account"),
    _flag("is_open"),
    _number("time_ns"),
    _text("body"),
    Index("breaks_open", "is_open", "time_ns"),
)

account_standings: Final = Table(
    "account_standings",
    COMPLIANCE,
    _key("account"),
    _text("account_kind"),
    _text("kyc"),
    _flag("sanctions_hold"),
    _flag("blocked"),
    _number("version"),
    _number("time_ns"),
    _text("body"),
)
alerts: Final = Table(
    "alerts",
    COMPLIANCE,
    _key("alert_id"),
    _text("account"),
    _text("rule"),
    _text("severity"),
    _text("status"),
    _text("symbol"),
    _number("raised_time_ns"),
    _number("time_ns"),
    _text("body"),
    Index("alerts_by_time", "raised_time_ns"),
    Index("alerts_by_account", "account", "raised_time_ns"),
    Index("alerts_by_status", "status", "raised_time_ns"),
)
audit_entries: Final = Table(
    "audit_entries",
    COMPLIANCE,
    _key("sequence", BigInteger),
    _number("time_ns"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("detail"),
    _text("previous_hash"),
    _text("entry_hash"),
)


def _cluster_progress(metadata: MetaData) -> Table:
    """How far the read models of a cluster have come, as JSON; ``version`` grows by one with each transaction."""
    return Table("cluster_progress", metadata, _key("name"), _number("version"), _text("body"))


CLUSTER_PROGRESS_ORDERS: Final = _cluster_progress(ORDERS)
CLUSTER_PROGRESS_COMPLIANCE: Final = _cluster_progress(COMPLIANCE)
#: Snapshots of cores by partition. ``slot`` counts round, so that old ones are overwritten and nothing is deleted.
core_snapshots: Final = Table(
    "core_snapshots",
    ORDERS,
    _key("core"),
    _key("partition", BigInteger),
    _key("slot", BigInteger),
    _number("record_offset"),
    _number("time_ns"),
    _text("state_hash"),
    Column("data", sa.LargeBinary, nullable=False),
    Column("host", sa.LargeBinary, nullable=False),
)

#: Calls of language models and cases of decisions, by the sha256 of their content; and what was spent. The services of
#: a cluster share these; a desk in one process has them in a file of their own.
model_records: Final = Table(
    "model_records",
    ORDERS,
    _key("digest"),
    _text("kind"),
    _text("decision_id"),
    _number("time_ns"),
    _number("size_bytes"),
    Column("body", sa.LargeBinary, nullable=False),
    Index("model_records_by_time", "time_ns"),
    Index("model_records_by_decision", "decision_id"),
)
model_spending: Final = Table(
    "model_spending",
    ORDERS,
    # An identity column asks no right of its own in PostgreSQL, a sequence would.
    Column("id", BigInteger().with_variant(sa.Integer, "sqlite"), sa.Identity(), primary_key=True),
    _number("day"),
    _text("purpose"),
    _text("decision_id"),
    _flag("settled"),
    _number("tokens"),
    _number("milliseconds"),
    _number("micro_usd"),
    Index("model_spending_by_day", "day", "purpose"),
    Index("model_spending_by_decision", "decision_id"),
)
#: What conversations wait for, so that a yes may be said to another instance than the one that showed the preview.
conversations: Final = Table(
    "conversations",
    ORDERS,
    _key("actor"),
    _key("session"),
    _number("time_ns"),
    _text("body"),
    Index("conversations_by_time", "time_ns"),
)
#: Where the outside sources go on when another process polls them, by source.
source_states: Final = Table("source_states", ORDERS, _key("source"), _text("body"))
#: Who may use a cluster, whose services share no file. No read model: nothing makes these rows again.
users: Final = Table(
    "users",
    ORDERS,
    _key("name"),
    _text("password_hash"),
    _text("role"),
    _text("accounts"),
    _number("generation"),
    _flag("disabled"),
    _number("created_time_ns"),
)
api_keys: Final = Table(
    "api_keys",
    ORDERS,
    _key("key_id"),
    _text("algorithm"),
    Column("verifier", sa.LargeBinary, nullable=False),
    _text("role"),
    _text("accounts"),
    _text("owner"),
    _text("addresses"),
    _number("expires_time_ns"),
    _flag("revoked"),
    _number("created_time_ns"),
)
revoked_tokens: Final = Table("revoked_tokens", ORDERS, _key("token_id"), _number("expires_time_ns"))
#: One row. Each change of the three above counts ``version`` up in its transaction, which is what processes look at.
credential_changes: Final = Table("credential_changes", ORDERS, _key("id", BigInteger), _number("version"))

#: Tables from which old rows are taken away again, also where none is ever changed.
PRUNED: Final[frozenset[Table]] = frozenset({model_records, model_spending, conversations, revoked_tokens})

#: Columns that the first row of a key sets and later ones leave alone.
KEPT_COLUMNS: Final[dict[Table, frozenset[str]]] = {alerts: frozenset({"raised_time_ns"})}
#: Tables whose rows are never changed; a second row with the same key is left out.
APPEND_ONLY: Final[frozenset[Table]] = frozenset(
    {executions, order_refusals, ledger_entries, ledger_postings, audit_entries, model_records}
)


def upsert(table: Table, dialect: str) -> sa.sql.Insert:
    """INSERT that replaces the row with the same key, or leaves it where the table is append-only."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        insert: Any = insert_postgresql(table)
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite

        insert = insert_sqlite(table)
    keys = [column.name for column in table.primary_key]
    if table in APPEND_ONLY:
        return insert.on_conflict_do_nothing(index_elements=keys)  # type: ignore[no-any-return]  # dialect's own type
    kept = KEPT_COLUMNS.get(table, frozenset()) | set(keys)
    changed = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in kept}
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)  # type: ignore[no-any-return]  # as above
