"""Snapshots of cores by partition, and how far a cluster's read models have come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "orders_0003"
down_revision = "orders_0002"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "cluster_progress",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "core_snapshots",
        sa.Column("core", sa.Text, nullable=False),
        sa.Column("partition", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("slot", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("record_offset", sa.BigInteger, nullable=False),
        sa.Column("time_ns", sa.BigInteger, nullable=False),
        sa.Column("state_hash", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("host", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("core", "partition", "slot"),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("core_snapshots")
    op.drop_table("cluster_progress")
