"""The first tables of the database of orders."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "orders_0001"
down_revision = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False)


def _flag(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger, nullable=False)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "account_metrics",
        _text("account"),
        _text("equity_units"),
        _text("exposure_units"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "balances",
        _text("account"),
        _text("asset"),
        _text("total_units"),
        _text("reserved_units"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("account", "asset"),
    )
    op.create_table(
        "breakers",
        _text("scope"),
        _flag("tripped"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "breaks",
        _text("break_id"),
        _text("venue"),
        _text("symbol"),
        _text("account"),
        _flag("is_open"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("break_id"),
    )
    op.create_index("breaks_open", "breaks", ["is_open", "time_ns"])
    op.create_table(
        "candles",
        _text("symbol"),
        _number("interval_seconds"),
        _number("open_time_ns"),
        _text("source"),
        _text("open_ticks"),
        _text("high_ticks"),
        _text("low_ticks"),
        _text("close_ticks"),
        _text("volume_lots"),
        _text("body"),
        sa.PrimaryKeyConstraint("symbol", "interval_seconds", "open_time_ns"),
    )
    op.create_table(
        "decisions",
        _text("decision_id"),
        _text("agent"),
        _text("account"),
        _text("symbol"),
        _text("view"),
        _text("action"),
        _number("revision"),
        _number("decided_time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("decision_id"),
    )
    op.create_index("decisions_by_symbol", "decisions", ["symbol", "decided_time_ns"])
    op.create_index("decisions_by_time", "decisions", ["decided_time_ns"])
    op.create_table(
        "executions",
        _text("execution_id"),
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
        sa.PrimaryKeyConstraint("execution_id"),
    )
    op.create_index("executions_by_account", "executions", ["account", "time_ns"])
    op.create_index("executions_by_order", "executions", ["order_id"])
    op.create_index("executions_by_time", "executions", ["time_ns"])
    op.create_table(
        "instruments",
        _text("symbol"),
        _text("venue"),
        _text("status"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("symbol"),
    )
    op.create_table(
        "kill_levels",
        _text("account"),
        _number("level"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("account"),
    )
    op.create_table(
        "ledger_entries",
        _number("entry_id"),
        _text("account"),
        _text("cause"),
        _text("reference"),
        _text("symbol"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("entry_id"),
    )
    op.create_index("ledger_entries_by_account", "ledger_entries", ["account", "entry_id"])
    op.create_table(
        "ledger_postings",
        _number("entry_id"),
        _number("leg"),
        _text("ledger_account"),
        _text("asset"),
        _text("units"),
        sa.PrimaryKeyConstraint("entry_id", "leg"),
    )
    op.create_index("ledger_postings_by_account", "ledger_postings", ["ledger_account", "asset"])
    op.create_table(
        "order_refusals",
        _number("journal_offset"),
        _number("output_index"),
        _text("account"),
        _text("client_order_id"),
        _text("symbol"),
        _number("reason"),
        _text("detail"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("journal_offset", "output_index"),
    )
    op.create_index("order_refusals_by_client_order_id", "order_refusals", ["client_order_id", "account"])
    op.create_table(
        "orders",
        _number("order_id"),
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
        sa.PrimaryKeyConstraint("order_id"),
    )
    op.create_index("orders_by_account", "orders", ["account", "order_id"])
    op.create_index("orders_by_client_order_id", "orders", ["client_order_id", "account"])
    op.create_index("orders_open", "orders", ["is_open", "account", "order_id"])
    op.create_table(
        "positions",
        _text("account"),
        _text("symbol"),
        _text("quantity_lots"),
        _text("cost_units"),
        _text("realised_pnl_units"),
        _text("fees_units"),
        _number("time_ns"),
        _text("body"),
        sa.PrimaryKeyConstraint("account", "symbol"),
    )
    op.create_table(
        "projector_progress",
        _text("name"),
        _number("journal_offset"),
        _number("fact_offset"),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Remove the tables and all that is in them."""
    op.drop_table("projector_progress")
    op.drop_table("positions")
    op.drop_table("orders")
    op.drop_table("order_refusals")
    op.drop_table("ledger_postings")
    op.drop_table("ledger_entries")
    op.drop_table("kill_levels")
    op.drop_table("instruments")
    op.drop_table("executions")
    op.drop_table("decisions")
    op.drop_table("candles")
    op.drop_table("breaks")
    op.drop_table("breakers")
    op.drop_table("balances")
    op.drop_table("account_metrics")
