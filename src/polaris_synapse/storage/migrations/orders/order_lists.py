"""A table of order lists."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "orders_0004"
down_revision = "orders_0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "order_lists",
        sa.Column("list_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("client_list_id", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("is_open", sa.SmallInteger, nullable=False),
        sa.Column("created_time_ns", sa.BigInteger, nullable=False),
        sa.Column("updated_time_ns", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("list_id"),
    )
    op.create_index("order_lists_by_account", "order_lists", ["account", "list_id"])
    op.create_index("order_lists_by_client_list_id", "order_lists", ["client_list_id", "account"])


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("order_lists")
