"""How far a cluster's read models have come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "compliance_0003"
down_revision = "compliance_0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "cluster_progress",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("cluster_progress")
