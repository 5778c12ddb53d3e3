"""Indices for reads by symbol over all accounts, which would look at every row of a long history."""

from __future__ import annotations

from alembic import op

revision = "orders_0002"
down_revision = "orders_0001"


def upgrade() -> None:
    """Make the indices."""
    op.create_index("orders_by_symbol", "orders", ["symbol", "order_id"])
    op.create_index("executions_by_symbol", "executions", ["symbol", "time_ns"])


def downgrade() -> None:
    """Remove the indices."""
    op.drop_index("executions_by_symbol", "executions")
    op.drop_index("orders_by_symbol", "orders")
